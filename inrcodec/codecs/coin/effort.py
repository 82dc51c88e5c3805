"""Effort presets of the COIN encoder: how many steps of Adam it takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CoinEffort:
    """One effort preset.

    Attributes:
        name: name of the preset.
        steps: steps of Adam.
    """

    name: str
    steps: int


COIN_EFFORTS = {
    effort.name: effort for effort in (CoinEffort("fast", 500), CoinEffort("default", 3000), CoinEffort("best", 20000))
}
