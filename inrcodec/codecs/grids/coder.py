"""Code latent grids under their context network, latent by latent, in exact integers.

The distribution of each latent depends on those before it, so the network and the entropy coder alternate at every
latent, and both are compiled together. The integers of the network are stored in float64, whose sums are exact in any
order while they stay below 2^53; ``check_network`` makes sure that the weights keep them there.

Fixed point: weights are in units of 2^-16, latents and means in 2^-4, activations in 2^-12. A latent is coded relative
to its rounded mean. The scale index and the remaining sixteenths of the mean select a table of 16-bit counts; for
scales above 4 the table is for the latent without its lowest bits, which follow uncoded. The last symbol of a table is
an escape: the distance of the latent beyond the table follows as its sign, its number of bits, and these bits.

The coder is rANS (arXiv 1311.2540) with a 63-bit state and 32-bit words. Coders of constriction are not used because
they take runs of symbols with known models, and here every model depends on the symbol before.
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
"""Sums of a network stay below this."""

TABLE_BITS = 16
"""The counts of a table sum to 2^16."""
SIXTEENTHS = 1 << LATENT_BITS
"""Tables per scale, one for each sixteenth of the mean."""
MAX_TABLED_SCALE, SUPPORT_SCALES = 4.0, 6.0
"""Max scale whose latents are coded with all their bits, and the reach of a table in scales."""
TABLES_FILE = Path(__file__).parent / "laplace_tables.npz"
"""The shipped file of tables."""
TABLES_SHA256 = "5c50377afc99133334037161695fe225f92a1e18c7db12effcc8d46fc8a951f5"
"""SHA-256 of the shipped file."""


def _uncoded_bits(index: int) -> int:
    """Return how many of the lowest bits of a latent follow uncoded, by scale index."""
    scale = math.exp(LOG_SMALLEST_SCALE + LOG_SCALE_STEP * index)
    return max(0, math.ceil(math.log2(scale / MAX_TABLED_SCALE)))


def make_tables() -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint16]]:
    """Return the content of the shipped file, which this function was used to make.

    It holds the uncoded bits and the max coded magnitude of every scale, (80,) each, and all counts.
    """
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
    """Return the tables of the shipped file.

    They are the uncoded bits and the max magnitudes by scale, the start of each table by scale and sixteenth, and the
    cumulative counts of all tables.
    """
    data = TABLES_FILE.read_bytes()
    if hashlib.sha256(data).hexdigest() != TABLES_SHA256:
        raise InrcodecError(f"{TABLES_FILE.name} does not match this version of the package: reinstall it")
    with np.load(TABLES_FILE, allow_pickle=False) as file:
        low, half, counts = (file[name].astype(np.int64) for name in ("low", "half", "counts"))
    starts: list[int] = []
    edges: list[int] = []
    position = 0
    for index in range(N_SCALES):
        size = 2 * int(half[index]) + 2
        for _ in range(SIXTEENTHS):
            starts.append(len(edges))
            edges += [0, *np.cumsum(counts[position : position + size]).tolist()]
            position += size
    return low, half, np.array(starts, np.int64), np.array(edges, np.int64)


def check_network(w1: Any, b1: Any, w2: Any, b2: Any, w3: Any, b3: Any) -> None:
    """Check that all sums of a context network of integers (float64) are exact.

    Raises:
        FormatError: the weights are too large.
    """
    for weights, biases, largest, bias_shift in (
        (w1, b1, MAX_LATENT << LATENT_BITS, LATENT_BITS),
        (w2, b2, ACTIVATION_LIMIT, ACTIVATION_BITS),
        (w3, b3, ACTIVATION_LIMIT, ACTIVATION_BITS),
    ):
        skip = float(1 << WEIGHT_BITS) if weights is w2 else 0.0
        sums = (np.abs(weights).sum(1) + skip) * largest + np.abs(biases) * float(1 << bias_shift)
        if not float(sums.max()) < SUM_LIMIT:
            raise FormatError("the weights of a context network are out of range")


class ContextNetwork:
    """A context network of integers, from weights (n, inputs), (n,), (n, n), (n,), (2, n), (2,) in units of 2^-16.

    Attributes:
        arrays: the weights as float64, the first two matrices transposed.

    Raises:
        FormatError: the weights are too large for exact sums.
    """

    def __init__(self, w1: Any, b1: Any, w2: Any, b2: Any, w3: Any, b3: Any) -> None:
        arrays = [np.asarray(array, np.float64) for array in (w1, b1, w2, b2, w3, b3)]
        check_network(*arrays)
        w1, b1, w2, b2, w3, b3 = arrays
        self.arrays = np.ascontiguousarray(w1.T), b1, np.ascontiguousarray(w2.T), b2, w3, b3


def encode_grids(grids: list[NDArray[np.int64]], network: ContextNetwork) -> bytes:
    """Return the message of grids.

    Args:
        grids: arrays (h, w), coarsest first, each twice as large as the one before; magnitudes are below
            ``MAX_LATENT``.
        network: the context network.
    """
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
    """Return the grids of a message, the inverse of ``encode_grids``.

    Args:
        message: the message.
        shapes: shapes of the grids, coarsest first.
        network: the context network.

    Raises:
        FormatError: the message is not that of grids of these shapes.
    """
    if message.endswith(b"\0"):
        raise FormatError("corrupt entropy-coded data: it ends in a zero byte")
    padded = message + bytes(8 - len(message) if len(message) < 8 else -len(message) % 4)
    state, words = np.uint64(int.from_bytes(padded[:8], "little")), np.frombuffer(padded[8:], "<u4").astype(np.uint32)
    if not LOWEST_STATE <= int(state) < LOWEST_STATE << 32:
        raise FormatError("corrupt entropy-coded data: its initial state is out of range")
    position = 0
    grids: list[NDArray[np.int64]] = []
    for number, shape in enumerate(shapes):
        coarser = _interpolated(grids[-1]) if number else np.zeros((1, 1))
        latents = _padded(shape)
        state, position, in_range = pull_grid(
            latents, coarser, number > 0, *network.arrays, *_tables(), words, np.uint64(state), position
        )
        if not in_range:
            raise FormatError("corrupt entropy-coded data: a latent is out of range")
        grids.append(latents[REACH:, REACH:-REACH].astype(np.int64))
    if int(state) != LOWEST_STATE or position < len(words):
        raise FormatError("corrupt entropy-coded data: it is truncated or has trailing bytes")
    return grids


def _padded(shape: tuple[int, ...]) -> NDArray[np.float64]:
    return np.zeros((shape[0] + REACH, shape[1] + 2 * REACH))


def _interpolated(grid: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return a grid interpolated bilinearly to twice its resolution, in sixteenths, with a border of one value."""
    wide = np.pad(grid, 1, mode="edge")
    rows = np.empty((2 * grid.shape[0], wide.shape[1]), np.int64)
    rows[0::2], rows[1::2] = 3 * wide[1:-1] + wide[:-2], 3 * wide[1:-1] + wide[2:]
    out = np.empty((rows.shape[0], 2 * grid.shape[1]), np.int64)
    out[:, 0::2], out[:, 1::2] = 3 * rows[:, 1:-1] + rows[:, :-2], 3 * rows[:, 1:-1] + rows[:, 2:]
    return np.pad(out, 1, mode="edge").astype(np.float64)
