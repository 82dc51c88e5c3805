"""Image files through Pillow: 8 bits gray, colour, alpha and palette, and 16 bits gray.

Anything that cannot be preserved is rejected with an error that names it.
"""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from inrcodec.errors import DataError, LimitError, UnsupportedError
from inrcodec.limits import Limits
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.metadata import SignalMeta
from inrcodec.signals.signal import Signal
from inrcodec.storage import write_whole

ORIENTATION_TAG = 0x0112
MAX_DPI = 65535
"""The maximum resolution that all formats can store."""
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
_SUPPORTED_MODES = {
    "PNG": {"L", "LA", "RGB", "RGBA", "I;16"},
    "TIFF": {"L", "LA", "RGB", "RGBA", "I;16"},
    "JPEG": {"L", "RGB"},
    "WEBP": {"L", "RGB", "RGBA"},
    "BMP": {"L", "RGB"},
    "PPM": {"L", "RGB", "I;16"},
}
PROGRAMS = {"EPS", "WMF"}
"""Formats that Pillow passes to an interpreter."""
_LAYOUTS = {"L": "gray", "LA": "gray+alpha", "RGB": "rgb", "RGBA": "rgba"}


def is_image(data: bytes) -> bool:
    """Return whether Pillow recognises the format of these bytes, even if they are corrupt."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.open(io.BytesIO(data)).close()
    except UnidentifiedImageError:
        return False
    except Exception:
        return True
    return True


def read_image(data: bytes, name: str, limits: Limits, formats: tuple[str, ...] | None = None) -> Signal:
    """Return the image in the bytes of a file; pixels stay as stored, and the EXIF orientation becomes metadata.

    Args:
        data: the file.
        name: the name of the file, for error messages.
        limits: checked before pixels are decoded.
        formats: the formats of Pillow to try; all by default.

    Raises:
        DataError: the file is corrupt or the image is empty.
        LimitError: the image exceeds ``limits``.
        UnsupportedError: the image has more than one frame, CMYK or another colour model, or 16-bit colour, which
            Pillow would reduce to 8 bits.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=formats)
            if image.format in PROGRAMS:
                raise UnsupportedError(f"{name}: {image.format} files are programs and are not run: convert to .png")
            _check_size(image, name, limits)
            frames = getattr(image, "n_frames", 1)
            if frames > 1:
                raise UnsupportedError(f"{name}: expected a single image, got {frames} frames: extract one first")
            _check_depth(image, data, name)
            orientation = int(image.getexif().get(ORIENTATION_TAG, 1))
            dpi, icc = image.info.get("dpi"), image.info.get("icc_profile")
            image.load()
            # The profile of a TIFF may be an integer n, and bytes(n) would be n zeros.
            return from_pillow(image, name, icc if isinstance(icc, bytes) else b"", orientation, dpi)
    except (UnsupportedError, LimitError):
        raise
    except Image.DecompressionBombError:
        raise LimitError(f"{name}: the image exceeds the limit of {limits.max_points} pixels") from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError, TypeError, KeyError) as error:
        raise DataError(f"{name}: the image cannot be read: {error}") from None


def _check_size(image: Image.Image, name: str, limits: Limits) -> None:
    if image.width * image.height > limits.max_points or max(image.size) > limits.max_axis:
        size = f"{image.width}x{image.height}"
        raise LimitError(f"{name}: an image of {size} exceeds the limit of {limits.max_points} pixels")
    if min(image.size) < 1:
        raise DataError(f"{name}: the image is empty")


def _check_depth(image: Image.Image, data: bytes, name: str) -> None:
    deep_colour = (
        (image.format == "PNG" and len(data) > 25 and data[24] == 16 and data[25] in (2, 4, 6))
        or (image.format == "TIFF" and max(_tiff_bits(image)) > 8 and len(_tiff_bits(image)) > 1)
        or (image.format == "PPM" and image.mode == "RGB" and _ppm_deep(data))
    )
    if deep_colour:
        raise UnsupportedError(
            f"{name}: 16 bits per channel are supported for gray images only: convert to 8 bits or to gray"
        )


def _tiff_bits(image: Image.Image) -> tuple[int, ...]:
    tags: Any = getattr(image, "tag_v2", {})
    bits = tags.get(258, (8,))
    return tuple(bits) if isinstance(bits, tuple) else (int(bits),)


