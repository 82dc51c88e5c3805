"""The shape of a lossless model: its configuration, as prior files store it, and the convolutions that it implies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from inrcodec.errors import FormatError
from inrcodec.nn.config import check_plain

PHASE_PLACES = ((0, 0), (1, 1), (0, 1), (1, 0))
"""Row and column of each phase in a cell of 2x2 points, in coding order."""
MAX_SPLITS, MAX_LATENT_LAYERS, MAX_WIDTH, MAX_BLOCKS, MAX_COMPONENTS = 4, 16, 512, 16, 16
"""Limits on a configuration."""


@dataclass(frozen=True)
class BitSwapConfig:
    """Describes a lossless model; see ``model.py`` for its parts.

    Attributes:
        channels: channels that are modelled together, 1 or 3.
        levels: values of a sample are 0 .. ``levels`` - 1.
        splits: number of finer scales above the base.
        phases: whether the phases of the base are predicted one after the other, or all at once.
        latents: channels of z_1 .. z_L.
        strides: stride of each layer relative to the layer below; that of z_1 relative to the phases of the base.
        width: channels of the networks for values.
        blocks: residual blocks of the networks for values.
        latent_width: channels of the networks for latents.
        latent_blocks: residual blocks of the networks for latents.
        components: logistics of a mixture.
    """

    channels: int
    levels: int = 256
    splits: int = 1
    phases: bool = True
    latents: tuple[int, ...] = (8, 8)
    strides: tuple[int, ...] = (1, 2)
    width: int = 64
    blocks: int = 2
    latent_width: int = 64
    latent_blocks: int = 1
    components: int = 3

    def __post_init__(self) -> None:
        numbers = (self.width, self.latent_width, *self.latents)
        if not (
            self.channels in (1, 3)
            and 2 <= self.levels <= 256
            and 0 <= self.splits <= MAX_SPLITS
            and 1 <= len(self.latents) == len(self.strides) <= MAX_LATENT_LAYERS
            and all(1 <= n <= MAX_WIDTH for n in numbers)
            and all(s in (1, 2) for s in self.strides)
            and 0 <= self.blocks <= MAX_BLOCKS
            and 0 <= self.latent_blocks <= MAX_BLOCKS
            and 1 <= self.components <= MAX_COMPONENTS
        ):
            raise FormatError("the configuration of the lossless model is out of range")

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as JSON-compatible values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> BitSwapConfig:
        """Return the configuration that ``to_dict`` turned into ``values``.

        Raises:
            FormatError: a value is out of range.
            TypeError, ValueError, KeyError: a value is missing, unknown or of another type.
        """
        lists = {key: tuple(int(n) for n in values[key]) for key in ("latents", "strides")}
        config = cls(**{**values, **lists})
        check_plain(config)
        return config

    @property
    def unit(self) -> float:
        """Return the number of levels that one unit of a network's inputs and means stands for."""
        return self.levels / 4.0

    @property
    def centre(self) -> float:
        """Return the level that a network sees as 0."""
        return (self.levels - 1) / 2.0

    @property
    def n_couplings(self) -> int:
        """Return the number of coupling coefficients of a point: each channel depends on those before it."""
        return self.channels * (self.channels - 1) // 2

    @property
    def parameters_per_point(self) -> int:
        """Return the number of parameters of a point's distribution.

        They are the weights, means and log scales of every channel's mixture, then the couplings.
        """
        return 3 * self.components * self.channels + self.n_couplings

    @property
    def base_inputs(self) -> tuple[int, ...]:
        """Return the number of input channels of each step of the base's network."""
        return (self.latents[0], *((self.channels,) * 3 if self.phases else ()))

    @property
    def base_outputs(self) -> tuple[int, ...]:
        """Return the number of phases that each step of the base's network predicts."""
        return (1, 1, 1, 1) if self.phases else (4,)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return the grid of the phases of the base of an image."""
        for _ in range(self.splits + 1):
            height, width = -(-height // 2), -(-width // 2)
        return height, width

    def latent_grid(self, layer: int, height: int, width: int) -> tuple[int, int]:
        """Return the grid of z_(layer + 1) for an image."""
        height, width = self.grid(height, width)
        for stride in self.strides[: layer + 1]:
            height, width = -(-height // stride), -(-width // stride)
        return height, width


def conv_shapes(config: BitSwapConfig) -> Iterator[tuple[str, int, int, int]]:
    """Yield name, input channels, output channels and kernel size of every convolution."""

    def tower(name: str, inputs: int, outputs: int, width: int, blocks: int) -> Iterator[tuple[str, int, int, int]]:
        yield f"{name}-in", inputs, width, 3
        for block in range(blocks):
            yield f"{name}-wide{block}", width, width, 3
            yield f"{name}-back{block}", width, width, 1
        yield f"{name}-out", width, outputs, 1

    c, n = config.channels, config.parameters_per_point
    for scale in range(config.splits):
        for step in range(3):
            yield from tower(f"scale{scale}-{step}", c, n, config.width, config.blocks)
            yield f"scale{scale}-{step}-skip", c * (step + 1), n, 3
    for step, (inputs, outputs) in enumerate(zip(config.base_inputs, config.base_outputs, strict=True)):
        yield from tower(f"base-{step}", inputs, outputs * n, config.width, config.blocks)
        if step:
            yield f"base-{step}-skip", c * step, n, 3
    below = (4 * c, *config.latents)
    for layer, (channels, stride) in enumerate(zip(config.latents, config.strides, strict=True)):
        towers = (config.latent_width, config.latent_blocks)
        yield from tower(f"q{layer}", below[layer] * stride**2, 2 * channels, *towers)
        if layer + 1 < len(config.latents):
            yield from tower(f"p{layer}", config.latents[layer + 1], 2 * channels, *towers)
