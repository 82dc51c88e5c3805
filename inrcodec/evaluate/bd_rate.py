"""Bjontegaard's difference of rates: how many per cent more or fewer bits a codec takes for the same quality.

Log(rate) over quality is a piecewise cubic (PCHIP) through each codec's points; the mean difference of both over the
qualities that both reach is the result (G. Bjontegaard, VCEG-M33, 2001; PCHIP: JCTVC-L1100).
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


@dataclass(frozen=True)
class BDRate:
    """``percent``: below 0, fewer bits than the reference. It holds from ``low_db`` to ``high_db``, which is
    ``overlap`` of the qualities that the reference's points span."""

    percent: float
    low_db: float
    high_db: float
    overlap: float

    def __str__(self) -> str:
        return f"{self.percent:+.1f} % ({self.low_db:.1f} to {self.high_db:.1f} dB)"


def bd_rate(reference: Curve, curve: Curve) -> BDRate | None:
    """What ``curve`` takes against ``reference``; None when no quality is reached by both.

    Points that another one beats at rate and quality are left out, since no function of quality goes through them.

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
    """Points of rising rate and quality."""
    kept: list[tuple[float, float]] = []
    for rate, quality in sorted((float(r), float(q)) for r, q in curve if math.isfinite(q)):
        if rate <= 0:
            raise DataError(f"a rate must be positive, got {rate}")
        if not kept or (quality > kept[-1][1] and rate > kept[-1][0]):
            kept.append((rate, quality))
        elif rate == kept[-1][0]:
            kept[-1] = (rate, max(quality, kept[-1][1]))
    if len(kept) < 2:
        raise DataError("a BD-rate takes curves of at least two points whose quality rises with their rate")
    return kept


def _mean_log_rate(points: list[tuple[float, float]], low: float, high: float) -> float:
    rates, qualities = np.array(points).T
    return float(PchipInterpolator(qualities, np.log(rates)).integrate(low, high)) / (high - low)
