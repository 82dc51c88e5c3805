"""Test shared randomness: the published generator, frozen streams, and the laws that decoders rely on."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy import stats

from inrcodec.codecs.combiner import blocks
from inrcodec.codecs.hierarchical import head_weights as weight_encoder
from inrcodec.codecs.hierarchical import latent_coders
from inrcodec.coding.gaussian import scale_values
from inrcodec.coding.randomness import (
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
GOLDEN_UNIFORM = ["0x1.6554d9eca3638p-4", "0x1.b641fd3ace5a1p-1", "0x1.afcee59dc30c3p-1", "0x1.f9a2da2bb1eeap-2"]
# Seed of a codec: two candidates of rows 0, 1, 2^14 - 1 and 2^24 - 1, signs of blocks 0, 1 and 4095, a permutation.
GOLDEN_SEEDS = {
    0x1A7E: (
        "f62f883eeffdb93e0c6103bfe59c7a3f38dd39bec05c543fab65c23f3ebda3bf", ["---+++-+", "++-++-++", "---+---+"],
        [10, 2, 1, 9, 5, 4, 3, 6, 7, 0, 8, 11],
    ),
    0x1AE5: (
        "5e3a443e2292393f01716f3f640d0f402ce27c3eb5fe23bf700972be6830d9bf", ["+++--+--", "+--++---", "+++-+++-"],
        [7, 2, 8, 0, 9, 3, 10, 6, 11, 5, 4, 1],
    ),
    0x5E16: (
        "ea4444c079fdc03f186c1abf9fed3fbf10b26cbfdb0d94bf29d0abbefbfce43e", ["++-+-++-", "--+--+-+", "-+++---+"],
        [11, 8, 5, 10, 2, 9, 4, 0, 6, 1, 3, 7],
    ),
}  # fmt: skip
GOLDEN_ORDERS = [[1, 0, 5, 3, 2, 7, 4, 6], [6, 3, 4, 1, 7, 2, 0, 5], [5, 7, 4, 3, 0, 6, 1, 2]]
GOLDEN_KL_UNITS = [
    *[0] * 13, 1, 13, 26, 38, 51, 63, 76, 88, 101, 114, 126, 139, 151, 164, 176, 189, 201, 214, 226, 239, 251, 264, 276,
    289, 301, 314, 326, 339, 351, 364, 376, 389, 401, 414, 426, 439, 451, 464, 477, 489, 502, 514, 527, 539, 552, 564,
    577, 589, 602, 614, 627,
]  # fmt: skip


@pytest.mark.parametrize("key", [(0, 0), (0x1A7E, 0), ((1 << 64) - 1, 12345)])
def test_philox_is_the_philox_of_numpy(key: tuple[int, int]) -> None:
    """NumPy steps its counter before the first block: its first words are those of counter 1."""
    expected = np.random.Philox(key=np.array(key, np.uint64)).random_raw(40)
    counters = np.zeros((10, 4), np.uint64)
    counters[:, 0] = np.arange(1, 11)
    assert np.array_equal(philox(key, counters).ravel(), expected)


def test_streams_are_frozen() -> None:
    """Every existing file depends on these numbers: they must never change."""
    assert philox((0, 0), np.zeros((1, 4), np.uint64))[0].tolist() == GOLDEN_WORDS
    assert candidate_rows(0x1A7E, 3, np.array([0, 1, 65535])).tobytes().hex() == GOLDEN_ROWS
    assert signs(0x1A7E, np.array([0, 7]), 8).astype(int).tolist() == GOLDEN_SIGNS
    assert permutation(5, 3, 10).tolist() == GOLDEN_PERMUTATION


def test_uniform_numbers_are_frozen() -> None:
    assert [float(x).hex() for x in uniform(philox((0, 0), np.zeros((1, 4), np.uint64))[0])] == GOLDEN_UNIFORM


def test_streams_of_every_codec_are_frozen() -> None:
    """The seeds of the codecs are part of the format too."""
    from inrcodec.codecs.combiner import bitstream

    seeds = (bitstream.CANDIDATE_SEED, latent_coders.SEED, weight_encoder.SEED)
    assert seeds == tuple(GOLDEN_SEEDS)
    for seed, (rows, sign, order) in GOLDEN_SEEDS.items():
        assert candidate_rows(seed, 2, np.array([0, 1, (1 << 14) - 1, (1 << 24) - 1])).tobytes().hex() == rows
        rows_of_signs = signs(seed, np.array([0, 1, 4095]), 8)
        assert ["".join("+" if s > 0 else "-" for s in row) for row in rows_of_signs] == sign
        assert permutation(seed, 0, 12).tolist() == order
    assert blocks.PERMUTATION_SEED == 0x9E3779B9
    assert permutations(0x9E3779B9, np.array([0, 1, 700]), 8).tolist() == GOLDEN_ORDERS


def test_large_arrays_are_frozen() -> None:
    """Hashes stand for what is too long to write out: a table as COMBINER uses it, many signs, many permutations."""
    for array, expected in (
        (candidate_table(0x1A7E, 64, 1 << 14).astype("<f4"), "9b7c0647c8b15c2f"),
        (signs(0x1AE5, np.arange(300), 200).astype("i1"), "6757b5f0c7c5e4d0"),
        (permutations(0x9E3779B9, np.arange(50), 333).astype("<i8"), "f3615db45f958db3"),
    ):
        assert hashlib.sha256(array.tobytes()).hexdigest()[:16] == expected


def test_plans_of_blocks_are_frozen() -> None:
    """These integers decide where blocks of latents and of weights end.

    They are rounded logarithms; none is so close to a rounding boundary that another machine could round it otherwise.
    """
    assert latent_coders._kl_units().tolist() == GOLDEN_KL_UNITS
    units = 64 * np.log2(np.maximum(scale_values() / latent_coders.POSTERIOR_SCALE, 1.0))
    for exact in (units, scale_values() * 256):
        assert np.abs(exact - np.floor(exact) - 0.5).min() > 1e-4
    plan = latent_coders.Blocks(np.array([10, 40, 63, 20, 5, 50, 33] * 3))
    slots = [[17, 13, 2], [8, 19, -1], [16, -1, -1], [9, 3, -1], [10, 12, 6], [20, 15, 5], [1, -1, -1]]
    assert plan.slots.tolist() == slots and plan.bits.tolist() == [14, 13, 10, 12, 13, 14, 6]
    assert weight_encoder._slots(10, 3).tolist() == [[8, 9, 6, 7], [5, 4, 1, -1], [2, 0, 3, -1]]


def test_single_rows_and_narrow_tables_are_parts_of_the_table() -> None:
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
    drawn = signs(3, np.arange(2000), 24)
    assert set(np.unique(drawn)) == {-1.0, 1.0}
    assert abs(drawn.mean()) < 0.02
    assert len(np.unique(drawn, axis=0)) > 1990


def test_permutations_are_permutations_and_uniform() -> None:
    many = permutations(2, np.arange(6000), 3)
    assert np.array_equal(np.sort(many, axis=1), np.tile(np.arange(3), (6000, 1)))
    counts = np.unique(many, axis=0, return_counts=True)[1]
    assert len(counts) == 6 and stats.chisquare(counts).pvalue > 1e-3
    assert np.array_equal(permutation(2, 17, 3), many[17])
