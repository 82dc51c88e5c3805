"""The Bayesian INR with hierarchical latents: y(x) = SIREN_w(features of z at x, Fourier features of x).

The latents z lie on grids of falling stride, coarse to fine, several *latent blocks* per level. Going down from the
coarsest level, features h of what is decoded so far predict each block's prior mean and scale; the decoded latents
are added to h; the features at the finest stride are interpolated at any coordinate x and go, together with Fourier
features of the place within a cell, through a small SIREN whose weights w are Gaussian. A bottom-up network over the
signal proposes posteriors: their mean is the prior mean plus what it says.

One network serves all rates: biases and the posterior step of every latent channel are tables over anchors of
log(lambda) (lambda = 1 / beta), linear in between, which is exact in integers too (``nn.exact``).

The way down is written once, for any arithmetic: ``top_down`` asks a ``Layers`` object for its convolutions, and the
trained network as well as its exact integer form are such objects.

Sources: hierarchical variational autoencoders with a top-down path (Sonderby et al. 2016; Kingma et al. 2016), uniform
posteriors of fixed step and rounding (Balle et al. 2017; Duan et al. 2023), SIREN (Sitzmann et al. 2020), COMBINER
(arXiv 2305.19185).
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from inrcodec.codecs.hierarchical.checkerboard import scatter_color, take_color
from inrcodec.codecs.hierarchical.config import HierarchicalConfig, LevelConfig, block_phase, fourier_count
from inrcodec.nn.strips import in_strips

LARGE = 1 << 23
"""Numbers of a level's features of the signal beyond which they are kept in float16."""
ENCODER = ("shrink.", "rise.", "ask_in.", "ask_out.")
"""How the names of the encoder's convolutions begin."""


class Layers(Protocol):
    """Arithmetic of the way down; tensors are (N, C, H, W)."""

    config: HierarchicalConfig

    def start(self, count: int, height: int, width: int) -> Tensor:
        """Features before anything is decoded, at the coarsest stride."""
        ...

    def conv(self, name: str, values: Tensor) -> Tensor:
        """Convolution with bias."""
        ...

    def relu(self, values: Tensor) -> Tensor:
        """max(0, values)."""
        ...

    def local(self, function: Callable[..., Tensor], values: Tensor, *others: Tensor, halo: int) -> Tensor:
        """``function`` of arrays of equal height, a row of whose outcome depends on rows at most ``halo`` away; the
        first array may be written over."""
        ...


Choose = Callable[[str, Tensor, Tensor], Tensor]
"""(name of the latent block, features, prior parameters (N, 2c, h, w): means and log scales) -> latents (N, c, h, w);
features are those of the whole grid, (h, w) the block's places on it (``codecs.hierarchical.checkerboard.pick``)"""


def top_down(layers: Layers, count: int, height: int, width: int, choose: Choose) -> Tensor:
    """Features at the finest stride, after ``choose`` has given the latents of every block.

    ``height`` and ``width`` are those of the coarsest level's grid.
    """
    config = layers.config
    h = layers.start(count, height, width)
    for i, level in enumerate(config.levels):
        if i:
            h = layers.local(_upwards(layers, i), h, halo=0)
        for j, n_blocks in enumerate(blocks_before(level)):
            for k in range(n_blocks):
                h = layers.local(_residual(layers, f"down.{i}.{j}.{k}"), h, halo=1)
            name = f"{i}.{j}"
            phase = block_phase(config, name)
            prior = layers.local(_prior(layers, name), take_color(h, phase), halo=0)
            h = layers.local(_with_latents(layers, name), h, scatter_color(choose(name, h, prior), phase), halo=1)
    return h


def _upwards(layers: Layers, level: int) -> Callable[[Tensor], Tensor]:
    config = layers.config
    factor = config.levels[level - 1].stride // config.levels[level].stride
    return lambda h: shuffle_up(layers.conv(f"up.{level}", h), factor, config.axes)


