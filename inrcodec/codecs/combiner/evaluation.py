"""Measuring a prior of codec combiner: rate and quality of fitted patches at every anchor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from inrcodec.codecs.combiner.bitstream import OperatingPoint
from inrcodec.codecs.combiner.effort import CombinerEffort
from inrcodec.codecs.combiner.posterior import kl_bits
from inrcodec.codecs.combiner.prior import CombinerPrior
from inrcodec.codecs.combiner.progressive import Patches, ProgressiveEncoder
from inrcodec.signals.coordinates import grid_coordinates
from inrcodec.training.sources import PatchSource


@dataclass(frozen=True)
class AnchorResult:
    """Means over patches at an anchor.

    Attributes:
        beta: squared error of values per bit per point.
        kl_bits_per_point: KL in bits per point.
        sample_db: PSNR in dB (peak 1) of one posterior sample.
        mean_db: PSNR in dB (peak 1) of the posterior mean.
    """

    beta: float
    kl_bits_per_point: float
    sample_db: float
    mean_db: float


def evaluate_combiner(
    prior: CombinerPrior, source: PatchSource, effort: CombinerEffort, *, count: int = 64, seed: int = 0
) -> list[AnchorResult]:
    """Fit ``count`` patches at every anchor."""
    values = torch.from_numpy(source.draw(count, np.random.default_rng(seed))).flatten(1, -2)
    patches = Patches((values - prior.centre) / prior.spread, None, np.arange(count))
    shape = prior.config.patch_shape
    features = prior.model.features(torch.from_numpy(grid_coordinates(shape).reshape(-1, len(shape))))
    encoder = ProgressiveEncoder(prior, effort)
    # Audio is rated on the [0, 1] convention, where errors are half as large.
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
