"""Divide the latents of a signal into blocks, from integers that sender and receiver share.

The latents of N patches with D dimensions are divided into blocks, each sent as one index of ``budget_bits`` bits. For
every class of patches, the dimensions are dealt into blocks of about equal mean KL divergence
(``CombinerPrior.kl_units``): the largest first, each to the block with the smallest sum so far. Dimensions that carry
almost nothing on average are pruned: both sides use the prior mean. Each dimension of a block comes from a different
patch (by a permutation from a shared seed), so that busy and quiet patches of a class mix and the sums over blocks
vary less.

All arithmetic is on integers, so every machine computes the same division.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inrcodec.codecs.combiner.prior import KL_UNITS_PER_BIT
from inrcodec.coding.randomness import permutations

PRUNE_UNITS = KL_UNITS_PER_BIT // 50
"""Dimensions with a mean KL divergence of less than 1/50 bit are not sent."""

PERMUTATION_SEED = 0x9E3779B9
"""Seed of the permutations of patches; part of the file format."""

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class BlockPlan:
    """The blocks of one signal.

    Attributes:
        patch: patch (B, W) of the latent in each slot; -1 in empty slots.
        dim: dimension (B, W) of the latent in each slot.
        position: rank (B,) of a block among those of its patch class.
        count: number of ranks (B,) of the class. Blocks of equal position / count are sent in the same round.
    """

    patch: IntArray
    dim: IntArray
    position: IntArray
    count: IntArray

    @property
    def n_blocks(self) -> int:
        """Return the number B of blocks."""
        return len(self.patch)

    def slots(self, n_dims: int) -> tuple[IntArray, IntArray]:
        """Return the flat latent index ``patch * n_dims + dim`` of all filled slots, and the block of each."""
        block, slot = np.nonzero(self.patch >= 0)
        return self.patch[block, slot] * n_dims + self.dim[block, slot], block


def deal_dimensions(kl_units: IntArray, target_units: int) -> list[IntArray]:
    """Deal dimensions into blocks of about ``target_units`` of mean KL divergence each.

    The number of blocks is total / target, rounded, but at most the number of dimensions. Each dimension, the largest
    first, goes to the block with the smallest sum.

    Args:
        kl_units: mean KL divergence (D,) of each dimension, in units of ``1 / KL_UNITS_PER_BIT`` bit.
        target_units: the target of a block, in the same units.

    Returns:
        One array of dimensions per block, most informative first.
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
    """Return the blocks of a signal.

    Args:
        kl_units: mean KL divergence (K, D) of each dimension under each of the K classes, at the signal's anchor.
        classes: class (N,) of each patch, in [0, K).
        target_units: mean KL divergence of a block, in the same units.
    """
    plans: list[BlockPlan] = []
    for c in np.unique(classes).tolist():
        members = np.flatnonzero(classes == c)
        layout = deal_dimensions(kl_units[c], target_units)
        if not layout:
            continue
        width = max(len(block) for block in layout)
        dims = np.full((len(layout), width), -1, np.int64)
        for row, block in enumerate(layout):
            dims[row, : len(block)] = block
        order = permutations(PERMUTATION_SEED, np.arange(kl_units.shape[1]) + c * kl_units.shape[1], len(members))
        patch = np.where(dims[:, None, :] >= 0, members[order[dims.clip(0)]].transpose(0, 2, 1), -1)
        shape = (len(layout) * len(members), width)
        dim = np.broadcast_to(dims[:, None, :], patch.shape)
        position = np.repeat(np.arange(len(layout)), len(members))
        count = np.full(shape[0], len(layout), np.int64)
        plans.append(BlockPlan(patch.reshape(shape), dim.reshape(shape), position, count))
    if not plans:
        empty = np.zeros((0, 1), np.int64)
        return BlockPlan(empty, empty, np.zeros(0, np.int64), np.ones(0, np.int64))
    widest = max(plan.patch.shape[1] for plan in plans)
    padding = [((0, 0), (0, widest - plan.patch.shape[1])) for plan in plans]
    return BlockPlan(
        np.concatenate([np.pad(plan.patch, p, constant_values=-1) for plan, p in zip(plans, padding, strict=True)]),
        np.concatenate([np.pad(plan.dim, p, constant_values=-1) for plan, p in zip(plans, padding, strict=True)]),
        np.concatenate([plan.position for plan in plans]),
        np.concatenate([plan.count for plan in plans]),
    )


def count_blocks(kl_units: IntArray, classes: IntArray, target_units: int) -> int:
    """Return the number of blocks of ``plan_blocks`` without building them."""
    present, members = np.unique(classes, return_counts=True)
    per_patch = [len(deal_dimensions(kl_units[c], target_units)) for c in present.tolist()]
    return int(np.dot(per_patch, members))
