"""Coding of a latent grid under its context network, latent by latent, in exact integers.

Each latent's distribution depends on those before it, so network and entropy coder take turns at every latent: both are
compiled together. Integers of the network are carried by float64, whose sums of them are exact as long as they stay
below 2^53, in any order: ``check_network`` holds the weights to that.

Fixed point: weights in units of 2^-16, latents and means of 2^-4, activations of 2^-12. A latent is coded relative to
its mean, rounded; a scale index and the mean's sixteenths choose a table of 16-bit counts, those of scales over 4 for
the latent without its lowest bits, which follow uncoded. The last symbol of a table is an escape: how far a latent
lies beyond the table follows as its sign, its number of bits and these bits. The coder is rANS (Duda 2013) with a state
of 63 bits and words of 32: constriction's coders take runs of symbols of known models, which there are none of here.
"""

from __future__ import annotations

import hashlib
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.codecs.grids.coder_kernels import ACTIVATION_LIMIT, LOWEST_STATE, grid_symbols, pull_grid, push_all
from inrcodec.codecs.grids.config import (
    ACTIVATION_BITS,
    LATENT_BITS,
    LOG_SCALE_STEP,
    LOG_SMALLEST_SCALE,
    MAX_LATENT,
    N_SCALES,
    REACH,
    WEIGHT_BITS,
)
from inrcodec.errors import FormatError, InrcodecError

SUM_LIMIT = float(1 << 52)

TABLE_BITS = 16
SIXTEENTHS = 1 << LATENT_BITS
MAX_TABLED_SCALE, SUPPORT_SCALES = 4.0, 6.0
TABLES_FILE = Path(__file__).parent / "laplace_tables.npz"
TABLES_SHA256 = "5c50377afc99133334037161695fe225f92a1e18c7db12effcc8d46fc8a951f5"


def _uncoded_bits(index: int) -> int:
    """Lowest bits of latents of a scale that follow uncoded."""
    scale = math.exp(LOG_SMALLEST_SCALE + LOG_SCALE_STEP * index)
    return max(0, math.ceil(math.log2(scale / MAX_TABLED_SCALE)))


