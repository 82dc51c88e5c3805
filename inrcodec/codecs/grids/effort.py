"""Effort presets of the grids encoder."""

from __future__ import annotations

GRID_STEPS = {"fast": 60, "default": 250, "best": 1200}
"""Gradient steps per plane or tile, by effort."""
