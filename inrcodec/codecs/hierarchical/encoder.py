"""Find and code the posteriors of hierarchical latents: proposed by the encoder network, refined, rounded, coded.

    values -> bottom-up network -> [offsets to the proposals: from an adapted encoder or from refinement]
    -> top-down path in integers, block by block: prior -> proposal + offset -> symbols -> latents -> next block
    -> message

At every latent block the network sees the features of what is already coded and makes a new proposal, so finer levels
compensate for the rounding of coarser ones.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from inrcodec.codecs.base import MS_SSIM, PSNR, Progress
from inrcodec.codecs.hierarchical.adaptation import adapted, offsets_to
from inrcodec.codecs.hierarchical.checkerboard import take_color
from inrcodec.codecs.hierarchical.config import block_phase
from inrcodec.codecs.hierarchical.effort import HierarchicalEffort
from inrcodec.codecs.hierarchical.elbo import latents_and_bits, rounded
from inrcodec.codecs.hierarchical.exact import log_lambda_of, place_latents, to_floats
from inrcodec.codecs.hierarchical.latent_coders import CODERS, check_coder, make_writer
from inrcodec.codecs.hierarchical.model import HierarchicalINR
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
from inrcodec.codecs.hierarchical.refinement import Batch, joined, refine
from inrcodec.codecs.hierarchical.top_down import top_down
from inrcodec.nn.exact import ACTIVATION_BITS, scale_indices
from inrcodec.signals.ms_ssim import structure_errors

UNIT = float(1 << ACTIVATION_BITS)
"""The integer features of the top-down path are in units of 1 / UNIT."""
POINTS_AT_ONCE = 1 << 16
"""Points of small signals that go through the networks together; more do not fit the processor's cache."""
KEPT_POINTS, KEPT_QUALITIES = 1 << 20, 20
"""The bottom-up features of a signal of at most this many points are reused at qualities that are at most this far
away."""
STRUCTURE_STEPS = 2
"""Times as many trial steps for another measure than PSNR."""
ADAPTED_KEPT, ADAPTED_QUALITIES = 24, 128
"""The number of adapted encoders that are kept, and how far from the quality of their adaptation they are reused."""


@dataclass
class CodedLatents:
    """The coded latents of the signals of a batch.

    Attributes:
        messages: one message per signal.
        features: the features (N, C, H', W') that the receiver will decode; None if they were not requested.
    """

    messages: list[bytes]
    features: Tensor | None

    def __getitem__(self, rows: slice) -> CodedLatents:
        """Return the coded latents of a slice of the batch."""
        return CodedLatents(self.messages[rows], None if self.features is None else self.features[rows])


@dataclass(frozen=True, eq=False)
class SearchRequest:
    """An operation on a batch at a quality, which a search asks for.

    Attributes:
        what: "propose" (answered with the bits of the rounded proposals), "refine" (answered with None) or "code"
            (answered with ``CodedLatents``).
        batch: the signals.
        quality: the quality, see ``exact``.
    """

    what: str
    batch: Batch
    quality: int


Result = TypeVar("Result")
Search = Generator[list[SearchRequest], list[Any], Result]
"""An encoding as a generator: it yields requests, is sent the answers, and returns its result.

The encodings of many signals can thus run side by side, each as if it were alone."""


