"""The cost of a training step as a function of one array of parameters, so that a GPU can capture the whole step.

A captured step of many small tensors is bound by the number of its kernels, so every kind of state is one array: the
float32 parameters, which the model's own are views of; the weights in bfloat16, which the convolutions read; gradients,
momentum and averages. Weights of one shape lie one after the other, as the stack that Muon takes them in.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from inrcodec.codecs.hierarchical.elbo import elbo, native_fourier
from inrcodec.codecs.hierarchical.model import HierarchicalINR
from inrcodec.codecs.hierarchical.rate_conv import RateConv
from inrcodec.codecs.hierarchical.training import HierarchicalTraining, balanced
from inrcodec.training.muon import SIZE, orthogonalised

MOMENTUM, BETAS, EPS = 0.95, (0.9, 0.99), 1e-8
"""Momentum of Muon for matrices; decay rates and epsilon of Adam for all other parameters."""


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
