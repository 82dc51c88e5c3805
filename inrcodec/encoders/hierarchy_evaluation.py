"""What a prior of the hierarchical codec achieves on patches that it was not trained on, before any gradient step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from inrcodec.encoders.training_data import PatchSource
from inrcodec.methods.hierarchical_fit import elbo, native_fourier, rounded
from inrcodec.models.hierarchy_prior import HierarchyPrior


@dataclass(frozen=True)
class RateResult:
    """Means over patches: bits per point of the rounded proposals under the prior, PSNR in dB (peak 1)."""

    beta: float
    bits_per_point: float
    db: float


@torch.no_grad()
def evaluate_hierarchy(
    prior: HierarchyPrior, source: PatchSource, *, count: int = 32, seed: int = 0
) -> list[RateResult]:
    """Proposals for ``count`` patches at six rates from the lowest to the highest."""
    values = torch.from_numpy(source.draw(count, np.random.default_rng(seed)))
    values = (values[:, None] if prior.axes == 1 else values).permute(0, 3, 1, 2)
    rows, columns = values.shape[2], values.shape[3]
    fourier = native_fourier(prior.config, rows, columns)
    results = []
    for log_lambda in np.linspace(*prior.config.log_lambdas, 6).tolist():
        found = elbo(prior.model, values, torch.full((count,), log_lambda), fourier, rounded)
        results.append(
            RateResult(
                math.exp(-log_lambda), float(found.bits.mean()) / (rows * columns),
                float(-10.0 * found.mse.clamp_min(1e-12).log10().mean()),
            )
        )  # fmt: skip
    return results
