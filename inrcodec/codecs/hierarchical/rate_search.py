"""The quality at which signals take a wanted number of bits.

Log(bits) is nearly a line over log(lambda). A first guess comes from rounded proposals of a part of the signals
(*pilots*: some of many, crops of large ones); after the trial steps the coded length is known, and the quality is moved
along the known slope, with more trial steps there, until it fits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from inrcodec.codecs.hierarchical.config import HierarchicalConfig
from inrcodec.codecs.hierarchical.encoder import CodedLatents, LatentEncoder, Search, SearchRequest
from inrcodec.codecs.hierarchical.exact import log_lambda_of, max_quality, quality_of
from inrcodec.codecs.hierarchical.refinement import Batch

TOLERANCE = 0.015
MAX_TRIES, MAX_REFINED, PILOT_TRIES = 7, 3, 2
GUESSES, GUESS_TOLERANCE, WHOLE_GUESSES = 3, 0.02, 2
PILOTS = 4
CROP_POINTS = 1 << 12
MAX_CROPS = 16
TYPICAL_SLOPE = 0.6
"""d log(bits) / d log(lambda) where nothing else is known."""


class _Track:
    """Bits seen at qualities, and the quality that they lead to."""

    def __init__(self, config: HierarchicalConfig, bits: float, slope: float = TYPICAL_SLOPE) -> None:
        self.config, self.bits, self.usual = config, bits, slope
        self.seen: dict[int, float] = {}

    def add(self, quality: int, found: float) -> None:
        self.seen.pop(quality, None)
        self.seen[quality] = max(found, 1.0)

    def following(self) -> int:
        """Where the line through the two last sights (of the usual slope when there is one) meets the wanted bits."""
        quality, found = list(self.seen.items())[-1]
        log_lambda = log_lambda_of(self.config, quality) + math.log(self.bits / found) / self.slope
        return quality_of(self.config, log_lambda)

    @property
    def slope(self) -> float:
        """d log(bits) / d log(lambda) by the two last sights."""
        if len(self.seen) < 2:
            return self.usual
        (q0, b0), (q1, b1) = list(self.seen.items())[-2:]
        step = log_lambda_of(self.config, q1) - log_lambda_of(self.config, q0)
        return min(max(math.log(b1 / b0) / step, 0.15), 1.5)


def search_quality(encoder: LatentEncoder, batches: Sequence[Batch], bits: float) -> tuple[int, list[CodedLatents]]:
    """Quality, and every batch coded at it, together nearest below ``bits``.

    Out of the prior's range, or of the fineness of whole bytes, the nearest.
    """
    return encoder.run(quality_search(encoder, batches, bits))


def quality_search(
    encoder: LatentEncoder, batches: Sequence[Batch], bits: float
) -> Search[tuple[int, list[CodedLatents]]]:
    """``search_quality`` as a dialogue: asks for what ``encoder`` is to do with the batches."""
    config = encoder.prior.config
    pilots = _pilots(config, batches)
    share = sum(len(b.values) * b.points for b in pilots) / sum(len(b.values) * b.points for b in batches)
    kind, points = encoder.prior.kind, batches[0].points
    saved = encoder.effort.saved(kind, points)
    guess = yield from _guess(config, pilots, bits * share * saved)
    quality, slope = guess.following(), guess.slope
    if share < 1.0 and len(pilots) == len(batches):
        # Proposals for all of a large signal take less than half of the time that coding it takes.
        track = _Track(config, bits * (1.0 - TOLERANCE / 2) * saved, 0.5 * (slope + TYPICAL_SLOPE))
        for _ in range(WHOLE_GUESSES):
            proposed: float = sum((yield [SearchRequest("propose", batch, quality) for batch in batches]))
            track.add(quality, proposed)
            quality, slope = track.following(), track.slope
            if abs(proposed / track.bits - 1.0) < GUESS_TOLERANCE:
                break
    _, trials = encoder.effort.steps_for(kind, points)
    if trials and len(pilots) < len(batches):
        track = _Track(config, bits * share, slope)
        for _ in range(PILOT_TRIES):
            yield [SearchRequest("refine", batch, quality) for batch in pilots]
            coded = yield [SearchRequest("code", batch, quality) for batch in pilots]
            track.add(quality, sum(_coded_bits(found.messages) for found in coded))
            quality = track.following()
    track = _Track(config, bits * (1.0 - TOLERANCE / 2), slope)
    best, best_miss = None, (True, math.inf)
    for attempt in range(MAX_TRIES):
        if attempt < MAX_REFINED:
            yield [SearchRequest("refine", batch, quality) for batch in batches]
        coded = yield [SearchRequest("code", batch, quality) for batch in batches]
        found = sum(_coded_bits(c.messages) for c in coded)
        track.add(quality, found)
        miss = found > bits, abs(math.log(max(found, 1.0) / bits))
        if best is None or miss < best_miss:
            best, best_miss = (quality, coded), miss
        if 1.0 - TOLERANCE <= found / bits <= 1.0:
            break
        following = track.following()
        if following in track.seen:
            following = quality + (1 if found < bits else -1)
        if following in track.seen or not 0 <= following <= max_quality(config):
            break
        quality = following
    assert best is not None
    return best


def _coded_bits(messages: Sequence[bytes]) -> float:
    return 8.0 * sum(len(message) for message in messages)


def _pilots(config: HierarchicalConfig, batches: Sequence[Batch]) -> list[Batch]:
    """Some of the batches, or crops of large ones (whose refinement is thrown away)."""
    chosen = list(batches[:: max(1, len(batches) // PILOTS)])
    return [_crops(config, batch) if batch.points > MAX_CROPS * CROP_POINTS else batch for batch in chosen]


def _crops(config: HierarchicalConfig, batch: Batch) -> Batch:
    """Crops on a regular grid over large signals."""
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


def _guess(config: HierarchicalConfig, pilots: Sequence[Batch], bits: float) -> Search[_Track]:
    """What the proposals, rounded, take at qualities that lead to ``bits``."""
    track = _Track(config, bits)
    quality = max_quality(config) // 2
    for _ in range(GUESSES):
        found = sum((yield [SearchRequest("propose", batch, quality) for batch in pilots]))
        track.add(quality, found)
        quality = track.following()
        if quality in track.seen or abs(found / bits - 1.0) < GUESS_TOLERANCE:
            break
    return track
