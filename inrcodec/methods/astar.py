"""Exact A* coding of one block: the decoded candidate is a sample of q, the index has no upper bound.

Global-bound A* coding (Flamich, Markou and Hernandez-Lobato, ICML 2022, algorithm 2): candidates x_1, x_2, .. ~ p
arrive at the times T_1 < T_2 < .. of a Poisson process; the one with the largest log(q/p)(x_i) - log T_i is an exact
sample of q. Since -log T_i falls, the search may stop as soon as -log T_i + max_x log(q/p)(x) cannot beat the best so
far. The index is about 2^KL in size and goes through ``maths.entropy.encode_zipf``.

For codes of fixed length see ``rec``: same candidates, same signs, and the same decoder reads them.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from inrcodec.ground.errors import DataError, LimitError
from inrcodec.ground.randomness import candidate_rows, signs

FloatArray = NDArray[np.float64]

CHUNK = 1024


def astar_encode(
    mean: FloatArray, scale: FloatArray, *, seed: int, block_id: int, noise: np.random.Generator,
    max_candidates: int = 1 << 24,
) -> int:  # fmt: skip
    """Index of an exact sample of q = N(mean, scale^2), (D,) each, in units of the prior N(0, I).

    ``noise`` is the sender's private generator. Raises DataError when log(q/p) has no maximum (a scale of 1 or more),
    LimitError when ``max_candidates`` do not suffice.
    """
    bound = max_log_ratio(mean, scale)
    sign = signs(seed, np.array([block_id]), len(mean))[0]
    best, index, time = -math.inf, -1, 0.0
    for start in range(0, max_candidates, CHUNK):
        x = candidate_rows(seed, len(mean), np.arange(start, start + CHUNK)) * sign
        arrivals = time + np.cumsum(noise.exponential(size=CHUNK))
        time = float(arrivals[-1])
        score = log_ratio(x.astype(np.float64), mean, scale) - np.log(arrivals)
        # A candidate counts only while the bound at its arrival is above the best before it.
        running = np.maximum.accumulate(np.concatenate([[best], score]))[:-1]
        done = np.flatnonzero(bound - np.log(arrivals) <= running)
        stop = int(done[0]) if len(done) else CHUNK
        if stop and score[:stop].max() > best:
            index = start + int(score[:stop].argmax())
            best = float(score[:stop].max())
        if len(done):
            return index
    raise LimitError(f"A* coding found no sample among {max_candidates} candidates: cut smaller blocks")


def log_ratio(x: FloatArray, mean: FloatArray, scale: FloatArray) -> FloatArray:
    """log q(x) - log p(x) in nats of candidates (n, D)."""
    standard = (x - mean) / scale
    return np.asarray((0.5 * (np.square(x) - np.square(standard)) - np.log(scale)).sum(axis=1))


def max_log_ratio(mean: FloatArray, scale: FloatArray) -> float:
    """Largest value of log q - log p in nats; DataError when it has none."""
    if not (scale < 1).all():
        raise DataError(f"exact A* coding needs posterior scales below the prior's, got {scale.max():.3g} of it")
    return float((0.5 * np.square(mean) / (1.0 - np.square(scale)) - np.log(scale)).sum())


def block_kl_bits(mean: FloatArray, scale: FloatArray) -> float:
    """KL of a block in bits."""
    return float((0.5 * (np.square(mean) + np.square(scale) - 1.0) - np.log(scale)).sum() / math.log(2.0))
