"""Reading and writing the files of signals. The format of an input follows from its content, never from its suffix."""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from inrcodec.errors import DataError, InrcodecError, LimitError, UnsupportedError, UsageError
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.signals.files import audio, fields, images
from inrcodec.signals.header import Kind, SignalHeader
from inrcodec.signals.metadata import SignalMeta
from inrcodec.signals.signal import Signal
from inrcodec.storage import read_bytes, source_name

__all__ = [
    "WRITABLE_SUFFIXES",
    "default_suffix",
    "read_signal",
    "signal_from_bytes",
    "signal_kind",
    "signal_to_bytes",
    "suffix_for",
    "write_signal",
]

WRITABLE_SUFFIXES = frozenset({*images.SUFFIXES, *audio.SUFFIXES, ".nc", ".cdf", ".npy"})
"""The suffixes that ``write_signal`` writes for some kind of signal."""
_CODED = {b"\x8eINR": ".inr", b"\x8eINS": ".inrs"}
"""The first bytes of this package's own files (docs/format.md)."""
_OWN_BUGS = (AssertionError, NameError)
_LIBRARIES = r"(PIL|scipy|numpy|xarray|soundfile|h5netcdf|netCDF4|tifffile|imagecodecs)(\.|$)"


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
        UsageError: ``variable`` or ``select`` is needed, or names nothing in the file; there is no such ``frame``; or
            ``path`` is none of these (``Signal.from_array`` makes signals of arrays).
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
    if data[:4] in _CODED:
        raise DataError(
            f"{name}: already compressed, an {_CODED[data[:4]]} file: use decompress to get the original back, info to"
            " inspect it"
        )
    with _guard(name, "file"):
        if fields.is_npy(data):
            with _guard(name, "array"):
                return fields.read_npy(data, name, limits)
        if fields.is_netcdf(data):
            with _guard(name, "NetCDF file"):
                return fields.read_netcdf(data, name, limits, variable, select)
        if images.is_image(data):
            with _guard(name, "image"):
                return images.read_image(data, name, limits, frame=frame, convert=convert)
        if audio.is_audio(data):
            with _guard(name, "audio"):
                return audio.read_audio(data, name, limits)
    raise DataError(f"{name}: not an image, audio or field in a supported format")


def signal_kind(data: bytes) -> Kind | None:
    """Return the kind of signal that a file's bytes claim to hold, without reading it; None for any other file."""
    if not data or data[:4] in _CODED:
        return None
    try:
        with _guard("", "file"):
            if fields.is_npy(data) or fields.is_netcdf(data):
                return "field"
            if images.is_image(data):
                return "image"
            return "audio" if audio.is_audio(data) else None
    except DataError:
        return None


@contextlib.contextmanager
def _guard(name: str, what: str) -> Iterator[None]:
    """Turn whatever a reading library raises into an error of the package, and keep its warnings off the terminal.

    Libraries meet corrupt files with exceptions of any type. A failed assertion or an unknown name in this package is a
    bug of its own and passes.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=_LIBRARIES)
            yield
    except InrcodecError:
        raise
    except MemoryError:
        raise LimitError(f"{name}: the {what} cannot be read: it asks for more memory than there is") from None
    except Exception as error:
        if isinstance(error, _OWN_BUGS) and _raised_here(error):
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{name}: the {what} cannot be read: {reason}") from error


def _raised_here(error: BaseException) -> bool:
    """Return whether an exception was raised by this package, not by a library that it called."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__", "")).startswith("inrcodec.")


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


def signal_to_bytes(signal: Signal, suffix: str, name: str = "output") -> bytes:
    """Return the file that ``write_signal`` would write.

    Args:
        signal: the signal.
        suffix: the suffix of the format, such as ".png".
        name: what error messages call the file.

    Raises:
        UnsupportedError: the suffix is unknown, or the format cannot hold the signal.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"signal{suffix}")
        try:
            write_signal(signal, path)
        except InrcodecError as error:
            raise type(error)(str(error).replace(str(path), name)) from None
        return path.read_bytes()


def default_suffix(signal: Signal) -> str:
    """Return the suffix of the default output file for a signal: .png, .wav, .nc or .npy."""
    return suffix_for(signal.header, signal.meta)


def suffix_for(header: SignalHeader, meta: SignalMeta) -> str:
    """Return the suffix of the default output file for a signal with this header and metadata."""
    if header.kind == "field":
        return ".nc" if meta.source_format == "netcdf" else ".npy"
    return ".png" if header.kind == "image" else ".wav"
