"""The shape of a hierarchical model: its configuration, as prior files store it, and what follows from it.

Invariants: levels run from the coarsest stride to the finest, and every stride divides the one before. A latent block
is named ``"level.block"``, and blocks are coded in the order of ``block_names``.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from inrcodec.errors import FormatError
from inrcodec.nn.config import check_plain

MAX_CHANNELS, MAX_CELL_POINTS, MAX_HEAD_INPUTS, MAX_NUMBERS_PER_POINT = 16, 1 << 16, 512, 128
"""Limits on a configuration. They keep a decoder's memory proportional to the grid of the file, whatever prior the file
names."""


DENSE, DEPTHWISE = "dense", "depthwise"
BLOCKS = (DENSE, DEPTHWISE)
"""Kinds of residual blocks: a 3x3 convolution and a 1x1 convolution, or a depthwise 3x3 convolution and two 1x1
convolutions with twice as many channels between them. With the second kind, latents enter and proposals leave through
1x1 convolutions too."""


@dataclass(frozen=True)
class LevelConfig:
    """Describes the networks and latents at one stride.

    Attributes:
        stride: points of the signal per cell of this level's grid, along each axis.
        width: channels of the features.
        latents: channels of each latent block, in coding order.
        blocks_down: residual blocks of the top-down network.
        blocks_up: residual blocks of the bottom-up network.
        phases: 1 if every latent block covers the whole grid; 2 if blocks alternate between the two colours of a
            checkerboard (``codecs.hierarchical.checkerboard``), so that a latent is predicted from neighbours on all
            sides.
        blocks_after: residual blocks of the top-down network after the last latent block.
        narrowed: channels to which the bottom-up network reduces the features of the next finer level before it gathers
            them into the cells of this one; 0 if it does not reduce them.
    """

    stride: int
    width: int
    latents: tuple[int, ...]
    blocks_down: int
    blocks_up: int
    phases: int = 1
    blocks_after: int = 0
    narrowed: int = 0


@dataclass(frozen=True)
class HierarchicalConfig:
    """Describes a hierarchical model.

    Attributes:
        channels: channels of the signal's values.
        axes: axes of the signal's grid, 1 or 2.
        levels: levels from the coarsest to the finest; each stride is the one before divided by 1, 2, 4 or 8.
        feature_stride: stride of the features that the head interpolates, at most that of the finest level.
        feature_width: channels of the features at ``feature_stride``.
        head_width: units of each hidden layer of the SIREN head.
        harmonics: harmonics of the Fourier features along each axis.
        n_anchors: number of rate anchors, evenly spaced in log(lambda).
        log_lambdas: log(lambda) of the first and the last anchor.
        periodic: whether the last axis is a circle.
        sphere: whether the axes are latitude and longitude.
        centre: mean of the values, which the networks see as 0.
        spread: standard deviation of the values, which the networks see as 1.
        block: kind of the residual blocks, one of ``BLOCKS``.
        patch: if positive, the values are a linear map of the features at the finest stride, which equals ``patch``:
            each cell gives the values of its points. There is no SIREN head then. 0 if there is one.
    """

    channels: int
    axes: int
    levels: tuple[LevelConfig, ...]
    feature_stride: int
    feature_width: int
    head_width: int = 32
    harmonics: int = 1
    n_anchors: int = 9
    log_lambdas: tuple[float, float] = (3.5, 11.0)
    periodic: bool = False
    sphere: bool = False
    centre: float = 0.5
    spread: float = 0.25
    block: str = DENSE
    patch: int = 0

    @property
    def pointwise(self) -> bool:
        """Return whether depthwise convolutions alone mix places; all other maps act on each place by itself."""
        return self.block == DEPTHWISE

    @property
    def numbers_per_point(self) -> float:
        """Return the features and latents per grid point, to which the memory of a decoder is proportional."""
        result: float = sum((v.width + sum(v.latents)) / v.stride**self.axes for v in self.levels)
        return result

    @property
    def coarsest(self) -> int:
        """Return the coarsest stride; sizes of signals are padded to multiples of it."""
        return self.levels[0].stride

    def __post_init__(self) -> None:
        strides = [level.stride for level in self.levels]
        ratios = [a / b for a, b in itertools.pairwise([*strides, self.feature_stride])]
        sizes = [] if self.patch else [self.feature_width, self.head_width, self.harmonics]
        sizes += [n for level in self.levels for n in (level.width, *level.latents)]
        numbers = [*self.log_lambdas, self.centre, self.spread]
        if not (
            self.axes in (1, 2)
            and 1 <= len(strides) <= 12
            and all(ratio in (1, 2, 4, 8) for ratio in ratios)
            and self.feature_stride >= 1
            and strides[0] <= 1 << 12
            and strides[0] ** self.axes <= MAX_CELL_POINTS
            and 1 <= self.channels <= MAX_CHANNELS
            and all(1 <= n <= 1 << 12 for n in sizes)
            and max(self.feature_width, self.head_width, fourier_count(self)) <= MAX_HEAD_INPUTS
            and self.block in BLOCKS
            and (self.patch == 0 or self.patch == strides[-1] == self.feature_stride)
            and not (self.patch and (self.feature_width or self.head_width or self.harmonics or self.sphere))
            and self.numbers_per_point <= MAX_NUMBERS_PER_POINT
            and all(1 <= len(v.latents) <= 16 and 0 <= v.narrowed <= 1 << 12 for v in self.levels)
            and all(0 <= n <= 64 for v in self.levels for n in (v.blocks_down, v.blocks_after, v.blocks_up))
            and self.levels[-1].narrowed == 0
            and self.levels[0].phases == 1
            and all(v.phases in (1, 2) and len(v.latents) % v.phases == 0 for v in self.levels)
            and 2 <= self.n_anchors <= 64
            and all(math.isfinite(x) and abs(x) < 1e6 for x in numbers)
            and self.log_lambdas[0] < self.log_lambdas[1]
            and self.spread > 0
        ):
            raise FormatError("the configuration of the hierarchical model is out of range")

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as JSON-compatible values.

        Values that the first release did not have are left out where they are the default, so that files stay the same.
        """
        out = _without_defaults(self, ("block", "patch"))
        out["levels"] = tuple(_without_defaults(level, ("blocks_after", "narrowed")) for level in self.levels)
        return out

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> HierarchicalConfig:
        """Return the configuration that ``to_dict`` turned into ``data``.

        Raises:
            FormatError: a value is missing, has the wrong type or is out of range.
        """
        try:
            values = {field.name: data[field.name] for field in fields(cls) if field.name not in ("block", "patch")}
            values["block"], values["patch"] = str(data.get("block", DENSE)), int(data.get("patch", 0))
            values["levels"] = tuple(
                LevelConfig(
                    int(v["stride"]),
                    int(v["width"]),
                    tuple(map(int, v["latents"])),
                    int(v["blocks_down"]),
                    int(v["blocks_up"]),
                    int(v.get("phases", 1)),
                    int(v.get("blocks_after", 0)),
                    int(v.get("narrowed", 0)),
                )
                for v in values["levels"]
            )
            values["log_lambdas"] = tuple(map(float, values["log_lambdas"]))
            config = cls(**values)
            check_plain(config)
            return config
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise FormatError(f"the model's configuration has a missing or invalid value: {error}") from None


