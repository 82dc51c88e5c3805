"""Fit one SIREN to each signal by Adam (COIN, arXiv 2103.03123, section 3), many signals of one grid at a time.

The paper takes 50,000 steps on all points. Here every step sees a new random part of the points, so its cost does not
depend on the size of the signal. The learning rate falls as a half cosine, which removes the noise of the random points
by the end.

Shapes: S signals, P points, C channels, n weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from inrcodec.codecs.base import Progress, no_progress
from inrcodec.nn.siren import SirenShape, siren
from inrcodec.signals.coordinates import grid_coordinates

FIRST_REACH = 30.0
"""Max frequency of the first layer before the fit, in radians per unit of coordinate: w0 of SIREN."""
POINTS_OF_REACH = 512
"""Points of audio for which ``FIRST_REACH`` is right; the frequencies of longer audio grow in proportion."""
HIDDEN_RATE, LAST_RATE = 1.5e-2, 1e-3
"""Max learning rates of the hidden layers and the last layer. They are above the paper's 2e-4 because here w0 is part
of the weights."""
WARM_STEPS = 50
"""Steps over which the learning rates rise linearly to their max."""


@dataclass(frozen=True)
class Fitted:
    """The result of a fit.

    Attributes:
        weights: weights (S, n).
        error: mean squared error in the model's units over the last steps.
    """

    weights: Tensor
    error: float


def coin_start(shape: SirenShape, count: int, grid: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Return random initial weights (count, n) by the rule of SIREN (arXiv 2006.09661, section 3.2).

    The factor w0 is part of the weights. On a coarse grid, frequencies are limited to a quarter of the Nyquist
    frequency.

    Args:
        shape: shape of the network.
        count: number S of signals.
        grid: shape of the grid.
        generator: source of the random numbers.
    """
    matrices = []
    for index, (rows, columns) in enumerate(shape.layers):
        matrix = torch.rand(count, rows, columns, generator=generator) * 2.0 - 1.0
        if index == 0:
            for axis, n in enumerate(grid):
                reach = FIRST_REACH * max(1.0, n / POINTS_OF_REACH) if len(grid) == 1 else FIRST_REACH
                matrix[:, axis] *= min(reach, math.pi * n / 8)
            matrix[:, -1] *= math.pi
        elif index < len(shape.layers) - 1:
            matrix *= math.sqrt(6.0 / (rows - 1))
        else:
            matrix *= math.sqrt(6.0 / (rows - 1)) / 30.0
        if index > 0:
            matrix[:, -1] = 0.0
        matrices.append(matrix.flatten(1))
    return torch.cat(matrices, dim=1)


def fit_siren(
    values: Tensor,
    grid: tuple[int, ...],
    shape: SirenShape,
    steps: int,
    points_at_once: int,
    seed: int,
    *,
    start: Tensor | None = None,
    rate: float = 1.0,
    progress: Progress = no_progress,
) -> Fitted:
    """Fit one SIREN to each of S signals.

    Args:
        values: (S, P, C), normalised.
        grid: shape of the grid of P points.
        shape: shape of the networks.
        steps: steps of Adam.
        points_at_once: points that each step sees, at most all.
        seed: seed of the initial weights and of the points.
        start: weights (S, n) to start from; by default random.
        rate: factor of the learning rates.
        progress: called with 1 after every step.
    """
    generator = torch.Generator().manual_seed(seed)
    coordinates = torch.from_numpy(grid_coordinates(grid).reshape(-1, len(grid)))
    initial = coin_start(shape, len(values), grid, generator) if start is None else start.clone()
    sizes = [shape.n_weights - shape.layer_sizes[-1], shape.layer_sizes[-1]]
    hidden, last = (weights.clone().requires_grad_(True) for weights in initial.split(sizes, dim=1))
    groups = [{"params": [hidden], "max_lr": HIDDEN_RATE * rate}, {"params": [last], "max_lr": LAST_RATE * rate}]
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99))
    rng = np.random.default_rng(seed)
    n_points, recent = len(coordinates), []
    for number in range(steps):
        decay = 0.5 * (1.0 + math.cos(math.pi * number / steps)) * min(1.0, (number + 1) / WARM_STEPS)
        for group in optimiser.param_groups:
            group["lr"] = group["max_lr"] * max(decay, 1e-3)
        if n_points > points_at_once:
            # One random point of every run of points: evenly spread and quick to draw.
            runs = np.linspace(0, n_points, points_at_once + 1)
            chosen = torch.from_numpy((runs[:-1] + rng.random(points_at_once) * np.diff(runs)).astype(np.int64))
            x, y = coordinates[chosen], values[:, chosen]
        else:
            x, y = coordinates, values
        error = (siren(x, torch.cat([hidden, last], dim=1), shape) - y).square().mean(dim=(1, 2))
        optimiser.zero_grad()
        error.sum().backward()
        optimiser.step()
        if number >= steps - max(1, steps // 20):
            recent.append(float(error.detach().mean()))
        progress(1)
    return Fitted(torch.cat([hidden, last], dim=1).detach(), float(np.mean(recent)) if recent else math.inf)
