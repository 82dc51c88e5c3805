"""Audio files through soundfile: WAV, FLAC, OGG, AIFF and more, any sample rate, up to ``Limits.max_channels``."""

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
_SUBTYPE_OF = {sample_type: subtype for subtype, sample_type in _SUBTYPES.items()}
SUFFIXES = {".wav": "WAV", ".flac": "FLAC", ".aiff": "AIFF", ".aif": "AIFF", ".ogg": "OGG"}


def is_audio(data: bytes) -> bool:
    """Return whether these bytes are an audio file, even if truncated or corrupt."""
    try:
        soundfile.info(io.BytesIO(data))
    except (soundfile.SoundFileError, RuntimeError, TypeError):
        return data[:4] in (b"RIFF", b"fLaC", b"OggS", b"FORM")
    return True


def read_audio(data: bytes, name: str, limits: Limits) -> Signal:
    """Return the audio in the bytes of a file, (n, channels) in [-1, 1]; ``name`` appears in error messages.

    Raises:
        DataError: the file is corrupt or empty, or holds NaN or infinite samples.
        LimitError: the samples or channels exceed ``limits``.
        UnsupportedError: a sample is beyond full scale.
    """
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if file.frames > limits.max_points or file.channels > limits.max_channels:
                raise LimitError(
                    f"{name}: {file.frames} samples of {file.channels} channels, which exceeds the limits of"
                    f" {limits.max_points} samples and {limits.max_channels} channels"
                )
            values = file.read(dtype="float32", always_2d=True)
            rate, subtype = file.samplerate, file.subtype
    except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
        raise DataError(f"{name}: the audio cannot be read: {error}") from None
    if len(values) == 0:
        raise DataError(f"{name}: the audio is empty")
    if not np.isfinite(values).all():
        raise DataError(f"{name}: the audio has samples that are not finite (NaN or infinite): fill them first")
    if np.abs(values).max() > 1.0:
        raise UnsupportedError(
            f"{name}: samples out of range: expected at most 1 (full scale), got {np.abs(values).max():.3g}: lower the"
            " gain first"
        )
    layout = {1: "mono", 2: "stereo"}.get(values.shape[1], "multi")
    # Lossy sources (Vorbis, Opus, MP3, companded) are written back as 16 bits, the common output of their decoders.
    return Signal(
        values, SignalHeader("audio", layout, _SUBTYPES.get(subtype, "pcm_16"), (len(values),), values.shape[1], rate)
    )


def write_audio(signal: Signal, path: Path, force: bool) -> None:
    """Write audio in the format that the suffix of ``path`` names, with its own sample type (Vorbis for .ogg).

    Raises:
        UnsupportedError: the suffix is unknown, or the format does not support the sample type, rate or channels.
        DataError: the file exists and ``force`` is not set, or it cannot be written.
    """
    format_name = SUFFIXES.get(path.suffix.lower())
    if format_name is None:
        raise UnsupportedError(f"{path}: unsupported suffix for audio: use one of {', '.join(SUFFIXES)}")
    subtype = "VORBIS" if format_name == "OGG" else _SUBTYPE_OF[signal.header.sample_type]
    if not soundfile.check_format(format_name, subtype):
        raise UnsupportedError(f"{path}: {format_name} does not support {signal.header.sample_type} samples: use .wav")

    def write(file: IO[bytes]) -> None:
        try:
            soundfile.write(file, signal.to_native(), signal.header.sample_rate, subtype, format=format_name)
        except (soundfile.SoundFileError, RuntimeError, ValueError, TypeError) as error:
            stream = f"{signal.header.channels} channels at {signal.header.sample_rate} Hz"
            raise UnsupportedError(f"{path}: {format_name} does not support {stream}: {error}") from None

    write_whole(path, write, force=force)
