"""Training of the hierarchical model on a GPU: images in its memory, whole steps captured as a CUDA graph.

    images -> ImageBank, on the device -> crops -> FlatParameters.descend, one graph -> averaged parameters -> prior

What is learned is what ``training`` learns, by the same cost and the same steps. All parameters are one array
(``flat_parameters``).

In float32 a step is that of ``HierarchicalTrainer.descend`` up to rounding, but for one thing: readings of features
(``HierarchicalTraining.auxiliary``) are moved by Adam, not by Muon. Everything but the graph runs on a CPU too, where
it is tested. On one H200 the recipe photographs-large trains on 92 million points a second; on one CPU core of a server
on 0.08 million.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inrcodec.codecs.hierarchical.elbo import sampled_points
from inrcodec.codecs.hierarchical.flat_parameters import Cost, FlatParameters, Inputs
from inrcodec.codecs.hierarchical.growth import grown
from inrcodec.codecs.hierarchical.image_bank import SCALES, ImageBank, LevelArray
from inrcodec.codecs.hierarchical.klt import start_as_klt
from inrcodec.codecs.hierarchical.model import HierarchicalINR
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
from inrcodec.codecs.hierarchical.training import EMA_RAMP, KLT_POINTS, LR_RAMP, HierarchicalTraining, finished_prior
from inrcodec.errors import FormatError
from inrcodec.training.captured import LateFigures, captured
from inrcodec.training.checkpoint import read_checkpoint, write_checkpoint
from inrcodec.training.loop import LR_FLOOR, RunState, cosine_lr, kept_share
from inrcodec.training.trainer import Show, Trainer


def accelerated(config: HierarchicalTraining) -> HierarchicalTraining:
    """Return the settings of a training of images for a GPU: larger crops and more of them."""
    return replace(
        config,
        patch_shape=(256, 256),
        batch=32,
        small_share=0.0,
        noisy_share=min(config.noisy_share, 0.35),
        auxiliary_share=min(config.auxiliary_share, 0.25),
        ema=0.9995,
        point_share=0.25,
    )


@dataclass
class FlatState(RunState):
    """All that changes during a training on a GPU.

    Attributes:
        flat: parameters and what steps keep of them.
        inputs: what the next step reads.
        figures: reads the figures of steps.
        take: the step, captured when it is first taken.
    """

    flat: FlatParameters
    inputs: Inputs
    figures: LateFigures
    take: Callable[[], Tensor] | None = field(default=None)


class FlatTrainer(Trainer[FlatState, HierarchicalPrior]):
    """Trains the hierarchical model on images in the memory of a device.

    Random numbers come from the seed and the number of the step.

    Args:
        config: what is trained and for how long; crops are square.
        images: training images, (H, W, 3) each.
        scales: smallest and largest factor by which images are resampled.
        device: where to compute.
        begin: a learned model to fine-tune.
        low: type in which convolutions compute; None for bfloat16 on a GPU and float32 elsewhere.
    """

    def __init__(
        self,
        config: HierarchicalTraining,
        images: Sequence[LevelArray],
        scales: tuple[float, float] = SCALES,
        device: str = "cuda",
        begin: HierarchicalINR | None = None,
        low: torch.dtype | None = None,
    ) -> None:
        super().__init__(config.minutes, config.steps, device)
        self.config, self.begin = config, begin
        self.low = low or (torch.bfloat16 if self.device.type == "cuda" else torch.float32)
        self.bank = ImageBank(images, scales, config.patch_shape[0], self.device, config.seed)

    def start(self) -> FlatState:
        """Return a fresh state.

        Raises:
            UsageError: the model to fine-tune does not fit.
        """
        config, device, side = self.config, self.device, self.config.patch_shape[0]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            model = HierarchicalINR(config.network) if self.begin is None else grown(self.begin, config.network)
            if self.begin is None and config.network.patch:
                start_as_klt(model, self.bank.draw(max(1, KLT_POINTS // side**2)).cpu())
            cost = Cost(model, side, config).to(device)
        flat = FlatParameters(cost, device, self.low)
        values = torch.zeros(config.batch, config.network.channels, side, side, device=device)
        with torch.random.fork_rng(devices=[]):
            points = sampled_points(side * side, config.point_share, device=device)
        inputs = Inputs(
            values.to(memory_format=torch.channels_last),
            torch.full((config.batch,), 0.5 * sum(config.network.log_lambdas), device=device),
            points,
            torch.zeros((), device=device),
            torch.ones((), device=device),
            torch.ones((), dtype=torch.bool, device=device),
        )
        return FlatState(flat, inputs, LateFigures(3, device))

    def save(self, state: FlatState, folder: Path) -> None:
        """Write a checkpoint; the one before it stays whole until the new one is complete."""
        write_checkpoint(folder, state.flat.tensors(), state.counters(), state.steps)

    def resume(self, folder: Path) -> FlatState:
        """Return the state of a checkpoint.

        Raises:
            FormatError: the checkpoint cannot be read or does not fit.
        """
        tensors, head = read_checkpoint(folder, self.device)
        state = self.start()
        places = state.flat.tensors()
        if {k: v.shape for k, v in places.items()} != {k: v.shape for k, v in tensors.items()}:
            raise FormatError(f"{folder}: checkpoint cannot be used: it is of another training")
        for name, place in places.items():
            place.copy_(tensors[name])
        try:
            state.restore_counters(head)
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"{folder}: checkpoint cannot be used: {error}") from None
        return state

    def run(
        self, state: FlatState, *, until_seconds: float, checkpoint: Path | None, progress: Show[FlatState]
    ) -> None:
        """Train until the end or until ``until_seconds`` of wall time have gone by; see ``Trainer.run``."""
        with _quick_kernels(self.device):
            super().run(state, until_seconds=until_seconds, checkpoint=checkpoint, progress=progress)

    def _stage(self, state: FlatState, done: float) -> str:
        return "noisy" if done < self.config.noisy_share else "rounded"

    def _step(self, state: FlatState, done: float) -> dict[str, float]:
        config, side = self.config, self.config.patch_shape[0]
        torch.manual_seed(config.seed + 7919 * state.steps)
        values = self.bank.draw(config.batch)
        low, high = config.network.log_lambdas
        log_lambda = low + (high - low) * torch.rand(config.batch, device=self.device) ** config.rate_power
        points = sampled_points(side * side, config.point_share, device=self.device)
        return self.descend(state, done, values, log_lambda, points)

    def descend(
        self, state: FlatState, done: float, values: Tensor, log_lambda: Tensor, points: Tensor | None
    ) -> dict[str, float]:
        """Take a step on a minibatch and return figures for the log, on a GPU those of the step before.

        Noise comes from torch's global generator.

        Args:
            state: what is trained; changed in place.
            done: share of the training that is done.
            values: crops, (N, C, H, W).
            log_lambda: (N,), one rate per crop.
            points: numbers of the points at which errors are measured, (P,); None for all.
        """
        config, flat, inputs = self.config, state.flat, state.inputs
        inputs.values.copy_(values)
        inputs.log_lambda.copy_(log_lambda)
        if points is not None and inputs.points is not None:
            inputs.points.copy_(points)
        inputs.auxiliary.fill_(config.auxiliary_weight(done))
        inputs.rate.fill_(config.rate_weight(done))
        inputs.noisy.fill_(done < config.noisy_share)
        flat.lr.fill_(cosine_lr(config.lr, done, state.steps, floor=LR_FLOOR, ramp=LR_RAMP))
        flat.share.fill_(1.0 - kept_share(state.steps + 1, config.ema, EMA_RAMP))
        if state.take is None:
            state.take = captured(partial(flat.descend, inputs), list(flat.tensors().values()), self.device)
        loss, bits, db = state.figures.read(state.take())
        state.steps += 1
        return {"loss": loss, "bits_per_point": bits, "db": db}

    def finish(self, state: FlatState, card: dict[str, Any]) -> HierarchicalPrior:
        """Return the prior that the training has reached, the scales of its head's weights learned from fits."""
        config = self.config
        model = HierarchicalINR(config.network)
        model.load_state_dict(state.flat.averaged())
        values = None
        if config.weight_signals:
            torch.manual_seed(config.seed)
            count = config.weight_signals * (4 if config.network.patch else 1)
            values = self.bank.draw(count).cpu().contiguous(memory_format=torch.channels_last)
        return finished_prior(model, config, values, card)


@contextmanager
def _quick_kernels(device: torch.device) -> Iterator[None]:
    """Let a GPU choose the quickest convolutions and multiply float32 matrices in TF32 for a while."""
    if device.type != "cuda":
        yield
        return
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        with torch.backends.cudnn.flags(benchmark=True, allow_tf32=True):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
