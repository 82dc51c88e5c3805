"""Test the files of images, audio and fields: lossless round trips, rejection of what cannot be preserved."""

from __future__ import annotations

import dataclasses
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from scipy.io import netcdf_file

from inrcodec.errors import DataError, LimitError, UnsupportedError, UsageError
from inrcodec.limits import DEFAULT_LIMITS
from inrcodec.signals.files import default_suffix, read_signal, signal_from_bytes, write_signal

RNG = np.random.default_rng(0)
DEEP = RNG.integers(0, 65536, (6, 7), dtype=np.uint16)


def image_of_mode(mode: str) -> Image.Image:
    channels = {"1": 1, "L": 1, "P": 3, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}[mode]
    levels = RNG.integers(0, 256, (6, 7, channels), dtype=np.uint8)
    if mode == "P":
        return Image.fromarray(levels).quantize(8)
    if mode == "1":
        return Image.fromarray(levels[..., 0]).convert("1")
    return Image.fromarray(levels[..., 0] if channels == 1 else levels, mode if mode == "CMYK" else None)


@pytest.mark.parametrize(
    ("mode", "suffix", "layout"),
    [
        ("1", ".png", "gray"),
        ("L", ".png", "gray"),
        ("LA", ".png", "gray+alpha"),
        ("P", ".png", "rgb"),
        ("RGB", ".png", "rgb"),
        ("RGBA", ".png", "rgba"),
        ("RGB", ".bmp", "rgb"),
        ("RGB", ".ppm", "rgb"),
        ("L", ".tif", "gray"),
        ("RGBA", ".tiff", "rgba"),
    ],
)
def test_image_round_trip(tmp_path: Path, mode: str, suffix: str, layout: str) -> None:
    source = image_of_mode(mode)
    source.save(tmp_path / f"in{suffix}")
    signal = read_signal(tmp_path / f"in{suffix}")
    assert signal.header.layout == layout and signal.header.shape == (6, 7) and default_suffix(signal) == ".png"
    write_signal(signal, tmp_path / f"out{suffix}")
    expected = source.convert({"gray": "L", "gray+alpha": "LA", "rgb": "RGB", "rgba": "RGBA"}[layout])
    assert np.array_equal(np.asarray(Image.open(tmp_path / f"out{suffix}")), np.asarray(expected))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_sixteen_bit_gray_round_trip(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(DEEP).save(tmp_path / f"in{suffix}")
    signal = read_signal(tmp_path / f"in{suffix}")
    assert signal.header.sample_type == "u16" and signal.meta.bit_depth == 16
    assert np.array_equal(signal.to_native()[..., 0], DEEP)
    write_signal(signal, tmp_path / f"out{suffix}")
    assert np.array_equal(np.asarray(Image.open(tmp_path / f"out{suffix}")).astype(np.uint16), DEEP)


def test_transparency_of_a_palette_and_of_a_colour_becomes_alpha(tmp_path: Path) -> None:
    image_of_mode("P").save(tmp_path / "p.png", transparency=3)
    image_of_mode("RGB").save(tmp_path / "c.png", transparency=(1, 2, 3))
    assert read_signal(tmp_path / "p.png").header.layout == "rgba"
    assert read_signal(tmp_path / "c.png").header.layout == "rgba"


def test_profile_orientation_and_resolution_are_kept(tmp_path: Path) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    for suffix in (".png", ".jpg"):
        image_of_mode("RGB").save(tmp_path / f"in{suffix}", icc_profile=profile, exif=exif, dpi=(300, 150))
        signal = read_signal(tmp_path / f"in{suffix}")
        assert signal.meta.icc_profile == profile and signal.meta.exif_orientation == 6
        write_signal(signal, tmp_path / f"out{suffix}")
        back = Image.open(tmp_path / f"out{suffix}")
        assert back.info["icc_profile"] == profile and back.getexif()[0x0112] == 6
        assert back.info["dpi"] == pytest.approx((300, 150), rel=1e-3) and back.size == (7, 6)


def deep_colour_png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(12) for _ in range(2))
    head = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def test_images_that_would_lose_information_are_rejected() -> None:
    frames = [image_of_mode("RGB"), image_of_mode("RGB")]
    cases = {
        "frames": saved(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "CMYK": saved(image_of_mode("CMYK"), "JPEG"),
        "floating-point": saved(Image.fromarray(np.zeros((3, 3), np.float32)), "TIFF"),
    }
    for words, data in cases.items():
        with pytest.raises(UnsupportedError, match=words):
            signal_from_bytes(data, "x")


def test_output_formats_that_would_lose_information_are_rejected(tmp_path: Path) -> None:
    rgba = signal_from_bytes(saved(image_of_mode("RGBA"), "PNG"), "x")
    deep = signal_from_bytes(saved(Image.fromarray(DEEP), "PNG"), "x")
    for signal, name in ((rgba, "a.jpg"), (deep, "a.jpg"), (rgba, "a.bmp"), (rgba, "a.xyz"), (rgba, "a.wav")):
        with pytest.raises(UnsupportedError):
            write_signal(signal, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_image_is_rejected_or_complete() -> None:
    """Some formats end in bytes that no pixel depends on."""
    for form in ("PNG", "JPEG", "TIFF"):
        data = saved(image_of_mode("RGB"), form)
        whole = signal_from_bytes(data, "x").values
        refused = 0
        for end in range(0, len(data) - 1, 5):
            try:
                assert np.array_equal(signal_from_bytes(data[:end], "x").values, whole), (form, end, len(data))
            except DataError:
                refused += 1
        assert refused > 0.9 * len(data) / 5 - 4


def test_large_images_are_rejected_by_their_header() -> None:
    small = dataclasses.replace(DEFAULT_LIMITS, max_points=40)
    with pytest.raises(LimitError, match="7x6"):
        signal_from_bytes(saved(image_of_mode("RGB"), "PNG"), "x", limits=small)


def test_files_that_are_no_signals_are_rejected_by_name() -> None:
    for data in (b"", b"hello", b"\x93NUMPY", b"CDF\x01", b"RIFF", b"fLaC", b"\x89PNG\r\n\x1a\n", bytes(100)):
        with pytest.raises(DataError, match=r"^x: "):
            signal_from_bytes(data, "x")


@pytest.mark.parametrize(
    ("suffix", "subtype", "channels", "rate"),
    [
        (".wav", "PCM_16", 1, 16000),
        (".wav", "PCM_U8", 2, 8000),
        (".wav", "PCM_24", 3, 44100),
        (".wav", "FLOAT", 1, 11025),
        (".wav", "DOUBLE", 2, 48000),
        (".flac", "PCM_16", 2, 44100),
        (".flac", "PCM_24", 1, 96000),
        (".aiff", "PCM_16", 1, 22050),
    ],
)
def test_audio_round_trip(tmp_path: Path, suffix: str, subtype: str, channels: int, rate: int) -> None:
    values = RNG.uniform(-0.9, 0.9, (101, channels))
    soundfile.write(tmp_path / f"in{suffix}", values, rate, subtype)
    signal = read_signal(tmp_path / f"in{suffix}")
    assert signal.header.sample_rate == rate and signal.header.channels == channels
    write_signal(signal, tmp_path / f"out{suffix}")
    before, after = (soundfile.read(tmp_path / f"{n}{suffix}", dtype="float32")[0] for n in ("in", "out"))
    assert np.array_equal(before, after) and soundfile.info(tmp_path / f"out{suffix}").subtype == subtype


def test_invalid_audio_is_rejected() -> None:
    def wav(values: list[float]) -> bytes:
        out = io.BytesIO()
        soundfile.write(out, np.array(values), 8000, "FLOAT", format="WAV")
        return out.getvalue()

    assert signal_from_bytes(wav([0.5]), "x").header.shape == (1,)
    with pytest.raises(DataError, match="empty"):
        signal_from_bytes(wav([]), "x")
    with pytest.raises(DataError, match="not finite"):
        signal_from_bytes(wav([0.0, np.nan]), "x")
    with pytest.raises(DataError, match="full scale"):
        signal_from_bytes(wav([0.0, 1e10]), "x")


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int8", "int16", "int32", "uint8", "uint16"])
@pytest.mark.parametrize("shape", [(9,), (4, 5), (2, 3, 4)])
def test_array_round_trip(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    array = (RNG.uniform(-90, 90, shape) + 100).astype(dtype) if dtype != "int8" else RNG.integers(-99, 99, shape, "i1")
    np.save(tmp_path / "in.npy", array)
    signal = read_signal(tmp_path / "in.npy")
    assert signal.values.min() == 0.0 and signal.values.max() == 1.0 and default_suffix(signal) == ".npy"
    write_signal(signal, tmp_path / "out.npy")
    back = np.load(tmp_path / "out.npy")
    assert back.dtype == array.dtype and np.allclose(back, array, rtol=2e-3 if dtype == "float16" else 3e-6)


def test_invalid_arrays_are_rejected(tmp_path: Path) -> None:
    for array, words in (
        (np.zeros((0, 3)), "empty"),
        (np.array([1.0, np.inf]), "not finite"),
        (np.zeros((2, 2, 2, 2)), "1 to 3 axes"),
        (np.array([1j]), "unsupported array type"),
        (np.array(["a"]), "unsupported array type"),
        (np.float64(3.0), "1 to 3 axes"),
        (np.array([None, 3], dtype=object), "unsupported array type"),
    ):
        np.save(tmp_path / "a.npy", array, allow_pickle=True)
        with pytest.raises(DataError, match=words):
            read_signal(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.full((3, 3), 7.5))
    assert read_signal(tmp_path / "a.npy").to_native().tolist() == [[7.5] * 3] * 3


def write_fields(path: Path, *, fill: bool = False, second: bool = True) -> np.ndarray:
    values = RNG.normal(280, 10, (2, 5, 8)).astype("f4")
    if fill:
        values[0, 0, 0] = -999
    with netcdf_file(path, "w") as out:
        for name, axis in (
            ("time", np.arange(2.0)),
            ("latitude", np.linspace(90, -90, 5)),
            ("longitude", np.arange(8) * 45.0),
        ):
            out.createDimension(name, len(axis))
            variable = out.createVariable(name, "f8", (name,))
            variable[:] = axis
            variable.units = {"longitude": "degrees_east", "latitude": "degrees_north"}.get(name, "hours")
        for name in ("t2m", "u10")[: 1 + second]:
            variable = out.createVariable(name, "f4", ("time", "latitude", "longitude"))
            variable[:] = values
            variable.units = "K"
            if fill:
                variable._FillValue = np.float32(-999)
    return values


def test_netcdf_round_trip_keeps_coordinates(tmp_path: Path) -> None:
    values = write_fields(tmp_path / "in.nc")
    signal = read_signal(tmp_path / "in.nc", variable="t2m", select={"time": 1})
    assert signal.header.periodic == (False, True) and signal.header.shape == (5, 8)
    assert signal.meta.fixed == {"time": 1.0} and default_suffix(signal) == ".nc"
    write_signal(signal, tmp_path / "out.nc")
    with netcdf_file(tmp_path / "out.nc", mmap=False) as back:
        assert np.allclose(back.variables["t2m"].data, values[1], rtol=1e-6)
        assert back.variables["t2m"].units == b"K" and back.variables["t2m"].selected_time == 1.0
        assert back.variables["latitude"].data.tolist() == [90, 45, 0, -45, -90]
        assert back.variables["longitude"].units == b"degrees_east"


def test_axes_are_selected_by_index_or_by_coordinate(tmp_path: Path) -> None:
    values = write_fields(tmp_path / "in.nc", second=False)
    assert read_signal(tmp_path / "in.nc").header.shape == (2, 5, 8)
    near = read_signal(tmp_path / "in.nc", select={"latitude": 40.0, "time": 0})
    assert near.meta.fixed["latitude"] == 45.0 and np.allclose(near.to_native(), values[0, 1])
    for select, words in (({"height": 0}, "no axis"), ({"time": 9}, "indices 0 to 1")):
        with pytest.raises(UsageError, match=words):
            read_signal(tmp_path / "in.nc", select=select)


def test_invalid_fields_are_rejected(tmp_path: Path) -> None:
    write_fields(tmp_path / "two.nc")
    with pytest.raises(UsageError, match="t2m, u10"):
        read_signal(tmp_path / "two.nc")
    with pytest.raises(UsageError, match="no variable"):
        read_signal(tmp_path / "two.nc", variable="z")
    write_fields(tmp_path / "fill.nc", fill=True)
    with pytest.raises(DataError, match="missing values"):
        read_signal(tmp_path / "fill.nc", variable="t2m")
    data = (tmp_path / "two.nc").read_bytes()
    for end in range(4, len(data) - 300, 37):
        with pytest.raises(DataError):
            signal_from_bytes(data[:end], "x", variable="t2m")
