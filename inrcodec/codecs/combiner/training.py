"""Learning a prior from many signals, in stages that share one loop.

*Proposal stage* (when the model has a proposal): the proposal network gives the posteriors of a fresh minibatch, all
shared parameters take a gradient step on the beta-ELBO, and each anchor's prior follows by moving moments. A quick
start: unrefined posteriors are too vague for high rates, so most of the time belongs to the next stage.

*Iterative stage* (COMBINER, arXiv 2305.19185, section 3.3): a fixed set of patches keeps one posterior each; every pass
takes gradient steps on these posteriors and on what is shared, then the priors are set in closed form,

    mean_p = mean_m(mean_m)        scale_p^2 = mean_m((mean_m - mean_p)^2 + scale_m^2).

Patches are sorted into classes, each with such a prior; a patch joins the class that costs it least. With
``proposal_hidden = 0`` the iterative stage is the whole training, which is COMBINER's as published.

*Closing stage* (when the model has a proposal): the proposal alone learns again from fresh patches, towards the model
and the priors that the iterative stage has left.

With ``parts`` the steps on the posteriors of some batches are taken by workers, all at once (``training_parts``).

Everything is saved in a folder of small files, from which training resumes (``TrainingState``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inrcodec.codecs.combiner.model import BayesianINR
from inrcodec.codecs.combiner.posterior import Gaussian, PosteriorAdam, Rates, elbo_terms, kl_bits, posterior_step
from inrcodec.codecs.combiner.prior import CLASS_TABLE_TOTAL, KL_UNITS_PER_BIT, CombinerPrior, class_cost_bits
from inrcodec.codecs.combiner.training_parts import PartedSet
from inrcodec.codecs.combiner.training_state import TrainingConfig, TrainingState, load_state, save_state
from inrcodec.errors import UsageError
from inrcodec.parallel.base import Workers
from inrcodec.signals.coordinates import grid_coordinates
from inrcodec.training.loop import LR_FLOOR, RunState, cosine_lr, share_done
from inrcodec.training.sources import PatchSource
from inrcodec.training.trainer import Trainer

STEPS_AT_ONCE = 20
"""Minibatch steps of the proposal stages between two looks at the clock."""

Progress = Callable[[TrainingState, str], None]


class CombinerTrainer(Trainer[TrainingState, CombinerPrior]):
    """Learns a prior in the stages above; random numbers come from the seed and the number of the step.

    Args:
        config: what is learned and for how long.
        source: training patches.
        device: where to compute.
        workers: take the posterior steps of the iterative stage where ``config.parts`` is set.

    Raises:
        UsageError: there are parts but no workers, or another device than the CPU.
    """

    log_seconds = 0.0

    def __init__(
        self, config: TrainingConfig, source: PatchSource, device: str = "cpu", workers: Workers | None = None
    ) -> None:
        super().__init__(config.minutes, 0, device)
        self.config, self.source, self.workers = config, source, workers
        self._deadline = math.inf
        if config.parts and (workers is None or self.device.type != "cpu"):
            raise UsageError("parts of posteriors are fitted by workers on the CPU: leave --device out")
        pilot = source.draw(2048, np.random.default_rng(config.seed))
        self.centre, self.spread = float(pilot.mean()), float(max(pilot.std(), 1e-6))
        self.betas = torch.tensor(config.betas, device=self.device) / self.spread**2
        self._training_set: tuple[Tensor, Tensor] | None = None
        self._adam: PosteriorAdam | None = None
        grid = torch.from_numpy(grid_coordinates(config.network.patch_shape))
        self.coordinates = grid.reshape(-1, len(config.network.patch_shape)).to(self.device)

    def start(self) -> TrainingState:
        """Return a fresh state."""
        config = self.config
        model = BayesianINR(config.network, len(config.betas), torch.Generator().manual_seed(config.seed)).to(
            self.device
        )
        shape = (len(config.betas), config.network.dims)
        second = torch.ones(shape, device=self.device)
        return TrainingState(
            model,
            self._optimiser(model),
            torch.zeros(shape, device=self.device),
            second,
            torch.ones(len(config.betas), device=self.device),
        )

    def resume(self, folder: Path) -> TrainingState:
        """Return the state of a checkpoint.

        Raises:
            FormatError: the checkpoint cannot be read or does not fit.
        """
        return load_state(self.start(), folder, self.device)

    def _optimiser(self, model: BayesianINR) -> torch.optim.Adam:
        config = self.config
        shared = [model.base, model.phase, *model.basis]
        groups: list[dict[str, Any]] = [
            {"params": shared, "lr": config.lr_shared, "base_lr": config.lr_shared},
            {"params": [model.frequency], "lr": config.lr_frequency, "base_lr": config.lr_frequency},
        ]
        if model.has_proposal:
            proposal = [
                p
                for name, p in model.named_parameters()
                if name.startswith("proposal") and p is not model.proposal_scale
            ]
            groups.append(
                {"params": [model.proposal_scale], "lr": 10 * config.lr_proposal, "base_lr": 10 * config.lr_proposal}
            )
            groups.append({"params": proposal, "lr": config.lr_proposal, "base_lr": config.lr_proposal})
        return torch.optim.Adam(groups, betas=(0.9, 0.99))

    def save(self, state: TrainingState, folder: Path) -> None:
        """Write a checkpoint; the one before it stays whole until the new one is complete."""
        save_state(state, folder)

    def run(self, state: TrainingState, *, until_seconds: float, checkpoint: Path | None, progress: Progress) -> None:
        """Train until the end or until ``until_seconds`` of wall time have gone by; see ``Trainer.run``.

        A pass of the iterative stage, which may take minutes, is cut off there, and where the closing stage begins.
        """
        total = 60.0 * self.minutes
        _, closing = self._stages(state)
        ends = (until_seconds, max(0.0, total - state.seconds), max(0.0, closing * total - state.seconds))
        self._deadline = self.clock() + min(ends)
        super().run(state, until_seconds=until_seconds, checkpoint=checkpoint, progress=progress)

    def share_done(self, state: TrainingState) -> float:
        """Return how much of the training is done, at most 1.

        Stages begin at their share of the allowed time. Only the last one reaches its end before the time is up, by the
        time of its own steps: a pass of the iterative stage takes much longer than a step of the others.
        """
        elapsed = min(1.0, state.seconds / (60.0 * self.minutes))
        opening, closing = self._stages(state)
        begin = closing if closing < 1.0 else opening
        if elapsed < begin:
            return elapsed
        step_seconds = state.step_seconds if state.stage == self._stage(state, begin) else 0.0
        in_stage = RunState(seconds=state.seconds - begin * 60.0 * self.minutes, step_seconds=step_seconds)
        within = share_done((1.0 - begin) * self.minutes, 0, in_stage)
        return 1.0 if within >= 1.0 else begin + (1.0 - begin) * within

    def _stages(self, state: TrainingState) -> tuple[float, float]:
        """Return the shares of the training at which the iterative and the closing stage begin."""
        config = self.config
        return (config.opening_share, 1.0 - config.closing_share) if state.model.has_proposal else (0.0, 1.0)

    def _stage(self, state: TrainingState, done: float) -> str:
        opening, closing = self._stages(state)
        if done < opening:
            return "proposal"
        return "iterative" if done < closing or closing == 1.0 else "closing"

    def _step(self, state: TrainingState, done: float) -> dict[str, float]:
        """Take some minibatch steps of the proposal stages, or one pass of the iterative stage."""
        opening, closing = self._stages(state)
        stage = self._stage(state, done)
        if stage != state.stage:
            state.stage, state.step_seconds = stage, 0.0
        if stage == "proposal":
            return self._proposal_steps(state, done / opening, STEPS_AT_ONCE)
        if stage == "iterative":
            return self._iterative_pass(state, (done - opening) / (closing - opening), self._deadline)
        return self._proposal_steps(state, (done - closing) / (1.0 - closing), STEPS_AT_ONCE, closing=True)

    def _draw(self, count: int, rng: np.random.Generator) -> Tensor:
        values = torch.from_numpy(self.source.draw(count, rng)).flatten(1, -2).to(self.device)
        return (values - self.centre) / self.spread

    def _set_rates(self, state: TrainingState, factor: float) -> None:
        for group in state.optimiser.param_groups:
            group["lr"] = group["base_lr"] * factor

    def _shared_step(self, state: TrainingState) -> None:
        parameters = [p for group in state.optimiser.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.nn.utils.clip_grad_norm_(parameters, 10.0)
        if torch.isfinite(norm):
            state.optimiser.step()
        state.optimiser.zero_grad(set_to_none=True)

    def _proposal_steps(
        self, state: TrainingState, done: float, count: int, *, closing: bool = False
    ) -> dict[str, float]:
        """Take minibatch steps and return figures for the log.

        Args:
            state: what is trained.
            done: share of the stage that is done.
            count: number of steps.
            closing: whether the proposal alone learns.
        """
        model, betas = state.model, self.betas
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(not closing or name.startswith("proposal"))
        self._set_rates(state, cosine_lr(1.0, done, state.steps, floor=LR_FLOOR, ramp=100))
        sums = torch.zeros(3, len(betas), device=self.device)
        for _ in range(count):
            rng = np.random.default_rng([self.config.seed, 1, state.steps])
            target = self._draw(self.config.batch, rng)
            anchor = torch.from_numpy(rng.permutation(self.config.batch) % len(betas)).to(self.device)
            prior = state.anchor_prior[anchor]
            posterior = Gaussian(*model.propose(target, anchor, prior.mean, prior.log_scale))
            mse, kl = elbo_terms(model, posterior, prior, model.features(self.coordinates), target)
            loss = mse / betas[anchor] + kl.sum(dim=1) / target.shape[1]
            # Every anchor counts by its relative loss: the highest rate would otherwise own all gradients at first.
            (loss / state.loss_level[anchor]).mean().backward()
            self._shared_step(state)
            state.steps += 1
            with torch.no_grad():
                if not closing:
                    self._follow_moments(state, posterior, anchor)
                for row, value in enumerate((mse, kl.sum(dim=1), torch.ones_like(mse))):
                    sums[row].index_add_(0, anchor, value)
                self._follow_loss(state, loss, anchor)
        return self._figures(state, sums, "closing" if closing else "proposal")

    def _follow_loss(self, state: TrainingState, loss: Tensor, anchor: Tensor) -> None:
        total = torch.zeros_like(state.loss_level).index_add_(0, anchor, loss)
        seen = torch.bincount(anchor, minlength=len(self.betas)).clamp_min(1)
        state.loss_level = torch.where(total > 0, torch.lerp(state.loss_level, total / seen, 0.1), state.loss_level)

    def _follow_moments(self, state: TrainingState, posterior: Gaussian, anchor: Tensor) -> None:
        seen = torch.bincount(anchor, minlength=len(self.betas)).float()[:, None]
        first = torch.zeros_like(state.prior_mean).index_add_(0, anchor, posterior.mean) / seen.clamp_min(1)
        square = posterior.mean.square() + (2.0 * posterior.log_scale).exp()
        second = torch.zeros_like(first).index_add_(0, anchor, square) / seen.clamp_min(1)
        rate = torch.where(seen > 0, self.config.moment_rate, 0.0)
        state.prior_mean = torch.lerp(state.prior_mean, first, rate)
        state.prior_second = torch.lerp(state.prior_second, second, rate)

    def _figures(self, state: TrainingState, sums: Tensor, stage: str) -> dict[str, float]:
        """Return figures for the log: errors and bits by anchor."""
        seen = sums[2].clamp_min(1)
        entry: dict[str, float] = {"steps": state.steps, "iterative": stage == "iterative"}
        mse = sums[0] / seen * self.spread**2
        bits = sums[1] / seen / len(self.coordinates)
        for index, (error, rate) in enumerate(zip(mse.tolist(), bits.tolist(), strict=True)):
            entry[f"db_{index}"] = round(-10 * math.log10(max(error, 1e-12)), 3)
            entry[f"bits_per_point_{index}"] = round(rate, 4)
        return entry

    # The iterative stage.

    def training_set(self) -> tuple[Tensor, Tensor]:
        """Return the fixed patches (M, P, C), normalised, and their anchors (M,); the same at every call."""
        if self._training_set is None:
            rng = np.random.default_rng([self.config.seed, 2])
            anchor = torch.arange(self.config.patches, device=self.device) % len(self.betas)
            self._training_set = self._draw(self.config.patches, rng), anchor
        return self._training_set

    def _iterative_pass(self, state: TrainingState, done: float, deadline: float) -> dict[str, float]:
        """Take one step for every patch of the set, then the closed form; stop early at ``deadline`` of the clock."""
        values, anchor = self.training_set()
        if state.posteriors is None:
            self._begin_iterative(state, values, anchor)
        assert state.posteriors is not None
        if self._adam is None:
            self._adam = PosteriorAdam((len(values), self.config.network.dims), self.device)
        decay = 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))
        self._set_rates(state, LR_FLOOR + (1.0 - LR_FLOOR) * decay)
        rates = Rates(0.03 + 0.12 * decay, 0.02 + 0.03 * decay)
        order = torch.from_numpy(np.random.default_rng([self.config.seed, 3, state.passes]).permutation(len(values)))
        batches = order.split(self.config.batch)
        held = PartedSet(state.posteriors, self._adam, self._patch_prior(state, anchor), values, self.betas[anchor])
        sums = torch.zeros(3, len(self.betas), device=self.device)
        at_once = max(1, self.config.parts)
        for start in range(0, len(batches), at_once):
            chosen = batches[start : start + at_once]
            found = self._posterior_steps(state, held, anchor, chosen, rates)
            self._shared_step(state)
            state.steps += 1
            for rows, (mse, kl) in zip(chosen, found, strict=True):
                for row, value in enumerate((mse, kl, torch.ones_like(mse))):
                    sums[row].index_add_(0, anchor[rows], value)
                with torch.no_grad():
                    self._follow_loss(state, mse / self.betas[anchor[rows]] + kl / values.shape[1], anchor[rows])
            if self.clock() > deadline:
                break
        state.passes += 1
        self._closed_form(state, anchor, reassign=state.passes % 5 == 0)
        return self._figures(state, sums, "iterative")

    def _posterior_steps(
        self, state: TrainingState, held: PartedSet, anchor: Tensor, batches: Sequence[Tensor], rates: Rates
    ) -> list[tuple[Tensor, Tensor]]:
        """Take a step on the posteriors of minibatches, and add gradients of what is shared.

        Returns:
            Distortion and KL of the rows of every minibatch before the step.
        """
        level = state.loss_level[anchor]
        if self.config.parts:
            assert self.workers is not None
            return held.round(self.workers, state.model, batches, level, rates, (self.config.seed, 4, state.steps))
        found = []
        for rows in batches:
            mse, kl = posterior_step(
                state.model,
                held.posteriors,
                held.prior[rows],
                held.adam,
                rows,
                state.model.features(self.coordinates),
                held.values[rows],
                held.beta[rows],
                rates,
                row_weight=1.0 / (len(rows) * level[rows]),
            )
            found.append((mse, kl.sum(dim=1)))
        return found

    def _begin_iterative(self, state: TrainingState, values: Tensor, anchor: Tensor) -> None:
        prior = state.anchor_prior[anchor]
        if state.model.has_proposal:
            with torch.no_grad():
                mean, log_scale = state.model.propose(values, anchor, prior.mean, prior.log_scale)
            state.posteriors = Gaussian(mean, log_scale)
        else:
            state.posteriors = Gaussian(prior.mean.clone(), prior.log_scale - 2.0)
        state.classes = torch.zeros(len(values), dtype=torch.long, device=self.device)
        self._closed_form(state, anchor, reassign=False)

    def _patch_prior(self, state: TrainingState, anchor: Tensor) -> Gaussian:
        assert state.class_prior is not None and state.classes is not None
        flat = anchor * self.config.n_classes + state.classes
        return Gaussian(state.class_prior.mean.flatten(0, 1)[flat], state.class_prior.log_scale.flatten(0, 1)[flat])

    @torch.no_grad()
    def _closed_form(self, state: TrainingState, anchor: Tensor, *, reassign: bool) -> None:
        """Set the priors of anchors, then of classes, from the posteriors; assign classes again if ``reassign``."""
        assert state.posteriors is not None and state.classes is not None
        q, n_classes = state.posteriors, self.config.n_classes
        for index in range(len(self.betas)):
            members = (anchor == index).nonzero()[:, 0]
            mean, second = _moments(q[members])
            state.prior_mean[index], state.prior_second[index] = mean, second
        whole = state.anchor_prior
        if reassign or state.class_prior is None:
            self._assign_classes(state, anchor, whole)
        means, log_scales = [], []
        for index in range(len(self.betas)):
            for c in range(n_classes):
                members = ((anchor == index) & (state.classes == c)).nonzero()[:, 0]
                mean, variance = whole.mean[index], (2.0 * whole.log_scale[index]).exp()
                if len(members):
                    own_mean = q.mean[members].mean(dim=0)
                    # Centred: second moments less squared means lose small variances of large means in float32.
                    spread = (q.mean[members] - own_mean).square() + (2.0 * q.log_scale[members]).exp()
                    own_variance = spread.mean(dim=0).clamp_min(1e-10)
                    trust = len(members) / (len(members) + self.config.shrinkage)
                    mean, variance = torch.lerp(mean, own_mean, trust), torch.lerp(variance, own_variance, trust)
                means.append(mean)
                log_scales.append(0.5 * variance.log())
        shape = (len(self.betas), n_classes, -1)
        state.class_prior = Gaussian(torch.stack(means).view(shape), torch.stack(log_scales).view(shape))

    def _assign_classes(self, state: TrainingState, anchor: Tensor, whole: Gaussian) -> None:
        """Set the classes of patches: at first by total KL in equal parts, later the class that costs a patch least."""
        assert state.posteriors is not None and state.classes is not None
        for index in range(len(self.betas)):
            members = (anchor == index).nonzero()[:, 0]
            q = state.posteriors[members]
            if state.class_prior is None:
                total = kl_bits(q, whole[index : index + 1]).sum(dim=1)
                rank = total.argsort().argsort()
                state.classes[members] = rank * self.config.n_classes // len(members)
                continue
            kl, budget = [], []
            for c in range(self.config.n_classes):
                prior = Gaussian(state.class_prior.mean[index, c], state.class_prior.log_scale[index, c])
                kl.append(kl_bits(q, prior).sum(dim=1))
                inside = kl[-1][state.classes[members] == c]
                budget.append(inside.mean() if len(inside) else kl[-1].mean())
            cost = class_cost_bits(torch.stack(kl, dim=1), torch.stack(budget))
            state.classes[members] = cost.argmin(dim=1)

    @torch.no_grad()
    def finish(self, state: TrainingState, card: dict[str, Any]) -> CombinerPrior:
        """Return the prior as its file gives it, so that encoder and decoder hold equal numbers."""
        values, anchor = self.training_set()
        if state.posteriors is None:
            self._begin_iterative(state, values, anchor)
        assert state.posteriors is not None and state.classes is not None and state.class_prior is not None
        n_anchors, n_classes = len(self.betas), self.config.n_classes
        kl = kl_bits(state.posteriors, self._patch_prior(state, anchor)).cpu()
        flat = (anchor * n_classes + state.classes).cpu()
        total = torch.zeros(n_anchors * n_classes, kl.shape[1]).index_add_(0, flat, kl)
        members = torch.bincount(flat, minlength=n_anchors * n_classes)
        mean_kl = (total / members.clamp_min(1)[:, None]).clamp(0, 1000).view(n_anchors, n_classes, -1)
        counts = np.maximum(members.view(n_anchors, n_classes).numpy(), 1)
        prior = CombinerPrior(
            self.config.name,
            self.config.kind,
            self.config.network,
            state.model.state_dict(),
            self.betas.cpu() * self.spread**2,
            state.class_prior.mean.cpu(),
            state.class_prior.log_scale.cpu(),
            np.rint(mean_kl.numpy() * KL_UNITS_PER_BIT).astype(np.int64),
            _to_table(counts),
            self.centre,
            self.spread,
            card=card,
        )
        return prior.as_read_back()


def _moments(q: Gaussian) -> tuple[Tensor, Tensor]:
    return q.mean.mean(dim=0), (q.mean.square() + (2.0 * q.log_scale).exp()).mean(dim=0)


def _to_table(counts: np.ndarray) -> np.ndarray:
    """Return rows of counts scaled to sum to ``CLASS_TABLE_TOTAL``, every entry at least 1."""
    share = counts / counts.sum(axis=1, keepdims=True)
    table = np.maximum(np.floor(share * (CLASS_TABLE_TOTAL - counts.shape[1])).astype(np.int64), 1)
    table[np.arange(len(table)), share.argmax(axis=1)] += CLASS_TABLE_TOTAL - table.sum(axis=1)
    result: np.ndarray = table
    return result
