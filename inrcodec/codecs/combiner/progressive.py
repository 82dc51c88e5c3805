"""The progressive loop: code some blocks, fix them, refit the rest, until all are sent (COMBINER, arXiv 2305.19185).

    propose -> fit -> choose classes -> cut blocks -> fit to the budgets -> [send a round of blocks -> refit] ...

Patches of one or many signals go through together: every gradient step and every matrix product of candidates serves
all of them. Every block has the same budget of K bits; while fitting, the weight of its KL is raised or lowered until
its KL meets the target that K bits can carry.

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

from inrcodec.codecs.base import Progress
from inrcodec.codecs.combiner.bitstream import CANDIDATE_SEED, TARGET_STEPS_PER_BIT, CodedSignal, OperatingPoint
from inrcodec.codecs.combiner.blocks import BlockPlan, plan_blocks
from inrcodec.codecs.combiner.effort import CombinerEffort
from inrcodec.codecs.combiner.posterior import Gaussian, PosteriorAdam, Rates, kl_bits, masked_mse, posterior_step
from inrcodec.codecs.combiner.prior import KL_UNITS_PER_BIT, CombinerPrior, class_cost_bits
from inrcodec.coding.relative_entropy import decode_blocks, encode_blocks

CHUNK_PATCHES = 64
CLOSED_LOG_SCALE = -30.0
IntArray = NDArray[np.int64]


@dataclass
class Patches:
    """Patches of one or more signals, values normalised as the prior wants them.

    ``values`` (N, P, C); ``point_weight`` (N, P), 0 where a patch lies outside its signal, or None when none does;
    ``signal`` (N,) the signal that each patch belongs to, rising from 0.
    """

    values: Tensor
    point_weight: Tensor | None
    signal: IntArray

    @property
    def n_signals(self) -> int:
        """Number of signals."""
        return int(self.signal[-1]) + 1


@dataclass
class Fit:
    """Posteriors on their way to being sent, and what the loop keeps beside them."""

    posterior: Gaussian
    prior: Gaussian
    classes: IntArray
    open_dims: Tensor
    kl_weight: Tensor
    adam: PosteriorAdam


class ProgressiveEncoder:
    """Encodes patches under one prior at one effort; see the module's text for the steps."""

    def __init__(
        self, prior: CombinerPrior, effort: CombinerEffort, *, seed: int = 0, tick: Progress | None = None
    ) -> None:
        self.prior, self.effort, self.model = prior, effort, prior.model
        self.generator = torch.Generator().manual_seed(seed)
        self.tick = tick or (lambda steps: None)

    def fit_posteriors(self, patches: Patches, features: Tensor, point: OperatingPoint) -> Fit:
        """Posteriors at the point's beta without budgets, each patch under the class that costs it least."""
        prior, effort, n = self.prior, self.effort, len(patches.values)
        share = torch.from_numpy(prior.class_counts[point.anchor] / prior.class_counts[point.anchor].sum()).float()
        means, variances = prior.mean[point.anchor], (2.0 * prior.log_scale[point.anchor]).exp()
        mean = (share[:, None] * means).sum(dim=0)
        variance = (share[:, None] * (variances + means.square())).sum(dim=0) - mean.square()
        whole = Gaussian(mean.expand(n, -1), (0.5 * variance.log()).expand(n, -1))
        if self.model.has_proposal:
            anchor = torch.full((n,), point.anchor)
            posterior = Gaussian(*self.model.propose(patches.values, anchor, whole.mean, whole.log_scale))
        else:
            posterior = Gaussian(whole.mean.clone(), whole.log_scale - 1.0)
        adam = PosteriorAdam((n, posterior.mean.shape[1]))
        fit = Fit(posterior, whole, np.zeros(n, np.int64), torch.ones_like(mean).expand(n, -1), torch.ones(1), adam)
        self._choose_classes(fit, point.anchor)
        for part in (2, 1):
            self._steps(fit, patches, features, point.beta, effort.fit_steps // 3 * part, effort.first_rates)
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
        """``steps`` gradient steps on all open dimensions, rates falling from the first to the second of ``rates``."""
        n = len(patches.values)
        scaled_beta = torch.full((n,), beta / self.prior.spread**2)
        n_dims = fit.posterior.mean.shape[1]
        for step in range(steps):
            part = step / max(steps - 1, 1)
            rate = Rates(*(a * (b / a) ** part for a, b in zip(rates[0].pair, rates[1].pair, strict=True)))
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
            self.tick(1)

    def encode(
        self, patches: Patches, features: Tensor, point: OperatingPoint, fit: Fit | None = None
    ) -> list[CodedSignal]:
        """Send all patches; returns one ``CodedSignal`` per signal. ``fit`` saves the first part when it is at hand."""
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

        def press(kl: Tensor) -> None:
            """Move every block's weight towards the one that makes its KL meet the target."""
            total = torch.zeros(blocks.n_blocks).index_add_(0, blocks.block, kl[blocks.latent])
            weight.mul_(((total + 0.5) / (target + 0.5)).pow(effort.pressure)).clamp_(1e-3, 1e3)
            fit.kl_weight.view(-1)[blocks.latent] = weight[blocks.block]

        self._steps(fit, patches, features, point.beta, effort.budget_steps, effort.first_rates, press)
        indices = np.zeros(blocks.n_blocks, np.int64)
        rounds = blocks.rounds(effort.rounds)
        for number, chosen in enumerate(rounds):
            indices[chosen] = self._send(fit, blocks, chosen)
            if number + 1 < len(rounds):
                self._steps(fit, patches, features, point.beta, effort.refine_steps, effort.later_rates, press)
        return blocks.split(fit.classes, patches.signal, indices)

    def _send(self, fit: Fit, blocks: _SignalBlocks, chosen: IntArray) -> IntArray:
        """Pick candidates for the chosen blocks and fix their latents at them."""
        flat, valid = blocks.latents_of(chosen)
        index = torch.from_numpy(flat)
        prior_mean, prior_scale = fit.prior.mean.reshape(-1)[index], fit.prior.log_scale.reshape(-1)[index].exp()
        mean = ((fit.posterior.mean.view(-1)[index] - prior_mean) / prior_scale).numpy()
        scale = (fit.posterior.log_scale.view(-1)[index].exp() / prior_scale).numpy()
        effort = self.effort
        picked = encode_blocks(
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
                picked,
                budget_bits=effort.budget_bits,
                width=flat.shape[1],
                seed=CANDIDATE_SEED,
                block_ids=blocks.ids[chosen],
            )
        )
        keep = torch.from_numpy(valid)
        _close(fit, index[keep], (prior_mean + prior_scale * sample)[keep])
        return picked

    @torch.no_grad()
    def mean_distortion(self, fit: Fit, patches: Patches, features: Tensor, *, sample: bool) -> Tensor:
        """Squared error per patch in value units at the posterior's mean or at one draw of it, (N,)."""
        out = []
        for start in range(0, len(patches.values), CHUNK_PATCHES):
            rows = slice(start, start + CHUNK_PATCHES)
            q = fit.posterior[rows]
            values = self.model.values(q.sample(self.generator) if sample else q.mean, features)
            weight = None if patches.point_weight is None else patches.point_weight[rows]
            out.append(masked_mse(values, patches.values[rows], weight))
        return torch.cat(out) * self.prior.spread**2


def _close(fit: Fit, latent: Tensor, value: Tensor) -> None:
    fit.posterior.mean.view(-1)[latent] = value
    fit.posterior.log_scale.view(-1)[latent] = CLOSED_LOG_SCALE
    fit.open_dims.view(-1)[latent] = 0.0


@dataclass
class _SignalBlocks:
    """The plans of all signals, side by side: block numbers run on from one signal to the next."""

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
        """Block numbers of each round: equal parts of every class's ranks."""
        part = np.concatenate([plan.position * count // plan.count for plan in self.plans])
        return [chosen for r in range(count) if len(chosen := np.flatnonzero(part == r))]

    def latents_of(self, chosen: IntArray) -> tuple[IntArray, NDArray[np.bool_]]:
        """Flat latent index of every slot of the chosen blocks, and which slots are filled; (B', W) each."""
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
