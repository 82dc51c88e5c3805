"""Large images in tiles, each a plane of its own, so that memory does not grow with them.

An image of more than ``TILED_FROM`` points is cut into tiles of about ``TILE`` x ``TILE``; neighbours share
``OVERLAP`` points, over which the decoder goes linearly from one to the other.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from inrcodec.codecs.base import FloatArray, Window

TILED_FROM = 1 << 23
TILE, OVERLAP = 2048, 64


def padded_shape(shape: tuple[int, ...], stride: int) -> tuple[int, ...]:
    """Return a plane's shape with every axis rounded up to a multiple of ``stride`` points."""
    return tuple(-(-n // stride) * stride for n in shape)


def plane_tiles(kind: str, shape: tuple[int, ...], stride: int) -> list[Window]:
    """Return the windows of the tiles of a plane, row by row; a single one where the plane is not cut.

    Only images are cut. Tiles begin at multiples of ``stride`` points, the coarsest stride of the model.
    """
    if kind != "image" or math.prod(shape) <= TILED_FROM:
        return [tuple(slice(0, n) for n in shape)]
    rows, columns = (_cuts(n, stride) for n in shape)
    return [(row, column) for row in rows for column in columns]


def _cuts(n: int, unit: int) -> list[slice]:
    """Even pieces of at most about ``TILE`` points that begin at multiples of ``unit``, and half the overlap beyond."""
    count = max(1, -(-n // TILE))
    edges = [round(i * n / count / unit) * unit for i in range(count)] + [n]
    half = OVERLAP // 2
    return [slice(max(0, a - half), min(n, b + half)) for a, b in itertools.pairwise(edges)]


class TileBlender:
    """The part of a plane of ``shape`` in a window, values (*window, C), put together from tiles."""

    def __init__(self, shape: tuple[int, ...], window: Window, channels: int) -> None:
        self.shape, self.window = shape, window
        self.values = np.zeros((*(part.stop - part.start for part in window), channels), np.float32)

    def touches(self, tile: Window) -> bool:
        """Whether any of a tile's points is wanted."""
        return all(a.start < b.stop and b.start < a.stop for a, b in zip(tile, self.window, strict=True))

    def add(self, tile: Window, values: FloatArray) -> None:
        """Add a tile's values (*tile shape, C), weighted so that overlapping tiles add up to one."""
        for axis, (part, n) in enumerate(zip(tile, self.shape, strict=True)):
            ramp = _ramp(part, n)
            if (ramp < 1.0).any():
                values = values * ramp.reshape(-1, *[1] * (values.ndim - 1 - axis))
        common = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(tile, self.window, strict=True)]
        inside = tuple(slice(c.start - w.start, c.stop - w.start) for c, w in zip(common, self.window, strict=True))
        self.values[inside] += values[
            tuple(slice(c.start - t.start, c.stop - t.start) for c, t in zip(common, tile, strict=True))
        ]


def _ramp(part: slice, n: int) -> FloatArray:
    ramp = np.ones(part.stop - part.start, np.float32)
    rise = (np.arange(OVERLAP, dtype=np.float32) + np.float32(0.5)) / OVERLAP
    if part.start > 0:
        ramp[:OVERLAP] = rise
    if part.stop < n:
        ramp[-OVERLAP:] = 1.0 - rise
    return ramp
