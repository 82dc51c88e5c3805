"""Exact A* coding: samples of q itself, and the length of their code against the KL."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from inrcodec.ground.errors import DataError, LimitError
from inrcodec.maths.entropy import decode_zipf, encode_zipf, zipf_bits
from inrcodec.methods.astar import astar_encode, block_kl_bits
from inrcodec.methods.rec import decode_blocks

CASES = [([1.5], [0.5]), ([0.8, -1.1, 0.3], [0.4, 0.7, 0.9])]


def draw(mean: list[float], scale: list[float], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices and samples, each under a seed of its own: blocks of one seed share candidates but for the signs."""
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
def test_samples_have_the_law_of_the_posterior(mean: list[float], scale: list[float]) -> None:
    _, sample = draw(mean, scale, 600)
    for d, (m, s) in enumerate(zip(mean, scale, strict=True)):
        assert stats.kstest(sample[:, d], "norm", (m, s)).pvalue > 1e-3
    if len(mean) > 1:
        assert np.abs(np.corrcoef(sample.T) - np.eye(len(mean))).max() < 0.15


@pytest.mark.parametrize(("mean", "scale"), [*CASES, ([2.0, 1.0, -1.5], [0.2, 0.5, 0.4])])
def test_code_length_is_near_the_kl(mean: list[float], scale: list[float]) -> None:
    """KL + log2(KL + 1) + 4 bits, the bound of Li and El Gamal for the index of the functional representation."""
    kl = block_kl_bits(np.array(mean), np.array(scale))
    indices, _ = draw(mean, scale, 300)
    ideal = np.mean([zipf_bits(int(i), round(kl)) for i in indices])
    assert ideal <= kl + np.log2(kl + 1) + 4
    data = encode_zipf(indices, round(kl))
    assert np.array_equal(decode_zipf(data, len(indices), round(kl)), indices)
    assert 8 * len(data) <= ideal * len(indices) * 1.01 + 64


def test_what_has_no_bound_is_refused() -> None:
    noise = np.random.default_rng(0)
    with pytest.raises(DataError, match="below the prior"):
        astar_encode(np.array([0.0]), np.array([1.0]), seed=0, block_id=0, noise=noise)
    with pytest.raises(LimitError, match="smaller blocks"):
        astar_encode(np.full(8, 3.0), np.full(8, 0.1), seed=0, block_id=0, noise=noise, max_candidates=2048)
