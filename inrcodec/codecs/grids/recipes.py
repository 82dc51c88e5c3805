"""The one recipe that codec grids learns from."""

from __future__ import annotations

RECIPE, SCALES, CROP = "photographs", (1.0, 1.6), 192
"""The only recipe, the factors by which its images are resampled, and the side of crops."""
