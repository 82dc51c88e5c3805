"""Audio files through soundfile: WAV, FLAC, OGG, MP3, AIFF and more, any sample rate, up to ``Limits.max_channels``.

Samples keep their scale, beyond full scale too where the format is floating-point or lossy; only output formats of
integers clip them, with a ``LossWarning``.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from inrcodec.errors import DataError, InrcodecError, LimitError, UnsupportedError, warn_of_losses
from inrcodec.limits import Limits
from inrcodec.signals.files.audio_containers import container_of, read_container
from inrcodec.signals.files.audio_metadata import finish, read_meta, reason, set_tags, unreadable
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.metadata import SignalMeta
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
    "ALAC_20": "pcm_24",
    "ALAC_24": "pcm_24",
    "ALAC_32": "pcm_32",
    "DWVW_24": "pcm_24",
}
_SUBTYPES_OF = {
    "pcm_s8": ("PCM_S8", "PCM_U8", "PCM_16"),
    "pcm_u8": ("PCM_U8", "PCM_S8", "PCM_16"),
    "pcm_16": ("PCM_16", "PCM_24", "PCM_32"),
    "pcm_24": ("PCM_24", "PCM_32", "DOUBLE", "PCM_16"),
    "pcm_32": ("PCM_32", "DOUBLE", "PCM_24", "PCM_16"),
    "float32": ("FLOAT", "DOUBLE", "PCM_24", "PCM_16"),
    "float64": ("DOUBLE", "FLOAT", "PCM_24", "PCM_16"),
}
"""The subtypes that hold each sample type, best first; an output gets the first one that its format supports."""
SUBTYPE_OF_SAMPLES = {sample_type: subtypes[0] for sample_type, subtypes in _SUBTYPES_OF.items()}
"""The subtype that is each sample type."""
_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32, "FLOAT": 25, "DOUBLE": 54}
"""The bits of integers that a subtype holds; floating point has one more, as no integers hold its small samples."""
_LOSSY = {"OGG": "VORBIS", "OPUS": "OPUS", "MP3": "MPEG_LAYER_III"}
SUFFIXES = {
    ".wav": "WAV",
    ".flac": "FLAC",
    ".aiff": "AIFF",
    ".aif": "AIFF",
    ".ogg": "OGG",
    ".oga": "OGG",
    ".opus": "OPUS",
    ".mp3": "MP3",
    ".caf": "CAF",
    ".au": "AU",
    ".w64": "W64",
    ".rf64": "RF64",
}
_STARTS = (b"RIFF", b"RIFX", b"RF64", b"riff", b"fLaC", b"OggS", b"FORM", b"caff", b".snd", b"ID3", b"Creative Voice")
_BLOCK = 1 << 16
"""Samples that are read or written at a time; encoders of Ogg crash on much longer ones."""
MAX_SCALE = 2.0**31
"""The maximum magnitude of a sample, full scale being 1: integers of 32 bits that a file holds as floats."""


class _Bytes(io.BytesIO):
    """Bytes whose positions are clamped: corrupt files make libsndfile seek before the start."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move to a position, at least 0, and return it."""
        base = (0, self.tell(), len(self.getbuffer()))[whence]
        return super().seek(max(0, base + offset))


class _Stream(soundfile.SoundFile):  # type: ignore[misc]
    """An audio file that is read from start to end: some decoders cannot seek, and some only say that they can."""

    def seekable(self) -> bool:
        """Return that it is not."""
        return False


def is_audio(data: bytes) -> bool:
    """Return whether these bytes are an audio file, even if truncated or corrupt."""
    if data.startswith(_STARTS) or container_of(data)[0]:
        return True
    try:
        with _Stream(_Bytes(data)):
            return True
    except Exception:
        return False


def read_audio(data: bytes, name: str, limits: Limits) -> Signal:
    """Return the audio in the bytes of a file, (n, channels), full scale being 1; ``name`` appears in error messages.

    Raises:
        DataError: the file is corrupt or empty, or holds NaN or infinite samples.
        LimitError: the samples or channels exceed ``limits``.
        UnsupportedError: a sample is beyond ``MAX_SCALE``, or PyAV would read the file but is not installed.
    """
    if container_of(data)[0]:
        values, rate, sample_type, meta = read_container(data, name, limits)
        return signal_of(values, rate, sample_type, name, meta)
    try:
        with _Stream(_Bytes(data)) as file:
            values = _samples(file, name, limits)
            rate, subtype = file.samplerate, file.subtype
            meta = read_meta(file, data, name)
    except InrcodecError:
        raise
    except MemoryError:
        raise LimitError(f"{name}: not enough memory for this audio: split it first") from None
    except Exception as error:
        # Corrupt files raise errors of soundfile, cffi, NumPy and the codecs of Python.
        raise DataError(unreadable(name, error)) from None
    return signal_of(values, rate, _SUBTYPES.get(subtype, "pcm_16"), name, meta)


