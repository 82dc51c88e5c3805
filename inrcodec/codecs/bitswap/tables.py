"""Probabilities of integers under logistic distributions and their mixtures, in integer arithmetic.

The distribution function is read from a shipped table, F(u) = 2^24 / (1 + exp(-u / 4096)), where u follows from a
fixed-point distance by a multiplication and a shift; the weights of a mixture come from a table of exp. No
floating-point arithmetic is used to write or read a file. Distances, means, log scales and log weights are in units of
2^-13.

A symbol of up to 256 values is coded as two symbols of 16 values, its high and its low half byte, because two tables of
16 counts are much faster to compute than one of 256.

Latents have the alphabet -128 .. 127, counted modulo 256 from the rounded mean, so that no escape is needed. In zigzag
order (0, -1, 1, -2, ...) the most probable symbol is 0, which is what an empty message yields: bits-back coding from an
empty message takes the posterior's mode at no cost, and returns it.
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
"""Fixed-point numbers are in units of 2^-13."""
MASS_BITS = 24
"""Values of the distribution function are in units of 2^-24."""
REACH = 16 << 12
"""Max |u| of the table: 16 scales."""
WEIGHT_BITS = 14
"""Weights of mixtures are in units of 2^-14."""
LOG_SCALES = (-3 << 4, 5 << 4)
"""Range of log scales, -3 to 5, in units of 1/16."""
INVERSE_BITS = 20
"""Inverse scales are in units of 2^-20."""
EXP_REACH = 16 << 8
"""Max exponent of the table of exp: 16, in units of 1/256."""
TABLES_SHA256 = "a305970f3d1c23e4be32fd64c4358a86c79b8c6bd544071d628f1da523c4849d"
"""SHA-256 of the shipped file of tables."""
CHUNK = 1 << 15
"""Symbols coded at once, which bounds the memory. It sets the order of symbols, so it is part of the file format."""
HALF_ALPHABET = 128
"""Half the number of values of a latent."""

_FILE = Path(__file__).parent / "logistic_tables.npy"


def make_tables() -> IntArray:
    """Return the content of the shipped file, which this function was used to make.

    It holds F(u) for u = 0 .. REACH, the inverse scales, and exp(-t / 256).
    """
    upper = [round((1 << MASS_BITS) / (1.0 + math.exp(-u / 4096.0))) for u in range(REACH + 1)]
    inverse = [round((1 << INVERSE_BITS) * math.exp(-step / 16.0)) for step in range(LOG_SCALES[0], LOG_SCALES[1] + 1)]
    powers = [round((1 << 20) * math.exp(-t / 256.0)) for t in range(EXP_REACH + 1)]
    return np.array([*upper, *inverse, *powers], np.int32)


@cache
def _tables() -> tuple[IntArray, IntArray, IntArray]:
    data = _FILE.read_bytes()
    if hashlib.sha256(data).hexdigest() != TABLES_SHA256:
        raise InrcodecError(f"{_FILE.name} does not match this version of the package: reinstall it")
    numbers = np.load(_FILE, allow_pickle=False).astype(np.int64)
    n_scales = LOG_SCALES[1] - LOG_SCALES[0] + 1
    upper, inverse, powers = np.split(numbers, [REACH + 1, REACH + 1 + n_scales])
    # Extended to negative u, so that a look-up needs no case distinction.
    return np.concatenate([(1 << MASS_BITS) - upper[:0:-1], upper]), inverse, powers


def inverse_scales(log_scales: IntArray) -> IntArray:
    """Return 2^20 / scale for log scales in units of 2^-13, clamped to ``LOG_SCALES``."""
    steps = log_scales + (1 << FIXED_BITS - 5) >> FIXED_BITS - 4
    result: IntArray = _tables()[1][steps.clip(*LOG_SCALES) - LOG_SCALES[0]]
    return result


def distribution(distances: IntArray, inverse: IntArray) -> IntArray:
    """Return 2^24 F(distance / scale); distances are in units of 2^-13 of the unit of the scales."""
    # u is in units of 2^-12 and distances are in units of 2^-13, hence half of the product.
    u = distances * inverse + (1 << INVERSE_BITS) >> INVERSE_BITS + 1
    result: IntArray = _tables()[0][u.clip(-REACH, REACH) + REACH]
    return result


def mixture_weights(log_weights: IntArray) -> IntArray:
    """Return weights in units of 2^-14, which sum to 2^14 in each row, from log weights (n, K)."""
    below = (log_weights.max(axis=1, keepdims=True) - log_weights) >> FIXED_BITS - 8
    powers = _tables()[2][below.clip(0, EXP_REACH)]
    weights = (powers << WEIGHT_BITS) // powers.sum(axis=1, keepdims=True)
    weights[:, 0] += (1 << WEIGHT_BITS) - weights.sum(axis=1)
    result: IntArray = weights
    return result


@dataclass(frozen=True)
class Mixtures:
    """Mixtures of K logistics, one for each of n symbols.

    Attributes:
        log_weights: (n, K), in units of 2^-13.
        means: (n, K), in units of 2^-13 times ``levels`` / 4 levels; 0 is the middle of the levels.
        log_scales: (n, K), in units of 2^-13; scales are in levels.
        levels: symbols are 0 .. ``levels`` - 1; a power of two.
    """

    log_weights: IntArray
    means: IntArray
    log_scales: IntArray
    levels: int

    def push(self, message: Stack, values: IntArray) -> None:
        """Push levels (n,) on a message."""
        for start in reversed(range(0, len(values), CHUNK)):
            chunk = slice(start, start + CHUNK)
            cdf = self._cdf(chunk)
            digits = values[chunk]
            if self.levels > 16:
                message.push(digits & 15, cdf.table(digits & -16, 1))
                message.push(digits >> 4, cdf.table(np.zeros_like(digits), self.levels >> 4))
            else:
                message.push(digits, cdf.table(np.zeros_like(digits), 1))

    def pop(self, message: Stack) -> IntArray:
        """Pop levels (n,) from a message, the inverse of ``push``."""
        values = []
        for start in range(0, len(self.means), CHUNK):
            cdf = self._cdf(slice(start, start + CHUNK))
            origin = np.zeros(len(cdf.means), np.int64)
            if self.levels > 16:
                high = message.pop(cdf.table(origin, self.levels >> 4)) << 4
                values.append(high + message.pop(cdf.table(high, 1)))
            else:
                values.append(message.pop(cdf.table(origin, 1)))
        return np.concatenate(values) if values else np.zeros(0, np.int64)

    def _cdf(self, chunk: slice) -> _MixtureCdf:
        return _MixtureCdf(
            mixture_weights(self.log_weights[chunk]),
            self.means[chunk],
            inverse_scales(self.log_scales[chunk]),
            self.levels,
        )


@dataclass(frozen=True)
class _MixtureCdf:
    weights: IntArray
    means: IntArray
    inverse: IntArray
    levels: int

    def table(self, first: IntArray, step: int) -> IntArray:
        """Return the cumulative counts (n, A + 1) of A <= 16 runs of ``step`` levels, starting at ``first`` (n,)."""
        n_symbols = min(16, self.levels)
        if self.levels > 16 and step > 1:
            n_symbols = self.levels // step
        edges = first[:, None] + step * np.arange(n_symbols + 1)
        # The edge below level x lies at (2 x - levels) 2^14 / levels; a scale of one level is 4 / levels units.
        distances = (2 * edges - self.levels) * ((1 << FIXED_BITS + 1) // self.levels)
        mass = np.zeros(edges.shape, np.int64)
        for k in range(self.means.shape[1]):
            scaled = (distances - self.means[:, k, None]) * self.levels
            u = scaled * self.inverse[:, k, None] + (1 << INVERSE_BITS + 2) >> INVERSE_BITS + 3
            mass += self.weights[:, k, None] * _tables()[0][u.clip(-REACH, REACH) + REACH]
        mass >>= WEIGHT_BITS
        mass[edges <= 0] = 0
        mass[edges >= self.levels] = 1 << MASS_BITS
        # All levels share a mass of 2^-18 evenly, so that none is impossible.
        return counts_of(mass * 256 + edges * ((1 << 14) // self.levels))


def counts_of(mass: IntArray) -> IntArray:
    """Return cumulative counts from 0 to ``2^COUNT_BITS`` from cumulative masses (n, A + 1); no symbol has count 0."""
    mass = mass - mass[:, :1]
    n_symbols = mass.shape[1] - 1
    total = mass[:, -1:]
    result: IntArray = mass * ((1 << COUNT_BITS) - n_symbols) // total + np.arange(n_symbols + 1)
    return result


@dataclass(frozen=True)
class Latents:
    """Logistic distributions of n integers from -128 to 127.

    Attributes:
        means: (n,), in units of 2^-13.
        log_scales: (n,), in units of 2^-13.
    """

    means: IntArray
    log_scales: IntArray

    def push(self, message: Stack, values: IntArray) -> None:
        """Push integers (n,) on a message."""
        for start in reversed(range(0, len(values), CHUNK)):
            chunk = slice(start, start + CHUNK)
            centre, rest, inverse = self._place(chunk)
            symbols = _to_symbols((values[chunk] - centre + HALF_ALPHABET) % (2 * HALF_ALPHABET) - HALF_ALPHABET)
            message.push(symbols & 15, _low_table(symbols >> 4, rest, inverse))
            message.push(symbols >> 4, _high_table(rest, inverse))

    def pop(self, message: Stack) -> IntArray:
        """Pop integers (n,) from a message, the inverse of ``push``."""
        values = []
        for start in range(0, len(self.means), CHUNK):
            centre, rest, inverse = self._place(slice(start, start + CHUNK))
            high = message.pop(_high_table(rest, inverse))
            symbols = (high << 4) + message.pop(_low_table(high, rest, inverse))
            unwrapped = centre + _to_offsets(symbols) + HALF_ALPHABET
            values.append(unwrapped % (2 * HALF_ALPHABET) - HALF_ALPHABET)
        return np.concatenate(values) if values else np.zeros(0, np.int64)

    def _place(self, chunk: slice) -> tuple[IntArray, IntArray, IntArray]:
        """Return the rounded means, their remainders in units of 2^-13, and the inverse scales."""
        means = self.means[chunk]
        centre = means + (1 << FIXED_BITS - 1) >> FIXED_BITS
        return centre, means - (centre << FIXED_BITS), inverse_scales(self.log_scales[chunk])


def _to_symbols(offsets: IntArray) -> IntArray:
    """Map 0, -1, 1, -2, 2, ... to 0, 1, 2, 3, 4, ..."""
    return np.where(offsets < 0, -2 * offsets - 1, 2 * offsets)


def _to_offsets(symbols: IntArray) -> IntArray:
    return (symbols + 1 >> 1) * np.where(symbols % 2 == 1, -1, 1)


def _below(offsets: IntArray, rest: IntArray, inverse: IntArray) -> IntArray:
    """Return the mass below the edges between offset - 1 and offset, (n, m), in units of 2^-32.

    All offsets share a mass of 2^-24 evenly. It must be this small, because a latent drawn far from its posterior mean
    makes everything that it generates expensive: with 2^-12, one image in eight had such a latent.
    """
    distances = (offsets << FIXED_BITS) - (1 << FIXED_BITS - 1) - rest[:, None]
    mass = distribution(distances, inverse[:, None]) * 256
    return mass + offsets + HALF_ALPHABET


def _high_table(rest: IntArray, inverse: IntArray) -> IntArray:
    """Return the cumulative counts (n, 17) of runs of 16 symbols.

    Run j holds the offsets -8 (j + 1) .. -8 j - 1 and 8 j .. 8 j + 7.
    """
    edges = 8 * np.arange(-16, 17)[None]
    mass = np.diff(_below(edges, rest, inverse), axis=1)
    return _cumulated(mass[:, 15::-1] + mass[:, 16:])


def _low_table(high: IntArray, rest: IntArray, inverse: IntArray) -> IntArray:
    """Return the cumulative counts (n, 17) of the 16 symbols in run ``high``."""
    right = 8 * high[:, None] + np.arange(9)
    left = -8 * high[:, None] - np.arange(9)
    above = np.diff(_below(right, rest, inverse), axis=1)
    beneath = -np.diff(_below(left, rest, inverse), axis=1)
    return _cumulated(np.stack([above, beneath], axis=2).reshape(len(high), 16))


def _cumulated(mass: IntArray) -> IntArray:
    edges = np.zeros((mass.shape[0], mass.shape[1] + 1), np.int64)
    np.cumsum(mass, axis=1, out=edges[:, 1:])
    return counts_of(edges)
