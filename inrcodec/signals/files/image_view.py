"""How an image file is to be seen: the one place that decides it, for every format that Pillow and its plug-ins open.

    file -> format -> frame -> pixels (colour, transparency, bit depth) -> orientation and metadata -> Signal

- Format: by content. Programs, camera raw files and formats of a missing plug-in are rejected by name.
- Frame: the only full-size one. Overviews, masks and thumbnails are not frames of their own; animations and files of
  several pages are rejected unless the caller chooses one.
- Pixels: transparency in every form (palette, one colour, premultiplied) becomes an alpha channel; samples of more than
  8 bits keep their depth; CMYK and CIE Lab are converted through their profile on request only.
- Orientation: what is left to do after the pixels are loaded, since some readers turn them and others do not.
"""

from __future__ import annotations

import importlib
import io
import struct
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError

from inrcodec.errors import DataError, InrcodecError, LimitError, UnsupportedError, UsageError
from inrcodec.limits import Limits
from inrcodec.signals.files import deep_images, image_metadata
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.metadata import SignalMeta
from inrcodec.signals.signal import Signal

PROGRAMS = {"EPS", "WMF"}
"""Formats that Pillow passes to an interpreter."""
COMPOSITES = {"MPO", "PSD", "ICO", "ICNS", "CUR"}
"""Formats whose first image is the whole one, and further ones are views, layers or other sizes of it."""
PLUGINS = {"HEIC": ("pillow_heif", "pillow-heif"), "JPEG XL": ("pillow_jxl", "pillow-jxl-plugin")}
"""Formats that need a plug-in of Pillow: its module and its package."""
_PAGES = {"TIFF": "pages", "MIC": "pages", "DCX": "pages"}
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"crx ": "Canon raw (CR3)"}
_BRANDS |= dict.fromkeys((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"), "HEIC")
_STARTS = {
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL \r\n\x87\n": "JPEG XL",
    b"IIRO": "Olympus raw (ORF)",
    b"IIRS": "Olympus raw (ORF)",
    b"MMOR": "Olympus raw (ORF)",
    b"IIU\0": "Panasonic raw (RW2)",
    b"FUJIFILMCCD-RAW": "Fujifilm raw (RAF)",
    b"FOVb": "Sigma raw (X3F)",
    b"\0MRM": "Minolta raw (MRW)",
    b"\x76\x2f\x31\x01": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
    b"%PDF": "PDF",
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
}
_FOREIGN = {"OpenEXR", "Radiance HDR", "PDF"}
_LAYOUTS = {1: "gray", 2: "gray+alpha", 3: "rgb", 4: "rgba"}
_CFA, _LINEAR_RAW, _DNG_VERSION = 32803, 34892, 50706


def magic_name(data: bytes) -> str:
    """Return the name of an image format that starts like these bytes; "" if none is known to."""
    if data[4:8] == b"ftyp":
        brands = [data[8:12], *(data[place : place + 4] for place in range(16, min(len(data), 64), 4))]
        kinds = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
        # The brands of HEIC are those of a container, which an AVIF may list before its own.
        return "AVIF" if "AVIF" in kinds else kinds[0] if kinds else ""
    if data[:4] == b"II*\0" and data[8:10] == b"CR":
        return "Canon raw (CR2)"
    return next((name for start, name in _STARTS.items() if data.startswith(start)), "")


def is_image(data: bytes) -> bool:
    """Return whether these bytes are an image in a format that is known by name, even if they are corrupt."""
    if magic_name(data):
        return True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.open(io.BytesIO(data)).close()
    except UnidentifiedImageError:
        return False
    except Exception:
        return True
    return True


def read_image(
    data: bytes,
    name: str,
    limits: Limits,
    formats: tuple[str, ...] | None = None,
    *,
    frame: int | None = None,
    convert: bool = False,
) -> Signal:
    """Return the image in the bytes of a file as a person sees it, with its metadata.

    Args:
        data: the file.
        name: the name of the file, for error messages and warnings.
        limits: checked before pixels are decoded.
        formats: the formats of Pillow to try; all by default.
        frame: which frame of an animation or page of a document to take, from 0.
        convert: whether CMYK and CIE Lab images are converted to sRGB, through their own profile where they have one.

    Raises:
        DataError: the file is corrupt or the image is empty.
        LimitError: the image exceeds ``limits``.
        UnsupportedError: the image has several frames, another colour model, floating-point samples, or needs a
            library that is not installed.
        UsageError: there is no such frame, or ``frame`` is no integer.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)
            image = _open(data, name, formats)
            _check_size(image, name, limits)
            _choose_frame(image, name, frame)
            _check_size(image, name, limits)
            levels, top, orientation = _pixels(image, data, name, convert)
        return _signal(image, data, name, levels, top, orientation)
    except InrcodecError:
        raise
    except Image.DecompressionBombError:
        raise LimitError(f"{name}: the image exceeds the limit of {limits.max_points} pixels") from None
    except MemoryError:
        raise
    except Exception as error:
        # Readers of image files raise every kind of error on corrupt data.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{name}: the image cannot be read: {reason}") from None


def _open(data: bytes, name: str, formats: tuple[str, ...] | None) -> Image.Image:
    kind = magic_name(data)
    if "raw (" in kind:
        raise UnsupportedError(f"{name}: a camera raw file, {kind}: develop it to a TIFF or PNG first")
    if kind in _FOREIGN:
        raise UnsupportedError(f"{name}: {kind} files are not supported: convert to PNG or TIFF first")
    if kind in PLUGINS and formats is None:
        _load_plugin(kind, name)
    try:
        image = Image.open(io.BytesIO(data), formats=formats)
    except UnidentifiedImageError:
        if kind == "TIFF" and len(data) > 16:
            raise UnsupportedError(
                f"{name}: a TIFF whose samples or colour model are not supported, or that is corrupt: convert to RGB or"
                " gray of 8 or 16 bits first"
            ) from None
        raise DataError(
            f"{name}: the image cannot be read: starts like {kind or 'one'}, but is truncated or corrupt"
        ) from None
    if image.format == "PNG" and not image_metadata.check_png(data):
        raise DataError(f"{name}: the image cannot be read: the checksum of its pixels is wrong")
    if image.format in PROGRAMS:
        raise UnsupportedError(f"{name}: {image.format} files are programs and are not run: convert to .png")
    return image


def _load_plugin(kind: str, name: str) -> None:
    """Register the plug-in of Pillow for a format, unless another one is registered."""
    module_name, package = PLUGINS[kind]
    Image.init()
    if kind == "JPEG XL" and {"JXL", "jxl"} & set(Image.OPEN):
        return
    try:
        module = importlib.import_module(module_name)
    except ImportError:
        raise UnsupportedError(
            f"{name}: a {kind} image, which needs the Pillow plug-in {package}: pip install {package}"
        ) from None
    if kind == "HEIC" and "HEIF" not in Image.OPEN:
        module.register_heif_opener()


def _check_size(image: Image.Image, name: str, limits: Limits) -> None:
    if image.width * image.height > limits.max_points or max(image.size) > limits.max_axis:
        size = f"{image.width}x{image.height}"
        raise LimitError(f"{name}: an image of {size} exceeds the limit of {limits.max_points} pixels")
    if min(image.size) < 1:
        raise DataError(f"{name}: the image is empty")


def _choose_frame(image: Image.Image, name: str, frame: int | None) -> None:
    """Go to the frame that is the image."""
    count = int(getattr(image, "n_frames", 1))
    full = _full_pages(image, name, count) if image.format == "TIFF" else list(range(count))
    if frame is not None:
        if not isinstance(frame, int | np.integer):
            raise UsageError(f"{name}: frame must be an integer, got {frame!r}")
        if not 0 <= frame < count:
            choice = f"choose one of 0 to {count - 1}" if count > 1 else "the file has frame 0 only"
            raise UsageError(f"{name}: there is no frame {frame}: {choice}")
        image.seek(int(frame))
    elif len(full) > 1 and image.format not in COMPOSITES:
        word = _PAGES.get(str(image.format), "frames")
        what = "a document" if word == "pages" else "an animation"
        raise UnsupportedError(
            f"{name}: {what} of {len(full)} {word}, expected a single image: choose one of 0 to {count - 1} with"
            " --frame"
        )
    elif full[0] != image.tell() and image.format not in COMPOSITES:
        image.seek(full[0])


def _full_pages(image: Any, name: str, count: int) -> list[int]:
    """Return the pages of a TIFF that are neither overviews nor masks; all pages if none is left."""
    full = []
    for page in range(count):
        image.seek(page)
        tags = image.tag_v2
        reduced = bool(int(tags.get(254, 0)) & 1) or tags.get(255) == 2
        raw = _DNG_VERSION in tags or tags.get(262) in (_CFA, _LINEAR_RAW)
        # The preview of a raw file comes first and refers to the sensor data.
        if raw or (reduced and page == 0 and 330 in tags):
            raise UnsupportedError(f"{name}: a camera raw file (DNG or similar): develop it to a TIFF or PNG first")
        if not reduced and not int(tags.get(254, 0)) & 4:
            full.append(page)
    image.seek(0)
    return full or list(range(count))


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(image_metadata.ORIENTATION_TAG, 1))
    except Exception:
        # EXIF is parsed apart from the pixels, which can be shown without it.
        return 1


def _pixels(image: Image.Image, data: bytes, name: str, convert: bool) -> tuple[NDArray[Any], int, int]:
    """Return samples (H, W, C), the largest value that one can have, and the orientation left to apply."""
    before = _orientation(image)
    bits = deep_images.bits_per_channel(image, data)
    if image.format == "HEIF":
        return _heif_pixels(image, data, name)
    if bits > 8 and (image.mode not in ("I;16", "I;16B", "I;16L", "I", "F", "1") or _is_deep_pnm(image)):
        _check_colour_model(image, name, bits)
        levels, top = deep_images.read_deep(image, data, name, bits)
        if image.format == "PNG":
            image.load()
        return levels, top, before
    image.load()
    after = _orientation(image)
    levels, top = levels_of(plain_mode(image, data, name, convert))
    if image.format == "TIFF" and image.mode == "I;16" and getattr(image, "tag_v2", {}).get(262) == 0:
        # White is zero, which Pillow heeds only at 8 bits and fewer.
        levels = top - levels
    return levels, top, after


def _is_deep_pnm(image: Image.Image) -> bool:
    return image.format == "PPM" and image.mode == "I"


def _heif_pixels(image: Image.Image, data: bytes, name: str) -> tuple[NDArray[Any], int, int]:
    bits = int(image.info.get("bit_depth", 8))
    if bits <= 8:
        image.load()
        return *levels_of(plain_mode(image, data, name, False)), 1
    module = importlib.import_module(PLUGINS["HEIC"][0])
    file = module.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
    levels = np.atleast_3d(np.asarray(file))
    return levels, 65535, 1


def _check_colour_model(image: Image.Image, name: str, bits: int) -> None:
    if image.mode not in ("L", "LA", "RGB", "RGBA", "I", "RGBX", "RGBa", "La"):
        raise UnsupportedError(
            f"{name}: unsupported colour model {image.mode} of {bits} bits per channel: convert to 16-bit RGB first"
        )


def plain_mode(image: Image.Image, data: bytes, name: str, convert: bool) -> Image.Image:
    """Return a loaded image in mode L, LA, RGB, RGBA or I;16, or I;16 with transparency in ``info``."""
    mode = image.mode
    if mode in ("CMYK", "LAB"):
        return _through_profile(image, name, convert)
    if mode in ("1", "L", "RGB", "P", "I;16") and "transparency" in image.info:
        if (
            mode in ("1", "L")
            and len(data) > 24
            and image.format == "PNG"
            and isinstance(image.info["transparency"], int)
        ):
            return _gray_with_transparency(image, data)
        if mode == "I;16":
            return image
        return image.convert("LA" if mode in ("1", "L") else "RGBA")
    if mode in ("L", "LA", "RGB", "RGBA", "I;16"):
        return image
    target = {"1": "L", "P": "RGB", "PA": "RGBA", "RGBa": "RGBA", "La": "LA", "RGBX": "RGB", "YCbCr": "RGB"}.get(mode)
    if target:
        return image.convert(target)
    if mode == "F":
        raise UnsupportedError(
            f"{name}: an image of floating-point samples, expected 8 or 16 bits: save the array as a field (.npy)"
        )
    if mode in ("I;16B", "I;16L", "I"):
        levels = np.asarray(image.convert("I"))
        tags = getattr(image, "tag_v2", {})
        signed = any(kind == 2 for kind in np.atleast_1d(tags.get(339, 1)))
        if signed or levels.min() < 0 or levels.max() > 65535:
            # Pillow wraps what a TIFF of 32 bits without sign holds beyond 2^31.
            signed = signed or (levels.min() < 0 and image.format != "TIFF")
            samples = "signed samples" if signed else "32-bit samples"
            raise UnsupportedError(
                f"{name}: an image of {samples}, expected 8 or 16 bits without sign: save the array as a field (.npy)"
            )
        return Image.fromarray(levels.astype(np.uint16))
    raise UnsupportedError(f"{name}: unsupported colour model {mode}: convert to RGB or gray first")


def _gray_with_transparency(image: Image.Image, data: bytes) -> Image.Image:
    """Return a gray image with alpha 0 where samples have the transparent value of a PNG, which has its bit depth."""
    bits = min(8, data[24])
    transparent = int(image.info["transparency"]) & (2**bits - 1)
    if image.mode == "1":
        # Pillow gives the value of such an image on a scale of its own.
        transparent = 1 if image.info["transparency"] else 0
    gray = np.asarray(image.convert("L"))
    alpha = np.where(gray == transparent * 255 // (2**bits - 1), 0, 255)
    return Image.fromarray(np.stack([gray, alpha], axis=2).astype(np.uint8))


def _through_profile(image: Image.Image, name: str, convert: bool) -> Image.Image:
    """Return a CMYK or CIE Lab image as sRGB, if the caller asks for it."""
    model = "CMYK" if image.mode == "CMYK" else "CIE Lab"
    if not convert:
        raise UnsupportedError(f"{name}: a {model} image, expected gray or RGB: pass --convert to convert it to sRGB")
    profile = image.info.get("icc_profile")
    if image.mode == "CMYK" and not isinstance(profile, bytes):
        converted = image.convert("RGB")
    else:
        source = io.BytesIO(profile) if image.mode == "CMYK" and isinstance(profile, bytes) else None
        before: Any = ImageCms.createProfile("LAB") if source is None else source
        result = ImageCms.profileToProfile(image, before, ImageCms.createProfile("sRGB"), outputMode="RGB")
        assert result is not None
        converted = result
    # The profile belongs to the colours that were converted.
    image.info.pop("icc_profile", None)
    converted.info.pop("icc_profile", None)
    return converted


def levels_of(image: Image.Image) -> tuple[NDArray[Any], int]:
    """Return the samples (H, W, C) of an image in mode L, LA, RGB, RGBA or I;16, and the largest value of one."""
    levels = np.asarray(image)
    levels = levels.reshape(*levels.shape[:2], -1)
    if image.mode != "I;16":
        return levels, 255
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        alpha = np.where(levels == transparent, 0, 65535).astype(levels.dtype)
        levels = np.concatenate([levels, alpha], axis=2)
    return levels, 65535


def signal_of(levels: NDArray[Any], top: int, meta: SignalMeta) -> Signal:
    """Return samples (H, W, C) from 0 to ``top`` as a signal with metadata."""
    deep = top > 255
    values = (levels / np.float32(top)).astype(np.float32)
    header = SignalHeader(
        "image", _LAYOUTS[levels.shape[2]], "u16" if deep else "u8", levels.shape[:2], levels.shape[2]
    )
    return Signal(values, header, meta)


def _signal(image: Image.Image, data: bytes, name: str, levels: NDArray[Any], top: int, orientation: int) -> Signal:
    if levels.shape[2] not in _LAYOUTS:
        raise UnsupportedError(f"{name}: expected 1 to 4 channels, got {levels.shape[2]}")
    if levels.shape[0] * levels.shape[1] != image.width * image.height:
        raise DataError(f"{name}: the image cannot be read: expected {image.size} pixels, got {levels.shape[:2]}")
    try:
        meta = image_metadata.read_meta(image, data, name, levels.shape[2], orientation, top > 255)
    except struct.error:
        raise DataError(f"{name}: the image cannot be read: its metadata is corrupt") from None
    return signal_of(levels, top, meta)
