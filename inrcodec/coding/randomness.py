"""Shared randomness: pure functions of a key and a counter, the same on every machine and in every release.

Words come from Philox-4x64-10 (Salmon et al., *Parallel random numbers: as easy as 1, 2, 3*, SC 2011), which computes
the words of any counter on its own. A word becomes a 52-bit uniform number, and that a standard normal number by the
inverse of the distribution function, in float64 and then rounded to float32. Permutations are made by sorting words,
in integers. Random streams of libraries are not used, because they may change between releases.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Words = NDArray[np.uint64]

_MULTIPLIERS = (np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157))
_WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_MASK = (1 << 64) - 1

# The last word of the counter is the domain. It keeps the streams of one seed apart.
_CANDIDATES, _SIGNS, _PERMUTATIONS = 1, 2, 3


def _multiply(a: Words, b: np.uint64) -> tuple[Words, Words]:
    """Return the high and low word of the 128-bit product."""
    a_low, a_high, b_low, b_high = a & _LOW, a >> _HALF, b & _LOW, b >> _HALF
    low = a_low * b_low
    middle = a_high * b_low + (low >> _HALF)
    cross = a_low * b_high + (middle & _LOW)
    return a_high * b_high + (middle >> _HALF) + (cross >> _HALF), a * b


def philox(key: tuple[int, int], counters: Words) -> Words:
    """Return the words (n, 4), uint64, of Philox-4x64-10 for counters (n, 4) under a key of two 64-bit integers."""
    c0, c1, c2, c3 = (np.ascontiguousarray(counters[:, i], dtype=np.uint64) for i in range(4))
    k0, k1 = key[0] & _MASK, key[1] & _MASK
    for _ in range(10):
        high0, low0 = _multiply(c0, _MULTIPLIERS[0])
        high1, low1 = _multiply(c2, _MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ np.uint64(k0), low1, high0 ^ c3 ^ np.uint64(k1), low0
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return np.stack([c0, c1, c2, c3], axis=1)


def _words(seed: int, domain: int, rows: NDArray[np.int64], length: int) -> Words:
    """Return words (n, length); word j of row r is a function of (seed, domain, r, j) alone."""
    quads = -(-length // 4)
    counters = np.empty((len(rows), quads, 4), np.uint64)
    counters[..., 0] = np.arange(quads, dtype=np.uint64)
    counters[..., 1] = rows.astype(np.uint64)[:, None]
    counters[..., 2] = 0
    counters[..., 3] = domain
    return philox((seed, 0), counters.reshape(-1, 4)).reshape(len(rows), quads * 4)[:, :length]


def uniform(words: Words) -> NDArray[np.float64]:
    """Return 52-bit uniform numbers in (0, 1), one per word, in float64.

    They are the centres of 2^52 equal cells, which float64 holds exactly, so 0 and 1 never occur.
    """
    return ((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def normal(words: Words) -> NDArray[np.float32]:
    """Return standard normal numbers, one per word, in float32."""
    return np.asarray(ndtri(uniform(words)), np.float32)


def candidate_rows(seed: int, dim: int, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return rows of the candidate table, (n, dim) standard normal numbers in float32.

    A narrower table is the left part of a wider one.

    Args:
        seed: selects the table.
        dim: the number of columns.
        rows: (n,) indices of the rows, in any order.
    """
    return normal(_words(seed, _CANDIDATES, np.asarray(rows, np.int64), dim))


def candidate_table(seed: int, dim: int, n_rows: int) -> NDArray[np.float32]:
    """Return the first ``n_rows`` rows of the candidate table, (n_rows, dim); see ``candidate_rows``."""
    table = np.empty((n_rows, dim), np.float32)
    at_once = max(1, (1 << 20) // max(dim, 1))
    for start in range(0, n_rows, at_once):
        stop = min(start + at_once, n_rows)
        table[start:stop] = candidate_rows(seed, dim, np.arange(start, stop))
    return table


def signs(seed: int, block_ids: NDArray[np.int64], dim: int) -> NDArray[np.float32]:
    """Return pseudo-random signs (B, dim), -1 or +1 in float32, for blocks with the ids (B,)."""
    words = _words(seed, _SIGNS, np.asarray(block_ids, np.int64), -(-dim // 64))
    bits = (words[:, :, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    return np.where(bits.reshape(len(words), -1)[:, :dim] == 1, np.float32(-1.0), np.float32(1.0))


def permutations(seed: int, streams: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Return one permutation of range(n) for each of the streams (S,), as (S, n)."""
    return np.argsort(_words(seed, _PERMUTATIONS, np.asarray(streams, np.int64), n), axis=1, kind="stable")


def permutation(seed: int, stream: int, n: int) -> NDArray[np.int64]:
    """Return the permutation (n,) of range(n) for one stream."""
    result: NDArray[np.int64] = permutations(seed, np.array([stream]), n)[0]
    return result
