"""DataArrays of xarray as fields and back.

Names, axes, one-dimensional coordinates of axes and attributes are kept. Times are kept as CF conventions encode them,
as numbers with units such as "hours since 2000-01-01", and decoded again on the way back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import DataError, LimitError, UnsupportedError, UsageError, warn_of_losses
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.signals.arrays import plain_array
from inrcodec.signals.files.fields import MAX_AXES, field_signal, is_periodic
from inrcodec.signals.metadata import SignalMeta
from inrcodec.signals.signal import Signal

_KEPT_WIDTHS = {1, 2, 4, 8}


def from_xarray(data: Any, variable: str | None = None, limits: Limits = DEFAULT_LIMITS) -> Signal:
    """Return a DataArray, or one variable of a Dataset, as a field; see ``Signal.from_xarray``."""
    import xarray

    if isinstance(data, xarray.Dataset):
        names = [str(key) for key in data.data_vars]
        if not names:
            raise DataError("the Dataset has no variable")
        if variable is None and len(names) > 1:
            raise UsageError(f"several variables in the Dataset: pass one DataArray, of {', '.join(names)}")
        if variable is not None and variable not in names:
            raise UsageError(f"no variable {variable!r} in the Dataset: choose one of {', '.join(names)}")
        data = data[variable or next(iter(data.data_vars))]
    elif not isinstance(data, xarray.DataArray):
        raise UsageError(f"expected a DataArray or Dataset of xarray, got {type(data).__name__}")
    name = f"DataArray {data.name!r}" if data.name is not None else "DataArray"
    if data.size > limits.max_points:
        raise LimitError(f"{name}: {data.size} points, which exceeds the limit of {limits.max_points}")
    if data.ndim > MAX_AXES:
        sizes = ", ".join(f"{d} ({n})" for d, n in data.sizes.items())
        raise UnsupportedError(
            f"{name}: a field has at most {MAX_AXES} axes, got {sizes}: select along one, for example with"
            f" .isel({data.dims[0]}=0)"
        )
    values = plain_array(data.values, name)
    values = values.astype(np.uint8) if values.dtype.kind == "b" else values
    dims = tuple(str(dim) for dim in data.dims)
    coordinates: dict[str, NDArray[Any]] = {}
    coordinate_attributes: dict[str, dict[str, Any]] = {}
    fixed: dict[str, float] = {}
    lost: list[str] = []
    for key, coordinate in data.coords.items():
        encoded = _encoded(coordinate.variable, f"{name}: coordinate {key}")
        if encoded is None:
            lost.append(str(key))
        elif coordinate.dims == (key,):
            coordinates[str(key)] = encoded[0]
            coordinate_attributes[str(key)] = encoded[1]
        elif coordinate.ndim == 0 and coordinate.dtype.kind in "fiu":
            fixed[str(key)] = float(encoded[0])
        else:
            lost.append(str(key))
    warn_of_losses(name, "coordinates not kept", lost)
    meta = SignalMeta(
        variable="" if data.name is None else str(data.name),
        dims=dims,
        coordinates=coordinates,
        attributes=_attributes(data.attrs, name),
        coordinate_attributes=coordinate_attributes,
        fixed=fixed,
        source_format="netcdf",
    )
    return field_signal(values, name, meta, tuple(is_periodic(d, coordinates, coordinate_attributes) for d in dims))


def _encoded(coordinate: Any, name: str) -> tuple[NDArray[Any], dict[str, Any]] | None:
    """Return the numbers and attributes of a coordinate, times as CF encodes them; None if it holds no numbers."""
    import xarray

    if coordinate.dtype.kind in "mM" or (coordinate.dtype == object and coordinate.size):
        try:
            coordinate = xarray.conventions.encode_cf_variable(coordinate)
        except (ValueError, TypeError, OverflowError, NotImplementedError):
            return None
    values = np.asarray(coordinate.values)
    if values.dtype.kind not in "fiu" or values.dtype.itemsize > 8:
        return None
    if values.dtype.name == "float16":
        values = values.astype(np.float32)
    if coordinate.ndim and not np.isfinite(values).all():
        return None
    attributes = {key: value for key, value in coordinate.attrs.items() if key != "_FillValue"}
    return values.astype(values.dtype.newbyteorder("="), copy=False), _attributes(attributes, name)


def _attributes(attributes: Mapping[Any, Any], name: str) -> dict[str, Any]:
    """Return attributes in the types that a file keeps; UnsupportedError names one that has no such type."""
    out: dict[str, Any] = {}
    for key, value in attributes.items():
        if isinstance(value, str | bytes):
            out[str(key)] = str(value) if isinstance(value, str) else bytes(value)
            continue
        array = np.asarray(value)
        if array.dtype.kind == "b":
            array = array.astype(np.int8)
        if array.dtype.kind not in "fiu" or array.dtype.itemsize not in _KEPT_WIDTHS or array.dtype.name == "float16":
            raise UnsupportedError(
                f"{name}: attribute {key!r} of type {type(value).__name__} cannot be kept: make it text or a number, or"
                " remove it"
            )
        out[str(key)] = value if type(value) in (int, float) else array
    return out


def text_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes with bytes decoded to text: classic NetCDF files hold text as bytes."""
    return {k: v.decode("utf-8", "replace") if isinstance(v, bytes) else v for k, v in attributes.items()}


def to_xarray(signal: Signal) -> Any:
    """Return a field as a DataArray; see ``Signal.to_xarray``."""
    if signal.header.kind != "field":
        raise UsageError(f"expected a field, got a signal of kind {signal.header.kind}: use to_numpy")
    try:
        import xarray
    except ImportError:
        raise UnsupportedError("to_xarray needs xarray: install the extra fields") from None
    meta, native = signal.meta, signal.to_native()
    dims = meta.dims or tuple(f"dim_{i}" for i in range(len(signal.header.shape)))
    dims = (*dims, "channel") if native.ndim > len(dims) else dims
    coordinates: dict[str, Any] = {
        key: xarray.Variable((key,), values, text_attributes(meta.coordinate_attributes.get(key, {})))
        for key, values in meta.coordinates.items()
    }
    for key, value in meta.fixed.items():
        coordinates.setdefault(key, xarray.Variable((), value))
    name = meta.variable or "values"
    dataset = xarray.Dataset({name: (dims, native, text_attributes(meta.attributes))}, coordinates)
    # Units such as "days" make a variable a time difference only if its encoder said so.
    differences = {
        str(key): str(v.attrs.get("dtype", "")).startswith("timedelta64") for key, v in dataset.variables.items()
    }
    # Where attributes only look like those of CF conventions, the numbers are returned as they are.
    with contextlib.suppress(ValueError, TypeError, OverflowError, KeyError):
        dataset = xarray.decode_cf(dataset, decode_timedelta=differences)
    array = dataset[name]
    return array if meta.variable else array.rename(None)
