"""Resampling from one grid to another of the same extent, axis by axis.

Samples lie at cell centres: when an axis of n cells gets m points, point i lies at (i + 1/2) n / m in units of cells. A
finer axis is interpolated (Lanczos, three lobes); on a coarser one each point is the mean over its footprint.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

LOBES = 3


@dataclass(frozen=True)
class Axis:
    """Resamples one axis of an array.

    Attributes:
        count: the samples along the axis.
        points: the points along the resampled axis.
        part: the points to compute.
        periodic: whether the axis is a circle; otherwise it is extended by its first and last sample.
    """

    count: int
    points: int
    part: slice
    periodic: bool = False

    @classmethod
    def whole(cls, count: int, points: int, *, periodic: bool = False) -> Axis:
        """Return the resampling of an axis to all its new points."""
        return cls(count, points, slice(0, points), periodic)

    def needed(self) -> slice:
        """Return the samples on which the points in ``part`` depend; all of them if a circle is resampled."""
        if self.points == self.count:
            return self.part
        if self.periodic:
            return slice(0, self.count)
        places = taps(self.count, self.points)[0][self.part].clip(0, self.count - 1)
        return slice(int(places.min()), int(places.max()) + 1)

    def resampled(self, values: FloatArray, axis: int, first: int = 0) -> FloatArray:
        """Return ``values`` (.., n, ..) at the points in ``part``, (.., len(part), ..).

        Args:
            values: the samples from ``first`` on; they include those in ``needed``.
            axis: the dimension of ``values`` to resample.
            first: the index of the first sample in ``values``.
        """
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
    """Return ``values`` (.., n, ..) with ``points`` samples along an axis, which may be a circle."""
    return Axis.whole(values.shape[axis], points, periodic=periodic).resampled(values, axis)


def resample_grid(values: FloatArray, size: tuple[int, ...], *, periodic: bool = False) -> FloatArray:
    """Return ``values`` (*grid, C) on a grid of ``size`` points, as (*size, C).

    Args:
        values: the samples.
        size: the points along each axis.
        periodic: whether the last axis of the grid is a circle.
    """
    for axis, points in enumerate(size):
        values = resample(values, axis, points, periodic=periodic and axis == len(size) - 1)
    return values


def window_axes(
    shape: tuple[int, ...], size: tuple[int, ...], window: tuple[slice, ...], *, periodic: bool = False
) -> list[Axis]:
    """Return the resampling of each axis of a grid.

    Args:
        shape: the samples along each axis.
        size: the points along each resampled axis.
        window: the points to compute along each axis.
        periodic: whether the last axis is a circle.
    """
    last = len(shape) - 1
    return [
        Axis(count, points, part, periodic and i == last)
        for i, (count, points, part) in enumerate(zip(shape, size, window, strict=True))
    ]


def taps(count: int, points: int) -> tuple[NDArray[np.int64], FloatArray]:
    """Return the indices and the weights, both (points, T), of the samples of which each point is the weighted sum.

    Indices may lie beyond the ends of the axis; the weights of a point have the sum 1.
    """
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
