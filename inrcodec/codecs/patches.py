"""Cut signals into patches, and evaluate patches on output grids of any size.

A signal of shape (n_1, ..., n_A) is covered by ceil(n_a / p_a) patches along each axis, in row-major order from the
first point. The last patches may extend beyond the signal, where they have no weight in the fit. Each patch is a
function on [-1, 1]^A. The points of an output grid, m_a along an axis of n_a points, lie at (i + 1/2) n_a / m_a in
units of the signal's points. These are pixel centres, so an image stays in place at every size.

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

from inrcodec.limits import Limits

FloatArray = NDArray[np.float32]

POINTS_AT_ONCE = 1 << 17
"""Max number of points that are evaluated at once."""
MAX_OVERSAMPLING = 64
"""Max number of function values averaged per output point along each axis."""


@dataclass(frozen=True)
class PatchLayout:
    """The cover of a grid by patches.

    Attributes:
        shape: shape of the grid.
        patch_shape: shape of a patch.
    """

    shape: tuple[int, ...]
    patch_shape: tuple[int, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """Return the number of patches along each axis."""
        return tuple(-(-n // p) for n, p in zip(self.shape, self.patch_shape, strict=True))

    @property
    def n_patches(self) -> int:
        """Return the number N of patches."""
        return math.prod(self.counts)

    def cut(self, values: FloatArray) -> tuple[FloatArray, FloatArray | None]:
        """Cut values (*shape, C) into patches.

        Points beyond the signal repeat its edge, so that a network that sees the patch finds nothing unusual there.

        Returns:
            Patches (N, P, C), and the weights (N, P) of their points, 0 beyond the signal; None if all are 1.
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
    """The output points along one axis that fall into one patch.

    Attributes:
        points: their indices.
        local: their coordinates in the patch, in [-1, 1].
    """

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
    """Return the number of function values averaged per output point along each axis.

    It is 1 at the native size and above; below it, about n / m.
    """
    return tuple(min(MAX_OVERSAMPLING, max(1, -(-n // m))) for n, m in zip(shape, size, strict=True))


def evaluated_points(shape: tuple[int, ...], size: tuple[int, ...]) -> int:
    """Return the number of points at which a function on a grid of ``shape`` is evaluated for an output grid."""
    return math.prod(m * times for m, times in zip(size, oversampling(shape, size), strict=True))


def check_patch_work(
    limits: Limits,
    n_planes: int,
    layout: PatchLayout,
    size: tuple[int, ...],
    *,
    latents: int,
    multiply_adds: float,
    patch_multiply_adds: float,
) -> None:
    """Raise LimitError where decoding planes by their patches takes more than the limits allow.

    Args:
        limits: the limits.
        n_planes: number of planes.
        layout: the cover of a plane by patches.
        size: points of a plane's output grid along each axis.
        latents: latents of a patch.
        multiply_adds: of a point.
        patch_multiply_adds: of a patch, whatever its points.
    """
    n_patches, n_points = n_planes * layout.n_patches, n_planes * evaluated_points(layout.shape, size)
    limits.check_size(max(n_points, n_patches * latents), size, "points or latents")
    limits.check_work(n_points * multiply_adds + n_patches * patch_multiply_adds)


def render(
    layout: PatchLayout, size: tuple[int, ...], channels: int, evaluate: Callable[[Tensor, Tensor], Tensor]
) -> FloatArray:
    """Evaluate patches on an output grid.

    Patches whose points have the same local coordinates are evaluated together. Below the native size, every output
    point is the mean of the function over its footprint.

    Args:
        layout: the cover of the native grid.
        size: shape of the output grid.
        channels: C.
        evaluate: returns values (S, P', C) of patches, given by their numbers (S,), at coordinates (P', A).

    Returns:
        Values (*size, C), float32.
    """
    times = oversampling(layout.shape, size)
    axes = [_axis_points(n, m, p, t) for n, m, p, t in zip(layout.shape, size, layout.patch_shape, times, strict=True)]
    fine = np.empty((*[m * t for m, t in zip(size, times, strict=True)], channels), np.float32)
    groups: dict[tuple[bytes, ...], list[tuple[int, tuple[_AxisPoints, ...]]]] = {}
    for number, patch in enumerate(itertools.product(*axes)):
        if all(axis.local.size for axis in patch):
            groups.setdefault(tuple(axis.local.tobytes() for axis in patch), []).append((number, patch))
    for group in groups.values():
        local = [axis.local for axis in group[0][1]]
        coordinates = np.stack(np.meshgrid(*local, indexing="ij"), axis=-1).reshape(-1, len(local))
        at_once = max(1, POINTS_AT_ONCE // len(coordinates))
        for start in range(0, len(group), at_once):
            chunk = group[start : start + at_once]
            values = evaluate(torch.tensor([number for number, _ in chunk]), torch.from_numpy(coordinates))
            block_shape = [len(axis) for axis in local]
            for (_, patch), block in zip(chunk, values.numpy(), strict=True):
                fine[tuple(axis.points for axis in patch)] = block.reshape(*block_shape, channels)
    if all(t == 1 for t in times):
        return fine
    split = [m for pair in zip(size, times, strict=True) for m in pair]
    result: FloatArray = fine.reshape(*split, channels).mean(axis=tuple(range(1, 2 * len(size), 2)), dtype=np.float32)
    return result
