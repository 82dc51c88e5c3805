"""Encode signals with hierarchical latents: choose a grid, refine posteriors, code latents and head weights.

The steps are requests to a ``LatentEncoder``, so that the encodings of many signals can run side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from inrcodec.codecs.base import PSNR, Coded, EncodeOptions, Rate, Source
from inrcodec.codecs.hierarchical.batches import OwnedBatch, make_batches
from inrcodec.codecs.hierarchical.coarse_grid import choose_halvings, grid_log_lambda
from inrcodec.codecs.hierarchical.config import default_log_lambda
from inrcodec.codecs.hierarchical.effort import HIERARCHICAL_EFFORTS
from inrcodec.codecs.hierarchical.encoder import CodedLatents, LatentEncoder, Search, SearchRequest
from inrcodec.codecs.hierarchical.exact import log_lambda_of, max_quality, quality_of
from inrcodec.codecs.hierarchical.head_weights import HeadProblem, fit_weights, send_weights
from inrcodec.codecs.hierarchical.latent_coders import CODERS
from inrcodec.codecs.hierarchical.parameters import Parameters, has_halvings, write_parameters
from inrcodec.codecs.hierarchical.rate_search import TOLERANCE, quality_search
from inrcodec.codecs.hierarchical.refinement import Batch
from inrcodec.codecs.loudness import gain_of
from inrcodec.codecs.messages import join_messages
from inrcodec.errors import UsageError

if TYPE_CHECKING:
    from inrcodec.codecs.hierarchical.codec import HierarchicalCodec

MIN_POINTS_FOR_WEIGHTS = 1 << 15
"""In a smaller signal, head weights never pay for their bits."""
GRID_KEPT = 2.5
"""A chosen grid is kept while log(beta) changes by less than this."""


class HierarchicalEncoding:
    """Signals being encoded; a rate close to an earlier one starts from the posteriors found for that one.

    Attributes:
        codec: the codec.
        sources: the signals.
        encoder: does the work.
        level: gain of audio, in quarters of an octave.
        halvings: how often the grid is halved.
    """

    def __init__(self, codec: HierarchicalCodec, sources: Sequence[Source], options: EncodeOptions) -> None:
        effort = HIERARCHICAL_EFFORTS[options.effort]
        if options.optimise != PSNR and (codec.prior.kind != "image" or effort.steps == 0):
            raise UsageError(
                f"optimising {options.optimise} needs an image and refinement steps: use effort default or best"
            )
        self.codec, self.sources = codec, sources
        self.encoder = LatentEncoder(
            codec.prior,
            effort,
            options.coder or CODERS[0],
            options.progress,
            options.optimise,
            keep_features=effort.weight_steps > 0,
        )
        self.level = codec.level_of(sources)
        self.halvings = 0
        self._grid_beta: float | None = None
        self._batches: dict[int, list[OwnedBatch]] = {}

    def at(self, rate: Rate) -> Coded:
        """See ``Encoding.at``."""
        return self.encoder.run(self.search(rate))

    def search(self, rate: Rate) -> Search[Coded]:
        """Run ``at`` as a generator of requests, so that several encodings can run side by side."""
        prior, config = self.codec.prior, self.codec.prior.config
        default = default_log_lambda(config)
        if has_halvings(self.codec.prior):
            self._choose_grid(rate, default)
        if rate.bits is None:
            log_lambda = default
            if rate.beta is not None:
                log_lambda = 2.0 * math.log(gain_of(self.level)) - math.log(rate.beta)
            quality = quality_of(config, grid_log_lambda(prior, log_lambda, self.halvings))
            yield [SearchRequest("refine", owned.batch, quality) for owned in self.batches]
            coded = yield [SearchRequest("code", owned.batch, quality) for owned in self.batches]
            exhausted = log_lambda > config.log_lambdas[1]
        else:
            quality, coded = yield from quality_search(self.encoder, [o.batch for o in self.batches], rate.bits)
            spent = 8 * sum(len(message) for group in coded for message in group.messages)
            exhausted = quality == max_quality(config) and spent < (1.0 - TOLERANCE) * rate.bits
        heads = [self._weights(owned.batch, c, quality) for owned, c in zip(self.batches, coded, strict=True)]
        has_weights = any(message for batch_heads in heads for message in batch_heads)
        tiles_by_source: list[dict[int, list[bytes]]] = [{} for _ in self.sources]
        for owned, batch_heads, latents in zip(self.batches, heads, coded, strict=True):
            for (owner, place), head, message in zip(owned.owners, batch_heads, latents.messages, strict=True):
                tiles_by_source[owner][place] = [head, message] if has_weights else [message]
        parameters = Parameters(quality, self.encoder.coder, has_weights, self.level, self.halvings)
        bodies = [join_messages([m for place in sorted(tiles) for m in tiles[place]]) for tiles in tiles_by_source]
        return Coded(write_parameters(self.codec.prior, parameters), bodies, exhausted=exhausted)

    def _choose_grid(self, rate: Rate, default: float) -> None:
        """Choose the grid, unless beta is near the one that the present grid was chosen for.

        Keeping the grid lets a search over beta see a smooth curve.
        """
        if (
            rate.beta is not None
            and self._grid_beta is not None
            and abs(math.log(rate.beta / self._grid_beta)) < GRID_KEPT
        ):
            return
        self.halvings = choose_halvings(self.codec.prior, self.sources, rate, default)
        self._grid_beta = rate.beta

    @property
    def batches(self) -> list[OwnedBatch]:
        """Return all planes on the chosen grid."""
        if self.halvings not in self._batches:
            batches = make_batches(self.sources, self.codec.prior, gain_of(self.level), self.halvings)
            self._batches[self.halvings] = batches
        return self._batches[self.halvings]

    def _weights(self, batch: Batch, coded: CodedLatents, quality: int) -> list[bytes]:
        """Return the messages of the head weights of a batch's planes, empty where the prior mean is used."""
        steps, prior = self.encoder.effort.weight_steps, self.codec.prior
        if prior.config.patch or coded.features is None or batch.points < MIN_POINTS_FOR_WEIGHTS:
            return [b""] * len(batch.values)
        log_lambda = log_lambda_of(prior.config, quality)
        out = []
        with torch.no_grad():
            features = prior.model.features(coded.features, prior.model.rates(torch.full((1,), log_lambda)))
        for number, values in enumerate(batch.values):
            problem = HeadProblem.make(
                prior.model, features[number : number + 1], values[None], batch.fourier(prior.config), batch.mask
            )
            mean, scale = fit_weights(prior, problem, math.exp(log_lambda), steps)
            out.append(send_weights(prior, problem, math.exp(log_lambda), mean, scale) or b"")
        return out


def encode_each(
    codec: HierarchicalCodec, sources: Sequence[Source], options: EncodeOptions, rates: Sequence[Rate]
) -> list[Coded]:
    """Encode each signal for its own file; small signals of one shape go through the networks together."""
    encodings = [HierarchicalEncoding(codec, [source], options) for source in sources]
    searches = [encoding.search(rate) for encoding, rate in zip(encodings, rates, strict=True)]
    return encodings[0].encoder.run_all(searches)
