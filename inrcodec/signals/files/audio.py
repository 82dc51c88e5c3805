"""Sounds by soundfile: WAV, FLAC, OGG, AIFF and more, any rate, up to ``Limits.max_channels`` channels."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO

import numpy as np
import soundfile

from inrcodec.errors import DataError, LimitError, UnsupportedError
from inrcodec.limits import Limits
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.signal import Signal
from inrcodec.storage import write_whole

_SUBTYPES = {
    "PCM_16": "pcm_16",
    "PCM_24": "pcm_24",
    "PCM_32": "pcm_32",
    "PCM_U8": "pcm_u8",
    "PCM_S8": "pcm_s8",
    "FLOAT": "float32",
    "DOUBLE": "float64",
}
_BACK = {ours: theirs for theirs, ours in _SUBTYPES.items()}
SUFFIXES = {".wav": "WAV", ".flac": "FLAC", ".aiff": "AIFF", ".aif": "AIFF", ".ogg": "OGG"}


def is_audio(data: bytes) -> bool:
    """Whether soundfile knows the format of these bytes."""
    try:
        soundfile.info(io.BytesIO(data))
    except (soundfile.SoundFileError, RuntimeError, TypeError):
        return data[:4] in (b"RIFF", b"fLaC", b"OggS", b"FORM")
    return True


def read_audio(data: bytes, name: str, limits: Limits) -> Signal:
    """A sound; DataError when damaged or empty, LimitError when too long."""
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if file.frames > limits.max_points or file.channels > limits.max_channels:
                raise LimitError(f"{name}: {file.frames} samples of {file.channels} channels are over the limits")
            values = file.read(dtype="float32", always_2d=True)
            rate, subtype = file.samplerate, file.subtype
    except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
        raise DataError(f"{name}: the sound cannot be read: {error}") from None
    if len(values) == 0:
        raise DataError(f"{name}: the sound is empty")
    if not np.isfinite(values).all():
        raise DataError(f"{name}: holds samples that are not finite (NaN or infinite)")
    if np.abs(values).max() > 1.0:
        raise UnsupportedError(
            f"{name}: samples reach {np.abs(values).max():.3g}, full scale is 1: lower the gain first"
        )
    layout = {1: "mono", 2: "stereo"}.get(values.shape[1], "multi")
    # Lossy sources (Vorbis, Opus, MP3, companded) come back as 16 bits, which is what they are usually decoded to.
    return Signal(
        values, SignalHeader("audio", layout, _SUBTYPES.get(subtype, "pcm_16"), (len(values),), values.shape[1], rate)
    )


def write_audio(signal: Signal, path: Path, force: bool) -> None:
    """Write by the ending of ``path``, in the sound's own sample type where the format has it."""
    format_name = SUFFIXES.get(path.suffix.lower())
    if format_name is None:
        raise UnsupportedError(f"{path}: sounds are written as {', '.join(SUFFIXES)}")
    subtype = "VORBIS" if format_name == "OGG" else _BACK[signal.header.sample_type]
    if not soundfile.check_format(format_name, subtype):
        raise UnsupportedError(f"{path}: {format_name} does not keep {signal.header.sample_type} samples: write a .wav")

    def write(file: IO[bytes]) -> None:
        try:
            soundfile.write(file, signal.to_native(), signal.header.sample_rate, subtype, format=format_name)
        except (soundfile.SoundFileError, RuntimeError, ValueError, TypeError) as error:
            rate = f"{signal.header.channels} channels at {signal.header.sample_rate} Hz"
            raise UnsupportedError(f"{path}: {format_name} does not keep {rate}: {error}") from None

    write_whole(path, write, force=force)
