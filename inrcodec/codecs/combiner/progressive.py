"""Progressive encoding: send some blocks, fix them, refit the rest, until all are sent (arXiv 2305.19185, section 3.3).

    propose -> fit -> choose classes -> plan blocks -> fit to the budgets -> [send a round of blocks -> refit] ...

Patches of one or many signals are encoded together: every gradient step and every matrix product of candidates serves
all of them. All blocks have the same budget of K bits. While fitting, the weight of a block's KL divergence is raised
or lowered until the divergence meets the target that K bits can carry.

Shapes: N patches (of all signals), P points, C channels, D latent dimensions, B blocks.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec.codecs.base import Progress, no_progress
from inrcodec.codecs.combiner.bitstream import CANDIDATE_SEED, TARGET_STEPS_PER_BIT, CodedSignal, OperatingPoint
from inrcodec.codecs.combiner.blocks import BlockPlan, plan_blocks
from inrcodec.codecs.combiner.effort import CombinerEffort
from inrcodec.codecs.combiner.posterior import Gaussian, PosteriorAdam, Rates, kl_bits, masked_mse, posterior_step
from inrcodec.codecs.combiner.prior import KL_UNITS_PER_BIT, CombinerPrior, class_cost_bits, exact_exp
from inrcodec.coding.relative_entropy import decode_blocks, encode_blocks

CHUNK_PATCHES = 64
"""Patches whose values are computed at once."""
CLOSED_LOG_SCALE = -30.0
"""Log scale of a latent that has been sent: its posterior is a point."""
IntArray = NDArray[np.int64]


@dataclass
class Patches:
    """The patches of one or more signals.

    Attributes:
        values: values (N, P, C), normalised by the prior's centre and spread.
        point_weight: (N, P), 0 where a patch lies outside its signal; None if none does.
        signal: index (N,) of the signal that each patch belongs to, ascending from 0.
    """

    values: Tensor
    point_weight: Tensor | None
    signal: IntArray

    @property
    def n_signals(self) -> int:
        """Return the number of signals."""
        return int(self.signal[-1]) + 1


@dataclass
class Fit:
    """Posteriors being fitted and sent, and the state of the loop.

    Attributes:
        posterior: the posteriors, (N, D).
        prior: the prior of each patch, that of its class.
        classes: class (N,) of each patch.
        open_dims: (N, D), 0 where a latent has been sent or pruned.
        kl_weight: weight (N, D) of each latent's KL divergence; a single 1 before the blocks are planned.
        adam: the optimiser.
    """

    posterior: Gaussian
    prior: Gaussian
    classes: IntArray
    open_dims: Tensor
    kl_weight: Tensor
    adam: PosteriorAdam


class ProgressiveEncoder:
    """Encodes patches under one prior at one effort; the module's docstring lists the steps.

    Attributes:
        prior: the prior.
        effort: the effort preset.
        model: the prior's model.
        generator: private randomness of the encoder.
        progress: called with the number of gradient steps done.
    """

    def __init__(
        self, prior: CombinerPrior, effort: CombinerEffort, *, seed: int = 0, progress: Progress = no_progress
    ) -> None:
        self.prior, self.effort, self.model = prior, effort, prior.model
        self.generator = torch.Generator().manual_seed(seed)
        self.progress = progress

    def fit_posteriors(self, patches: Patches, features: Tensor, point: OperatingPoint) -> Fit:
        """Fit posteriors at the beta of an operating point, without budgets.

        Each patch gets the class under which it costs the fewest bits.
        """
        prior, effort, n = self.prior, self.effort, len(patches.values)
        share = torch.from_numpy(prior.class_counts[point.anchor] / prior.class_counts[point.anchor].sum()).float()
        means, variances = prior.mean[point.anchor], (2.0 * prior.log_scale[point.anchor]).exp()
        mean = (share[:, None] * means).sum(dim=0)
        variance = (share[:, None] * (variances + means.square())).sum(dim=0) - mean.square()
        mixture = Gaussian(mean.expand(n, -1), (0.5 * variance.log()).expand(n, -1))
        if self.model.has_proposal:
            anchor = torch.full((n,), point.anchor)
            posterior = Gaussian(*self.model.propose(patches.values, anchor, mixture.mean, mixture.log_scale))
        else:
            posterior = Gaussian(mixture.mean.clone(), mixture.log_scale - 1.0)
        adam = PosteriorAdam((n, posterior.mean.shape[1]))
        fit = Fit(posterior, mixture, np.zeros(n, np.int64), torch.ones_like(mean).expand(n, -1), torch.ones(1), adam)
        self._choose_classes(fit, point.anchor)
        for thirds in (2, 1):
            self._steps(fit, patches, features, point.beta, effort.fit_steps // 3 * thirds, effort.first_rates)
            self._choose_classes(fit, point.anchor)
        return fit

    def _choose_classes(self, fit: Fit, anchor: int) -> None:
        budget = torch.from_numpy(self.prior.class_kl_bits[anchor]).float()
        kl = [
            kl_bits(fit.posterior, Gaussian(self.prior.mean[anchor, c], self.prior.log_scale[anchor, c])).sum(dim=1)
            for c in range(self.prior.n_classes)
        ]
        fit.classes = class_cost_bits(torch.stack(kl, dim=1), budget).argmin(dim=1).numpy()
        chosen = torch.from_numpy(fit.classes)
        fit.prior = Gaussian(self.prior.mean[anchor, chosen], self.prior.log_scale[anchor, chosen])

    def _steps(
        self,
        fit: Fit,
        patches: Patches,
        features: Tensor,
        beta: float,
        steps: int,
        rates: tuple[Rates, Rates],
        after: Callable[[Tensor], None] | None = None,
    ) -> None:
        """Take gradient steps on all open dimensions.

        The learning rates fall from the first to the second of ``rates``. ``after`` is called after every step with the
        flat KL divergences (N * D,) in bits.
        """
        n = len(patches.values)
        scaled_beta = torch.full((n,), beta / self.prior.spread**2)
        n_dims = fit.posterior.mean.shape[1]
        for step in range(steps):
            done = step / max(steps - 1, 1)
            rate = Rates(*(a * (b / a) ** done for a, b in zip(rates[0].pair, rates[1].pair, strict=True)))
            kl = []
            for start in range(0, n, CHUNK_PATCHES):
                rows = slice(start, min(start + CHUNK_PATCHES, n))
                kl.append(
                    posterior_step(
                        self.model,
                        fit.posterior,
                        fit.prior[rows],
                        fit.adam,
                        rows,
                        features,
                        patches.values[rows],
                        scaled_beta[rows],
                        rate,
                        kl_weight=fit.kl_weight[rows] if fit.kl_weight.ndim == 2 else None,
                        point_weight=None if patches.point_weight is None else patches.point_weight[rows],
                        open_dims=fit.open_dims[rows],
                        generator=self.generator,
                    )[1]
                )
            if after is not None:
                after(torch.cat(kl).reshape(n * n_dims))
            self.progress(1)

    def encode(
        self, patches: Patches, features: Tensor, point: OperatingPoint, fit: Fit | None = None
    ) -> list[CodedSignal]:
        """Encode all patches.

        Args:
            patches: the patches of all signals.
            features: features (P, F) of a patch's coordinates.
            point: the operating point.
            fit: the result of ``fit_posteriors``, if already computed.

        Returns:
            One ``CodedSignal`` per signal.
        """
        effort = self.effort
        fit = fit or self.fit_posteriors(patches, features, point)
        blocks = _SignalBlocks.plan(self.prior, point, fit.classes, patches.signal)
        n, n_dims = fit.posterior.mean.shape
        sent = torch.zeros(n * n_dims)
        sent[blocks.latent] = 1.0
        fit.open_dims = sent.view(n, n_dims)
        _close(fit, (sent == 0).nonzero()[:, 0], fit.prior.mean.reshape(-1)[sent == 0])
        weight = torch.ones(blocks.n_blocks)
        fit.kl_weight = torch.ones(n, n_dims)
        target = effort.budget_bits - effort.slack_bits

        def adjust_weights(kl: Tensor) -> None:
            """Move every block's weight towards the one at which its KL divergence meets the target."""
            total = torch.zeros(blocks.n_blocks).index_add_(0, blocks.block, kl[blocks.latent])
            weight.mul_(((total + 0.5) / (target + 0.5)).pow(effort.pressure)).clamp_(1e-3, 1e3)
            fit.kl_weight.view(-1)[blocks.latent] = weight[blocks.block]

        self._steps(fit, patches, features, point.beta, effort.budget_steps, effort.first_rates, adjust_weights)
        indices = np.zeros(blocks.n_blocks, np.int64)
        rounds = blocks.rounds(effort.rounds)
        for number, chosen in enumerate(rounds):
            indices[chosen] = self._send(fit, blocks, chosen)
            if number + 1 < len(rounds):
                self._steps(fit, patches, features, point.beta, effort.refine_steps, effort.later_rates, adjust_weights)
        return blocks.split(fit.classes, patches.signal, indices)

    def _send(self, fit: Fit, blocks: _SignalBlocks, chosen: IntArray) -> IntArray:
        """Select candidates for the chosen blocks, fix the latents at them, and return their indices."""
        flat, valid = blocks.latents_of(chosen)
        index = torch.from_numpy(flat)
        prior_mean, prior_scale = fit.prior.mean.reshape(-1)[index], exact_exp(fit.prior.log_scale.reshape(-1)[index])
        mean = ((fit.posterior.mean.view(-1)[index] - prior_mean) / prior_scale).numpy()
        scale = (fit.posterior.log_scale.view(-1)[index].exp() / prior_scale).numpy()
        effort = self.effort
        indices = encode_blocks(
            np.where(valid, mean, np.float32(0)),
            np.where(valid, scale, np.float32(1)),
            budget_bits=effort.budget_bits,
            seed=CANDIDATE_SEED,
            block_ids=blocks.ids[chosen],
            selection=effort.selection,
            noise=self.generator,
        )
        sample = torch.from_numpy(
            decode_blocks(
                indices,
                budget_bits=effort.budget_bits,
                width=flat.shape[1],
                seed=CANDIDATE_SEED,
                block_ids=blocks.ids[chosen],
            )
        )
        filled = torch.from_numpy(valid)
        _close(fit, index[filled], (prior_mean + prior_scale * sample)[filled])
        return indices

    @torch.no_grad()
    def mean_distortion(self, fit: Fit, patches: Patches, features: Tensor, *, sample: bool) -> Tensor:
        """Return the mean squared error (N,) of each patch, in units of the signal's values.

        The error is measured at one sample of the posterior if ``sample``, else at its mean.
        """
        out = []
        for start in range(0, len(patches.values), CHUNK_PATCHES):
            rows = slice(start, start + CHUNK_PATCHES)
            q = fit.posterior[rows]
            values = self.model.values(q.sample(self.generator) if sample else q.mean, features)
            weight = None if patches.point_weight is None else patches.point_weight[rows]
            out.append(masked_mse(values, patches.values[rows], weight))
        return torch.cat(out) * self.prior.spread**2


