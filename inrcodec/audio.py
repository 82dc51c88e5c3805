"""Sounds in ``.inr`` files as arrays, called as soundfile's functions are.

values, rate = inrcodec.audio.read("voice.inr", start=16000, frames=8000)
for block in inrcodec.audio.blocks("voice.inr", blocksize=4096): ...
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
    """What ``info`` tells: the sound's own rate in Hz, channels, samples and seconds."""

    samplerate: int
    channels: int
    frames: int
    duration: float


def info(source: Source, *, entry: int | str = 0) -> SoundInfo:
    """What a file says of its sound, without decoding; DataError when it holds none."""
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
    """Samples (n,), or (n, channels) of more than one, and their rate in Hz.

    Args:
        frames: how many, -1 for all up to ``stop``; start, stop: first sample and the one after the last, from the end
            where negative. All count samples at ``rate``.
        rate: Hz to evaluate the function at, the sound's own by default.
        always_2d: (n, 1) for one channel too.

    Raises:
        DataError: the file holds no sound. UsageError: the samples do not lie in it.
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
        raise UsageError(f"the sound has {total} samples at {hertz} Hz: none from {first} to {last}")
    if first == last:
        values = np.zeros((0, header.channels), np.float32)
    else:
        part = file.render(sample_rate=rate, start=first / hertz, duration=(last - first) / hertz, entry=entry)
        values = np.clip(part.values, -1.0, 1.0)
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
    """Blocks of ``blocksize`` samples, each beginning ``overlap`` before the end of the one before; the last may be
    shorter. The sound is decoded once."""
    if blocksize < 1 or not 0 <= overlap < blocksize:
        raise UsageError("blocks take a size of at least 1 and an overlap below it")
    values, _ = read(source, rate=rate, always_2d=always_2d, entry=entry)
    for begin in range(0, max(1, len(values) - overlap), blocksize - overlap):
        yield values[begin : begin + blocksize]


def _header(file: InrFile, entry: int | str) -> SignalHeader:
    header = file.container(entry).header
    if header.kind != "audio":
        raise DataError(f"the file holds no sound but a signal of kind {header.kind}")
    return header
