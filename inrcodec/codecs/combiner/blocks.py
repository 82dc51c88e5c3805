"""Which latents travel together: the blocks of one signal, from integers that sender and receiver share.

The latents of N patches with D dimensions are cut into blocks, each sent as one index of ``budget_bits`` bits. For
every class of patches the dimensions are dealt into blocks of about equal mean KL (``Prior.kl_units``), the largest
first, each to the block that has least so far; dimensions that carry next to nothing on average are pruned: both sides
take the prior's mean. Dimension d of a block comes from another patch for every d (a permutation by shared seed), so
that busy and quiet patches of a class mix and sums over blocks concentrate.

All arithmetic is on integers: every machine cuts alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inrcodec.codecs.combiner.prior import KL_UNITS_PER_BIT
from inrcodec.coding.randomness import permutations

PRUNE_UNITS = KL_UNITS_PER_BIT // 50
"""Dimensions with less mean KL than a fiftieth of a bit are not sent."""

PERMUTATION_SEED = 0x9E3779B9

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class BlockPlan:
    """Blocks of one signal.

    ``patch`` and ``dim`` (B, W): which latent fills each slot; ``patch`` is -1 in slots that stay empty. ``position``
    (B,): rank of a block among those of its patch class, and ``count`` (B,) how many ranks there are: blocks with equal
    position / count belong to the same round.
    """

    patch: IntArray
    dim: IntArray
    position: IntArray
    count: IntArray

    @property
    def n_blocks(self) -> int:
        """B."""
        return len(self.patch)

    def slots(self, n_dims: int) -> tuple[IntArray, IntArray]:
        """Flat latent index ``patch * n_dims + dim`` of all filled slots, and the block of each."""
        block, slot = np.nonzero(self.patch >= 0)
        return self.patch[block, slot] * n_dims + self.dim[block, slot], block


def deal_dimensions(kl_units: IntArray, target_units: int) -> list[IntArray]:
    """Deal dimensions into blocks of about ``target_units`` of mean KL each.

    ``kl_units`` (D,). Returns one array of dimensions per block, most informative first inside a block. The number of
    blocks is total / target, rounded, but no more than there are dimensions; each dimension, the largest first,
    goes to the emptiest block.
    """
    order = np.argsort(-kl_units, kind="stable")
    order = order[kl_units[order] >= PRUNE_UNITS]
    total = int(kl_units[order].sum())
    n_blocks = min((2 * total + target_units) // (2 * target_units), len(order))
    if n_blocks <= 0:
        return []
    load = np.zeros(n_blocks, np.int64)
    blocks: list[list[int]] = [[] for _ in range(n_blocks)]
    for dimension in order.tolist():
        emptiest = int(load.argmin())
        blocks[emptiest].append(dimension)
        load[emptiest] += kl_units[dimension]
    return [np.array(block, np.int64) for block in blocks]


def plan_blocks(kl_units: IntArray, classes: IntArray, target_units: int) -> BlockPlan:
    """Blocks of a signal whose patches have the given classes.

    ``kl_units`` (K, D) of the signal's anchor, ``classes`` (N,) in [0, K), ``target_units`` mean KL per block.
    """
    parts: list[tuple[IntArray, IntArray, IntArray, IntArray]] = []
    for c in np.unique(classes).tolist():
        members = np.flatnonzero(classes == c)
        layout = deal_dimensions(kl_units[c], target_units)
        if not layout:
            continue
        width = max(len(block) for block in layout)
        dims = np.full((len(layout), width), -1, np.int64)
        for row, block in enumerate(layout):
            dims[row, : len(block)] = block
        mixed = permutations(PERMUTATION_SEED, np.arange(kl_units.shape[1]) + c * kl_units.shape[1], len(members))
        patch = np.where(dims[:, None, :] >= 0, members[mixed[dims.clip(0)]].transpose(0, 2, 1), -1)
        shape = (len(layout) * len(members), width)
        dim = np.broadcast_to(dims[:, None, :], patch.shape)
        position = np.repeat(np.arange(len(layout)), len(members))
        parts.append((patch.reshape(shape), dim.reshape(shape), position, np.full(shape[0], len(layout), np.int64)))
    if not parts:
        empty = np.zeros((0, 1), np.int64)
        return BlockPlan(empty, empty, np.zeros(0, np.int64), np.ones(0, np.int64))
    widest = max(part[0].shape[1] for part in parts)
    pad = [((0, 0), (0, widest - part[0].shape[1])) for part in parts]
    return BlockPlan(
        np.concatenate([np.pad(part[0], p, constant_values=-1) for part, p in zip(parts, pad, strict=True)]),
        np.concatenate([np.pad(part[1], p, constant_values=-1) for part, p in zip(parts, pad, strict=True)]),
        np.concatenate([part[2] for part in parts]),
        np.concatenate([part[3] for part in parts]),
    )


def count_blocks(kl_units: IntArray, classes: IntArray, target_units: int) -> int:
    """Number of blocks of ``plan_blocks`` without making them."""
    present, members = np.unique(classes, return_counts=True)
    per_patch = [len(deal_dimensions(kl_units[c], target_units)) for c in present.tolist()]
    return int(np.dot(per_patch, members))
