"""Audio files: every format that soundfile reads, samples beyond full scale, sample types that an output lacks."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

from inrcodec.cli import main
from inrcodec.errors import DataError, LimitError, LossWarning, UnsupportedError
from inrcodec.limits import Limits
from inrcodec.signals.files import read_signal, signal_from_bytes, write_signal

N = 3000
TONE = 0.3 * np.sin(np.arange(N) / 30)
LOUD = np.clip(1.5 * np.sin(np.arange(9600) / 9), -0.999, 0.999)


def encoded(values: np.ndarray, format_name: str, subtype: str, rate: int = 8000) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, values, rate, subtype, format=format_name)
    return out.getvalue()


def _writable() -> list[tuple[str, str]]:
    """Return every format and subtype that soundfile writes to memory and that says what it is."""
    pairs = []
    for format_name in soundfile.available_formats():
        for subtype in soundfile.available_subtypes(format_name):
            # RAW has no header and SD2 keeps it in a resource fork.
            if format_name in ("RAW", "SD2") or subtype == "DWVW_12":
                continue
            try:
                encoded(TONE, format_name, subtype)
            except soundfile.SoundFileError:
                continue
            pairs.append((format_name, subtype))
    return pairs


WRITABLE = _writable()


@pytest.mark.parametrize(("format_name", "subtype"), WRITABLE)
def test_every_format_of_soundfile_is_read(format_name: str, subtype: str) -> None:
    data = encoded(TONE, format_name, subtype)
    signal = signal_from_bytes(data, "x")
    # Some encoders pad to whole blocks, and some decoders cannot seek.
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        expected = file.read(10 * N, dtype="float32") if not file.seekable() else None
    if expected is None and not subtype.startswith("DWVW"):
        expected = soundfile.read(io.BytesIO(data), dtype="float32")[0]
    assert signal.header.channels == 1 and N <= signal.header.n_points <= N + 500
    if expected is not None:
        # Decoders of MP3 round differently after they have looked for a position.
        np.testing.assert_allclose(signal.values[:, 0], expected, rtol=0, atol=1e-7)
    assert np.abs(signal.values[:N, 0] - TONE).max() < 0.32


def test_at_least_the_common_formats_are_tried() -> None:
    assert {"WAV", "WAVEX", "FLAC", "OGG", "MP3", "AIFF", "CAF", "W64", "RF64", "AU"} <= {name for name, _ in WRITABLE}
    assert {"GSM610", "IMA_ADPCM", "MS_ADPCM", "OPUS", "VORBIS"} <= {subtype for _, subtype in WRITABLE}


@pytest.mark.parametrize(
    ("format_name", "subtype"), [("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("WAV", "FLOAT")]
)
def test_samples_beyond_full_scale_are_kept(format_name: str, subtype: str, tmp_path: Path) -> None:
    values = LOUD * 1.25 if subtype == "FLOAT" else LOUD
    data = encoded(values, format_name, subtype, 48000)
    signal = signal_from_bytes(data, "x")
    peak = float(np.abs(signal.values).max())
    assert peak > 1.0 and signal.header.sample_type == "float32"
    expected = soundfile.read(io.BytesIO(data), dtype="float32")[0]
    np.testing.assert_allclose(signal.values[:, 0], expected, rtol=1e-6, atol=1e-7)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_signal(signal, tmp_path / "kept.wav")
    kept = soundfile.read(tmp_path / "kept.wav", dtype="float32")[0]
    assert np.array_equal(kept, signal.values[:, 0])
    with pytest.warns(LossWarning, match=f"samples changed: up to {peak:.3g} times full scale, clipped") as caught:
        write_signal(signal, tmp_path / "clipped.flac")
    assert len(caught) == 1 and "\n" not in str(caught[0].message)
    clipped = soundfile.read(tmp_path / "clipped.flac", dtype="float32")[0]
    assert np.abs(clipped - np.clip(signal.values[:, 0], -1, 1)).max() < 2.0**-22


@pytest.mark.parametrize(
    ("subtype", "suffix", "written", "words"),
    [
        ("PCM_S8", ".wav", "PCM_U8", ""),
        ("PCM_S8", ".flac", "PCM_S8", ""),
        ("PCM_S8", ".aiff", "PCM_S8", ""),
        ("PCM_U8", ".flac", "PCM_S8", ""),
        ("PCM_24", ".caf", "PCM_24", ""),
        ("FLOAT", ".flac", "PCM_24", "float32, rounded to PCM_24"),
        ("PCM_32", ".flac", "PCM_24", "pcm_32, rounded to PCM_24"),
        ("DOUBLE", ".flac", "PCM_24", "float64, rounded to PCM_24"),
    ],
)
def test_outputs_get_the_nearest_sample_type(
    subtype: str, suffix: str, written: str, words: str, tmp_path: Path
) -> None:
    data = encoded(TONE, "AIFF", subtype)
    signal = signal_from_bytes(data, "x")
    path = tmp_path / f"out{suffix}"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        write_signal(signal, path)
    assert soundfile.info(path).subtype == written
    assert [words in str(w.message) for w in caught if w.category is LossWarning] == ([True] if words else [])
    assert np.abs(soundfile.read(path, dtype="float32")[0] - signal.values[:, 0]).max() <= 2.0**-24


@pytest.mark.parametrize(
    ("suffix", "subtype"), [(".opus", "OPUS"), (".mp3", "MPEG_LAYER_III"), (".ogg", "VORBIS"), (".w64", "PCM_16")]
)
def test_further_output_formats(suffix: str, subtype: str, tmp_path: Path) -> None:
    signal = signal_from_bytes(encoded(np.tile(TONE, 50), "WAV", "PCM_16", 48000), "x")
    write_signal(signal, tmp_path / f"x{suffix}")
    info = soundfile.info(tmp_path / f"x{suffix}")
    assert info.subtype == subtype and abs(info.frames - 50 * N) <= 1
    again = read_signal(tmp_path / f"x{suffix}")
    assert np.abs(again.values - signal.values).max() < 0.1


def test_rates_that_a_format_lacks_are_named(tmp_path: Path) -> None:
    signal = signal_from_bytes(encoded(TONE, "WAV", "PCM_16", 44100), "x")
    with pytest.raises(UnsupportedError, match=r"1 channels at 44100 Hz.*Opus takes 8000"):
        write_signal(signal, tmp_path / "x.opus")
    assert not list(tmp_path.iterdir())


def test_limits_hold_while_audio_is_read() -> None:
    with pytest.raises(LimitError, match="exceeds the limits of 100 samples"):
        signal_from_bytes(encoded(TONE, "WAV", "PCM_16"), "x", limits=Limits(max_points=100))
    with pytest.raises(LimitError, match="3 channels"):
        signal_from_bytes(encoded(np.stack([TONE] * 3, 1), "WAV", "PCM_16"), "x", limits=Limits(max_channels=1))


def test_a_stream_without_a_length_is_read_to_its_end() -> None:
    data = bytearray(encoded(TONE, "WAV", "PCM_16"))
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    assert signal_from_bytes(bytes(data), "x").header.n_points == N


@pytest.mark.parametrize("start", [b"RIFF", b"fLaC", b"OggS", b"caff", b".snd", b"riff", b"RF64", b"ID3"])
def test_truncated_files_are_refused_as_audio(start: bytes) -> None:
    words = r"^x: the audio cannot be read: it is corrupt, truncated or .* as \.wav or \.flac$"
    with pytest.raises(DataError, match=words):
        signal_from_bytes(start + bytes(20), "x")


@pytest.mark.parametrize("format_name", ["WAV", "AIFF"])
def test_missing_samples_are_named(format_name: str) -> None:
    data = encoded(TONE, format_name, "PCM_16")
    with pytest.warns(LossWarning, match="^x: truncated: expected 60.. bytes of samples, got 59.."):
        assert signal_from_bytes(data[:-100], "x").header.n_points == N - 50


def test_the_command_line_keeps_loud_audio_and_warns_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "loud.ogg"
    path.write_bytes(encoded(LOUD[:4000], "OGG", "VORBIS"))
    blob = str(tmp_path / "loud.inr")
    assert main(["compress", str(path), "-o", blob, "--effort", "fast", "--target-kbps", "64", "-q"]) == 0
    assert main(["decompress", blob, "-o", str(tmp_path / "a.wav"), "-q"]) == 0
    assert capsys.readouterr().err == ""
    assert soundfile.info(tmp_path / "a.wav").subtype == "FLOAT"
    assert np.abs(soundfile.read(tmp_path / "a.wav")[0]).max() > 1.0
    assert main(["decompress", blob, "-o", str(tmp_path / "a.flac"), "-q"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("inrcodec: warning: ") and "times full scale, clipped to PCM_24" in line
