"""Images stored as PNG inside a file, where the model would need more bytes."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import DataError, FormatError
from inrcodec.limits import Limits
from inrcodec.signals.files.images import read_image
from inrcodec.signals.header import SignalHeader


def to_png(levels: NDArray[np.uint16], header: SignalHeader) -> bytes:
    """Return samples (H, W, C) as a PNG, with or without a palette, whichever is smaller."""
    from PIL import Image

    colours = levels if header.sample_type == "u16" else levels.astype(np.uint8)
    image = Image.fromarray(colours[..., 0] if colours.shape[2] == 1 else colours)
    images = [image]
    if image.mode == "RGB" and image.getcolors(256):
        images.append(image.quantize(256, dither=Image.Dither.NONE))
        if not np.array_equal(np.asarray(images[1].convert("RGB")), colours):
            images.pop()
    files = []
    for candidate in images:
        buffer = io.BytesIO()
        candidate.save(buffer, "PNG", optimize=True, compress_level=9)
        files.append(buffer.getvalue())
    return min(files, key=len)


def from_png(data: bytes, header: SignalHeader, channels: int, limits: Limits) -> NDArray[np.uint16]:
    """Return the samples (H, W, C) of a PNG, which must match the header.

    Raises:
        FormatError: the data is not a PNG of the shape and sample type of the header.
    """
    # Pillow opens many formats; only a PNG of the right size is accepted.
    png_limits = replace(limits, max_points=min(limits.max_points, header.n_points), max_axis=max(header.shape))
    try:
        signal = read_image(data, "stored image", png_limits, ("PNG",))
    except DataError as error:
        raise FormatError(f"corrupt file: {error}") from None
    levels = signal.to_native().astype(np.uint16)
    expected = (*header.shape, channels)
    if levels.shape != expected or (signal.header.sample_type == "u16") != (header.sample_type == "u16"):
        raise FormatError(f"corrupt file: the stored image has shape {levels.shape}, its header says {expected}")
    return levels
