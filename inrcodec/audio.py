"""Audio in ``.inr`` files as arrays, with the interface of soundfile.

values, rate = inrcodec.audio.read("voice.inr", start=16000, frames=8000)
for block in inrcodec.audio.blocks("voice.inr", blocksize=4096):
    ...
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inrcodec.api import InrFile
from inrcodec.errors import DataError, UsageError
from inrcodec.signals.header import SignalHeader

FloatArray = NDArray[np.float32]
Source = str | Path | bytes


@dataclass(frozen=True)
class SoundInfo:
    """Holds the properties of audio that ``info`` returns.

    Attributes:
        samplerate: in Hz.
        channels: the number of channels.
        frames: the number of samples per channel.
        duration: in seconds.
    """

    samplerate: int
    channels: int
    frames: int
    duration: float


def info(source: Source, *, entry: int | str = 0) -> SoundInfo:
    """Return the properties of the audio in a file, without decoding it.

    Args:
        source: a path, or the bytes of a file.
        entry: the index or name of an entry, for an archive.

    Raises:
        DataError: the entry is not audio.
    """
    header = _header(InrFile(source), entry)
    return SoundInfo(header.sample_rate, header.channels, header.n_points, header.n_points / header.sample_rate)


def read(
    source: Source,
    frames: int = -1,
    start: int = 0,
    stop: int | None = None,
    *,
    rate: int | None = None,
    always_2d: bool = False,
    entry: int | str = 0,
) -> tuple[FloatArray, int]:
    """Return samples and their rate in Hz; ``frames``, ``start`` and ``stop`` count samples at ``rate``.

    Args:
        source: a path, or the bytes of a file.
        frames: the number of samples; -1 means all up to ``stop``.
        start: the first sample; a negative number counts from the end.
        stop: the sample after the last one; a negative number counts from the end.
        rate: the sample rate in Hz at which the signal is evaluated; its own by default.
        always_2d: whether one channel is returned as (n, 1).
        entry: the index or name of an entry, for an archive.

    Returns:
        The samples (n, channels), or (n,) if there is one channel, float32 in [-1, 1], and their rate.

    Raises:
        DataError: the entry is not audio.
        UsageError: both ``frames`` and ``stop`` are given, or samples are out of range.
    """
    file = InrFile(source)
    header = _header(file, entry)
    hertz = rate or header.sample_rate
    total = max(1, round(header.n_points * hertz / header.sample_rate))
    if stop is not None and frames >= 0:
        raise UsageError("give either frames or stop, not both")
    first = start if start >= 0 else total + start
    last = total if stop is None else stop if stop >= 0 else total + stop
    last = first + frames if frames >= 0 else last
    if not 0 <= first <= last <= total:
        raise UsageError(f"samples out of range: expected 0 to {total} at {hertz} Hz, got {first} to {last}")
    if first == last:
        values = np.zeros((0, header.channels), np.float32)
    else:
        window = file.render(sample_rate=rate, start=first / hertz, duration=(last - first) / hertz, entry=entry)
        values = np.clip(window.values, -1.0, 1.0)
    return values[:, 0] if values.shape[1] == 1 and not always_2d else values, hertz


def blocks(
    source: Source,
    blocksize: int,
    overlap: int = 0,
    *,
    rate: int | None = None,
    always_2d: bool = False,
    entry: int | str = 0,
) -> Iterator[FloatArray]:
    """Yield blocks of samples; the audio is decoded once.

    Args:
        source: a path, or the bytes of a file.
        blocksize: the number of samples of a block, at least 1; the last block may be shorter.
        overlap: the number of samples that a block shares with the one before, less than ``blocksize``.
        rate: the sample rate in Hz at which the signal is evaluated; its own by default.
        always_2d: whether one channel is returned as (n, 1).
        entry: the index or name of an entry, for an archive.

    Raises:
        DataError: the entry is not audio.
        UsageError: ``blocksize`` or ``overlap`` is out of range.
    """
    if blocksize < 1 or not 0 <= overlap < blocksize:
        raise UsageError(
            f"expected a blocksize of at least 1 and a smaller overlap of at least 0, got {blocksize} and {overlap}"
        )
    values, _ = read(source, rate=rate, always_2d=always_2d, entry=entry)
    for begin in range(0, max(1, len(values) - overlap), blocksize - overlap):
        yield values[begin : begin + blocksize]


def _header(file: InrFile, entry: int | str) -> SignalHeader:
    header = file.container(entry).header
    if header.kind != "audio":
        raise DataError(f"expected audio, got a signal of kind {header.kind}")
    return header
