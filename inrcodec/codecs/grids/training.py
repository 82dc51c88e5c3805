"""Learning a prior of latent grids from photographs, anchor by anchor.

1. *Means.* At the middle anchor the networks are fitted to a mosaic of many crops as if it were one image, from
   random weights; at the others from their neighbour's result.
2. *Proposals.* At every anchor a network learns to propose latents for crops, weights at the mean: the same beta-ELBO.
3. *Spreads.* At every anchor single crops are fitted from the mean; where their weights end tells how far those of an
   image lie from it (the closed-form update of COMBINER, arXiv 2305.19185, section 3.2, with means held).

Every one of these fits is a *task* with a slot of the training's time, over which its learning rate falls. A training
that is interrupted resumes at the beginning of the task in progress.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from inrcodec.codecs.grids.config import WEIGHT_BITS, GridsConfig
from inrcodec.codecs.grids.elbo import grid_bits, grid_errors, grid_features, sample
from inrcodec.codecs.grids.fit import LATENT_GAIN, GridFit, GridProblem
from inrcodec.codecs.grids.prior import MAX_STEP_BITS, GridProposal, GridsPrior
from inrcodec.errors import FormatError, UsageError
from inrcodec.training.checkpoint import read_checkpoint, write_checkpoint
from inrcodec.training.loop import LOG_SECONDS, LR_FLOOR, RunState, cosine_lr, share_done
from inrcodec.training.muon import Muon
from inrcodec.training.sources import PatchSource
from inrcodec.training.trainer import Trainer

FIRST_SHARE, MEANS_SHARE, PROPOSALS_SHARE = 0.15, 0.3, 0.4
"""Shares of the training's time: the middle anchor's mean, all other means, and proposals."""
PROPOSAL_RATE, PROPOSAL_RAMP = 0.01, 30
PROPOSAL_TEMPERATURE, PROPOSAL_NOISE = 0.25, 1.2
MAX_PROPOSAL_GRADIENT = 10.0
FIRST_DEVIATION = 0.3
"""Spread that the first single fits assume, relative to the root mean square of a tensor's weights."""
MIN_DEVIATION = 2.0**-14
STEP_DRAWS = 2
TYPICAL_POINTS = 400_000
"""Points of an image, for the steps that weights are rounded to."""


@dataclass(frozen=True)
class GridsTraining:
    """What is learned and for how long.

    Attributes:
        network: shapes of grids and networks.
        name: name of the prior.
        minutes: allowed time.
        crop: side of crops.
        mosaic: number of crops, down and across, that form one image for the means.
        singles: number of crops that are fitted one by one at every anchor.
        seed: of all random numbers.
        steps: number of steps, for the same outcome every time; 0 where the time decides.
    """

    network: GridsConfig
    name: str
    minutes: float
    crop: int = 192
    mosaic: tuple[int, int] = (3, 4)
    singles: int = 8
    seed: int = 0
    steps: int = 0

    def __post_init__(self) -> None:
        if self.minutes <= 0 or self.singles < 2 or self.crop % self.network.coarsest:
            raise UsageError("minutes must be positive, single crops 2 or more, crops multiples of the coarsest stride")

    def summary(self) -> dict[str, Any]:
        """Return the settings as plain values, for the card."""
        return {**asdict(self), "network": None}


@dataclass(frozen=True)
class Task:
    """A fit at an anchor.

    Attributes:
        what: "mean", "proposal" or "crop".
        anchor: number of the anchor.
        share: of the whole training.
        begin: anchor from whose mean or proposal the fit starts; None for random weights.
        crop: number of the crop that is fitted.
    """

    what: str
    anchor: int
    share: float
    begin: int | None = None
    crop: int = 0


class Fit(Protocol):
    """Fits something in steps."""

    def step(self, progress: float, log_lambda: float) -> None:
        """Take one step of descent at ``progress`` in [0, 1]."""

    def reading(self) -> tuple[float, float]:
        """Return bits per point and mean squared error."""


