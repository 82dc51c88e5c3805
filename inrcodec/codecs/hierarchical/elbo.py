"""The beta-ELBO of the hierarchical model, over which it is trained and every signal's posteriors are refined.

Posteriors are uniform with a step that the decoder knows, so that a sample is what dithered quantisation sends and its
bits are what an entropy coder under the prior integrated over the step pays; with ``gaussian`` they are Gaussians of
the same variance, for relative entropy coding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from inrcodec.codecs.hierarchical.checkerboard import scatter_color, take_color
from inrcodec.codecs.hierarchical.config import HierarchicalConfig, block_phase
from inrcodec.codecs.hierarchical.model import HierarchicalINR, top_down
from inrcodec.codecs.hierarchical.render import fourier_features, interpolate
from inrcodec.coding.gaussian import MAX_SCALE, MIN_SCALE
from inrcodec.nn.soft_rounding import soft_round

MIN_PROBABILITY = 2.0**-16
MIN_LOG_SCALE, MAX_LOG_SCALE = math.log(MIN_SCALE), math.log(MAX_SCALE)
"""Prior scales in units of the posterior step."""


class _FloorWithGradient(torch.autograd.Function):
    """max(x, floor), whose gradient passes below the floor too when it would raise x."""

    @staticmethod
    def forward(ctx, values: Tensor, floor: float) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(values)
        ctx.floor = floor
        return values.clamp_min(floor)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        (values,) = ctx.saved_tensors
        return gradient * ((values >= ctx.floor) | (gradient < 0)), None


def symbol_bits(residual: Tensor, log_scale: Tensor) -> Tensor:
    """Bits of residuals in steps under a Gaussian of mean 0 integrated over one step."""
    inverse = torch.exp(-log_scale.clamp(MIN_LOG_SCALE, MAX_LOG_SCALE)) * math.sqrt(0.5)
    size = residual.abs()
    probability = 0.5 * (torch.erfc((size - 0.5) * inverse) - torch.erfc((size + 0.5) * inverse))
    return -torch.log2(_FloorWithGradient.apply(probability, MIN_PROBABILITY))


Quantise = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(residuals in steps, log scales) to the residuals that the decoder gets and those that bits are counted for."""


Errors = Callable[[Tensor, Tensor], Tensor]
"""Decoded values and those of the signal, both (N, C, H, W), to an error of every point, (N, H, W)."""


