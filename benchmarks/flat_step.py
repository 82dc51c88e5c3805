"""A training step of few kernels for an accelerator: the hierarchical model's parameters, gradients and means, flat.

A captured step of many small tensors is bound by the number of its kernels. Here every kind of state is one array: the
float32 parameters, which the model's own are views of; the weights in bfloat16, which the convolutions read; gradients,
momentum and means. Weights of one shape lie one after the other, as the stack that Muon takes them in.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from types import MethodType

import torch
from torch import Tensor, nn
from torch.nn import functional

from inrcodec.codecs.hierarchical.elbo import elbo, native_fourier
from inrcodec.codecs.hierarchical.model import HierarchicalINR, RateConv
from inrcodec.codecs.hierarchical.training import balanced
from inrcodec.training.muon import SIZE, orthogonalised


def read_what_is_held(self: RateConv, values: Tensor, rate: Tensor) -> Tensor:
    """``RateConv.forward`` by the weights and biases that ``FlatParameters`` holds, the border made on the way."""
    held = self.held  # type: ignore[attr-defined]
    border = (self.kernel[0] // 2, self.kernel[1] // 2)
    return functional.conv2d(values.to(held.weight.dtype), held.weight, padding=border) + held.bias


@dataclass
class Held:
    """Of one convolution: weights as the device multiplies by them, and the biases of a minibatch's rates."""

    weight: Tensor
    bias: Tensor


@dataclass
class Inputs:
    """What a step reads, in places that stay. ``noisy``: whether the decoder gets noise for rounding."""

    values: Tensor
    log_lambda: Tensor
    points: Tensor
    auxiliary: Tensor
    rate: Tensor
    noisy: Tensor


