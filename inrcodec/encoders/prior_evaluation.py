"""What a prior achieves on patches that it was not trained on: ideal samples of the posteriors, before any coding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from inrcodec.encoders.presets import Effort
from inrcodec.encoders.progressive import OperatingPoint, Patches, ProgressiveEncoder
from inrcodec.encoders.training_data import PatchSource
from inrcodec.ground.grid import grid_coordinates
from inrcodec.methods.fit import kl_bits
from inrcodec.models.prior import Prior


@dataclass(frozen=True)
class AnchorResult:
    """Mean over patches: KL in bits per point, and PSNR in dB (peak 1) of one posterior sample and of the mean."""

    beta: float
    kl_bits_per_point: float
    sample_db: float
    mean_db: float


def evaluate_prior(
    prior: Prior, source: PatchSource, effort: Effort, *, count: int = 64, seed: int = 0
) -> list[AnchorResult]:
    """Fit ``count`` patches at every anchor."""
    values = torch.from_numpy(source.draw(count, np.random.default_rng(seed))).flatten(1, -2)
    patches = Patches((values - prior.centre) / prior.spread, None, np.arange(count))
    shape = prior.config.patch_shape
    features = prior.model.features(torch.from_numpy(grid_coordinates(shape).reshape(-1, len(shape))))
    encoder = ProgressiveEncoder(prior, effort)
    # Sounds are rated on the [0, 1] convention, where errors are half as large.
    peak_db = 6.0206 if prior.kind == "audio" else 0.0
    results = []
    for anchor in range(prior.n_anchors):
        beta = float(prior.betas[anchor])
        fit = encoder.fit_posteriors(patches, features, OperatingPoint(anchor, beta, 1))
        kl = float(kl_bits(fit.posterior, fit.prior).sum(dim=1).mean()) / prior.config.n_points
        decibels = [
            float(
                -10.0 * encoder.mean_distortion(fit, patches, features, sample=sample).clamp_min(1e-12).log10().mean()
            )
            for sample in (True, False)
        ]
        results.append(AnchorResult(beta, kl, decibels[0] + peak_db, decibels[1] + peak_db))
    return results
