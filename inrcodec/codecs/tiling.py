"""How pictures are cut, grouped and turned before they are coded."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

LONGEST_SIDE = 2048
"""Sides of pictures that are coded as one; larger ones are cut into equal tiles."""
GROUP_POINTS = 1 << 18
"""Points of pictures that are coded together."""
ORIENTATIONS = 8


def groups(count: int, points: int, share: int) -> Iterator[tuple[int, int]]:
    """Where the groups of a chain begin and end: each has 1 / ``share`` of the pictures before, which pay for it."""
    start, most = 0, max(1, GROUP_POINTS // points)
    while start < count:
        stop = min(start + min(max(1, start // share), most), count)
        yield start, stop
        start = stop


def tiles(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Equal tiles of at most ``LONGEST_SIDE`` a side, row by row."""
    rows, columns = (np.linspace(0, n, -(-n // LONGEST_SIDE) + 1).astype(int).tolist() for n in (height, width))
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            yield slice(top, bottom), slice(left, right)


def turned(planes: NDArray[np.uint16], orientation: int) -> NDArray[np.uint16]:
    """Planes (C, H, W) mirrored up-down (1), left-right (2), transposed (4)."""
    planes = planes[:, ::-1] if orientation & 1 else planes
    planes = planes[:, :, ::-1] if orientation & 2 else planes
    return planes.swapaxes(1, 2) if orientation & 4 else planes


def turned_back(planes: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Inverse of ``turned``."""
    planes = planes.swapaxes(1, 2) if orientation & 4 else planes
    planes = planes[:, :, ::-1] if orientation & 2 else planes
    return planes[:, ::-1] if orientation & 1 else planes
