"""Sections that this package's codecs put into files, beside those of the container."""

from __future__ import annotations

from inrcodec.container.inr import KNOWN_TAGS
from inrcodec.signals.header import SignalHeader

ALPHA, PARAMETERS, CHAIN = 2, 3, 4
TAGS = KNOWN_TAGS | {ALPHA, PARAMETERS, CHAIN}


def image_bits(header: SignalHeader) -> int:
    """Bits of an image's samples, in which its alpha is kept."""
    return 16 if header.sample_type == "u16" else 8
