"""Presets of the COIN++ encoder: inner-loop steps and rounds of requantisation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CoinPPEffort:
    """A preset.

    Attributes:
        inner: inner-loop steps from zero; none where the prior predicts latents and ``predicts`` is set.
        rounds: rounds of requantisation after them.
        predicts: whether the prior's predictor replaces the inner loop where there is one.
    """

    name: str
    inner: int
    rounds: int = 0
    predicts: bool = False


COINPP_EFFORTS = {
    effort.name: effort
    for effort in (CoinPPEffort("fast", 3, predicts=True), CoinPPEffort("default", 10), CoinPPEffort("best", 20, 10))
}