def signal_of(
    values: NDArray[np.float32], rate: int, sample_type: str, name: str, meta: SignalMeta | None = None
) -> Signal:
    """Return samples (n, channels) as a signal, after checking them; see ``read_audio``."""
    if len(values) == 0:
        raise DataError(f"{name}: the audio is empty: expected at least one sample")
    if not np.isfinite(values).all():
        raise DataError(f"{name}: the audio has samples that are not finite (NaN or infinite): fill them first")
    peak = float(np.abs(values).max())
    if peak > MAX_SCALE:
        raise UnsupportedError(
            f"{name}: samples out of range: expected at most 2^31 times full scale, got {peak:.3g}: lower the gain"
        )
    # Lossy sources (Vorbis, Opus, MP3, companded) are written back as 16 bits, the common output of their decoders,
    # unless that would clip them.
    if peak > 1.0 and not sample_type.startswith("float"):
        sample_type = "float32"
    layout = {1: "mono", 2: "stereo"}.get(values.shape[1], "multi")
    header = SignalHeader("audio", layout, sample_type, (len(values),), values.shape[1], rate)
    return Signal(values, header, meta or SignalMeta())


def _samples(file: soundfile.SoundFile, name: str, limits: Limits) -> NDArray[np.float32]:
    """Return all samples (n, channels), read in blocks: the length in the header may be wrong or unknown."""
    # libsndfile states an unknown length as the maximum of its type.
    claimed = file.frames if file.frames < 2**62 else 0
    blocks: list[NDArray[np.float32]] = []
    total = 0
    while True:
        if max(total, claimed) > limits.max_points or file.channels > limits.max_channels:
            raise LimitError(
                f"{name}: {max(total, claimed)} samples of {file.channels} channels, which exceeds the limits of"
                f" {limits.max_points} samples and {limits.max_channels} channels"
            )
        block = file.read(_BLOCK, dtype="float32", always_2d=True)
        blocks.append(block)
        total += len(block)
        if len(block) < _BLOCK:
            return np.concatenate(blocks)


def write_audio(signal: Signal, path: Path, force: bool) -> None:
    """Write audio in the format that the suffix of ``path`` names, with its own sample type where the format has it.

    A ``LossWarning`` says what the format cannot hold: samples beyond full scale, or their bits.

    Raises:
        UnsupportedError: the suffix is unknown, or the format does not support the rate or channels.
        DataError: the file exists and ``force`` is not set, or it cannot be written.
    """
    format_name = SUFFIXES.get(path.suffix.lower())
    if format_name is None:
        raise UnsupportedError(f"{path}: unsupported suffix for audio: use one of {', '.join(SUFFIXES)}")
    subtype = subtype_for(signal.header.sample_type, format_name)
    write_as(signal, path, format_name, subtype, force)


def subtype_for(sample_type: str, format_name: str) -> str:
    """Return the best subtype of a format for samples of a type."""
    if format_name in _LOSSY:
        return _LOSSY[format_name]
    return next(s for s in _SUBTYPES_OF[sample_type] if soundfile.check_format(format_name, s))


def write_as(signal: Signal, path: Path, format_name: str, subtype: str, force: bool) -> None:
    """Write audio in a format and a subtype; see ``write_audio``."""
    lost: list[str] = []

    def write(file: IO[bytes]) -> None:
        lost.extend(write_stream(signal, file, format_name, subtype, str(path)))

    write_whole(path, write, force=force)
    warn_of_losses(str(path), f"{format_name} cannot hold", lost)
    warn_of_losses(str(path), "samples changed", _losses(signal, subtype))


def write_stream(signal: Signal, file: IO[bytes], format_name: str, subtype: str, name: str) -> list[str]:
    """Write audio to an open binary file, and return the metadata that it cannot hold.

    Args:
        signal: the audio.
        file: an empty file, open for reading and writing.
        format_name: a value of ``SUFFIXES``.
        subtype: a subtype of soundfile.
        name: the name of the file, for error messages.

    Raises:
        UnsupportedError: the format does not support the subtype, rate or channels.
    """
    samples: NDArray[Any] = signal.to_native()
    if signal.header.sample_type == "float64" and subtype == "DOUBLE":
        samples = samples.astype(np.float64)
    container = "OGG" if format_name == "OPUS" else format_name
    if format_name == "WAV" and signal.meta.channel_mask is not None:
        container = "WAVEX"
    try:
        with soundfile.SoundFile(
            file, "w", signal.header.sample_rate, signal.header.channels, subtype, format=container
        ) as out:
            set_tags(out, signal.meta)
            for start in range(0, len(samples), _BLOCK):
                out.write(samples[start : start + _BLOCK])
        return finish(file, signal.meta, container)
    except OSError:
        raise
    except Exception as error:
        stream = f"{signal.header.channels} channels at {signal.header.sample_rate} Hz"
        hint = "; Opus takes 8000, 12000, 16000, 24000 and 48000 Hz: use --rate" if subtype == "OPUS" else ""
        raise UnsupportedError(f"{name}: {format_name} does not support {stream}: {reason(error)}{hint}") from None


def _losses(signal: Signal, subtype: str) -> list[str]:
    """Return what a subtype cannot hold of the samples."""
    sample_type = signal.header.sample_type
    own = SUBTYPE_OF_SAMPLES[sample_type]
    if not subtype.startswith("PCM") or own == subtype:
        return []
    peak = float(np.abs(signal.values).max())
    if own in ("FLOAT", "DOUBLE") and peak > 1.0:
        return [f"up to {peak:.3g} times full scale, clipped to {subtype} (use .wav to keep them)"]
    if _BITS[own] > _BITS[subtype]:
        return [f"{sample_type}, rounded to {subtype} (use .wav to keep them)"]
    return []