def noisy(residual: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
    """A sample of the uniform posterior: what dithered quantisation sends."""
    sample = residual + torch.rand_like(residual) - 0.5
    return sample, sample


def rounded(residual: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest integers; the gradient passes."""
    nearest = residual + (residual.round() - residual).detach()
    return nearest, nearest


def mixed(residual: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest integers for the decoder, bits of a sample of the uniform posterior (Minnen and Singh 2020)."""
    return rounded(residual, log_scale)[0], noisy(residual, log_scale)[0]


def softened(temperature: float, random: torch.Generator) -> Quantise:
    """Nearest integers for the decoder with the slope of soft rounding, bits of a sample that is the nearer to rounding
    the lower the temperature: soft rounding before and after uniform noise."""

    def quantise(residual: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        soft = soft_round(residual, temperature)
        noise = torch.rand(residual.shape, generator=random) - 0.5
        return soft + (residual.round() - soft).detach(), soft_round(soft + noise, temperature)

    return quantise


@dataclass
class Elbo:
    """Of each signal: ``mse`` (N,) over the points that count, and where its parts lie.

    ``errors`` (N, H, W): squared error of every point, mean over channels. ``bit_maps``: of each latent block (N, h, w)
    the bits at every place of its grid.
    """

    mse: Tensor
    errors: Tensor
    bit_maps: list[Tensor]

    @property
    def level_bits(self) -> Tensor:
        """Bits of each latent block, (N, blocks)."""
        return torch.stack([bits.flatten(1).sum(1) for bits in self.bit_maps], dim=1)

    @property
    def bits(self) -> Tensor:
        """Bits of each signal, (N,)."""
        return self.level_bits.sum(1)


def native_fourier(
    config: HierarchicalConfig,
    height: int,
    width: int,
    *,
    origin: tuple[int, int] = (0, 0),
    extent: tuple[int, ...] | None = None,
) -> Tensor:
    """Fourier features at the points of a native grid, (height * width, F).

    On the sphere the grid is the part from point ``origin`` of one of ``extent`` points, by default all of it.
    """
    rows, columns = origin[0] + torch.arange(height) + 0.5, origin[1] + torch.arange(width) + 0.5
    if config.axes == 1:
        return fourier_features(config, columns[:, None], (width,))
    places = torch.stack([rows[:, None].expand(-1, width), columns[None].expand(height, -1)], dim=-1)
    return fourier_features(config, places.reshape(-1, 2), extent or (height, width))


def sampled_points(
    count: int, share: float, random: torch.Generator | None = None, device: torch.device | None = None
) -> Tensor | None:
    """Numbers (P,) of a ``share`` of ``count`` points, one of every run of equal length; None, for all, at share 1."""
    if share == 1.0:
        return None
    runs = max(1, round(share * count))
    edges = torch.linspace(0, count, runs + 1, dtype=torch.float64, device=device).round().long()
    places = torch.rand(runs, generator=random, device=device)
    return edges[:-1] + (places * (edges[1:] - edges[:-1])).long()


Watch = Callable[[str, Tensor], None]
"""Is shown every latent block's name and the features before it."""


def latents_and_bits(
    model: HierarchicalINR,
    values: Tensor,
    log_lambda: Tensor,
    quantise: Quantise,
    *,
    risen: list[Tensor] | None = None,
    offsets: dict[str, Tensor] | None = None,
    watch: Watch | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """Features at the finest stride after one sample of every posterior, and ``Elbo.bit_maps``; arguments as in
    ``elbo``."""
    rate = model.rates(log_lambda)
    found = model.bottom_up(values, rate) if risen is None else risen
    counted: list[tuple[str, Tensor, Tensor]] = []

    def choose(name: str, h: Tensor, prior: Tensor) -> Tensor:
        if watch is not None:
            watch(name, h)
        mean, log_scale = prior.float().chunk(2, dim=1)
        step = model.steps(name, rate)
        residual = model.propose(name, h, found, rate).float() / step
        if offsets is not None:
            residual = residual + take_color(offsets[name], block_phase(model.config, name))
        sent, priced = quantise(residual, log_scale)
        counted.append((name, priced, log_scale))
        return mean + step * sent

    stride = model.config.coarsest
    height, width = values.shape[2], values.shape[3]
    rows = height if model.config.axes == 1 else height // stride
    h = top_down(model.layers(rate), len(values), rows, width // stride, choose)
    return h, _bit_maps(model.config, counted)


def _bit_maps(config: HierarchicalConfig, counted: list[tuple[str, Tensor, Tensor]]) -> list[Tensor]:
    """``Elbo.bit_maps`` of latent blocks' residuals and log scales (N, c, h, w): one pass over all blocks."""
    flat = [[each.permute(0, 2, 3, 1).flatten(1) for each in both] for _, *both in counted]
    residuals, log_scales = (torch.cat(some, dim=1) for some in zip(*flat, strict=True))
    bits = symbol_bits(residuals, log_scales).split([part.shape[1] for part, _ in flat], dim=1)
    out = []
    for (name, block, _), part in zip(counted, bits, strict=True):
        places = part.unflatten(1, (*block.shape[2:], block.shape[1])).sum(-1)
        out.append(scatter_color(places[:, None], block_phase(config, name))[:, 0])
    return out


def elbo(
    model: HierarchicalINR,
    values: Tensor,
    log_lambda: Tensor,
    fourier: Tensor,
    quantise: Quantise,
    *,
    risen: list[Tensor] | None = None,
    offsets: dict[str, Tensor] | None = None,
    weights: Tensor | None = None,
    mask: Tensor | None = None,
    watch: Watch | None = None,
    errors: Errors | None = None,
    points: Tensor | None = None,
) -> Elbo:
    """One evaluation with one sample of every posterior.

    ``values`` (N, C, H, W), sizes multiples of the coarsest stride. ``risen``: the way up, if it is known already.
    ``offsets``: what is added to the proposed residuals of a latent block, in steps. ``weights`` (N, n): the head's.
    ``mask`` (H * W,): 1 where a point counts. ``errors``: what stands in for squared errors. ``points``
    (P,): numbers of the points at which squared errors are measured, all by default; ``Elbo.errors`` is (N, 1, P) then.
    """
    height, width = values.shape[2], values.shape[3]
    h, spent = latents_and_bits(model, values, log_lambda, quantise, risen=risen, offsets=offsets, watch=watch)
    features = interpolate(model.config, model.features(h, model.rates(log_lambda)).float(), height, width)
    if points is not None:
        decoded = model.values(features.index_select(1, points), fourier[points], weights)
        error = (decoded - values.permute(0, 2, 3, 1).flatten(1, 2).index_select(1, points)).square().mean(dim=2)
        return Elbo(error.mean(dim=1), error[:, None], spent)
    decoded = model.values(features, fourier, weights)
    if errors is None:
        error = (decoded - values.permute(0, 2, 3, 1).flatten(1, 2)).square().mean(dim=2)
    else:
        error = errors(decoded.unflatten(1, (height, width)).permute(0, 3, 1, 2), values).flatten(1)
    mse = error.mean(dim=1) if mask is None else (error @ mask) / mask.sum()
    return Elbo(mse, error.unflatten(1, (height, width)), spent)
