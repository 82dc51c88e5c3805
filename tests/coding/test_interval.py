"""Test symbols as one integer: round trips, lengths, and a single integer for each sequence."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inrcodec.coding.interval import TABLE_BITS, IntervalReader, IntervalWriter
from inrcodec.errors import FormatError

TOTAL = 1 << TABLE_BITS


def table(rng: np.random.Generator) -> list[int]:
    """Return the edges of 2 to 40 symbols, some of them with the minimum count."""
    cuts = np.unique(rng.integers(1, TOTAL, rng.integers(1, 39)))
    return [0, *cuts.tolist(), TOTAL]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 200))
def test_round_trip_and_length(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    tables = [table(rng) for _ in range(count)]
    symbols = [int(rng.integers(len(edges) - 1)) for edges in tables]
    writer = IntervalWriter()
    for symbol, edges in zip(symbols, tables, strict=True):
        writer.write(symbol, edges)
    number = writer.to_integer()
    ideal = sum(TABLE_BITS - math.log2(e[s + 1] - e[s]) for s, e in zip(symbols, tables, strict=True))
    assert number.bit_length() <= ideal + 2
    reader = IntervalReader(number)
    assert [reader.read(edges) for edges in tables] == symbols
    reader.finish()


def test_integer_worked_out_by_hand() -> None:
    """Under tables of two halves the symbols 1, 0, 1 are [5/8, 6/8), binary .101, which reversed is 5."""
    halves = [0, TOTAL // 2, TOTAL]
    writer = IntervalWriter()
    for symbol in (1, 0, 1):
        writer.write(symbol, halves)
    assert writer.to_integer() == 0b101
    writer.write(0, halves)
    assert writer.to_integer() == 0b101
    assert IntervalWriter().to_integer() == 0


def test_another_integer_for_the_same_symbols_is_rejected() -> None:
    halves = [0, TOTAL // 2, TOTAL]
    for number in (0b1101, 0b1 << 40 | 0b101):
        reader = IntervalReader(number)
        assert [reader.read(halves) for _ in range(3)] == [1, 0, 1]
        with pytest.raises(FormatError, match="does not end"):
            reader.finish()
