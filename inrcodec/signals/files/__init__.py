"""Reading and writing the files of signals. The format of an input follows from its content, never from its suffix."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from inrcodec.errors import DataError, UnsupportedError
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.signals.files import audio, fields, images
from inrcodec.signals.signal import Signal
from inrcodec.storage import read_whole

__all__ = ["default_suffix", "read_signal", "signal_from_bytes", "write_signal"]


def read_signal(
    path: str | Path,
    *,
    variable: str | None = None,
    select: Mapping[str, float] | None = None,
    frame: int | None = None,
    convert: bool = False,
    limits: Limits = DEFAULT_LIMITS,
) -> Signal:
    """Return the image, audio or field in a file.

    Args:
        path: the file.
        variable: the variable of a NetCDF file; not needed if it has only one.
        select: for a NetCDF file, axes to remove: an integer is an index, any other number a coordinate.
        frame: the frame of an animation, or the page of a document, to read; from 0.
        convert: whether a CMYK image is converted to sRGB, through its own profile where it has one.
        limits: checked before memory is allocated.

    Raises:
        DataError: the file cannot be read, is empty, corrupt, not a signal, or holds NaN or infinite values.
        LimitError: the signal exceeds ``limits``.
        UnsupportedError: it cannot be represented without loss, for example CMYK images.
        UsageError: ``variable`` or ``select`` is needed, or names nothing in the file.
    """
    data = read_whole(Path(path), limits)
    return signal_from_bytes(
        data, str(path), variable=variable, select=select, frame=frame, convert=convert, limits=limits
    )


def signal_from_bytes(
    data: bytes,
    name: str,
    *,
    variable: str | None = None,
    select: Mapping[str, float] | None = None,
    frame: int | None = None,
    convert: bool = False,
    limits: Limits = DEFAULT_LIMITS,
) -> Signal:
    """Return the signal in the bytes of a file, as ``read_signal`` does; ``name`` appears in error messages."""
    if not data:
        raise DataError(f"{name}: the file is empty")
    if fields.is_npy(data):
        return fields.read_npy(data, name, limits)
    if fields.is_netcdf(data):
        return fields.read_netcdf(data, name, limits, variable, select)
    if images.is_image(data):
        return images.read_image(data, name, limits, frame=frame, convert=convert)
    if audio.is_audio(data):
        return audio.read_audio(data, name, limits)
    raise DataError(f"{name}: not an image, audio or field in a supported format")


def write_signal(signal: Signal, path: str | Path, *, force: bool = False) -> None:
    """Write a signal in the format that the suffix of ``path`` names; the file is written whole or not at all.

    Args:
        signal: the signal.
        path: the file to write.
        force: whether an existing file is replaced.

    Raises:
        UnsupportedError: the suffix is unknown, or the format cannot hold the signal.
        DataError: the file exists and ``force`` is not set, or it cannot be written.
    """
    path = Path(path)
    kind, suffix = signal.header.kind, path.suffix.lower()
    if kind == "image":
        images.write_image(signal, path, force)
    elif kind == "audio":
        audio.write_audio(signal, path, force)
    elif suffix in (".nc", ".cdf"):
        fields.write_netcdf(signal, path, force)
    elif suffix == ".npy":
        fields.write_npy(signal, path, force)
    else:
        raise UnsupportedError(f"{path}: unsupported suffix for a field: use .nc or .npy")


def default_suffix(signal: Signal) -> str:
    """Return the suffix of the default output file for a signal: .png, .wav, .nc or .npy."""
    if signal.header.kind == "field":
        return ".nc" if signal.meta.source_format == "netcdf" else ".npy"
    return ".png" if signal.header.kind == "image" else ".wav"
