"""Signals cut into patches, and grids of any size mapped back onto them.

A signal of shape (n_1, .., n_A) is covered by ceil(n_a / p_a) patches along each axis, in row-major order from the
first point; patches at the far end may reach beyond the signal, where they have no weight in the fit. Each patch is a
function on [-1, 1]^A. An output grid of m_a points along an axis that has n_a lies at (i + 1/2) n_a / m_a in units of
the signal's points: pixel centres, so a footprint keeps its place at every size.

Shapes: N patches, P = prod(p) points of a patch, C channels, A axes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FloatArray = NDArray[np.float32]

POINTS_AT_ONCE = 1 << 17
OVERSAMPLE_MOST = 64


@dataclass(frozen=True)
class PatchLayout:
    """How a grid of ``shape`` is covered by patches of ``patch_shape``."""

    shape: tuple[int, ...]
    patch_shape: tuple[int, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """Patches along each axis."""
        return tuple(-(-n // p) for n, p in zip(self.shape, self.patch_shape, strict=True))

    @property
    def n_patches(self) -> int:
        """N."""
        return math.prod(self.counts)

    def cut(self, values: FloatArray) -> tuple[FloatArray, FloatArray | None]:
        """Values (*shape, C) to patches (N, P, C), and the weight (N, P) of their points: None when all are 1.

        Points beyond the signal repeat its edge, so that a proposal sees nothing unusual there.
        """
        pads = [(0, k * p - n) for n, p, k in zip(self.shape, self.patch_shape, self.counts, strict=True)]
        patches = self._regroup(np.pad(values, [*pads, (0, 0)], mode="edge"))
        if not any(after for _, after in pads):
            return patches, None
        inside = np.pad(np.ones((*self.shape, 1), np.float32), [*pads, (0, 0)])
        return patches, self._regroup(inside)[..., 0]

    def _regroup(self, values: FloatArray) -> FloatArray:
        n_axes = len(self.shape)
        split = [m for k, p in zip(self.counts, self.patch_shape, strict=True) for m in (k, p)]
        axes = [*range(0, 2 * n_axes, 2), *range(1, 2 * n_axes, 2), 2 * n_axes]
        grouped = values.reshape(*split, values.shape[-1]).transpose(axes)
        return np.ascontiguousarray(grouped.reshape(self.n_patches, -1, values.shape[-1]))


@dataclass(frozen=True)
class _AxisPoints:
    """Output points along one axis that fall into one patch: their numbers and local coordinates."""

    points: slice
    local: FloatArray


def _axis_points(n: int, m: int, patch: int, oversample: int) -> list[_AxisPoints]:
    fine = m * oversample
    numerator = (2 * np.arange(fine, dtype=np.int64) + 1) * n
    owner = np.minimum(numerator // (2 * fine * patch), -(-n // patch) - 1)
    local = numerator / (fine * patch) - 2.0 * owner - 1.0
    borders = np.searchsorted(owner, np.arange(-(-n // patch) + 1))
    return [_AxisPoints(slice(int(a), int(b)), local[a:b].astype(np.float32)) for a, b in itertools.pairwise(borders)]


def oversampling(shape: tuple[int, ...], size: tuple[int, ...]) -> tuple[int, ...]:
    """Function values averaged per output point along each axis: one at the native size and above, n / m below it."""
    return tuple(min(OVERSAMPLE_MOST, max(1, -(-n // m))) for n, m in zip(shape, size, strict=True))


def render(
    layout: PatchLayout, size: tuple[int, ...], channels: int, evaluate: Callable[[Tensor, Tensor], Tensor]
) -> FloatArray:
    """Values on an output grid of ``size``, (*size, C).

    ``evaluate(patch_numbers (S,), coordinates (P', A))`` gives values (S, P', C). Patches whose points lie alike are
    evaluated together. Below the native size every output point is the mean of the function over its footprint.
    """
    times = oversampling(layout.shape, size)
    axes = [_axis_points(n, m, p, t) for n, m, p, t in zip(layout.shape, size, layout.patch_shape, times, strict=True)]
    fine = np.empty((*[m * t for m, t in zip(size, times, strict=True)], channels), np.float32)
    alike: dict[tuple[bytes, ...], list[tuple[int, tuple[_AxisPoints, ...]]]] = {}
    for number, parts in enumerate(itertools.product(*axes)):
        if all(part.local.size for part in parts):
            alike.setdefault(tuple(part.local.tobytes() for part in parts), []).append((number, parts))
    for group in alike.values():
        local = [part.local for part in group[0][1]]
        coordinates = np.stack(np.meshgrid(*local, indexing="ij"), axis=-1).reshape(-1, len(local))
        at_once = max(1, POINTS_AT_ONCE // len(coordinates))
        for start in range(0, len(group), at_once):
            some = group[start : start + at_once]
            values = evaluate(torch.tensor([number for number, _ in some]), torch.from_numpy(coordinates))
            block_shape = [len(axis) for axis in local]
            for (_, parts), block in zip(some, values.numpy(), strict=True):
                fine[tuple(part.points for part in parts)] = block.reshape(*block_shape, channels)
    if all(t == 1 for t in times):
        return fine
    split = [m for pair in zip(size, times, strict=True) for m in pair]
    result: FloatArray = fine.reshape(*split, channels).mean(axis=tuple(range(1, 2 * len(size), 2)), dtype=np.float32)
    return result