class Cost(nn.Module):
    """The cost that is descended, of one minibatch.

    ``asking``: whether features are asked for the signal too, as ``Inputs.auxiliary`` weighs it.
    """

    def __init__(self, model: HierarchicalINR, side: int, *, asking: bool) -> None:
        super().__init__()
        self.model, self.asking = model, asking
        levels = model.config.levels
        self.auxiliary = nn.ModuleDict(
            {str(i): nn.Conv2d(level.width, 3, 1) for i, level in enumerate(levels) if i and asking}
        )
        self.register_buffer("fourier", native_fourier(model.config, side, side))

    def forward(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """The cost, and for the log: cost, bits per point and dB."""
        model, config, values = self.model, self.model.config, inputs.values
        asked: list[Tensor] = []

        def watch(name: str, h: Tensor) -> None:
            level, block = name.split(".")
            if level != "0" and block == "0":
                read = self.auxiliary[level](h).float() * config.spread + config.centre
                wanted = functional.avg_pool2d(values, config.levels[int(level)].stride)
                asked.append((read - wanted).square().mean(dim=(1, 2, 3)))

        def quantise(residual: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
            sample = residual + torch.rand_like(residual) - 0.5
            nearest = residual + (residual.round() - residual).detach()
            return torch.where(inputs.noisy, sample, nearest), sample

        found = elbo(
            model,
            values,
            inputs.log_lambda,
            self.fourier,
            quantise,
            watch=watch if self.asking else None,
            points=inputs.points,
        )
        bits = found.bits / (values.shape[2] * values.shape[3])
        error = found.mse + inputs.auxiliary * torch.stack(asked).sum(0) if self.asking else found.mse
        cost = balanced(error * inputs.log_lambda.exp() + inputs.rate * bits, inputs.log_lambda, config)
        db = -10.0 * found.mse.detach().clamp_min(1e-9).log10()
        return cost, torch.stack([cost.detach(), bits.detach().mean(), db.mean()])


class FlatParameters:
    """All of a cost's parameters in one array, [matrices by shape, the table of biases, the rest], and their steps.

    Steps are those of ``training.muon.Muon`` along a gradient clipped to norm 1, none along one that is not finite;
    the learning rate is a tensor, so that a graph can hold it.
    """

    def __init__(self, cost: Cost, device: torch.device, low: torch.dtype) -> None:
        self.convs = [conv for _, conv in cost.model.named_convs()]
        weights = [conv.weight for conv in self.convs]
        tables = [conv.bias for conv in self.convs]
        taken = {id(p) for p in [*weights, *tables]}
        rest = [p for p in cost.parameters() if id(p) not in taken]
        weights.sort(key=lambda p: p.shape)
        self.shapes = [(shape, len(list(some))) for shape, some in itertools.groupby(weights, key=lambda p: p.shape)]
        self.n_matrices = sum(p.numel() for p in weights)
        count = self.n_matrices + sum(p.numel() for p in [*tables, *rest])
        self.all = torch.empty(count, device=device)
        self.low = (
            self.all[: self.n_matrices]
            if low == torch.float32
            else torch.empty(self.n_matrices, dtype=low, device=device)
        )
        place, read = 0, {}
        for p in weights:
            # Channels last in memory, as the device's convolutions want them.
            rows, columns, *kernel = p.shape
            n = p.numel()
            view = self.all[place : place + n].view(rows, *kernel, columns).permute(0, 3, 1, 2)
            view.copy_(p.detach())
            p.data = view
            read[id(p)] = self.low[place : place + n].view(rows, *kernel, columns).permute(0, 3, 1, 2).detach()
            place += n
        self.table = self.all[place : place + sum(t.numel() for t in tables)].view(len(tables[0]), -1)
        start = 0
        for t in tables:
            view = self.table[:, start : start + t.shape[1]]
            view.copy_(t.detach())
            t.data = view
            start += t.shape[1]
        place += self.table.numel()
        for p in rest:
            view = self.all[place : place + p.numel()].view(p.shape)
            view.copy_(p.detach())
            p.data = view
            place += p.numel()
        self.table = self.table.detach().requires_grad_()
        self.leaves = [read[id(p)].requires_grad_() for p in weights]
        for conv in self.convs:
            conv.held = Held(read[id(conv.weight)], conv.bias)  # type: ignore[assignment]
            conv.forward = MethodType(read_what_is_held, conv)  # type: ignore[method-assign]
        self.others = [self.table, *rest]
        self.cost, self.widths = cost, [t.shape[1] for t in tables]
        self.mean = self.all.clone()
        self.momentum = torch.zeros(self.n_matrices, device=device)
        self.first, self.second = (torch.zeros(count - self.n_matrices, device=device) for _ in range(2))
        self.lr, self.steps, self.share = (torch.zeros((), device=device) for _ in range(3))
        self.kept = [self.all, self.momentum, self.first, self.second, self.steps, self.mean]

    def descend(self, inputs: Inputs) -> Tensor:
        """One step; what ``Cost`` returns for the log."""
        low = self.low.dtype
        with torch.no_grad():
            self.low.copy_(self.all[: self.n_matrices])
        biases = (self.cost.model.rates(inputs.log_lambda) @ self.table).to(low)[:, :, None, None]
        for conv, bias in zip(self.convs, biases.split(self.widths, dim=1), strict=True):
            conv.held.bias = bias  # type: ignore[union-attr]
        kind = inputs.values.device.type
        with torch.autocast(kind, torch.bfloat16, enabled=low == torch.bfloat16, cache_enabled=False):
            loss, found = self.cost(inputs)
        wanted = [*self.leaves, *self.others]
        gradients = torch.autograd.grad(loss, wanted)
        ours = torch.cat([g.permute(0, 2, 3, 1).reshape(-1) for g in gradients[: len(self.leaves)]]).float()
        self._step(torch.cat([ours, *[g.reshape(-1) for g in gradients[len(self.leaves) :]]]))
        return found

    @torch.no_grad()
    def _step(self, gradient: Tensor) -> None:
        norm = gradient.norm()
        clipped = torch.where(torch.isfinite(norm), gradient / norm.clamp_min(1.0), torch.zeros_like(gradient))
        ours, others = clipped[: self.n_matrices], clipped[self.n_matrices :]
        self.momentum.lerp_(ours, 0.05)
        ahead = ours.lerp(self.momentum, 0.95)
        sizes = [count * math.prod(shape) for shape, count in self.shapes]
        parts = zip(ahead.split(sizes), self.shapes, strict=True)
        steps = orthogonalised([part.view(count, shape[0], -1) for part, (shape, count) in parts])
        flat = torch.cat([(SIZE * max(step.shape[1:]) ** 0.5 * step).reshape(-1) for step in steps])
        self.all[: self.n_matrices].sub_(self.lr * flat)
        self.steps.add_(1.0)
        self.first.lerp_(others, 0.1)
        self.second.lerp_(others * others, 0.01)
        size = (self.second / (1.0 - 0.99**self.steps)).sqrt() + 1e-8
        self.all[self.n_matrices :].sub_(self.lr * self.first / (1.0 - 0.9**self.steps) / size)
        self.mean.lerp_(self.all, self.share)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps; the momentum is found anew within some steps."""
        return {
            "all": self.all,
            "mean": (self.mean - self.all).bfloat16(),
            "first": self.first,
            "second": self.second,
            "steps": self.steps,
        }

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go on from a checkpoint's state."""
        for name in ("all", "first", "second", "steps"):
            getattr(self, name).copy_(state[name])
        self.mean.copy_(self.all + state["mean"].float())

    def averaged(self) -> dict[str, Tensor]:
        """The model's parameters, their mean over the last steps."""
        now = self.all.clone()
        self.all.copy_(self.mean)
        found = {name: p.detach().clone() for name, p in self.cost.model.named_parameters()}
        self.all.copy_(now)
        return found


def captured(step: Callable[[], Tensor], kept: list[Tensor]) -> Callable[[], Tensor]:
    """``step`` as a CUDA graph; the tensors are as they were after the trials that capturing takes."""
    before = [tensor.detach().clone() for tensor in kept]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    with torch.no_grad():
        for tensor, value in zip(kept, before, strict=True):
            tensor.copy_(value)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = step()

    def replay() -> Tensor:
        graph.replay()
        return found

    return replay
