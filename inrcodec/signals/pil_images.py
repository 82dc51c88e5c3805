"""Images of Pillow as signals and back, with what they know beside their pixels."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from PIL import Image

from inrcodec.errors import DataError, LossWarning, UnsupportedError, UsageError
from inrcodec.signals.files.image_metadata import (
    EXIF_START,
    ORIENTATION_TAG,
    exif_of,
    read_meta,
    resolution,
    with_orientation,
    xmp_with_orientation,
)
from inrcodec.signals.files.image_view import COMPOSITES, levels_of, plain_mode, signal_of
from inrcodec.signals.files.images import to_pillow
from inrcodec.signals.metadata import SignalMeta
from inrcodec.signals.signal import Signal

OVERRIDES = ("exif", "icc_profile", "dpi")
"""What a caller may give instead of what an image holds."""


def from_pil(image: Any, name: str = "", given: Mapping[str, Any] | None = None) -> Signal:
    """Return an image of Pillow as a signal; see ``Signal.from_pil``.

    Args:
        image: the image.
        name: what error messages call it; by default the file that it comes from.
        given: values for names in ``OVERRIDES`` that replace those of the image, as options of Pillow's ``save`` do;
            None and empty values mean that there is none.
    """
    if not isinstance(image, Image.Image):
        raise UsageError(f"expected an image of Pillow, got {type(image).__name__}: use Signal.from_array for arrays")
    name = name or str(getattr(image, "filename", "") or "image")
    if min(image.size) < 1:
        raise DataError(f"{name}: the image is empty, got size {image.size}")
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format not in COMPOSITES:
        raise UnsupportedError(
            f"{name}: expected a single image, got {frames} frames: seek to one and pass image.copy()"
        )
    if image.mode in ("CMYK", "LAB"):
        raise UnsupportedError(
            f"{name}: mode {image.mode} of Pillow, expected gray or RGB: pass image.convert('RGB'), or convert it"
            " through its profile with PIL.ImageCms"
        )
    if image.mode == "F":
        raise UnsupportedError(
            f"{name}: mode F of Pillow, expected 8 or 16 bits: use Signal.from_array(np.asarray(image), kind='field')"
        )
    # Pillow reduces 16-bit colour to 8 bits; only the raw mode of pixels that are not loaded yet tells.
    raw_modes = [str(tile[3]) for tile in getattr(image, "tile", ()) if len(tile) > 3]
    if image.mode in ("LA", "RGB", "RGBA") and any(";16" in raw for raw in raw_modes):
        raise UnsupportedError(
            f"{name}: Pillow would reduce 16 bits per channel to 8: pass the file instead, or"
            " Signal.from_array for an array"
        )
    try:
        # The orientation is read last, because loading a TIFF turns its pixels and removes the tag.
        image.load()
        exif, orientation = _exif(image, name, given or {})
    except (OSError, SyntaxError, EOFError) as error:
        raise DataError(f"{name}: the image cannot be read: {error}") from None
    levels, top = levels_of(plain_mode(image, b"", name, False))
    meta = read_meta(image, b"", name, levels.shape[2], orientation, top > 255)
    meta = replace(meta, exif=exif, chunks={**_colour_chunks(image.info), **meta.chunks})
    return signal_of(levels, top, _overridden(meta, given or {}))


def _exif(image: Image.Image, name: str, given: Mapping[str, Any]) -> tuple[bytes, int]:
    """Return EXIF data from its byte order mark on, with edits that an image has not saved yet, and the orientation."""
    if "exif" in given:
        exif = given["exif"] or b""
        raw = exif.tobytes() if isinstance(exif, Image.Exif) and len(exif) else exif
        if not isinstance(raw, bytes):
            raw = b""
        tags = Image.Exif()
        try:
            tags.load(raw)
            orientation = tags.get(ORIENTATION_TAG, 1)
        except Exception as error:
            raise DataError(f"{name}: the EXIF data cannot be read: {error}") from None
    else:
        tags, saved = image.getexif(), image.info.get("exif")
        orientation = tags.get(ORIENTATION_TAG, 1)
        raw = saved if isinstance(saved, bytes) and _equal(tags, saved) else tags.tobytes() if len(tags) else b""
    orientation = orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1
    raw = raw.removeprefix(EXIF_START)
    return (with_orientation(raw, orientation) if raw else b""), orientation


def _equal(tags: Image.Exif, saved: bytes) -> bool:
    parsed = Image.Exif()
    parsed.load(saved)
    return dict(parsed) == dict(tags)


def _colour_chunks(info: Mapping[Any, Any]) -> dict[str, bytes]:
    """Return the colour description that Pillow reads from a PNG, as the chunks that hold it."""
    chunks: dict[str, bytes] = {}
    try:
        if "gamma" in info:
            chunks["gAMA"] = struct.pack(">I", round(info["gamma"] * 100_000))
        if "chromaticity" in info:
            chunks["cHRM"] = struct.pack(">8I", *(round(x * 100_000) for x in info["chromaticity"]))
        if "srgb" in info:
            chunks["sRGB"] = struct.pack(">B", info["srgb"])
    except (struct.error, TypeError, ValueError):
        return {}
    return chunks


def _overridden(meta: SignalMeta, given: Mapping[str, Any]) -> SignalMeta:
    if "icc_profile" in given:
        meta = replace(meta, icc_profile=bytes(given["icc_profile"] or b""))
    if "dpi" in given:
        meta = replace(meta, dpi=resolution(given["dpi"]))
    return replace(meta, xmp=xmp_with_orientation(meta.xmp, meta.exif_orientation))


def to_pil(signal: Signal) -> Image.Image:
    """Return a signal of kind image as an image of Pillow; see ``Signal.to_pil``."""
    if signal.header.kind != "image":
        raise UsageError(f"expected an image, got a signal of kind {signal.header.kind}: use to_numpy")
    meta = signal.meta
    if meta.bit_depth == 16 and signal.header.channels > 1:
        warnings.warn(
            "Pillow has no colour and no alpha of 16 bits per channel, the image has 8: use to_numpy to keep them",
            LossWarning,
            stacklevel=3,
        )
    image = to_pillow(signal)
    image.info.update(info_of(meta))
    return image


def info_of(meta: SignalMeta) -> dict[str, Any]:
    """Return the metadata of an image as entries of the ``info`` of an image of Pillow."""
    info: dict[str, Any] = dict(meta.text)
    exif = exif_of(meta)
    entries = {
        "icc_profile": meta.icc_profile,
        "dpi": meta.dpi,
        "exif": EXIF_START + exif if exif else b"",
        "xmp": meta.xmp,
    }
    return {**info, **{key: value for key, value in entries.items() if value}}
