"""Images of more than 8 bits per channel, which Pillow would reduce to 8.

Pixels come as (H, W, C) uint16 with the largest value that a sample can have. PNG, JPEG 2000 and AVIF are decoded by
imagecodecs and TIFF by tifffile, which the extra ``formats`` installs; PPM and PGM are read and written here.
"""

from __future__ import annotations

import importlib
import io
import logging
import re
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import DataError, UnsupportedError
from inrcodec.signals.metadata import SignalMeta

Levels = NDArray[np.uint16]

_CODESTREAM = b"\xff\x4f\xff\x51"
_NETPBM = re.compile(rb"P([2356])(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)(?:#[^\n]*\n)?\s")


def bits_per_channel(image: Any, data: bytes) -> int:
    """Return the bits per channel in the file of an image that Pillow has opened but not loaded."""
    if image.format == "PNG" and len(data) > 25:
        return data[24]
    if image.format == "TIFF":
        bits = image.tag_v2.get(258, (8,))
        return max(bits) if isinstance(bits, tuple) else int(bits)
    if image.format == "PPM":
        header = _NETPBM.match(data)
        return int(header[4]).bit_length() if header else 8
    if image.format == "JPEG2000":
        return _jpeg2000_bits(data)
    if image.format == "AVIF":
        return _avif_bits(data)
    if image.format == "SGI" and len(data) > 3:
        return 8 * data[3]
    if image.format == "DDS":
        return 16 if "BC6H" in str(getattr(image, "tile", "")) else 8
    return 8


def _jpeg2000_bits(data: bytes) -> int:
    start = data.find(_CODESTREAM)
    if start < 0 or start + 42 > len(data):
        return 8
    (count,) = struct.unpack_from(">H", data, start + 40)
    return max(((entry & 127) + 1 for entry in data[start + 42 : start + 42 + 3 * count : 3]), default=8)


def _avif_bits(data: bytes) -> int:
    """Return the largest bit depth of the AV1 streams in the file, from their configuration boxes."""
    bits, place = 8, data.find(b"av1C")
    while 0 <= place < len(data) - 6:
        flags = data[place + 6]
        bits = max(bits, (12 if flags & 0x20 else 10) if flags & 0x40 else 8)
        place = data.find(b"av1C", place + 4)
    return bits


def read_deep(image: Any, data: bytes, name: str, bits: int) -> tuple[Levels, int]:
    """Return the samples (H, W, C), colour before alpha, and the largest value that a sample can have.

    Args:
        image: the image as Pillow has opened it; for TIFF at the page to read.
        data: its file.
        name: the name of the file, for error messages.
        bits: bits per channel, more than 8.

    Raises:
        DataError: the file is corrupt.
        UnsupportedError: the format or colour model is not supported at this depth, or the extra is missing.
    """
    if image.format == "PPM":
        return _read_netpbm(data, name)
    if image.format == "TIFF":
        return _read_tiff(image, data, name, bits)
    decoder = {"PNG": "png_decode", "JPEG2000": "jpeg2k_decode", "AVIF": "avif_decode"}.get(image.format)
    if decoder is None:
        raise UnsupportedError(
            f"{name}: {bits} bits per channel are not supported in {image.format} files: convert to a 16-bit PNG or"
            " TIFF"
        )
    decode = getattr(_library("imagecodecs", f"{name}: a {image.format} image of {bits} bits per channel"), decoder)
    levels = np.atleast_3d(_guarded(decode, data, name))
    if image.format == "PNG" or levels.dtype == np.uint8:
        # libpng expands samples to the full range; of several depths in a file, the decoder takes one.
        return levels.astype(np.uint16), int(np.iinfo(levels.dtype).max)
    return levels.astype(np.uint16), 2**bits - 1


def _library(module: str, what: str) -> Any:
    try:
        library = importlib.import_module(module)
        log = logging.getLogger(module)
        if not log.handlers:
            # Otherwise every fault that tifffile finds in a file is a line on stderr, beside the error that is raised.
            log.addHandler(logging.NullHandler())
        return library
    except ImportError:
        raise UnsupportedError(f"{what} needs {module}: pip install inrcodec[formats]") from None


def _guarded(decode: Any, data: bytes, name: str) -> NDArray[Any]:
    try:
        levels = np.asarray(decode(data))
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{name}: the image cannot be read: {reason}") from None
    if levels.dtype not in (np.uint8, np.uint16) or levels.ndim not in (2, 3):
        raise UnsupportedError(f"{name}: unsupported samples {levels.dtype} of shape {levels.shape}: convert to PNG")
    return levels


