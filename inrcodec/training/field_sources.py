"""Training patches of gridded fields: flat ones for any 2-D array, bands of the globe with their latitudes.

Fields are few, so patches vary widely: every plane is normalised to [0, 1] and comes at several resolutions; patches
are mirrored, rotated around the globe, and use a random part of the range of values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import DataError

FloatArray = NDArray[np.float32]

NARROWEST = 0.1
"""Smallest part of the range of values that a patch uses."""
SYNTHETIC_SHARE = 0.2
"""Share of patches that are synthetic."""
SPECTRAL_SLOPES = (1.0, 4.0)
"""Power of synthetic fields falls as wave number to the minus this."""


@dataclass(frozen=True)
class Band:
    """Patches of one place on a globe.

    Attributes:
        values: (N, H, W, 1).
        top: number of the first row, counted from the north pole.
        extent: rows and columns of the whole globe.
    """

    values: FloatArray
    top: int
    extent: tuple[int, int]


class PlaneSource:
    """Draws random patches of 2-D arrays, mirrored and transposed; some are synthetic, with a power-law spectrum."""

    channels = 1

    def __init__(self, planes: Sequence[FloatArray], patch_shape: tuple[int, ...]) -> None:
        self.patch_shape = (patch_shape[0], patch_shape[1])
        self.planes = [small for plane in planes for small in pyramid(plane, min(patch_shape) // 2)]
        if not self.planes:
            raise DataError("no fields to train on")
        area = np.sqrt([plane.size for plane in self.planes])
        self.share = area / area.sum()

    def draw(self, count: int, rng: np.random.Generator) -> FloatArray:
        """Return patches, (count, *patch_shape, 1)."""
        out = np.empty((count, *self.patch_shape, 1), np.float32)
        for row in range(count):
            if rng.random() < SYNTHETIC_SHARE:
                patch = power_law_field(self.patch_shape, rng)
            else:
                patch = self._cut(self.planes[rng.choice(len(self.planes), p=self.share)], rng)
            out[row, ..., 0] = part_of_range(patch, rng)
        return out

    def _cut(self, plane: FloatArray, rng: np.random.Generator) -> FloatArray:
        if rng.random() < 0.5 and self.patch_shape[0] == self.patch_shape[1]:
            plane = plane.T
        corner = [int(rng.integers(max(1, n - p + 1))) for n, p in zip(plane.shape, self.patch_shape, strict=True)]
        patch = plane[tuple(slice(c, c + p) for c, p in zip(corner, self.patch_shape, strict=True))]
        flips = tuple(slice(None, None, -1 if rng.random() < 0.5 else 1) for _ in range(2))
        return filled(patch[flips], self.patch_shape)


class GlobeSource:
    """Draws bands of global fields (latitude from the north pole down, longitude all around), rotated and mirrored."""

    channels = 1

    def __init__(self, planes: Sequence[FloatArray], patch_shape: tuple[int, ...]) -> None:
        self.patch_shape = (patch_shape[0], patch_shape[1])
        by_size: dict[tuple[int, ...], list[FloatArray]] = {}
        for plane in planes:
            for small in resolutions(plane, self.patch_shape):
                by_size.setdefault(small.shape, []).append(small)
        if not by_size:
            raise DataError(f"no field has at least {self.patch_shape[1]} points of longitude")
        self.sizes = list(by_size.values())
        weight = np.array([math.sqrt(group[0].size) for group in self.sizes])
        self.share = weight / weight.sum()

    def draw_band(self, count: int, rng: np.random.Generator) -> Band:
        """Return patches of one resolution and latitude; beyond the last row its values are repeated."""
        group = self.sizes[rng.choice(len(self.sizes), p=self.share)]
        rows, columns = group[0].shape
        height, width = self.patch_shape
        top = int(rng.integers(max(1, rows - height + 1)))
        out = np.empty((count, height, width, 1), np.float32)
        for row in range(count):
            plane = group[rng.integers(len(group))]
            if rng.random() < 0.5:
                plane = plane[::-1]
            around = (int(rng.integers(columns)) + np.arange(width)) % columns
            patch = filled(plane[top : top + height][:, around], self.patch_shape)
            out[row, ..., 0] = part_of_range(patch[:, ::-1] if rng.random() < 0.5 else patch, rng)
        return Band(out, top, (rows, columns))

    def draw(self, count: int, rng: np.random.Generator) -> FloatArray:
        """Return patches without their place, (count, *patch_shape, 1)."""
        return self.draw_band(count, rng).values


def unit_range(plane: FloatArray) -> FloatArray:
    """Return a plane with its values mapped linearly to [0, 1]."""
    low, high = float(plane.min()), float(plane.max())
    return ((plane - low) / max(high - low, 1e-30)).astype(np.float32)


def part_of_range(patch: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return values of [0, 1] compressed into a random part of it, inverted half of the time."""
    part = math.exp(rng.uniform(math.log(NARROWEST), 0.0)) if rng.random() < 0.7 else 1.0
    patch = 1.0 - patch if rng.random() < 0.5 else patch
    return (patch * part + rng.uniform(0.0, 1.0 - part)).astype(np.float32)


def filled(patch: FloatArray, shape: tuple[int, int]) -> FloatArray:
    """Return a patch of at most ``shape`` with its last row and column repeated up to it."""
    return np.pad(patch, [(0, n - m) for n, m in zip(shape, patch.shape, strict=True)], mode="edge")


def pyramid(plane: FloatArray, smallest: int) -> list[FloatArray]:
    """Return a plane at full resolution and averaged by 2, 4, ... while both sides are at least ``smallest``."""
    out = [plane]
    while min(out[-1].shape) // 2 >= smallest:
        rows, columns = (n // 2 * 2 for n in out[-1].shape)
        out.append(out[-1][:rows, :columns].reshape(rows // 2, 2, columns // 2, 2).mean(axis=(1, 3)))
    return out


def resolutions(plane: FloatArray, patch_shape: tuple[int, int]) -> list[FloatArray]:
    """Return a global plane averaged to 1, 2/3, 4/9, ... of its points while it has ``patch_shape[1]`` columns."""
    out, columns = [], plane.shape[1]
    while columns >= patch_shape[1]:
        rows = max(2, round(plane.shape[0] * columns / plane.shape[1]))
        out.append(averaged(plane, (rows, columns)))
        columns = round(columns / 1.5)
    return out


def averaged(plane: FloatArray, shape: tuple[int, int]) -> FloatArray:
    """Return a plane on a grid of at most its size, each value the mean over its cell."""
    for axis, n in enumerate(shape):
        total = np.insert(np.cumsum(plane, axis=axis, dtype=np.float64), 0, 0.0, axis=axis)
        edges = np.linspace(0.0, plane.shape[axis], n + 1)
        whole = np.minimum(edges.astype(int), plane.shape[axis] - 1)
        part = (edges - whole).reshape([-1 if a == axis else 1 for a in range(2)])
        at_edges = np.take(total, whole, axis) + part * np.take(plane, whole, axis)
        plane = (np.diff(at_edges, axis=axis) * (n / plane.shape[axis])).astype(np.float32)
    return plane


def power_law_field(shape: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    """Return a Gaussian random field in [0, 1] whose power falls as a random power of the wave number."""
    slope = rng.uniform(*SPECTRAL_SLOPES)
    rows, columns = 2 * shape[0], 2 * shape[1]
    wave = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None])
    wave[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((rows, columns))) * wave ** (-0.5 * slope)
    return unit_range(np.fft.irfft2(spectrum, (rows, columns))[: shape[0], : shape[1]].astype(np.float32))