def _without_defaults(config: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Return a dataclass as a dict without the named fields that have their default value."""
    default = {field.name: field.default for field in fields(config)}
    return {key: value for key, value in asdict(config).items() if key not in names or value != default[key]}


def block_names(config: HierarchicalConfig) -> list[str]:
    """Return the names of the latent blocks, ``"level.block"``, in coding order."""
    return [f"{i}.{j}" for i, level in enumerate(config.levels) for j in range(len(level.latents))]


def block_phase(config: HierarchicalConfig, name: str) -> int | None:
    """Return the checkerboard colour of a latent block, 0 or 1, or None if the block covers the whole grid."""
    level, block = (int(number) for number in name.split("."))
    phases = config.levels[level].phases
    return None if phases == 1 else block % phases


def fourier_count(config: HierarchicalConfig) -> int:
    """Return the number F of Fourier features."""
    per_axis = waves_per_axis(config)
    waves = per_axis if config.axes == 1 else (1 + per_axis) ** 2 - 1
    return waves + (3 if config.sphere else 0)


def waves_per_axis(config: HierarchicalConfig) -> int:
    """Return the number of Fourier features along one axis."""
    stride = config.feature_stride
    return sum(2 if 2 * h < stride else 1 for h in range(1, config.harmonics + 1) if 2 * h <= stride)


DEFAULT_PLACE = 0.45
"""The default rate lies at this fraction of the range of log(lambda)."""


def default_log_lambda(config: HierarchicalConfig) -> float:
    """Return the log(lambda) used if no rate is requested."""
    low, high = config.log_lambdas
    return low + DEFAULT_PLACE * (high - low)


def coarser_shape(shape: tuple[int, ...], halvings: int) -> tuple[int, ...]:
    """Return the shape of a grid with every axis halved ``halvings`` times, rounded up."""
    return tuple(-(-n >> halvings) for n in shape)
