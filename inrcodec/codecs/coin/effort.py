"""Presets of the COIN encoder: steps of Adam."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CoinEffort:
    """Steps of Adam."""

    name: str
    steps: int


COIN_EFFORTS = {
    effort.name: effort for effort in (CoinEffort("fast", 500), CoinEffort("default", 3000), CoinEffort("best", 20000))
}
