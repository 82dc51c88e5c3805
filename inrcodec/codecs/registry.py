"""Codec ids, which are promises: a number once given is never given to another codec."""

from __future__ import annotations

from inrcodec.ground.errors import FormatError, UsageError

CODEC_IDS = {"combiner": 1, "hierarchical": 2, "coin++": 3, "coin": 4, "bitswap": 5, "bbans": 6, "grids": 7}

AUTO = "auto"
"""The codec that the prior belongs to."""


def codec_id(name: str) -> int:
    """Id of a codec; UsageError when there is none of that name."""
    if name not in CODEC_IDS:
        raise UsageError(f"codec must be one of {', '.join(CODEC_IDS)}, got {name!r}")
    return CODEC_IDS[name]


def codec_name(identity: int) -> str:
    """Name of the codec with an id; FormatError when this version knows none."""
    for name, number in CODEC_IDS.items():
        if number == identity:
            return name
    raise FormatError(f"the file was made by codec {identity}, which this version does not have")
