"""The metadata of image files: what is read, how it is kept, and what each output format can hold.

Everything is kept as the bytes that the file holds, so that it comes back unchanged. Two parts steer how an image is
seen and exist once only: the orientation, which ``SignalMeta.exif_orientation`` states and which is patched into EXIF
and XMP on output, and the resolution. Whatever an output format cannot hold is named by ``losses``.
"""

from __future__ import annotations

import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from typing import Any

from PIL import Image

from inrcodec.errors import warn_of_losses
from inrcodec.limits import DEFAULT_LIMITS
from inrcodec.signals.metadata import SignalMeta

ORIENTATION_TAG = 0x0112
MAX_DPI = 65535
"""The maximum resolution that all formats can store."""
PNG_START = b"\x89PNG\r\n\x1a\n"
EXIF_START = b"Exif\0\0"
XMP_KEY = "XML:com.adobe.xmp"
MAX_BYTES = DEFAULT_LIMITS.max_metadata_bytes // 2
"""The maximum size of the metadata of an image, so that decoders with default limits accept it as JSON."""
MAX_JPEG_SEGMENT = 65533
COLOUR_CHUNKS = ("cICP", "gAMA", "cHRM", "sRGB", "mDCV", "cLLI")
"""PNG chunks that say what the samples mean, kept byte for byte."""
OTHER_CHUNKS = {"pHYs": "aspect ratio", "tIME": "time stamp", "sBIT": "significant bits"}
"""Further PNG chunks that are kept byte for byte, and what they are."""
_SIZES = {"cICP": 4, "gAMA": 4, "cHRM": 32, "sRGB": 1, "mDCV": 24, "cLLI": 8, "pHYs": 9, "tIME": 7}
_SRGB_GAMMA, _SRGB_CHRM = 45455, (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
_TIFF_TEXT = (269, 270, 271, 272, 285, 305, 306, 315, 316, 33432)
_TIFF_GEO = (33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113, 50844)
_EXIF_IFD, _GPS_IFD = 34665, 34853
# Tags of a TIFF that describe how its pixels are stored, and must not come from anywhere else.
_STRUCTURE = {254, 255, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 330, 338}
_STRUCTURE |= {339, 340, 341, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 700, 34675}


def read_meta(image: Image.Image, data: bytes, name: str, channels: int, orientation: int, deep: bool) -> SignalMeta:
    """Return the metadata of an image file whose pixels are loaded; a warning names what is not kept.

    Args:
        image: the loaded image.
        data: the file.
        name: the name of the file, for the warning.
        channels: the channels of the pixels that are kept.
        orientation: the EXIF orientation of the pixels; a number that is none means 1.
        deep: whether samples have 16 bits.
    """
    # The profile of a TIFF may be an integer n, and bytes(n) would be n zeros.
    icc = _bytes(image.info.get("icc_profile"))
    chunks = _png_chunks(data, channels) if image.format == "PNG" else {}
    parts: dict[str, Any] = {
        "colour profile": icc,
        "EXIF": _exif(image),
        "XMP": _bytes(image.info.get("xmp")),
        "text": _text(image),
        "PNG chunks": chunks,
    }
    if image.format in ("AVIF", "HEIF"):
        parts["PNG chunks"] = _colour_box(data)
    lost, used = [], 0
    for part, value in parts.items():
        used += _size(value)
        if used > MAX_BYTES:
            lost.append(f"{part} (beyond {MAX_BYTES} bytes of metadata)")
            used -= _size(value)
            parts[part] = type(value)()
    if image.info.get("photoshop") or (image.format == "TIFF" and 33723 in getattr(image, "tag_v2", {})):
        lost.append("IPTC and Photoshop data")
    if image.format == "TIFF":
        count = getattr(image, "tag_v2", {}).get(277, channels)
        shown = 4 if image.mode == "CMYK" else channels
        if image.mode != "P" and isinstance(count, int) and count > shown:
            lost.append(f"{count - shown} further {'channel' if count - shown == 1 else 'channels'}")
    if image.format == "MPO":
        others = getattr(image, "n_frames", 2) - 1
        lost.append(f"{others} further {'image' if others == 1 else 'images'} of the file")
    orientation = orientation if 1 <= orientation <= 8 else 1
    warn_of_losses(name, "not kept", lost)
    dpi = image.info.get("dpi")
    return SignalMeta(
        16 if deep else 8,
        parts["colour profile"],
        orientation,
        resolution(dpi),
        exif=with_orientation(parts["EXIF"], orientation) if parts["EXIF"] else b"",
        xmp=xmp_with_orientation(parts["XMP"], orientation),
        text=parts["text"],
        chunks=parts["PNG chunks"],
    )


def resolution(dpi: Any) -> tuple[float, float] | None:
    """Return a resolution in dots per inch as two numbers; None if it is not one."""
    try:
        horizontal, vertical = float(dpi[0]), float(dpi[1])
    except (TypeError, ValueError, LookupError, ZeroDivisionError):
        return None
    return (horizontal, vertical) if 0 < horizontal < 1e6 and 0 < vertical < 1e6 else None


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    return value if isinstance(value, bytes) else b""


def _size(value: Any) -> int:
    if isinstance(value, dict):
        return sum(
            len(key) + len(entry if isinstance(entry, bytes) else entry.encode()) for key, entry in value.items()
        )
    return len(value)


def _text(image: Image.Image) -> dict[str, str]:
    """Return PNG text without XMP and the raw profiles that Pillow reads as EXIF, and the comment of other formats."""
    text = getattr(image, "text", None)
    if image.format == "PNG" and isinstance(text, dict):
        skipped = (XMP_KEY, "Raw profile type exif")
        return {str(k): _clean(v) for k, v in text.items() if k not in skipped and isinstance(v, str)}
    comment = image.info.get("comment")
    # OpenJPEG writes its version into every JPEG 2000 file.
    if not comment or image.format == "JPEG2000":
        return {}
    return {"Comment": _clean(comment.decode("utf-8", "replace") if isinstance(comment, bytes) else str(comment))}


def _clean(text: str) -> str:
    return str(text).encode("utf-8", "replace").decode().rstrip("\0")


def _exif(image: Image.Image) -> bytes:
    """Return EXIF data from its byte order mark on; of a TIFF, its tags that do not describe how pixels are stored."""
    try:
        if image.format == "TIFF":
            return _tiff_tags(image)
        data = _bytes(image.info.get("exif"))
        if not data and "Raw profile type exif" in image.info:
            data = image.getexif().tobytes()
    except Exception:
        # EXIF is a TIFF of its own, which Pillow parses with many kinds of errors; pixels do not depend on it.
        return b""
    data = data.removeprefix(EXIF_START)
    return data if data[:4] in (b"II*\0", b"MM\0*") else b""


def _tiff_tags(image: Image.Image) -> bytes:
    tags: Any = getattr(image, "tag_v2", {})
    exif, source = Image.Exif(), image.getexif()
    for tag in _TIFF_TEXT + _TIFF_GEO:
        if tag in tags:
            exif[tag] = tags[tag]
    for tag in (_EXIF_IFD, _GPS_IFD):
        directory = source.get_ifd(tag) if tag in source else {}
        if directory:
            exif[tag] = dict(directory)
    return exif.tobytes().removeprefix(EXIF_START) if len(exif) else b""


def with_orientation(exif: bytes, orientation: int) -> bytes:
    """Return EXIF data with another orientation, all other bytes unchanged where the tag exists.

    Args:
        exif: EXIF data from its byte order mark on, or b"".
        orientation: 1 to 8.
    """
    try:
        order = {b"II": "<", b"MM": ">"}[exif[:2]]
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
        for place in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(order + "HH", exif, place)
            if tag == ORIENTATION_TAG and kind == 3:
                patched = bytearray(exif)
                struct.pack_into(order + "HH", patched, place + 8, orientation, 0)
                return bytes(patched)
    except (KeyError, struct.error):
        exif = b""
    if orientation == 1:
        return exif
    return _parsed(exif, orientation).tobytes().removeprefix(EXIF_START)


def _parsed(exif: bytes, orientation: int) -> Image.Exif:
    """Return EXIF tags with an orientation; no others if the data is corrupt."""
    tags = Image.Exif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if exif:
                tags.load(exif)
                tags.tobytes()
    except Exception:
        tags = Image.Exif()
    if orientation != 1:
        tags[ORIENTATION_TAG] = orientation
    return tags


def xmp_with_orientation(xmp: bytes, orientation: int) -> bytes:
    """Return an XMP packet whose orientation, if it has one, is another."""
    new = rb"\g<1>" + str(orientation).encode() + rb"\g<2>"
    xmp = re.sub(rb'(tiff:Orientation\s*=\s*["\'])\d+(["\'])', new, xmp)
    return re.sub(rb"(<tiff:Orientation>)\s*\d+\s*(</tiff:Orientation>)", new, xmp)


def exif_of(meta: SignalMeta) -> bytes:
    """Return the EXIF data to write for an image, from its byte order mark on; b"" if there is none."""
    return with_orientation(meta.exif, meta.exif_orientation)


def xmp_of(meta: SignalMeta) -> bytes:
    """Return the XMP packet to write for an image; b"" if there is none."""
    return xmp_with_orientation(meta.xmp, meta.exif_orientation)


def _chunks_of(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name and body of each chunk of a PNG, up to the first that is truncated."""
    place = len(PNG_START)
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        if place + 12 + length > len(data):
            return
        yield data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        place += 12 + length


def check_png(data: bytes) -> bool:
    """Return whether the chunks of a PNG that hold its pixels have the checksums that they state."""
    place = len(PNG_START)
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        end = place + 8 + length
        if end + 4 > len(data):
            break
        stated = int.from_bytes(data[end : end + 4], "big")
        if data[place + 4 : place + 8] in (b"PLTE", b"IDAT", b"tRNS") and zlib.crc32(data[place + 4 : end]) != stated:
            return False
        place = end + 4
    return True


def _png_chunks(data: bytes, channels: int) -> dict[str, bytes]:
    chunks: dict[str, bytes] = {}
    for kind, body in _chunks_of(data):
        name = kind.decode("latin-1")
        if name in COLOUR_CHUNKS and len(body) == _SIZES[name]:
            chunks[name] = body
        elif name == "pHYs" and len(body) == 9 and body[8] != 1:
            # Unit 1 is the resolution, which Pillow reads.
            chunks[name] = body
        elif (name == "tIME" and len(body) == _SIZES[name]) or (name == "sBIT" and len(body) == channels):
            chunks[name] = body
    return chunks


def _colour_box(data: bytes) -> dict[str, bytes]:
    """Return the colour description of an AVIF or HEIC as the chunk cICP; nothing if it is that of sRGB."""
    place = data.find(b"colrnclx")
    if place < 0 or place + 12 > len(data):
        return {}
    primaries, transfer = struct.unpack_from(">HH", data, place + 8)
    if primaries > 255 or transfer > 255 or (primaries in (1, 2) and transfer in (1, 2, 6, 13)):
        return {}
    return {"cICP": bytes([primaries, transfer, 0, 1])}


def png_with_meta(png: bytes, meta: SignalMeta) -> bytes:
    """Return a PNG without metadata with that of an image added, in the order that the standard asks for."""
    before: list[tuple[bytes, bytes]] = []
    has_resolution = meta.dpi is not None and max(meta.dpi) <= MAX_DPI
    for name, body in meta.chunks.items():
        # The chunks of a hostile file may have any name and size.
        if len(body) == _SIZES.get(name, len(body)) and name in {*COLOUR_CHUNKS, *OTHER_CHUNKS} - (
            {"pHYs"} if has_resolution else set()
        ):
            before.append((name.encode(), body))
    if meta.icc_profile:
        before.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(meta.icc_profile, 9)))
    if meta.dpi is not None and has_resolution:
        per_metre = [round(d / 0.0254) for d in meta.dpi]
        before.append((b"pHYs", struct.pack(">IIB", *per_metre, 1)))
    exif = exif_of(meta)
    if exif:
        before.append((b"eXIf", exif))
    if meta.xmp:
        before.append((b"iTXt", XMP_KEY.encode() + b"\0\0\0\0\0" + meta.xmp))
    before += [_text_chunk(key, text) for key, text in meta.text.items()]
    head_end = len(PNG_START) + 25
    return png[:head_end] + b"".join(_chunk(kind, body) for kind, body in before) + png[head_end:]


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _text_chunk(key: str, text: str) -> tuple[bytes, bytes]:
    keyword = key.replace("\0", "").encode("latin-1", "replace").strip()[:79] or b"Comment"
    text = text.replace("\0", "")
    try:
        plain = keyword + b"\0" + text.encode("latin-1")
    except UnicodeEncodeError:
        return b"iTXt", keyword + b"\0\0\0\0\0" + text.encode()
    if len(plain) > 2000:
        return b"zTXt", keyword + b"\0\0" + zlib.compress(text.encode("latin-1"), 9)
    return b"tEXt", plain


def options(meta: SignalMeta, format_name: str) -> dict[str, Any]:
    """Return Pillow's options that write the metadata into a JPEG, WebP, TIFF or BMP; PNG has ``png_with_meta``."""
    kept: dict[str, Any] = {}
    if meta.dpi and max(meta.dpi) <= MAX_DPI and format_name in ("JPEG", "TIFF", "BMP"):
        kept["dpi"] = meta.dpi
    if format_name in ("BMP", "PPM"):
        return kept
    exif = exif_of(meta)
    if meta.icc_profile:
        kept["icc_profile"] = meta.icc_profile
    if format_name == "TIFF":
        tags = _parsed(exif, meta.exif_orientation)
        for tag in _STRUCTURE:
            tags.pop(tag, None)
        if meta.xmp:
            tags[700] = meta.xmp
        return {**kept, "exif": tags}
    if exif and not _too_long(exif, format_name):
        kept["exif"] = EXIF_START + exif
    if meta.xmp and not _too_long(meta.xmp, format_name):
        kept["xmp"] = meta.xmp
    if format_name == "JPEG" and "Comment" in meta.text:
        kept["comment"] = meta.text["Comment"].encode()[:MAX_JPEG_SEGMENT]
    return kept


def _too_long(data: bytes, format_name: str) -> bool:
    return format_name == "JPEG" and len(data) > MAX_JPEG_SEGMENT - 40


def losses(meta: SignalMeta, format_name: str) -> list[str]:
    """Return what of the metadata an output format cannot hold, in words; nothing for PNG."""
    if format_name == "PNG":
        return []
    plain = format_name in ("BMP", "PPM")
    lost = []
    if meta.icc_profile and plain:
        lost.append("colour profile")
    if more_than_orientation(meta.exif) and (plain or _too_long(meta.exif, format_name)):
        lost.append("EXIF")
    if meta.xmp and (plain or _too_long(meta.xmp, format_name)):
        lost.append("XMP")
    text = [key for key in meta.text if not (key == "Comment" and format_name == "JPEG")]
    if text:
        lost.append(f"text ({', '.join(text[:5])}{', ..' if len(text) > 5 else ''})")
    if meta.dpi and (format_name in ("WEBP", "PPM") or max(meta.dpi) > MAX_DPI):
        lost.append("resolution")
    lost += [name for name in COLOUR_CHUNKS if name in meta.chunks and not _is_srgb(name, meta.chunks[name])]
    lost += [OTHER_CHUNKS[name] for name in meta.chunks if name in OTHER_CHUNKS]
    return lost


def more_than_orientation(exif: bytes) -> bool:
    """Return whether EXIF data says more than the orientation."""
    if not exif:
        return False
    return any(tag != ORIENTATION_TAG for tag in _parsed(exif, 1))


def _is_srgb(name: str, body: bytes) -> bool:
    """Return whether a colour chunk says what every reader assumes where there is none."""
    if len(body) != _SIZES.get(name, len(body)):
        return True
    if name == "gAMA":
        return abs(int.from_bytes(body, "big") - _SRGB_GAMMA) <= 100
    if name == "cHRM":
        return all(abs(a - b) <= 100 for a, b in zip(struct.unpack(">8I", body), _SRGB_CHRM, strict=True))
    return name == "sRGB" or body[:2] == b"\x01\x0d"
