"""Alpha channels, kept exactly: rows differenced against the row above, then deflated."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import FormatError


def encode_alpha(alpha: NDArray[np.float32], bit_depth: int) -> bytes:
    """(H, W) in [0, 1] on the grid of ``bit_depth`` (8 or 16) bits to bytes."""
    dtype = np.dtype("<u2" if bit_depth == 16 else "u1")
    levels = np.rint(alpha.astype(np.float64) * (2**bit_depth - 1)).astype(dtype)
    residual = np.concatenate([levels[:1], np.diff(levels, axis=0)]).astype(dtype)
    return zlib.compress(residual.tobytes(), 9)


def decode_alpha(data: bytes, shape: tuple[int, int], bit_depth: int) -> NDArray[np.float32]:
    """Inverse of ``encode_alpha``; FormatError unless exactly the expected number of bytes comes out."""
    dtype = np.dtype("<u2" if bit_depth == 16 else "u1")
    expected = shape[0] * shape[1] * dtype.itemsize
    inflate = zlib.decompressobj()
    try:
        raw = inflate.decompress(data, expected + 1)
    except zlib.error:
        raise FormatError("the alpha channel is damaged") from None
    if len(raw) != expected or not inflate.eof or inflate.unused_data:
        raise FormatError(f"the alpha channel should have {expected} bytes, got {len(raw)} or more")
    levels = np.cumsum(np.frombuffer(raw, dtype).reshape(shape), axis=0, dtype=dtype)
    return (levels.astype(np.float64) / (2**bit_depth - 1)).astype(np.float32)
