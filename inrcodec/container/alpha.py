"""Lossless alpha channels: every row minus the row above it, then deflated (docs/format.md, "Sections")."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import FormatError


def encode_alpha(alpha: NDArray[np.float32], bit_depth: int) -> bytes:
    """Return the bytes of an alpha channel.

    Args:
        alpha: (H, W) in [0, 1].
        bit_depth: 8 or 16, the bits to which the channel is rounded.
    """
    dtype = np.dtype("<u2" if bit_depth == 16 else "u1")
    levels = np.rint(alpha.astype(np.float64) * (2**bit_depth - 1)).astype(dtype)
    residual = np.concatenate([levels[:1], np.diff(levels, axis=0)]).astype(dtype)
    return zlib.compress(residual.tobytes(), 9)


def decode_alpha(data: bytes, shape: tuple[int, int], bit_depth: int) -> NDArray[np.float32]:
    """Return the alpha channel (H, W), float32 in [0, 1], of ``encode_alpha``.

    Args:
        data: the bytes.
        shape: (H, W).
        bit_depth: 8 or 16, as given to ``encode_alpha``.

    Raises:
        FormatError: the data does not inflate to exactly H * W samples.
    """
    dtype = np.dtype("<u2" if bit_depth == 16 else "u1")
    expected = shape[0] * shape[1] * dtype.itemsize
    inflate = zlib.decompressobj()
    try:
        raw = inflate.decompress(data, expected + 1)
    except zlib.error:
        raise FormatError("corrupt alpha channel: it does not inflate") from None
    if len(raw) != expected or not inflate.eof or inflate.unused_data:
        size = f"{len(raw)} bytes" if len(raw) <= expected else "more"
        raise FormatError(f"corrupt alpha channel: expected one zlib stream of {expected} bytes, got {size}")
    levels = np.cumsum(np.frombuffer(raw, dtype).reshape(shape), axis=0, dtype=dtype)
    result: NDArray[np.float32] = (levels.astype(np.float64) / (2**bit_depth - 1)).astype(np.float32)
    return result
