"""Tags, channel masks, cue points and loops of audio: kept through compression, or named by a warning."""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

import inrcodec
from inrcodec.errors import FormatError, LossWarning
from inrcodec.signals.audio_marks import chunk, chunks_of
from inrcodec.signals.files import read_signal, signal_from_bytes, write_signal
from inrcodec.signals.files.audio_metadata import read_meta
from inrcodec.signals.metadata import EXTRA_VERSION, SignalMeta
from inrcodec.signals.signal import Signal

N, RATE = 4000, 8000
TAGS = {"title": "Über den Wolken", "artist": "A. N. Other", "date": "2024", "comment": "two words", "album": "B"}


def audio(
    format_name: str = "WAV", subtype: str = "PCM_16", channels: int = 1, tags: dict[str, str] | None = None
) -> bytes:
    out = io.BytesIO()
    values = 0.3 * np.sin(np.arange(N) / 9)
    with soundfile.SoundFile(out, "w", RATE, channels, subtype, format=format_name) as file:
        for tag, text in (tags or {}).items():
            setattr(file, tag, text)
        file.write(np.stack([values] * channels, 1))
    return out.getvalue()


def with_chunks(wav: bytes, *chunks: bytes) -> bytes:
    body = wav[8:] + b"".join(chunks)
    return wav[:4] + struct.pack("<I", len(body)) + body


def cue(*places: int) -> bytes:
    entries = [struct.pack("<II4sIII", i + 1, at, b"data", 0, 0, at) for i, at in enumerate(places)]
    return struct.pack("<I", len(places)) + b"".join(entries)


def sampler(*loops: tuple[int, int]) -> bytes:
    entries = [struct.pack("<6I", i, 0, first, last, 0, 0) for i, (first, last) in enumerate(loops)]
    return struct.pack("<9I", 7, 8, 125000, 60, 0, 0, 0, len(loops), 0) + b"".join(entries)


def id3(frame: bytes, version: int) -> bytes:
    return b"ID3" + bytes([version, 0, 0, 0, 0, 0, 14]) + frame + struct.pack(">I", 4) + b"\0\0\0abc"


