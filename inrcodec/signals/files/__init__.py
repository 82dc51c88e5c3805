"""Reading and writing the files of signals. The format of an input follows from its content, never from its suffix."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inrcodec.errors import DataError, UnsupportedError, UsageError
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.signals.files import audio, fields, images
from inrcodec.signals.signal import Signal
from inrcodec.storage import read_bytes, source_name

__all__ = ["default_suffix", "read_signal", "signal_from_bytes", "write_signal"]


def read_signal(
    path: Any,
    *,
    variable: str | None = None,
    select: Mapping[str, float] | None = None,
    frame: int | None = None,
    convert: bool = False,
    limits: Limits = DEFAULT_LIMITS,
) -> Signal:
    """Return the image, audio or field in a file.

    Args:
        path: the file: its path, its bytes (bytes, bytearray, memoryview), or a file object opened in binary mode,
            which is read from its position on.
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
            Or ``path`` is none of these: arrays are signals by ``Signal.from_array``.
    """
    data = read_bytes(path, limits)
    if data is None:
        raise UsageError(
            f"expected a path, the bytes of a file or a binary file object, got {type(path).__name__}: use"
            " Signal.from_array, from_pil or from_xarray for arrays"
        )
    return signal_from_bytes(
        data, source_name(path), variable=variable, select=select, frame=frame, convert=convert, limits=limits
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
