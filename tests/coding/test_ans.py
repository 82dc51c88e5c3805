"""Test that a message is an exact stack, whatever it holds, and matches the arithmetic written out here."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inrcodec.coding.ans import COUNT_BITS, Message
from inrcodec.errors import FormatError

TOTAL = 1 << COUNT_BITS


class PlainMessage:
    """Asymmetric numeral systems in integers: a state of up to 64 bits over words of 32 bits, tables of 24 bits."""

    def __init__(self) -> None:
        self.state = 0
        self.words: list[int] = []

    def push(self, symbol: int, edges: list[int]) -> None:
        left, size = edges[symbol], edges[symbol + 1] - edges[symbol]
        if self.state >> 40 >= size:
            self.words.append(self.state & 0xFFFFFFFF)
            self.state >>= 32
        self.state = (self.state // size << 24) + left + self.state % size

    def pop(self, edges: list[int]) -> int:
        place = self.state & 0xFFFFFF
        symbol = next(s for s in range(len(edges) - 1) if place < edges[s + 1])
        self.state = (self.state >> 24) * (edges[symbol + 1] - edges[symbol]) + place - edges[symbol]
        if self.state < 1 << 32 and self.words:
            self.state = self.state << 32 | self.words.pop()
        return symbol

    def to_bytes(self) -> bytes:
        state = self.state.to_bytes(8, "little")
        return (b"".join(word.to_bytes(4, "little") for word in self.words) + state).rstrip(b"\0")


def coder_edges(table: list[int]) -> list[int]:
    """Return cumulative counts as the coder uses them: one of 2^24 places per symbol, the rest in proportion."""
    scale = (TOTAL - (len(table) - 1)) / TOTAL
    edges = [int(count * scale) + symbol for symbol, count in enumerate(table)]
    return [*edges[:-1], TOTAL]


def random_tables(rng: np.random.Generator, count: int, symbols: int) -> np.ndarray:
    weights = rng.random((count, symbols)) ** rng.integers(1, 12)
    counts = 1 + np.floor(weights / weights.sum(1, keepdims=True) * (TOTAL - symbols)).astype(np.int64)
    counts[:, 0] += TOTAL - counts.sum(1)
    return np.concatenate([np.zeros((count, 1), np.int64), np.cumsum(counts, axis=1)], axis=1)


@given(st.integers(0, 2**32), st.integers(2, 16), st.integers(0, 40))
def test_message_equals_the_plain_stack(seed: int, symbols: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    plain, message = PlainMessage(), Message()
    for _ in range(3):
        tables = random_tables(rng, count, symbols)
        values = rng.integers(0, symbols, count)
        message.push(values, tables)
        for value, table in reversed(list(zip(values.tolist(), tables.tolist(), strict=True))):
            plain.push(value, coder_edges(table))
        assert message.to_bytes() == plain.to_bytes()
        tables = random_tables(rng, count // 2, symbols)
        popped = message.pop(tables)
        assert popped.tolist() == [plain.pop(coder_edges(table)) for table in tables.tolist()]
        assert message.to_bytes() == plain.to_bytes()


@given(st.integers(0, 2**32), st.binary(max_size=40), st.integers(0, 60))
def test_push_undoes_pop_whatever_the_message_holds(seed: int, data: bytes, count: int) -> None:
    start = data.rstrip(b"\0")
    tables = random_tables(np.random.default_rng(seed), count, 16)
    message = Message(start)
    values = message.pop(tables)
    message.push(values, tables)
    assert message.to_bytes() == start


def test_an_empty_message_yields_first_symbols_and_stays_empty() -> None:
    tables = random_tables(np.random.default_rng(0), 100, 16)
    message = Message()
    assert not message.pop(tables).any()
    assert message.is_empty and message.n_bits == 0 and message.to_bytes() == b""


def test_length_is_the_information_of_the_symbols() -> None:
    rng = np.random.default_rng(1)
    tables = random_tables(rng, 4000, 16)
    values = rng.integers(0, 16, 4000)
    message = Message()
    message.push(values, tables)
    used = np.diff([coder_edges(table) for table in tables.tolist()], axis=1)
    counts = np.take_along_axis(used, values[:, None], axis=1)
    assert abs(message.n_bits + np.log2(counts / TOTAL).sum()) < 40


def test_bytes_of_a_message_are_frozen() -> None:
    rng = np.random.default_rng(2)
    message = Message()
    message.push(rng.integers(0, 8, 20), random_tables(rng, 20, 8))
    assert message.to_bytes().hex() == "e8032fd91154b06619880151770cac7207"


def test_bytes_that_no_message_has_are_rejected() -> None:
    with pytest.raises(FormatError, match="zero byte"):
        Message(b"ab\0")