def make_tables() -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint16]]:
    """What the shipped file holds: uncoded bits and largest coded magnitude of every scale (80,), and all counts. Used
    once, to make it."""
    low_bits, halves, rows = [], [], []
    for index in range(N_SCALES):
        scale, low = math.exp(LOG_SMALLEST_SCALE + LOG_SCALE_STEP * index), _uncoded_bits(index)
        half = max(1, math.ceil(SUPPORT_SCALES * scale / (1 << low)))
        low_bits.append(low)
        halves.append(half)
        for sixteenth in range(-SIXTEENTHS // 2, SIXTEENTHS // 2):
            mean = sixteenth / SIXTEENTHS
            edges = [_laplace_cdf(((k << low) - 0.5 - mean) / scale) for k in range(-half, half + 2)]
            shares = np.diff(edges)
            row = np.array([*shares, max(0.0, 1.0 - shares.sum())])
            counts = np.maximum(1, np.floor(row * ((1 << TABLE_BITS) - len(row)))).astype(np.int64)
            counts[int(counts.argmax())] += (1 << TABLE_BITS) - counts.sum()
            rows.append(counts)
    return np.array(low_bits, np.uint8), np.array(halves, np.uint8), np.concatenate(rows).astype(np.uint16)


def _laplace_cdf(value: float) -> float:
    return 0.5 * math.exp(value) if value < 0 else 1.0 - 0.5 * math.exp(-value)


@cache
def _tables() -> tuple[Any, Any, Any, Any]:
    """Uncoded bits and largest magnitudes by scale, places of tables by scale and sixteenth, all cumulative counts."""
    data = TABLES_FILE.read_bytes()
    if hashlib.sha256(data).hexdigest() != TABLES_SHA256:
        raise InrcodecError(f"{TABLES_FILE.name} is not the one of this version: install the package again")
    with np.load(TABLES_FILE, allow_pickle=False) as found:
        low, half, counts = (found[name].astype(np.int64) for name in ("low", "half", "counts"))
    starts: list[int] = []
    edges: list[int] = []
    at = 0
    for index in range(N_SCALES):
        size = 2 * int(half[index]) + 2
        for _ in range(SIXTEENTHS):
            starts.append(len(edges))
            edges += [0, *np.cumsum(counts[at : at + size]).tolist()]
            at += size
    return low, half, np.array(starts, np.int64), np.array(edges, np.int64)


def check_network(w1: Any, b1: Any, w2: Any, b2: Any, w3: Any, b3: Any) -> None:
    """FormatError unless all sums of a context network of integers (float64) are exact."""
    for weights, biases, largest, bias_shift in (
        (w1, b1, MAX_LATENT << LATENT_BITS, LATENT_BITS),
        (w2, b2, ACTIVATION_LIMIT, ACTIVATION_BITS),
        (w3, b3, ACTIVATION_LIMIT, ACTIVATION_BITS),
    ):
        skip = float(1 << WEIGHT_BITS) if weights is w2 else 0.0
        sums = (np.abs(weights).sum(1) + skip) * largest + np.abs(biases) * float(1 << bias_shift)
        if not float(sums.max()) < SUM_LIMIT:
            raise FormatError("a context network's weights are out of range")


class ContextNetwork:
    """A context network of integers: weights (n, inputs), (n,), (n, n), (n,), (2, n), (2,) in units of 2^-16.

    FormatError when they are too large for its sums."""

    def __init__(self, w1: Any, b1: Any, w2: Any, b2: Any, w3: Any, b3: Any) -> None:
        arrays = [np.asarray(array, np.float64) for array in (w1, b1, w2, b2, w3, b3)]
        check_network(*arrays)
        w1, b1, w2, b2, w3, b3 = arrays
        self.arrays = np.ascontiguousarray(w1.T), b1, np.ascontiguousarray(w2.T), b2, w3, b3


def encode_grids(grids: list[NDArray[np.int64]], network: ContextNetwork) -> bytes:
    """The message of grids (h, w), coarsest first, each twice the one before; magnitudes below ``MAX_LATENT``."""
    symbols = np.empty((5 * sum(grid.size for grid in grids), 2), np.int64)
    count = 0
    for number, grid in enumerate(grids):
        coarser = _interpolated(grids[number - 1]) if number else np.zeros((1, 1))
        padded = _padded(grid.shape)
        padded[REACH:, REACH:-REACH] = grid
        count = grid_symbols(padded, coarser, number > 0, *network.arrays, *_tables(), symbols, count)
    words = np.empty(count + 1, np.uint32)
    state, used = push_all(symbols, count, words)
    message = int(state).to_bytes(8, "little") + words[:used][::-1].astype("<u4").tobytes()
    return message.rstrip(b"\0")


def decode_grids(message: bytes, shapes: list[tuple[int, int]], network: ContextNetwork) -> list[NDArray[np.int64]]:
    """Inverse of ``encode_grids``; FormatError when the message is none of grids of these shapes."""
    if message.endswith(b"\0"):
        raise FormatError("entropy-coded data ends in an empty byte")
    whole = message + bytes(8 - len(message) if len(message) < 8 else -len(message) % 4)
    state, words = np.uint64(int.from_bytes(whole[:8], "little")), np.frombuffer(whole[8:], "<u4").astype(np.uint32)
    if not LOWEST_STATE <= int(state) < LOWEST_STATE << 32:
        raise FormatError("entropy-coded data does not begin as it should")
    at = 0
    grids: list[NDArray[np.int64]] = []
    for number, shape in enumerate(shapes):
        coarser = _interpolated(grids[-1]) if number else np.zeros((1, 1))
        latents = _padded(shape)
        state, at, fine = pull_grid(
            latents, coarser, number > 0, *network.arrays, *_tables(), words, np.uint64(state), at
        )
        if not fine:
            raise FormatError("entropy-coded data holds a latent that is out of range")
        grids.append(latents[REACH:, REACH:-REACH].astype(np.int64))
    if int(state) != LOWEST_STATE or at < len(words):
        raise FormatError("entropy-coded data does not end where it should")
    return grids


def _padded(shape: tuple[int, ...]) -> NDArray[np.float64]:
    return np.zeros((shape[0] + REACH, shape[1] + 2 * REACH))


def _interpolated(grid: NDArray[np.int64]) -> NDArray[np.float64]:
    """A grid at twice its resolution, bilinearly, in sixteenths, with one value more on every side."""
    wide = np.pad(grid, 1, mode="edge")
    rows = np.empty((2 * grid.shape[0], wide.shape[1]), np.int64)
    rows[0::2], rows[1::2] = 3 * wide[1:-1] + wide[:-2], 3 * wide[1:-1] + wide[2:]
    out = np.empty((rows.shape[0], 2 * grid.shape[1]), np.int64)
    out[:, 0::2], out[:, 1::2] = 3 * rows[:, 1:-1] + rows[:, :-2], 3 * rows[:, 1:-1] + rows[:, 2:]
    return np.pad(out, 1, mode="edge").astype(np.float64)
