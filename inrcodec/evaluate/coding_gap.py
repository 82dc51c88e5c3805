"""What relative entropy coding costs: coded latents against ideal samples of the posteriors at the same KL.

Ideal samples are what a coder of exactly KL bits would send. For a set of patches the curve of ideal samples over
beta is fitted first; every way of coding is then placed against it: by how many dB it lies below the curve at its own
number of bits, and how many more bits it needs for its own dB.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from inrcodec.encoders.presets import Effort
from inrcodec.encoders.progressive import OperatingPoint, Patches, ProgressiveEncoder, decode_latents
from inrcodec.ground.grid import grid_coordinates
from inrcodec.methods.fit import kl_bits
from inrcodec.models.prior import Prior


@dataclass(frozen=True)
class Point:
    """Mean over signals: bits per point and PSNR in dB (peak 1, no rounding)."""

    bits_per_point: float
    psnr: float
    seconds: float


def ideal_curve(prior: Prior, patches: Patches, effort: Effort, anchor: int, factors: Sequence[float]) -> list[Point]:
    """Ideal posterior samples at betas around an anchor's, by rising rate."""
    encoder, features = ProgressiveEncoder(prior, effort), _features(prior)
    points = []
    for factor in sorted(factors, reverse=True):
        begun = time.perf_counter()
        point = OperatingPoint(anchor, float(prior.betas[anchor]) * factor, 1)
        fit = encoder.fit_posteriors(patches, features, point)
        bits = float(kl_bits(fit.posterior, fit.prior).sum()) / _n_points(prior, patches)
        draws = [encoder.mean_distortion(fit, patches, features, sample=True) for _ in range(4)]
        psnr = float(np.mean([_mean_psnr(d, patches) for d in draws]))
        points.append(Point(bits, psnr, time.perf_counter() - begun))
    return points


def coded_point(
    prior: Prior, patches: Patches, effort: Effort, anchor: int, target: int | None = None, factor: float = 1.0
) -> Point:
    """What is left after coding, bits counted as sent: classes and indices."""
    encoder, features = ProgressiveEncoder(prior, effort), _features(prior)
    point = OperatingPoint(anchor, float(prior.betas[anchor]) * factor, target or effort.budget_bits * 16)
    begun = time.perf_counter()
    coded = encoder.encode(patches, features, point)
    seconds = time.perf_counter() - begun
    class_bits = (prior.n_classes - 1).bit_length()
    bits = sum(len(c.indices) * effort.budget_bits + len(c.classes) * class_bits for c in coded)
    latent = torch.cat([decode_latents(prior, point, c, effort.budget_bits) for c in coded])
    squared = (prior.model.values(latent, features) - patches.values).square()
    return Point(
        bits / _n_points(prior, patches), _mean_psnr(squared.mean(dim=(1, 2)) * prior.spread**2, patches), seconds
    )


def place(point: Point, curve: Sequence[Point]) -> tuple[float, float]:
    """(dB below the curve at the point's bits, part of bits above the curve at the point's dB)."""
    rates = np.log([p.bits_per_point for p in curve])
    psnrs = np.array([p.psnr for p in curve])
    decibels = float(_through(np.log(point.bits_per_point), rates, psnrs)) - point.psnr
    bits = point.bits_per_point / float(np.exp(_through(point.psnr, psnrs, rates))) - 1.0
    return decibels, bits


def _through(x: float, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> float:
    """Piecewise linear, straight on beyond the ends."""
    i = int(np.clip(np.searchsorted(xs, x) - 1, 0, len(xs) - 2))
    return float(ys[i] + (x - xs[i]) * (ys[i + 1] - ys[i]) / (xs[i + 1] - xs[i]))


def one_pass(effort: Effort) -> Effort:
    """The same number of gradient steps, all before a single round of sending."""
    spare = (effort.rounds - 1) * effort.refine_steps
    return replace(effort, rounds=1, budget_steps=effort.budget_steps + spare)


def _features(prior: Prior) -> torch.Tensor:
    shape = prior.config.patch_shape
    return prior.model.features(torch.from_numpy(grid_coordinates(shape).reshape(-1, len(shape))))


def _n_points(prior: Prior, patches: Patches) -> int:
    return len(patches.values) * prior.config.n_points


def _mean_psnr(mse: torch.Tensor, patches: Patches) -> float:
    """PSNR per signal from the MSE of its patches, then the mean."""
    signal = torch.from_numpy(patches.signal)
    total = torch.zeros(patches.n_signals).index_add_(0, signal, mse)
    count = torch.bincount(signal, minlength=patches.n_signals)
    return float((-10.0 * (total / count).clamp_min(1e-12).log10()).mean())