def _prior(layers: Layers, name: str) -> Callable[[Tensor], Tensor]:
    return lambda h: layers.conv(f"prior_out.{name}", layers.relu(layers.conv(f"prior_in.{name}", h)))


def _with_latents(layers: Layers, name: str) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda h, latents: h + layers.conv(f"latent_in.{name}", latents)


def blocks_before(level: LevelConfig) -> list[int]:
    """How many of a level's residual blocks lie before each of its latent blocks; the first get more."""
    each, more = divmod(level.blocks_down, len(level.latents))
    return [each + (1 if j < more else 0) for j in range(len(level.latents))]


def _residual(layers: Layers, name: str) -> Callable[[Tensor], Tensor]:
    return lambda h: h + layers.conv(f"{name}.out", layers.relu(layers.conv(f"{name}.in", h)))


def shuffle_up(values: Tensor, factor: int, axes: int) -> Tensor:
    """Depth to space: (N, C f^axes, H, W) to (N, C, H f, W f), or along the last axis alone."""
    if axes == 2:
        return functional.pixel_shuffle(values, factor)
    count, channels, height, width = values.shape
    parts = values.view(count, channels // factor, factor, height, width)
    return parts.permute(0, 1, 3, 4, 2).reshape(count, channels // factor, height, width * factor)


def shuffle_down(values: Tensor, factor: int, axes: int) -> Tensor:
    """Inverse of ``shuffle_up``."""
    if axes == 2:
        return functional.pixel_unshuffle(values, factor)
    count, channels, height, width = values.shape
    parts = values.view(count, channels, height, width // factor, factor)
    return parts.permute(0, 1, 4, 2, 3).reshape(count, channels * factor, height, width // factor)


def drawn(*shape: int, scale: float = 1.0) -> Tensor:
    """Normal random numbers; on the device "meta", where a network is made for its shapes alone, nothing is drawn: one
    operation with numbers there has torch load its compiler, half a second."""
    out = torch.empty(*shape)
    return out if out.is_meta else out.normal_().mul_(scale)


class RateConv(nn.Module):
    """Convolution whose bias is a table over rate anchors, (A, C_out); 3x3 (1x3 for one axis) or 1x1."""

    def __init__(self, n_in: int, n_out: int, kernel: int, config: HierarchicalConfig, gain: float = 1.0) -> None:
        super().__init__()
        rows = kernel if config.axes == 2 else 1
        self.kernel, self.periodic = (rows, kernel), config.periodic
        bound = gain * math.sqrt(2.0 / (n_in * rows * kernel))
        self.weight = nn.Parameter(drawn(n_out, n_in, rows, kernel, scale=bound))
        self.bias = nn.Parameter(torch.zeros(config.n_anchors, n_out))

    def forward(self, values: Tensor, rate: Tensor) -> Tensor:
        """``rate`` (N, A): weights of the anchors."""
        out = functional.conv2d(*self.padded(values), self.weight)
        return out + (rate @ self.bias).to(out.dtype)[:, :, None, None]

    def padded(self, values: Tensor) -> tuple[Tensor]:
        """Values with the border that keeps their size: zeros, on a circle the values of the other end."""
        return (pad_border(values, self.kernel, self.periodic),)


def pad_border(values: Tensor, kernel: tuple[int, int], periodic: bool) -> Tensor:
    """Border of half a kernel: zeros, at the ends of a circle the values of the other end."""
    rows, columns = kernel[0] // 2, kernel[1] // 2
    if columns and periodic:
        values = functional.pad(values, (columns, columns, 0, 0), mode="circular")
        columns = 0
    return functional.pad(values, (columns, columns, rows, rows)) if rows or columns else values


def rate_weights(config: HierarchicalConfig, log_lambda: Tensor) -> Tensor:
    """Weights (N, A) of the anchors for (N,) log lambdas: linear between neighbours, the ends beyond."""
    low, high = config.log_lambdas
    place = ((log_lambda - low) / (high - low)).clamp(0.0, 1.0) * (config.n_anchors - 1)
    anchors = torch.arange(config.n_anchors, device=log_lambda.device)
    return (1.0 - (place[:, None] - anchors).abs()).clamp_min(0.0)


class HierarchicalINR(nn.Module):
    """The whole model in floating point: proposals on the way up, priors on the way down, the SIREN head."""

    def __init__(self, config: HierarchicalConfig) -> None:
        super().__init__()
        self.config = config
        self.convs = nn.ModuleDict()
        levels = config.levels
        self.first = nn.Parameter(torch.zeros(levels[0].width))
        low, high = config.log_lambdas
        # About their mean; in Python's arithmetic for the sake of shapes alone (see ``drawn``).
        steps = [0.5 * (high - low) * (0.5 - a / (config.n_anchors - 1)) for a in range(config.n_anchors)]
        self.log_steps = nn.ParameterDict()
        for i, level in enumerate(levels):
            w = level.width
            if i:
                factor = levels[i - 1].stride // level.stride
                self._add(f"up.{i}", levels[i - 1].width, w * factor**config.axes, 1, 0.7)
            for j, n_blocks in enumerate(blocks_before(level)):
                for k in range(n_blocks):
                    self._add_residual(f"down.{i}.{j}.{k}", w)
                c = level.latents[j]
                self._add(f"prior_in.{i}.{j}", w, w, 1)
                self._add(f"prior_out.{i}.{j}", w, 2 * c, 1, 0.3)
                self._add(f"latent_in.{i}.{j}", c, w, 3, 0.7)
                self._add(f"ask_in.{i}.{j}", 2 * w, w, 1)
                self._add(f"ask_out.{i}.{j}", w, c, 3, 0.5)
                self.log_steps[f"{i}-{j}"] = nn.Parameter(torch.zeros(config.n_anchors, c))
                with torch.no_grad():
                    for anchor, step in enumerate(steps):
                        self.log_step(f"{i}.{j}")[anchor].fill_(step)
                        self.conv(f"prior_out.{i}.{j}").bias[anchor, c:].fill_(-step)
        ratios = [config.channels, *[level.width for level in reversed(levels)]]
        strides = [1, *[level.stride for level in reversed(levels)]]
        for index, (n_in, n_out) in enumerate(itertools.pairwise(ratios)):
            factor = strides[index + 1] // strides[index]
            i = len(levels) - 1 - index
            self._add(f"shrink.{i}", n_in * factor**config.axes, n_out, 3 if index == 0 else 1, 0.7)
            for k in range(levels[i].blocks_up):
                self._add_residual(f"rise.{i}.{k}", n_out)
        self._add_head()

    def _add(self, name: str, n_in: int, n_out: int, kernel: int, gain: float = 1.0) -> None:
        self.convs[name.replace(".", "-")] = RateConv(n_in, n_out, kernel, self.config, gain)

    def _add_residual(self, name: str, width: int) -> None:
        self._add(f"{name}.in", width, width, 3)
        self._add(f"{name}.out", width, width, 1, 0.2)

    def conv(self, name: str) -> RateConv:
        """A convolution by name."""
        return self.convs[name.replace(".", "-")]  # type: ignore[return-value]

    def named_convs(self) -> Iterator[tuple[str, RateConv]]:
        """All convolutions with their names."""
        for key, conv in self.convs.items():
            yield key.replace("-", "."), conv  # type: ignore[misc]

    def with_own_encoder(self) -> HierarchicalINR:
        """A model that shares everything but the way up and the proposals, of which it has copies."""
        made = copy.copy(self)
        made._modules = dict(self._modules)
        made.convs = nn.ModuleDict(dict(self.convs.items()))
        for name, conv in self.named_convs():
            if name.startswith(ENCODER):
                made.convs[name.replace(".", "-")] = copy.deepcopy(conv)
        return made

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Those of the way up and of the proposals, which a decoder has no use for."""
        return [p for name, conv in self.named_convs() if name.startswith(ENCODER) for p in conv.parameters()]

    def log_step(self, name: str) -> Tensor:
        """Table (A, c) of the log posterior steps of a latent block."""
        return self.log_steps[name.replace(".", "-")]

    def _add_head(self) -> None:
        config = self.config
        finest = config.levels[-1]
        if config.feature_stride < finest.stride:
            factor = finest.stride // config.feature_stride
            self._add("widen", finest.width, config.feature_width * factor**config.axes, 1, 0.7)
        else:
            self._add("widen", finest.width, config.feature_width, 1, 0.7)
        self._add_residual("last", config.feature_width)
        n_fourier = fourier_count(config)
        self._add("to_head", config.feature_width, config.head_width + config.channels * (1 + n_fourier), 1, 0.5)
        width, channels = config.head_width, config.channels
        self.fourier = nn.Parameter(drawn(n_fourier, width))
        self.head = nn.Parameter(initial_head(width, channels))

    def rates(self, log_lambda: Tensor) -> Tensor:
        """Anchor weights (N, A)."""
        return rate_weights(self.config, log_lambda)

    def steps(self, name: str, rate: Tensor) -> Tensor:
        """Posterior steps (N, c, 1, 1) of a latent block."""
        return (rate @ self.log_step(name).exp())[:, :, None, None]

    def bottom_up(self, values: Tensor, rate: Tensor) -> list[Tensor]:
        """Features of a signal (N, C, H, W), sizes multiples of the coarsest stride: one tensor per level, coarsest
        first; large ones in float16 where no gradient is wanted."""
        out: list[Tensor] = []
        h = (values - self.config.centre) / self.config.spread
        stride = 1
        for i in reversed(range(len(self.config.levels))):
            level = self.config.levels[i]
            h = shuffle_down(h, level.stride // stride, self.config.axes)
            h = self._local(partial(self._risen, i, rate), h, halo=1 + level.blocks_up)
            if h.numel() > LARGE and not torch.is_grad_enabled():
                h = h.half()
            stride = level.stride
            out.insert(0, h)
        return out

    def _risen(self, i: int, rate: Tensor, h: Tensor) -> Tensor:
        h = self.conv(f"shrink.{i}")(h.float() if h.dtype == torch.float16 else h, rate)
        for k in range(self.config.levels[i].blocks_up):
            name = f"rise.{i}.{k}"
            h = h + self.conv(f"{name}.out")(functional.relu(self.conv(f"{name}.in")(h, rate)), rate)
        return h

    def _local(self, function: Callable[..., Tensor], values: Tensor, *others: Tensor, halo: int) -> Tensor:
        """Strip by strip where no gradient is wanted."""
        if torch.is_grad_enabled():
            return function(values, *others)
        return in_strips(function, values, *others, halo=halo)

    def propose(self, name: str, h: Tensor, risen: list[Tensor], rate: Tensor, unit: float = 1.0) -> Tensor:
        """Posterior mean less prior mean of a latent block at its places, in latent units; features are in units of
        ``unit``."""

        def asked(h: Tensor, risen: Tensor) -> Tensor:
            h = h if unit == 1.0 else (h * unit).float()
            both = torch.cat([h, risen.to(h.dtype)], dim=1)
            hidden = functional.relu(self.conv(f"ask_in.{name}")(both, rate))
            out: Tensor = self.conv(f"ask_out.{name}")(hidden, rate)
            return out

        found = self._local(asked, h, risen[int(name.split(".")[0])], halo=1)
        return take_color(found, block_phase(self.config, name))

    def layers(self, rate: Tensor) -> FloatLayers:
        """The way down at given rates."""
        return FloatLayers(self, rate)

    def features(self, h: Tensor, rate: Tensor) -> Tensor:
        """Features at the finest stride to those that the head interpolates, (N, head_width + C (1 + F), H', W')."""
        config = self.config
        h = shuffle_up(self.conv("widen")(h, rate), config.levels[-1].stride // config.feature_stride, config.axes)
        h = h + self.conv("last.out")(functional.relu(self.conv("last.in")(h, rate)), rate)
        out: Tensor = self.conv("to_head")(h, rate)
        return out

    def feature_rows(self, h: Tensor, rate: Tensor, first: int, last: int) -> Tensor:
        """Rows ``first`` to ``last`` (not included) of ``features``."""
        factor = self.config.levels[-1].stride // self.config.feature_stride if self.config.axes == 2 else 1
        top, bottom = max(0, first // factor - 1), min(h.shape[2], -(-last // factor) + 1)
        return self.features(h[:, :, top:bottom], rate)[:, :, first - top * factor : last - top * factor]

    def values(self, features: Tensor, fourier: Tensor, weights: Tensor | None = None) -> Tensor:
        """The head at P points: features there (N, P, head_width + C (1 + F)) and ``fourier`` (P, F) to values
        (N, P, C). ``weights`` (N, n): the SIREN's weights of each signal, the prior's mean by default."""
        config = self.config
        width, channels, waves = config.head_width, config.channels, fourier.shape[-1]
        # One split, not three slices: its gradient is put together once.
        first, linear, tilted = features.split([width, channels, waves * channels], dim=-1)
        hidden = torch.sin(first + fourier @ self.fourier)
        if weights is None:
            second, last = cut_head(self.head, width, channels)
            hidden = torch.sin(hidden @ second[:-1] + second[-1])
            out = hidden @ last[:-1] + last[-1]
        else:
            second, last = cut_head(weights, width, channels)
            hidden = torch.sin(torch.baddbmm(second[:, -1:], hidden, second[:, :-1]))
            out = torch.baddbmm(last[:, -1:], hidden, last[:, :-1])
        total = out + linear + torch.einsum("npfc,pf->npc", tilted.unflatten(-1, (waves, channels)), fourier)
        return total * config.spread + config.centre


def initial_head(width: int, channels: int) -> Tensor:
    """Start of the SIREN's flat weights: a layer of ``width`` units, then the output."""
    out = torch.empty((width + 1) * (width + channels))
    if out.is_meta:
        return out
    second = torch.cat([drawn(width, width, scale=math.sqrt(2.0 / width)), torch.zeros(1, width)])
    last = torch.cat([drawn(width, channels, scale=0.3 / math.sqrt(width)), torch.zeros(1, channels)])
    return torch.cat([second.reshape(-1), last.reshape(-1)])


def cut_head(weights: Tensor, width: int, channels: int) -> tuple[Tensor, Tensor]:
    """Flat weights (..., n) to the matrices (..., width + 1, width) and (..., width + 1, C), bias rows last."""
    border = (width + 1) * width
    shape = weights.shape[:-1]
    return (
        weights[..., :border].reshape(*shape, width + 1, width),
        weights[..., border:].reshape(*shape, width + 1, channels),
    )


class FloatLayers:
    """``Layers`` of a trained network at given rates."""

    def __init__(self, model: HierarchicalINR, rate: Tensor) -> None:
        self.model, self.rate, self.config = model, rate, model.config

    def start(self, count: int, height: int, width: int) -> Tensor:
        """The learned constant everywhere."""
        h = self.model.first[None, :, None, None].expand(count, -1, height, width)
        return h.contiguous(memory_format=torch.channels_last)

    def conv(self, name: str, values: Tensor) -> Tensor:
        """Convolution by the learned weights."""
        out: Tensor = self.model.conv(name)(values, self.rate)
        return out

    def relu(self, values: Tensor) -> Tensor:
        """max(0, values)."""
        return functional.relu(values)

    def local(self, function: Callable[..., Tensor], values: Tensor, *others: Tensor, halo: int) -> Tensor:
        """All at once."""
        return function(values, *others)
