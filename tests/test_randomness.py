"""Shared randomness: the published generator, frozen streams, and the laws that decoders lean on."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from inrcodec.ground.randomness import (
    candidate_rows,
    candidate_table,
    permutation,
    permutations,
    philox,
    signs,
    uniform,
)

GOLDEN_WORDS = [1609277786247541068, 15789900245555285980, 15557529670647158635, 9108730954146095675]
GOLDEN_ROWS = "f62f883eeffdb93e63fa0bc00c6103bfe59c7a3ff6e0be3d78b2293ff34014bf12e60e40"
GOLDEN_SIGNS = [[-1, -1, -1, 1, 1, 1, -1, 1], [1, 1, 1, -1, 1, -1, 1, -1]]
GOLDEN_PERMUTATION = [6, 5, 1, 3, 8, 2, 4, 7, 9, 0]


@pytest.mark.parametrize("key", [(0, 0), (0x1A7E, 0), ((1 << 64) - 1, 12345)])
def test_philox_is_numpys_philox(key: tuple[int, int]) -> None:
    """numpy steps its counter before the first block: its first words are those of counter 1."""
    theirs = np.random.Philox(key=np.array(key, np.uint64)).random_raw(40)
    counters = np.zeros((10, 4), np.uint64)
    counters[:, 0] = np.arange(1, 11)
    assert np.array_equal(philox(key, counters).ravel(), theirs)


def test_frozen_streams() -> None:
    """These numbers are in every file that was ever written: they may never change."""
    assert philox((0, 0), np.zeros((1, 4), np.uint64))[0].tolist() == GOLDEN_WORDS
    assert candidate_rows(0x1A7E, 3, np.array([0, 1, 65535])).tobytes().hex() == GOLDEN_ROWS
    assert signs(0x1A7E, np.array([0, 7]), 8).astype(int).tolist() == GOLDEN_SIGNS
    assert permutation(5, 3, 10).tolist() == GOLDEN_PERMUTATION


def test_rows_alone_equal_the_table_and_narrow_is_a_part_of_wide() -> None:
    table = candidate_table(9, 13, 500)
    rows = np.array([499, 3, 3, 0])
    assert np.array_equal(candidate_rows(9, 13, rows), table[rows])
    assert np.array_equal(candidate_table(9, 6, 500), table[:, :6])


def test_candidates_are_standard_normal_and_independent() -> None:
    table = candidate_table(1, 8, 20000).astype(np.float64)
    assert stats.kstest(table.ravel(), "norm").pvalue > 1e-3
    assert np.abs(np.corrcoef(table.T) - np.eye(8)).max() < 0.04
    assert np.abs(np.corrcoef(table[:-1, 0], table[1:, 0])[0, 1]) < 0.03


def test_uniform_never_reaches_its_ends() -> None:
    ends = uniform(np.array([0, (1 << 64) - 1], np.uint64))
    assert ends[0] > 0.0 and ends[1] < 1.0


def test_signs_are_fair_and_differ_between_blocks() -> None:
    found = signs(3, np.arange(2000), 24)
    assert set(np.unique(found)) == {-1.0, 1.0}
    assert abs(found.mean()) < 0.02
    assert len(np.unique(found, axis=0)) > 1990


def test_permutations_are_permutations_and_uniform() -> None:
    many = permutations(2, np.arange(6000), 3)
    assert np.array_equal(np.sort(many, axis=1), np.tile(np.arange(3), (6000, 1)))
    counts = np.unique(many, axis=0, return_counts=True)[1]
    assert len(counts) == 6 and stats.chisquare(counts).pvalue > 1e-3
    assert np.array_equal(permutation(2, 17, 3), many[17])