def _read_netpbm(data: bytes, name: str) -> tuple[Levels, int]:
    header = _NETPBM.match(data)
    if header is None:
        raise DataError(f"{name}: the image cannot be read: its header is corrupt")
    kind, (width, height, top) = int(header[1]), (int(n) for n in header.groups()[1:])
    shape = (height, width, 3 if kind in (3, 6) else 1)
    count = shape[0] * shape[1] * shape[2]
    if not 255 < top < 65536:
        raise DataError(f"{name}: the image cannot be read: expected a maximum of 1 to 65535, got {top}")
    if kind in (5, 6):
        body = data[header.end() : header.end() + 2 * count]
        if len(body) < 2 * count:
            raise DataError(f"{name}: the image cannot be read: truncated")
        levels = np.frombuffer(body, ">u2")
    else:
        try:
            numbers = [int(token) for token in re.sub(rb"#[^\n]*", b"", data[header.end() :]).split()[:count]]
        except ValueError:
            numbers = []
        if len(numbers) < count or not all(0 <= number <= top for number in numbers):
            raise DataError(f"{name}: the image cannot be read: truncated or corrupt")
        levels = np.array(numbers)
    if levels.size and levels.max() > top:
        raise DataError(f"{name}: the image cannot be read: a sample exceeds the maximum of {top}")
    return levels.reshape(shape).astype(np.uint16), top


def _read_tiff(image: Any, data: bytes, name: str, bits: int) -> tuple[Levels, int]:
    tags = image.tag_v2
    formats = tags.get(339, (1,))
    photometric, extra = tags.get(262, 2), tags.get(338, ())
    if photometric not in (1, 2) or bits > 16 or any(kind != 1 for kind in np.atleast_1d(formats)):
        kind = {5: "CMYK", 6: "YCbCr", 8: "CIE Lab"}.get(photometric, f"photometric {photometric}")
        kind = "signed or floating-point" if any(entry != 1 for entry in np.atleast_1d(formats)) else kind
        raise UnsupportedError(
            f"{name}: a TIFF of {bits} bits per channel, {kind}, is not supported: convert to 16-bit RGB or gray"
        )
    tifffile = _library("tifffile", f"{name}: a TIFF image of {bits} bits per channel")
    number = image.tell()

    def decode(data: bytes) -> Any:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages[number]
            array = np.asarray(page.asarray())
            return np.moveaxis(array, 0, -1) if array.ndim == 3 and page.planarconfig == 2 else array

    levels = np.atleast_3d(_guarded(decode, data, name)).astype(np.uint16)
    colours = 3 if photometric == 2 else 1
    extra = tuple(int(entry) for entry in np.atleast_1d(extra))
    if levels.shape[2] not in (colours, colours + 1):
        raise UnsupportedError(
            f"{name}: expected at most one channel beside {colours} colours, got {levels.shape[2]} channels in all"
        )
    if levels.shape[2] == colours + 1 and extra[:1] == (1,):
        levels = unpremultiplied(levels, 2**bits - 1)
    elif levels.shape[2] == colours + 1 and extra[:1] != (2,):
        levels = levels[..., :colours]
    return levels, 2**bits - 1


def unpremultiplied(levels: Levels, top: int) -> Levels:
    """Return samples (H, W, C) whose colours were multiplied by the alpha in the last channel, divided by it."""
    alpha = levels[..., -1:].astype(np.float64)
    colours = np.where(alpha > 0, levels[..., :-1] * (top / np.maximum(alpha, 1)), 0.0)
    return np.concatenate([np.rint(np.minimum(colours, top)), alpha], axis=2).astype(np.uint16)


def png_of(levels: Levels, name: str) -> bytes:
    """Return 16-bit samples (H, W, C) as a PNG without metadata.

    Raises:
        UnsupportedError: imagecodecs is not installed.
    """
    library = _library("imagecodecs", f"{name}: writing a PNG of 16 bits per channel")
    return bytes(library.png_encode(np.ascontiguousarray(levels)))


def tiff_of(levels: Levels, meta: SignalMeta, xmp: bytes, name: str) -> bytes:
    """Return 16-bit samples (H, W, C) as a TIFF with orientation, profile, XMP and resolution.

    Raises:
        UnsupportedError: tifffile is not installed.
    """
    library = _library("tifffile", f"{name}: writing a TIFF of 16 bits per channel")
    has_alpha = levels.shape[2] in (2, 4)
    tags: list[tuple[Any, ...]] = []
    if meta.exif_orientation != 1:
        tags.append((274, "H", 1, meta.exif_orientation, True))
    if xmp:
        tags.append((700, "B", len(xmp), xmp, True))
    out = io.BytesIO()
    library.imwrite(
        out,
        levels if levels.shape[2] > 1 else levels[..., 0],
        photometric="rgb" if levels.shape[2] > 2 else "minisblack",
        planarconfig="contig" if levels.shape[2] > 1 else None,
        extrasamples=["unassalpha"] if has_alpha else None,
        compression="zlib",
        predictor=False,
        iccprofile=meta.icc_profile or None,
        resolution=meta.dpi,
        resolutionunit=2 if meta.dpi else None,
        extratags=tags,
        metadata=None,
        software=False,
    )
    return out.getvalue()


def netpbm_of(levels: Levels) -> bytes:
    """Return 16-bit samples (H, W, 1 or 3) as a binary PGM or PPM."""
    height, width, channels = levels.shape
    return f"P{6 if channels == 3 else 5}\n{width} {height}\n65535\n".encode() + levels.astype(">u2").tobytes()
