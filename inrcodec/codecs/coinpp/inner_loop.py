"""The inner loop of model-agnostic meta-learning over latents (arXiv 1703.03400; COIN++, arXiv 2201.12904, section 3).

The inner loop starts at the zero vector and takes a few gradient steps on half the squared error of a patch, with the
weights of the base network fixed. In training, an outer step then moves the weights along the gradient of the final
error: through the inner steps (second order, ``inner_steps``), or as if the latents did not depend on the weights
(first order, ``fit_latents``).

Shapes: N patches, P points, A axes, C channels, D latent dimensions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from inrcodec.codecs.base import Progress, no_progress
from inrcodec.codecs.coinpp.model import ModulatedINR

CACHE_NUMBERS = 1 << 21
"""Max activations of one layer that are computed at once, so that they stay in the cache."""


def squared_errors(predicted: Tensor, values: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the sum of squared errors of every patch, (N,); ``weight`` (N, P) weighs its points."""
    error = (predicted.float() - values).square().sum(dim=-1)
    return (error if weight is None else error * weight).sum(dim=-1)


def inner_steps(
    model: ModulatedINR,
    values: Tensor,
    coordinates: Tensor,
    steps: int,
    *,
    weight: Tensor | None = None,
    start: Tensor | None = None,
) -> Tensor:
    """Take inner steps with gradients through the steps (second order).

    Args:
        model: the model.
        values: patches (N, P, C) in the model's units.
        coordinates: (P, A), of the grid of a patch.
        steps: number of steps.
        weight: weights (N, P) of the points.
        start: latents (N, D) to start from; by default 0.

    Returns:
        Latents (N, D).
    """
    latent = torch.zeros(len(values), model.config.latent_dims, device=values.device) if start is None else start
    latent, base = latent.requires_grad_(True), model.base_values(coordinates)
    for _ in range(steps):
        error = 0.5 * squared_errors(model(latent, coordinates, base), values, weight).sum()
        (slope,) = torch.autograd.grad(error, latent, create_graph=True)
        latent = latent - model.log_rates.exp() * slope
    return latent


@torch.no_grad()
def fit_latents(
    model: ModulatedINR,
    values: Tensor,
    coordinates: Tensor,
    steps: int,
    *,
    weight: Tensor | None = None,
    start: Tensor | None = None,
    progress: Progress = no_progress,
) -> Tensor:
    """Return the latents of the lowest error along ``steps`` inner steps, without gradients (first order).

    If a step increases the error of a patch, the patch goes back to its best latents and halves its step size. Patches
    are processed a few at a time, so that activations stay in the cache.

    Args:
        model: the model.
        values: patches (N, P, C) in the model's units.
        coordinates: (P, A), of the grid of a patch.
        steps: number of steps.
        weight: weights (N, P) of the points.
        start: latents (N, D) to start from; by default 0.
        progress: called with patches times steps done.

    Returns:
        Latents (N, D).
    """
    at_once, base = patches_at_once(model, values), model.base_values(coordinates)
    zeros = torch.zeros(len(values), model.config.latent_dims, device=values.device)
    latents = zeros if start is None else start.clone()
    for first in range(0, len(values), at_once):
        rows = slice(first, first + at_once)
        row_weight = None if weight is None else weight[rows]
        latents[rows] = _descend(model, values[rows], coordinates, base, steps, row_weight, latents[rows])
        progress(steps * len(values[rows]))
    return latents


def patches_at_once(model: ModulatedINR, values: Tensor) -> int:
    """Return how many of the patches (N, P, C) to process at once, so that activations stay in the cache."""
    return max(1, CACHE_NUMBERS // (values.shape[1] * max(model.config.widths)))


def slopes(
    model: ModulatedINR,
    latents: Tensor,
    values: Tensor,
    coordinates: Tensor,
    base: Tensor,
    weight: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the squared errors (N,) of patches and the gradient (N, D) of half of them, the inner step's direction."""
    with torch.enable_grad():
        free = latents.detach().requires_grad_(True)
        error = squared_errors(model(free, coordinates, base), values, weight)
        (slope,) = torch.autograd.grad(0.5 * error.sum(), free)
    return error.detach(), slope


def _descend(
    model: ModulatedINR,
    values: Tensor,
    coordinates: Tensor,
    base: Tensor,
    steps: int,
    weight: Tensor | None,
    start: Tensor,
) -> Tensor:
    best, best_error = start, torch.full((len(values),), math.inf, device=values.device)
    best_slope = torch.zeros_like(start)
    size = torch.ones(len(values), 1, device=values.device)
    latent = start
    for number in range(steps + 1):
        if number < steps:
            error, slope = slopes(model, latent, values, coordinates, base, weight)
        else:
            with torch.no_grad():
                error, slope = squared_errors(model(latent, coordinates, base), values, weight), best_slope
        better = error < best_error
        best = torch.where(better[:, None], latent, best)
        best_slope = torch.where(better[:, None], slope, best_slope)
        best_error = torch.where(better, error, best_error)
        size = torch.where(better[:, None], size, 0.5 * size)
        latent = best - size * model.log_rates.exp() * best_slope
    return best
