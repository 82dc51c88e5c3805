"""The shape of a hierarchical model: its description, as prior files carry it, and what follows from it."""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from inrcodec.errors import FormatError
from inrcodec.nn.config import check_plain

MAX_CHANNELS, MAX_CELL_POINTS, MAX_HEAD_INPUTS, MAX_NUMBERS_PER_POINT = 16, 1 << 16, 512, 128
"""Bounds that keep the memory of whoever opens a file in proportion to the file's grid, whatever its prior says."""


@dataclass(frozen=True)
class LevelConfig:
    """One stride: width of its features, channels of each latent block, residual blocks on the way down and up.

    ``phases``: 1, every latent block covers the whole grid; 2, blocks lie in turn on the two colours of a chequered
    board (``codecs.hierarchical.checkerboard``), so that a latent is predicted from neighbours on all sides.
    """

    stride: int
    width: int
    latents: tuple[int, ...]
    blocks_down: int
    blocks_up: int
    phases: int = 1


@dataclass(frozen=True)
class HierarchicalConfig:
    """``levels`` from the coarsest to the finest, each at half or a quarter of the stride before.

    ``axes``: 1 or 2. ``periodic``: the last axis is a circle; ``sphere``: the axes are
    latitude and longitude. ``head_width``: units of the SIREN. ``log_lambdas``:
    lowest and highest; ``n_anchors`` lie evenly between. ``feature_stride``: stride of the features that the head
    interpolates, at most the finest level's.
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

    @property
    def numbers_per_point(self) -> float:
        """Features and latents per grid point: what memory a decode takes."""
        return sum((v.width + sum(v.latents)) / v.stride**self.axes for v in self.levels)

    @property
    def coarsest(self) -> int:
        """Stride that signal sizes are padded to."""
        return self.levels[0].stride

    def __post_init__(self) -> None:
        strides = [level.stride for level in self.levels]
        ratios = [a / b for a, b in itertools.pairwise([*strides, self.feature_stride])]
        sizes = [self.feature_width, self.head_width, self.harmonics]
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
            and self.numbers_per_point <= MAX_NUMBERS_PER_POINT
            and all(1 <= len(v.latents) <= 16 and 0 <= v.blocks_down <= 64 >= v.blocks_up >= 0 for v in self.levels)
            and self.levels[0].phases == 1
            and all(v.phases in (1, 2) and len(v.latents) % v.phases == 0 for v in self.levels)
            and 2 <= self.n_anchors <= 64
            and all(math.isfinite(x) and abs(x) < 1e6 for x in numbers)
            and self.log_lambdas[0] < self.log_lambdas[1]
            and self.spread > 0
        ):
            raise FormatError("the configuration of a hierarchical model is out of range")

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> HierarchicalConfig:
        """Inverse of ``to_dict``; FormatError when a value is missing or cannot be."""
        try:
            values = {field.name: data[field.name] for field in fields(cls)}
            values["levels"] = tuple(
                LevelConfig(
                    int(v["stride"]),
                    int(v["width"]),
                    tuple(map(int, v["latents"])),
                    int(v["blocks_down"]),
                    int(v["blocks_up"]),
                    int(v.get("phases", 1)),
                )
                for v in values["levels"]
            )
            values["log_lambdas"] = tuple(map(float, values["log_lambdas"]))
            made = cls(**values)
            check_plain(made)
            return made
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise FormatError(f"the model's configuration lacks or misstates {error}") from None


def block_names(config: HierarchicalConfig) -> list[str]:
    """Names of the latent blocks in coding order: level, block."""
    return [f"{i}.{j}" for i, level in enumerate(config.levels) for j in range(len(level.latents))]


def block_phase(config: HierarchicalConfig, name: str) -> int | None:
    """Colour of the places of a latent block, 0 or 1; None where it covers the whole grid."""
    level, block = (int(part) for part in name.split("."))
    phases = config.levels[level].phases
    return None if phases == 1 else block % phases


def fourier_count(config: HierarchicalConfig) -> int:
    """Number F of Fourier features."""
    per_axis = waves_per_axis(config)
    waves = per_axis if config.axes == 1 else (1 + per_axis) ** 2 - 1
    return waves + (3 if config.sphere else 0)


def waves_per_axis(config: HierarchicalConfig) -> int:
    """Fourier features of one axis."""
    stride = config.feature_stride
    return sum(2 if 2 * h < stride else 1 for h in range(1, config.harmonics + 1) if 2 * h <= stride)


DEFAULT_PLACE = 0.45
"""Place of the default rate in the range of log(lambda)."""


def default_log_lambda(config: HierarchicalConfig) -> float:
    """Return log(lambda) where no rate is asked for."""
    low, high = config.log_lambdas
    return low + DEFAULT_PLACE * (high - low)


def coarser_shape(shape: tuple[int, ...], halvings: int) -> tuple[int, ...]:
    """Return a grid's shape with every axis halved ``halvings`` times, rounded up."""
    return tuple(-(-n >> halvings) for n in shape)
