"""Audio in containers that soundfile does not read, such as M4A and WebM, through PyAV (the extra ``formats``)."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import DataError, InrcodecError, LimitError, UnsupportedError, warn_of_losses
from inrcodec.limits import Limits
from inrcodec.signals.files.audio_metadata import TAGS, unreadable
from inrcodec.signals.metadata import SignalMeta

_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_IMAGES = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis", b"crx "}
"""The brands of image files that begin as MP4 does."""
_STARTS = (
    (b"\x1a\x45\xdf\xa3", "matroska", "WebM or Matroska"),
    (_ASF, "asf", "WMA"),
    (b"wvpk", "wv", "WavPack"),
    (b"TTA1", "tta", "TTA"),
)
_SAMPLE_TYPES = {"s16": "pcm_16", "s32": "pcm_32", "u8": "pcm_u8", "flt": "float32", "dbl": "float64"}
_LOSSLESS = ("pcm_", "alac", "flac", "wavpack", "tta", "wmalossless")
_MASKS = {"quad": 0x33, "4.0": 0x107, "5.0": 0x607, "5.1": 0x60F, "5.0(back)": 0x37, "5.1(back)": 0x3F, "7.1": 0x63F}
"""The speakers of the layouts of channels, which FFmpeg orders as WAV does."""
_SILENT = {"major_brand", "minor_version", "compatible_brands", "encoder", "creation_time", "language", "duration"}
"""Metadata that says how the file was made."""


def container_of(data: bytes) -> tuple[str, str]:
    """Return FFmpeg's name of the container of these bytes, and its name for people; empty texts if it is none."""
    if data[4:8] == b"ftyp" and data[8:12] not in _IMAGES:
        return "mov", "MP4 or M4A"
    # A frame of ADTS: twelve bits of sync, and the layer that MP3 does not use.
    if len(data) > 7 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0:
        return "aac", "AAC"
    for start, name, words in _STARTS:
        if data.startswith(start):
            return name, words
    return "", ""


def read_container(data: bytes, name: str, limits: Limits) -> tuple[NDArray[np.float32], int, str, SignalMeta]:
    """Return the samples (n, channels) of the first audio stream, their rate in Hz, sample type and metadata.

    Args:
        data: the file.
        name: its name, for messages.
        limits: checked while samples are decoded.

    Raises:
        DataError: the file is corrupt or holds no audio.
        LimitError: the samples or channels exceed ``limits``.
        UnsupportedError: PyAV is not installed, or the file is a video.
    """
    format_name, words = container_of(data)
    try:
        import av
    except ImportError:
        raise UnsupportedError(
            f"{name}: {words} files are read by PyAV: install inrcodec[formats], or convert to .wav first"
        ) from None
    try:
        with av.open(io.BytesIO(data), format=format_name) as container:
            return _read(av, container, name, limits)
    except InrcodecError:
        raise
    except Exception as error:
        # Corrupt files raise errors of PyAV, NumPy and the codecs of Python.
        raise DataError(unreadable(name, error)) from None


def _read(av: Any, container: Any, name: str, limits: Limits) -> tuple[NDArray[np.float32], int, str, SignalMeta]:
    pictures = [s for s in container.streams.video if "attached_pic" in s.disposition.name.lower()]
    if len(container.streams.video) > len(pictures):
        raise UnsupportedError(f"{name}: expected audio, got a video: extract its audio to .wav first")
    if not container.streams.audio:
        raise DataError(f"{name}: expected audio, got a file without an audio stream")
    stream = container.streams.audio[0]
    rate, channels = stream.rate, stream.channels
    resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=rate)
    blocks: list[NDArray[np.float32]] = []
    total, first = 0, None
    for frame in container.decode(stream):
        if first is None and frame.pts is not None:
            first = max(0, round(frame.pts * Fraction(frame.time_base) * rate))
        for part in resampler.resample(frame):
            total += part.samples
            if total > limits.max_points or channels > limits.max_channels:
                raise LimitError(
                    f"{name}: {total} samples of {channels} channels, which exceeds the limits of"
                    f" {limits.max_points} samples and {limits.max_channels} channels"
                )
            blocks.append(np.ascontiguousarray(part.to_ndarray().T, np.float32))
    if not blocks:
        raise DataError(f"{name}: the audio is empty")
    values = np.concatenate(blocks)
    if container.format.name.startswith("mov") and stream.duration:
        # The last frame is padded; the container states where the audio ends.
        end = round(stream.duration * Fraction(stream.time_base) * rate) - (first or 0)
        values = values[:end] if end > 0 else values
    codec = stream.codec_context.name
    sample_type = _SAMPLE_TYPES.get(stream.format.packed.name, "pcm_16") if codec.startswith(_LOSSLESS) else "pcm_16"
    lost = (["images"] if pictures else []) + ([] if len(container.streams.audio) == 1 else ["further audio streams"])
    tags, others = _tags(container.metadata | stream.metadata)
    warn_of_losses(name, "not kept", [*lost, *others])
    return values, rate, sample_type, SignalMeta(tags=tags, channel_mask=_MASKS.get(stream.layout.name))


def _tags(metadata: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the tags that are kept, and the names of those that are not."""
    tags, lost = {}, []
    for key, text in metadata.items():
        tag = {"track": "tracknumber", "year": "date"}.get(key.lower(), key.lower())
        if tag in TAGS and text:
            tags[tag] = text
        elif text and tag not in _SILENT and not tag.startswith(("handler_name", "vendor_id", "duration")):
            lost.append(f"tag {tag}")
    return tags, lost