class ProposalFit:
    """Fits a proposal network over random crops; ``weights`` (n,) of the grids' networks stay as they are."""

    def __init__(
        self, config: GridsConfig, weights: Tensor, draw: Callable[[], Tensor], begin: GridProposal | None
    ) -> None:
        self.config, self.draw, self.steps = config, draw, 0
        self.parts = config.parts(weights)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.network = GridProposal(config.grids, config.channels)
        if begin is not None:
            self.network.load_state_dict(begin.state_dict())
        self.random = torch.Generator().manual_seed(0)
        self.descent = Muon(self.network.parameters(), PROPOSAL_RATE)
        self._seen: list[tuple[float, float]] = []

    def step(self, progress: float, log_lambda: float) -> None:
        """Take one step of descent at ``progress`` in [0, 1]."""
        for group in self.descent.param_groups:
            group["lr"] = cosine_lr(PROPOSAL_RATE, progress, self.steps, floor=LR_FLOOR, ramp=PROPOSAL_RAMP)
        self.steps += 1
        values = self.draw()
        points = values[0].numel()
        grids = [sample(grid, PROPOSAL_TEMPERATURE, PROPOSAL_NOISE, self.random) for grid in self.network(values)]
        bits = grid_bits(self.config, grids, self.parts) / points
        mask = torch.ones(values.shape[1:])
        error = grid_errors(self.config, grid_features(grids), values, mask, self.parts) / points
        self.descent.zero_grad()
        (bits + math.exp(log_lambda) * error).backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), MAX_PROPOSAL_GRADIENT)
        self.descent.step()
        self._seen.append((bits.item(), error.item()))

    def reading(self) -> tuple[float, float]:
        """Return means over the crops since the last call: bits per point and mean squared error."""
        seen, self._seen = self._seen, []
        return float(np.mean([bits for bits, _ in seen])), float(np.mean([error for _, error in seen]))


@dataclass
class GridState(RunState):
    """Holds where a training is.

    Attributes:
        mean: (A, n).
        fitted: weights of single crops, (A, singles, n).
        bits: bits per point, (A,).
        proposals: parameters of proposal networks, (A, ...) each.
        grids: latents of the mosaic, (A, H, W) each, finest first.
        done: number of tasks that are done.
        begun: ``seconds`` at which the task in progress began.
        begun_step: ``steps`` at which it began.
        fit: the fit in progress.
        looked: when figures were read last.
        reading: those figures.
    """

    mean: Tensor
    fitted: Tensor
    bits: Tensor
    proposals: dict[str, Tensor]
    grids: list[Tensor]
    done: int = 0
    begun: float = 0.0
    begun_step: int = 0
    fit: Fit | None = None
    looked: float = -math.inf
    reading: dict[str, float] = field(default_factory=dict)

    def tensors(self) -> dict[str, Tensor]:
        """Return what a checkpoint holds, by name."""
        return {
            "mean": self.mean,
            "fitted": self.fitted,
            "bits": self.bits,
            **{f"proposals.{key}": value for key, value in self.proposals.items()},
            **{f"grids.{number}": value for number, value in enumerate(self.grids)},
        }


