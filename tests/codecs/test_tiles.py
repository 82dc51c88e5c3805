"""Large images in tiles: where they are cut, that they add up to the whole, that no seam shows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inrcodec.api import InrFile
from inrcodec.codecs import prior_store, tiles
from inrcodec.codecs.hierarchical.effort import HIERARCHICAL_EFFORTS, HierarchicalEffort
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
from inrcodec.codecs.tiles import TileBlender, plane_tiles
from inrcodec.encoding import encode_signals
from inrcodec.settings import Settings
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.signal import Signal


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of 160 points a side from 200 x 200 points on."""
    monkeypatch.setattr(tiles, "TILED_FROM", 200 * 200)
    monkeypatch.setattr(tiles, "TILE", 160)


def _prior() -> HierarchicalPrior:
    prior = prior_store.find("photographs")
    assert isinstance(prior, HierarchicalPrior)
    return prior


@settings(deadline=None)
@given(st.integers(2000, 9000), st.integers(2000, 9000))
def test_tiles_cover_every_point_with_weights_that_add_up_to_one(height: int, width: int) -> None:
    found = plane_tiles("image", (height, width), _prior().config.coarsest)
    if height * width <= tiles.TILED_FROM:
        assert found == [(slice(0, height), slice(0, width))]
        return
    for axis, n in enumerate((height, width)):
        total = np.zeros(n)
        for part in {(window[axis].start, window[axis].stop) for window in found}:
            blender = TileBlender((n,), (slice(0, n),), 1)
            blender.add((slice(*part),), np.ones((part[1] - part[0], 1), np.float32))
            total += blender.values[:, 0]
            assert part[1] - part[0] <= tiles.TILE + tiles.OVERLAP + _prior().config.coarsest
        np.testing.assert_allclose(total, 1.0, atol=1e-6)


def test_a_blender_of_a_plane_is_the_plane(small_tiles: None) -> None:
    plane = np.random.default_rng(0).random((347, 401, 3), np.float32)
    blender = TileBlender(plane.shape[:2], (slice(0, 347), slice(0, 401)), 3)
    windows = plane_tiles("image", plane.shape[:2], _prior().config.coarsest)
    assert len(windows) == 9
    for window in windows:
        blender.add(window, plane[window])
    np.testing.assert_allclose(blender.values, plane, atol=1e-6)


@pytest.mark.parametrize("shape", [(400, 470), (333, 501)])
def test_a_tiled_image_comes_back_without_seams(
    small_tiles: None, monkeypatch: pytest.MonkeyPatch, photograph: np.ndarray, shape: tuple[int, int]
) -> None:
    values = np.ascontiguousarray(np.tile(photograph, (1, 2, 1))[: shape[0], : shape[1]], np.float32) / np.float32(255)
    signal = Signal(values, SignalHeader("image", "rgb", "u8", shape, 3))
    data = encode_signals([signal], Settings(target_bpp=0.4, effort="fast")).data
    error = InrFile(data).render().values - values
    half = InrFile(data).render(scale=0.5)
    assert half.header.shape == (round(shape[0] / 2), round(shape[1] / 2))
    monkeypatch.setattr(tiles, "TILED_FROM", 1 << 23)
    whole = encode_signals([signal], Settings(target_bpp=0.4, effort="fast")).data
    alone = InrFile(whole).render().values - values
    assert abs(len(data) / len(whole) - 1.0) < 0.02
    # Steps of the error are nowhere across an overlap larger than those near by.
    count = -(-shape[1] // 160)
    for edge in [round(i * shape[1] / count / 32) * 32 for i in range(1, count)]:
        steps = np.abs(np.diff(error[:, edge - 34 : edge + 34], axis=1)).mean(axis=(0, 2))
        near = np.lib.stride_tricks.sliding_window_view(np.pad(steps, 6, mode="reflect"), 13)
        assert (steps < 1.6 * np.median(near, axis=1)).all()
    # Tiles this small are more than half overlap: their bits go to more than twice the points.
    assert np.square(error).mean() < 2.5 * np.square(alone).mean()


def test_tiles_with_steps_and_in_gray(
    small_tiles: None, photograph: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(HIERARCHICAL_EFFORTS, "default", HierarchicalEffort("default", 6, adapting_steps=12))
    gray = np.ascontiguousarray(photograph[:210, :220, :1], np.float32) / np.float32(255)
    signal = Signal(gray, SignalHeader("image", "gray", "u8", (210, 220), 1))
    data = encode_signals([signal], Settings(target_bpp=0.3)).data
    assert np.square(InrFile(data).render().values - gray).mean() < 2e-3
