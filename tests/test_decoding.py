"""Parts of signals: to the last bit what lies there in the whole decode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inrcodec.api import InrFile, read_signal
from inrcodec.codecs import tiles
from inrcodec.codecs.hierarchical import render as hierarchy_render
from inrcodec.codecs.hierarchical.codec import HierarchicalCodec
from inrcodec.codecs.hierarchical.model import HierarchicalINR
from inrcodec.decoding import output_window
from inrcodec.encoding import encode_signals
from inrcodec.errors import UsageError
from inrcodec.settings import Settings
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.resample import resample_grid, window_axes
from inrcodec.signals.signal import Signal


def _image(photograph: np.ndarray, height: int, width: int, layout: str = "rgb") -> Signal:
    values = np.ascontiguousarray(photograph[:height, :width], np.float32) / np.float32(255)
    if layout == "rgba":
        alpha = np.rint(np.linspace(0, 255, width, dtype=np.float32))[None, :, None].repeat(height, 0) / np.float32(255)
        values = np.concatenate([values, alpha], axis=-1)
    return Signal(values, SignalHeader("image", layout, "u8", (height, width), values.shape[-1]))


def _file(signal: Signal, **settings: object) -> InrFile:
    return InrFile(encode_signals([signal], Settings(**{"target_bpp": 0.5, "effort": "fast", **settings})).data)  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [0.4, 1.0, 1.7])
@pytest.mark.parametrize("layout", ["rgb", "rgba"])
def test_a_region_is_the_crop_of_the_whole(
    photograph: np.ndarray, monkeypatch: pytest.MonkeyPatch, scale: float, layout: str
) -> None:
    monkeypatch.setattr(hierarchy_render, "POINTS_AT_ONCE", 1 << 12)  # several bands in a small image
    monkeypatch.setattr(hierarchy_render, "FEATURES_AT_ONCE", 1 << 11)
    file = _file(_image(photograph, 187, 203, layout))
    whole = file.render(scale=scale)
    rng = np.random.default_rng(0)
    for _ in range(5):
        height, width = (int(rng.integers(1, n + 1)) for n in whole.header.shape)
        top, left = (int(rng.integers(0, n - k + 1)) for n, k in zip(whole.header.shape, (height, width), strict=True))
        part = file.render(scale=scale, region=(top, left, height, width))
        assert part.header.shape == (height, width)
        np.testing.assert_array_equal(part.values, whole.values[top : top + height, left : left + width])


def test_few_bands_are_evaluated_for_a_small_region(photograph: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hierarchy_render, "POINTS_AT_ONCE", 1 << 12)
    file = _file(_image(photograph, 256, 256), prior="photographs-high")
    seen: list[int] = []
    values = HierarchicalINR.values

    def watched(self, features, fourier, weights=None):  # type: ignore[no-untyped-def]
        seen.append(features.shape[1])
        return values(self, features, fourier, weights)

    monkeypatch.setattr(HierarchicalINR, "values", watched)
    file.render()
    everything = sum(seen)
    seen.clear()
    file.render(region=(40, 100, 20, 20))
    assert everything == 256 * 256 and sum(seen) == 2 * (1 << 12)


def test_a_region_of_a_tiled_image_decodes_the_tiles_that_it_touches(
    photograph: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "TILED_FROM", 200 * 200)
    monkeypatch.setattr(tiles, "TILE", 160)
    file = _file(_image(photograph, 300, 310))
    whole = [file.render(), file.render(scale=0.5)]
    decoded: list[int] = []
    latents = HierarchicalCodec.latent_features

    def watched(self, *arguments):  # type: ignore[no-untyped-def]
        decoded.append(1)
        return latents(self, *arguments)

    monkeypatch.setattr(HierarchicalCodec, "latent_features", watched)
    np.testing.assert_array_equal(file.render(region=(9, 5, 30, 40)).values, whole[0].values[9:39, 5:45])
    assert len(decoded) == 1
    np.testing.assert_array_equal(
        file.render(scale=0.5, region=(50, 60, 80, 70)).values, whole[1].values[50:130, 60:130]
    )


def test_regions_of_other_codecs(photograph: np.ndarray) -> None:
    signal = _image(photograph, 96, 128)
    for settings in ({"codec": "coin++"}, {"codec": "bitswap", "target_bpp": None}):
        file = _file(signal, **settings)
        part = file.render(region=(20, 30, 40, 50))
        np.testing.assert_array_equal(part.values, file.render().values[20:60, 30:80])


def test_a_part_of_an_audio_clip_at_another_rate() -> None:
    t = np.arange(24000, dtype=np.float32) / 16000
    values = (0.3 * np.sin(2 * np.pi * 300 * t) * np.exp(-3 * (t % 0.5)))[:, None].astype(np.float32)
    file = _file(Signal(values, SignalHeader("audio", "mono", "pcm_16", (24000,), 1, 16000)), target_bpp=1.0)
    whole = file.render(sample_rate=8000)
    assert whole.header.shape == (12000,) and whole.header.sample_rate == 8000
    part = file.render(sample_rate=8000, start=0.5, duration=0.25)
    assert part.header.sample_rate == 8000
    np.testing.assert_array_equal(part.values, whole.values[4000:6000])
    np.testing.assert_array_equal(file.render(start=1.25).values, file.render().values[20000:])


def test_a_part_of_a_field_has_its_coordinates(tmp_path: Path) -> None:
    xarray = pytest.importorskip("xarray")
    y, x = np.linspace(10, 40, 48), np.linspace(0, 63, 64)
    values = np.sin(y[:, None] / 5) + np.cos(x / 7)[None] + np.arange(3)[:, None, None]
    data = xarray.Dataset({"v": (("time", "y", "x"), values.astype(np.float32))}, {"time": [5, 6, 7], "y": y, "x": x})
    path = tmp_path / "f.nc"
    data.to_netcdf(path, engine="scipy")
    file = _file(read_signal(path, variable="v"))
    whole = file.render()
    part = file.render(region=(1, 10, 20, 2, 8, 16))
    np.testing.assert_array_equal(part.values, whole.values[1:3, 10:18, 20:36])
    np.testing.assert_allclose(part.meta.coordinates["time"], [6, 7])
    np.testing.assert_allclose(part.meta.coordinates["y"], y[10:18])


def test_resampled_windows_are_those_of_the_whole() -> None:
    values = np.random.default_rng(1).random((37, 23, 2), np.float32)
    for size in ((37, 23), (80, 11), (9, 50)):
        for periodic in (False, True):
            whole = resample_grid(values, size, periodic=periodic)
            window = (slice(size[0] // 3, size[0] // 2 + 1), slice(2, size[1] - 1))
            part = values
            for along, axis in enumerate(window_axes((37, 23), size, window, periodic=periodic)):
                need = axis.needed()
                part = axis.resampled(part[(slice(None),) * along + (need,)], along, need.start)
            np.testing.assert_array_equal(part, whole[window])


def test_a_coarser_grid_of_a_zone_plate_is_gray_where_its_rings_are_too_fine() -> None:
    """Rings that a grid of a quarter of the points cannot hold average out; point sampling would make other rings."""
    y, x = np.meshgrid(*[np.linspace(-1, 1, 256)] * 2, indexing="ij")
    plate = (0.5 + 0.5 * np.cos(0.5 * np.pi * 256 * (x * x + y * y) / 2.2))[..., None].astype(np.float32)
    file = _file(Signal(plate.repeat(3, 2), SignalHeader("image", "rgb", "u8", (256, 256), 3)), target_bpp=2.5)
    native, small = file.render().values, file.render(scale=0.25).values
    np.testing.assert_allclose(small, native.reshape(64, 4, 64, 4, 3).mean(axis=(1, 3)), atol=1e-5)
    fine = (x * x + y * y).reshape(64, 4, 64, 4).mean(axis=(1, 3)) > 0.9
    sampled = native[2::4, 2::4]
    assert small[fine].std() < 0.3 * sampled[fine].std()


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("image", {"region": (0, 0, 10)}, "4 integers"),
        ("image", {"region": (0, 0, 10, 65)}, "does not lie"),
        ("image", {"region": (0, -1, 5, 10)}, "does not lie"),
        ("image", {"region": (0, 0, 10, 0)}, "does not lie"),
        ("image", {"start": 1.0}, "for audio"),
        ("audio", {"region": (0, 10)}, "start and duration"),
        ("audio", {"start": 2.0}, "out of range"),
        ("audio", {"start": 0.5, "duration": 0.0}, "out of range"),
        ("audio", {"start": -0.5}, "out of range"),
    ],
)
def test_parts_that_are_refused(kind: str, options: dict[str, object], words: str) -> None:
    header = (
        SignalHeader("image", "rgb", "u8", (48, 64), 3)
        if kind == "image"
        else SignalHeader("audio", "mono", "pcm_16", (16000,), 1, 16000)
    )
    asked = {"region": None, "start": None, "duration": None, **options}
    with pytest.raises(UsageError, match=words):
        output_window(header, None, **asked)  # type: ignore[arg-type]
