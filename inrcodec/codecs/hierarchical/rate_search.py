"""Find the quality at which signals take a target number of bits.

Log(bits) is nearly linear in log(lambda). A first guess comes from the rounded proposals of *pilots*: a few of many
signals, or crops of a large one, which the proposals of the whole then scale. After the trial steps the coded length is
known, and the quality moves along the measured slope, with more trial steps there, until the length is within the
tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from inrcodec.codecs.hierarchical.config import HierarchicalConfig
from inrcodec.codecs.hierarchical.encoder import CodedLatents, LatentEncoder, Search, SearchRequest
from inrcodec.codecs.hierarchical.exact import log_lambda_of, max_quality, quality_of
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
from inrcodec.codecs.hierarchical.refinement import Batch

TOLERANCE = 0.015
"""The search ends at a length that is below the target by at most this fraction of it."""
MAX_TRIES, MAX_REFINED, PILOT_TRIES = 7, 3, 2
"""Qualities at which all signals are coded, how many of these are refined first, and qualities tried on the pilots."""
GUESSES, GUESS_TOLERANCE = 2, 0.02
"""Qualities tried on the proposals of the pilots, and the relative error at which guessing ends."""
PILOTS = 4
"""About this many batches of many serve as pilots."""
CROP_POINTS = 1 << 12
"""Points of a crop that serves as a pilot."""
MAX_CROPS = 16
"""Crops of one large signal."""
TYPICAL_SLOPE = 0.6
"""The slope d log(bits) / d log(lambda) if nothing else is known."""
SLOPE_STEP = 0.1
"""The slope is measured between log(lambda) at least this far apart, because rounding makes bits jump by a percent."""


class _BitsCurve:
    """The bits measured at qualities, and the quality that they predict for a target number of bits.

    Attributes:
        bits: the target.
        default_slope: slope to use with fewer than two measurements.
        measured: quality to bits, in the order of measurement.
    """

    def __init__(self, config: HierarchicalConfig, bits: float, slope: float = TYPICAL_SLOPE) -> None:
        self.config, self.bits, self.default_slope = config, bits, slope
        self.measured: dict[int, float] = {}

    def add(self, quality: int, bits: float) -> None:
        self.measured.pop(quality, None)
        self.measured[quality] = max(bits, 1.0)

    def next_quality(self) -> int:
        """Return the quality at which the line through the last measurement meets the target."""
        quality, bits = list(self.measured.items())[-1]
        log_lambda = log_lambda_of(self.config, quality) + math.log(self.bits / bits) / self.slope
        return quality_of(self.config, log_lambda)

    @property
    def slope(self) -> float:
        """d log(bits) / d log(lambda) between the last measurement and the latest one that is not too near."""
        *earlier, (quality, bits) = self.measured.items()
        for other, other_bits in reversed(earlier):
            step = log_lambda_of(self.config, quality) - log_lambda_of(self.config, other)
            if abs(step) >= SLOPE_STEP:
                return min(max(math.log(bits / other_bits) / step, 0.15), 1.5)
        return self.default_slope


def search_quality(encoder: LatentEncoder, batches: Sequence[Batch], bits: float) -> tuple[int, list[CodedLatents]]:
    """Return the quality at which the batches together take at most ``bits`` and come nearest to it.

    If the target is outside the prior's range, or finer than whole bytes allow, the nearest quality is returned.

    Returns:
        The quality, and every batch coded at it.
    """
    return encoder.run(quality_search(encoder, batches, bits))


def quality_search(
    encoder: LatentEncoder, batches: Sequence[Batch], bits: float
) -> Search[tuple[int, list[CodedLatents]]]:
    """Run ``search_quality`` as a generator of requests, so that several searches can run side by side."""
    config = encoder.prior.config
    pilots = _pilots(config, batches)
    share = sum(len(b.values) * b.points for b in pilots) / sum(len(b.values) * b.points for b in batches)
    points = batches[0].points
    ratio = encoder.effort.proposal_ratio(encoder.prior, points)
    typical = _typical_quality(encoder.prior, bits / sum(len(batch.values) * batch.points for batch in batches))
    guess = yield from _guess(config, pilots, bits * share * ratio, typical)
    quality = guess.next_quality()
    if share < 1.0 and len(pilots) == len(batches):
        # Proposals for all of a large signal show how it differs from its crops, and take less time than coding it.
        proposed: float = sum((yield [SearchRequest("propose", batch, quality) for batch in batches]))
        guess.bits *= bits * (1.0 - TOLERANCE / 2) * ratio / proposed
        quality = guess.next_quality()
        guess.add(quality, sum((yield [SearchRequest("propose", batch, quality) for batch in pilots])))
        quality = guess.next_quality()
    slope = guess.slope
    _, trials = encoder.effort.steps_for(encoder.prior, points)
    if trials and len(pilots) < len(batches):
        curve = _BitsCurve(config, bits * share, slope)
        for _ in range(PILOT_TRIES):
            yield [SearchRequest("refine", batch, quality) for batch in pilots]
            coded = yield [SearchRequest("code", batch, quality) for batch in pilots]
            curve.add(quality, sum(_coded_bits(latents.messages) for latents in coded))
            quality = curve.next_quality()
    curve = _BitsCurve(config, bits * (1.0 - TOLERANCE / 2), slope)
    best, best_miss = None, (True, math.inf)
    for attempt in range(MAX_TRIES):
        if attempt < MAX_REFINED:
            yield [SearchRequest("refine", batch, quality) for batch in batches]
        coded = yield [SearchRequest("code", batch, quality) for batch in batches]
        coded_bits = sum(_coded_bits(latents.messages) for latents in coded)
        curve.add(quality, coded_bits)
        miss = coded_bits > bits, abs(math.log(max(coded_bits, 1.0) / bits))
        if best is None or miss < best_miss:
            best, best_miss = (quality, coded), miss
        if 1.0 - TOLERANCE <= coded_bits / bits <= 1.0:
            break
        candidate = curve.next_quality()
        if candidate in curve.measured:
            candidate = quality + (1 if coded_bits < bits else -1)
        if candidate in curve.measured or not 0 <= candidate <= max_quality(config):
            break
        quality = candidate
    assert best is not None
    return best


def _coded_bits(messages: Sequence[bytes]) -> float:
    return 8.0 * sum(len(message) for message in messages)


def _pilots(config: HierarchicalConfig, batches: Sequence[Batch]) -> list[Batch]:
    """Return a few of the batches, or crops of large ones (whose refinement is discarded)."""
    chosen = list(batches[:: max(1, len(batches) // PILOTS)])
    return [_crops(config, batch) if batch.points > MAX_CROPS * CROP_POINTS else batch for batch in chosen]


def _crops(config: HierarchicalConfig, batch: Batch) -> Batch:
    """Return crops on a regular grid over large signals, as one batch."""
    height, width = batch.values.shape[2:]
    if config.axes == 1:
        tall, wide, down, across = 1, CROP_POINTS // config.coarsest * config.coarsest, 1, MAX_CROPS
    else:
        side = max(1, math.isqrt(CROP_POINTS) // config.coarsest) * config.coarsest
        down = across = math.isqrt(MAX_CROPS)
        tall, wide = min(side, height), min(side, width)
    tops = [round(i * (height - tall) / max(1, down - 1)) for i in range(down)]
    lefts = [round(i * (width - wide) / max(1, across - 1)) for i in range(across)]
    crops = [batch.values[:, :, t : t + tall, x : x + wide] for t in tops for x in lefts]
    return Batch(torch.cat(crops).contiguous(memory_format=torch.channels_last), None, tall * wide, batch.extent)


def _typical_quality(prior: HierarchicalPrior, bits_per_point: float) -> int:
    """Return the quality at which held-out signals took this rate, by the card of the prior; else the middle."""
    config = prior.config
    results = sorted((r["bits_per_point"], -math.log(r["beta"])) for r in prior.card.get("results", []))
    if not results:
        return max_quality(config) // 2
    log_rates = [math.log(max(rate, 1e-9)) for rate, _ in results]
    return quality_of(config, float(np.interp(math.log(bits_per_point), log_rates, [place for _, place in results])))


def _guess(config: HierarchicalConfig, pilots: Sequence[Batch], bits: float, quality: int) -> Search[_BitsCurve]:
    """Measure the bits of the pilots' rounded proposals at qualities that lead to ``bits``, starting from one."""
    curve = _BitsCurve(config, bits)
    for _ in range(GUESSES):
        proposed = sum((yield [SearchRequest("propose", batch, quality) for batch in pilots]))
        curve.add(quality, proposed)
        quality = curve.next_quality()
        if quality in curve.measured or abs(proposed / bits - 1.0) < GUESS_TOLERANCE:
            break
    return curve
