"""Relative entropy coding of blocks: the encoder picks one of 2^K shared candidates and sends its index in K bits.

A block is a Gaussian posterior q in prior units, with mean m and scale s, under the prior p = N(0, I). All blocks share
the rows of one table of standard normal candidates (``coding.randomness``); signs of its own give every block different
candidates. For the candidates x of a block,

    log q(x) - log p(x) = sum_d a_d x_d^2 + b_d x_d + const,    a = 1/2 - 1/(2 s^2),  b = m / s^2,

so that the log ratios of all candidates for many blocks are one matrix product [x^2, x] @ [a; b].

The selection decides which candidate the encoder picks; the decoder does not need to know it:

- ``ratio``, the default: the maximum log ratio. With a fixed budget, noise would not help the decoder.
- ``astar``: depth-limited A* coding (Flamich et al., arXiv:2201.12857). Each log ratio gets the falling Gumbel noise of
  a Poisson process; the maximum of the first 2^K arrivals wins. ``coding.astar`` is the exact form, with an index of
  unbounded length.
- ``nearest``: the maximum of log q.

Shapes: B blocks, W slots per block; an empty slot has m = 0, s = 1 and contributes nothing.
"""

from __future__ import annotations

import enum
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec.coding.randomness import candidate_rows, candidate_table, signs
from inrcodec.errors import LimitError, UsageError
from inrcodec.limits import DEFAULT_LIMITS

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

CHUNK_ROWS = 1 << 12
CHUNK_BLOCKS = 1 << 10


class Selection(enum.StrEnum):
    """Names the rule by which the encoder picks a candidate; see the module docstring."""

    RATIO = "ratio"
    ASTAR = "astar"
    NEAREST = "nearest"


@lru_cache(maxsize=64)
def _table_chunk(seed: int, width: int, start: int, stop: int) -> Tensor:
    """Return [x^2, x] of the candidate rows from ``start`` to ``stop``, (rows, 2 W)."""
    rows = candidate_rows(seed, width, np.arange(start, stop)) if start else candidate_table(seed, width, stop)
    x = torch.from_numpy(rows)
    return torch.cat([x.square(), x], dim=1)


def coefficients(mean: FloatArray, scale: FloatArray, sign: FloatArray, selection: Selection) -> Tensor:
    """Return [a; b] of every block, (2 W, B), in float32.

    Args:
        mean: (B, W) in prior units.
        scale: (B, W) in prior units.
        sign: (B, W), the signs of the blocks.
        selection: ``nearest`` leaves out the quadratic term of the prior.
    """
    precision = 1.0 / np.square(scale, dtype=np.float64)
    a = -0.5 * precision if selection is Selection.NEAREST else 0.5 - 0.5 * precision
    b = mean * precision * sign
    if selection is Selection.NEAREST:
        a = np.where((mean == 0) & (scale == 1), 0.0, a)
    return torch.from_numpy(np.concatenate([a, b], axis=1).T.astype(np.float32))


def encode_blocks(
    mean: FloatArray,
    scale: FloatArray,
    *,
    budget_bits: int,
    seed: int,
    block_ids: IntArray,
    selection: Selection | str = Selection.RATIO,
    noise: torch.Generator | None = None,
) -> IntArray:
    """Return the index of the chosen candidate of every block, (B,), in [0, 2^budget_bits).

    Args:
        mean: (B, W) in prior units.
        scale: (B, W) in prior units.
        budget_bits: the bits of an index.
        seed: the seed of the shared candidates and signs.
        block_ids: (B,), select the signs.
        selection: the rule by which a candidate is picked.
        noise: the encoder's private generator, which only ``astar`` needs.

    Raises:
        LimitError: the budget exceeds ``Limits.max_budget_bits``.
        UsageError: ``astar`` gets no generator.
    """
    selection = Selection(selection)
    check_budget(budget_bits)
    if selection is Selection.ASTAR and noise is None:
        raise UsageError("selection astar draws private noise: pass a generator as noise=")
    n_blocks, width = mean.shape
    chosen = np.zeros(n_blocks, np.int64)
    if budget_bits == 0 or width == 0:
        return chosen
    sign = signs(seed, block_ids, width)
    for start in range(0, n_blocks, CHUNK_BLOCKS):
        chunk = slice(start, start + CHUNK_BLOCKS)
        weights = coefficients(mean[chunk], scale[chunk], sign[chunk], selection)
        chosen[chunk] = _best_candidates(weights, 1 << budget_bits, seed, selection, noise)
    return chosen


def _best_candidates(
    weights: Tensor, n_candidates: int, seed: int, selection: Selection, noise: torch.Generator | None
) -> IntArray:
    n_blocks = weights.shape[1]
    best = torch.full((n_blocks,), -torch.inf)
    index = torch.zeros(n_blocks, dtype=torch.int64)
    arrival = torch.zeros(n_blocks, dtype=torch.float64)
    for start in range(0, n_candidates, CHUNK_ROWS):
        stop = min(start + CHUNK_ROWS, n_candidates)
        score = _table_chunk(seed, weights.shape[0] // 2, start, stop) @ weights
        if selection is Selection.ASTAR:
            # For the arrival times of a Poisson process, -log is a falling sequence of Gumbel variables.
            waits = torch.empty(score.shape, dtype=torch.float64).exponential_(generator=noise)
            times = waits.cumsum_(dim=0).add_(arrival)
            arrival = times[-1].clone()
            score = score.double().sub_(times.log_()).float()
        value, row = score.max(dim=0)
        better = value > best
        best = torch.where(better, value, best)
        index = torch.where(better, row + start, index)
    return index.numpy()


def decode_blocks(indices: IntArray, *, budget_bits: int, width: int, seed: int, block_ids: IntArray) -> FloatArray:
    """Return the chosen candidates in prior units, (B, width) in float32; zeros when the budget is 0.

    Only the rows that the indices (B,) name are computed.

    Raises:
        LimitError: the budget exceeds ``Limits.max_budget_bits``.
    """
    check_budget(budget_bits)
    if budget_bits == 0:
        return np.zeros((len(indices), width), np.float32)
    return candidate_rows(seed, width, indices) * signs(seed, block_ids, width)


def check_budget(budget_bits: int) -> None:
    """Check that the budget of a block is 0 to ``Limits.max_budget_bits`` bits.

    Raises:
        LimitError: it is not.
    """
    max_bits = DEFAULT_LIMITS.max_budget_bits
    if not 0 <= budget_bits <= max_bits:
        raise LimitError(f"the budget of a block must be 0 to {max_bits} bits, got {budget_bits}")
