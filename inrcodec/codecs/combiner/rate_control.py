"""Turn a requested rate (beta or bits) into an operating point of the prior.

The prior has anchors, each trained at one beta. Between anchors the number of blocks is adjusted: all blocks have K
bits, so a lower target of mean KL divergence per block makes more blocks. Blocks are counted in exact integers before
anything is sent, so a target size is met without trial encodings.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from inrcodec.codecs.combiner.bitstream import TARGET_STEPS_PER_BIT, OperatingPoint
from inrcodec.codecs.combiner.blocks import count_blocks
from inrcodec.codecs.combiner.effort import CombinerEffort
from inrcodec.codecs.combiner.prior import KL_UNITS_PER_BIT, CombinerPrior
from inrcodec.errors import UsageError

MIN_TARGET, MAX_TARGET = TARGET_STEPS_PER_BIT, 64 * TARGET_STEPS_PER_BIT
"""Range of ``OperatingPoint.target``: 1 to 64 bits."""
LOG_BETA_RANGE = (-40.0, 10.0)
"""Range of log(beta) that a requested rate may lead to."""

STRETCH = 1.35
"""If the mean KL divergence of a block differs from K by more than this factor, another anchor is a better choice."""


def bits_at_beta(prior: CombinerPrior, beta: float) -> float:
    """Return the expected bits per patch at a beta.

    They are interpolated log-log between the anchors, and extrapolated beyond them.
    """
    return float(
        np.exp(_interpolate(np.log(beta), np.log(prior.betas.numpy()[::-1]), np.log(_anchor_bits(prior)[::-1])))
    )


def beta_at_bits(prior: CombinerPrior, bits_per_patch: float) -> float:
    """Return the beta at which a patch is expected to take ``bits_per_patch`` bits, the inverse of ``bits_at_beta``."""
    x = _interpolate(math.log(max(bits_per_patch, 1e-3)), np.log(_anchor_bits(prior)), np.log(prior.betas.numpy()))
    return float(np.exp(np.clip(x, *LOG_BETA_RANGE)))


def _anchor_bits(prior: CombinerPrior) -> NDArray[np.float64]:
    """Return the bits of the anchors, raised where needed so that each is at least 1.1 times the one before.

    The anchors of a badly trained prior may not increase by themselves.
    """
    bits = np.maximum(prior.anchor_kl_bits, 1e-3)
    for i in range(1, len(bits)):
        bits[i] = max(bits[i], 1.1 * bits[i - 1])
    return bits


def _interpolate(x: float, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> float:
    if len(xs) == 1:
        return float(ys[0] - (x - xs[0]))
    i = int(np.clip(np.searchsorted(xs, x) - 1, 0, len(xs) - 2))
    return float(ys[i] + (x - xs[i]) * (ys[i + 1] - ys[i]) / (xs[i + 1] - xs[i]))


def nearest_anchor(prior: CombinerPrior, beta: float) -> int:
    """Return the anchor whose beta is nearest to ``beta``, by ratio."""
    return int(np.abs(np.log(prior.betas.numpy()) - math.log(beta)).argmin())


def point_for_beta(prior: CombinerPrior, effort: CombinerEffort, beta: float) -> OperatingPoint:
    """Return the operating point for a beta.

    Raises:
        UsageError: ``beta`` is not positive and finite.
    """
    if not (math.isfinite(beta) and beta > 0):
        raise UsageError(f"beta must be a positive number, got {beta}")
    anchor = nearest_anchor(prior, beta)
    stretch = prior.anchor_kl_bits[anchor] / bits_at_beta(prior, beta)
    return OperatingPoint(anchor, beta, _clip(effort.budget_bits * stretch * TARGET_STEPS_PER_BIT))


def point_for_bits(prior: CombinerPrior, effort: CombinerEffort, bits_per_patch: float) -> OperatingPoint:
    """Return a first guess of the operating point for a number of bits, before the patches' classes are known."""
    return point_for_beta(prior, effort, beta_at_bits(prior, bits_per_patch))


def target_for_blocks(prior: CombinerPrior, anchor: int, classes: NDArray[np.int64], max_blocks: int) -> int:
    """Return the target (``OperatingPoint.target``) that makes the most blocks up to ``max_blocks``."""
    low, high = MIN_TARGET, MAX_TARGET

    def n_blocks(target: int) -> int:
        return count_blocks(prior.kl_units[anchor], classes, target * KL_UNITS_PER_BIT // TARGET_STEPS_PER_BIT)

    while low < high:
        middle = (low + high) // 2
        if n_blocks(middle) <= max_blocks:
            high = middle
        else:
            low = middle + 1
    return low


def better_anchor(prior: CombinerPrior, effort: CombinerEffort, anchor: int, target: int) -> int:
    """Return the neighbouring anchor if the target differs from K by more than ``STRETCH``, else the same anchor."""
    stretch = target / (effort.budget_bits * TARGET_STEPS_PER_BIT)
    if stretch > STRETCH and anchor > 0:
        return anchor - 1
    if stretch < 1.0 / STRETCH and anchor + 1 < prior.n_anchors:
        return anchor + 1
    return anchor


def _clip(target: float) -> int:
    return int(np.clip(round(target), MIN_TARGET, MAX_TARGET))
