"""Compute BD-rates (Bjontegaard): the percentage of bits that a codec takes more or less for the same quality.

Log(rate) over quality is a piecewise cubic (PCHIP) through each codec's points; the result is the mean difference of
two curves over the qualities that both reach (G. Bjontegaard, VCEG-M33, 2001; PCHIP: JCTVC-L1100).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from inrcodec.errors import DataError

Curve = Sequence[tuple[float, float]]
"""Points (rate, quality in dB)."""


def in_db(curve: Curve, metric: str) -> Curve:
    """Return a curve of a metric with qualities in dB: MS-SSIM becomes -10 log10(1 - MS-SSIM)."""
    if metric != "ms_ssim":
        return curve
    return [(rate, -10.0 * math.log10(max(1.0 - value, 1e-8))) for rate, value in curve]


@dataclass(frozen=True)
class BDRate:
    """Holds a BD-rate.

    Attributes:
        percent: difference of bits in per cent; below 0, fewer bits than the reference.
        low_db: lower end of the qualities that both curves reach, in dB.
        high_db: upper end of these qualities, in dB.
        overlap: their share of the qualities that the reference's points span.
    """

    percent: float
    low_db: float
    high_db: float
    overlap: float

    def __str__(self) -> str:
        return f"{self.percent:+.1f} % ({self.low_db:.1f} to {self.high_db:.1f} dB)"


def bd_rate(reference: Curve, curve: Curve) -> BDRate | None:
    """Return the BD-rate of ``curve`` against ``reference``; None when no quality is reached by both.

    Points that another point beats in rate and quality are left out, since no function of quality goes through them.

    Raises:
        DataError: a curve has fewer than two points left, or a rate that is not positive.
    """
    first, second = _monotone(reference), _monotone(curve)
    low, high = max(first[0][1], second[0][1]), min(first[-1][1], second[-1][1])
    if high <= low:
        return None
    means = [_mean_log_rate(points, low, high) for points in (first, second)]
    span = first[-1][1] - first[0][1]
    return BDRate(100.0 * math.expm1(means[1] - means[0]), low, high, (high - low) / span)


def _monotone(curve: Curve) -> list[tuple[float, float]]:
    """Return the points at which both rate and quality rise."""
    kept: list[tuple[float, float]] = []
    for rate, quality in sorted((float(r), float(q)) for r, q in curve if math.isfinite(q)):
        if rate <= 0:
            raise DataError(f"a rate must be positive, got {rate}")
        if not kept or (quality > kept[-1][1] and rate > kept[-1][0]):
            kept.append((rate, quality))
        elif rate == kept[-1][0]:
            kept[-1] = (rate, max(quality, kept[-1][1]))
    if len(kept) < 2:
        raise DataError("a BD-rate needs curves with at least two points whose quality rises with rate")
    return kept


def _mean_log_rate(points: list[tuple[float, float]], low: float, high: float) -> float:
    rates, qualities = np.array(points).T
    return float(PchipInterpolator(qualities, np.log(rates)).integrate(low, high)) / (high - low)
