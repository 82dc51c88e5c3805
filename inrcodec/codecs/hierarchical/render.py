"""Evaluate the hierarchical model on any grid: the SIREN head at the native points, band by band, then resampling.

The head is trained at native points only, and between them it is worse than interpolation: a photograph decoded at
twice its size by the head itself was 0.7 dB below Lanczos interpolation of its native values (kodim04 from half its
size), and showed the lattice of the features. So values between native points are interpolated, and below the native
size every point is the mean over its footprint.

Invariant: a window is equal, bit by bit, to the same points of the whole grid.
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
from inrcodec.codecs.hierarchical.model import HierarchicalINR, patch_values
from inrcodec.signals.resample import window_axes

FloatArray = NDArray[np.float32]

POINTS_AT_ONCE, FEATURES_AT_ONCE = 1 << 16, 1 << 18
"""Points of a band of rows, and cells of a run of feature rows, that are evaluated at once. They bound the memory."""


def render(
    model: HierarchicalINR,
    h: Tensor,
    rate: Tensor,
    shape: tuple[int, ...],
    size: tuple[int, ...],
    weights: Tensor | None = None,
    window: tuple[slice, ...] | None = None,
) -> FloatArray:
    """Return the values of one signal on a grid of ``size`` points.

    Args:
        model: the model.
        h: what ``top_down`` returned, (1, C', H', W') in float32; may be overwritten.
        rate: anchor weights (1, A).
        shape: shape of the native grid.
        size: shape of the output grid.
        weights: flat head weights (n,); by default the prior mean.
        window: the part of the output grid to return; by default all of it.

    Returns:
        Values (*size, C), or those in ``window``.
    """
    if model.config.patch:
        return _render_patches(model.config, h, shape, size, window)
    axes = window_axes(shape, size, window or tuple(slice(0, n) for n in size), periodic=model.config.periodic)
    rows = axes[0].needed() if model.config.axes == 2 else slice(0, 1)
    values, first = _native(model, h, rate, shape, weights, rows)
    for number, axis in enumerate(axes):
        values = axis.resampled(values, number, first if number == 0 else 0)
    return np.ascontiguousarray(values)


def _render_patches(
    config: HierarchicalConfig,
    h: Tensor,
    shape: tuple[int, ...],
    size: tuple[int, ...],
    window: tuple[slice, ...] | None,
) -> FloatArray:
    """Resample the values of a model with patches; at the native size they are a function of integers."""
    axes = window_axes(shape, size, window or tuple(slice(0, n) for n in size), periodic=config.periodic)
    rows = axes[0].needed() if config.axes == 2 else slice(0, 1)
    native = patch_values(config, h[0, :, rows, : shape[-1]], overwrite=True).permute(1, 2, 0)
    values = (native if config.axes == 2 else native[0]).numpy()
    for number, axis in enumerate(axes):
        values = axis.resampled(values, number, rows.start if number == 0 else 0)
    return np.ascontiguousarray(values)


def _native(
    model: HierarchicalINR, h: Tensor, rate: Tensor, shape: tuple[int, ...], weights: Tensor | None, needed_rows: slice
) -> tuple[FloatArray, int]:
    """Return native values in the bands that contain the needed rows, and the first row of these bands.

    Bands, and the runs of feature rows that they are computed from, do not depend on the needed rows, because the order
    of sums in a matrix product may depend on its size.
    """
    config = model.config
    height, width = (1, *shape) if config.axes == 1 else shape
    bands = list(_bands(height, width))
    needed = [band for band in bands if band[1] > needed_rows.start and band[0] < needed_rows.stop]
    top, bottom = needed[0][0], needed[-1][1]
    out = np.empty(((bottom - top) * width, config.channels), np.float32)
    columns = torch.arange(width) + 0.5
    factor = config.levels[-1].stride // config.feature_stride
    down, across = h.shape[2] * (factor if config.axes == 2 else 1), h.shape[3] * factor
    left, right, right_share = _taps(columns, across, config.feature_stride, config.periodic)
    first, last, by_row = 0, 0, torch.empty(0)
    for begin, end in bands[: bands.index(needed[-1]) + 1]:
        rows = torch.arange(begin, end) + 0.5
        above, below, below_share = _taps(rows, down, config.feature_stride if config.axes == 2 else 1, False)
        if int(below[-1]) >= last:
            first, by_row = int(above[0]), torch.empty(0)
            last = min(down, max(first + FEATURES_AT_ONCE // across, int(below[-1]) + 1))
        if begin < top:
            continue
        if len(by_row) == 0:
            by_row = model.feature_rows(h, rate, first, last)[0].permute(1, 2, 0).contiguous()
        band = torch.lerp(by_row[above - first], by_row[below - first], below_share[:, None, None])
        band = torch.lerp(band[:, left], band[:, right], right_share[None, :, None]).flatten(0, 1)
        places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).reshape(-1, 2)
        fourier = fourier_features(config, places[:, -config.axes :], shape)
        head = None if weights is None else weights[None]
        out[(begin - top) * width : (end - top) * width] = model.values(band[None], fourier, head)[0].numpy()
    return out.reshape(*((bottom - top,) if config.axes == 2 else ()), width, config.channels), top


def _bands(height: int, width: int) -> Iterator[tuple[int, int]]:
    rows = max(1, POINTS_AT_ONCE // width)
    for begin in range(0, height, rows):
        yield begin, min(begin + rows, height)


def _taps(places: Tensor, cells: int, stride: int, periodic: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return the cells before and after every place, and the interpolation weight of the cell after it."""
    position = places / stride - 0.5
    first = position.floor()
    weight = position - first
    before, after = first.long(), first.long() + 1
    if periodic:
        return before % cells, after % cells, weight
    return before.clamp(0, cells - 1), after.clamp(0, cells - 1), weight


def fourier_features(config: HierarchicalConfig, places: Tensor, extent: tuple[int, ...]) -> Tensor:
    """Return the Fourier features of places.

    They are the sines and cosines whose periods are a cell of the feature grid divided by 1, 2, ..., ``harmonics``, as
    far as points of the native grid can tell them apart. For two axes they are all products of these. On the sphere,
    the Cartesian coordinates x, y, z of the place are appended.

    Args:
        config: the configuration of the model.
        places: (P, axes), in units of native points from the border of the grid.
        extent: shape of the whole grid; on the sphere it begins at the north pole.

    Returns:
        (P, F), see ``fourier_count``.
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
    cartesian = [torch.sin(down) * torch.cos(around), torch.sin(down) * torch.sin(around), torch.cos(down)]
    return torch.cat([products, torch.stack(cartesian, dim=1)], dim=1)


def _axis_waves(config: HierarchicalConfig, places: Tensor) -> Tensor:
    """Return the waves (P, n) along one axis.

    The cosine with a period of two points is 0 at every native point, so it is left out.
    """
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
    """Interpolate features linearly between cell centres.

    ``render`` does the same band by band, for decoding.

    Args:
        config: the configuration of the model.
        features: (N, F, H', W') at ``config.feature_stride``.
        height: rows of the native grid.
        width: columns of the native grid.

    Returns:
        (N, height * width, F), at the points of the native grid.
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
