"""Measuring a base network: rate and quality of fitted latents at several quantisation steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from inrcodec.codecs.coinpp.inner_loop import fit_latents, squared_errors
from inrcodec.codecs.coinpp.latents import choose_gains, coded_nats, quantise
from inrcodec.codecs.coinpp.prior import CoinPPPrior, fineness_of, step_of
from inrcodec.signals.coordinates import grid_coordinates
from inrcodec.training.sources import PatchSource

INNER_STEPS = 10
FINENESSES = 6


@dataclass(frozen=True)
class StepResult:
    """Means over patches at a quantisation step.

    Attributes:
        step: quantisation step.
        bits_per_point: bits under the prior.
        db: PSNR in dB, peak 1.
    """

    step: float
    bits_per_point: float
    db: float


@torch.no_grad()
def evaluate_coinpp(prior: CoinPPPrior, source: PatchSource, *, count: int = 64, seed: int = 0) -> list[StepResult]:
    """Return results of ``count`` patches, fitted once and quantised at six steps."""
    config = prior.config
    values = torch.from_numpy(source.draw(count, np.random.default_rng(seed))).flatten(1, -2)
    values = (values - config.centre) / config.spread
    coordinates = torch.from_numpy(grid_coordinates(config.patch_shape).reshape(-1, prior.axes))
    latent = fit_latents(prior.model, values, coordinates, INNER_STEPS)
    results = []
    for step in np.geomspace(prior.steps[1], prior.steps[0], FINENESSES).tolist():
        step = step_of(fineness_of(step))
        gains = choose_gains(prior, latent, step)
        quantised = quantise(prior, latent, gains, step) * step
        nats = coded_nats(quantised, prior.log_scales(gains), torch.full((count,), step)).sum(dim=1)
        error = squared_errors(prior.model(quantised, coordinates), values) / values[0].numel() * config.spread**2
        results.append(
            StepResult(
                step,
                float(nats.mean()) / math.log(2) / config.n_points,
                float(-10.0 * error.clamp_min(1e-12).log10().mean()),
            )
        )
    return results
