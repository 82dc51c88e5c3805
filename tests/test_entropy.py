"""The entropy coder: round trips, frozen bytes, lengths near the ideal, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inrcodec.ground.errors import FormatError, LimitError
from inrcodec.maths.entropy import (
    BUCKET_RATIOS,
    TABLE_TOTAL,
    bucket_counts,
    decode_symbols,
    decode_zipf,
    encode_symbols,
    encode_zipf,
)

TABLES = np.array([[60000, 5000, 500, 36], [16384, 16384, 16384, 16384], [1, 1, 1, 65533]], np.int64)
GOLDEN_SYMBOLS = "95b5d451b301002b320000c2e7028031d731dd0d6e31ff480f71feb3b9e9b44801"
GOLDEN_ZIPF = "05ce4a1155eb5e911710"


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=60))
def test_symbols_round_trip(pairs: list[tuple[int, int]]) -> None:
    symbols, contexts = (np.array([p[i] for p in pairs], np.int64) for i in (0, 1))
    data = encode_symbols(symbols, TABLES, contexts)
    assert np.array_equal(decode_symbols(data, TABLES, contexts), symbols)


def test_length_is_the_information() -> None:
    rng = np.random.default_rng(0)
    contexts = rng.integers(0, 3, 5000)
    symbols = np.array([rng.choice(4, p=TABLES[c] / TABLE_TOTAL) for c in contexts])
    bits = -np.log2(TABLES[contexts, symbols] / TABLE_TOTAL).sum()
    assert bits <= 8 * len(encode_symbols(symbols, TABLES, contexts)) <= bits * 1.002 + 64


def test_frozen_bytes() -> None:
    symbols = np.arange(40) % 4
    assert encode_symbols(symbols, TABLES, np.arange(40) % 3).hex() == GOLDEN_SYMBOLS
    assert encode_zipf(np.array([0, 1, 5, 1000, 70000]), 9).hex() == GOLDEN_ZIPF


def test_damage_is_an_error() -> None:
    data = encode_symbols(np.arange(40) % 4, TABLES, np.arange(40) % 3)
    for bad in (data[:-1], data + b"\x01"):
        with pytest.raises(FormatError):
            decode_symbols(bad, TABLES, np.arange(40) % 3)


@given(st.lists(st.one_of(st.integers(0, 50), st.integers(0, (1 << 33) - 2)), max_size=20), st.integers(0, 31))
def test_zipf_round_trip(indices: list[int], mean_bits: int) -> None:
    numbers = np.array(indices, np.int64)
    data = encode_zipf(numbers, mean_bits)
    assert np.array_equal(decode_zipf(data, len(numbers), mean_bits), numbers)
    with pytest.raises(FormatError):
        decode_zipf(data + b"\0", len(numbers), mean_bits)


def test_zipf_range() -> None:
    with pytest.raises(LimitError):
        encode_zipf(np.array([(1 << 33) - 1]), 4)
    with pytest.raises(FormatError):
        decode_zipf(b"\x05ab", 1, 4)


def test_bucket_tables_are_the_law_that_they_state() -> None:
    for mean, ratio in enumerate(BUCKET_RATIOS):
        assert ratio == round(65536 * 2 ** (-1 / (mean + 1.53)))
        counts = bucket_counts(mean)
        assert counts.sum() == TABLE_TOTAL and counts.min() >= 1
        assert counts[2] / counts[1] == pytest.approx(ratio / 65536, abs=0.01)
