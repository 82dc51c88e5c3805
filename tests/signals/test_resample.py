"""Test resampling along axes: what stays exact, what is averaged, what is interpolated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inrcodec.signals.resample import LOBES, resample, taps


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 200), st.booleans())
def test_constant_signals_stay_constant(count: int, points: int, periodic: bool) -> None:
    out = resample(np.full((2, count, 3), 0.7, np.float32), 1, points, periodic=periodic)
    assert out.shape == (2, points, 3) and np.allclose(out, 0.7, atol=1e-6)


def test_values_on_the_same_grid_are_not_copied() -> None:
    values = np.arange(6, dtype=np.float32)
    assert resample(values, 0, 6) is values


def test_a_coarser_grid_averages_footprints() -> None:
    values = np.arange(12, dtype=np.float32)
    assert np.allclose(resample(values, 0, 4), [1, 4, 7, 10])
    # Three points of 4/3 cells: (0 + 1/3) / (4/3), (2/3 + 4/3) / (4/3), (2 * 1/3 + 3) / (4/3).
    assert np.allclose(resample(values[:4], 0, 3), [0.25, 1.5, 2.75])
    assert abs(resample(values, 0, 5).mean() - values.mean()) < 1e-6


@pytest.mark.parametrize("points", [66, 96, 200])
def test_a_finer_grid_interpolates_slow_waves(points: int) -> None:
    count = 64
    wave = np.sin(2 * np.pi * 4 * (np.arange(count) + 0.5) / count).astype(np.float32)
    truth = np.sin(2 * np.pi * 4 * (np.arange(points) + 0.5) / points)
    error = np.abs(resample(wave, 0, points, periodic=True) - truth).max()
    assert error < 0.012, "a window of three lobes ripples by 1 %"


def test_ends_are_extended_or_joined() -> None:
    values = np.zeros(16, np.float32)
    values[0] = 1.0
    periodic, extended = resample(values, 0, 32, periodic=True), resample(values, 0, 32)
    assert abs(periodic[-1]) > 0.1 and abs(extended[-1]) < 1e-6
    assert taps(16, 32)[0].min() == 1 - LOBES - 1
