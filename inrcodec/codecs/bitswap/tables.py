"""Probabilities of integers under logistic distributions and their mixtures, in integers alone.

A distribution function is read from a shipped table, F(u) = 2^24 / (1 + exp(-u / 4096)), at u found from a fixed-point
distance by a multiplication and a shift; weights of a mixture come from a table of exp. Nothing is computed in floating
point when a file is written or read. Distances, means, log scales and log weights are in units of 2^-13.

A symbol of up to 256 values is coded as two of 16, its high and its low half byte: two tables of 16 counts are made
much faster than one of 256.

Latents have the alphabet -128 .. 127, counted from the rounded mean and around the circle, so that nothing needs an
escape. In zigzag order, 0, -1, 1, -2 .., the likeliest symbol is 0, which is what an empty message yields: bits-back
coding from an empty message takes the posterior's mode, at no cost, and gives it back.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inrcodec.coding.ans import COUNT_BITS, Stack
from inrcodec.errors import InrcodecError

IntArray = NDArray[np.int64]

FIXED_BITS = 13
MASS_BITS = 24
REACH = 16 << 12
"""Largest |u|: 16 scales."""
WEIGHT_BITS = 14
LOG_SCALES = (-3 << 4, 5 << 4)
"""Log scales are used in steps of 1/16, from -3 to 5."""
INVERSE_BITS = 20
EXP_REACH = 16 << 8
TABLES_SHA256 = "a305970f3d1c23e4be32fd64c4358a86c79b8c6bd544071d628f1da523c4849d"
CHUNK = 1 << 15
"""Symbols at once: bounds memory, and the numbers that a ``Bundle`` can be given at a time."""
HALF_ALPHABET = 128

_FILE = Path(__file__).parent / "logistic_tables.npy"


def make_tables() -> IntArray:
    """What the shipped file holds: F(u) for u = 0 .. REACH, inverse scales, exp(-t / 256). Used once, to make it."""
    upper = [round((1 << MASS_BITS) / (1.0 + math.exp(-u / 4096.0))) for u in range(REACH + 1)]
    inverse = [round((1 << INVERSE_BITS) * math.exp(-step / 16.0)) for step in range(LOG_SCALES[0], LOG_SCALES[1] + 1)]
    powers = [round((1 << 20) * math.exp(-t / 256.0)) for t in range(EXP_REACH + 1)]
    return np.array([*upper, *inverse, *powers], np.int32)


@cache
def _tables() -> tuple[IntArray, IntArray, IntArray]:
    data = _FILE.read_bytes()
    if hashlib.sha256(data).hexdigest() != TABLES_SHA256:
        raise InrcodecError(f"{_FILE.name} is not the one that belongs to this version: install the package again")
    numbers = np.load(_FILE, allow_pickle=False).astype(np.int64)
    n_scales = LOG_SCALES[1] - LOG_SCALES[0] + 1
    upper, inverse, powers = np.split(numbers, [REACH + 1, REACH + 1 + n_scales])
    # The whole table, so that looking up needs no case for negative u.
    return np.concatenate([(1 << MASS_BITS) - upper[:0:-1], upper]), inverse, powers


def inverse_scales(log_scales: IntArray) -> IntArray:
    """2^20 / scale for log scales in units of 2^-13, clamped to their range."""
    steps = log_scales + (1 << FIXED_BITS - 5) >> FIXED_BITS - 4
    result: IntArray = _tables()[1][steps.clip(*LOG_SCALES) - LOG_SCALES[0]]
    return result


def distribution(distances: IntArray, inverse: IntArray) -> IntArray:
    """2^24 F(distance / scale); distances in units of 2^-13 of what scales are in."""
    # 4096 u per 2^13 of distance: half of the product.
    u = distances * inverse + (1 << INVERSE_BITS) >> INVERSE_BITS + 1
    result: IntArray = _tables()[0][u.clip(-REACH, REACH) + REACH]
    return result


def mixture_weights(log_weights: IntArray) -> IntArray:
    """(n, K) log weights to weights of 2^-14 that sum to 2^14 in each row."""
    below = (log_weights.max(axis=1, keepdims=True) - log_weights) >> FIXED_BITS - 8
    powers = _tables()[2][below.clip(0, EXP_REACH)]
    weights = (powers << WEIGHT_BITS) // powers.sum(axis=1, keepdims=True)
    weights[:, 0] += (1 << WEIGHT_BITS) - weights.sum(axis=1)
    result: IntArray = weights
    return result


@dataclass(frozen=True)
class Mixtures:
    """Mixtures of logistics over levels 0 .. ``levels`` - 1 (a power of two), one for each of n symbols.

    ``log_weights``, ``means``, ``log_scales``: (n, K) in units of 2^-13. A mean of 0 is the middle of the levels, one
    unit ``levels`` / 4 of them; scales are in levels.
    """

    log_weights: IntArray
    means: IntArray
    log_scales: IntArray
    levels: int

    def push(self, message: Stack, values: IntArray) -> None:
        """Code levels (n,)."""
        for start in reversed(range(0, len(values), CHUNK)):
            part = slice(start, start + CHUNK)
            cdf = self._cdf(part)
            digits = values[part]
            if self.levels > 16:
                message.push(digits & 15, cdf.table(digits & -16, 1))
                message.push(digits >> 4, cdf.table(np.zeros_like(digits), self.levels >> 4))
            else:
                message.push(digits, cdf.table(np.zeros_like(digits), 1))

    def pop(self, message: Stack) -> IntArray:
        """Inverse of ``push``."""
        found = []
        for start in range(0, len(self.means), CHUNK):
            cdf = self._cdf(slice(start, start + CHUNK))
            origin = np.zeros(len(cdf.means), np.int64)
            if self.levels > 16:
                high = message.pop(cdf.table(origin, self.levels >> 4)) << 4
                found.append(high + message.pop(cdf.table(high, 1)))
            else:
                found.append(message.pop(cdf.table(origin, 1)))
        return np.concatenate(found) if found else np.zeros(0, np.int64)

    def _cdf(self, part: slice) -> _MixtureCdf:
        return _MixtureCdf(
            mixture_weights(self.log_weights[part]),
            self.means[part],
            inverse_scales(self.log_scales[part]),
            self.levels,
        )


@dataclass(frozen=True)
class _MixtureCdf:
    weights: IntArray
    means: IntArray
    inverse: IntArray
    levels: int

    def table(self, first: IntArray, step: int) -> IntArray:
        """Cumulative counts (n, A + 1) of the A = min(16, levels) runs of ``step`` levels from ``first`` (n,) on."""
        n_symbols = min(16, self.levels)
        if self.levels > 16 and step > 1:
            n_symbols = self.levels // step
        edges = first[:, None] + step * np.arange(n_symbols + 1)
        # The edge below level x lies at (2 x - levels) 2^14 / levels; a scale of levels is 4 / levels units.
        distances = (2 * edges - self.levels) * ((1 << FIXED_BITS + 1) // self.levels)
        mass = np.zeros(edges.shape, np.int64)
        for k in range(self.means.shape[1]):
            far = (distances - self.means[:, k, None]) * self.levels
            u = far * self.inverse[:, k, None] + (1 << INVERSE_BITS + 2) >> INVERSE_BITS + 3
            mass += self.weights[:, k, None] * _tables()[0][u.clip(-REACH, REACH) + REACH]
        mass >>= WEIGHT_BITS
        mass[edges <= 0] = 0
        mass[edges >= self.levels] = 1 << MASS_BITS
        # A share of 2^-18 for all levels alike, so that none is impossible.
        return counts_of(mass * 256 + edges * ((1 << 14) // self.levels))


def counts_of(mass: IntArray) -> IntArray:
    """Cumulative masses (n, A + 1), rising in each row, to cumulative counts from 0 to 2^24, none of them empty."""
    mass = mass - mass[:, :1]
    n_symbols = mass.shape[1] - 1
    whole = mass[:, -1:]
    result: IntArray = mass * ((1 << COUNT_BITS) - n_symbols) // whole + np.arange(n_symbols + 1)
    return result


@dataclass(frozen=True)
class Latents:
    """Logistic distributions of n whole numbers -128 .. 127: ``means``, ``log_scales`` (n,) in units of 2^-13."""

    means: IntArray
    log_scales: IntArray

    def push(self, message: Stack, values: IntArray) -> None:
        """Code whole numbers (n,)."""
        for start in reversed(range(0, len(values), CHUNK)):
            part = slice(start, start + CHUNK)
            centre, rest, inverse = self._place(part)
            symbols = _to_symbols((values[part] - centre + HALF_ALPHABET) % (2 * HALF_ALPHABET) - HALF_ALPHABET)
            message.push(symbols & 15, _low_table(symbols >> 4, rest, inverse))
            message.push(symbols >> 4, _high_table(rest, inverse))

    def pop(self, message: Stack) -> IntArray:
        """Inverse of ``push``."""
        found = []
        for start in range(0, len(self.means), CHUNK):
            centre, rest, inverse = self._place(slice(start, start + CHUNK))
            high = message.pop(_high_table(rest, inverse))
            symbols = (high << 4) + message.pop(_low_table(high, rest, inverse))
            around = centre + _to_offsets(symbols) + HALF_ALPHABET
            found.append(around % (2 * HALF_ALPHABET) - HALF_ALPHABET)
        return np.concatenate(found) if found else np.zeros(0, np.int64)

    def _place(self, part: slice) -> tuple[IntArray, IntArray, IntArray]:
        """Rounded means, what is left of them in units of 2^-13, inverse scales."""
        means = self.means[part]
        centre = means + (1 << FIXED_BITS - 1) >> FIXED_BITS
        return centre, means - (centre << FIXED_BITS), inverse_scales(self.log_scales[part])


def _to_symbols(offsets: IntArray) -> IntArray:
    """0, -1, 1, -2, 2 .. to 0, 1, 2, 3, 4 .."""
    return np.where(offsets < 0, -2 * offsets - 1, 2 * offsets)


def _to_offsets(symbols: IntArray) -> IntArray:
    return (symbols + 1 >> 1) * np.where(symbols % 2 == 1, -1, 1)


def _below(offsets: IntArray, rest: IntArray, inverse: IntArray) -> IntArray:
    """Mass below the edges between offset - 1 and offset, (n, m), in 2^-32.

    All offsets share 2^-24 of it alike: little, since every latent that is drawn far from its posterior's mean is
    expensive for what it generates (with 2^-12 one picture in eight had such a one).
    """
    distances = (offsets << FIXED_BITS) - (1 << FIXED_BITS - 1) - rest[:, None]
    mass = distribution(distances, inverse[:, None]) * 256
    return mass + offsets + HALF_ALPHABET


def _high_table(rest: IntArray, inverse: IntArray) -> IntArray:
    """Cumulative counts (n, 17) of runs of 16 symbols: offsets -8 (j + 1) .. -8 j - 1 and 8 j .. 8 j + 7."""
    edges = 8 * np.arange(-16, 17)[None]
    mass = np.diff(_below(edges, rest, inverse), axis=1)
    return _cumulated(mass[:, 15::-1] + mass[:, 16:])


def _low_table(high: IntArray, rest: IntArray, inverse: IntArray) -> IntArray:
    """Cumulative counts (n, 17) of the 16 symbols in run ``high``."""
    right = 8 * high[:, None] + np.arange(9)
    left = -8 * high[:, None] - np.arange(9)
    above = np.diff(_below(right, rest, inverse), axis=1)
    beneath = -np.diff(_below(left, rest, inverse), axis=1)
    return _cumulated(np.stack([above, beneath], axis=2).reshape(len(high), 16))


def _cumulated(mass: IntArray) -> IntArray:
    edges = np.zeros((mass.shape[0], mass.shape[1] + 1), np.int64)
    np.cumsum(mass, axis=1, out=edges[:, 1:])
    return counts_of(edges)
