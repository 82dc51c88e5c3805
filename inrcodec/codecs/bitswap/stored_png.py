"""Pictures kept as PNG inside a file: what a model would make larger."""

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
    """The smaller of a PNG with and without a palette."""
    from PIL import Image

    colours = levels if header.sample_type == "u16" else levels.astype(np.uint8)
    image = Image.fromarray(colours[..., 0] if colours.shape[2] == 1 else colours)
    images = [image]
    if image.mode == "RGB" and image.getcolors(256):
        images.append(image.quantize(256, dither=Image.Dither.NONE))
        if not np.array_equal(np.asarray(images[1].convert("RGB")), colours):
            images.pop()
    made = []
    for candidate in images:
        buffer = io.BytesIO()
        candidate.save(buffer, "PNG", optimize=True, compress_level=9)
        made.append(buffer.getvalue())
    return min(made, key=len)


def from_png(data: bytes, header: SignalHeader, channels: int, limits: Limits) -> NDArray[np.uint16]:
    # Nothing but a PNG of the right size is worth opening, whatever else Pillow knows.
    own = replace(limits, max_points=min(limits.max_points, header.n_points), max_axis=max(header.shape))
    try:
        signal = read_image(data, "stored picture", own, ("PNG",))
    except DataError as error:
        raise FormatError(f"damaged file: {error}") from None
    found = signal.to_native().astype(np.uint16)
    wanted = (*header.shape, channels)
    if found.shape != wanted or (signal.header.sample_type == "u16") != (header.sample_type == "u16"):
        raise FormatError(f"damaged file: the stored picture has shape {found.shape}, its header says {wanted}")
    return found
