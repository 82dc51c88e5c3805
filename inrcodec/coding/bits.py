"""Bits and varints: numbers of fixed width packed most significant bit first, and LEB128 integers.

Nothing here knows what the numbers mean. Reading past the end is a ``FormatError``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inrcodec.errors import FormatError

MAX_WIDTH = 32
MAX_VARINT_BYTES = 9


class BitWriter:
    """Collects bits; ``to_bytes`` fills the last byte with zeros."""

    def __init__(self) -> None:
        self._parts: list[NDArray[np.uint8]] = []

    def write(self, values: ArrayLike, width: int) -> None:
        """Append integers of [0, 2^width), ``width`` bits each (0 to 32)."""
        numbers = np.atleast_1d(np.asarray(values, np.int64))
        assert 0 <= width <= MAX_WIDTH
        assert numbers.size == 0 or (numbers.min() >= 0 and int(numbers.max()) < 1 << width)
        shifts = np.arange(width - 1, -1, -1, dtype=np.int64)
        self._parts.append(((numbers[:, None] >> shifts) & 1).astype(np.uint8).ravel())

    @property
    def n_bits(self) -> int:
        """Bits written so far."""
        return sum(part.size for part in self._parts)

    def to_bytes(self) -> bytes:
        """All bits, the last byte padded with zeros."""
        return np.packbits(np.concatenate([np.zeros(0, np.uint8), *self._parts])).tobytes()


class BitReader:
    """Reads what ``BitWriter`` wrote."""

    def __init__(self, data: bytes) -> None:
        self._data = np.frombuffer(data, np.uint8)
        self._position = 0

    def read(self, count: int, width: int) -> NDArray[np.int64]:
        """``count`` integers of ``width`` bits; FormatError when there are not that many bits left."""
        need = count * width
        if count < 0 or not 0 <= width <= MAX_WIDTH or self._position + need > 8 * self._data.size:
            left = 8 * self._data.size - self._position
            raise FormatError(f"data ends early: {need} bits expected, {left} are left")
        first, last = self._position // 8, -(-(self._position + need) // 8)
        bits = np.unpackbits(self._data[first:last])[self._position - 8 * first :][:need]
        self._position += need
        weights = np.int64(1) << np.arange(width - 1, -1, -1, dtype=np.int64)
        return bits.reshape(count, width).astype(np.int64) @ weights

    def finish(self) -> None:
        """FormatError unless all that is left is less than a byte of zeros."""
        rest = np.unpackbits(self._data[self._position // 8 :])[self._position % 8 :]
        if rest.size >= 8 or rest.any():
            raise FormatError("data goes on after its end")


def write_varint(value: int) -> bytes:
    """A non-negative integer, 7 bits per byte, least significant first (LEB128)."""
    assert 0 <= value < 1 << 7 * MAX_VARINT_BYTES
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """Integer at ``position`` and the position behind it; FormatError when cut short, too long or not minimal."""
    value = 0
    for count in range(MAX_VARINT_BYTES):
        if position + count >= len(data):
            raise FormatError("data ends inside a number")
        byte = data[position + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            if byte == 0 and count:
                raise FormatError("a number is written with more bytes than it needs")
            return value, position + count + 1
    raise FormatError("a number is longer than 9 bytes")
