"""Choose the grid on which a smooth field is encoded: its native grid, or one with 1/2, 1/4, ... of the points along
each axis.

The native grid can be a bad fit for a smooth field: at low rates even the coarsest latents are too many, and at high
rates they would need a precision that the convolutions over them cannot keep. On a coarser grid the same field looks
like the prior's training data, and the decoder interpolates (``signals.resample``). The coarse values are those whose
interpolation comes nearest to the field.

The grid is chosen by trial: up to three signals are encoded on every grid without refinement, decoded, and compared on
the native grid.
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
from inrcodec.codecs.hierarchical.effort import HIERARCHICAL_EFFORTS
from inrcodec.codecs.hierarchical.encoder import CodedLatents, LatentEncoder
from inrcodec.codecs.hierarchical.exact import log_lambda_of, quality_of
from inrcodec.codecs.hierarchical.parameters import MAX_HALVINGS
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
from inrcodec.codecs.hierarchical.rate_search import search_quality
from inrcodec.codecs.hierarchical.render import render
from inrcodec.codecs.planes import PlaneMap

FloatArray = NDArray[np.float32]

MIN_POINTS = 6
"""The coarsest grid that is tried has at least this many points along its shorter axis."""
TRIAL_SOURCES = 3
"""At most this many signals are encoded in a trial."""
OVERRUN = 1.03
"""A grid is ruled out if a trial on it takes more than this times the target bits."""


def choose_halvings(prior: HierarchicalPrior, sources: Sequence[Source], rate: Rate, default_log_lambda: float) -> int:
    """Return how often to halve the grid.

    Args:
        prior: the prior.
        sources: the signals, all encoded on the same grid.
        rate: the requested rate.
        default_log_lambda: log(lambda) to use if the rate gives neither bits nor beta.
    """
    points = sum(source.header.n_points for source in sources)
    trial_sources = sources[:: -(-len(sources) // TRIAL_SOURCES)]
    share = sum(source.header.n_points for source in trial_sources) / points
    shape = PlaneMap.make(trial_sources[0].header, prior).shape
    best, best_cost = 0, math.inf
    for halvings in range(MAX_HALVINGS + 1):
        if halvings and min(coarser_shape(shape, halvings)) < MIN_POINTS:
            break
        cost = _trial_cost(prior, trial_sources, rate, share, default_log_lambda, halvings)
        if cost < best_cost:
            best, best_cost = halvings, cost
    return best


def grid_log_lambda(prior: HierarchicalPrior, log_lambda: float, halvings: int) -> float:
    """Return the log(lambda) on a coarser grid that weighs bits against squared error as on the native grid.

    A point of a grid halved h times along A axes stands for 2^(h A) native points.
    """
    return log_lambda + halvings * prior.axes * math.log(2.0)


def _trial_cost(
    prior: HierarchicalPrior,
    sources: Sequence[Source],
    rate: Rate,
    share: float,
    default_log_lambda: float,
    halvings: int,
) -> float:
    """Return the cost of a grid: summed squared error if bits are requested, else bits + lambda * squared error."""
    encoder = LatentEncoder(prior, HIERARCHICAL_EFFORTS["fast"])
    batches = make_batches(sources, prior, 1.0, halvings)
    if rate.bits is not None:
        quality, coded = search_quality(encoder, [owned.batch for owned in batches], rate.bits * share)
        spent = sum(8 * len(message) for group in coded for message in group.messages)
        return math.inf if spent > OVERRUN * rate.bits * share else _error(prior, sources, batches, coded, quality)
    log_lambda = default_log_lambda if rate.beta is None else -math.log(rate.beta)
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
    """Return the summed squared error of the decoded planes on their native grids."""
    maps = [PlaneMap.make(source.header, prior) for source in sources]
    remaining = [list(planes.to_planes(source.values)) for planes, source in zip(maps, sources, strict=True)]
    rate = prior.model.rates(torch.full((1,), log_lambda_of(prior.config, quality)))
    total = 0.0
    for owned, latents in zip(batches, coded, strict=True):
        assert latents.features is not None
        for (owner, _), features in zip(owned.owners, latents.features, strict=True):
            plane = remaining[owner].pop(0)
            decoded = render(prior.model, features[None], rate, owned.batch.extent, plane.shape[:-1])
            total += float(np.square(decoded - plane, dtype=np.float64).mean(axis=-1).sum())
    return total
