"""How fine a grid a smooth signal is described on: its own, or one of half, a quarter .. of the points along each axis.

The latents of a smooth field sit badly on its own grid: at a low rate even the coarsest ones are too many, at a high
one they must say everything to a precision that no network of convolutions over them keeps. On a coarser grid the same
field looks like what priors have learned from, and the decoder interpolates (``signals.resample``). Coarse
values are those from which interpolation comes nearest to the field.

The choice is made by trial: up to three signals coded without trial steps on every grid, and compared on their own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from inrcodec.codecs.base import Rate, Source
from inrcodec.codecs.hierarchical.batches import OwnedBatch, make_batches
from inrcodec.codecs.hierarchical.config import coarser_shape
from inrcodec.codecs.hierarchical.effort import hierarchical_effort_named
from inrcodec.codecs.hierarchical.encoder import CodedLatents, LatentEncoder
from inrcodec.codecs.hierarchical.exact import log_lambda_of, quality_of
from inrcodec.codecs.hierarchical.parameters import MAX_HALVINGS
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
from inrcodec.codecs.hierarchical.rate_search import search_quality
from inrcodec.codecs.hierarchical.render import render
from inrcodec.codecs.planes import PlaneMap

FloatArray = NDArray[np.float32]

MIN_POINTS = 6
"""Along the shorter axis of the coarsest grid that is tried."""
TRIAL_SOURCES = 3
OVERRUN = 1.03
"""A grid on which a trial takes more than this times the wanted bits is out."""


def choose_halvings(prior: HierarchicalPrior, sources: Sequence[Source], rate: Rate, usual: float) -> int:
    """How often the grid is halved for a rate; ``usual``: log(lambda) where the rate says nothing."""
    points = sum(source.header.n_points for source in sources)
    some = sources[:: -(-len(sources) // TRIAL_SOURCES)]
    share = sum(source.header.n_points for source in some) / points
    shape = PlaneMap.make(some[0].header, prior).shape
    best, best_cost = 0, math.inf
    for halvings in range(MAX_HALVINGS + 1):
        if halvings and min(coarser_shape(shape, halvings)) < MIN_POINTS:
            break
        cost = _trial(prior, some, rate, share, usual, halvings)
        if cost < best_cost:
            best, best_cost = halvings, cost
    return best


def grid_log_lambda(prior: HierarchicalPrior, log_lambda: float, halvings: int) -> float:
    """Log(lambda) on a coarser grid whose points stand for many: bits and squared errors weigh as on the own grid."""
    return log_lambda + halvings * prior.axes * math.log(2.0)


def _trial(
    prior: HierarchicalPrior, sources: Sequence[Source], rate: Rate, share: float, usual: float, halvings: int
) -> float:
    """Cost of a grid: summed squared error where bits are given, else bits + lambda * squared error."""
    encoder = LatentEncoder(prior, hierarchical_effort_named("fast"))
    batches = make_batches(sources, prior, 1.0, halvings)
    if rate.bits is not None:
        quality, coded = search_quality(encoder, [owned.batch for owned in batches], rate.bits * share)
        spent = sum(8 * len(message) for group in coded for message in group.messages)
        return math.inf if spent > OVERRUN * rate.bits * share else _error(prior, sources, batches, coded, quality)
    log_lambda = usual if rate.beta is None else -math.log(rate.beta)
    quality = quality_of(prior.config, grid_log_lambda(prior, log_lambda, halvings))
    coded = [encoder.code(owned.batch, quality) for owned in batches]
    spent = sum(8 * len(message) for group in coded for message in group.messages)
    return spent + math.exp(log_lambda) * _error(prior, sources, batches, coded, quality)


@torch.no_grad()
def _error(
    prior: HierarchicalPrior,
    sources: Sequence[Source],
    batches: Sequence[OwnedBatch],
    coded: Sequence[CodedLatents],
    quality: int,
) -> float:
    """Summed squared error of decodes on the planes' own grids."""
    maps = [PlaneMap.make(source.header, prior) for source in sources]
    left = [list(planes.to_planes(source.values)) for planes, source in zip(maps, sources, strict=True)]
    rate = prior.model.rates(torch.full((1,), log_lambda_of(prior.config, quality)))
    total = 0.0
    for owned, found in zip(batches, coded, strict=True):
        assert found.features is not None
        for (owner, _), own in zip(owned.owners, found.features, strict=True):
            plane = left[owner].pop(0)
            decoded = render(prior.model, own[None], rate, owned.batch.extent, plane.shape[:-1])
            total += float(np.square(decoded - plane, dtype=np.float64).mean(axis=-1).sum())
    return total
