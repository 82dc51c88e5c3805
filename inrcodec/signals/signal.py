"""A signal: values on a grid, with all that is needed to write it back to a file of its own format.

The values are normalised: images to [0, 1], audio to a full scale of 1, fields to [0, 1] by ``(x - offset) / scale``.
The ``SignalHeader`` holds what every signal has (kind, layout, sample type, grid), the ``SignalMeta`` all else (colour
profile, orientation, resolution, names, units, coordinates, tags). Invariants, checked on construction:

- ``values`` is float32 of shape (*header.shape, header.channels), and finite. It is never empty, as no axis is.
- ``meta`` fits ``header``: as many names of axes as there are axes, as many coordinates as points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import DataError, UsageError
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.signals.audio_marks import moved
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.metadata import SignalMeta

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Signal:
    """Holds values on a grid with their header and metadata; see the module docstring.

    Attributes:
        values: (*shape, channels), float32, normalised.
        header: kind, layout, sample type and grid.
        meta: all other properties of the signal.

    Raises:
        DataError: the values are not finite, or of another shape or type, or the metadata does not fit the header.
    """

    values: FloatArray
    header: SignalHeader
    meta: SignalMeta = field(default_factory=SignalMeta)

    def __post_init__(self) -> None:
        expected = (*self.header.shape, self.header.channels)
        if self.values.shape != expected or self.values.dtype != np.float32:
            raise DataError(f"values must be float32 of shape {expected}, got {self.values.dtype} {self.values.shape}")
        if not np.isfinite(self.values).all():
            n_bad = int((~np.isfinite(self.values)).sum())
            raise DataError(
                f"the {self.header.kind} has {n_bad} values that are not finite (NaN or infinite): fill them first"
            )
        fault = self.meta.fault(self.header)
        if fault:
            raise DataError(f"the metadata does not fit the {self.header.kind}: {fault}")

    @classmethod
    def from_array(
        cls,
        array: Any,
        kind: str | None = None,
        layout: str | None = None,
        sample_rate: int | None = None,
        *,
        bit_depth: int | None = None,
        variable: str = "",
        dims: Sequence[str] | None = None,
        coordinates: Mapping[str, Any] | None = None,
        units: str | None = None,
    ) -> Signal:
        """Return an array as a signal.

        Args:
            array: a NumPy array, a torch tensor on any device, or anything that ``numpy.asarray`` takes. Images: uint8,
                uint16, bool, or floating-point in [0, 1]. Audio: integers, or floating-point with a full scale of 1.
                Fields: any numbers, up to three axes.
            kind: "image", "audio" or "field"; needed only where shape, type and the other arguments leave it open.
            layout: what the axes are. Images: "HW", "HWC" (the default) or "CHW"; audio: "N", "NC" (the default) or
                "CN", where N counts samples and C channels.
            sample_rate: in Hz, for audio.
            bit_depth: 8 (the default) or 16, the depth at which a floating-point image is written back.
            variable: the name of a field.
            dims: the names of the axes of a field.
            coordinates: a one-dimensional array for each axis of a field that has coordinates, by name.
            units: the units of a field.

        Raises:
            UsageError: the array is ambiguous, or the arguments do not fit it; the message names what to pass.
            DataError: the array is empty, or has masked, NaN or infinite elements.
            UnsupportedError: its elements are not numbers, or it has too many axes.

        Example:
            >>> Signal.from_array(np.zeros((480, 640, 3), np.uint8))
            >>> Signal.from_array(tensor, layout="CHW")
            >>> Signal.from_array(samples, sample_rate=16000)
            >>> Signal.from_array(wind, dims=("latitude", "longitude"), units="m/s")
        """
        from inrcodec.signals.arrays import from_array

        return from_array(
            array,
            kind,
            layout,
            sample_rate,
            bit_depth=bit_depth,
            variable=variable,
            dims=dims,
            coordinates=coordinates,
            units=units,
        )

    @classmethod
    def from_pil(cls, image: Any) -> Signal:
        """Return an image of Pillow as a signal, with its colour profile, resolution, EXIF, XMP and text.

        Raises:
            DataError: the image is empty or cannot be read.
            UnsupportedError: its mode is not supported, or it has several frames.
        """
        from inrcodec.signals.pil_images import from_pil

        return from_pil(image)

    @classmethod
    def from_xarray(cls, data: Any, variable: str | None = None) -> Signal:
        """Return a DataArray of xarray as a field, with its name, axes, coordinates and attributes.

        A ``LossWarning`` names the coordinates that a signal cannot hold.

        Args:
            data: a DataArray, or a Dataset with one variable.
            variable: the variable of a Dataset that has several.

        Raises:
            UsageError: the Dataset has several variables and ``variable`` names none of them.
            DataError: the data is empty, or has NaN or infinite values.
            UnsupportedError: its values are not numbers, or it has more than three axes.
        """
        from inrcodec.signals.data_arrays import from_xarray

        return from_xarray(data, variable)

    @property
    def colour_values(self) -> FloatArray:
        """Return the values without the alpha channel, (*shape, colour channels)."""
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
        """Return the same signal with other values of the same shape."""
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
        """Return a decoded signal, on the grid of its file or on another one of the same extent.

        On another grid the sample rate of audio changes so that its duration stays; the resolution of images and the
        coordinates of fields change with the grid.

        Args:
            header: the header in the file.
            extra: the extra metadata in the file, as bytes.
            values: the decoded values; without ``window`` their shape is that of the grid.
            limits: for the metadata.
            window: the size of the grid, and the part of it that the values are.

        Raises:
            FormatError: the metadata is corrupt or does not fit the header.
            LimitError: the metadata exceeds ``limits``.
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
            if meta.riff:
                meta = replace(meta, riff=moved(meta.riff, size[0] / header.shape[0], 0, size[0]))
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
            if meta.riff:
                meta = replace(meta, riff=moved(meta.riff, 1.0, window[1][0].start, len(values)))
            header = replace(header, shape=values.shape[:-1], periodic=closed)
        return cls(np.ascontiguousarray(values, np.float32), header, meta)

    def to_native(self) -> NDArray[Any]:
        """Return the samples as their file holds them.

        Returns:
            Images: (H, W, C), uint8 or uint16. Audio: (n, C), float32, clipped to [-1, 1] unless its sample type is
            floating-point. Fields: (*shape) or, if there is more than one channel, (*shape, C), in physical units and
            their own type.
        """
        if self.header.kind == "image":
            top = 2**self.meta.bit_depth - 1
            result: NDArray[Any] = np.empty(self.values.shape, np.uint16 if top > 255 else np.uint8)
            # Row by row: float64 copies of a large image would double the memory that decoding takes.
            for row, values in zip(result, self.values, strict=True):
                row[...] = np.rint(np.clip(values.astype(np.float64), 0.0, 1.0) * top)
            return result
        if self.header.kind == "audio":
            return self.values if self.header.sample_type.startswith("float") else np.clip(self.values, -1.0, 1.0)
        with np.errstate(over="ignore"):
            physical = self.meta.offset + self.meta.scale * self.values.astype(np.float64)
        if self.header.channels == 1:
            physical = physical[..., 0]
        dtype = np.dtype(self.header.sample_type)
        if dtype.kind in "iu":
            bounds = np.iinfo(dtype)
            # The maximum of a 64-bit type is not a float64, and rounding to the next one would overflow.
            top = np.nextafter(float(bounds.max), 0.0) if dtype.itemsize == 8 else float(bounds.max)
            return np.clip(np.rint(physical), float(bounds.min), top).astype(dtype)
        if dtype.kind == "b":
            return np.rint(physical).astype(bool)
        max_value = float(np.finfo(dtype).max)
        return np.clip(physical, -max_value, max_value).astype(dtype)

    def to_numpy(self, dtype: Any = None) -> NDArray[Any]:
        """Return the samples as an array without an axis for a single channel.

        Args:
            dtype: the type to return. The range follows the type: images are 0 to 255 as uint8, 0 to 65535 as uint16
                and 0 to 1 as floating-point numbers, audio spans the range of an integer type and has a full scale of 1
                as floating-point numbers. Fields stay in physical units.

        Returns:
            Images: (H, W) or (H, W, C), uint8 or uint16 by default. Audio: (n,) or (n, C), float32 by default. Fields:
            (*shape), in their own type by default.

        Raises:
            UsageError: the kind of signal is not returned in this type.
        """
        from inrcodec.signals.arrays import to_numpy

        return to_numpy(self, dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the array of ``to_numpy()`` for ``numpy.asarray``; ``dtype`` casts it without changing its range.

        Raises:
            ValueError: ``copy`` is False, because samples are computed.
        """
        if copy is False:
            raise UsageError("an array of a signal is always a copy, because its samples are computed: leave out copy")
        array = self.to_numpy()
        return array if dtype is None else array.astype(dtype, copy=False)

    def to_pil(self) -> Any:
        """Return an image as an image of Pillow; its ``info`` holds the colour profile, resolution, EXIF, XMP and text.

        A ``LossWarning`` says so where Pillow has no image of the same depth.

        Raises:
            UsageError: the signal is not an image.
        """
        from inrcodec.signals.pil_images import to_pil

        return to_pil(self)

    def to_xarray(self) -> Any:
        """Return a field as a DataArray of xarray, with its name, coordinates and attributes; times are decoded.

        Raises:
            UsageError: the signal is not a field.
            UnsupportedError: xarray is not installed.
        """
        from inrcodec.signals.data_arrays import to_xarray

        return to_xarray(self)


def _resample(coordinate: NDArray[Any], count: int) -> NDArray[Any]:
    """Return a coordinate on an axis of ``count`` cells, by linear interpolation and extrapolation of cell centres."""
    n = coordinate.size
    if n < 2:
        return np.full(count, coordinate[0], np.float64)
    position = (np.arange(count) + 0.5) * n / count - 0.5
    left = np.clip(np.floor(position).astype(int), 0, n - 2)
    values = coordinate.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(values[left] + (position - left) * (values[left + 1] - values[left]))
