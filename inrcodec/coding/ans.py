"""A message as a stack of symbols: the last one pushed is the first one popped.

The coder is asymmetric numeral systems (ANS; Duda, arXiv:1311.2540), implemented by constriction. Bits-back coding
needs an exact inverse: a push undoes a pop under the same tables, whatever the message holds. This includes the empty
message, which yields the first symbol of every table and is empty again after that symbol is pushed back.

A table is a row of cumulative integer counts that rises from 0 to 2^24. ``tests/coding/test_ans.py`` spells out the
arithmetic in a few lines of Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import constriction
import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import FormatError

IntArray = NDArray[np.int64]

COUNT_BITS = 24

_FAMILY = constriction.stream.model.Categorical(perfect=False)


class Stack(Protocol):
    """Takes pushes and pops, on one message or on several side by side."""

    def push(self, symbols: IntArray, tables: IntArray) -> None:
        """Push symbols (n,) under cumulative counts (n, A + 1); the first symbol is popped first."""
        ...

    def pop(self, tables: IntArray) -> IntArray:
        """Return the next symbols (n,) under cumulative counts (n, A + 1)."""
        ...


class Message:
    """Holds symbols as a stack of bits, whose length is the information of the symbols.

    Args:
        data: the result of ``to_bytes``; the default is the empty message.

    Raises:
        FormatError: ``data`` ends in a zero byte, which ``to_bytes`` never writes.
    """

    def __init__(self, data: bytes = b"") -> None:
        if data.endswith(b"\0"):
            raise FormatError("corrupt entropy-coded data: it ends in a zero byte")
        words = np.frombuffer(data + bytes(-len(data) % 4), "<u4").astype(np.uint32)
        self._coder = constriction.stream.stack.AnsCoder(words)

    def push(self, symbols: IntArray, tables: IntArray) -> None:
        """Push symbols onto the message; the first symbol is popped first.

        Args:
            symbols: (n,), each in [0, A).
            tables: (n, A + 1) cumulative counts, each row rising from 0 to 2^24.
        """
        assert len(symbols) == len(tables)
        if len(symbols):
            counts = np.diff(tables, axis=1).astype(np.float64)
            self._coder.encode_reverse(symbols.astype(np.int32), _FAMILY, counts)

    def pop(self, tables: IntArray) -> IntArray:
        """Return the next symbols (n,) under cumulative counts (n, A + 1); the inverse of ``push``."""
        if not len(tables):
            return np.zeros(0, np.int64)
        symbols: IntArray = self._coder.decode(_FAMILY, np.diff(tables, axis=1).astype(np.float64)).astype(np.int64)
        return symbols

    @property
    def n_bits(self) -> int:
        """Return the exact length in bits."""
        return int(self._coder.num_valid_bits())

    @property
    def is_empty(self) -> bool:
        """Return whether the message holds no bits."""
        return bool(self._coder.is_empty())

    def to_bytes(self) -> bytes:
        """Return the message without trailing zero bytes."""
        return np.asarray(self._coder.get_compressed()).astype("<u4").tobytes().rstrip(b"\0")


class WatchedMessage(Message):
    """Tracks its minimum length besides what ``Message`` does.

    Attributes:
        least: the minimum length in bits after any pop so far.
    """

    def __init__(self, data: bytes = b"") -> None:
        super().__init__(data)
        self.least = self.n_bits

    def pop(self, tables: IntArray) -> IntArray:
        """Return the next symbols as ``Message.pop`` does, and update ``least``."""
        symbols = super().pop(tables)
        self.least = min(self.least, self.n_bits)
        return symbols


class Bundle:
    """Holds messages side by side, and splits the n symbols of a push or pop into equal, consecutive shares."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = messages

    def push(self, symbols: IntArray, tables: IntArray) -> None:
        """Push one share of the symbols onto each message; see ``Message.push``."""
        for message, share, rows in zip(self.messages, self._shares(symbols), self._shares(tables), strict=True):
            message.push(share, rows)

    def pop(self, tables: IntArray) -> IntArray:
        """Return the next symbols (n,), one share from each message; see ``Message.pop``."""
        shares = self._shares(tables)
        return np.concatenate([m.pop(rows) for m, rows in zip(self.messages, shares, strict=True)])

    def _shares(self, numbers: IntArray) -> IntArray:
        assert len(numbers) % len(self.messages) == 0
        return numbers.reshape(len(self.messages), -1, *numbers.shape[1:])
