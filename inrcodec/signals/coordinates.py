"""Regular grids. Coordinates are pixel centres in [-1, 1], so that a footprint keeps its place at every size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pixel_centres(n: int) -> NDArray[np.float32]:
    """Centres of n equal cells of [-1, 1]: (2 i + 1) / n - 1, float32."""
    return ((2.0 * np.arange(n) + 1.0) / n - 1.0).astype(np.float32)


def grid_coordinates(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Coordinates of all points of a grid, (*shape, axes), the first axis slowest."""
    axes = np.meshgrid(*[pixel_centres(n) for n in shape], indexing="ij")
    return np.stack(axes, axis=-1)
