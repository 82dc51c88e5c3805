"""Coordinates of regular grids: cell centres in [-1, 1], so that the extent of a signal is the same at every size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pixel_centres(n: int) -> NDArray[np.float32]:
    """Return the centres (n,) of n equal cells of [-1, 1], (2 i + 1) / n - 1, in float32."""
    return ((2.0 * np.arange(n) + 1.0) / n - 1.0).astype(np.float32)


def grid_coordinates(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the coordinates of all points of a grid, (*shape, axes) in float32, in the order of its axes."""
    axes = np.meshgrid(*[pixel_centres(n) for n in shape], indexing="ij")
    return np.stack(axes, axis=-1)
