"""A few symbols as the smallest integer that tells them: arithmetic coding with exact integers (Rissanen 1976).

Symbols cut [0, 1) down to an interval; its shortest binary fraction, read from its end so that implied zeros are high
bits, is the integer. It has at most two bits more than the symbols' information, none when they are the first of their
tables. Numbers grow with the symbols: for the few hundred at the end of a message, not for a message.

A table is its edges, cumulative counts 0 .. 65,536 (``TABLE_TOTAL``), one more than there are symbols.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from inrcodec.errors import FormatError

TABLE_BITS = 16


class IntervalWriter:
    """Collects symbols; ``to_integer`` codes them."""

    def __init__(self) -> None:
        self._low, self._width, self._bits = 0, 1, 0

    def write(self, symbol: int, edges: Sequence[int]) -> None:
        """Append a symbol under a table."""
        self._low = (self._low << TABLE_BITS) + self._width * edges[symbol]
        self._width *= edges[symbol + 1] - edges[symbol]
        self._bits += TABLE_BITS

    def to_integer(self) -> int:
        """The integer."""
        if self._low == 0:
            return 0
        last = self._low + self._width - 1
        zeros = ((self._low - 1) ^ last).bit_length() - 1
        return _reversed(last >> zeros, self._bits - zeros)


class IntervalReader:
    """Reads what ``IntervalWriter`` wrote."""

    def __init__(self, integer: int) -> None:
        self._integer = integer
        self._place, self._rest, self._width = 0, integer, 1
        self._again = IntervalWriter()

    def read(self, edges: Sequence[int]) -> int:
        """The next symbol under a table."""
        self._place = (self._place << TABLE_BITS) + _reversed(self._rest & (1 << TABLE_BITS) - 1, TABLE_BITS)
        self._rest >>= TABLE_BITS
        symbol = bisect_right(edges, self._place // self._width) - 1
        self._place -= self._width * edges[symbol]
        self._width *= edges[symbol + 1] - edges[symbol]
        self._again.write(symbol, edges)
        return symbol

    def finish(self) -> None:
        """FormatError unless the integer is the one that stands for the symbols that were read."""
        if self._again.to_integer() != self._integer:
            raise FormatError("entropy-coded data does not end where it should")


def _reversed(value: int, bits: int) -> int:
    """The lowest ``bits`` bits of a value in the opposite order."""
    return int(f"{value:0{bits}b}"[::-1], 2) if bits else 0
