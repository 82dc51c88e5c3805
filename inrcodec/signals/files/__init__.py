"""Signals from files and to files. The format is known by the content of a file, never by its ending."""

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
    limits: Limits = DEFAULT_LIMITS,
) -> Signal:
    """The image, sound or field in a file.

    ``variable`` and ``select`` choose from a NetCDF file, see ``fields.read_netcdf``. Raises DataError (unreadable,
    empty, not a signal, NaN), LimitError, UnsupportedError, UsageError.
    """
    return signal_from_bytes(read_whole(Path(path), limits), str(path), variable=variable, select=select, limits=limits)


def signal_from_bytes(
    data: bytes,
    name: str,
    *,
    variable: str | None = None,
    select: Mapping[str, float] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Signal:
    """As ``read_signal``, from bytes; ``name`` is for messages."""
    if not data:
        raise DataError(f"{name}: the file is empty")
    if fields.is_npy(data):
        return fields.read_npy(data, name, limits)
    if fields.is_netcdf(data):
        return fields.read_netcdf(data, name, limits, variable, select)
    if images.is_image(data):
        return images.read_image(data, name, limits)
    if audio.is_audio(data):
        return audio.read_audio(data, name, limits)
    raise DataError(f"{name}: not an image, a sound or a field that can be read")


def write_signal(signal: Signal, path: str | Path, *, force: bool = False) -> None:
    """Write a signal by the ending of ``path``; whole or not at all.

    Raises UnsupportedError when the format does not keep the signal, DataError when the file exists (unless ``force``)
    or cannot be written.
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
        raise UnsupportedError(f"{path}: fields are written as .nc or .npy")


def default_suffix(signal: Signal) -> str:
    """Ending of the file that a signal is written to when none is named."""
    if signal.header.kind == "field":
        return ".nc" if signal.meta.source_format == "netcdf" else ".npy"
    return ".png" if signal.header.kind == "image" else ".wav"
