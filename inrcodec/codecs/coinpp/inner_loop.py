"""Inner and outer steps of model-agnostic meta-learning over latents alone (Finn et al. 2017; COIN++, algorithm 1).

The inner loop starts at the zero vector and takes a few gradient steps on half the squared error of a patch, all
weights of the base network held. The outer step moves the weights by the gradient of what the inner loop ends with:
through the inner steps (second order), or as if they did not depend on the weights (first order).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from inrcodec.codecs.coinpp.model import ModulatedINR

CACHE_NUMBERS = 1 << 21
"""Activations of one layer that are worked on at once."""


def squared_errors(predicted: Tensor, values: Tensor, weight: Tensor | None = None) -> Tensor:
    """Sum of squared errors of every patch, (N,); ``weight`` (N, P) of its points."""
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
    """Latents (N, D) after ``steps`` inner steps from zero or ``start``, with gradients through the steps (second
    order). Patches are (N, P, C) in the model's units."""
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
    tick: Callable[[int], None] | None = None,
) -> Tensor:
    """Latents (N, D) of least error among those that ``steps`` inner steps pass; no gradients (first order).

    Where a step makes a patch worse, the patch goes back and takes half the step. Patches are worked on a few at a
    time, so that activations stay in the cache; ``tick`` is told of patches times steps done.
    """
    at_once, base = patches_at_once(model, values), model.base_values(coordinates)
    found = torch.zeros(len(values), model.config.latent_dims, device=values.device) if start is None else start.clone()
    for first in range(0, len(values), at_once):
        part = slice(first, first + at_once)
        found[part] = _descend(
            model, values[part], coordinates, base, steps, None if weight is None else weight[part], found[part]
        )
        if tick is not None:
            tick(steps * len(values[part]))
    return found


def patches_at_once(model: ModulatedINR, values: Tensor) -> int:
    """Patches (N, P, C) to work on at once, so that activations stay in the cache."""
    return max(1, CACHE_NUMBERS // (values.shape[1] * max(model.config.widths)))


def slopes(
    model: ModulatedINR,
    latents: Tensor,
    values: Tensor,
    coordinates: Tensor,
    base: Tensor,
    weight: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Squared errors (N,), and the inner step's direction (N, D): the gradient of half of them."""
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
