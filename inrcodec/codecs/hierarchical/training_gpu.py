"""Training of the hierarchical model on a GPU: images in its memory, whole steps captured as a CUDA graph.

    images -> ImageBank, on the device -> crops -> FlatParameters.descend, one graph -> averaged parameters -> prior

What is learned is what ``training`` learns, by the same cost and the same steps. A captured step of many small tensors
is bound by the number of its kernels, so every kind of state is one array here: the float32 parameters, which the
model's own are views of; the weights in bfloat16, which the convolutions read; gradients, momentum and averages.
Weights of one shape lie one after the other, as the stack that Muon takes them in.

In float32 a step is that of ``HierarchicalTrainer.descend`` up to rounding, but for one thing: readings of features
(``HierarchicalTraining.auxiliary``) are moved by Adam, not by Muon. Everything but the graph runs on a CPU too, where
it is tested. On one H200 the recipe photographs-large trains on 92 million points a second; on one CPU core of a server
on 0.08 million.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from inrcodec.codecs.hierarchical.elbo import elbo, native_fourier, sampled_points
from inrcodec.codecs.hierarchical.growth import grown
from inrcodec.codecs.hierarchical.image_bank import SCALES, ImageBank, LevelArray
from inrcodec.codecs.hierarchical.klt import start_as_klt
from inrcodec.codecs.hierarchical.model import HierarchicalINR
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
from inrcodec.codecs.hierarchical.rate_conv import RateConv
from inrcodec.codecs.hierarchical.training import (
    EMA_RAMP,
    KLT_POINTS,
    LR_RAMP,
    HierarchicalTraining,
    balanced,
    finished_prior,
)
from inrcodec.errors import FormatError
from inrcodec.training.captured import LateFigures, captured
from inrcodec.training.checkpoint import read_checkpoint, write_checkpoint
from inrcodec.training.loop import LR_FLOOR, RunState, cosine_lr, kept_share
from inrcodec.training.muon import SIZE, orthogonalised
from inrcodec.training.trainer import Show, Trainer

MOMENTUM, BETAS, EPS = 0.95, (0.9, 0.99), 1e-8
"""Momentum of Muon for matrices; decay rates and epsilon of Adam for all other parameters."""


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
class Inputs:
    """What a step reads, in tensors that stay where they are.

    Attributes:
        values: crops, (N, C, H, W).
        log_lambda: (N,).
        points: numbers of the points at which errors are measured, (P,); None for all.
        auxiliary: weight of the readings' error.
        rate: weight of rates.
        noisy: whether the decoder gets noise for rounding.
    """

    values: Tensor
    log_lambda: Tensor
    points: Tensor | None
    auxiliary: Tensor
    rate: Tensor
    noisy: Tensor


class HeldConv(RateConv):
    """A convolution of the model that reads weights and biases which ``FlatParameters`` has prepared.

    Attributes:
        held_weight: the weights in the type that the device multiplies in.
        held_bias: biases of a minibatch's rates, (N, C_out, 1, 1).
    """

    def __init__(self, conv: RateConv, held_weight: Tensor) -> None:
        nn.Module.__init__(self)
        self.kernel, self.periodic, self.groups = conv.kernel, conv.periodic, conv.groups
        self.weight, self.bias = conv.weight, conv.bias
        self.held_weight = held_weight
        self.held_bias = torch.zeros(())

    def forward(self, values: Tensor, rate: Tensor) -> Tensor:
        """Return the convolution with a border of zeros; ``rate`` is in the biases already."""
        border = (self.kernel[0] // 2, self.kernel[1] // 2)
        weight = self.held_weight if self.groups == 1 else self.held_weight[:, None]
        # A depthwise convolution's few weights are not held in the type of the device.
        weight = weight.to(self.held_bias.dtype)
        return functional.conv2d(values.to(weight.dtype), weight, padding=border, groups=self.groups) + self.held_bias


class Cost(nn.Module):
    """The cost of a minibatch, as ``HierarchicalTrainer.descend`` has it.

    Args:
        model: the network.
        side: side of crops.
        config: settings of the training.
    """

    fourier: Tensor

    def __init__(self, model: HierarchicalINR, side: int, config: HierarchicalTraining) -> None:
        super().__init__()
        self.model, self.balance, self.has_readings = model, config.balance, config.auxiliary_share > 0.0
        levels = model.config.levels
        self.auxiliary = nn.ModuleDict(
            {str(i): nn.Conv2d(level.width, model.config.channels, 1) for i, level in enumerate(levels) if i}
        )
        if not self.has_readings:
            self.auxiliary = nn.ModuleDict()
        self.register_buffer("fourier", native_fourier(model.config, side, side))

    def forward(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Return the cost, and for the log the cost, bits per point and PSNR in dB."""
        model, config, values = self.model, self.model.config, inputs.values
        errors: list[Tensor] = []

        def watch(name: str, h: Tensor) -> None:
            level, block = name.split(".")
            if level != "0" and block == "0":
                reading = self.auxiliary[level](h).float() * config.spread + config.centre
                average = functional.avg_pool2d(values, config.levels[int(level)].stride)
                errors.append((reading - average).square().mean(dim=(1, 2, 3)))

        def quantise(residual: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
            sample = residual + torch.rand_like(residual) - 0.5
            nearest = residual + (residual.round() - residual).detach()
            return torch.where(inputs.noisy, sample, nearest), sample

        terms = elbo(
            model,
            values,
            inputs.log_lambda,
            self.fourier,
            quantise,
            watch=watch if self.has_readings else None,
            points=inputs.points,
        )
        bits = terms.bits / (values.shape[2] * values.shape[3])
        error = terms.mse + inputs.auxiliary * torch.stack(errors).sum(0) if self.has_readings else terms.mse
        weighted = error * inputs.log_lambda.exp() + inputs.rate * bits
        cost = balanced(weighted, inputs.log_lambda, config, self.balance)
        db = -10.0 * terms.mse.detach().clamp_min(1e-12).log10()
        return cost, torch.stack([cost.detach(), bits.detach().mean(), db.mean()])


class FlatParameters:
    """All parameters of a cost in one array, [weights by shape, the table of biases, the rest], and steps on them.

    Steps are those of ``training.muon.Muon`` along a gradient whose part for the model is clipped to norm 1; there is
    no step along one that is not finite. Learning rate and share of the average are tensors, so that a graph can hold
    the step.

    Args:
        cost: what is descended; its convolutions and parameters are replaced by views.
        device: where the arrays are.
        low: type in which convolutions compute: bfloat16, or float32 for no conversion.
    """

    def __init__(self, cost: Cost, device: torch.device, low: torch.dtype) -> None:
        convs = dict(cost.model.named_convs())
        weights: list[nn.Parameter] = [conv.weight for conv in convs.values() if conv.groups == 1]
        tables = [conv.bias for conv in convs.values()]
        placed = {id(p) for p in [*weights, *tables]}
        rest = [p for p in cost.parameters() if id(p) not in placed]
        weights.sort(key=lambda p: p.shape)
        groups = itertools.groupby(weights, key=lambda p: p.shape)
        self.shapes = [(tuple(shape), len(list(group))) for shape, group in groups]
        self.n_matrices = sum(p.numel() for p in weights)
        n_all = self.n_matrices + sum(p.numel() for p in [*tables, *rest])
        # Parameters of the model come before those of the readings, which are not clipped.
        self.n_model = n_all - sum(p.numel() for p in cost.auxiliary.parameters())
        self.all = torch.empty(n_all, device=device)
        self.low = (
            self.all[: self.n_matrices]
            if low == torch.float32
            else torch.empty(self.n_matrices, dtype=low, device=device)
        )
        place, held = 0, dict[int, Tensor]()
        for p in weights:
            # Channels last in memory, as the device's convolutions want them.
            rows, columns, *kernel = p.shape
            block = slice(place, place + p.numel())
            view = self.all[block].view(rows, *kernel, columns).permute(0, 3, 1, 2)
            view.copy_(p.detach())
            p.data = view
            held[id(p)] = self.low[block].view(rows, *kernel, columns).permute(0, 3, 1, 2).detach().requires_grad_()
            place = block.stop
        table = self.all[place : place + sum(t.numel() for t in tables)].view(len(tables[0]), -1)
        column = 0
        for t in tables:
            view = table[:, column : column + t.shape[1]]
            view.copy_(t.detach())
            t.data = view
            column += t.shape[1]
        place += table.numel()
        for p in rest:
            view = self.all[place : place + p.numel()].view(p.shape)
            view.copy_(p.detach())
            p.data = view
            place += p.numel()
        self.table = table.detach().requires_grad_()
        self.leaves = [held[id(p)] for p in weights]
        self.convs = {name: HeldConv(conv, held.get(id(conv.weight), conv.weight)) for name, conv in convs.items()}
        for name, conv in self.convs.items():
            cost.model.convs[name.replace(".", "-")] = conv
        self.others = [self.table, *rest]
        self.cost, self.widths = cost, [t.shape[1] for t in tables]
        self.mean = self.all.clone()
        self.momentum = torch.zeros(self.n_matrices, device=device)
        self.first, self.second = (torch.zeros(n_all - self.n_matrices, device=device) for _ in range(2))
        self.lr, self.steps, self.share = (torch.zeros((), device=device) for _ in range(3))

    def tensors(self) -> dict[str, Tensor]:
        """Return what a checkpoint keeps: all that steps change."""
        return {
            "all": self.all,
            "mean": self.mean,
            "momentum": self.momentum,
            "first": self.first,
            "second": self.second,
            "steps": self.steps,
        }

    def descend(self, inputs: Inputs) -> Tensor:
        """Take a step and return what ``Cost`` gives for the log."""
        low = self.low.dtype
        if low != torch.float32:
            with torch.no_grad():
                self.low.copy_(self.all[: self.n_matrices])
        biases = (self.cost.model.rates(inputs.log_lambda) @ self.table).to(low)[:, :, None, None]
        for conv, bias in zip(self.convs.values(), biases.split(self.widths, dim=1), strict=True):
            conv.held_bias = bias
        kind = inputs.values.device.type
        with torch.autocast(kind, torch.bfloat16, enabled=low == torch.bfloat16, cache_enabled=False):
            cost, figures = self.cost(inputs)
        gradients = torch.autograd.grad(cost, [*self.leaves, *self.others])
        n_leaves = len(self.leaves)
        matrices = torch.cat([g.permute(0, 2, 3, 1).reshape(-1) for g in gradients[:n_leaves]]).float()
        self._step(torch.cat([matrices, *[g.reshape(-1) for g in gradients[n_leaves:]]]))
        result: Tensor = figures
        return result

    @torch.no_grad()
    def _step(self, gradient: Tensor) -> None:
        norm = gradient[: self.n_model].norm()
        finite = torch.isfinite(norm)
        gradient[: self.n_model] *= (1.0 / (norm + 1e-6)).clamp_max(1.0)
        gradient = torch.where(finite, gradient, torch.zeros_like(gradient))
        lr = torch.where(finite, self.lr, torch.zeros_like(self.lr))
        matrices, others = gradient[: self.n_matrices], gradient[self.n_matrices :]
        self.momentum.lerp_(matrices, 1.0 - MOMENTUM)
        ahead = matrices.lerp(self.momentum, MOMENTUM)
        sizes = [count * math.prod(shape) for shape, count in self.shapes]
        stacks = zip(ahead.split(sizes), self.shapes, strict=True)
        steps = orthogonalised([stack.view(count, shape[0], -1) for stack, (shape, count) in stacks])
        flat = torch.cat([(SIZE * max(step.shape[1:]) ** 0.5 * step).reshape(-1) for step in steps])
        self.all[: self.n_matrices].sub_(lr * flat)
        self.steps.add_(1.0)
        self.first.lerp_(others, 1.0 - BETAS[0])
        self.second.lerp_(others * others, 1.0 - BETAS[1])
        size = (self.second / (1.0 - BETAS[1] ** self.steps)).sqrt() + EPS
        self.all[self.n_matrices :].sub_(lr * self.first / (1.0 - BETAS[0] ** self.steps) / size)
        self.mean.lerp_(self.all, self.share)

    @torch.no_grad()
    def averaged(self) -> dict[str, Tensor]:
        """Return the averages of the model's parameters, by name, on the CPU."""
        now = self.all.clone()
        self.all.copy_(self.mean)
        averages = {name: p.detach().cpu().clone() for name, p in self.cost.model.named_parameters()}
        self.all.copy_(now)
        return averages


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