class LatentEncoder:
    """Encodes batches under one prior.

    Attributes:
        prior: the prior.
        effort: the effort preset.
        coder: how latents are sent, one of ``CODERS``.
        progress: called with the number of gradient steps done.
        errors: replaces the squared error, if the encoding optimises another metric.
        keep_features: whether ``code`` returns the decoder's features.
    """

    def __init__(
        self,
        prior: HierarchicalPrior,
        effort: HierarchicalEffort,
        coder: str = CODERS[0],
        progress: Progress = lambda steps: None,
        optimise: str = PSNR,
        keep_features: bool = True,
    ) -> None:
        check_coder(coder)
        self.prior, self.effort, self.coder, self.progress = prior, effort, coder, progress
        self.errors = structure_errors if optimise == MS_SSIM else None
        self.keep_features = keep_features
        self._kept: tuple[Batch, int, list[Tensor]] | None = None
        self._adapted: list[tuple[Batch, int, HierarchicalINR]] = []

    def refine(self, batch: Batch, quality: int) -> None:
        """Find offsets to the proposals for a batch, continuing from an earlier call at nearly the same quality."""
        self._refine([batch], [quality])

    def _refine(self, batches: Sequence[Batch], qualities: Sequence[int]) -> None:
        adapting, trials = self.effort.steps_for(self.prior, batches[0].points)
        if adapting:
            for batch, quality in zip(batches, qualities, strict=True):
                self._adapt(batch, quality, adapting)
            return
        # The encoder network was trained for squared error, so another metric has more to gain from trial steps.
        trials *= 1 if self.errors is None else STRUCTURE_STEPS
        refine(self.prior, batches, qualities, trials, self.progress, self.errors)

    def _adapt(self, batch: Batch, quality: int, steps: int) -> None:
        """Set the offsets to the proposals of an encoder that was adapted to the batch at nearly this quality.

        An adapted encoder that is no longer kept is learned again at the same quality, so that the result does not
        depend on the other batches.
        """
        if batch.refined_at == quality:
            return
        model, config = self.prior.model, self.prior.config
        if batch.adapted_at is None or abs(batch.adapted_at - quality) > ADAPTED_QUALITIES:
            batch.adapted_at = quality
        kept = (
            kept_model
            for kept_batch, kept_quality, kept_model in self._adapted
            if kept_batch is batch and kept_quality == batch.adapted_at
        )
        adapted_model = next(kept, None)
        if adapted_model is None:
            log_lambda = log_lambda_of(config, batch.adapted_at)
            adapted_model = adapted(model, batch, log_lambda, steps, self.progress, self.errors)
            others = [entry for entry in self._adapted if entry[0] is not batch]
            self._adapted = [*others, (batch, batch.adapted_at, adapted_model)][-ADAPTED_KEPT:]
        batch.offsets = offsets_to(model, adapted_model, batch, log_lambda_of(config, quality))
        batch.refined_at = quality

    def run(self, search: Search[Result]) -> Result:
        """Return the result of one search."""
        return self.run_all([search])[0]

    def run_all(self, searches: Sequence[Search[Result]]) -> list[Result]:
        """Return the results of searches run side by side, which is several times faster for small signals."""
        results: dict[int, Result] = {}
        answers: dict[int, Any] = dict.fromkeys(range(len(searches)))
        while answers:
            pending: dict[int, list[SearchRequest]] = {}
            for number, answer in answers.items():
                try:
                    pending[number] = searches[number].send(answer)
                except StopIteration as end:
                    results[number] = end.value
            flat = iter(self.answer([request for requests in pending.values() for request in requests]))
            answers = {number: [next(flat) for _ in requests] for number, requests in pending.items()}
        return [results[number] for number in range(len(searches))]

    def answer(self, requests: Sequence[SearchRequest]) -> list[Any]:
        """Return the answers in the order of the requests.

        Small batches of one shape go through the networks together.
        """
        answers: list[Any] = [None] * len(requests)
        for members in _groups(requests):
            group = [requests[i] for i in members]
            batches = [request.batch for request in group]
            if group[0].what == "refine":
                self._refine(batches, [request.quality for request in group])
                continue
            edges = np.cumsum([0, *(len(batch.values) for batch in batches)]).tolist()
            if group[0].what == "code":
                rows: Any = self.code(joined(batches), group[0].quality)
            else:
                rows = self._proposed_bits(joined(batches), [r.quality for r in group for _ in r.batch.values])
            for i, start, stop in zip(members, edges, edges[1:], strict=False):
                answers[i] = rows[start:stop]
        return [float(a.sum()) if r.what == "propose" else a for a, r in zip(answers, requests, strict=True)]

    @torch.no_grad()
    def _proposed_bits(self, batch: Batch, qualities: Sequence[int]) -> Tensor:
        """Return the bits (N,) of the rounded proposals of every row of a batch."""
        config = self.prior.config
        log_lambda = torch.tensor([log_lambda_of(config, quality) for quality in qualities])
        features = self._bottom_up_features(batch, qualities[0], self.prior.model.rates(log_lambda))
        _, maps = latents_and_bits(self.prior.model, batch.values, log_lambda, rounded, bottom_up_features=features)
        return torch.stack([bits.flatten(1).sum(1) for bits in maps], dim=1).sum(1)

    def _bottom_up_features(self, batch: Batch, quality: int, rate: Tensor) -> list[Tensor]:
        """Return the bottom-up features of a batch.

        Those of a single signal too large to share a batch are kept: proposals hardly change with the quality that the
        features were computed at.
        """
        if self._kept is not None and self._kept[0] is batch and abs(self._kept[1] - quality) <= KEPT_QUALITIES:
            return list(self._kept[2])
        self._kept, features = None, self.prior.model.bottom_up(batch.values, rate)
        if len(batch.values) == 1 and POINTS_AT_ONCE < math.prod(batch.values.shape[2:]) <= KEPT_POINTS:
            self._kept = batch, quality, list(features)
        return features

    @torch.no_grad()
    def code(self, batch: Batch, quality: int) -> CodedLatents:
        """Choose and code all latents, coarse to fine, with the arithmetic of the receiver."""
        model, config = self.prior.model, self.prior.config
        layers = self.prior.layers(quality)
        count, _, height, width = batch.values.shape
        rate = model.rates(torch.full((1,), log_lambda_of(config, quality)))
        from_below = self._bottom_up_features(batch, quality, rate)
        writers = [make_writer(self.coder) for _ in range(count)]

        def choose(name: str, h: Tensor, prior: Tensor) -> Tensor:
            scales = scale_indices(prior.chunk(2, dim=1)[1])
            proposed = model.propose(name, h, prior, from_below, rate, 1.0 / UNIT) / model.steps(name, rate)
            if batch.offsets:
                proposed = proposed + take_color(batch.offsets[name], block_phase(config, name))
            residuals, indices = proposed.flatten(1).numpy(), scales.flatten(1).numpy()
            sent = [writer.send(*signal) for writer, *signal in zip(writers, residuals, indices, strict=True)]
            return place_latents(layers, name, prior, torch.from_numpy(np.stack(sent)).view(proposed.shape))

        rows = height if config.axes == 1 else height // config.coarsest
        h = top_down(layers, count, rows, width // config.coarsest, choose)
        from_below.clear()  # frees memory before the features are converted
        return CodedLatents([writer.to_bytes() for writer in writers], to_floats(h) if self.keep_features else None)


def _groups(requests: Sequence[SearchRequest]) -> list[list[int]]:
    """Return the indices of requests that can be answered together: one operation, one shape, few points in total."""
    open_groups: dict[Hashable, list[int]] = {}
    groups: list[list[int]] = []
    for number, request in enumerate(requests):
        batch = request.batch
        # Integer layers have a single quality; the floating-point network takes one for every row.
        key = (
            request.what,
            request.quality if request.what == "code" else None,
            batch.values.shape[1:],
            batch.points,
            batch.extent,
            batch.origin,
            batch.mask is None,
            bool(batch.offsets),
        )
        points = math.prod(batch.values.shape[2:])
        group = open_groups.get(key)
        if group is None or points * (1 + sum(len(requests[i].batch.values) for i in group)) > POINTS_AT_ONCE:
            group = open_groups[key] = []
            groups.append(group)
        group.append(number)
    return groups
