"""The encoder network adapted to the signals that it is about to encode, the decoder held.

What is sent are latents; a receiver has no use for the network that proposed them. So that network may learn from the
very signals: some steps of training on crops of them, at the rate that they are wanted at, the way down and the priors
as they are. For a large signal this finds better latents than descent on the latents themselves, which has to get over
rounding one symbol after the other (``latent_refinement``): the cost is the smooth one of training, with samples ever
nearer to rounding, and what is learned at one place serves at all others.

Source of the idea: Lu et al., *Content adaptive and error propagation aware deep video compression* (arXiv 2003.11282).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from inrcodec.codecs.hierarchical.checkerboard import scatter_color
from inrcodec.codecs.hierarchical.config import block_phase
from inrcodec.codecs.hierarchical.elbo import Errors, elbo, rounded, sampled_points, softened
from inrcodec.codecs.hierarchical.model import HierarchicalINR, top_down
from inrcodec.codecs.hierarchical.refinement import Batch, Offsets, Tile, tiles, zero_offsets
from inrcodec.training.loop import cosine_lr
from inrcodec.training.muon import Muon

CROP_POINTS = 192 * 192
"""Of a step, about."""
LEARNING_RATE, RAMP, LAST_RATE = 3e-4, 10, 0.02
"""The first, after how many steps, and its share at the end of a half cosine."""
TEMPERATURES = (0.5, 0.15)
"""Of soft rounding, from the first step to the last."""
ITERATIONS = 3
"""Of orthogonalising the optimiser's steps: five take a third of a step's time and find nothing better."""
POINT_SHARE = 0.25
"""Of a crop's points, at which squared errors are measured."""
WEIGHED_CROPS = 4


def adapted(
    model: HierarchicalINR,
    batch: Batch,
    log_lambda: float,
    steps: int,
    tick: Callable[[int], None],
    errors: Errors | None = None,
) -> HierarchicalINR:
    """A model whose encoder has learned for ``steps`` steps from the signals of a batch; everything else is shared.

    ``errors``: what stands in for squared errors, weighted so that what is proposed costs as much as by these."""
    random = torch.Generator().manual_seed(steps)
    numbers = np.random.default_rng(steps)
    made = model.with_own_encoder()
    parameters = [p.requires_grad_(True) for p in made.encoder_parameters()]
    optimiser = Muon(parameters, LEARNING_RATE, iterations=ITERATIONS)
    at = torch.full((1,), log_lambda)
    weight = math.exp(log_lambda)
    if errors is not None:
        weight *= _exchange(model, [_crop(model, batch, numbers) for _ in range(WEIGHED_CROPS)], at, errors)
    for step in range(steps):
        done = step / steps
        for group in optimiser.param_groups:
            group["lr"] = cosine_lr(LEARNING_RATE, done, step, floor=LAST_RATE, ramp=RAMP)
        crop = _crop(model, batch, numbers)
        every = errors is not None or crop.mask is not None
        points = sampled_points(crop.points, 1.0 if every else POINT_SHARE, random)
        quantise = softened(TEMPERATURES[0] + (TEMPERATURES[1] - TEMPERATURES[0]) * done, random)
        found = elbo(
            made, crop.values, at, crop.fourier(model.config), quantise, mask=crop.mask, errors=errors, points=points
        )
        loss = (found.bits / crop.points + weight * found.mse).sum()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        tick(1)
    for p in parameters:
        p.requires_grad_(False)
    return made


@torch.no_grad()
def offsets_to(model: HierarchicalINR, other: HierarchicalINR, batch: Batch, log_lambda: float) -> Offsets:
    """What takes the proposals of a model's encoder to those of another model, block by block, as rounding by the other
    leads."""
    config = model.config
    count, _, height, width = batch.values.shape
    out = zero_offsets(config, count, height, width)
    rate = model.rates(torch.full((1,), log_lambda))
    for tile in tiles(config, height, width):
        values = batch.values[:, :, tile.outer[0], tile.outer[1]].contiguous(memory_format=torch.channels_last)
        risen, others = model.bottom_up(values, rate), other.bottom_up(values, rate)
        found: Offsets = {}

        def choose(name: str, h: Tensor, prior: Tensor) -> Tensor:
            step = model.steps(name, rate)
            wanted = other.propose(name, h, others, rate) / step  # noqa: B023
            change = wanted - model.propose(name, h, risen, rate) / step  # noqa: B023
            found[name] = scatter_color(change, block_phase(config, name))  # noqa: B023
            return prior.chunk(2, dim=1)[0] + step * wanted.round()

        rows = values.shape[2] if config.axes == 1 else values.shape[2] // config.coarsest
        top_down(model.layers(rate), count, rows, values.shape[3] // config.coarsest, choose)
        tile.put(config, found, out)
    return out


@torch.no_grad()
def _exchange(model: HierarchicalINR, crops: list[Batch], at: Tensor, errors: Errors) -> float:
    """Squared errors over other ones, of what is proposed."""
    totals = [0.0, 0.0]
    for crop in crops:
        fourier = crop.fourier(model.config)
        for number, measure in enumerate((None, errors)):
            found = elbo(model, crop.values, at, fourier, rounded, mask=crop.mask, errors=measure)
            totals[number] += float(found.mse)
    return totals[0] / max(totals[1], 1e-9)


def _crop(model: HierarchicalINR, batch: Batch, random: np.random.Generator) -> Batch:
    """A part of one of the signals, its border on multiples of the coarsest stride."""
    coarsest = model.config.coarsest
    height, width = batch.values.shape[2:]
    if model.config.axes == 1:
        sizes = [(1, 1), (width, CROP_POINTS)]
    else:
        side = math.isqrt(CROP_POINTS)
        # A circle is whole: what lies beyond its end is its beginning.
        across = width if model.config.periodic else min(width, side)
        sizes = [(height, CROP_POINTS // across), (width, across)]
    window = []
    for size, wanted in sizes:
        unit = 1 if size == 1 else coarsest
        extent = max(unit, min(size, wanted) // unit * unit)
        start = unit * int(random.integers(0, (size - extent) // unit + 1))
        window.append(slice(start, start + extent))
    number = int(random.integers(len(batch.values)))
    one = Batch(batch.values[number : number + 1], batch.mask, batch.points, batch.extent, batch.origin)
    crop = Tile((window[0], window[1]), (window[0], window[1])).cut(model.config, one)
    return replace(crop, mask=None) if crop.mask is not None and bool(crop.mask.all()) else crop
