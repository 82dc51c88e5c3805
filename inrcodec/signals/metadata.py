"""What must survive compression but does not fit the signal header: ``SignalMeta``, and its bytes in a file.

Metadata covers the colour profile, orientation and resolution of images, the tags, channels and cue points of audio,
and the names, units, coordinates and value range of fields. In a file it is the section ``EXTRA``: a version byte, then
deflated JSON of everything that differs from the default (docs/format.md, "Sections"). Invariants:

- Bytes and back is lossless: floating-point numbers and arrays keep all their bits.
- Metadata with default values takes no bytes.
- Nothing is allocated beyond ``Limits.max_metadata_bytes``: neither the JSON nor, all together, the arrays in it.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import DataError, FormatError, LimitError
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.signals.header import SignalHeader

EXTRA_VERSION = 1
_ARRAY_TYPES = ("<f4", "<f8", "<i1", "<i2", "<i4", "<i8", "|i1", "|u1", "<u1", "<u2", "<u4", "<u8")


@dataclass(frozen=True)
class SignalMeta:
    """Holds the metadata of a signal; the defaults mean that there is none.

    Attributes:
        bit_depth: the bits per sample of an image, 8 or 16.
        icc_profile: the ICC colour profile of an image.
        exif_orientation: the EXIF orientation of an image, 1 to 8; pixels stay as stored.
        dpi: the horizontal and vertical resolution of an image in dots per inch, both positive.
        offset: for fields, physical value = offset + scale * value.
        scale: see ``offset``.
        variable: the name of a field.
        dims: the names of the axes of a field, all different.
        coordinates: an array for each axis that has coordinates, by name.
        attributes: the attributes of a field, such as its units: text, bytes, numbers and arrays.
        coordinate_attributes: the attributes of coordinates, by name of the axis.
        fixed: the coordinate of each axis that was removed by selection, by name.
        source_format: the file format of a field, "netcdf" or "npy".
        exif: the EXIF data of an image from its byte order mark on; the orientation in it is ``exif_orientation``.
        xmp: the XMP packet of an image.
        text: text that belongs to an image, by keyword, such as the text chunks of PNG and the comment of JPEG.
        chunks: further chunks of a PNG by name, without length and CRC: its colour (cICP, gAMA, cHRM, sRGB, mDCV,
            cLLI), aspect ratio (pHYs), time (tIME) and significant bits (sBIT).
        tags: the tags of audio by the names of soundfile: title, artist, album, date, comment and others.
        channel_mask: the speakers of the channels of audio, as in WAVEFORMATEXTENSIBLE; None where a file says none.
        riff: cue points, loops and other chunks of audio by name, see ``audio_marks``.
    """

    bit_depth: int = 8
    icc_profile: bytes = b""
    exif_orientation: int = 1
    dpi: tuple[float, float] | None = None
    offset: float = 0.0
    scale: float = 1.0
    variable: str = ""
    dims: tuple[str, ...] = ()
    coordinates: dict[str, NDArray[Any]] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    coordinate_attributes: dict[str, dict[str, Any]] = field(default_factory=dict)
    fixed: dict[str, float] = field(default_factory=dict)
    source_format: str = ""
    exif: bytes = b""
    xmp: bytes = b""
    text: dict[str, str] = field(default_factory=dict)
    chunks: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    channel_mask: int | None = None
    riff: dict[str, bytes] = field(default_factory=dict)

    def fault(self, header: SignalHeader) -> str:
        """Return why this metadata cannot belong to a signal with this header; an empty text if it can."""
        if self.dims and (len(self.dims) != len(header.shape) or len(set(self.dims)) != len(self.dims)):
            return f"expected {len(header.shape)} different names of axes, got {self.dims}"
        sizes = dict(zip(self.dims, header.shape, strict=False))
        for name, array in self.coordinates.items():
            if array.shape != (sizes.get(name),):
                return f"coordinate {name!r} has shape {array.shape}, its axis has {sizes.get(name, 0)} points"
        return ""

    def extra_to_bytes(self) -> bytes:
        """Return the bytes of the metadata; no bytes if everything but the bit depth has its default.

        The bit depth is left out, because the sample type of the header implies it.

        Raises:
            DataError: an attribute or array is of a type that ``from_extra`` could not restore.
        """
        out: dict[str, Any] = {}
        if self.icc_profile:
            out["icc"] = base64.b64encode(self.icc_profile).decode()
        for key in ("exif", "xmp"):
            if getattr(self, key):
                out[key] = base64.b64encode(getattr(self, key)).decode()
        if self.text:
            out["text"] = self.text
        if self.chunks:
            out["chunks"] = {name: base64.b64encode(body).decode() for name, body in self.chunks.items()}
        if self.exif_orientation != 1:
            out["orientation"] = self.exif_orientation
        if self.dpi is not None:
            out["dpi"] = list(self.dpi)
        if (self.offset, self.scale) != (0.0, 1.0):
            out["affine"] = [self.offset, self.scale]
        for key in ("variable", "source_format"):
            if getattr(self, key):
                out[key] = getattr(self, key)
        if self.dims:
            out["dims"] = list(self.dims)
        if self.coordinates:
            out["coordinates"] = {name: _array_to_json(array) for name, array in self.coordinates.items()}
        if self.attributes:
            out["attributes"] = _attributes_to_json(self.attributes)
        if any(self.coordinate_attributes.values()):
            out["coordinate_attributes"] = {
                k: _attributes_to_json(v) for k, v in self.coordinate_attributes.items() if v
            }
        if self.fixed:
            out["fixed"] = self.fixed
        if self.tags:
            out["tags"] = self.tags
        if self.channel_mask is not None:
            out["channel_mask"] = self.channel_mask
        if self.riff:
            out["riff"] = {name: base64.b64encode(body).decode() for name, body in self.riff.items()}
        if not out:
            return b""
        text = json.dumps(out, sort_keys=True, separators=(",", ":"), allow_nan=True)
        return bytes([EXTRA_VERSION]) + zlib.compress(text.encode(), 9)

    @classmethod
    def from_extra(cls, data: bytes, bit_depth: int, limits: Limits = DEFAULT_LIMITS) -> SignalMeta:
        """Return the metadata whose ``extra_to_bytes`` returned ``data``.

        Args:
            data: the bytes.
            bit_depth: the bits per sample of an image, which the bytes do not hold.
            limits: ``max_metadata_bytes`` applies to the JSON, and to all arrays in it together.

        Raises:
            FormatError: the data is corrupt or of an unsupported version.
            LimitError: it inflates beyond the limit.
        """
        if not data:
            return cls(bit_depth=bit_depth)
        if data[0] != EXTRA_VERSION:
            raise FormatError(f"unsupported extra metadata: expected version {EXTRA_VERSION}, got {data[0]}")
        try:
            inflate = zlib.decompressobj()
            text = inflate.decompress(data[1:], limits.max_metadata_bytes)
            if inflate.unconsumed_tail:
                raise LimitError(f"extra metadata exceeds the limit of {limits.max_metadata_bytes} bytes")
            if not inflate.eof or inflate.unused_data:
                raise FormatError("corrupt extra metadata: expected one complete zlib stream")
            out = json.loads(text)
            dpi = out.get("dpi")
            affine = out.get("affine", [0.0, 1.0])
            budget = _Budget(limits)
            coordinates = {str(k): _array_from_json(v, budget) for k, v in dict(out.get("coordinates", {})).items()}
            return cls(
                bit_depth=bit_depth,
                icc_profile=base64.b64decode(out.get("icc", ""), validate=True),
                exif_orientation=_orientation(out.get("orientation", 1)),
                dpi=None if dpi is None else (_positive(dpi[0]), _positive(dpi[1])),
                offset=_finite(affine[0]),
                scale=_finite(affine[1]),
                variable=str(out.get("variable", "")),
                dims=tuple(str(d) for d in out.get("dims", [])),
                coordinates=coordinates,
                attributes=_attributes_from_json(out.get("attributes", {}), budget),
                coordinate_attributes={
                    str(k): _attributes_from_json(v, budget)
                    for k, v in dict(out.get("coordinate_attributes", {})).items()
                },
                fixed={str(k): float(v) for k, v in dict(out.get("fixed", {})).items()},
                source_format=str(out.get("source_format", "")),
                exif=base64.b64decode(out.get("exif", ""), validate=True),
                xmp=base64.b64decode(out.get("xmp", ""), validate=True),
                text={_text(k): _text(v) for k, v in dict(out.get("text", {})).items()},
                chunks={str(k): base64.b64decode(v, validate=True) for k, v in dict(out.get("chunks", {})).items()},
                tags={_text(name): _text(value) for name, value in dict(out.get("tags", {})).items()},
                channel_mask=_mask(out.get("channel_mask")),
                riff={_text(k): base64.b64decode(v, validate=True) for k, v in dict(out.get("riff", {})).items()},
            )
        except (zlib.error, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError):
            raise FormatError("corrupt extra metadata: its content is not that of an encoder") from None

    @classmethod
    def of_file(cls, data: bytes, header: SignalHeader, limits: Limits = DEFAULT_LIMITS) -> SignalMeta:
        """Return the metadata in ``data`` for a signal with this header; see ``from_extra``.

        Raises:
            FormatError: the data is corrupt, of an unsupported version, or does not fit the header.
            LimitError: it inflates beyond the limit.
        """
        meta = cls.from_extra(data, 16 if header.sample_type == "u16" else 8, limits)
        fault = meta.fault(header)
        if fault:
            raise FormatError(f"corrupt file: its extra metadata does not fit the {header.kind}: {fault}")
        return meta


class _Budget:
    """Counts the bytes that the arrays of a file's metadata may still take, all together.

    The size of the JSON does not bound them: an evenly spaced array of any size takes a few bytes of text.
    """

    def __init__(self, limits: Limits) -> None:
        self._total = self._left = limits.max_metadata_bytes

    def take(self, n_bytes: int) -> None:
        """Take bytes from the budget; raise LimitError when fewer are left."""
        self._left -= n_bytes
        if self._left < 0:
            raise LimitError(f"the arrays of the extra metadata exceed the limit of {self._total} bytes")


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number


def _positive(value: Any) -> float:
    number = _finite(value)
    if number <= 0.0:
        raise ValueError("not positive")
    return number


def _text(value: Any) -> str:
    """Return text; raise UnicodeEncodeError, a ValueError, where it holds half a surrogate pair."""
    text = str(value)
    text.encode()
    return text


def _mask(value: Any) -> int | None:
    if value is not None and (not isinstance(value, int) or not 0 <= value < 2**32):
        raise ValueError("not a channel mask")
    return value


def _orientation(value: Any) -> int:
    if value not in range(1, 9):
        raise ValueError("not an orientation")
    return int(value)


def _array_to_json(array: NDArray[Any]) -> dict[str, Any]:
    """Return an array as JSON: start, step and count if it is evenly spaced to the bit, else its bytes."""
    little = array.astype(array.dtype.newbyteorder("<"))
    if little.dtype.str not in _ARRAY_TYPES:
        raise DataError(f"metadata cannot be kept: unsupported array type {array.dtype}")
    head: dict[str, Any] = {"type": little.dtype.str, "shape": list(little.shape)}
    if little.ndim == 1 and little.size > 2:
        start, step = little[0].item(), (little[-1].item() - little[0].item()) / (little.size - 1)
        even = _even(start, step, little.size, little.dtype)
        if even is not None and np.array_equal(even, little):
            return {**head, "start": start, "step": step}
    return {**head, "data": base64.b64encode(little.tobytes()).decode()}


def _array_from_json(fields: dict[str, Any], budget: _Budget) -> NDArray[Any]:
    if fields["type"] not in _ARRAY_TYPES:
        raise FormatError("corrupt extra metadata: unsupported array type")
    dtype = np.dtype(fields["type"])
    shape = tuple(int(n) for n in fields["shape"])
    if min(shape, default=1) < 0:
        raise ValueError("negative shape")
    budget.take(math.prod(shape) * dtype.itemsize)
    if "start" in fields:
        (count,) = shape
        even = _even(fields["start"], fields["step"], count, dtype)
        if even is None:
            raise ValueError("numbers out of range")
        return even
    return np.frombuffer(base64.b64decode(fields["data"], validate=True), dtype).reshape(shape).copy()


def _even(start: float, step: float, count: int, dtype: np.dtype[Any]) -> NDArray[Any] | None:
    """Return evenly spaced numbers (count,); None when they are out of the range of their type."""
    bounds: Any = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    low, high = (int(n) if dtype.kind in "iu" else float(n) for n in (bounds.min, bounds.max))
    if not all(low <= end <= high for end in (start, start + step * max(0, count - 1))):
        return None
    values = start + step * np.arange(count, dtype=np.float64)
    return (np.rint(values) if dtype.kind in "iu" else values).astype(dtype)


def _attributes_to_json(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return attributes as JSON: text and numbers as they are, arrays and NumPy scalars with their type."""
    out: dict[str, Any] = {}
    for name, value in attributes.items():
        if isinstance(value, bytes):
            out[name] = {"bytes": base64.b64encode(value).decode()}
        elif isinstance(value, np.ndarray | np.generic):
            out[name] = _array_to_json(np.asarray(value))
        elif isinstance(value, str | int | float):
            out[name] = value
        else:
            raise DataError(f"metadata cannot be kept: attribute {name!r} is of type {type(value).__name__}")
    return out


def _attributes_from_json(fields: dict[str, Any], budget: _Budget) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            out[name] = base64.b64decode(value["bytes"]) if "bytes" in value else _array_from_json(value, budget)
        elif isinstance(value, str | int | float):
            out[name] = value
        else:
            raise ValueError(f"attribute of type {type(value).__name__}")
    return out
