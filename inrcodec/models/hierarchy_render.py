"""The hierarchical model's function on any grid: the SIREN head at the native points, band by band, then resampled.

The head learns at native points alone. Between them its values are worse than interpolation: a photograph's file
decoded twice as large by the head itself lay 0.7 dB below Lanczos interpolation of its native values (kodim04 from half
its size), and showed the lattice of the features. So the function between native points is that interpolation; below
the native size every point is the mean of the function over its footprint.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec.maths.resample import resample_grid
from inrcodec.models.hierarchy import HierarchyINR
from inrcodec.models.hierarchy_points import fourier_features

FloatArray = NDArray[np.float32]

POINTS_AT_ONCE = 1 << 16


def render(
    model: HierarchyINR, features: Tensor, shape: tuple[int, ...], size: tuple[int, ...], weights: Tensor | None = None
) -> FloatArray:
    """Values (*size, C) of one signal.

    ``features`` (F, H', W') as ``HierarchyINR.features`` gives them, ``shape`` the native grid, ``weights`` (n,) the
    head's, by default the prior's mean.
    """
    return resample_grid(_native(model, features, shape, weights), size, periodic=model.config.periodic)


def _native(model: HierarchyINR, features: Tensor, shape: tuple[int, ...], weights: Tensor | None) -> FloatArray:
    config = model.config
    height, width = (1, *shape) if config.axes == 1 else shape
    out = np.empty((height * width, config.channels), np.float32)
    columns = torch.arange(width) + 0.5
    left, right, part = _taps(columns, features.shape[2], config.feature_stride, config.periodic)
    by_row = features.permute(1, 2, 0).contiguous()
    for begin, end in _bands(height, width):
        rows = torch.arange(begin, end) + 0.5
        above, below, share = _taps(rows, features.shape[1], config.feature_stride if config.axes == 2 else 1, False)
        band = torch.lerp(by_row[above], by_row[below], share[:, None, None])
        band = torch.lerp(band[:, left], band[:, right], part[None, :, None]).flatten(0, 1)
        places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).reshape(-1, 2)
        fourier = fourier_features(config, places[:, -config.axes :], shape)
        chosen = None if weights is None else weights[None]
        out[begin * width : end * width] = model.values(band[None], fourier, chosen)[0].numpy()
    return out.reshape(*shape, config.channels)


def _bands(height: int, width: int) -> Iterator[tuple[int, int]]:
    rows = max(1, POINTS_AT_ONCE // width)
    for begin in range(0, height, rows):
        yield begin, min(begin + rows, height)


def _taps(places: Tensor, cells: int, stride: int, periodic: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Cells on both sides of every place, and the share of the second."""
    at = places / stride - 0.5
    first = at.floor()
    share = at - first
    before, after = first.long(), first.long() + 1
    if periodic:
        return before % cells, after % cells, share
    return before.clamp(0, cells - 1), after.clamp(0, cells - 1), share
