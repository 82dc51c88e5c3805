"""Presets of the lossless encoder."""

from __future__ import annotations

from dataclasses import dataclass

from inrcodec.codecs.bitswap.messages import ORIENTATIONS


@dataclass(frozen=True)
class BitSwapEffort:
    """A preset.

    Attributes:
        checks: whether to decode after encoding and compare.
        orientations: how many turned and mirrored versions of an image to try.
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
