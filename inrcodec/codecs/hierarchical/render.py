"""The hierarchical model's function on any grid: the SIREN head at the native points, band by band, then resampled.

The head learns at native points alone. Between them its values are worse than interpolation: a photograph's file
decoded twice as large by the head itself lay 0.7 dB below Lanczos interpolation of its native values (kodim04 from half
its size), and showed the lattice of the features. So the function between native points is that interpolation; below
the native size every point is the mean of the function over its footprint.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from inrcodec.codecs.hierarchical.config import HierarchicalConfig
from inrcodec.codecs.hierarchical.model import HierarchicalINR
from inrcodec.signals.resample import window_axes

FloatArray = NDArray[np.float32]

POINTS_AT_ONCE, FEATURES_AT_ONCE = 1 << 16, 1 << 18


def render(
    model: HierarchicalINR,
    h: Tensor,
    rate: Tensor,
    shape: tuple[int, ...],
    size: tuple[int, ...],
    weights: Tensor | None = None,
    window: tuple[slice, ...] | None = None,
) -> FloatArray:
    """Values (*size, C) of one signal, or those of them in ``window``, to the last bit the same.

    ``h`` (1, C', H', W'): features at the finest stride, at anchor weights ``rate`` (1, A); ``shape``: the native grid;
    ``weights`` (n,) the head's, by default the prior's mean.
    """
    axes = window_axes(shape, size, window or tuple(slice(0, n) for n in size), periodic=model.config.periodic)
    rows = axes[0].needed() if model.config.axes == 2 else slice(0, 1)
    values, first = _native(model, h, rate, shape, weights, rows)
    for number, axis in enumerate(axes):
        values = axis.resampled(values, number, first if number == 0 else 0)
    return np.ascontiguousarray(values)


def _native(
    model: HierarchicalINR, h: Tensor, rate: Tensor, shape: tuple[int, ...], weights: Tensor | None, wanted: slice
) -> tuple[FloatArray, int]:
    """Values of the native grid in the bands of rows that hold the wanted ones, and the first row of these bands.

    Bands, and the runs of features that they are made of, are the same whatever is wanted: the order of sums in a
    product of matrices may depend on its size.
    """
    config = model.config
    height, width = (1, *shape) if config.axes == 1 else shape
    bands = list(_bands(height, width))
    needed = [band for band in bands if band[1] > wanted.start and band[0] < wanted.stop]
    top, bottom = needed[0][0], needed[-1][1]
    out = np.empty(((bottom - top) * width, config.channels), np.float32)
    columns = torch.arange(width) + 0.5
    factor = config.levels[-1].stride // config.feature_stride
    down, across = h.shape[2] * (factor if config.axes == 2 else 1), h.shape[3] * factor
    left, right, part = _taps(columns, across, config.feature_stride, config.periodic)
    first, last, by_row = 0, 0, torch.empty(0)
    for begin, end in bands[: bands.index(needed[-1]) + 1]:
        rows = torch.arange(begin, end) + 0.5
        above, below, share = _taps(rows, down, config.feature_stride if config.axes == 2 else 1, False)
        if int(below[-1]) >= last:
            first, by_row = int(above[0]), torch.empty(0)
            last = min(down, max(first + FEATURES_AT_ONCE // across, int(below[-1]) + 1))
        if begin < top:
            continue
        if len(by_row) == 0:
            by_row = model.feature_rows(h, rate, first, last)[0].permute(1, 2, 0).contiguous()
        band = torch.lerp(by_row[above - first], by_row[below - first], share[:, None, None])
        band = torch.lerp(band[:, left], band[:, right], part[None, :, None]).flatten(0, 1)
        places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).reshape(-1, 2)
        fourier = fourier_features(config, places[:, -config.axes :], shape)
        chosen = None if weights is None else weights[None]
        out[(begin - top) * width : (end - top) * width] = model.values(band[None], fourier, chosen)[0].numpy()
    return out.reshape(*((bottom - top,) if config.axes == 2 else ()), width, config.channels), top


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


def fourier_features(config: HierarchicalConfig, places: Tensor, extent: tuple[int, ...]) -> Tensor:
    """Fourier features (P, F) of places (P, axes) in units of the native grid, 0 at its border.

    Sines and cosines with periods of a cell of the feature grid over 1, 2 .. ``harmonics``, as far as points of the
    native grid can tell them apart; of two axes all products. On the sphere also x, y, z of a grid of ``extent`` points
    from the north pole down and around.
    """
    axes = [_axis_waves(config, places[:, axis]) for axis in range(config.axes)]
    if config.axes == 1:
        return axes[0]
    ones = torch.ones_like(places[:, :1])
    rows, columns = torch.cat([ones, axes[0]], -1), torch.cat([ones, axes[1]], -1)
    products = (rows[:, :, None] * columns[:, None, :]).flatten(1)[:, 1:]
    if not config.sphere:
        return products
    down, around = math.pi * places[:, 0] / extent[0], 2.0 * math.pi * places[:, 1] / extent[1]
    ball = [torch.sin(down) * torch.cos(around), torch.sin(down) * torch.sin(around), torch.cos(down)]
    return torch.cat([products, torch.stack(ball, dim=1)], dim=1)


def _axis_waves(config: HierarchicalConfig, places: Tensor) -> Tensor:
    """Waves (P, n) along one axis; the cosine of two points per period is 0 at every native point and left out."""
    stride, out = config.feature_stride, [places.new_empty(len(places), 0)]
    for h in range(1, config.harmonics + 1):
        if 2 * h > stride:
            break
        angle = 2.0 * math.pi * h / stride * places
        out.append(torch.sin(angle)[:, None])
        if 2 * h < stride:
            out.append(torch.cos(angle)[:, None])
    return torch.cat(out, dim=1)


def interpolate(config: HierarchicalConfig, features: Tensor, height: int, width: int) -> Tensor:
    """Features (N, F, H', W') at the points of the native grid, (N, height * width, F), bilinear between cell centres.

    ``codecs.hierarchical.render`` does the same band by band.
    """
    factor = float(config.feature_stride)
    if config.axes == 1:
        out = functional.interpolate(features[:, :, 0], scale_factor=factor, mode="linear")[:, :, None]
    elif config.periodic:
        wide = functional.pad(features, (1, 1, 0, 0), mode="circular")
        out = functional.interpolate(wide, scale_factor=factor, mode="bilinear")
        out = out[..., config.feature_stride : -config.feature_stride]
    else:
        out = functional.interpolate(features, scale_factor=factor, mode="bilinear")
    return out[:, :, :height, :width].permute(0, 2, 3, 1).flatten(1, 2)
