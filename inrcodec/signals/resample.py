"""Samples on a grid to samples on another grid of the same extent, axis by axis.

Samples lie at cell centres: of m points along an axis of n, point i lies at (i + 1/2) n / m in units of the n cells. A
finer axis gets the interpolation of Lanczos with three lobes, a coarser one the mean over each point's footprint.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

LOBES = 3


@dataclass(frozen=True)
class Axis:
    """One axis of ``count`` samples made one of ``points``, of which those in ``part`` are wanted.

    Beyond its ends the samples of the ends go on, with ``periodic`` those of the other end.
    """

    count: int
    points: int
    part: slice
    periodic: bool = False

    @classmethod
    def whole(cls, count: int, points: int, *, periodic: bool = False) -> Axis:
        """All of an axis."""
        return cls(count, points, slice(0, points), periodic)

    def needed(self) -> slice:
        """The samples that the wanted points are made of; all of them on a circle that is resampled."""
        if self.points == self.count:
            return self.part
        if self.periodic:
            return slice(0, self.count)
        places = taps(self.count, self.points)[0][self.part].clip(0, self.count - 1)
        return slice(int(places.min()), int(places.max()) + 1)

    def resampled(self, values: FloatArray, axis: int, first: int = 0) -> FloatArray:
        """``values`` (.., n, ..), which along ``axis`` are the samples from ``first`` on, at the wanted points."""
        if self.points == self.count:
            if (self.part.start, self.part.stop) == (first, first + values.shape[axis]):
                return values
            cut = (slice(None),) * axis + (slice(self.part.start - first, self.part.stop - first),)
            return values[cut]
        places, weights = (x[self.part] for x in taps(self.count, self.points))
        places = places % self.count if self.periodic else places.clip(0, self.count - 1)
        shape = [1] * values.ndim
        shape[axis] = len(places)
        out = np.zeros((*values.shape[:axis], len(places), *values.shape[axis + 1 :]), np.float32)
        for place, weight in zip(places.T, weights.T, strict=True):
            out += values.take(place - first, axis) * weight.reshape(shape)
        return out


def resample(values: FloatArray, axis: int, points: int, *, periodic: bool = False) -> FloatArray:
    """``values`` (.., n, ..) with ``points`` samples along an axis."""
    return Axis.whole(values.shape[axis], points, periodic=periodic).resampled(values, axis)


def resample_grid(values: FloatArray, size: tuple[int, ...], *, periodic: bool = False) -> FloatArray:
    """``values`` (*grid, C) on a grid of ``size`` points; ``periodic``: the last axis of the grid is a circle."""
    for axis, points in enumerate(size):
        values = resample(values, axis, points, periodic=periodic and axis == len(size) - 1)
    return values


def window_axes(
    shape: tuple[int, ...], size: tuple[int, ...], window: tuple[slice, ...], *, periodic: bool = False
) -> list[Axis]:
    """The axes of a grid of ``shape`` made one of ``size``, of which a window is wanted."""
    last = len(shape) - 1
    return [
        Axis(count, points, part, periodic and i == last)
        for i, (count, points, part) in enumerate(zip(shape, size, window, strict=True))
    ]


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
