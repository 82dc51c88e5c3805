"""From the hierarchical model's feature grid to points of the plane: Fourier features of a place, interpolation."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from inrcodec.models.hierarchy_shape import HierarchyConfig


def fourier_features(config: HierarchyConfig, places: Tensor, extent: tuple[int, ...]) -> Tensor:
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


def _axis_waves(config: HierarchyConfig, places: Tensor) -> Tensor:
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


def interpolate(config: HierarchyConfig, features: Tensor, height: int, width: int) -> Tensor:
    """Features (N, F, H', W') at the points of the native grid, (N, height * width, F), bilinear between cell centres.

    ``models.hierarchy_render`` does the same band by band.
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
