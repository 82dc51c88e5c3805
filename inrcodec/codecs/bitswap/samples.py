"""Images as the integer levels of their samples, and the byte and checksum that begin every lossless body."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from inrcodec.codecs.base import FloatArray, Source
from inrcodec.codecs.planes import has_alpha
from inrcodec.errors import FormatError
from inrcodec.signals.header import SignalHeader

STORED, GRAY, DEEP = 0x80, 0x40, 0x20
"""Flags of a body's first byte: the image is stored as PNG; only the first channel is coded because all are equal; the
low bytes of 16-bit samples are sent beside the high ones. The number of the scheme in ``SCHEMES`` is in the lowest
bits, the orientation in the three bits above it."""
SCHEME_BITS = 2
"""Bits of the number of the scheme."""
CRC_BYTES = 4
"""Bytes of the checksum."""


def colour_channels(header: SignalHeader) -> int:
    """Return the number of channels without alpha."""
    return header.channels - has_alpha(header)


def to_levels(source: Source) -> NDArray[np.uint16]:
    """Return the samples of an image without alpha as integers, (H, W, C)."""
    top = 65535 if source.header.sample_type == "u16" else 255
    colours = source.values[..., : colour_channels(source.header)].astype(np.float64)
    return np.rint(np.clip(colours, 0.0, 1.0) * top).astype(np.uint16)


def to_values(levels: NDArray[np.uint16], header: SignalHeader) -> FloatArray:
    """Return samples as float32 in [0, 1], the inverse of ``to_levels``."""
    top = np.float32(65535 if header.sample_type == "u16" else 255)
    return (levels.astype(np.float32) / top).astype(np.float32)


def crc_of(levels: NDArray[np.uint16]) -> bytes:
    """Return the CRC-32 of samples."""
    return zlib.crc32(levels.astype("<u2").tobytes()).to_bytes(CRC_BYTES, "little")


def check_crc(levels: NDArray[np.uint16], crc: bytes) -> None:
    """Raise FormatError unless samples have the CRC-32 that was sent with them."""
    if crc_of(levels) != crc:
        raise FormatError("the decoded image is not the one that was encoded: the file is corrupt")
