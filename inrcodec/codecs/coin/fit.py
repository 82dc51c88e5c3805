"""Fitting one SIREN to one signal by Adam (COIN, arXiv 2103.03123, section 3), many signals of one grid at a time.

The paper takes 50,000 steps on all points. Here a step sees a random part of them, drawn anew, and the learning rate
falls as a half cosine: the noise of the drawing is gone by the end, and a step costs the same for every size of signal.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from inrcodec.nn.siren import SirenShape, siren
from inrcodec.signals.coordinates import grid_coordinates

FIRST_REACH = 30.0
"""Largest frequency of the first layer before the fit, radians per unit of coordinate: w0 of SIREN."""
POINTS_OF_REACH = 512
"""Points along the axis of a sound for which that is right; longer ones have more to say, in proportion."""
HIDDEN_RATE, LAST_RATE = 1.5e-2, 1e-3
"""Largest learning rates; w0 is part of the weights here, which the paper's 2e-4 is multiplied by."""
WARM_STEPS = 50


@dataclass(frozen=True)
class Fitted:
    """Weights (S, n) of S signals and their mean squared errors in the model's units over the last steps."""

    weights: Tensor
    error: float


def coin_start(shape: SirenShape, count: int, grid: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Weights (count, n) before the fit, by the rule of SIREN (Sitzmann et al. 2020, section 3.2) with w0 in them, on a
    coarse ``grid`` no higher frequencies than a quarter of what it can carry."""
    parts = []
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
        parts.append(matrix.flatten(1))
    return torch.cat(parts, dim=1)


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
    tick: Callable[[int], None] | None = None,
) -> Fitted:
    """Fit S signals (S, P, C) on a grid of P points; each step takes ``points_at_once`` points, or all of fewer.

    ``start``: weights to go on from; ``rate``: factor of the learning rates.
    """
    generator = torch.Generator().manual_seed(seed)
    coordinates = torch.from_numpy(grid_coordinates(grid).reshape(-1, len(grid)))
    first = coin_start(shape, len(values), grid, generator) if start is None else start.clone()
    sizes = [shape.n_weights - shape.layer_sizes[-1], shape.layer_sizes[-1]]
    hidden, last = (part.clone().requires_grad_(True) for part in first.split(sizes, dim=1))
    groups = [{"params": [hidden], "top": HIDDEN_RATE * rate}, {"params": [last], "top": LAST_RATE * rate}]
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99))
    rng = np.random.default_rng(seed)
    n_points, recent = len(coordinates), []
    for number in range(steps):
        fall = 0.5 * (1.0 + math.cos(math.pi * number / steps)) * min(1.0, (number + 1) / WARM_STEPS)
        for group in optimiser.param_groups:
            group["lr"] = group["top"] * max(fall, 1e-3)
        if n_points > points_at_once:
            # One point of every run of points: spread evenly, and quick to draw.
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
        if tick is not None:
            tick(1)
    return Fitted(torch.cat([hidden, last], dim=1).detach(), float(np.mean(recent)) if recent else math.inf)