RIFX = b"".join(
    (
        chunk("fmt ", struct.pack(">HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16), ">"),
        chunk("data", bytes(200), ">"),
        chunk("cue ", b"\0\0\0\0", ">"),
    )
)
LABELS = b"adtl" + chunk("labl", struct.pack("<I", 1) + b"chorus\0")
LOOPS = sampler((200, 299), (1000, 3999))
MARKED = with_chunks(audio(), chunk("cue ", cue(100, 3000)), chunk("adtl", LABELS), chunk("smpl", LOOPS))


def saved(signal: Signal, path: Path) -> dict[str, bytes]:
    """Write a signal without a warning and return the chunks of the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_signal(signal, path)
    data = path.read_bytes()
    assert int.from_bytes(data[4:8], "little") == len(data) - 8
    return {"adtl" if name == "LIST" else name: body for name, body in chunks_of(data, 12)}


@pytest.mark.parametrize(
    ("format_name", "suffix"), [("WAV", ".wav"), ("FLAC", ".flac"), ("OGG", ".ogg"), ("MP3", ".mp3"), ("CAF", ".caf")]
)
def test_tags_are_kept(format_name: str, suffix: str, tmp_path: Path) -> None:
    subtype = {"OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}.get(format_name, "PCM_16")
    signal = signal_from_bytes(audio(format_name, subtype, tags=TAGS), "x")
    assert signal.meta.tags == TAGS
    decoded = inrcodec.decompress(inrcodec.compress(signal, effort="fast"))
    assert decoded.meta.tags == TAGS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_signal(decoded, tmp_path / f"x{suffix}")
    assert read_signal(tmp_path / f"x{suffix}").meta.tags == TAGS


def test_what_a_format_cannot_hold_is_named(tmp_path: Path) -> None:
    with pytest.warns(LossWarning, match=r"x\.au: AU cannot hold: title, artist, comment, date, album$") as caught:
        write_signal(signal_from_bytes(audio(tags=TAGS), "x"), tmp_path / "x.au")
    assert len(caught) == 1
    with pytest.warns(LossWarning, match=r"x\.flac: FLAC cannot hold: cue points, labels of cue points, loops$"):
        write_signal(signal_from_bytes(MARKED, "x"), tmp_path / "x.flac")


def test_cue_points_and_loops_come_back_unchanged(tmp_path: Path) -> None:
    signal = inrcodec.decompress(inrcodec.compress(signal_from_bytes(MARKED, "x"), effort="fast"))
    chunks = saved(signal, tmp_path / "x.wav")
    assert (chunks["cue "], chunks["adtl"], chunks["smpl"]) == (cue(100, 3000), LABELS, LOOPS)
    assert soundfile.info(tmp_path / "x.wav").frames == N


def test_chunks_after_an_odd_number_of_bytes_are_aligned(tmp_path: Path) -> None:
    signal = signal_from_bytes(with_chunks(audio(subtype="PCM_U8"), chunk("cue ", cue(5))), "x")
    odd = Signal(signal.values[:999], replace(signal.header, shape=(999,)), signal.meta)
    assert saved(odd, tmp_path / "x.wav")["cue "] == cue(5)
    assert read_signal(tmp_path / "x.wav").header.n_points == 999


def test_cue_points_and_loops_move_with_the_samples(tmp_path: Path) -> None:
    blob = inrcodec.compress(signal_from_bytes(MARKED, "x"), effort="fast")
    chunks = saved(inrcodec.decompress(blob, start=0.125, duration=0.1), tmp_path / "part.wav")
    assert "cue " not in chunks and chunks["smpl"] == sampler()
    chunks = saved(inrcodec.decompress(blob, start=0.01), tmp_path / "later.wav")
    assert chunks["cue "] == cue(20, 2920) and chunks["smpl"] == sampler((120, 219), (920, 3919))
    chunks = saved(inrcodec.decompress(blob, sample_rate=16000), tmp_path / "double.wav")
    assert chunks["cue "] == cue(200, 6000)
    assert chunks["smpl"][36:] == sampler((400, 599), (2000, 7999))[36:]
    assert int.from_bytes(chunks["smpl"][8:12], "little") == 62500


@pytest.mark.parametrize("mask", [0, 0x107, 0x60F])
def test_channel_masks_are_kept(mask: int, tmp_path: Path) -> None:
    data = bytearray(audio("WAVEX", channels=4))
    data[40:44] = struct.pack("<I", mask)
    signal = signal_from_bytes(bytes(data), "x")
    assert signal.meta.channel_mask == mask
    decoded = inrcodec.decompress(inrcodec.compress(signal, effort="fast"))
    assert saved(decoded, tmp_path / "x.wav")["fmt "] == bytes(data[20:60])
    with pytest.warns(LossWarning, match="FLAC cannot hold: channel mask"):
        write_signal(decoded, tmp_path / "x.flac")


def test_default_channels_take_no_bytes() -> None:
    for channels in (1, 2):
        assert signal_from_bytes(audio("WAVEX", channels=channels), "x").meta.extra_to_bytes() == b""


def test_markers_of_aiff_become_cue_points(tmp_path: Path) -> None:
    data = audio("AIFF")
    marks = struct.pack(">H", 2) + struct.pack(">HIB", 1, 100, 5) + b"verse" + struct.pack(">HIB", 2, 900, 0) + b"\0"
    instrument = struct.pack(">6bh", 64, 0, 0, 127, 1, 127, 0) + struct.pack(">6h", 1, 1, 2, 0, 0, 0)
    body = data[8:] + chunk("MARK", marks, ">") + chunk("INST", instrument, ">")
    signal = signal_from_bytes(b"FORM" + struct.pack(">I", len(body)) + body, "x")
    chunks = saved(signal, tmp_path / "x.wav")
    assert chunks["cue "] == cue(100, 900)
    assert chunks["adtl"] == b"adtl" + chunk("labl", struct.pack("<I", 1) + b"verse\0")
    assert chunks["smpl"][12:16] == struct.pack("<I", 64)
    assert struct.unpack("<6I", chunks["smpl"][36:])[2:4] == (100, 899)


def test_chunks_of_rf64_are_found() -> None:
    assert signal_from_bytes(audio("RF64") + chunk("cue ", cue(7)), "x").meta.riff == {"cue ": cue(7)}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (with_chunks(audio(), chunk("id3 ", b"ID3")), "chunk id3"),
        (with_chunks(audio(), chunk("LIST", b"INFO" + chunk("IENG", b"me\0\0"))), "INFO IENG"),
        (b"RIFX" + struct.pack(">I", 0) + b"WAVE" + RIFX, "cue points"),
        (id3(b"TPE2", 3) + audio("MP3", "MPEG_LAYER_III"), "tag TPE2"),
        (id3(b"APIC", 4) + audio("MP3", "MPEG_LAYER_III"), "images"),
        (audio("FLAC")[:42] + b"\x02\0\0\x04abcd" + audio("FLAC")[42:], "application data"),
    ],
)
def test_what_is_not_kept_is_named(data: bytes, words: str) -> None:
    with pytest.warns(LossWarning, match=f"^x: not kept: {words}$"):
        signal_from_bytes(data, "x")


@pytest.mark.parametrize(("format_name", "subtype"), [("OGG", "VORBIS"), ("OGG", "OPUS"), ("FLAC", "PCM_16")])
def test_tags_that_are_not_kept_are_named(format_name: str, subtype: str) -> None:
    data = audio(format_name, subtype, tags={"title": "T", "artist": "A"})
    changed = re.sub(b"title=", b"Tempo=", data, count=1, flags=re.IGNORECASE)
    # The pages of Ogg have checksums, so that soundfile reads the file as it was.
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        with pytest.warns(LossWarning, match="^x: not kept: tag TEMPO$"):
            read_meta(file, changed, "x")
        assert read_meta(file, data, "x").tags == {"title": "T", "artist": "A"}


def test_metadata_and_back() -> None:
    meta = SignalMeta(tags={"title": "é"}, channel_mask=0, riff={"cue ": b"\0\xff"})
    assert SignalMeta.from_extra(meta.extra_to_bytes(), 8) == meta


@pytest.mark.parametrize(
    "text", ['{"channel_mask":-1}', '{"channel_mask":"a"}', '{"riff":{"cue ":"?"}}', '{"tags":[1]}', '{"riff":7}']
)
def test_corrupt_metadata_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        SignalMeta.from_extra(bytes([EXTRA_VERSION]) + zlib.compress(text.encode()), 8)
