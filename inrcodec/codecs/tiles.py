"""Cut large images into tiles, which are encoded like planes, so that the memory does not grow with the image.

An image of more than ``TILED_FROM`` points is cut into tiles of about ``TILE`` x ``TILE`` points. Neighbours overlap by
``OVERLAP`` points, over which the decoder blends linearly from one to the other.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from inrcodec.codecs.base import FloatArray, Window
from inrcodec.limits import Limits

TILED_FROM = 1 << 23
"""Images with more points are cut into tiles."""
TILE, OVERLAP = 2048, 64
"""Approximate side of a tile, and overlap of neighbouring tiles, in points."""


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


def check_tile_work(
    limits: Limits,
    n_planes: int,
    shape: tuple[int, ...],
    size: tuple[int, ...],
    *,
    tiles: Sequence[Window],
    stride: int,
    multiply_adds: float,
) -> None:
    """Raise LimitError where decoding planes by their tiles takes more than the limits allow.

    Args:
        limits: the limits.
        n_planes: number of planes.
        shape: shape of a plane.
        size: points of a plane's output grid along each axis.
        tiles: windows of the tiles of a plane.
        stride: the coarsest stride of the model, to a multiple of which tiles are padded.
        multiply_adds: of a padded point.
    """
    n_points = math.prod(max(a, b) for a, b in zip(shape, size, strict=True)) * n_planes
    tile_shapes = [tuple(part.stop - part.start for part in tile) for tile in tiles]
    n_padded = sum(math.prod(padded_shape(tile_shape, stride)) for tile_shape in tile_shapes) * n_planes
    limits.check_size(max(n_points, n_padded), size)
    limits.check_work(n_padded * multiply_adds)


def _cuts(n: int, unit: int) -> list[slice]:
    """Return equal pieces of about ``TILE`` points or less that begin at multiples of ``unit``.

    Each piece is extended by half the overlap on both sides.
    """
    count = max(1, -(-n // TILE))
    edges = [round(i * n / count / unit) * unit for i in range(count)] + [n]
    half = OVERLAP // 2
    return [slice(max(0, a - half), min(n, b + half)) for a, b in itertools.pairwise(edges)]


class TileBlender:
    """Blends tiles into the part of a plane that lies in a window.

    Attributes:
        shape: shape of the plane.
        window: the window.
        values: the sum of the tiles added so far, (*window, C).
    """

    def __init__(self, shape: tuple[int, ...], window: Window, channels: int) -> None:
        self.shape, self.window = shape, window
        self.values = np.zeros((*(part.stop - part.start for part in window), channels), np.float32)

    def touches(self, tile: Window) -> bool:
        """Return whether a tile has points in the window."""
        return all(a.start < b.stop and b.start < a.stop for a, b in zip(tile, self.window, strict=True))

    def add(self, tile: Window, values: FloatArray) -> None:
        """Add a tile's values (*tile shape, C), weighted so that overlapping tiles add up to one."""
        for axis, (extent, n) in enumerate(zip(tile, self.shape, strict=True)):
            ramp = _ramp(extent, n)
            if (ramp < 1.0).any():
                values = values * ramp.reshape(-1, *[1] * (values.ndim - 1 - axis))
        common = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(tile, self.window, strict=True)]
        inside = tuple(slice(c.start - w.start, c.stop - w.start) for c, w in zip(common, self.window, strict=True))
        self.values[inside] += values[
            tuple(slice(c.start - t.start, c.stop - t.start) for c, t in zip(common, tile, strict=True))
        ]


def _ramp(extent: slice, n: int) -> FloatArray:
    """Return the weights of a tile along one axis of ``n`` points: linear over the overlaps, else 1."""
    ramp = np.ones(extent.stop - extent.start, np.float32)
    rise = (np.arange(OVERLAP, dtype=np.float32) + np.float32(0.5)) / OVERLAP
    if extent.start > 0:
        ramp[:OVERLAP] = rise
    if extent.stop < n:
        ramp[-OVERLAP:] = 1.0 - rise
    return ramp
