"""Effort presets of the COIN++ encoder: inner-loop steps and rounds of requantisation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CoinPPEffort:
    """One effort preset.

    Attributes:
        name: name of the preset.
        inner: steps of the inner loop.
        rounds: rounds of requantisation after it.
        predicts: whether the prior's predictor, if it has one, replaces the inner loop.
    """

    name: str
    inner: int
    rounds: int = 0
    predicts: bool = False


COINPP_EFFORTS = {
    effort.name: effort
    for effort in (CoinPPEffort("fast", 3, predicts=True), CoinPPEffort("default", 10), CoinPPEffort("best", 20, 10))
}