def _close(fit: Fit, latent: Tensor, value: Tensor) -> None:
    """Fix latents, given by their flat indices, at values."""
    fit.posterior.mean.view(-1)[latent] = value
    fit.posterior.log_scale.view(-1)[latent] = CLOSED_LOG_SCALE
    fit.open_dims.view(-1)[latent] = 0.0


@dataclass
class _SignalBlocks:
    """The block plans of all signals; block numbers continue from one signal to the next.

    Attributes:
        plans: one plan per signal.
        offsets: number of the first block of each signal, and the total.
        patch_offsets: number of the first patch of each signal, and the total.
        n_dims: D.
        latent: flat index of the latent in every filled slot.
        block: number of the block of every filled slot.
        ids: number of every block within its signal, which selects its candidates.
    """

    plans: list[BlockPlan]
    offsets: IntArray
    patch_offsets: IntArray
    n_dims: int
    latent: Tensor
    block: Tensor
    ids: IntArray

    @classmethod
    def plan(cls, prior: CombinerPrior, point: OperatingPoint, classes: IntArray, signal: IntArray) -> _SignalBlocks:
        n_dims = prior.config.dims
        patch_offsets = np.searchsorted(signal, np.arange(int(signal[-1]) + 2))
        target_units = point.target * KL_UNITS_PER_BIT // TARGET_STEPS_PER_BIT
        plans = [
            plan_blocks(prior.kl_units[point.anchor], classes[start:stop], target_units)
            for start, stop in itertools.pairwise(patch_offsets.tolist())
        ]
        offsets = np.concatenate([[0], np.cumsum([plan.n_blocks for plan in plans])])
        latents, blocks = [], []
        for plan, block_offset, patch_offset in zip(plans, offsets, patch_offsets, strict=False):
            latent, block = plan.slots(n_dims)
            latents.append(latent + patch_offset * n_dims)
            blocks.append(block + block_offset)
        ids = np.concatenate([np.arange(plan.n_blocks) for plan in plans])
        return cls(
            plans,
            offsets,
            patch_offsets,
            n_dims,
            torch.from_numpy(np.concatenate(latents)),
            torch.from_numpy(np.concatenate(blocks)),
            ids,
        )

    @property
    def n_blocks(self) -> int:
        return int(self.offsets[-1])

    def rounds(self, count: int) -> list[IntArray]:
        """Return the block numbers of each round, an equal share of the ranks of every class."""
        round_of_block = np.concatenate([plan.position * count // plan.count for plan in self.plans])
        return [chosen for r in range(count) if len(chosen := np.flatnonzero(round_of_block == r))]

    def latents_of(self, chosen: IntArray) -> tuple[IntArray, NDArray[np.bool_]]:
        """Return the flat latent index of every slot of the chosen blocks, and which slots are filled, (B', W) each."""
        width = max(plan.patch.shape[1] for plan in self.plans)
        flat = np.full((len(chosen), width), -1, np.int64)
        signal = np.searchsorted(self.offsets, chosen, side="right") - 1
        for s in np.unique(signal).tolist():
            rows = np.flatnonzero(signal == s)
            plan = self.plans[s]
            local = chosen[rows] - self.offsets[s]
            patch = plan.patch[local]
            index = np.where(patch >= 0, (patch + self.patch_offsets[s]) * self.n_dims + plan.dim[local], -1)
            flat[rows, : patch.shape[1]] = index
        valid = flat >= 0
        used = int(valid.any(axis=0).sum())
        return flat[:, :used].clip(0), valid[:, :used]

    def split(self, classes: IntArray, signal: IntArray, indices: IntArray) -> list[CodedSignal]:
        return [
            CodedSignal(classes[signal == s], indices[self.offsets[s] : self.offsets[s + 1]])
            for s in range(len(self.plans))
        ]
