"""The signal header: a ``SignalHeader`` in three to about ten bytes (docs/format.md, "Signal header")."""

from __future__ import annotations

from typing import TypeVar

from inrcodec.coding.bits import write_varint
from inrcodec.container.framing import ByteReader
from inrcodec.errors import DataError, FormatError, LimitError
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.signals.header import FIXED_CHANNELS, KINDS, LAYOUTS, SAMPLE_TYPES, SignalHeader

Entry = TypeVar("Entry", bound=str)

# The rate code is the position in this table; code 0 means that the rate in Hz follows as a varint.
_RATES = (0, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 176400, 192000)


def write_header(header: SignalHeader) -> bytes:
    """Return the bytes of a signal header."""
    kind = KINDS.index(header.kind)
    layout = LAYOUTS[header.kind].index(header.layout)
    sample_type = SAMPLE_TYPES[header.kind].index(header.sample_type)
    parts = [bytes([kind | layout << 2 | sample_type << 4])]
    if header.kind == "field":
        periodic = sum(1 << axis for axis, closes in enumerate(header.periodic) if closes)
        parts.append(bytes([len(header.shape) - 1 | periodic << 2]))
    parts += [write_varint(n) for n in header.shape]
    if header.kind == "audio":
        code = _RATES.index(header.sample_rate) if header.sample_rate in _RATES else 0
        parts.append(bytes([code]))
        if code == 0:
            parts.append(write_varint(header.sample_rate))
    if header.layout not in FIXED_CHANNELS:
        parts.append(write_varint(header.channels))
    return b"".join(parts)


def read_header(reader: ByteReader, limits: Limits = DEFAULT_LIMITS) -> SignalHeader:
    """Return the signal header at the reader.

    Raises:
        FormatError: the header is truncated, or not one that ``write_header`` returns.
        LimitError: the grid or the number of channels exceeds ``limits``.
    """
    code = reader.byte("signal format")
    kind = _entry(KINDS, code & 3, "kind of signal")
    layout = _entry(LAYOUTS[kind], code >> 2 & 3, f"layout of {kind}")
    sample_type = _entry(SAMPLE_TYPES[kind], code >> 4, f"sample type of {kind}")
    n_axes, periodic = {"image": 2, "audio": 1}.get(kind, 0), 0
    if kind == "field":
        axes = reader.byte("axes")
        n_axes, periodic = (axes & 3) + 1, axes >> 2
        if periodic >> n_axes:
            raise FormatError(f"corrupt file: expected periodic flags of {n_axes} axes, got {periodic:#b}")
    shape = tuple(reader.varint("points of an axis") for _ in range(n_axes))
    sample_rate = _read_rate(reader) if kind == "audio" else 0
    channels = FIXED_CHANNELS.get(layout) or reader.varint("channels")
    closes = tuple(bool(periodic >> axis & 1) for axis in range(n_axes))
    try:
        header = SignalHeader(kind, layout, sample_type, shape, channels, sample_rate, closes)
        header.check_limits(limits)
    except LimitError:
        raise
    except DataError as error:
        raise FormatError(f"corrupt file: {error}") from error
    return header


def _entry(table: tuple[Entry, ...], position: int, what: str) -> Entry:
    if position >= len(table):
        raise FormatError(f"corrupt file: expected {what} 0 to {len(table) - 1}, got {position}")
    return table[position]


def _read_rate(reader: ByteReader) -> int:
    code = reader.byte("rate code")
    if code >= len(_RATES):
        raise FormatError(f"corrupt file: expected rate code 0 to {len(_RATES) - 1}, got {code}")
    if code:
        return _RATES[code]
    rate = reader.varint("sample rate")
    if rate in _RATES[1:]:
        raise FormatError(f"corrupt file: expected the rate code of {rate} Hz, got the rate in full")
    return rate
