"""A signal: values on a grid, and what the file needs to come back as it was.

Invariants: ``values`` is float32, (*shape, channels), finite, not empty. Ranges: images [0, 1], sounds [-1, 1], fields
normalised to [0, 1] by ``(x - offset) / scale``. What every signal has is its ``SignalHeader``; all else that must
survive (colour profile, orientation, resolution, names, units, coordinates) is ``SignalMeta``, which turns to bytes and
back without loss.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import DataError
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.metadata import SignalMeta

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Signal:
    """Values on a grid; see the module's text. DataError when values are empty, not finite or of the wrong shape."""

    values: FloatArray
    header: SignalHeader
    meta: SignalMeta = field(default_factory=SignalMeta)

    def __post_init__(self) -> None:
        expected = (*self.header.shape, self.header.channels)
        if self.values.shape != expected or self.values.dtype != np.float32:
            raise DataError(f"values must be float32 of shape {expected}, got {self.values.dtype} {self.values.shape}")
        if not np.isfinite(self.values).all():
            bad = int((~np.isfinite(self.values)).sum())
            raise DataError(
                f"{self.header.kind} holds {bad} values that are not finite (NaN or infinite): fill them first"
            )
        fault = self.meta.fault(self.header)
        if fault:
            raise DataError(f"metadata do not fit the {self.header.kind}: {fault}")

    @property
    def colour_values(self) -> FloatArray:
        """Values without an alpha channel."""
        return self.values[..., :-1] if self.header.layout in ("gray+alpha", "rgba") else self.values

    def _repr_png_(self) -> bytes | None:
        """Return an image or a field as PNG, for notebooks."""
        from inrcodec.display import png

        return png(self)

    def _repr_html_(self) -> str | None:
        """Return an audio player, for notebooks."""
        from inrcodec.display import player

        return player(self)

    def with_values(self, values: FloatArray) -> Signal:
        """The same signal with other values on the same grid."""
        return replace(self, values=np.ascontiguousarray(values, np.float32))

    @classmethod
    def from_parts(
        cls,
        header: SignalHeader,
        extra: bytes,
        values: FloatArray,
        limits: Limits = DEFAULT_LIMITS,
        window: tuple[tuple[int, ...], tuple[slice, ...]] | None = None,
    ) -> Signal:
        """A decoded signal: header and extra metadata of a file, values on the file's grid or on another size.

        ``window``: the grid's size, and which part of it the values are. At another size, a sound's rate changes with
        its length so that it lasts as long, resolution and coordinates of images and fields follow the grid.
        FormatError when the metadata do not fit the header.
        """
        meta = SignalMeta.of_file(extra, header, limits)
        size = values.shape[:-1] if window is None else window[0]
        if size != header.shape:
            rate = header.sample_rate
            if header.kind == "audio":
                rate = max(1, round(rate * size[0] / header.shape[0]))
            coordinates = {
                name: _resample(array, size[meta.dims.index(name)]) if name in meta.dims else array
                for name, array in meta.coordinates.items()
            }
            dpi = meta.dpi
            if dpi is not None and len(size) == 2:
                dpi = (dpi[0] * size[1] / header.shape[1], dpi[1] * size[0] / header.shape[0])
            meta = replace(meta, coordinates=coordinates, dpi=dpi)
            header = replace(header, shape=size, sample_rate=rate)
        if window is not None:
            coordinates = {
                name: array[window[1][meta.dims.index(name)]] if name in meta.dims else array
                for name, array in meta.coordinates.items()
            }
            closed = tuple(
                flag and part == slice(0, n) for flag, part, n in zip(header.periodic, window[1], size, strict=True)
            )
            meta = replace(meta, coordinates=coordinates)
            header = replace(header, shape=values.shape[:-1], periodic=closed)
        return cls(np.ascontiguousarray(values, np.float32), header, meta)

    def to_native(self) -> NDArray[Any]:
        """Samples as their file had them: images uint8 or uint16 (H, W, C), sounds float32 (n, C), fields in physical
        units and their own type, ``(*shape)`` or ``(*shape, C)``."""
        if self.header.kind == "image":
            top = 2**self.meta.bit_depth - 1
            levels = np.rint(np.clip(self.values.astype(np.float64), 0.0, 1.0) * top)
            return levels.astype(np.uint16 if top > 255 else np.uint8)
        if self.header.kind == "audio":
            return np.clip(self.values, -1.0, 1.0)
        with np.errstate(over="ignore"):
            physical = self.meta.offset + self.meta.scale * self.values.astype(np.float64)
        if self.header.channels == 1:
            physical = physical[..., 0]
        dtype = np.dtype(self.header.sample_type)
        if dtype.kind in "iu":
            bounds = np.iinfo(dtype)
            # The largest integer of 64 bits is no float64, and the next one is beyond it.
            top = np.nextafter(float(bounds.max), 0.0) if dtype.itemsize == 8 else float(bounds.max)
            return np.clip(np.rint(physical), float(bounds.min), top).astype(dtype)
        if dtype.kind == "b":
            return np.rint(physical).astype(bool)
        most = float(np.finfo(dtype).max)
        return np.clip(physical, -most, most).astype(dtype)


def _resample(coordinate: NDArray[Any], count: int) -> NDArray[Any]:
    """A coordinate along an axis of another number of cells, linear between and beyond the cell centres."""
    n = coordinate.size
    if n < 2:
        return np.full(count, coordinate[0], np.float64)
    position = (np.arange(count) + 0.5) * n / count - 0.5
    left = np.clip(np.floor(position).astype(int), 0, n - 2)
    values = coordinate.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(values[left] + (position - left) * (values[left + 1] - values[left]))
