"""Posteriors of hierarchical latents for given signals: proposed by the encoder network, refined, rounded, coded.

    values -> way up -> [offsets to the proposals: by an encoder adapted to the signal, by trial steps]
    -> way down in integers, block by block: prior -> proposal + offset -> symbols -> latents -> next block -> message

At every latent block the network sees the features of what is already fixed and proposes anew, so that finer levels
follow the coarser ones wherever rounding has taken them.
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
from inrcodec.codecs.hierarchical.model import HierarchicalINR, top_down
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
from inrcodec.codecs.hierarchical.refinement import Batch, joined, refine
from inrcodec.nn.exact import ACTIVATION_BITS, scale_indices
from inrcodec.signals.ms_ssim import structure_errors

UNIT = float(1 << ACTIVATION_BITS)
POINTS_AT_ONCE = 1 << 16
"""Points of small signals that go through the encoder together: what the cache likes."""
KEPT_POINTS, KEPT_QUALITIES = 1 << 20, 20
"""What the way up finds in a signal of at most so many points is kept for qualities that are this near."""
STRUCTURE_STEPS = 2
"""Times as many trial steps for another measure than PSNR."""
ADAPTED_KEPT, ADAPTED_QUALITIES = 24, 128
"""How many adapted encoders are kept, and how far from the quality that they learned at they are of use."""


@dataclass
class CodedLatents:
    """Messages of the signals of a batch and the features (N, C, H', W') that the receiver will have, None where they
    are not wanted."""

    messages: list[bytes]
    features: Tensor | None

    def __getitem__(self, rows: slice) -> CodedLatents:
        return CodedLatents(self.messages[rows], None if self.features is None else self.features[rows])


@dataclass(frozen=True, eq=False)
class SearchRequest:
    """Something to be done with a batch at a quality. ``what``: "propose" (answered by the bits of its rounded
    proposals), "refine" (by nothing) or "code" (by ``CodedLatents``)."""

    what: str
    batch: Batch
    quality: int


Found = TypeVar("Found")
Search = Generator[list[SearchRequest], list[Any], Found]
"""An encoding as a dialogue: it asks for what it needs done next, is sent the answers, and returns what it found. So
the encodings of many signals can be done side by side, each as if it were alone."""


class LatentEncoder:
    """Encodes batches under one prior."""

    def __init__(
        self,
        prior: HierarchicalPrior,
        effort: HierarchicalEffort,
        coder: str = CODERS[0],
        tick: Progress = lambda steps: None,
        optimise: str = PSNR,
        keep_features: bool = True,
    ) -> None:
        check_coder(coder)
        self.prior, self.effort, self.coder, self.tick = prior, effort, coder, tick
        self.errors = structure_errors if optimise == MS_SSIM else None
        self.keep_features = keep_features
        self._kept: tuple[Batch, int, list[Tensor]] | None = None
        self._adapted: list[tuple[Batch, int, HierarchicalINR]] = []

    def refine(self, batch: Batch, quality: int) -> None:
        """Offsets to the proposals for a batch; an earlier call at about this quality is gone on from."""
        self._refine([batch], [quality])

    def _refine(self, batches: Sequence[Batch], qualities: Sequence[int]) -> None:
        adapting, trials = self.effort.steps_for(self.prior.kind, batches[0].points)
        if adapting:
            for batch, quality in zip(batches, qualities, strict=True):
                self._adapt(batch, quality, adapting)
            return
        # Proposals are made for squared errors: there is more to be gained for another measure.
        trials *= 1 if self.errors is None else STRUCTURE_STEPS
        refine(self.prior, batches, qualities, trials, self.tick, self.errors)

    def _adapt(self, batch: Batch, quality: int, steps: int) -> None:
        """Offsets to the proposals of an encoder that has learned from the batch at about a quality.

        What is no longer kept is learned again, at the same quality, so that others beside it change nothing."""
        if batch.refined_at == quality:
            return
        model, config = self.prior.model, self.prior.config
        if batch.adapted_at is None or abs(batch.adapted_at - quality) > ADAPTED_QUALITIES:
            batch.adapted_at = quality
        known = next((own for one, at, own in self._adapted if one is batch and at == batch.adapted_at), None)
        if known is None:
            at = log_lambda_of(config, batch.adapted_at)
            known = adapted(model, batch, at, steps, self.tick, self.errors)
            others = [one for one in self._adapted if one[0] is not batch]
            self._adapted = [*others, (batch, batch.adapted_at, known)][-ADAPTED_KEPT:]
        batch.offsets = offsets_to(model, known, batch, log_lambda_of(config, quality))
        batch.refined_at = quality

    def run(self, search: Search[Found]) -> Found:
        """What one search finds."""
        return self.run_all([search])[0]

    def run_all(self, searches: Sequence[Search[Found]]) -> list[Found]:
        """What searches find, whose requests are answered together: for small signals several times faster."""
        found: dict[int, Found] = {}
        answers: dict[int, Any] = dict.fromkeys(range(len(searches)))
        while answers:
            asked: dict[int, list[SearchRequest]] = {}
            for number, answer in answers.items():
                try:
                    asked[number] = searches[number].send(answer)
                except StopIteration as end:
                    found[number] = end.value
            given = iter(self.answer([request for requests in asked.values() for request in requests]))
            answers = {number: [next(given) for _ in requests] for number, requests in asked.items()}
        return [found[number] for number in range(len(searches))]

    def answer(self, requests: Sequence[SearchRequest]) -> list[Any]:
        """Answers in the order of the requests; small batches of one shape go through the networks together."""
        out: list[Any] = [None] * len(requests)
        for members in _alike(requests):
            some = [requests[i] for i in members]
            batches = [request.batch for request in some]
            if some[0].what == "refine":
                self._refine(batches, [request.quality for request in some])
                continue
            rows = np.cumsum([0, *(len(batch.values) for batch in batches)]).tolist()
            if some[0].what == "code":
                whole: Any = self.code(joined(batches), some[0].quality)
            else:
                whole = self._proposed_bits(joined(batches), [r.quality for r in some for _ in r.batch.values])
            for i, start, stop in zip(members, rows, rows[1:], strict=False):
                out[i] = whole[start:stop]
        return [float(a.sum()) if r.what == "propose" else a for a, r in zip(out, requests, strict=True)]

    @torch.no_grad()
    def _proposed_bits(self, batch: Batch, qualities: Sequence[int]) -> Tensor:
        """Bits of the proposals, rounded, of every row, (N,)."""
        config = self.prior.config
        log_lambda = torch.tensor([log_lambda_of(config, quality) for quality in qualities])
        risen = self._risen(batch, qualities[0], self.prior.model.rates(log_lambda))
        _, maps = latents_and_bits(self.prior.model, batch.values, log_lambda, rounded, risen=risen)
        return torch.stack([bits.flatten(1).sum(1) for bits in maps], dim=1).sum(1)

    def _risen(self, batch: Batch, quality: int, rate: Tensor) -> list[Tensor]:
        """The way up. Of one signal that never goes through the networks with others it is kept: proposals hardly
        change with the quality that it was made at."""
        if self._kept is not None and self._kept[0] is batch and abs(self._kept[1] - quality) <= KEPT_QUALITIES:
            return list(self._kept[2])
        self._kept, found = None, self.prior.model.bottom_up(batch.values, rate)
        if len(batch.values) == 1 and POINTS_AT_ONCE < math.prod(batch.values.shape[2:]) <= KEPT_POINTS:
            self._kept = batch, quality, list(found)
        return found

    @torch.no_grad()
    def code(self, batch: Batch, quality: int) -> CodedLatents:
        """Choose and code all latents, coarse to fine, with the receiver's own arithmetic."""
        model, config = self.prior.model, self.prior.config
        layers = self.prior.layers(quality)
        count, _, height, width = batch.values.shape
        rate = model.rates(torch.full((1,), log_lambda_of(config, quality)))
        risen = self._risen(batch, quality, rate)
        writers = [make_writer(self.coder) for _ in range(count)]

        def choose(name: str, h: Tensor, prior: Tensor) -> Tensor:
            scales = scale_indices(prior.chunk(2, dim=1)[1])
            proposed = model.propose(name, h, risen, rate, 1.0 / UNIT) / model.steps(name, rate)
            if batch.offsets:
                proposed = proposed + take_color(batch.offsets[name], block_phase(config, name))
            flat, contexts = proposed.flatten(1).numpy(), scales.flatten(1).numpy()
            sent = [w.send(values, context) for w, values, context in zip(writers, flat, contexts, strict=True)]
            return place_latents(layers, name, prior, torch.from_numpy(np.stack(sent)).view(proposed.shape))

        rows = height if config.axes == 1 else height // config.coarsest
        h = top_down(layers, count, rows, width // config.coarsest, choose)
        risen.clear()
        return CodedLatents([writer.to_bytes() for writer in writers], to_floats(h) if self.keep_features else None)


def _alike(requests: Sequence[SearchRequest]) -> list[list[int]]:
    """Numbers of requests that can be answered as one: the same thing done to the same shape, few points in all."""
    open_groups: dict[Hashable, list[int]] = {}
    groups: list[list[int]] = []
    for number, request in enumerate(requests):
        batch = request.batch
        # Integer layers are those of one quality; the floating-point side takes a quality for every row.
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
