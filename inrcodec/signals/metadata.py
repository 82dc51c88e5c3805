"""TODO-DOC."""

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
    """What a header does not say.

    ``bit_depth``: of images, 8 or 16. ``icc_profile``, ``exif_orientation`` (1 to 8, pixels stay as stored), ``dpi``.
    ``offset``, ``scale``: of fields, physical value = offset + scale * value. ``variable``, ``dims``, ``coordinates``
    (dim to array), ``attributes`` and ``coordinate_attributes`` of fields; ``fixed``: axes that were fixed by selection
    (dim to value); ``source_format``: "netcdf" or "npy".
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

    def fault(self, header: SignalHeader) -> str:
        """Why this cannot belong to a signal; empty if it can."""
        if self.dims and (len(self.dims) != len(header.shape) or len(set(self.dims)) != len(self.dims)):
            return f"{len(header.shape)} axes have the names {self.dims}"
        sizes = dict(zip(self.dims, header.shape, strict=False))
        for name, array in self.coordinates.items():
            if array.shape != (sizes.get(name),):
                return f"coordinate {name!r} has shape {array.shape}, its axis has {sizes.get(name, 0)} points"
        return ""

    def extra_to_bytes(self) -> bytes:
        """Deflated JSON of all that differs from the default; empty when nothing does.

        Bit depth is left out: the header's sample type says it. DataError for what could not be read back.
        """
        out: dict[str, Any] = {}
        if self.icc_profile:
            out["icc"] = base64.b64encode(self.icc_profile).decode()
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
        if not out:
            return b""
        text = json.dumps(out, sort_keys=True, separators=(",", ":"), allow_nan=True)
        return bytes([EXTRA_VERSION]) + zlib.compress(text.encode(), 9)

    @classmethod
    def from_extra(cls, data: bytes, bit_depth: int, limits: Limits = DEFAULT_LIMITS) -> SignalMeta:
        """Inverse of ``extra_to_bytes``; FormatError when damaged, LimitError when it inflates beyond ``limits``."""
        if not data:
            return cls(bit_depth=bit_depth)
        if data[0] != EXTRA_VERSION:
            raise FormatError(f"extra metadata of version {data[0]}, this version reads {EXTRA_VERSION}")
        try:
            inflate = zlib.decompressobj()
            text = inflate.decompress(data[1:], limits.max_metadata_bytes)
            if inflate.unconsumed_tail:
                raise LimitError(f"extra metadata is longer than the limit of {limits.max_metadata_bytes} bytes")
            if not inflate.eof or inflate.unused_data:
                raise FormatError("extra metadata is damaged")
            out = json.loads(text)
            dpi = out.get("dpi")
            affine = out.get("affine", [0.0, 1.0])
            room = _Room(limits)
            coordinates = {str(k): _array_from_json(v, room) for k, v in dict(out.get("coordinates", {})).items()}
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
                attributes=_attributes_from_json(out.get("attributes", {}), room),
                coordinate_attributes={
                    str(k): _attributes_from_json(v, room)
                    for k, v in dict(out.get("coordinate_attributes", {})).items()
                },
                fixed={str(k): float(v) for k, v in dict(out.get("fixed", {})).items()},
                source_format=str(out.get("source_format", "")),
            )
        except (zlib.error, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError):
            raise FormatError("extra metadata is damaged") from None

    @classmethod
    def of_file(cls, data: bytes, header: SignalHeader, limits: Limits = DEFAULT_LIMITS) -> SignalMeta:
        """``from_extra`` for a signal with this header; FormatError also when the two do not fit."""
        meta = cls.from_extra(data, 16 if header.sample_type == "u16" else 8, limits)
        fault = meta.fault(header)
        if fault:
            raise FormatError(f"extra metadata do not fit the {header.kind}: {fault}")
        return meta


class _Room:
    """What is left of the bytes that all arrays of a file's metadata may take together: evenly spaced ones are a few
    bytes of text."""

    def __init__(self, limits: Limits) -> None:
        self._most = self._left = limits.max_metadata_bytes

    def take(self, n_bytes: int) -> None:
        """LimitError when there is not so much left."""
        self._left -= n_bytes
        if self._left < 0:
            raise LimitError(f"arrays of the extra metadata are over the limit of {self._most} bytes")


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


def _orientation(value: Any) -> int:
    if value not in range(1, 9):
        raise ValueError("not an orientation")
    return int(value)


def _array_to_json(array: NDArray[Any]) -> dict[str, Any]:
    """An array of numbers; evenly spaced ones as start, step and count where that gives the same bits back."""
    little = array.astype(array.dtype.newbyteorder("<"))
    if little.dtype.str not in _ARRAY_TYPES:
        raise DataError(f"arrays of {array.dtype} cannot be kept in a file's metadata")
    head: dict[str, Any] = {"type": little.dtype.str, "shape": list(little.shape)}
    if little.ndim == 1 and little.size > 2:
        start, step = little[0].item(), (little[-1].item() - little[0].item()) / (little.size - 1)
        even = _even(start, step, little.size, little.dtype)
        if even is not None and np.array_equal(even, little):
            return {**head, "start": start, "step": step}
    return {**head, "data": base64.b64encode(little.tobytes()).decode()}


def _array_from_json(fields: dict[str, Any], room: _Room) -> NDArray[Any]:
    if fields["type"] not in _ARRAY_TYPES:
        raise FormatError("extra metadata holds an array of unknown type")
    dtype = np.dtype(fields["type"])
    shape = tuple(int(n) for n in fields["shape"])
    if min(shape, default=1) < 0:
        raise ValueError("a shape below zero")
    room.take(math.prod(shape) * dtype.itemsize)
    if "start" in fields:
        (count,) = shape
        even = _even(fields["start"], fields["step"], count, dtype)
        if even is None:
            raise ValueError("numbers out of the range of their type")
        return even
    return np.frombuffer(base64.b64decode(fields["data"], validate=True), dtype).reshape(shape).copy()


def _even(start: float, step: float, count: int, dtype: np.dtype[Any]) -> NDArray[Any] | None:
    """Evenly spaced numbers; None when they are out of the range of their type."""
    bounds: Any = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    low, high = (int(n) if dtype.kind in "iu" else float(n) for n in (bounds.min, bounds.max))
    if not all(low <= end <= high for end in (start, start + step * max(0, count - 1))):
        return None
    values = start + step * np.arange(count, dtype=np.float64)
    return (np.rint(values) if dtype.kind in "iu" else values).astype(dtype)


def _attributes_to_json(attributes: dict[str, Any]) -> dict[str, Any]:
    """Texts and numbers as they are, arrays and numpy scalars with their type."""
    out: dict[str, Any] = {}
    for name, value in attributes.items():
        if isinstance(value, bytes):
            out[name] = {"bytes": base64.b64encode(value).decode()}
        elif isinstance(value, np.ndarray | np.generic):
            out[name] = _array_to_json(np.asarray(value))
        elif isinstance(value, str | int | float):
            out[name] = value
        else:
            raise DataError(f"attribute {name!r} is of a type that cannot be kept: {type(value).__name__}")
    return out


def _attributes_from_json(fields: dict[str, Any], room: _Room) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            out[name] = base64.b64decode(value["bytes"]) if "bytes" in value else _array_from_json(value, room)
        elif isinstance(value, str | int | float):
            out[name] = value
        else:
            raise ValueError(f"an attribute of type {type(value).__name__}")
    return out
