"""Whatever a caller may pass as a signal: paths, bytes, file objects, arrays, tensors, images, DataArrays, Signals."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inrcodec.errors import UsageError
from inrcodec.signals.arrays import from_array, is_array, is_pil, is_xarray
from inrcodec.signals.signal import Signal

ACCEPTED = (
    "a path, the bytes of a file, a binary file object, a NumPy array, a torch tensor, an image of Pillow, a DataArray"
    " of xarray or a Signal"
)
"""What ``signal_of`` takes, for error messages."""


def is_single(source: Any) -> bool:
    """Return whether a source is one signal; False for a list of several and for what is neither."""
    return (
        isinstance(source, Signal | os.PathLike | str | bytes | bytearray | memoryview | mmap.mmap)
        or callable(getattr(source, "read", None))
        or is_pil(source)
        or is_xarray(source)
        or is_array(source)
    )


def list_of(source: Any) -> list[Any]:
    """Return the sources of an archive as a list.

    Raises:
        UsageError: ``source`` is no list, or empty.
    """
    if not isinstance(source, Iterable) or isinstance(source, Mapping):
        raise UsageError(f"cannot compress {_described(source)}: expected {ACCEPTED}, or a list of these")
    sources = list(source)
    if not sources:
        raise UsageError("nothing to compress: the list is empty")
    return sources


def entry_names(sources: Sequence[Any]) -> list[str]:
    """Return the default names of an archive's entries: those of files at paths, and numbers for all else."""
    return [
        Path(os.fsdecode(source)).name if isinstance(source, str | os.PathLike) else f"{number:05d}"
        for number, source in enumerate(sources)
    ]


def signal_of(
    source: Any, *, kind: str | None = None, layout: str | None = None, sample_rate: int | None = None, place: str = ""
) -> Signal:
    """Return any accepted source as a signal.

    Args:
        source: see ``ACCEPTED``.
        kind: the kind of signal that an array holds; other sources must be of this kind.
        layout: what the axes of an array are, see ``Signal.from_array``; for arrays only.
        sample_rate: in Hz, for arrays only.
        place: where the source stands, such as "entry 3", for error messages.

    Raises:
        UsageError: the source is none of these, or ambiguous, or the arguments do not fit it.
        DataError, LimitError, UnsupportedError: it cannot be read or represented.
    """
    from inrcodec.signals.files import read_signal

    # A DataArray has an __array__ too, and so have newer images of Pillow.
    if not isinstance(source, Signal) and is_array(source) and not is_pil(source) and not is_xarray(source):
        return from_array(source, kind, layout, sample_rate, name=place or "array")
    for name, value in (("layout", layout), ("sample_rate", sample_rate)):
        if value is not None:
            what = f"{place}: " if place else ""
            raise UsageError(f"{what}{name} is for arrays, got it with {_described(source)}: leave it out")
    if isinstance(source, Signal):
        signal = source
    elif is_pil(source):
        signal = Signal.from_pil(source)
    elif is_xarray(source):
        signal = Signal.from_xarray(source)
    elif is_single(source):
        signal = read_signal(source)
    else:
        what = f"{place}: " if place else ""
        raise UsageError(f"{what}cannot compress {_described(source)}: expected {ACCEPTED}")
    if kind not in (None, signal.header.kind):
        what = f"{place}: " if place else ""
        raise UsageError(f"{what}expected a signal of kind {kind!r}, got {signal.header.kind} in {_described(source)}")
    return signal


def check_levels(source: Any, signal: Signal, place: str = "") -> None:
    """Check that a lossless codec, which keeps integer levels, keeps an image that was given as an array.

    Raises:
        UsageError: the array holds numbers between the levels.
    """
    if isinstance(source, Signal) or is_pil(source) or not is_array(source) or signal.header.kind != "image":
        return
    levels = signal.values.astype(np.float64) * (2**signal.meta.bit_depth - 1)
    # The tolerance covers float32 at 16 bits.
    if np.abs(levels - np.rint(levels)).max() > 0.02:
        raise UsageError(
            f"{place or 'array'}: lossless coding keeps images of 8 or 16 bits, got floating-point numbers between the"
            " levels: convert them first, for example with np.rint(65535 * array).astype(np.uint16)"
        )


def _described(source: Any) -> str:
    if source is None:
        return "None"
    if isinstance(source, str | os.PathLike):
        return os.fsdecode(source)
    name = type(source).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
