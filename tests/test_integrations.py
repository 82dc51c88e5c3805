"""Pillow, xarray, reading audio clips, notebooks."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

import inrcodec
import inrcodec.audio
import inrcodec.pillow
from inrcodec import display
from inrcodec.errors import DataError
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.signal import Signal

SAVE: dict[str, Any] = {"beta": 0.003, "effort": "fast"}


def _pillow_image(photograph: np.ndarray, mode: str) -> Image.Image:
    image = Image.fromarray(photograph[:96, 128:256])
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    converted = image.convert(mode)
    if mode in ("LA", "RGBA"):
        converted.putalpha(Image.linear_gradient("L").resize(image.size))
    return converted


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
def test_pillow_saves_and_opens(photograph: np.ndarray, mode: str, tmp_path: Path) -> None:
    image = _pillow_image(photograph, mode)
    path = tmp_path / "x.inr"
    image.save(path, **SAVE)
    with Image.open(path) as back:
        assert (back.format, back.mode, back.size) == ("INR", mode, image.size)
        back.load()
        a, b = (np.asarray(x).astype(np.float64) for x in (image, back))
        top = 65535.0 if mode == "I;16" else 255.0
        assert np.sqrt(np.square(a - b).mean()) / top < 0.06
        if mode in ("LA", "RGBA"):
            np.testing.assert_array_equal(a[..., -1], b[..., -1])
    buffer = io.BytesIO()
    image.save(buffer, "INR", lossless=mode != "I;16", **({} if mode != "I;16" else SAVE))
    if mode != "I;16":
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(buffer.getvalue()))), np.asarray(image))


def test_pillow_keeps_what_it_knows(photograph: np.ndarray, tmp_path: Path) -> None:
    image = _pillow_image(photograph, "RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.info["exif"] = exif.tobytes()
    image._exif = None
    image.save(tmp_path / "x.inr", dpi=(72, 72), icc_profile=b"profile", **SAVE)
    with Image.open(tmp_path / "x.inr") as back:
        assert back.info["dpi"] == (72, 72) and back.info["icc_profile"] == b"profile"
        assert back.get_format_mimetype() == "image/x-inr"


def test_pillow_drafts_decode_a_coarser_grid(photograph: np.ndarray, tmp_path: Path) -> None:
    image = _pillow_image(photograph, "RGB")
    image.save(tmp_path / "x.inr", **SAVE)
    with Image.open(tmp_path / "x.inr") as draft:
        assert draft.draft(None, (40, 30)) is not None and draft.size == (64, 48)
        draft.load()
        assert draft.size == (64, 48)
        small = np.asarray(image.resize((64, 48), Image.Resampling.BOX), np.float64)
        assert np.abs(np.asarray(draft) - small).mean() < 8
        assert draft.draft(None, (10, 10)) is None
    with Image.open(tmp_path / "x.inr") as thumbnail:
        thumbnail.thumbnail((32, 32))
        assert max(thumbnail.size) == 32


def test_pillow_refuses_with_its_own_errors(
    photograph: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = _pillow_image(photograph, "RGB")
    path = tmp_path / "x.inr"
    with pytest.raises(ValueError, match="effort"):
        image.save(path, effort="huge")
    assert not path.exists()
    with pytest.raises(OSError, match="CMYK"):
        image.convert("CMYK").save(path)
    image.save(path, **SAVE)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(bytes(data)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(path)
    recording = inrcodec.compress(_recording(), target_kbps=20, effort="fast")
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(recording))


def _recording() -> Signal:
    t = np.arange(16000, dtype=np.float32) / 16000
    values = (0.3 * np.exp(-5 * (t % 0.3)) * np.sin(2 * np.pi * 400 * t))[:, None]
    return Signal(values.astype(np.float32), SignalHeader("audio", "mono", "pcm_16", (16000,), 1, 16000))


def test_audio_clips_are_read_as_by_soundfile(photograph: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "s.inr"
    path.write_bytes(inrcodec.compress(_recording(), target_kbps=20, effort="fast"))
    whole, rate = inrcodec.audio.read(path)
    assert whole.shape == (16000,) and rate == 16000 and whole.dtype == np.float64
    np.testing.assert_array_equal(inrcodec.audio.read(path, start=100, frames=50)[0], whole[100:150])
    np.testing.assert_array_equal(inrcodec.audio.read(path, start=-100, stop=-20)[0], whole[-100:-20])
    assert inrcodec.audio.read(path, start=5, frames=0)[0].shape == (0,)
    assert inrcodec.audio.read(path, rate=8000, always_2d=True)[0].shape == (8000, 1)
    info = inrcodec.audio.info(path)
    assert (info.samplerate, info.channels, info.frames, info.duration) == (16000, 1, 16000, 1.0)
    assert (info.format, info.subtype) == ("INR", "PCM_16")
    blocks = list(inrcodec.audio.blocks(path, 3000, overlap=500))
    assert [len(block) for block in blocks] == [3000] * 6 + [1000]
    np.testing.assert_array_equal(np.concatenate([blocks[0], *[block[500:] for block in blocks[1:]]]), whole)
    assert inrcodec.audio.read(path, start=15999, frames=2)[0].shape == (1,)
    with pytest.raises(DataError, match="expected audio"):
        inrcodec.audio.read(inrcodec.compress(_photograph(photograph), target_bpp=1.0, effort="fast"))


def _photograph(photograph: np.ndarray) -> Signal:
    values = np.ascontiguousarray(photograph[:64, :64], np.float32) / np.float32(255)
    return Signal(values, SignalHeader("image", "rgb", "u8", (64, 64), 3))


@pytest.fixture(scope="module")
def field_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    xarray = pytest.importorskip("xarray")
    folder = tmp_path_factory.mktemp("field")
    y, x = np.linspace(10, 40, 48), np.linspace(0, 63, 64)
    values = np.sin(y[:, None] / 5) + np.cos(x / 7)[None] + np.arange(5)[:, None, None]
    data = xarray.Dataset(
        {"v": (("time", "y", "x"), values.astype(np.float32), {"units": "K"})},
        {"time": np.arange(5.0), "y": ("y", y, {"units": "m"}), "x": x},
    )
    data.to_netcdf(folder / "f.nc", engine="scipy")
    path = folder / "f.inr"
    path.write_bytes(inrcodec.compress(inrcodec.read_signal(folder / "f.nc"), target_bpp=0.5, effort="fast"))
    return path


def test_xarray_opens_fields(field_file: Path) -> None:
    import xarray

    from inrcodec.xarray_backend import InrBackendEntrypoint

    data = xarray.open_dataset(field_file, engine=InrBackendEntrypoint)
    whole = inrcodec.decompress(field_file).to_native()
    assert data.v.dims == ("time", "y", "x") and data.v.attrs["units"] == "K" and data.y.attrs["units"] == "m"
    np.testing.assert_array_equal(data.v.values, whole)
    for key in (
        {"time": 2},
        {"time": slice(1, 4), "y": slice(40, 4, -3)},
        {"x": [5, 2, 60], "y": [1, 7]},
        {"x": slice(0, 0)},
        {"time": 0, "y": 3, "x": 9},
    ):
        np.testing.assert_array_equal(data.v.isel(key).values, xarray.DataArray(whole, dims=data.v.dims).isel(key))
    near = data.v.sel(time=3.0, y=20.0, method="nearest")
    assert near.shape == (64,)
    assert "v" not in xarray.open_dataset(field_file, engine=InrBackendEntrypoint, drop_variables=["v"])


def test_xarray_decodes_what_a_selection_touches(field_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import xarray

    from inrcodec.codecs.hierarchical.codec import HierarchicalCodec
    from inrcodec.xarray_backend import InrBackendEntrypoint

    decoded: list[int] = []
    features = HierarchicalCodec.latent_features

    def watched(self, *rest):  # type: ignore[no-untyped-def]
        decoded.append(1)
        return features(self, *rest)

    monkeypatch.setattr(HierarchicalCodec, "latent_features", watched)
    data = xarray.open_dataset(field_file, engine=InrBackendEntrypoint)
    part = data.v.isel(time=slice(1, 3), x=slice(0, 8))
    assert not decoded
    part.load()
    assert len(decoded) == 2


def test_xarray_finds_the_backend_by_itself(field_file: Path) -> None:
    import xarray

    if "inrcodec" not in xarray.backends.list_engines():
        pytest.skip("the package is not installed")
    assert "v" in xarray.open_dataset(field_file)


def test_signals_show_themselves(photograph: np.ndarray, field_file: Path) -> None:
    shown = display.png(_photograph(photograph))
    assert shown is not None
    assert Image.open(io.BytesIO(shown)).size == (64, 64)
    field = display.png(inrcodec.decompress(field_file))
    assert field is not None and Image.open(io.BytesIO(field)).size == (64, 48)
    assert display.png(_recording()) is None and display.player(_photograph(photograph)) is None
    recording = display.player(_recording())
    assert recording is not None and recording.startswith("<audio controls")
    table = display.table(inrcodec.open(field_file).info)
    assert "hierarchical" in table and "5 x 48 x 64" in table
    assert _recording()._repr_png_() is None and (_recording()._repr_html_() or "").startswith("<audio")
    assert inrcodec.open(field_file)._repr_html_() == table


def test_a_notebook_gets_formatters() -> None:
    pytest.importorskip("IPython")
    script = (
        "from IPython.testing.globalipapp import start_ipython\n"
        "shell = start_ipython()\n"
        "import inrcodec, numpy as np\n"
        "from inrcodec.signals.header import SignalHeader\n"
        "s = inrcodec.Signal(np.zeros((8, 8, 3), np.float32), SignalHeader('image', 'rgb', 'u8', (8, 8), 3))\n"
        "formatter = shell.display_formatter.formatters['image/png']\n"
        "formatter.enabled = True\n"
        "assert formatter(s)[:4] == b'\\x89PNG'\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
