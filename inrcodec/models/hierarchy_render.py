"""The hierarchical model's function at any points: features interpolated, then the SIREN head, band by band.

An output grid of m points along an axis of n native points lies at (i + 1/2) n / m in units of the native grid: pixel
centres. Below the native size every output point is the mean of the function over its footprint.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec.models.hierarchy import HierarchyINR, fourier_features
from inrcodec.models.patching import oversampling

FloatArray = NDArray[np.float32]

POINTS_AT_ONCE = 1 << 16


def render(
    model: HierarchyINR, features: Tensor, shape: tuple[int, ...], size: tuple[int, ...], weights: Tensor | None = None
) -> FloatArray:
    """Values (*size, C) of one signal.

    ``features`` (F, H', W') as ``HierarchyINR.features`` gives them, ``shape`` the native grid, ``weights`` (n,) the
    head's, by default the prior's mean.
    """
    config = model.config
    times = oversampling(shape, size)
    fine = tuple(m * t for m, t in zip(size, times, strict=True))
    density = tuple(f / n for f, n in zip(fine, shape, strict=True))
    native, grid = ((1, *shape), (1, *fine)) if config.axes == 1 else (shape, fine)
    out = np.empty((math.prod(grid), config.channels), np.float32)
    columns = _places(native[1], grid[1])
    left, right, part = _taps(columns, features.shape[2], config.feature_stride, config.periodic)
    by_row = features.permute(1, 2, 0).contiguous()
    for begin, end in _bands(grid):
        rows = _places(native[0], grid[0])[begin:end] if config.axes == 2 else torch.tensor([0.5])
        above, below, share = _taps(rows, features.shape[1], config.feature_stride if config.axes == 2 else 1, False)
        band = torch.lerp(by_row[above], by_row[below], share[:, None, None])
        band = torch.lerp(band[:, left], band[:, right], part[None, :, None]).flatten(0, 1)
        if config.axes == 1:
            fourier = fourier_features(config, columns[:, None], shape, density)
        else:
            places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).reshape(-1, 2)
            fourier = fourier_features(config, places, shape, density)
        chosen = None if weights is None else weights[None]
        out[begin * grid[1] : end * grid[1]] = model.values(band[None], fourier, chosen)[0].numpy()
    values = out.reshape(*fine, config.channels)
    if all(t == 1 for t in times):
        return values
    split = [m for pair in zip(size, times, strict=True) for m in pair]
    return values.reshape(*split, config.channels).mean(axis=tuple(range(1, 2 * len(size), 2)), dtype=np.float32)


def _bands(grid: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    rows = max(1, POINTS_AT_ONCE // grid[1])
    for begin in range(0, grid[0], rows):
        yield begin, min(begin + rows, grid[0])


def _places(native: int, points: int) -> Tensor:
    """Places of an axis in units of the native grid, (points,)."""
    return torch.from_numpy(((2 * np.arange(points) + 1) * (native / (2 * points))).astype(np.float32))


def _taps(places: Tensor, cells: int, stride: int, periodic: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Cells on both sides of every place, and the share of the second."""
    at = places / stride - 0.5
    first = at.floor()
    share = at - first
    before, after = first.long(), first.long() + 1
    if periodic:
        return before % cells, after % cells, share
    return before.clamp(0, cells - 1), after.clamp(0, cells - 1), share
