"""Measuring a prior of latent grids: rate and quality of fitted crops at every anchor."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from inrcodec.codecs.grids.config import WEIGHT_BITS
from inrcodec.codecs.grids.fit import GridFit, GridProblem
from inrcodec.codecs.grids.prior import GridsPrior
from inrcodec.training.sources import PatchSource


@dataclass(frozen=True)
class BetaResult:
    """Means over crops at an anchor.

    Attributes:
        beta: squared error of values per bit per point.
        bits_per_point: bits of the latents and, estimated, of the weights.
        db: PSNR in dB, peak 1.
    """

    beta: float
    bits_per_point: float
    db: float


def evaluate_grids(
    prior: GridsPrior, source: PatchSource, *, count: int = 2, steps: int = 60, seed: int = 0
) -> list[BetaResult]:
    """Return results of ``count`` crops fitted at every anchor, from the prior."""
    crops = torch.from_numpy(source.draw(count, np.random.default_rng(seed))).permute(0, 3, 1, 2)
    low, high = prior.config.log_lambdas
    results = []
    for log_lambda in np.linspace(low, high, prior.config.anchors).tolist():
        quality = prior.quality_of(log_lambda)
        start = torch.from_numpy(prior.mean_at(quality)).float() / (1 << WEIGHT_BITS)
        proposal, bits, db = prior.proposal_at(quality), [], []
        for crop in crops:
            problem = GridProblem(crop.contiguous(), torch.ones(crop.shape[1:]))
            fit = GridFit(prior.config, problem, start, prior.deviation_at(quality), proposal(crop))
            for step in range(steps):
                fit.step(step / steps, log_lambda)
            bits.append(fit.bits() / problem.points)
            db.append(-10.0 * math.log10(max(fit.error(), 1e-12)))
        results.append(BetaResult(math.exp(-log_lambda), float(np.mean(bits)), float(np.mean(db))))
    return results
