"""The beta-ELBO of the hierarchical model: the objective of training and of refining a signal's posteriors.

Posteriors are uniform over a step that the decoder knows. A sample is therefore what dithered quantisation sends, and
its bits are the cost of an entropy coder under the prior integrated over the step (arXiv 1611.01704).
Residuals are latents minus their prior mean, in step sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from inrcodec.codecs.hierarchical.checkerboard import scatter_color, take_color
from inrcodec.codecs.hierarchical.config import HierarchicalConfig, block_phase
from inrcodec.codecs.hierarchical.model import HierarchicalINR, patch_values
from inrcodec.codecs.hierarchical.render import fourier_features, interpolate
from inrcodec.codecs.hierarchical.top_down import Start, top_down
from inrcodec.coding.gaussian import MAX_SCALE, MIN_SCALE
from inrcodec.nn.soft_rounding import soft_round

MIN_PROBABILITY = 2.0**-16
"""Probabilities of symbols are clamped to at least this."""
MIN_LOG_SCALE, MAX_LOG_SCALE = math.log(MIN_SCALE), math.log(MAX_SCALE)
"""Range of the log prior scales, in units of the posterior step size."""


class _FloorWithGradient(torch.autograd.Function):
    """max(x, floor), with a gradient below the floor too if it would raise x."""

    @staticmethod
    def forward(ctx, values: Tensor, floor: float) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(values)
        ctx.floor = floor
        return values.clamp_min(floor)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        (values,) = ctx.saved_tensors
        return gradient * ((values >= ctx.floor) | (gradient < 0)), None


_floor_with_gradient: Callable[[Tensor, float], Tensor] = _FloorWithGradient.apply


def symbol_bits(residual: Tensor, log_scale: Tensor) -> Tensor:
    """Return the bits of residuals under a Gaussian of mean 0 integrated over one step.

    Both arguments are in step sizes.
    """
    inverse = torch.exp(-log_scale.clamp(MIN_LOG_SCALE, MAX_LOG_SCALE)) * math.sqrt(0.5)
    size = residual.abs()
    probability = 0.5 * (torch.erfc((size - 0.5) * inverse) - torch.erfc((size + 0.5) * inverse))
    return -torch.log2(_floor_with_gradient(probability, MIN_PROBABILITY))


Quantise = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(residuals, log scales) -> (residuals that the decoder gets, residuals whose bits are counted), in step sizes."""


Errors = Callable[[Tensor, Tensor], Tensor]
"""(decoded values, values of the signal), both (N, C, H, W) -> error of every point (N, H, W)."""


