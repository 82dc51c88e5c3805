"""Audio in ``.inr`` files as arrays, with the interface of soundfile.

inrcodec.audio.write("voice.inr", values, 16000)
values, rate = inrcodec.audio.read("voice.inr", start=16000, frames=8000)
for block in inrcodec.audio.blocks("voice.inr", blocksize=4096):
    ...

Two things differ from soundfile: arguments that contradict each other raise a ``UsageError``, which is a ValueError,
and integers are read from floating-point audio on their full scale.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inrcodec.api import InrFile, encode
from inrcodec.errors import DataError, UnsupportedError, UsageError, look_up
from inrcodec.settings import Settings
from inrcodec.signals.files.audio import SUBTYPE_OF_SAMPLES, signal_of
from inrcodec.signals.header import SignalHeader
from inrcodec.storage import write_whole

Samples = NDArray[Any]
Source = str | Path | bytes | IO[bytes]
Target = str | Path | IO[bytes]

FORMAT = "INR"
"""The name of the format, as ``write`` takes it and ``info`` returns it."""
_SCALES = {"float64": 0, "float32": 0, "int32": 31, "int16": 15}
"""The binary digits of full scale, by dtype; 0 for floating point."""


@dataclass(frozen=True)
class SoundInfo:
    """Holds the properties of audio that ``info`` returns.

    Attributes:
        samplerate: in Hz.
        channels: the number of channels.
        frames: the number of samples per channel.
        duration: in seconds.
        format: "INR".
        subtype: the subtype of the original, such as "PCM_16".
    """

    samplerate: int
    channels: int
    frames: int
    duration: float
    format: str = FORMAT
    subtype: str = "PCM_16"


def info(source: Source, *, entry: int | str = 0) -> SoundInfo:
    """Return the properties of the audio in a file, without decoding it.

    Args:
        source: a path, the bytes of a file, or an open binary file.
        entry: the index or name of an entry, for an archive.

    Raises:
        DataError: the entry is not audio.
    """
    header = _header(_opened(source), entry)
    seconds = header.n_points / header.sample_rate
    subtype = SUBTYPE_OF_SAMPLES[header.sample_type]
    return SoundInfo(header.sample_rate, header.channels, header.n_points, seconds, FORMAT, subtype)


def read(
    source: Source,
    frames: int = -1,
    start: int = 0,
    stop: int | None = None,
    dtype: str = "float64",
    always_2d: bool = False,
    fill_value: float | None = None,
    out: Samples | None = None,
    *,
    rate: int | None = None,
    entry: int | str = 0,
) -> tuple[Samples, int]:
    """Return samples and their rate in Hz; ``frames``, ``start`` and ``stop`` count samples at ``rate``.

    Args:
        source: a path, the bytes of a file, or an open binary file.
        frames: the maximum number of samples; -1 means all up to ``stop``.
        start: the first sample; a negative number counts from the end.
        stop: the sample after the last one; a negative number counts from the end.
        dtype: "float64", "float32", "int32" or "int16". Integers are scaled to their range.
        always_2d: whether one channel is returned as (n, 1).
        fill_value: what follows the end where ``frames`` or ``out`` ask for more; without it the array is shorter.
        out: an array to read into, (n, channels) or (n,); its length bounds ``frames``, its type replaces ``dtype``.
        rate: the sample rate in Hz at which the signal is evaluated; its own by default.
        entry: the index or name of an entry, for an archive.

    Returns:
        The samples (n, channels), or (n,) if there is one channel, and their rate. Full scale is 1; as from a file of
        integers, samples are within it unless the original was floating-point.

    Raises:
        DataError: the entry is not audio.
        UsageError: both ``frames`` and ``stop`` are given, or ``dtype`` or ``out`` do not fit.
    """
    file = _opened(source)
    header = _header(file, entry)
    hertz = rate or header.sample_rate
    total = max(1, round(header.n_points * hertz / header.sample_rate))
    first, count = _span(total, start, stop, frames)
    if out is not None:
        _check_out(out, header.channels)
        count = len(out) if frames < 0 else min(len(out), count)
        dtype = out.dtype.name
    scale = look_up(_SCALES, dtype, "dtype")
    present = min(count, total - first)
    values = np.zeros((0, header.channels), dtype)
    if present:
        window = file.render(sample_rate=rate, start=first / hertz, duration=present / hertz, entry=entry)
        values = _scaled(window.to_native(), dtype, scale)
    if out is None:
        out = np.empty((count if fill_value is not None else present, header.channels), dtype)
        out = out[:, 0] if header.channels == 1 and not always_2d else out
    out[:present] = values.reshape(out[:present].shape)
    if fill_value is None:
        return out[:present], hertz
    out[present:] = fill_value
    return out, hertz


def blocks(
    source: Source,
    blocksize: int,
    overlap: int = 0,
    frames: int = -1,
    start: int = 0,
    stop: int | None = None,
    dtype: str = "float64",
    always_2d: bool = False,
    fill_value: float | None = None,
    *,
    rate: int | None = None,
    entry: int | str = 0,
) -> Iterator[Samples]:
    """Yield blocks of samples; the audio is decoded once.

    Args:
        source: a path, the bytes of a file, or an open binary file.
        blocksize: the number of samples of a block, at least 1; the last block may be shorter.
        overlap: the number of samples that a block shares with the one before, less than ``blocksize``.
        frames, start, stop, dtype, always_2d, rate, entry: as for ``read``.
        fill_value: what the last block is filled with; without it the block is shorter.

    Raises:
        DataError: the entry is not audio.
        UsageError: ``blocksize`` or ``overlap`` is out of range, or an argument is not one that ``read`` takes.
    """
    if blocksize < 1 or not 0 <= overlap < blocksize:
        raise UsageError(
            f"expected a blocksize of at least 1 and a smaller overlap of at least 0, got {blocksize} and {overlap}"
        )
    values, _ = read(source, frames, start, stop, dtype, always_2d, rate=rate, entry=entry)
    for begin in range(0, max(min(1, len(values)), len(values) - overlap), blocksize - overlap):
        block = values[begin : begin + blocksize]
        if fill_value is not None and len(block) < blocksize:
            filled = np.full((blocksize, *values.shape[1:]), fill_value, values.dtype)
            filled[: len(block)] = block
            block = filled
        yield block


def write(
    file: Target,
    data: ArrayLike,
    samplerate: int,
    subtype: str | None = None,
    endian: str | None = None,
    format: str | None = None,
    *,
    settings: Settings | None = None,
) -> None:
    """Write samples to a file, which is replaced if it exists: compressed to ``.inr``, or as soundfile does.

    Args:
        file: a path, or an open binary file, which gets an ``.inr`` file unless ``format`` names another one.
        data: (n,) or (n, channels), float64, float32, int32 or int16; full scale is 1, or that of the integers.
        samplerate: in Hz.
        subtype: the sample type that decoded audio gets, such as "PCM_24" or "FLOAT"; "PCM_16" by default. Integer
            types clip samples to full scale.
        endian: byte order, for formats of soundfile.
        format: "INR" or a format of soundfile; by default what the suffix of ``file`` names.
        settings: codec, prior, effort and rate of an ``.inr`` file.

    Raises:
        DataError: there are no samples, samples are not finite, or the file cannot be written.
        UnsupportedError: the format does not support the subtype, rate or channels.
        UsageError: the type or shape of the data, the subtype or the suffix is none of those that can be written.

    Example:
        >>> inrcodec.audio.write("tone.inr", numpy.sin(numpy.arange(16000) / 9), 16000)
    """
    name = str(file) if isinstance(file, str | Path) else "audio"
    samples = np.asarray(data)
    if samples.dtype.name not in _SCALES:
        raise UsageError(f"{name}: samples must be one of {', '.join(_SCALES)}, got {samples.dtype}")
    if samples.ndim not in (1, 2):
        raise UsageError(f"{name}: samples must be of shape (n,) or (n, channels), got {samples.shape}")
    if format is None:
        suffix = Path(file).suffix if isinstance(file, str | Path) else ""
        format = suffix[1:].upper() or FORMAT
    if format.upper() == FORMAT:
        content = _inr(samples, samplerate, subtype or "PCM_16", settings, name)
    else:
        content = _foreign(samples, samplerate, subtype, endian, format, name)
    if isinstance(file, str | Path):
        write_whole(Path(file), content, force=True)
    else:
        file.write(content)


def _inr(samples: Samples, samplerate: int, subtype: str, settings: Settings | None, name: str) -> bytes:
    sample_types = {subtype: sample_type for sample_type, subtype in SUBTYPE_OF_SAMPLES.items()}
    sample_type = look_up(sample_types, subtype.upper(), "subtype")
    values = samples.astype(np.float64) / 2.0 ** _SCALES[samples.dtype.name]
    if not sample_type.startswith("float"):
        values = np.clip(values, -1.0, 1.0)
    values = values[:, None] if values.ndim == 1 else values
    signal = signal_of(np.ascontiguousarray(values, np.float32), int(samplerate), sample_type, name)
    return encode(signal, settings).data


def _foreign(
    samples: Samples, samplerate: int, subtype: str | None, endian: str | None, format_name: str, name: str
) -> bytes:
    import io

    import soundfile

    if format_name.upper() not in soundfile.available_formats():
        known = ", ".join([FORMAT, *soundfile.available_formats()])
        raise UsageError(f"{name}: unsupported format {format_name!r}: use one of {known}")
    out = io.BytesIO()
    try:
        soundfile.write(out, samples, samplerate, subtype, endian, format_name)
    except Exception as error:
        raise UnsupportedError(f"{name}: {format_name} does not support this audio: {error}") from None
    return out.getvalue()


def _opened(source: Source) -> InrFile:
    if isinstance(source, str | Path | bytes):
        return InrFile(source)
    return InrFile(source.read())


def _span(total: int, start: int, stop: int | None, frames: int) -> tuple[int, int]:
    """Return the first sample and the number of samples that are asked for, which may be more than there are."""
    if stop is not None and frames >= 0:
        raise UsageError("give either frames or stop, not both")
    first, last, _ = slice(start, stop).indices(total)
    return first, max(0, last - first) if frames < 0 else frames


def _check_out(out: Samples, channels: int) -> None:
    fits = out.ndim == 2 and out.shape[1] == channels
    if not fits and not (out.ndim == 1 and channels == 1):
        raise UsageError(f"expected out of shape (n, {channels}), got {out.shape}")


def _scaled(values: NDArray[np.float32], dtype: str, scale: int) -> Samples:
    if not scale:
        return values.astype(dtype)
    top = 2.0**scale
    return np.rint(np.clip(values.astype(np.float64) * top, -top, top - 1.0)).astype(dtype)


def _header(file: InrFile, entry: int | str) -> SignalHeader:
    header = file.container(entry).header
    if header.kind != "audio":
        raise DataError(f"expected audio, got a signal of kind {header.kind}")
    return header
