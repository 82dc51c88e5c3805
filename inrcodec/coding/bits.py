"""Bit packing and varints: integers of fixed width, most significant bit first, and LEB128 integers.

This module knows nothing of what the integers mean. Reading past the end raises ``FormatError``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inrcodec.errors import FormatError

MAX_WIDTH = 32
MAX_VARINT_BYTES = 9


class BitWriter:
    """Collects integers of fixed width; ``to_bytes`` packs their bits."""

    def __init__(self) -> None:
        self._chunks: list[NDArray[np.uint8]] = []

    def write(self, values: ArrayLike, width: int) -> None:
        """Append integers of ``width`` bits each (0 to 32), all in [0, 2^width)."""
        numbers = np.atleast_1d(np.asarray(values, np.int64))
        assert 0 <= width <= MAX_WIDTH
        assert numbers.size == 0 or (numbers.min() >= 0 and int(numbers.max()) < 1 << width)
        shifts = np.arange(width - 1, -1, -1, dtype=np.int64)
        self._chunks.append(((numbers[:, None] >> shifts) & 1).astype(np.uint8).ravel())

    @property
    def n_bits(self) -> int:
        """Return the number of bits written so far."""
        return sum(chunk.size for chunk in self._chunks)

    def to_bytes(self) -> bytes:
        """Return all bits, the last byte padded with zeros."""
        return np.packbits(np.concatenate([np.zeros(0, np.uint8), *self._chunks])).tobytes()


class BitReader:
    """Reads the bytes that ``BitWriter`` returns."""

    def __init__(self, data: bytes) -> None:
        self._data = np.frombuffer(data, np.uint8)
        self._position = 0

    def read(self, count: int, width: int) -> NDArray[np.int64]:
        """Return the next ``count`` integers of ``width`` bits (0 to 32) each.

        Raises:
            FormatError: fewer bits are left.
        """
        need = count * width
        if count < 0 or not 0 <= width <= MAX_WIDTH or self._position + need > 8 * self._data.size:
            left = 8 * self._data.size - self._position
            raise FormatError(f"truncated data: expected {need} more bits, got {left}")
        first, last = self._position // 8, -(-(self._position + need) // 8)
        bits = np.unpackbits(self._data[first:last])[self._position - 8 * first :][:need]
        self._position += need
        weights = np.int64(1) << np.arange(width - 1, -1, -1, dtype=np.int64)
        return bits.reshape(count, width).astype(np.int64) @ weights

    def finish(self) -> None:
        """Check that nothing but the zero padding of the last byte is left.

        Raises:
            FormatError: a whole byte or a bit other than 0 is left.
        """
        rest = np.unpackbits(self._data[self._position // 8 :])[self._position % 8 :]
        if rest.size >= 8 or rest.any():
            raise FormatError("corrupt data: trailing bits after the last value")


def write_varint(value: int) -> bytes:
    """Return a non-negative integer below 2^63 in LEB128: 7 bits per byte, least significant first."""
    assert 0 <= value < 1 << 7 * MAX_VARINT_BYTES
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """Return the varint at ``position`` and the position after it.

    Raises:
        FormatError: the varint is truncated, longer than 9 bytes, or not in its shortest form.
    """
    value = 0
    for count in range(MAX_VARINT_BYTES):
        if position + count >= len(data):
            raise FormatError("data ends inside a varint")
        byte = data[position + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            if byte == 0 and count:
                raise FormatError("varint takes more bytes than it needs")
            return value, position + count + 1
    raise FormatError(f"varint is longer than {MAX_VARINT_BYTES} bytes")
