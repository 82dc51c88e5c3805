"""Latents of modulations as whole numbers under Gaussian tables: gains, rounding, messages.

A message has two parts: every patch's gain, as the difference to the patch before it, then the latents of all patches.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from inrcodec.codecs.coinpp.inner_loop import patches_at_once, slopes
from inrcodec.codecs.coinpp.prior import MAX_GAIN, CoinPPPrior, step_of
from inrcodec.coding.gaussian import GaussianReader, GaussianWriter
from inrcodec.errors import FormatError

GAIN_TABLE = 25
"""Scale of the table of gains' differences: 1.5, part of the format."""
PATCHES_AT_ONCE = 64
GAINS_TRIED = (0, -1, 1, -2, 2)
OUTLIER = 4.0
"""Standard deviations that a dimension may be at."""
ESCAPE_NATS = 27.0
"""About what the tables spend at most on a number, of any size."""
_MIN_PROBABILITY = 1e-6


def gaussian_nats(latent: Tensor, log_scales: Tensor, step: Tensor) -> Tensor:
    """Length in nats (N, D) of numbers that fell into cells of ``step`` (N,) under Gaussians of
    ``log_scales`` (D,) or (N, D)."""
    scale = log_scales.exp()
    half = 0.5 * step[:, None]
    normal = torch.distributions.Normal(torch.zeros_like(scale), scale)
    size = latent.abs()
    # The lower tail has the precision that the upper one lacks.
    inside = normal.cdf(half - size) - normal.cdf(-half - size)
    tail = 0.5 * ((size - half).clamp_min(0.0) / scale).square()
    return torch.where(inside > _MIN_PROBABILITY, -inside.clamp_min(_MIN_PROBABILITY).log(), tail)


def coded_nats(latent: Tensor, log_scales: Tensor, step: Tensor) -> Tensor:
    """``gaussian_nats`` as the tables have it: numbers far out are escaped."""
    return gaussian_nats(latent, log_scales, step).clamp_max(ESCAPE_NATS)


def choose_gains(prior: CoinPPPrior, latents: Tensor, step: float) -> Tensor:
    """The gain of every patch that makes its latents (N, D) shortest at a step, (N,) int64.

    Tried are those about the power of the dimensions that are above the step by the prior, and about what the dimension
    that is largest for its scale asks for.
    """
    base = prior.log_scales(torch.zeros(1, dtype=torch.int64))
    counts = base[0] >= min(math.log(step), float(base.max()) - 1.0)
    rounded = torch.round(latents / step) * step
    ratio = rounded.square() * (-2.0 * base).exp()
    power = torch.where(counts, latents.square() * (-2.0 * base).exp(), 0.0).sum(dim=1) / int(counts.sum())
    guesses = [torch.round(p.clamp_min(1e-12).log2()).long() for p in (power, ratio.amax(dim=1) / OUTLIER**2)]
    chosen = []
    for part, *about in zip(*(t.split(PATCHES_AT_ONCE) for t in (rounded, *guesses)), strict=True):
        steps = torch.full((len(part),), step)
        tried = torch.stack([(g + off).clamp(-MAX_GAIN, MAX_GAIN) for g in about for off in GAINS_TRIED])
        lengths = torch.stack([coded_nats(part, prior.log_scales(gain), steps).sum(dim=1) for gain in tried])
        chosen.append(tried.gather(0, lengths.argmin(dim=0, keepdim=True))[0])
    return torch.cat(chosen)


def quantise(prior: CoinPPPrior, latents: Tensor, gains: Tensor, step: float) -> Tensor:
    """Whole numbers (N, D) int64 for latents: the nearest, or the next one towards zero where its bits are worth it.

    A bit is worth 2 ln 2 / 12 of squared step (see ``codecs.coinpp.training``); latents are measured so that
    their squared error is that of the values.
    """
    scaled = latents / step
    nearest = torch.round(scaled)
    lower = nearest - nearest.sign()
    steps = torch.full((len(latents),), step)
    out = []
    for x, n, low, gain, s in zip(
        *(t.split(PATCHES_AT_ONCE) for t in (scaled, nearest, lower, gains, steps)), strict=True
    ):
        log_scales = prior.log_scales(gain)
        costs = [6.0 * (x - k).square() + coded_nats(k * step, log_scales, s) for k in (n, low)]
        out.append(torch.where(costs[1] < costs[0], low, n))
    return torch.cat(out).to(torch.int64)


def requantise(
    prior: CoinPPPrior,
    numbers: Tensor,
    gains: Tensor,
    step: float,
    values: Tensor,
    coordinates: Tensor,
    rounds: int,
    *,
    weight: Tensor | None = None,
    tick: Callable[[int], None] | None = None,
) -> Tensor:
    """Numbers of less rate-distortion cost: an inner step from what the receiver would have, quantised again, for so
    many rounds. A dimension makes up for what rounding has done to the others; what is not better is dropped."""
    model = prior.model
    at_once, base = patches_at_once(model, values), model.base_values(coordinates)
    out = numbers.clone()
    for first in range(0, len(values), at_once):
        part = slice(first, first + at_once)
        own = None if weight is None else weight[part]
        log_scales, steps = prior.log_scales(gains[part]), torch.full((len(out[part]),), step)
        tried, least = out[part], torch.full((len(out[part]),), math.inf)
        for _ in range(rounds + 1):
            error, slope = slopes(model, tried * step, values[part], coordinates, base, own)
            cost = 6.0 * error / step**2 + coded_nats(tried * step, log_scales, steps).sum(dim=1)
            better = cost < least
            least = torch.where(better, cost, least)
            out[part] = torch.where(better[:, None], tried, out[part])
            tried = quantise(prior, tried * step - model.log_rates.exp() * slope, gains[part], step)
        if tick is not None:
            tick(rounds * len(tried))
    return out


def write_latents(prior: CoinPPPrior, numbers: Tensor, gains: Tensor, fineness: int) -> bytes:
    """The message of a signal's patches: numbers (N, D), gains (N,)."""
    writer = GaussianWriter()
    steps = np.diff(gains.numpy(), prepend=0)
    writer.write(steps, np.full(len(steps), GAIN_TABLE))
    writer.write(numbers.numpy().reshape(-1), prior.table_indices(fineness, gains).numpy().reshape(-1))
    return writer.to_bytes()


def read_latents(prior: CoinPPPrior, message: bytes, n_patches: int, fineness: int) -> Tensor:
    """Latents (N, D) of a message; FormatError when it is damaged."""
    reader = GaussianReader(message, 2)
    gains = np.cumsum(reader.read(np.full(n_patches, GAIN_TABLE)))
    if np.abs(gains).max() > MAX_GAIN:
        raise FormatError(f"the gain of a patch is beyond {MAX_GAIN}")
    indices = prior.table_indices(fineness, torch.from_numpy(gains))
    numbers = reader.read(indices.numpy().reshape(-1)).reshape(indices.shape)
    reader.finish()
    return torch.from_numpy(numbers.astype(np.float32)) * step_of(fineness)
