"""A message as a stack of symbols: what is pushed last is popped first (asymmetric numeral systems, by constriction).

Bits-back coding needs a coder whose pop under any tables is undone exactly by a push under the same tables, whatever
the message holds, also when it holds nothing: an empty message yields the first symbol of every table, and is empty
again when that is pushed back. Tables are cumulative integer counts of 2^24 in all. The arithmetic behind them is
written out in ten lines in ``tests/test_ans_message.py``.
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
    """What symbols are pushed on: one message, or several side by side."""

    def push(self, symbols: IntArray, tables: IntArray) -> None:
        """Symbols (n,) under cumulative counts (n, A + 1); the first will be popped first."""
        ...

    def pop(self, tables: IntArray) -> IntArray:
        """The next symbols (n,) under cumulative counts (n, A + 1)."""
        ...


class Message:
    """The stack. ``data``: bytes of ``to_bytes``; FormatError when they cannot be."""

    def __init__(self, data: bytes = b"") -> None:
        if data.endswith(b"\0"):
            raise FormatError("entropy-coded data ends in an empty byte")
        words = np.frombuffer(data + bytes(-len(data) % 4), "<u4").astype(np.uint32)
        self._coder = constriction.stream.stack.AnsCoder(words)

    def push(self, symbols: IntArray, tables: IntArray) -> None:
        """Symbols (n,) under cumulative counts (n, A + 1), rising from 0 to 2^24; the first will be popped first."""
        assert len(symbols) == len(tables)
        if len(symbols):
            counts = np.diff(tables, axis=1).astype(np.float64)
            self._coder.encode_reverse(symbols.astype(np.int32), _FAMILY, counts)

    def pop(self, tables: IntArray) -> IntArray:
        """The next symbols (n,) under cumulative counts (n, A + 1)."""
        if not len(tables):
            return np.zeros(0, np.int64)
        found: IntArray = self._coder.decode(_FAMILY, np.diff(tables, axis=1).astype(np.float64)).astype(np.int64)
        return found

    @property
    def n_bits(self) -> int:
        """Length, to the bit."""
        return int(self._coder.num_valid_bits())

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left."""
        return bool(self._coder.is_empty())

    def to_bytes(self) -> bytes:
        """The message, without zero bytes at its end."""
        return np.asarray(self._coder.get_compressed()).astype("<u4").tobytes().rstrip(b"\0")


class WatchedMessage(Message):
    """A message that remembers how short it has been, ``least`` bits."""

    def __init__(self, data: bytes = b"") -> None:
        super().__init__(data)
        self.least = self.n_bits

    def pop(self, tables: IntArray) -> IntArray:
        """As of ``Message``."""
        found = super().pop(tables)
        self.least = min(self.least, self.n_bits)
        return found


class Bundle:
    """Messages side by side: the n symbols of a push or pop are shared out among them, equally and in order."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = messages

    def push(self, symbols: IntArray, tables: IntArray) -> None:
        """As ``Message.push``, a share on each."""
        for message, part, rows in zip(self.messages, self._shares(symbols), self._shares(tables), strict=True):
            message.push(part, rows)

    def pop(self, tables: IntArray) -> IntArray:
        """As ``Message.pop``, a share of each."""
        shares = self._shares(tables)
        return np.concatenate([m.pop(rows) for m, rows in zip(self.messages, shares, strict=True)])

    def _shares(self, numbers: IntArray) -> IntArray:
        assert len(numbers) % len(self.messages) == 0
        return numbers.reshape(len(self.messages), -1, *numbers.shape[1:])
