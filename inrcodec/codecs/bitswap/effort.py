"""Effort presets of the lossless encoder."""

from __future__ import annotations

from dataclasses import dataclass

from inrcodec.codecs.bitswap.messages import ORIENTATIONS


@dataclass(frozen=True)
class BitSwapEffort:
    """One effort preset.

    Attributes:
        name: name of the preset.
        checks: whether to decode after encoding and compare.
        orientations: number of orientations of an image to try (see ``messages.turned``).
    """

    name: str
    checks: bool
    orientations: int


BITSWAP_EFFORTS = {
    effort.name: effort
    for effort in (
        BitSwapEffort("fast", False, 1),
        BitSwapEffort("default", True, 1),
        BitSwapEffort("best", True, ORIENTATIONS),
    )
}
