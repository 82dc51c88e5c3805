"""The Bayesian INR with hierarchical latents: y(x) = SIREN_w(features of z at x, Fourier features of x).

The latents z lie on grids of decreasing stride, coarse to fine, with several *latent blocks* per level. On the top-down
path, the features h of everything decoded so far predict the prior mean and scale of the next block, and the decoded
latents are added to h. What follows depends on the configuration. Either the features at the finest stride are
interpolated at any coordinate x and pass, together with Fourier features of the position within a cell, through a small
SIREN whose weights w have a Gaussian prior. Or (``HierarchicalConfig.patch``) a linear map of the features of each cell
gives the values of its points. A bottom-up network over the signal proposes the posteriors.

One network serves all rates: the biases and the posterior step size of every latent channel are tables over anchors of
log(lambda), where lambda = 1 / beta. Between anchors they are linear, which integers can represent exactly too
(``nn.exact``).

The top-down path is in ``top_down``, written once for any arithmetic; ``FloatLayers`` is the trained network's.

Sources: hierarchical variational autoencoders with a top-down path (arXiv 1602.02282; arXiv 1606.04934), uniform
posteriors of fixed step size and rounding (arXiv 1611.01704; arXiv 2208.13056), SIREN (arXiv 2006.09661), COMBINER
(arXiv 2305.19185).
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from inrcodec.codecs.hierarchical.checkerboard import take_color
from inrcodec.codecs.hierarchical.config import HierarchicalConfig, block_phase, fourier_count
from inrcodec.codecs.hierarchical.rate_conv import RateConv, random_normal, rate_weights
from inrcodec.codecs.hierarchical.top_down import blocks_before, shuffle_down, shuffle_up
from inrcodec.nn.strips import in_strips

FLOAT16_FROM = 1 << 23
"""Bottom-up features of a level with more numbers than this are stored in float16."""
ENCODER = ("shrink.", "narrow.", "rise.", "ask.", "ask_in.", "ask_out.")
"""The names of the encoder's convolutions, as prior files store them, begin with one of these: ``shrink``, ``narrow``
and ``rise`` are the bottom-up network, ``ask``, ``ask_in`` and ``ask_out`` make the proposals."""


class HierarchicalINR(nn.Module):
    """The whole model in floating point: the bottom-up and the top-down network, the proposals and the SIREN head."""

    def __init__(self, config: HierarchicalConfig) -> None:
        super().__init__()
        self.config = config
        self.convs = nn.ModuleDict()
        levels = config.levels
        self.first = nn.Parameter(torch.zeros(levels[0].width))
        low, high = config.log_lambdas
        # Relative to their mean. Python's arithmetic, because torch's is slow on "meta" (see ``random_normal``).
        log_steps = [0.5 * (high - low) * (0.5 - a / (config.n_anchors - 1)) for a in range(config.n_anchors)]
        self.log_steps = nn.ParameterDict()
        for i, level in enumerate(levels):
            w = level.width
            if i:
                factor = levels[i - 1].stride // level.stride
                gain = 0.02 if config.pointwise and i == 1 else 0.7
                self._add(f"up.{i}", levels[i - 1].width, w * factor**config.axes, 1, gain)
            for j, n_blocks in enumerate(blocks_before(level)):
                for k in range(n_blocks):
                    self._add_residual(f"down.{i}.{j}.{k}", w)
                if j == len(level.latents):
                    break
                c = level.latents[j]
                self._add(f"prior_in.{i}.{j}", w, w, 1)
                if config.pointwise:
                    # All but the coarsest latents start at zero, see ``klt``.
                    gain = 0.0 if i else 0.7
                    self._add(f"prior_out.{i}.{j}", w, 2 * c, 1, 0.0)
                    self._add(f"latent_in.{i}.{j}", c, w, 1, gain)
                    self._add(f"ask.{i}.{j}", 2 * w, c, 1, gain)
                else:
                    self._add(f"prior_out.{i}.{j}", w, 2 * c, 1, 0.3)
                    self._add(f"latent_in.{i}.{j}", c, w, 3, 0.7)
                    self._add(f"ask_in.{i}.{j}", 2 * w, w, 1)
                    self._add(f"ask_out.{i}.{j}", w, c, 3, 0.5)
                self.log_steps[f"{i}-{j}"] = nn.Parameter(torch.zeros(config.n_anchors, c))
                with torch.no_grad():
                    for anchor, log_step in enumerate(log_steps):
                        self.log_step(f"{i}.{j}")[anchor].fill_(log_step)
                        self.conv(f"prior_out.{i}.{j}").bias[anchor, c:].fill_(-log_step)
        widths = [config.channels, *[level.width for level in reversed(levels)]]
        strides = [1, *[level.stride for level in reversed(levels)]]
        for index, (n_in, n_out) in enumerate(itertools.pairwise(widths)):
            factor = strides[index + 1] // strides[index]
            i = len(levels) - 1 - index
            if levels[i].narrowed:
                self._add(f"narrow.{i}", n_in, levels[i].narrowed, 1)
                n_in = levels[i].narrowed
            kernel = 3 if index == 0 and not config.pointwise else 1
            self._add(f"shrink.{i}", n_in * factor**config.axes, n_out, kernel, 0.7)
            for k in range(levels[i].blocks_up):
                self._add_residual(f"rise.{i}.{k}", n_out)
        if config.patch:
            self._add("out", levels[-1].width, config.channels * config.patch**config.axes, 1, 0.5)
        else:
            self._add_head()

    def _add(self, name: str, n_in: int, n_out: int, kernel: int, gain: float = 1.0) -> None:
        self.convs[name.replace(".", "-")] = RateConv(n_in, n_out, kernel, self.config, gain)

    def _add_residual(self, name: str, width: int) -> None:
        if self.config.pointwise:
            self.convs[f"{name}.mix".replace(".", "-")] = RateConv(width, width, 3, self.config, depthwise=True)
            self._add(f"{name}.in", width, 2 * width, 1)
            self._add(f"{name}.out", 2 * width, width, 1, 0.0)
        else:
            self._add_dense_residual(name, width)

    def _add_dense_residual(self, name: str, width: int) -> None:
        self._add(f"{name}.in", width, width, 3)
        self._add(f"{name}.out", width, width, 1, 0.2)

    def conv(self, name: str) -> RateConv:
        """Return a convolution by name."""
        return self.convs[name.replace(".", "-")]  # type: ignore[return-value]

    def named_convs(self) -> Iterator[tuple[str, RateConv]]:
        """Yield all convolutions with their names."""
        for key, conv in self.convs.items():
            yield key.replace("-", "."), conv  # type: ignore[misc]

    def with_own_encoder(self) -> HierarchicalINR:
        """Return a model with a copy of the encoder's convolutions (see ``ENCODER``) that shares everything else."""
        model = copy.copy(self)
        model._modules = dict(self._modules)
        model.convs = nn.ModuleDict(dict(self.convs.items()))
        for name, conv in self.named_convs():
            if name.startswith(ENCODER):
                model.convs[name.replace(".", "-")] = copy.deepcopy(conv)
        return model

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the encoder's convolutions, which a decoder does not need."""
        return [p for name, conv in self.named_convs() if name.startswith(ENCODER) for p in conv.parameters()]

    def log_step(self, name: str) -> Tensor:
        """Return the table (A, c) of a latent block's log posterior step sizes over rate anchors."""
        result: Tensor = self.log_steps[name.replace(".", "-")]
        return result

    def _add_head(self) -> None:
        config = self.config
        finest = config.levels[-1]
        if config.feature_stride < finest.stride:
            factor = finest.stride // config.feature_stride
            self._add("widen", finest.width, config.feature_width * factor**config.axes, 1, 0.7)
        else:
            self._add("widen", finest.width, config.feature_width, 1, 0.7)
        self._add_dense_residual("last", config.feature_width)
        n_fourier = fourier_count(config)
        self._add("to_head", config.feature_width, config.head_width + config.channels * (1 + n_fourier), 1, 0.5)
        width, channels = config.head_width, config.channels
        self.fourier = nn.Parameter(random_normal(n_fourier, width))
        self.head = nn.Parameter(initial_head(width, channels))

    def rates(self, log_lambda: Tensor) -> Tensor:
        """Return the anchor weights (N, A) of log(lambda) (N,)."""
        return rate_weights(self.config, log_lambda)

    def steps(self, name: str, rate: Tensor) -> Tensor:
        """Return the posterior step sizes (N, c, 1, 1) of a latent block."""
        return (rate @ self.log_step(name).exp())[:, :, None, None]

    def bottom_up(self, values: Tensor, rate: Tensor) -> list[Tensor]:
        """Return the bottom-up features of signals.

        Args:
            values: (N, C, H, W); H and W are multiples of the coarsest stride.
            rate: anchor weights (N, A) or (1, A).

        Returns:
            One tensor per level, coarsest first. Large ones are in float16 if gradients are disabled.
        """
        out: list[Tensor] = []
        h = (values - self.config.centre) / self.config.spread
        stride = 1
        for i in reversed(range(len(self.config.levels))):
            level = self.config.levels[i]
            if level.narrowed:
                h = self.conv(f"narrow.{i}")(h.float() if h.dtype == torch.float16 else h, rate)
            h = shuffle_down(h, level.stride // stride, self.config.axes)
            h = self._local(partial(self._bottom_up_level, i, rate), h, halo=1 + level.blocks_up)
            if h.numel() > FLOAT16_FROM and not torch.is_grad_enabled():
                h = h.half()
            stride = level.stride
            out.insert(0, h)
        return out

    def _bottom_up_level(self, i: int, rate: Tensor, h: Tensor) -> Tensor:
        h = self.conv(f"shrink.{i}")(h.float() if h.dtype == torch.float16 else h, rate)
        for k in range(self.config.levels[i].blocks_up):
            name = f"rise.{i}.{k}"
            if self.config.pointwise:
                h = self.conv(f"{name}.mix")(h, rate)
            h = h + self.conv(f"{name}.out")(functional.relu(self.conv(f"{name}.in")(h, rate)), rate)
        return h

    def _local(self, function: Callable[..., Tensor], values: Tensor, *others: Tensor, halo: int) -> Tensor:
        """Return ``function`` of the arrays, computed strip by strip to save memory if gradients are disabled."""
        if torch.is_grad_enabled():
            return function(values, *others)
        return in_strips(function, values, *others, halo=halo)

    def propose(
        self, name: str, h: Tensor, prior: Tensor, bottom_up_features: list[Tensor], rate: Tensor, unit: float = 1.0
    ) -> Tensor:
        """Return the posterior mean minus the prior mean of a latent block, in units of the latents.

        Args:
            name: the latent block.
            h: top-down features (N, C', H', W') before the block, in units of ``unit``.
            prior: prior parameters (N, 2c, h, w) of the block, in units of ``unit``.
            bottom_up_features: the result of ``bottom_up``.
            rate: anchor weights (N, A) or (1, A).
            unit: value of 1 in ``h`` and ``prior``; below 1 for integers.

        Returns:
            (N, c, h, w), at the places of the block.
        """
        phase = block_phase(self.config, name)
        from_below = bottom_up_features[int(name.split(".")[0])]
        if self.config.pointwise:

            def ask(h: Tensor, from_below: Tensor, mean: Tensor) -> Tensor:
                h = _in_units(h, unit)
                both = torch.cat([h, from_below.to(h.dtype)], dim=1)
                out: Tensor = self.conv(f"ask.{name}")(both, rate)
                return out - _in_units(mean, unit)

            mean = prior.chunk(2, dim=1)[0]
            return self._local(ask, take_color(h, phase), take_color(from_below, phase), mean, halo=0)

        def convolve(h: Tensor, from_below: Tensor) -> Tensor:
            h = _in_units(h, unit)
            both = torch.cat([h, from_below.to(h.dtype)], dim=1)
            hidden = functional.relu(self.conv(f"ask_in.{name}")(both, rate))
            out: Tensor = self.conv(f"ask_out.{name}")(hidden, rate)
            return out

        return take_color(self._local(convolve, h, from_below, halo=1), phase)

    def layers(self, rate: Tensor) -> FloatLayers:
        """Return the layers of the top-down path at given anchor weights."""
        return FloatLayers(self, rate)

    def features(self, h: Tensor, rate: Tensor) -> Tensor:
        """Return the features (N, head_width + C (1 + F), H', W') that the head interpolates.

        ``h`` (N, C', H'', W'') are the top-down features at the finest stride.
        """
        config = self.config
        h = shuffle_up(self.conv("widen")(h, rate), config.levels[-1].stride // config.feature_stride, config.axes)
        h = h + self.conv("last.out")(functional.relu(self.conv("last.in")(h, rate)), rate)
        out: Tensor = self.conv("to_head")(h, rate)
        return out

    def feature_rows(self, h: Tensor, rate: Tensor, first: int, last: int) -> Tensor:
        """Return the rows from ``first`` up to but not including ``last`` of ``features``."""
        factor = self.config.levels[-1].stride // self.config.feature_stride if self.config.axes == 2 else 1
        top, bottom = max(0, first // factor - 1), min(h.shape[2], -(-last // factor) + 1)
        return self.features(h[:, :, top:bottom], rate)[:, :, first - top * factor : last - top * factor]

    def values(self, features: Tensor, fourier: Tensor, weights: Tensor | None = None) -> Tensor:
        """Evaluate the head at P points.

        Args:
            features: interpolated features (N, P, head_width + C (1 + F)).
            fourier: Fourier features (P, F).
            weights: flat SIREN weights (N, n) of each signal; by default the prior mean.

        Returns:
            Values (N, P, C).
        """
        config = self.config
        width, channels, waves = config.head_width, config.channels, fourier.shape[-1]
        # One split instead of three slices, so that its gradient is assembled once.
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
        result: Tensor = total * config.spread + config.centre
        return result


def patch_values(config: HierarchicalConfig, h: Tensor, *, overwrite: bool = False) -> Tensor:
    """Return the values of signals from what ``top_down`` returns for a model with patches, of the same shape.

    With ``overwrite`` they replace ``h``, because a large image fills much of the memory.
    """
    return (h.mul_(config.spread) if overwrite else h * config.spread).add_(config.centre)


def _in_units(values: Tensor, unit: float) -> Tensor:
    """Return numbers in units of ``unit`` as floats in units of 1."""
    return values if unit == 1.0 else (values * unit).float()


def initial_head(width: int, channels: int) -> Tensor:
    """Return random initial values of the SIREN's flat weights: a layer of ``width`` units, then the output layer."""
    out = torch.empty((width + 1) * (width + channels))
    if out.is_meta:
        return out
    second = torch.cat([random_normal(width, width, scale=math.sqrt(2.0 / width)), torch.zeros(1, width)])
    last = torch.cat([random_normal(width, channels, scale=0.3 / math.sqrt(width)), torch.zeros(1, channels)])
    return torch.cat([second.reshape(-1), last.reshape(-1)])


def cut_head(weights: Tensor, width: int, channels: int) -> tuple[Tensor, Tensor]:
    """Split flat weights (..., n) into matrices (..., width + 1, width) and (..., width + 1, C), each with its bias as
    the last row."""
    border = (width + 1) * width
    shape = weights.shape[:-1]
    return (
        weights[..., :border].reshape(*shape, width + 1, width),
        weights[..., border:].reshape(*shape, width + 1, channels),
    )


class FloatLayers:
    """``Layers`` of a trained network at given anchor weights."""

    def __init__(self, model: HierarchicalINR, rate: Tensor) -> None:
        self.model, self.rate, self.config = model, rate, model.config

    def start(self, count: int, height: int, width: int) -> Tensor:
        """Return the learned constant at every place."""
        h = self.model.first[None, :, None, None].expand(count, -1, height, width)
        return h.contiguous(memory_format=torch.channels_last)

    def conv(self, name: str, values: Tensor) -> Tensor:
        """Convolve with the learned weights."""
        out: Tensor = self.model.conv(name)(values, self.rate)
        return out

    def conv_relu_conv(self, first: str, second: str, values: Tensor) -> Tensor:
        """Convolve twice with the learned weights."""
        return self.conv(second, functional.relu(self.conv(first, values)))

    def local(self, function: Callable[..., Tensor], values: Tensor, *others: Tensor, halo: int) -> Tensor:
        """Return ``function`` of the whole arrays at once."""
        return function(values, *others)
