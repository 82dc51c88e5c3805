"""Presets of the grids encoder: gradient steps per plane or tile."""

from __future__ import annotations

GRID_STEPS = {"fast": 60, "default": 250, "best": 1200}
