"""Measuring a hierarchical prior: rate and quality of rounded proposals at several rates."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from inrcodec.codecs.hierarchical.elbo import elbo, native_fourier, rounded
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
from inrcodec.training.sources import PatchSource


@dataclass(frozen=True)
class RateResult:
    """Means over patches at a rate.

    Attributes:
        beta: squared error of values per bit per point.
        bits_per_point: bits of the rounded proposals under the prior.
        db: PSNR in dB, peak 1.
    """

    beta: float
    bits_per_point: float
    db: float


@torch.no_grad()
def evaluate_hierarchical(
    prior: HierarchicalPrior, source: PatchSource, *, count: int = 32, seed: int = 0
) -> list[RateResult]:
    """Return results of rounded proposals for ``count`` patches, at six rates from the lowest to the highest."""
    values = torch.from_numpy(source.draw(count, np.random.default_rng(seed)))
    values = (values[:, None] if prior.axes == 1 else values).permute(0, 3, 1, 2)
    rows, columns = values.shape[2], values.shape[3]
    fourier = native_fourier(prior.config, rows, columns)
    results = []
    for log_lambda in np.linspace(*prior.config.log_lambdas, 6).tolist():
        found = elbo(prior.model, values, torch.full((count,), log_lambda), fourier, rounded)
        results.append(
            RateResult(
                math.exp(-log_lambda),
                float(found.bits.mean()) / (rows * columns),
                float(-10.0 * found.mse.clamp_min(1e-12).log10().mean()),
            )
        )
    return results
