"""``inrcodec.audio`` against soundfile: the same arguments give arrays of the same shape, type and values."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import inrcodec
import inrcodec.audio
from inrcodec.errors import DataError, UnsupportedError, UsageError

N, RATE = 2000, 8000
FAST = inrcodec.Settings(effort="fast")


@pytest.fixture(scope="module", params=["PCM_16", "FLOAT", "stereo"])
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return an .inr file, and a WAV file of the same decoded samples."""
    folder = tmp_path_factory.mktemp("audio")
    values = 0.4 * np.sin(np.arange(N) / 9)
    if request.param == "stereo":
        values = np.stack([values, values[::-1]], 1)
    subtype = "PCM_16" if request.param == "stereo" else str(request.param)
    inrcodec.audio.write(folder / "x.inr", values, RATE, subtype, settings=FAST)
    decoded = inrcodec.audio.read(folder / "x.inr")[0]
    soundfile.write(folder / "x.wav", decoded, RATE, subtype)
    return folder / "x.inr", folder / "x.wav"


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"frames": 10**6},
        {"frames": 0},
        {"frames": 7},
        {"start": 1990, "frames": 100},
        {"start": 1990, "frames": 100, "fill_value": 0.25},
        {"start": -20},
        {"start": -20, "stop": -5},
        {"start": 5000},
        {"start": 5000, "frames": 3},
        {"start": 5000, "frames": 3, "fill_value": 0.5},
        {"start": 50, "stop": 20},
        {"stop": 10**6},
        {"stop": -10},
        {"dtype": "int16"},
        {"dtype": "int32", "frames": 9},
        {"dtype": "float32"},
        {"always_2d": True},
        {"always_2d": True, "start": 1999, "frames": 3, "fill_value": 0},
    ],
)
def test_read_is_that_of_soundfile(files: tuple[Path, Path], arguments: dict[str, Any]) -> None:
    inr, wav = files
    values, rate = inrcodec.audio.read(inr, **arguments)
    expected, expected_rate = soundfile.read(wav, **arguments)
    assert rate == expected_rate and values.shape == expected.shape and values.dtype == expected.dtype
    # soundfile casts floating-point samples to integers without a scale; and PCM_16 rounds what the codec decodes.
    if values.dtype.kind == "f":
        np.testing.assert_allclose(values, expected, rtol=0, atol=2.0**-15)
    elif soundfile.info(wav).subtype == "PCM_16":
        scale = np.iinfo(values.dtype).max + 1.0
        np.testing.assert_allclose(values / scale, expected / scale, rtol=0, atol=2.0**-15)


@pytest.mark.parametrize("fill_value", [None, 0.0])
@pytest.mark.parametrize("frames", [-1, 1, 600, 0])
@pytest.mark.parametrize(("blocksize", "overlap"), [(300, 0), (300, 120), (700, 650), (5000, 10), (1000, 0)])
def test_blocks_are_those_of_soundfile(
    files: tuple[Path, Path], blocksize: int, overlap: int, frames: int, fill_value: float | None
) -> None:
    arguments: dict[str, Any] = {"frames": frames, "start": 100, "fill_value": fill_value}
    blocks = list(inrcodec.audio.blocks(files[0], blocksize, overlap, **arguments))
    # soundfile reuses the array that it yields.
    expected = [b.copy() for b in soundfile.blocks(files[1], blocksize, overlap, **arguments)]
    assert [b.shape for b in blocks] == [b.shape for b in expected]
    for block, other in zip(blocks, expected, strict=True):
        np.testing.assert_allclose(block, other, rtol=0, atol=2.0**-15)


def test_read_into_an_array(files: tuple[Path, Path]) -> None:
    inr, wav = files
    channels = soundfile.info(wav).channels
    for length in (10, N + 5):
        for fill_value in (None, 0.5):
            mine, theirs = np.ones((2, length, channels), np.float32)
            values, _ = inrcodec.audio.read(inr, out=mine, fill_value=fill_value)
            expected, _ = soundfile.read(wav, out=theirs, fill_value=fill_value)
            assert values.shape == expected.shape and np.shares_memory(values, mine)
            np.testing.assert_allclose(values, expected, rtol=0, atol=2.0**-15)
    with pytest.raises(UsageError, match="expected out of shape"):
        inrcodec.audio.read(inr, out=np.ones((3, channels + 1)))


