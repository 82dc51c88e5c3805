"""Samples on a grid to samples on another grid of the same extent, axis by axis.

Samples lie at cell centres: of m points along an axis of n, point i lies at (i + 1/2) n / m in units of the n cells. A
finer axis gets the interpolation of Lanczos with three lobes, a coarser one the mean over each point's footprint.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

LOBES = 3


def resample(values: FloatArray, axis: int, points: int, *, periodic: bool = False) -> FloatArray:
    """``values`` (.., n, ..) with ``points`` samples along an axis; beyond its ends the values of the ends go on, with
    ``periodic`` those of the other end."""
    count = values.shape[axis]
    if points == count:
        return values
    places, weights = taps(count, points)
    places = places % count if periodic else places.clip(0, count - 1)
    shape = [1] * values.ndim
    shape[axis] = points
    out = np.zeros((*values.shape[:axis], points, *values.shape[axis + 1 :]), np.float32)
    for place, weight in zip(places.T, weights.T, strict=True):
        out += values.take(place, axis) * weight.reshape(shape)
    return out


def resample_grid(values: FloatArray, size: tuple[int, ...], *, periodic: bool = False) -> FloatArray:
    """``values`` (*grid, C) on a grid of ``size`` points; ``periodic``: the last axis of the grid is a circle."""
    for axis, points in enumerate(size):
        values = resample(values, axis, points, periodic=periodic and axis == len(size) - 1)
    return values


def taps(count: int, points: int) -> tuple[NDArray[np.int64], FloatArray]:
    """Places, some beyond the ends, and weights (points, T) of the samples that make up each new one."""
    step = count / points
    if points > count:
        centre = (np.arange(points) + 0.5) * step - 0.5
        places = np.floor(centre).astype(np.int64)[:, None] + np.arange(1 - LOBES, LOBES + 1)
        away = centre[:, None] - places
        weights = np.sinc(away) * np.sinc(away / LOBES)
    else:
        begin = np.arange(points) * step
        places = np.floor(begin + 1e-9).astype(np.int64)[:, None] + np.arange(int(np.ceil(step)) + 1)
        overlap = np.minimum(places + 1, begin[:, None] + step) - np.maximum(places, begin[:, None])
        weights = overlap.clip(0.0)
    return places, (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