def _ppm_deep(data: bytes) -> bool:
    """Return whether the maximum value, the fourth token of a PPM header, needs more than 8 bits."""
    tokens = [token for line in data[:512].split(b"\n") for token in line.split(b"#")[0].split()][:4]
    return len(tokens) == 4 and tokens[3].isdigit() and int(tokens[3]) > 255


def _plain_mode(image: Image.Image, name: str) -> Image.Image:
    if image.mode in ("L", "LA", "RGB", "RGBA", "I;16"):
        if image.mode in ("L", "RGB") and "transparency" in image.info:
            return image.convert("LA" if image.mode == "L" else "RGBA")
        return image
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("P", "PA"):
        return image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
    if image.mode in ("I;16B", "I;16L", "I") and image.format in ("PNG", "TIFF", "PPM"):
        levels = np.asarray(image.convert("I"))
        if levels.min() < 0 or levels.max() > 65535:
            raise UnsupportedError(f"{name}: unsupported bit depth 32: use a field (.npy) instead")
        return Image.fromarray(levels.astype(np.uint16))
    raise UnsupportedError(f"{name}: unsupported colour model {image.mode}: convert to RGB or gray first")


def from_pillow(image: Image.Image, name: str, icc: bytes = b"", orientation: int = 1, dpi: Any = None) -> Signal:
    """Return an image of Pillow as a signal.

    Args:
        image: the image.
        name: the name of its file, for error messages.
        icc: the ICC colour profile.
        orientation: the EXIF orientation, 1 to 8; another number means 1.
        dpi: the horizontal and vertical resolution in dots per inch, if known.

    Raises:
        UnsupportedError: the colour model is not supported.
    """
    image = _plain_mode(image, name)
    levels = np.asarray(image)
    deep = image.mode == "I;16"
    layout = "gray" if deep else _LAYOUTS[image.mode]
    values = (levels / np.float32(65535 if deep else 255)).astype(np.float32)
    values = values.reshape(levels.shape[0], levels.shape[1], -1)
    header = SignalHeader("image", layout, "u16" if deep else "u8", values.shape[:2], values.shape[2])
    resolution = None
    if dpi is not None and all(0 < float(d) < 1e6 for d in dpi):
        resolution = (float(dpi[0]), float(dpi[1]))
    meta = SignalMeta(16 if deep else 8, bytes(icc), orientation if 1 <= orientation <= 8 else 1, resolution)
    return Signal(values, header, meta)


def to_pillow(signal: Signal) -> Image.Image:
    """Return a signal of kind image as an image of Pillow."""
    native = signal.to_native()
    return Image.fromarray(native[..., 0] if native.shape[-1] == 1 else native)


def write_image(signal: Signal, path: Path, force: bool) -> None:
    """Write an image in the format that the suffix of ``path`` names.

    Raises:
        UnsupportedError: the suffix is unknown, or the format cannot hold the channels of the image.
        DataError: the file exists and ``force`` is not set, or it cannot be written.
    """
    format_name = SUFFIXES.get(path.suffix.lower())
    if format_name is None:
        raise UnsupportedError(f"{path}: unsupported suffix for an image: use one of {', '.join(SUFFIXES)}")
    image = to_pillow(signal)
    if image.mode not in _SUPPORTED_MODES[format_name]:
        raise UnsupportedError(f"{path}: {format_name} does not support mode {image.mode}: use .png")
    options: dict[str, Any] = {"quality": 95} if format_name == "JPEG" else {}
    if format_name == "WEBP":
        options["lossless"] = True
    if signal.meta.icc_profile and format_name in ("PNG", "JPEG", "WEBP", "TIFF"):
        options["icc_profile"] = signal.meta.icc_profile
    if signal.meta.dpi and max(signal.meta.dpi) <= MAX_DPI and format_name in ("PNG", "JPEG", "TIFF", "BMP"):
        options["dpi"] = signal.meta.dpi
    if signal.meta.exif_orientation != 1 and format_name in ("PNG", "JPEG", "WEBP", "TIFF"):
        exif = Image.Exif()
        exif[ORIENTATION_TAG] = signal.meta.exif_orientation
        options["exif"] = exif

    def write(file: IO[bytes]) -> None:
        try:
            image.save(file, format_name, **options)
        except (ValueError, TypeError, OverflowError, struct.error) as error:
            raise UnsupportedError(f"{path}: {format_name} does not support the image: {error}") from None

    write_whole(path, write, force=force)
