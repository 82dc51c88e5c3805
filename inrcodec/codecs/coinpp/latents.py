"""Latents as integers under Gaussian tables: gains of patches, rounding, messages.

The *gain* of a patch scales the standard deviations of its latents (``CoinPPPrior.log_scales``). A message has two
parts: the gain of every patch, as the difference from the patch before it, then the integers of all patches.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from inrcodec.codecs.base import Progress, no_progress
from inrcodec.codecs.coinpp.inner_loop import patches_at_once, slopes
from inrcodec.codecs.coinpp.prior import MAX_GAIN, CoinPPPrior, step_of
from inrcodec.coding.gaussian import GaussianReader, GaussianWriter
from inrcodec.errors import FormatError

GAIN_TABLE = 25
"""Index of the Gaussian table of the differences of gains; its scale is 1.5. Part of the file format."""
PATCHES_AT_ONCE = 64
"""Patches whose gains are chosen, and latents quantised, at once."""
GAINS_TRIED = (0, -1, 1, -2, 2)
"""Offsets to a guess of the gain that are tried."""
OUTLIER = 4.0
"""One guess of the gain puts the largest latent at this many standard deviations."""
ESCAPE_NATS = 27.0
"""Approximate max length of an integer of any size under the tables, which escape outliers."""
_MIN_PROBABILITY = 1e-6


def gaussian_nats(latent: Tensor, log_scales: Tensor, step: Tensor) -> Tensor:
    """Return the ideal code length (N, D), in nats, of quantised latents under Gaussians of mean 0.

    Args:
        latent: latents (N, D), multiples of ``step``.
        log_scales: logarithm of the standard deviations, (D,) or (N, D).
        step: quantisation step sizes (N,).
    """
    scale = log_scales.exp()
    half = 0.5 * step[:, None]
    normal = torch.distributions.Normal(torch.zeros_like(scale), scale)
    size = latent.abs()
    # In the lower tail, cdf differences keep their precision; in the upper tail they would not.
    inside = normal.cdf(half - size) - normal.cdf(-half - size)
    tail = 0.5 * ((size - half).clamp_min(0.0) / scale).square()
    return torch.where(inside > _MIN_PROBABILITY, -inside.clamp_min(_MIN_PROBABILITY).log(), tail)


def coded_nats(latent: Tensor, log_scales: Tensor, step: Tensor) -> Tensor:
    """Return ``gaussian_nats``, limited to the length of an escaped outlier in the tables."""
    return gaussian_nats(latent, log_scales, step).clamp_max(ESCAPE_NATS)


def choose_gains(prior: CoinPPPrior, latents: Tensor, step: float) -> Tensor:
    """Return the gains (N,), int64, under which the latents (N, D) of the patches are shortest at a step size.

    Two guesses, each with its neighbours, are tried: one from the power of the dimensions whose prior scale is above
    the step size, and one from the largest latent relative to its scale.
    """
    base = prior.log_scales(torch.zeros(1, dtype=torch.int64))
    is_strong = base[0] >= min(math.log(step), float(base.max()) - 1.0)
    rounded = torch.round(latents / step) * step
    ratio = rounded.square() * (-2.0 * base).exp()
    power = torch.where(is_strong, latents.square() * (-2.0 * base).exp(), 0.0).sum(dim=1) / int(is_strong.sum())
    guesses = [torch.round(p.clamp_min(1e-12).log2()).long() for p in (power, ratio.amax(dim=1) / OUTLIER**2)]
    chosen = []
    for chunk, *centres in zip(*(t.split(PATCHES_AT_ONCE) for t in (rounded, *guesses)), strict=True):
        steps = torch.full((len(chunk),), step)
        tried = torch.stack([(g + off).clamp(-MAX_GAIN, MAX_GAIN) for g in centres for off in GAINS_TRIED])
        lengths = torch.stack([coded_nats(chunk, prior.log_scales(gain), steps).sum(dim=1) for gain in tried])
        chosen.append(tried.gather(0, lengths.argmin(dim=0, keepdim=True))[0])
    return torch.cat(chosen)


def quantise(prior: CoinPPPrior, latents: Tensor, gains: Tensor, step: float) -> Tensor:
    """Return integers (N, D), int64, for latents: the nearest, or the next one towards zero if that costs less.

    The cost of a bit is 2 ln 2 / 12 squared step sizes (see ``codecs.coinpp.training``); latents are scaled so that
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
    progress: Progress = no_progress,
) -> Tensor:
    """Lower the rate-distortion cost of quantised latents.

    Every round takes an inner step from the latents that the receiver would decode, and quantises the result again.
    Dimensions thus compensate for the rounding of others. A patch keeps the integers of its best round.

    Args:
        prior: the prior.
        numbers: integers (N, D) from ``quantise``.
        gains: gains (N,).
        step: quantisation step size.
        values: patches (N, P, C) in the model's units.
        coordinates: (P, A), of the grid of a patch.
        rounds: number of rounds.
        weight: weights (N, P) of the points.
        progress: called with patches times rounds done.

    Returns:
        Integers (N, D).
    """
    model = prior.model
    at_once, base = patches_at_once(model, values), model.base_values(coordinates)
    out = numbers.clone()
    for first in range(0, len(values), at_once):
        rows = slice(first, first + at_once)
        row_weight = None if weight is None else weight[rows]
        log_scales, steps = prior.log_scales(gains[rows]), torch.full((len(out[rows]),), step)
        tried, min_cost = out[rows], torch.full((len(out[rows]),), math.inf)
        for _ in range(rounds + 1):
            error, slope = slopes(model, tried * step, values[rows], coordinates, base, row_weight)
            cost = 6.0 * error / step**2 + coded_nats(tried * step, log_scales, steps).sum(dim=1)
            better = cost < min_cost
            min_cost = torch.where(better, cost, min_cost)
            out[rows] = torch.where(better[:, None], tried, out[rows])
            tried = quantise(prior, tried * step - model.log_rates.exp() * slope, gains[rows], step)
        progress(rounds * len(tried))
    return out


def write_latents(prior: CoinPPPrior, numbers: Tensor, gains: Tensor, fineness: int) -> bytes:
    """Return the message of a signal's patches from integers (N, D) and gains (N,)."""
    writer = GaussianWriter()
    differences = np.diff(gains.numpy(), prepend=0)
    writer.write(differences, np.full(len(differences), GAIN_TABLE))
    writer.write(numbers.numpy().reshape(-1), prior.table_indices(fineness, gains).numpy().reshape(-1))
    return writer.to_bytes()


def read_latents(prior: CoinPPPrior, message: bytes, n_patches: int, fineness: int) -> Tensor:
    """Return the latents (N, D) of a message.

    Raises:
        FormatError: the message is truncated, has trailing bytes, or holds a gain out of range.
    """
    reader = GaussianReader(message, 2)
    gains = np.cumsum(reader.read(np.full(n_patches, GAIN_TABLE)))
    if np.abs(gains).max() > MAX_GAIN:
        raise FormatError(f"the gain of a patch is out of range, expected -{MAX_GAIN} to {MAX_GAIN}")
    indices = prior.table_indices(fineness, torch.from_numpy(gains))
    numbers = reader.read(indices.numpy().reshape(-1)).reshape(indices.shape)
    reader.finish()
    return torch.from_numpy(numbers.astype(np.float32)) * step_of(fineness)