def test_arguments_that_do_not_fit_are_refused(files: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match="either frames or stop"):
        inrcodec.audio.read(files[0], frames=3, stop=5)
    with pytest.raises(UsageError, match="dtype must be one of float64, float32, int32, int16, got 'int8'"):
        inrcodec.audio.read(files[0], dtype="int8")


def test_file_objects_are_read_and_written(files: tuple[Path, Path]) -> None:
    data = files[0].read_bytes()
    for source in (data, io.BytesIO(data)):
        assert len(inrcodec.audio.read(source)[0]) == N
    out = io.BytesIO()
    inrcodec.audio.write(out, np.zeros(100, np.int16), RATE, settings=FAST)
    assert inrcodec.audio.info(out.getvalue()).frames == 100


@pytest.mark.parametrize("dtype", ["float64", "float32", "int32", "int16"])
def test_written_samples_have_their_scale(dtype: str, tmp_path: Path) -> None:
    tone = 0.4 * np.sin(np.arange(N) / 9)
    bits = {"int32": 31, "int16": 15}.get(dtype)
    data = tone.astype(dtype) if bits is None else np.rint(tone * 2**bits).astype(dtype)
    path = tmp_path / "x.inr"
    inrcodec.audio.write(str(path), data, RATE, settings=FAST)
    values, rate = inrcodec.audio.read(path)
    assert rate == RATE and np.sqrt(np.mean((values - tone) ** 2)) < 0.1
    assert inrcodec.audio.info(path).subtype == "PCM_16"


@pytest.mark.parametrize(("subtype", "peak"), [("PCM_24", 1.0), ("FLOAT", 1.4)])
def test_only_integer_subtypes_clip(subtype: str, peak: float, tmp_path: Path) -> None:
    path = tmp_path / "x.inr"
    inrcodec.audio.write(path, 1.4 * np.sin(np.arange(N) / 9), RATE, subtype, settings=FAST)
    values, _ = inrcodec.audio.read(path)
    assert inrcodec.audio.info(path).subtype == subtype and abs(np.abs(values).max() - peak) < 0.2
    assert (np.abs(values).max() <= 1.0) == (subtype == "PCM_24")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("x.wav", {}),
        ("x.wav", {"subtype": "FLOAT"}),
        ("x.flac", {"subtype": "PCM_24"}),
        ("x.raw.bin", {"format": "AIFF", "endian": "LITTLE"}),
    ],
)
def test_other_formats_are_written_as_by_soundfile(name: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    data = 0.4 * np.sin(np.arange(N) / 9)
    inrcodec.audio.write(tmp_path / name, data, RATE, **arguments)
    expected = io.BytesIO()
    arguments.setdefault("format", name[2:].upper())
    soundfile.write(expected, data, RATE, **arguments)
    if "FLOAT" in arguments.values():
        # The PEAK chunk of a floating-point WAV holds the time.
        assert np.array_equal(soundfile.read(tmp_path / name)[0], soundfile.read(io.BytesIO(expected.getvalue()))[0])
    else:
        assert (tmp_path / name).read_bytes() == expected.getvalue()


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.inr"
    for data, words in (
        (np.zeros(3, np.int8), "must be one of float64"),
        (np.zeros((3, 2, 2)), "of shape"),
        (["a"], "must be one of"),
    ):
        with pytest.raises(UsageError, match=words):
            inrcodec.audio.write(path, data, RATE)
    with pytest.raises(UsageError, match="subtype must be one of"):
        inrcodec.audio.write(path, np.zeros(3), RATE, "ULAW")
    with pytest.raises(DataError, match="empty"):
        inrcodec.audio.write(path, np.zeros(0), RATE)
    with pytest.raises(DataError, match="not finite"):
        inrcodec.audio.write(path, np.full(3, np.nan), RATE)
    with pytest.raises(UsageError, match="unsupported format 'XYZ'"):
        inrcodec.audio.write(tmp_path / "x.xyz", np.zeros(3), RATE)
    with pytest.raises(UnsupportedError, match="FLAC does not support"):
        inrcodec.audio.write(tmp_path / "x.flac", np.zeros(3), RATE, "FLOAT")
    assert not list(tmp_path.iterdir())
