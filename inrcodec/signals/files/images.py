"""Image files: gray and colour with or without alpha, 8 or 16 bits per channel, with their metadata.

``image_view`` reads, this module writes. Anything that cannot be preserved is rejected with an error, or named by a
``LossWarning`` where the image can be shown without it.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inrcodec.errors import UnsupportedError, warn_of_losses
from inrcodec.signals.files import deep_images, image_metadata
from inrcodec.signals.files.image_metadata import MAX_DPI, ORIENTATION_TAG
from inrcodec.signals.files.image_view import is_image, read_image
from inrcodec.signals.signal import Signal
from inrcodec.storage import write_whole

__all__ = ["MAX_DPI", "ORIENTATION_TAG", "is_image", "read_image", "to_pillow", "write_image"]

SUFFIXES = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".ppm": "PPM",
    ".pgm": "PPM",
}
_MODES = {"gray": "L", "gray+alpha": "LA", "rgb": "RGB", "rgba": "RGBA"}
_SUPPORTED_MODES = {
    "PNG": {"L", "LA", "RGB", "RGBA"},
    "TIFF": {"L", "LA", "RGB", "RGBA"},
    "JPEG": {"L", "RGB"},
    "WEBP": {"L", "RGB", "RGBA"},
    "BMP": {"L", "RGB"},
    "PPM": {"L", "RGB"},
}
_DEEP_FORMATS = {"PNG", "TIFF", "PPM"}
# How to turn pixels (H, W, C) into place for each EXIF orientation: transpose first, then reverse rows and columns.
_TURNS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def turned(levels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return pixels (H, W, C) as a person sees them, those of an EXIF orientation turned into place."""
    transpose, flip_rows, flip_columns = _TURNS[orientation]
    if transpose:
        levels = levels.swapaxes(0, 1)
    return np.ascontiguousarray(levels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1])


def to_pillow(signal: Signal) -> Image.Image:
    """Return a signal of kind image as an image of Pillow; 16-bit colour, which it cannot hold, with 8 bits."""
    native = signal.to_native()
    if native.dtype == np.uint16 and native.shape[-1] > 1:
        native = np.rint(native / np.float32(257)).astype(np.uint8)
    return Image.fromarray(native[..., 0] if native.shape[-1] == 1 else native)


def write_image(signal: Signal, path: Path, force: bool) -> None:
    """Write an image in the format that the suffix of ``path`` names; a warning names the metadata that it cannot hold.

    Formats without orientation get the pixels turned into place.

    Raises:
        UnsupportedError: the suffix is unknown, or the format cannot hold the channels or the depth of the image.
        DataError: the file exists and ``force`` is not set, or it cannot be written.
    """
    format_name = SUFFIXES.get(path.suffix.lower())
    if format_name is None:
        raise UnsupportedError(f"{path}: unsupported suffix for an image: use one of {', '.join(SUFFIXES)}")
    mode, deep = _MODES[signal.header.layout], signal.meta.bit_depth == 16
    # Pillow, which opens every file, does not know TIFFs of deep gray with alpha.
    too_deep = deep and (format_name not in _DEEP_FORMATS or (format_name, mode) == ("TIFF", "LA"))
    if mode not in _SUPPORTED_MODES[format_name] or too_deep:
        what = f"mode {mode}{' of 16 bits per channel' if deep else ''}"
        raise UnsupportedError(f"{path}: {format_name} does not support {what}: use .png")
    if path.suffix.lower() == ".pgm" and mode != "L":
        raise UnsupportedError(f"{path}: a PGM holds gray images only: use .ppm or .png")
    data, lost = _encoded(signal, path, format_name)

    def write(file: IO[bytes]) -> None:
        file.write(data)

    write_whole(path, write, force=force)
    warn_of_losses(str(path), f"{format_name} cannot hold", lost)


def _encoded(signal: Signal, path: Path, format_name: str) -> tuple[bytes, list[str]]:
    """Return the bytes of the file, and what of the metadata is not in it."""
    meta, levels = signal.meta, signal.to_native()
    lost = image_metadata.losses(meta, format_name)
    if format_name in ("BMP", "PPM"):
        levels = turned(levels, meta.exif_orientation)
    if levels.dtype == np.uint16 and (levels.shape[2] > 1 or format_name == "PPM"):
        if format_name == "PNG":
            return image_metadata.png_with_meta(deep_images.png_of(levels, str(path)), meta), lost
        if format_name == "TIFF":
            xmp = image_metadata.xmp_of(meta)
            lost = [*lost, *(["EXIF"] if image_metadata.more_than_orientation(meta.exif) else [])]
            return deep_images.tiff_of(levels, meta, xmp, str(path)), lost
        return deep_images.netpbm_of(levels), lost
    options = {} if format_name == "PNG" else image_metadata.options(meta, format_name)
    if format_name == "JPEG":
        options["quality"] = 95
    if format_name == "WEBP":
        options["lossless"] = True
        # Otherwise colours under full transparency would change.
        options["exact"] = True
    out = io.BytesIO()
    try:
        Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels).save(out, format_name, **options)
    except (ValueError, TypeError, OverflowError, OSError, struct.error) as error:
        raise UnsupportedError(f"{path}: {format_name} does not support the image: {error}") from None
    data = out.getvalue()
    return (image_metadata.png_with_meta(data, meta) if format_name == "PNG" else data), lost
