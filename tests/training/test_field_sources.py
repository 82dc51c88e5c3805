"""Training patches of fields: averages keep means, patches keep their shape and range, the globe goes around."""

from __future__ import annotations

import numpy as np
import pytest

from inrcodec.codecs.base import covers_globe
from inrcodec.codecs.registry import default_prior
from inrcodec.errors import DataError
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.metadata import SignalMeta
from inrcodec.signals.signal import Signal
from inrcodec.training.field_sources import GlobeSource, PlaneSource, averaged, power_law_field, resolutions, unit_range


def waves(rows: int, columns: int) -> np.ndarray:
    """A field that depends on the row and goes around in its columns."""
    y, x = np.mgrid[0:rows, 0:columns]
    return unit_range((np.sin(2 * np.pi * 3 * x / columns) + 2 * y / rows).astype(np.float32))


@pytest.mark.parametrize("shape", [(46, 90), (30, 77), (120, 240), (1, 1)])
def test_averages_keep_the_mean(shape: tuple[int, int]) -> None:
    plane = np.random.default_rng(0).random((120, 240), np.float32)
    small = averaged(plane, shape)
    assert small.shape == shape and small.mean() == pytest.approx(plane.mean(), abs=1e-5)
    if shape == (30, 77):
        assert small.std() < plane.std()


def test_averages_of_whole_cells_are_means_of_blocks() -> None:
    plane = np.random.default_rng(1).random((12, 8), np.float32)
    assert np.allclose(averaged(plane, (4, 4)), plane.reshape(4, 3, 4, 2).mean(axis=(1, 3)), atol=1e-6)


def test_patches_of_any_plane() -> None:
    source = PlaneSource([waves(40, 90), waves(200, 130)], (64, 64))
    patches = source.draw(40, np.random.default_rng(0))
    assert patches.shape == (40, 64, 64, 1) and patches.dtype == np.float32
    assert patches.min() >= -1e-6 and patches.max() <= 1 + 1e-6 and np.isfinite(patches).all()
    assert np.array_equal(patches, source.draw(40, np.random.default_rng(0)))
    with pytest.raises(DataError):
        PlaneSource([], (64, 64))


def test_bands_of_the_globe_lie_where_they_say() -> None:
    rows = np.repeat(np.linspace(0, 1, 96, dtype=np.float32)[:, None], 192, axis=1)
    source = GlobeSource([rows], (32, 32))
    for seed in range(8):
        band = source.draw_band(3, np.random.default_rng(seed))
        assert band.values.shape == (3, 32, 32, 1) and band.top + 32 <= max(band.extent[0], 32)
        assert band.extent in {plane.shape for plane in resolutions(rows, (32, 32))}
        for patch in band.values[..., 0]:
            assert np.allclose(patch, patch[:, :1]), "a field of latitude alone stays one"
    with pytest.raises(DataError):
        GlobeSource([rows[:, :20]], (32, 32))


def test_made_up_fields_are_smooth_or_rough_by_their_slope() -> None:
    fields = [power_law_field((64, 64), np.random.default_rng(seed)) for seed in range(12)]
    roughness = [float(np.abs(np.diff(f, axis=0)).mean()) for f in fields]
    assert all(f.min() >= 0 and f.max() <= 1 for f in fields) and max(roughness) > 3 * min(roughness)


def field(latitude: np.ndarray, longitude: np.ndarray) -> Signal:
    shape = (latitude.size, longitude.size)
    meta = SignalMeta(dims=("lat", "lon"), coordinates={"lat": latitude, "lon": longitude})
    return Signal(np.zeros((*shape, 1), np.float32), SignalHeader("field", "field", "float32", shape, 1), meta)


def test_global_fields_are_known_by_their_coordinates() -> None:
    world = field(np.linspace(90, -90, 46), np.arange(0, 360, 4.0))
    assert covers_globe(world) and default_prior([world]) == "globe"
    part = field(np.linspace(58, 50, 33), np.linspace(-10, 2, 49))
    assert not covers_globe(part) and default_prior([part]) == "fields"
    assert default_prior([part], "combiner") == "combiner-photographs"
    assert not covers_globe(field(np.array(["a"] * 9), np.arange(0, 360, 4.0)))
    bare = Signal(np.zeros((9, 9, 1), np.float32), SignalHeader("field", "field", "float32", (9, 9), 1))
    assert not covers_globe(bare)
