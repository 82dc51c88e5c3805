"""Test the Zipf code of indices and exact A* coding: round trips, frozen bytes, the law of samples, code lengths."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from inrcodec.coding.astar import (
    BUCKET_RATIOS,
    astar_encode,
    block_kl_bits,
    bucket_counts,
    decode_symbols,
    decode_zipf,
    encode_symbols,
    encode_zipf,
    zipf_bits,
)
from inrcodec.coding.gaussian import TABLE_TOTAL
from inrcodec.coding.relative_entropy import decode_blocks
from inrcodec.errors import DataError, FormatError, LimitError

TABLES = np.array([[60000, 5000, 500, 36], [16384, 16384, 16384, 16384], [1, 1, 1, 65533]], np.int64)
GOLDEN_SYMBOLS = "95b5d451b301002b320000c2e7028031d731dd0d6e31ff480f71feb3b9e9b44801"
GOLDEN_ZIPF = "05ce4a1155eb5e911710"


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=60))
def test_symbols_round_trip(pairs: list[tuple[int, int]]) -> None:
    symbols, contexts = (np.array([p[i] for p in pairs], np.int64) for i in (0, 1))
    data = encode_symbols(symbols, TABLES, contexts)
    assert np.array_equal(decode_symbols(data, TABLES, contexts), symbols)


def test_length_of_symbols_is_their_information() -> None:
    rng = np.random.default_rng(0)
    contexts = rng.integers(0, 3, 5000)
    symbols = np.array([rng.choice(4, p=TABLES[c] / TABLE_TOTAL) for c in contexts])
    bits = -np.log2(TABLES[contexts, symbols] / TABLE_TOTAL).sum()
    assert bits <= 8 * len(encode_symbols(symbols, TABLES, contexts)) <= bits * 1.002 + 64


def test_bytes_are_frozen() -> None:
    symbols = np.arange(40) % 4
    assert encode_symbols(symbols, TABLES, np.arange(40) % 3).hex() == GOLDEN_SYMBOLS
    assert encode_zipf(np.array([0, 1, 5, 1000, 70000]), 9).hex() == GOLDEN_ZIPF


def test_truncated_or_extended_symbols_are_rejected() -> None:
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


def test_index_out_of_range_and_truncated_index_are_rejected() -> None:
    with pytest.raises(LimitError, match="index out of range"):
        encode_zipf(np.array([(1 << 33) - 1]), 4)
    with pytest.raises(FormatError, match="truncated"):
        decode_zipf(b"\x05ab", 1, 4)


def test_bucket_tables_follow_their_geometric_law() -> None:
    for mean, ratio in enumerate(BUCKET_RATIOS):
        assert ratio == round(65536 * 2 ** (-1 / (mean + 1.53)))
        counts = bucket_counts(mean)
        assert counts.sum() == TABLE_TOTAL and counts.min() >= 1
        assert counts[2] / counts[1] == pytest.approx(ratio / 65536, abs=0.01)


CASES = [([1.5], [0.5]), ([0.8, -1.1, 0.3], [0.4, 0.7, 0.9])]


def draw(mean: list[float], scale: list[float], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return indices and samples, each under its own seed: the blocks of one seed differ in their signs only."""
    m, s = np.array(mean), np.array(scale)
    noise = np.random.default_rng(11)
    indices, samples = [], []
    for seed in range(count):
        index = astar_encode(m, s, seed=seed, block_id=3, noise=noise)
        indices.append(index)
        samples.append(
            decode_blocks(np.array([index]), budget_bits=24, width=len(m), seed=seed, block_ids=np.array([3]))[0]
        )
    return np.array(indices, np.int64), np.array(samples, np.float64)


@pytest.mark.parametrize(("mean", "scale"), CASES)
def test_samples_follow_the_posterior(mean: list[float], scale: list[float]) -> None:
    _, sample = draw(mean, scale, 600)
    for d, (m, s) in enumerate(zip(mean, scale, strict=True)):
        assert stats.kstest(sample[:, d], "norm", (m, s)).pvalue > 1e-3
    if len(mean) > 1:
        assert np.abs(np.corrcoef(sample.T) - np.eye(len(mean))).max() < 0.15


@pytest.mark.parametrize(("mean", "scale"), [*CASES, ([2.0, 1.0, -1.5], [0.2, 0.5, 0.4])])
def test_code_length_is_near_the_kl(mean: list[float], scale: list[float]) -> None:
    """It stays below KL + log2(KL + 1) + 4 bits, the bound of Li and El Gamal (arXiv:1701.02827, theorem 1)."""
    kl = block_kl_bits(np.array(mean), np.array(scale))
    indices, _ = draw(mean, scale, 300)
    ideal = np.mean([zipf_bits(int(i), round(kl)) for i in indices])
    assert ideal <= kl + np.log2(kl + 1) + 4
    data = encode_zipf(indices, round(kl))
    assert np.array_equal(decode_zipf(data, len(indices), round(kl)), indices)
    assert 8 * len(data) <= ideal * len(indices) * 1.01 + 64


def test_search_without_a_bound_or_a_result_is_rejected() -> None:
    noise = np.random.default_rng(0)
    with pytest.raises(DataError, match="below the prior"):
        astar_encode(np.array([0.0]), np.array([1.0]), seed=0, block_id=0, noise=noise)
    with pytest.raises(LimitError, match="smaller blocks"):
        astar_encode(np.full(8, 3.0), np.full(8, 0.1), seed=0, block_id=0, noise=noise, max_candidates=2048)