class GridsTrainer(Trainer[GridState, GridsPrior]):
    """Learns a prior of latent grids on the CPU; crops come from the seed.

    Every task ends with a step at the end of its own schedule.

    Args:
        config: what is learned and for how long.
        source: training images.
    """

    def __init__(self, config: GridsTraining, source: PatchSource) -> None:
        super().__init__(config.minutes, config.steps)
        self.config, self.source = config, source
        middle, anchors = config.network.anchors // 2, config.network.anchors
        others, proposal = MEANS_SHARE / (anchors - 1), PROPOSALS_SHARE / (anchors + 1)
        single = (1.0 - FIRST_SHARE - MEANS_SHARE - PROPOSALS_SHARE) / (anchors * config.singles)
        outwards = [(a, a + (a < middle) - (a > middle)) for a in range(anchors) if a != middle]
        outwards.sort(key=lambda pair: abs(pair[0] - middle))
        self.tasks = [
            Task("mean", middle, FIRST_SHARE),
            *(Task("mean", a, others, begin) for a, begin in outwards),
            Task("proposal", middle, 2 * proposal),
            *(Task("proposal", a, proposal, begin) for a, begin in outwards),
            *(Task("crop", a, single, crop=crop) for crop in range(config.singles) for a in range(anchors)),
        ]

    def log_lambda(self, anchor: int) -> float:
        """Return log(lambda) of an anchor."""
        low, high = self.config.network.log_lambdas
        return low + (high - low) * anchor / (self.config.network.anchors - 1)

    def start(self) -> GridState:
        """Return a fresh state."""
        network, n = self.config.network, self.config.network.n_weights
        proposal = GridProposal(network.grids, network.channels).state_dict()
        height, width = (count * self.config.crop for count in self.config.mosaic)
        return GridState(
            mean=torch.zeros(network.anchors, n),
            fitted=torch.zeros(network.anchors, self.config.singles, n),
            bits=torch.zeros(network.anchors),
            proposals={key: torch.zeros(network.anchors, *value.shape) for key, value in proposal.items()},
            grids=[torch.zeros(network.anchors, height >> i, width >> i) for i in range(network.grids)],
        )

    def is_over(self, state: GridState) -> bool:
        """Return whether all tasks are done."""
        return state.done >= len(self.tasks)

    def _stage(self, state: GridState, done: float) -> str:
        task = self.tasks[state.done]
        return f"{task.what}{f' {task.crop + 1}' if task.what == 'crop' else ''}, anchor {task.anchor + 1}"

    def _step(self, state: GridState, done: float) -> dict[str, float]:
        task = self.tasks[state.done]
        if state.fit is None:
            state.fit, state.begun, state.begun_step = self._begin(state, task), state.seconds, state.steps
        in_task = RunState(seconds=state.seconds - state.begun, steps=state.steps - state.begun_step)
        done = share_done(self.minutes, self.planned_steps, in_task) / task.share
        log_lambda = self.log_lambda(task.anchor)
        state.fit.step(min(done, 1.0), log_lambda)
        state.steps += 1
        if done >= 1.0:
            self._end(state, task, state.fit)
        if done >= 1.0 or self.clock() - state.looked > LOG_SECONDS:
            bits, error = state.fit.reading()
            state.reading = {
                "anchor": task.anchor,
                "bits_per_point": bits,
                "db": -10.0 * math.log10(max(error, 1e-12)),
                "cost": bits + error * math.exp(log_lambda),
            }
            state.looked = self.clock()
        if done >= 1.0:
            state.fit = None
            state.done += 1
        return state.reading

    def _begin(self, state: GridState, task: Task) -> Fit:
        network, mean = self.config.network, state.mean[task.anchor]
        if task.what == "proposal":
            begin = None if task.begin is None else self._proposal(state, task.begin)
            rng = np.random.default_rng((self.config.seed, 1 + task.anchor))

            def draw() -> Tensor:
                return torch.from_numpy(self.source.draw(1, rng)[0]).permute(2, 0, 1).contiguous()

            return ProposalFit(network, mean, draw, begin)
        if task.what == "crop":
            problem = self._crop_problem(task.crop)
            with torch.no_grad():
                proposed = self._proposal(state, task.anchor)(problem.values)
            return GridFit(network, problem, mean, self._first_deviation(mean), proposed)
        start = (
            network.first_weights(torch.Generator().manual_seed(self.config.seed))
            if task.begin is None
            else state.mean[task.begin]
        )
        # Latents grow sooner than they shrink: below the middle they begin at 0.
        upwards = task.begin is not None and task.begin < task.anchor
        grids = [grid[task.begin] for grid in state.grids] if upwards else None
        return GridFit(network, self._mosaic, start, None, grids)

    def _end(self, state: GridState, task: Task, fit: Fit) -> None:
        if isinstance(fit, ProposalFit):
            for key, value in fit.network.state_dict().items():
                state.proposals[key][task.anchor] = value
            return
        assert isinstance(fit, GridFit)
        if task.what == "crop":
            state.fitted[task.anchor, task.crop] = fit.weights.detach()
            return
        state.mean[task.anchor] = fit.weights.detach()
        for grid, found in zip(state.grids, fit.latents, strict=True):
            grid[task.anchor] = found.detach() * LATENT_GAIN
        state.bits[task.anchor] = fit.reading()[0]

    def _proposal(self, state: GridState, anchor: int) -> GridProposal:
        network = GridProposal(self.config.network.grids, self.config.network.channels)
        network.load_state_dict({key: value[anchor] for key, value in state.proposals.items()})
        return network

    def _first_deviation(self, mean: Tensor) -> Tensor:
        out = torch.empty_like(mean)
        for place in self.config.network.places.values():
            out[place] = (FIRST_DEVIATION * mean[place].square().mean().sqrt()).clamp_min(0.01)
        return out

    @cached_property
    def _crops(self) -> Tensor:
        """Return crops (N, C, S, S): those of the mosaic, then those that are fitted alone."""
        count = self.config.mosaic[0] * self.config.mosaic[1] + self.config.singles
        drawn = self.source.draw(count, np.random.default_rng(self.config.seed))
        return torch.from_numpy(drawn).permute(0, 3, 1, 2)

    @cached_property
    def _mosaic(self) -> GridProblem:
        down, across = self.config.mosaic
        rows = [torch.cat(list(self._crops[across * i : across * (i + 1)]), dim=2) for i in range(down)]
        values = torch.cat(rows, dim=1).contiguous()
        return GridProblem(values, torch.ones(values.shape[1:]))

    def _crop_problem(self, number: int) -> GridProblem:
        values = self._crops[self.config.mosaic[0] * self.config.mosaic[1] + number].contiguous()
        return GridProblem(values, torch.ones(values.shape[1:]))

    def _step_bits(self, fit: GridFit, log_lambda: float) -> dict[str, int]:
        """Return log2 of the step of every tensor, in units of 2^-16.

        It is where the cost of rounding for a typical image and the digits of the weights take fewest bits together.
        """
        random, weights = torch.Generator().manual_seed(0), fit.weights.detach()
        before, out = fit.cost(weights, log_lambda), {}
        for name, place in self.config.network.places.items():
            count, found = place.stop - place.start, dict[int, float]()
            for bits in range(3, MAX_STEP_BITS):
                lost = 0.0
                for _ in range(STEP_DRAWS):
                    moved = weights.clone()
                    moved[place] += 2.0 ** (bits - WEIGHT_BITS) * (torch.rand(count, generator=random) - 0.5)
                    lost += (fit.cost(moved, log_lambda) - before) / STEP_DRAWS
                found[bits] = lost * TYPICAL_POINTS / fit.problem.points - count * bits
                if bits > min(found) + 2 and found[bits] > found[bits - 1] > found[bits - 2]:
                    break
            out[name] = min(found, key=lambda bits: found[bits])
        return out

    def finish(self, state: GridState, card: dict[str, Any]) -> GridsPrior:
        """Return the prior that the training has reached."""
        network = self.config.network
        middle = network.anchors // 2
        fit = GridFit(network, self._mosaic, state.mean[middle], None, [grid[middle] for grid in state.grids])
        step_bits = self._step_bits(fit, self.log_lambda(middle))
        squared = (state.fitted - state.mean[:, None]).square().mean(dim=1)
        deviation = torch.empty_like(squared)
        for name, place in network.places.items():
            # A few crops say little about one weight, much about all of a tensor.
            rounding = (2.0 ** (step_bits[name] - WEIGHT_BITS)) ** 2 / 12.0
            shared = squared[:, place].mean(dim=1, keepdim=True)
            deviation[:, place] = (0.5 * squared[:, place] + 0.5 * shared + rounding).sqrt()
        proposed = [self._proposed_bits(state, anchor) for anchor in range(network.anchors)]
        return GridsPrior.make(
            self.config.name,
            network,
            state.mean,
            deviation.clamp_min(MIN_DEVIATION),
            step_bits,
            _rising(state.bits.tolist()),
            _rising(proposed),
            state.proposals,
            card,
        )

    @torch.no_grad()
    def _proposed_bits(self, state: GridState, anchor: int) -> float:
        """Return bits per point of what is proposed for the mosaic, rounded."""
        grids = [grid.round() for grid in self._proposal(state, anchor)(self._mosaic.values)]
        parts = self.config.network.parts(state.mean[anchor])
        return float(grid_bits(self.config.network, grids, parts)) / self._mosaic.points

    def save(self, state: GridState, folder: Path) -> None:
        """Write a checkpoint of all tasks that are done."""
        within = state.fit is not None
        seconds, steps = (state.begun, state.begun_step) if within else (state.seconds, state.steps)
        head = {**state.counters(), "done": state.done, "steps": steps, "seconds": seconds}
        write_checkpoint(folder, state.tensors(), head, state.steps)

    def resume(self, folder: Path) -> GridState:
        """Return the state of a checkpoint.

        Raises:
            FormatError: the checkpoint cannot be read or does not fit.
        """
        tensors, head = read_checkpoint(folder, self.device)
        state = self.start()
        places = state.tensors()
        if {k: v.shape for k, v in places.items()} != {k: v.shape for k, v in tensors.items()}:
            raise FormatError(f"{folder}: checkpoint cannot be used: it is of another training")
        for name, tensor in tensors.items():
            places[name].copy_(tensor)
        try:
            state.done = int(head["done"])
            state.restore_counters(head)
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"{folder}: checkpoint cannot be used: it lacks or misstates {error}") from None
        return state


def _rising(values: Sequence[float]) -> tuple[float, ...]:
    """Return the values made strictly increasing."""
    return tuple(float(v) * (1.0 + 1e-6 * i) for i, v in enumerate(np.maximum.accumulate(np.maximum(values, 1e-6))))
