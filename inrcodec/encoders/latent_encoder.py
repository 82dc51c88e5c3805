"""Posteriors of hierarchical latents for given signals: proposed by the encoder network, refined, rounded, coded.

    values -> way up -> [gradient steps on offsets to the proposals] -> way down in integers, block by block:
    prior -> proposal + offset -> symbols -> latents -> next block                                   -> message

At every latent block the network sees the features of what is already fixed and proposes anew, so that finer levels
follow the coarser ones wherever rounding has taken them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from inrcodec.encoders.latent_refinement import Batch, Ticker, refine
from inrcodec.maths.exact_network import ACTIVATION_BITS
from inrcodec.maths.ms_ssim import structure_errors
from inrcodec.methods.latent_coders import CODERS, check_coder, make_writer
from inrcodec.models.chequered import pick
from inrcodec.models.exact_hierarchy import log_lambda_of, place_latents, scale_indices, to_floats
from inrcodec.models.hierarchy import walk_down
from inrcodec.models.hierarchy_prior import HierarchyPrior
from inrcodec.models.hierarchy_shape import block_phase

UNIT = float(1 << ACTIVATION_BITS)
SMALL_POINTS = 1 << 14
MEASURES = ("psnr", "ms-ssim")
"""What trial steps can raise at equal bits."""


@dataclass(frozen=True)
class LatentEffort:
    """``steps``: trial steps of refinement per signal, ``small_steps`` for one of at most ``SMALL_POINTS`` (``steps``
    by default), which gains more by them; ``weight_steps``: gradient steps on the head's weights."""

    name: str
    steps: int
    weight_steps: int = 0
    small_steps: int | None = None

    def steps_for(self, points: int) -> int:
        """Trial steps for a signal of so many points."""
        return self.steps if self.small_steps is None or points > SMALL_POINTS else self.small_steps


@dataclass
class CodedLatents:
    """Messages of the signals of a batch and the features (N, C, H', W') that the receiver will have, None where they
    are not wanted."""

    messages: list[bytes]
    features: Tensor | None


class LatentEncoder:
    """Encodes batches under one prior."""

    def __init__(
        self, prior: HierarchyPrior, effort: LatentEffort, coder: str = CODERS[0], tick: Ticker = lambda steps: None,
        measure: str = MEASURES[0], keep_features: bool = True,
    ) -> None:  # fmt: skip
        check_coder(coder)
        self.prior, self.effort, self.coder, self.tick = prior, effort, coder, tick
        self.errors = structure_errors if measure == "ms-ssim" else None
        self.keep_features = keep_features

    def refine(self, batch: Batch, quality: int) -> None:
        """Trial steps on the batch's offsets; those of an earlier call at about this quality are gone on from."""
        refine(self.prior, batch, quality, self.effort.steps_for(batch.points), self.tick, self.errors)

    @torch.no_grad()
    def code(self, batch: Batch, quality: int) -> CodedLatents:
        """Choose and code all latents, coarse to fine, with the receiver's own arithmetic."""
        model, config = self.prior.model, self.prior.config
        layers = self.prior.layers(quality)
        count, _, height, width = batch.values.shape
        rate = model.rates(torch.full((1,), log_lambda_of(config, quality)))
        risen = model.rise(batch.values, rate)
        writers = [make_writer(self.coder) for _ in range(count)]

        def choose(name: str, h: Tensor, prior: Tensor) -> Tensor:
            scales = scale_indices(prior.chunk(2, dim=1)[1])
            proposed = model.ask(name, h, risen, rate, 1.0 / UNIT) / model.steps(name, rate)
            if batch.offsets:
                proposed = proposed + pick(batch.offsets[name], block_phase(config, name))
            flat, contexts = proposed.flatten(1).numpy(), scales.flatten(1).numpy()
            sent = [w.send(values, context) for w, values, context in zip(writers, flat, contexts, strict=True)]
            return place_latents(layers, name, prior, torch.from_numpy(np.stack(sent)).view(proposed.shape))

        rows = height if config.axes == 1 else height // config.coarsest
        h = walk_down(layers, count, rows, width // config.coarsest, choose)
        risen.clear()
        return CodedLatents([writer.to_bytes() for writer in writers], to_floats(h) if self.keep_features else None)
