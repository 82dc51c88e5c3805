"""Adapt the encoder network to the signals that it is about to encode, with the decoder fixed.

Only latents are sent; the receiver does not need the network that proposed them. So that network may be fine-tuned on
the signals themselves: a number of training steps on crops of them at the target rate, with the top-down path and the
priors fixed. For a large signal this finds better latents than refining the latents directly (``refinement``), which
has to overcome rounding symbol by symbol: the objective is the smooth one of training, with samples ever closer to
rounding, and what is learned at one place helps at all others.

Source of the idea: Lu et al., *Content adaptive and error propagation aware deep video compression* (arXiv 2003.11282).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from inrcodec.codecs.base import Progress
from inrcodec.codecs.hierarchical.checkerboard import scatter_color
from inrcodec.codecs.hierarchical.config import block_phase
from inrcodec.codecs.hierarchical.elbo import Errors, elbo, rounded, sampled_points, softened
from inrcodec.codecs.hierarchical.model import HierarchicalINR
from inrcodec.codecs.hierarchical.refinement import Batch, Offsets, Tile, tiles, zero_offsets
from inrcodec.codecs.hierarchical.top_down import top_down
from inrcodec.training.loop import cosine_lr
from inrcodec.training.muon import Muon

CROP_POINTS = 192 * 192
"""Approximate points of the crop that a step sees."""
LEARNING_RATE, RAMP, LAST_RATE = 3e-4, 10, 0.02
"""The max learning rate, the steps that it takes to reach it, and the fraction of it at the end of a half cosine."""
TEMPERATURES = (0.5, 0.15)
"""Temperatures of soft rounding at the first and the last step."""
ITERATIONS = 3
"""Iterations of orthogonalising an optimiser step; five take a third of the time of a step and gain nothing."""
POINT_SHARE = 0.25
"""Share of a crop's points at which squared errors are measured."""
WEIGHED_CROPS = 4
"""Crops on which another error is compared with the squared error, to find its weight."""


def adapted(
    model: HierarchicalINR,
    batch: Batch,
    log_lambda: float,
    steps: int,
    progress: Progress,
    errors: Errors | None = None,
) -> HierarchicalINR:
    """Return a model whose encoder is adapted to the signals of a batch; it shares everything else with ``model``.

    Args:
        model: the model of the prior.
        batch: the signals.
        log_lambda: log(lambda) of the target rate.
        steps: training steps, also the seed of the random numbers.
        progress: called with 1 after every step.
        errors: replaces the squared error, weighted so that the proposals cost as much as under squared error.
    """
    random = torch.Generator().manual_seed(steps)
    crop_random = np.random.default_rng(steps)
    adapted_model = model.with_own_encoder()
    parameters = [p.requires_grad_(True) for p in adapted_model.encoder_parameters()]
    optimiser = Muon(parameters, LEARNING_RATE, iterations=ITERATIONS)
    log_lambdas = torch.full((1,), log_lambda)
    error_weight = math.exp(log_lambda)
    if errors is not None:
        crops = [_crop(model, batch, crop_random) for _ in range(WEIGHED_CROPS)]
        error_weight *= _squared_error_ratio(model, crops, log_lambdas, errors)
    for step in range(steps):
        done = step / steps
        for group in optimiser.param_groups:
            group["lr"] = cosine_lr(LEARNING_RATE, done, step, floor=LAST_RATE, ramp=RAMP)
        crop = _crop(model, batch, crop_random)
        all_points = errors is not None or crop.mask is not None
        points = sampled_points(crop.points, 1.0 if all_points else POINT_SHARE, random)
        quantise = softened(TEMPERATURES[0] + (TEMPERATURES[1] - TEMPERATURES[0]) * done, random)
        terms = elbo(
            adapted_model,
            crop.values,
            log_lambdas,
            crop.fourier(model.config),
            quantise,
            mask=crop.mask,
            errors=errors,
            points=points,
        )
        loss = (terms.bits / crop.points + error_weight * terms.mse).sum()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        progress(1)
    for p in parameters:
        p.requires_grad_(False)
    return adapted_model


@torch.no_grad()
def offsets_to(model: HierarchicalINR, other: HierarchicalINR, batch: Batch, log_lambda: float) -> Offsets:
    """Return the offsets that turn the proposals of ``model`` into those of ``other``.

    They are found block by block, along the latents that rounding the proposals of ``other`` leads to.
    """
    config = model.config
    count, _, height, width = batch.values.shape
    out = zero_offsets(config, count, height, width)
    rate = model.rates(torch.full((1,), log_lambda))
    for tile in tiles(config, height, width):
        values = batch.values[:, :, tile.outer[0], tile.outer[1]].contiguous(memory_format=torch.channels_last)
        features, other_features = model.bottom_up(values, rate), other.bottom_up(values, rate)
        offsets: Offsets = {}

        def choose(name: str, h: Tensor, prior: Tensor) -> Tensor:
            step = model.steps(name, rate)
            target = other.propose(name, h, prior, other_features, rate) / step  # noqa: B023
            offset = target - model.propose(name, h, prior, features, rate) / step  # noqa: B023
            offsets[name] = scatter_color(offset, block_phase(config, name))  # noqa: B023
            return prior.chunk(2, dim=1)[0] + step * target.round()

        rows = values.shape[2] if config.axes == 1 else values.shape[2] // config.coarsest
        top_down(model.layers(rate), count, rows, values.shape[3] // config.coarsest, choose)
        tile.put(config, offsets, out)
    return out


@torch.no_grad()
def _squared_error_ratio(model: HierarchicalINR, crops: list[Batch], log_lambdas: Tensor, errors: Errors) -> float:
    """Return the squared error of the rounded proposals divided by the error that ``errors`` measures."""
    squared, other = 0.0, 0.0
    for crop in crops:
        fourier = crop.fourier(model.config)
        squared += float(elbo(model, crop.values, log_lambdas, fourier, rounded, mask=crop.mask).mse)
        other += float(elbo(model, crop.values, log_lambdas, fourier, rounded, mask=crop.mask, errors=errors).mse)
    return squared / max(other, 1e-9)


def _crop(model: HierarchicalINR, batch: Batch, random: np.random.Generator) -> Batch:
    """Return a random crop of a random signal, with its borders at multiples of the coarsest stride."""
    coarsest = model.config.coarsest
    height, width = batch.values.shape[2:]
    if model.config.axes == 1:
        sizes = [(1, 1), (width, CROP_POINTS)]
    else:
        side = math.isqrt(CROP_POINTS)
        # A circle is never cut, because its end continues at its beginning.
        across = width if model.config.periodic else min(width, side)
        sizes = [(height, CROP_POINTS // across), (width, across)]
    window = []
    for size, crop_size in sizes:
        unit = 1 if size == 1 else coarsest
        extent = max(unit, min(size, crop_size) // unit * unit)
        start = unit * int(random.integers(0, (size - extent) // unit + 1))
        window.append(slice(start, start + extent))
    number = int(random.integers(len(batch.values)))
    single = Batch(batch.values[number : number + 1], batch.mask, batch.points, batch.extent, batch.origin)
    crop = Tile((window[0], window[1]), (window[0], window[1])).cut(model.config, single)
    return replace(crop, mask=None) if crop.mask is not None and bool(crop.mask.all()) else crop
