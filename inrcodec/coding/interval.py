"""A few symbols as the smallest integer that identifies them: arithmetic coding with exact integers (Rissanen 1976).

Each symbol narrows [0, 1) down to a smaller interval. The integer is the shortest binary fraction inside the last one,
with its bits reversed, so that trailing zeros of the fraction become leading zeros and need not be stored. It has at
most two bits more than the information of the symbols, and is 0 when each of them is the first of its table. The exact
integers grow with the number of symbols: this suits the few hundred at the end of a message, not a whole one.

A table is a sequence of edges: cumulative counts from 0 to 65,536 (``gaussian.TABLE_TOTAL``), one more than symbols.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from inrcodec.errors import FormatError

TABLE_BITS = 16


class IntervalWriter:
    """Collects symbols; ``to_integer`` encodes them."""

    def __init__(self) -> None:
        self._low, self._width, self._bits = 0, 1, 0

    def write(self, symbol: int, edges: Sequence[int]) -> None:
        """Append a symbol under the table ``edges``."""
        self._low = (self._low << TABLE_BITS) + self._width * edges[symbol]
        self._width *= edges[symbol + 1] - edges[symbol]
        self._bits += TABLE_BITS

    def to_integer(self) -> int:
        """Return the non-negative integer that identifies the symbols."""
        if self._low == 0:
            return 0
        last = self._low + self._width - 1
        zeros = ((self._low - 1) ^ last).bit_length() - 1
        return _reversed(last >> zeros, self._bits - zeros)


class IntervalReader:
    """Reads the integers that ``IntervalWriter`` returns."""

    def __init__(self, integer: int) -> None:
        self._integer = integer
        self._place, self._rest, self._width = 0, integer, 1
        self._again = IntervalWriter()

    def read(self, edges: Sequence[int]) -> int:
        """Return the next symbol under the table ``edges``."""
        self._place = (self._place << TABLE_BITS) + _reversed(self._rest & (1 << TABLE_BITS) - 1, TABLE_BITS)
        self._rest >>= TABLE_BITS
        symbol = bisect_right(edges, self._place // self._width) - 1
        self._place -= self._width * edges[symbol]
        self._width *= edges[symbol + 1] - edges[symbol]
        self._again.write(symbol, edges)
        return symbol

    def finish(self) -> None:
        """Check that the integer is the one that a writer returns for the symbols read.

        Raises:
            FormatError: it is another one.
        """
        if self._again.to_integer() != self._integer:
            raise FormatError("corrupt entropy-coded data: it does not end after the last symbol")


def _reversed(value: int, bits: int) -> int:
    """Return the lowest ``bits`` bits of a value in reverse order."""
    return int(f"{value:0{bits}b}"[::-1], 2) if bits else 0
