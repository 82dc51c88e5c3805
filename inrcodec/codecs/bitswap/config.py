"""The shape of a lossless model: its description, as files carry it, and the convolutions that follow from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from inrcodec.errors import FormatError
from inrcodec.nn.config import check_plain

PHASE_PLACES = ((0, 0), (1, 1), (0, 1), (1, 0))
"""Row and column in a cell of 2x2 of the phases, in coding order."""
MAX_SPLITS, MAX_LATENT_LAYERS, MAX_WIDTH, MAX_BLOCKS, MAX_COMPONENTS = 4, 16, 512, 16, 16


@dataclass(frozen=True)
class BitSwapConfig:
    """Shape of a model.

    ``latents``: channels of z_1 .. z_L; ``strides``: of each against the layer below, that of z_1 against the grid of
    the base's phases. ``width``, ``blocks``: of the networks for values; ``latent_width``, ``latent_blocks``: for
    latents.
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
            raise FormatError("the shape of a lossless model is out of range")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> BitSwapConfig:
        """Inverse of ``to_dict``; FormatError when out of range, TypeError or ValueError when something else."""
        lists = {key: tuple(int(n) for n in values[key]) for key in ("latents", "strides")}
        made = cls(**{**values, **lists})
        check_plain(made)
        return made

    @property
    def unit(self) -> float:
        """Levels that one unit of a network's inputs and means stands for."""
        return self.levels / 4.0

    @property
    def centre(self) -> float:
        """The level that is 0 for a network."""
        return (self.levels - 1) / 2.0

    @property
    def n_couplings(self) -> int:
        """Coefficients of a point: each channel on those before it."""
        return self.channels * (self.channels - 1) // 2

    @property
    def parameters_per_point(self) -> int:
        """Numbers that describe one point's distribution: weights, means, scales of every channel, couplings."""
        return 3 * self.components * self.channels + self.n_couplings

    @property
    def base_inputs(self) -> tuple[int, ...]:
        """Channels that the base's network is given, step by step."""
        return (self.latents[0], *((self.channels,) * 3 if self.phases else ()))

    @property
    def base_outputs(self) -> tuple[int, ...]:
        """Phases that every step of the base's network predicts."""
        return (1, 1, 1, 1) if self.phases else (4,)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Cells of the base of an image: the grid of its phases."""
        for _ in range(self.splits + 1):
            height, width = -(-height // 2), -(-width // 2)
        return height, width

    def latent_grid(self, layer: int, height: int, width: int) -> tuple[int, int]:
        """Grid of z_(layer + 1) for an image."""
        height, width = self.grid(height, width)
        for stride in self.strides[: layer + 1]:
            height, width = -(-height // stride), -(-width // stride)
        return height, width


def conv_shapes(config: BitSwapConfig) -> Iterator[tuple[str, int, int, int]]:
    """Every convolution: name, input channels, output channels, size of its kernel."""

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
