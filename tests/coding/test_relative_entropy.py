"""Test relative entropy coding of blocks: the choice of candidates, decoding, and what more bits gain."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from inrcodec.coding.randomness import candidate_table, signs
from inrcodec.coding.relative_entropy import decode_blocks, encode_blocks
from inrcodec.errors import LimitError, UsageError

GOLDEN_INDICES = [2427, 794, 15445, 5956, 16146, 338]


def posteriors(count: int, width: int, seed: int = 0, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mean = rng.normal(0, spread, (count, width)).astype(np.float32)
    return mean, rng.uniform(0.3, 0.95, (count, width)).astype(np.float32)


def log_density(x: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    result: np.ndarray = (-0.5 * ((x - mean) / scale) ** 2 - np.log(scale)).sum(axis=-1)
    return result


@pytest.mark.parametrize("selection", ["ratio", "nearest"])
def test_choice_matches_a_plain_loop(selection: str) -> None:
    mean, scale = posteriors(40, 6)
    ids = np.arange(100, 140)
    indices = encode_blocks(mean, scale, budget_bits=9, seed=4, block_ids=ids, selection=selection)
    table = candidate_table(4, 6, 512).astype(np.float64)
    for b in range(40):
        x = table * signs(4, ids[b : b + 1], 6)
        score = log_density(x, mean[b].astype(float), scale[b].astype(float))
        if selection == "ratio":
            score -= log_density(x, np.zeros(6), np.ones(6))
        assert score[indices[b]] >= score.max() - 1e-3


def test_indices_are_frozen() -> None:
    mean, scale = posteriors(6, 5, seed=3)
    indices = encode_blocks(mean, scale, budget_bits=14, seed=0x1A7E, block_ids=np.arange(6))
    assert indices.tolist() == GOLDEN_INDICES


def test_decoder_needs_only_the_rows_of_its_indices() -> None:
    indices = np.array([0, 77, 65535])
    ids = np.array([5, 6, 9])
    wide = decode_blocks(indices, budget_bits=16, width=9, seed=2, block_ids=ids)
    assert np.array_equal(wide[:, :4], decode_blocks(indices, budget_bits=16, width=4, seed=2, block_ids=ids))
    alone = decode_blocks(indices[1:2], budget_bits=16, width=9, seed=2, block_ids=ids[1:2])
    assert np.array_equal(alone, wide[1:2])


def test_empty_slots_change_nothing() -> None:
    mean, scale = posteriors(30, 5, seed=1)
    padded_mean, padded_scale = np.zeros((30, 8), np.float32), np.ones((30, 8), np.float32)
    padded_mean[:, :5], padded_scale[:, :5] = mean, scale
    for selection in ("ratio", "nearest"):
        narrow, wide = (
            encode_blocks(m, s, budget_bits=10, seed=2, block_ids=np.arange(30), selection=selection)
            for m, s in ((mean, scale), (padded_mean, padded_scale))
        )
        assert (narrow == wide).mean() > 0.95  # sums in another order may swap candidates of equal score


def test_more_bits_bring_samples_closer() -> None:
    mean, scale = posteriors(200, 8, seed=5)
    errors = []
    for bits in (0, 4, 8, 12, 16):
        indices = encode_blocks(mean, scale, budget_bits=bits, seed=1, block_ids=np.arange(200))
        sample = decode_blocks(indices, budget_bits=bits, width=8, seed=1, block_ids=np.arange(200))
        errors.append(float((((sample - mean) / scale) ** 2).mean()))
    assert all(b < a for a, b in itertools.pairwise(errors)) and errors[-1] < 1.0, errors


def test_depth_limited_astar_draws_from_the_posterior() -> None:
    """With many more candidates than 2^KL its samples follow q; with too few they do not.

    The blocks of one seed differ in their signs only, so the samples are drawn over seeds.
    """
    mean, scale = np.full((1, 1), 1.2, np.float32), np.full((1, 1), 0.6, np.float32)
    generator = torch.Generator().manual_seed(1)
    pvalue = {}
    for bits in (1, 10):
        sample = []
        for seed in range(500):
            indices = encode_blocks(
                mean, scale, budget_bits=bits, seed=seed, block_ids=np.arange(1), selection="astar", noise=generator
            )
            sample.append(decode_blocks(indices, budget_bits=bits, width=1, seed=seed, block_ids=np.arange(1))[0, 0])
        pvalue[bits] = stats.kstest(np.array(sample, np.float64), "norm", (1.2, 0.6)).pvalue
    assert pvalue[10] > 1e-3 > pvalue[1], pvalue


def test_budget_out_of_range_and_missing_noise_are_rejected() -> None:
    mean, scale = posteriors(2, 3)
    with pytest.raises(LimitError, match="budget"):
        encode_blocks(mean, scale, budget_bits=25, seed=0, block_ids=np.arange(2))
    with pytest.raises(LimitError, match="budget"):
        decode_blocks(np.zeros(2, np.int64), budget_bits=-1, width=3, seed=0, block_ids=np.arange(2))
    with pytest.raises(UsageError, match="noise"):
        encode_blocks(mean, scale, budget_bits=4, seed=0, block_ids=np.arange(2), selection="astar")
