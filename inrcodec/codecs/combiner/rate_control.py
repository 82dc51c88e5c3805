"""From what the caller asks (beta, bits, PSNR) to an operating point of the prior.

The prior has anchors, each trained at one beta. Between them the number of blocks is stretched: with every block
holding K bits, asking for blocks of less mean KL makes more of them. Blocks are counted in integers before anything is
sent, so a wanted size is met without trial.
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
LOG_BETA_RANGE = (-40.0, 10.0)
"""Betas that a wanted rate may lead to, as logarithms."""

STRETCH = 1.35
"""How far a block's mean KL may be from K before another anchor is the better choice."""


def bits_at_beta(prior: CombinerPrior, beta: float) -> float:
    """Expected bits per patch at a beta: log-log interpolation between the anchors, straight on beyond them."""
    return float(np.exp(_line(np.log(beta), np.log(prior.betas.numpy()[::-1]), np.log(_anchor_bits(prior)[::-1]))))


def beta_at_bits(prior: CombinerPrior, bits_per_patch: float) -> float:
    """Inverse of ``bits_at_beta``."""
    x = _line(math.log(max(bits_per_patch, 1e-3)), np.log(_anchor_bits(prior)), np.log(prior.betas.numpy()))
    return float(np.exp(np.clip(x, *LOG_BETA_RANGE)))


def _anchor_bits(prior: CombinerPrior) -> NDArray[np.float64]:
    """Bits of the anchors, made to rise by at least a tenth from one to the next: badly trained ones may not."""
    bits = np.maximum(prior.anchor_kl_bits, 1e-3)
    for i in range(1, len(bits)):
        bits[i] = max(bits[i], 1.1 * bits[i - 1])
    return bits


def _line(x: float, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> float:
    if len(xs) == 1:
        return float(ys[0] - (x - xs[0]))
    i = int(np.clip(np.searchsorted(xs, x) - 1, 0, len(xs) - 2))
    return float(ys[i] + (x - xs[i]) * (ys[i + 1] - ys[i]) / (xs[i + 1] - xs[i]))


def nearest_anchor(prior: CombinerPrior, beta: float) -> int:
    """The anchor whose beta is nearest in ratio."""
    return int(np.abs(np.log(prior.betas.numpy()) - math.log(beta)).argmin())


def point_for_beta(prior: CombinerPrior, effort: CombinerEffort, beta: float) -> OperatingPoint:
    """Operating point for a beta; UsageError unless it is positive and finite."""
    if not (math.isfinite(beta) and beta > 0):
        raise UsageError(f"beta must be a positive number, got {beta}")
    anchor = nearest_anchor(prior, beta)
    stretch = prior.anchor_kl_bits[anchor] / bits_at_beta(prior, beta)
    return OperatingPoint(anchor, beta, _clip(effort.budget_bits * stretch * TARGET_STEPS_PER_BIT))


def point_for_bits(prior: CombinerPrior, effort: CombinerEffort, bits_per_patch: float) -> OperatingPoint:
    """First guess for a wanted number of bits, before the classes of the patches are known."""
    return point_for_beta(prior, effort, beta_at_bits(prior, bits_per_patch))


def target_for_blocks(prior: CombinerPrior, anchor: int, classes: NDArray[np.int64], wanted: int) -> int:
    """The block target that makes at most ``wanted`` blocks, as close to it as can be."""
    low, high = MIN_TARGET, MAX_TARGET

    def blocks(target: int) -> int:
        return count_blocks(prior.kl_units[anchor], classes, target * KL_UNITS_PER_BIT // TARGET_STEPS_PER_BIT)

    while low < high:
        middle = (low + high) // 2
        if blocks(middle) <= wanted:
            high = middle
        else:
            low = middle + 1
    return low


def better_anchor(prior: CombinerPrior, effort: CombinerEffort, anchor: int, target: int) -> int:
    """The anchor to try instead when the target is stretched too far from K; the same anchor when it is fine."""
    stretch = target / (effort.budget_bits * TARGET_STEPS_PER_BIT)
    if stretch > STRETCH and anchor > 0:
        return anchor - 1
    if stretch < 1.0 / STRETCH and anchor + 1 < prior.n_anchors:
        return anchor + 1
    return anchor


def _clip(target: float) -> int:
    return int(np.clip(round(target), MIN_TARGET, MAX_TARGET))