def noisy(residual: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return a sample of the uniform posterior, both for the decoder and for counting bits."""
    sample = residual + torch.rand_like(residual) - 0.5
    return sample, sample


def rounded(residual: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nearest integers, both for the decoder and for counting bits; the gradient is that of the identity."""
    nearest = residual + (residual.round() - residual).detach()
    return nearest, nearest


def mixed(residual: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nearest integers for the decoder and a sample of the uniform posterior for counting bits.

    Source: arXiv 2007.08739.
    """
    return rounded(residual, log_scale)[0], noisy(residual, log_scale)[0]


def softened(temperature: float, random: torch.Generator) -> Quantise:
    """Return a quantiser that approaches rounding as ``temperature`` falls.

    The decoder gets the nearest integers, with the gradient of soft rounding. Bits are counted for a sample: soft
    rounding before and after uniform noise from ``random`` (arXiv 2006.09952).
    """

    def quantise(residual: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        soft = soft_round(residual, temperature)
        noise = torch.rand(residual.shape, generator=random) - 0.5
        return soft + (residual.round() - soft).detach(), soft_round(soft + noise, temperature)

    return quantise


@dataclass
class Elbo:
    """The terms of the beta-ELBO of N signals.

    Attributes:
        mse: mean squared error (N,) over the points that count.
        errors: squared error (N, H, W) of every point, averaged over channels.
        bit_maps: for each latent block, the bits (N, h, w) at every place of its level's grid.
    """

    mse: Tensor
    errors: Tensor
    bit_maps: list[Tensor]

    @property
    def level_bits(self) -> Tensor:
        """Return the bits of each latent block, (N, blocks)."""
        return torch.stack([bits.flatten(1).sum(1) for bits in self.bit_maps], dim=1)

    @property
    def bits(self) -> Tensor:
        """Return the bits of each signal, (N,)."""
        return self.level_bits.sum(1)


def native_fourier(
    config: HierarchicalConfig,
    height: int,
    width: int,
    *,
    origin: tuple[int, int] = (0, 0),
    extent: tuple[int, ...] | None = None,
) -> Tensor:
    """Return the Fourier features (height * width, F) at the points of a native grid.

    On the sphere, the grid is a crop, starting at point ``origin``, of a grid of ``extent`` points; by default it is
    the whole grid.
    """
    rows, columns = origin[0] + torch.arange(height) + 0.5, origin[1] + torch.arange(width) + 0.5
    if config.axes == 1:
        return fourier_features(config, columns[:, None], (width,))
    places = torch.stack([rows[:, None].expand(-1, width), columns[None].expand(height, -1)], dim=-1)
    return fourier_features(config, places.reshape(-1, 2), extent or (height, width))


def sampled_points(
    count: int, share: float, random: torch.Generator | None = None, device: torch.device | None = None
) -> Tensor | None:
    """Return the indices (P,) of a random ``share`` of ``count`` points, one from every run of equal length.

    Returns None, which stands for all points, if ``share`` is 1.
    """
    if share == 1.0:
        return None
    runs = max(1, round(share * count))
    edges = torch.linspace(0, count, runs + 1, dtype=torch.float64, device=device).round().long()
    places = torch.rand(runs, generator=random, device=device)
    return edges[:-1] + (places * (edges[1:] - edges[:-1])).long()


FeatureObserver = Callable[[str, Tensor], None]
"""Called with the name of every latent block and the features before it."""


def latents_and_bits(
    model: HierarchicalINR,
    values: Tensor,
    log_lambda: Tensor,
    quantise: Quantise,
    *,
    bottom_up_features: list[Tensor] | None = None,
    offsets: dict[str, Tensor] | None = None,
    watch: FeatureObserver | None = None,
    start: Start | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """Return what ``top_down`` returns after one sample of every posterior, and ``Elbo.bit_maps``.

    The arguments are those of ``elbo``.
    """
    rate = model.rates(log_lambda)
    from_below = model.bottom_up(values, rate) if bottom_up_features is None else bottom_up_features
    counted: list[tuple[str, Tensor, Tensor]] = []

    def choose(name: str, h: Tensor, prior: Tensor) -> Tensor:
        if watch is not None:
            watch(name, h)
        mean, log_scale = prior.float().chunk(2, dim=1)
        step = model.steps(name, rate)
        residual = model.propose(name, h, prior, from_below, rate).float() / step
        if offsets is not None:
            residual = residual + take_color(offsets[name], block_phase(model.config, name))
        sent, coded = quantise(residual, log_scale)
        counted.append((name, coded, log_scale))
        return mean + step * sent

    stride = model.config.coarsest
    height, width = values.shape[2], values.shape[3]
    rows = height if model.config.axes == 1 else height // stride
    h = top_down(model.layers(rate), len(values), rows, width // stride, choose, start)
    return h, _bit_maps(model.config, counted)


def _bit_maps(config: HierarchicalConfig, counted: list[tuple[str, Tensor, Tensor]]) -> list[Tensor]:
    """Return ``Elbo.bit_maps`` for the names, residuals and log scales (N, c, h, w) of the latent blocks.

    All blocks are evaluated in one pass, which is faster.
    """
    flat = [[each.permute(0, 2, 3, 1).flatten(1) for each in both] for _, *both in counted]
    residuals, log_scales = (torch.cat(tensors, dim=1) for tensors in zip(*flat, strict=True))
    bits = symbol_bits(residuals, log_scales).split([residual.shape[1] for residual, _ in flat], dim=1)
    out = []
    for (name, block, _), block_bits in zip(counted, bits, strict=True):
        bit_map = block_bits.unflatten(1, (*block.shape[2:], block.shape[1])).sum(-1)
        out.append(scatter_color(bit_map[:, None], block_phase(config, name))[:, 0])
    return out


def elbo(
    model: HierarchicalINR,
    values: Tensor,
    log_lambda: Tensor,
    fourier: Tensor,
    quantise: Quantise,
    *,
    bottom_up_features: list[Tensor] | None = None,
    offsets: dict[str, Tensor] | None = None,
    weights: Tensor | None = None,
    mask: Tensor | None = None,
    watch: FeatureObserver | None = None,
    errors: Errors | None = None,
    points: Tensor | None = None,
    start: Start | None = None,
) -> Elbo:
    """Evaluate the beta-ELBO with one sample of every posterior.

    Args:
        model: the model.
        values: signals (N, C, H, W); H and W are multiples of the coarsest stride.
        log_lambda: (N,), or (1,) for all signals.
        fourier: Fourier features (H * W, F) of all points.
        quantise: turns proposed residuals into the sample.
        bottom_up_features: ``model.bottom_up`` of the values, if already computed.
        offsets: for each latent block, what is added to its proposed residuals, in step sizes.
        weights: flat head weights (N, n); by default the prior mean.
        mask: (H * W,), 1 where a point counts; by default all points count.
        watch: called with every block's name and the features before it.
        errors: replaces the squared error.
        points: indices (P,) of the points at which squared errors are measured; by default all. ``Elbo.errors`` is then
            (N, 1, P), and ``mask`` and ``errors`` are not used.
        start: the latent block to begin with, and the features before it. ``Elbo.bit_maps`` then begins with it too.
    """
    height, width = values.shape[2], values.shape[3]
    h, bit_maps = latents_and_bits(
        model,
        values,
        log_lambda,
        quantise,
        bottom_up_features=bottom_up_features,
        offsets=offsets,
        watch=watch,
        start=start,
    )
    wanted = values.permute(0, 2, 3, 1).flatten(1, 2)
    if points is not None:
        wanted = wanted.index_select(1, points)
    decoded = _decoded(model, h, model.rates(log_lambda), (height, width), fourier, weights, points)
    if points is not None:
        error = (decoded - wanted).square().mean(dim=2)
        return Elbo(error.mean(dim=1), error[:, None], bit_maps)
    if errors is None:
        error = (decoded - wanted).square().mean(dim=2)
    else:
        error = errors(decoded.unflatten(1, (height, width)).permute(0, 3, 1, 2), values).flatten(1)
    mse = error.mean(dim=1) if mask is None else (error @ mask) / mask.sum()
    return Elbo(mse, error.unflatten(1, (height, width)), bit_maps)


def _decoded(
    model: HierarchicalINR,
    h: Tensor,
    rate: Tensor,
    size: tuple[int, int],
    fourier: Tensor,
    weights: Tensor | None,
    points: Tensor | None,
) -> Tensor:
    """Return the decoded values (N, P, C) at all points of a grid, or at those with the indices ``points``."""
    if model.config.patch:
        decoded = patch_values(model.config, h.float()).permute(0, 2, 3, 1).flatten(1, 2)
        return decoded if points is None else decoded.index_select(1, points)
    features = interpolate(model.config, model.features(h, rate).float(), *size)
    if points is None:
        return model.values(features, fourier, weights)
    return model.values(features.index_select(1, points), fourier[points], weights)
