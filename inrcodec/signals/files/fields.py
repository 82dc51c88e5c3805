"""Files of gridded fields: NetCDF-3 through SciPy, NetCDF-4 through xarray with h5netcdf or netCDF4, and .npy."""

from __future__ import annotations

import importlib.util
import io
import math
import tempfile
import tokenize
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import DataError, LimitError, UnsupportedError, UsageError
from inrcodec.limits import Limits
from inrcodec.signals.header import SAMPLE_TYPES, SignalHeader
from inrcodec.signals.metadata import SignalMeta
from inrcodec.signals.signal import Signal
from inrcodec.storage import write_whole

if TYPE_CHECKING:
    from scipy.io import netcdf_file

MAX_AXES = 3
NPY_MAGIC, HDF5_MAGIC = b"\x93NUMPY", b"\x89HDF\r\n\x1a\n"
# NumPy parses the header of a .npy file with Python's own parser, which raises many kinds of errors.
_UNREADABLE = (ValueError, TypeError, EOFError, OSError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError)
_CLASSIC_TYPES = ("float32", "float64", "int8", "int16", "int32")
_LONGITUDE_UNITS = {"degrees_east", "degree_east", "degrees_e", "degree_e"}


def is_npy(data: bytes) -> bool:
    """Return whether these bytes are a .npy file."""
    return data.startswith(NPY_MAGIC)


def is_netcdf(data: bytes) -> bool:
    """Return whether these bytes are a NetCDF file, classic or HDF5."""
    return data[:4] in (b"CDF\x01", b"CDF\x02") or data.startswith(HDF5_MAGIC)


def read_npy(data: bytes, name: str, limits: Limits) -> Signal:
    """Return the field in the bytes of a .npy file, an array of numbers with 1 to 3 axes.

    Raises:
        DataError: the file is corrupt, or the array is empty or has NaN or infinite values.
        LimitError: it exceeds ``limits.max_points``.
        UnsupportedError: it is of another type, or has another number of axes.
    """
    try:
        version = np.lib.format.read_magic(stream := io.BytesIO(data))
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = reader(stream)
        if math.prod(shape) > limits.max_points:
            raise LimitError(
                f"{name}: an array of shape {shape}, which exceeds the limit of {limits.max_points} points"
            )
        if math.prod(shape) * dtype.itemsize > len(data):
            raise DataError(f"{name}: truncated: the file is too short for an array of shape {shape}")
        if dtype.kind not in "fiub" or dtype.name not in SAMPLE_TYPES["field"]:
            raise UnsupportedError(f"{name}: unsupported array type {dtype}: convert to float32")
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except _UNREADABLE as error:
        raise DataError(f"{name}: the array cannot be read: {error}") from None
    return field_signal(array, name, SignalMeta(source_format="npy"), (False,) * array.ndim)


def read_netcdf(
    data: bytes, name: str, limits: Limits, variable: str | None, select: Mapping[str, float] | None
) -> Signal:
    """Return one variable of a NetCDF file, with its coordinates and attributes.

    Args:
        data: the file.
        name: the name of the file, for error messages.
        limits: ``max_points`` applies to the variable before selection.
        variable: the name of the variable; not needed if the file has only one.
        select: axes to remove: an integer is an index, any other number selects the nearest coordinate.

    Raises:
        DataError: the file is corrupt, or the variable is empty or has missing, NaN or infinite values.
        LimitError: the variable exceeds ``limits``.
        UnsupportedError: its type is not supported, or NetCDF-4 is not installed.
        UsageError: ``variable`` or ``select`` is needed, or names nothing in the file.
    """
    dataset = _read_hdf5(data, name) if data.startswith(HDF5_MAGIC) else _read_classic(data, name)
    candidates = [v for v, (dims, _, _) in dataset.items() if dims and dims != (v,)]
    if not candidates:
        raise DataError(f"{name}: the file has no variable with axes")
    if variable is None and len(candidates) > 1:
        raise UsageError(f"{name}: several variables: choose one of {', '.join(candidates)} with --variable")
    chosen = variable or candidates[0]
    if chosen not in candidates:
        raise UsageError(f"{name}: no variable {chosen!r}: choose one of {', '.join(candidates)}")
    dims, array, attributes = dataset[chosen]
    if array.size > limits.max_points:
        raise LimitError(
            f"{name}: variable {chosen} has {array.size} points, which exceeds the limit of {limits.max_points}"
        )
    for key in ("_FillValue", "missing_value"):
        if key in attributes and np.any(array == np.asarray(attributes[key]).ravel()[0]):
            raise DataError(f"{name}: variable {chosen} has missing values ({key}): fill them first")
    coordinates = {d: dataset[d][1] for d in dims if d in dataset and dataset[d][0] == (d,)}
    dims, array, fixed = _select(dims, array, coordinates, select or {}, name)
    kept_coordinates = {d: coordinates[d] for d in dims if d in coordinates}
    coordinate_attributes = {d: dataset[d][2] for d in kept_coordinates}
    meta = SignalMeta(
        variable=chosen,
        dims=dims,
        coordinates=kept_coordinates,
        attributes=attributes,
        coordinate_attributes=coordinate_attributes,
        fixed=fixed,
        source_format="netcdf",
    )
    return field_signal(array, name, meta, tuple(is_periodic(d, kept_coordinates, coordinate_attributes) for d in dims))


_Variables = dict[str, tuple[tuple[str, ...], NDArray[Any], dict[str, Any]]]


def _read_classic(data: bytes, name: str) -> _Variables:
    from scipy.io import netcdf_file

    try:
        with netcdf_file(io.BytesIO(data), "r", mmap=False) as file:
            return {
                key: (tuple(v.dimensions), np.array(v.data), dict(v._attributes)) for key, v in file.variables.items()
            }
    except (TypeError, ValueError, IndexError, KeyError, OSError, EOFError, AssertionError, MemoryError) as error:
        raise DataError(f"{name}: the NetCDF file cannot be read: {error or type(error).__name__}") from None


def _read_hdf5(data: bytes, name: str) -> _Variables:
    engine = hdf5_engine()
    if engine is None:
        raise UnsupportedError(
            f"{name}: a NetCDF-4 file, which needs xarray with h5netcdf and h5py, or with netCDF4: install the extra"
            " fields, or convert the file to NetCDF-3 (nccopy -k classic)"
        )
    try:
        if engine == "h5netcdf":
            return _hdf5_variables(io.BytesIO(data), engine)
        # netCDF4 reads files at a path only.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "input.nc")
            path.write_bytes(data)
            return _hdf5_variables(path, engine)
    except Exception as error:
        # HDF5 libraries report corrupt files with exceptions of many types.
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise DataError(f"{name}: the NetCDF file cannot be read: {reason}") from None


def hdf5_engine() -> str | None:
    """Return the engine of xarray that reads NetCDF-4 here, "h5netcdf" or "netcdf4"; None if none is installed."""
    for engine, modules in (("h5netcdf", ("xarray", "h5netcdf", "h5py")), ("netcdf4", ("xarray", "netCDF4"))):
        if all(importlib.util.find_spec(module) is not None for module in modules):
            return engine
    return None


def _hdf5_variables(source: Any, engine: str) -> _Variables:
    import xarray

    with xarray.open_dataset(source, engine=engine, decode_cf=False) as dataset:
        return {
            str(key): (tuple(str(d) for d in v.dims), np.asarray(v.values), {k: _plain(a) for k, a in v.attrs.items()})
            for key, v in dataset.variables.items()
        }


def _plain(attribute: Any) -> Any:
    """Return text in NumPy's own type as text, and any other attribute as it is."""
    return str(attribute) if isinstance(attribute, str) else attribute


def _select(
    dims: tuple[str, ...],
    array: NDArray[Any],
    coordinates: dict[str, NDArray[Any]],
    select: Mapping[str, float],
    name: str,
) -> tuple[tuple[str, ...], NDArray[Any], dict[str, float]]:
    fixed: dict[str, float] = {}
    for dim, value in select.items():
        if dim not in dims:
            raise UsageError(f"{name}: no axis {dim!r}: choose one of {', '.join(dims)}")
        axis, along = dims.index(dim), coordinates.get(dim)
        if isinstance(value, int):
            index = value
        elif along is None:
            raise UsageError(f"{name}: axis {dim!r} has no coordinates: select an integer index")
        else:
            index = int(np.abs(along.astype(np.float64) - value).argmin())
        if not 0 <= index < array.shape[axis]:
            raise UsageError(
                f"{name}: index out of range: axis {dim!r} has indices 0 to {array.shape[axis] - 1}, got {index}"
            )
        fixed[dim] = float(along[index]) if along is not None else float(index)
        array = array.take(index, axis=axis)
        dims = tuple(d for d in dims if d != dim)
    if len(dims) > MAX_AXES:
        sizes = ", ".join(f"{d} ({n})" for d, n in zip(dims, array.shape, strict=True))
        raise UsageError(
            f"{name}: a field has at most {MAX_AXES} axes, got {sizes}: remove some with --select {dims[0]}=0"
        )
    if not dims:
        raise UsageError(f"{name}: the selection leaves a single value: keep at least one axis")
    return dims, array, fixed


def is_periodic(dim: str, coordinates: dict[str, NDArray[Any]], attributes: dict[str, dict[str, Any]]) -> bool:
    """Return whether an axis is a circle: longitudes that cover 360 degrees in equal steps."""
    if dim not in coordinates or coordinates[dim].size < 3 or coordinates[dim].dtype.kind not in "fiu":
        return False
    units = attributes.get(dim, {}).get("units", "")
    text = units.decode("latin-1") if isinstance(units, bytes) else str(units)
    values = coordinates[dim].astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        steps = np.diff(values)
    if not np.isfinite(steps).all():
        return False
    around = abs(abs(steps.mean()) * values.size - 360.0) < 1e-3 and np.ptp(steps) < 1e-3
    return bool(around and (text.lower() in _LONGITUDE_UNITS or dim.lower() in ("lon", "longitude")))


def field_signal(array: NDArray[Any], name: str, meta: SignalMeta, periodic: tuple[bool, ...]) -> Signal:
    """Return an array as a field, normalised to [0, 1]; ``name`` appears in error messages.

    Args:
        array: numbers, 1 to ``MAX_AXES`` axes.
        name: the name of the file or array.
        meta: the metadata; offset and scale are set here.
        periodic: for each axis, whether it is a circle.

    Raises:
        DataError: the array is empty, or has NaN or infinite values.
        UnsupportedError: it is of another type, or has another number of axes.
    """
    if array.size == 0:
        raise DataError(f"{name}: the field is empty")
    if not 1 <= array.ndim <= MAX_AXES:
        raise UnsupportedError(f"{name}: a field has 1 to {MAX_AXES} axes, got {array.ndim}")
    if array.dtype.kind not in "fiub":
        raise UnsupportedError(f"{name}: unsupported value type {array.dtype}: convert to float32")
    # Converting a signalling NaN warns; the check below rejects it.
    with np.errstate(invalid="ignore"):
        wide = array.astype(np.float64)
    if not np.isfinite(wide).all():
        n_bad = int((~np.isfinite(wide)).sum())
        raise DataError(f"{name}: the field has {n_bad} values that are not finite (NaN or infinite): fill them first")
    offset = float(wide.min())
    scale = float(wide.max() - offset) or 1.0
    values = ((wide - offset) / scale).astype(np.float32)[..., None]
    header = SignalHeader("field", "field", array.dtype.newbyteorder("=").name, array.shape, 1, periodic=periodic)
    fields = {key: getattr(meta, key) for key in meta.__dataclass_fields__}
    return Signal(values, header, SignalMeta(**{**fields, "offset": offset, "scale": scale}))


def write_npy(signal: Signal, path: Path, force: bool) -> None:
    """Write a field in its own type as .npy.

    Raises:
        DataError: the file exists and ``force`` is not set, or it cannot be written.
    """

    def write(file: IO[bytes]) -> None:
        np.save(file, signal.to_native(), allow_pickle=False)

    write_whole(path, write, force=force)


def write_netcdf(signal: Signal, path: Path, force: bool) -> None:
    """Write a field as classic NetCDF, with its name, coordinates and attributes.

    The coordinate of an axis that was removed by selection becomes an attribute.

    Raises:
        UnsupportedError: classic NetCDF does not support the type of the field, or its names and attributes.
        DataError: the file exists and ``force`` is not set, or it cannot be written.
    """
    from scipy.io import netcdf_file

    native = signal.to_native()
    if native.dtype.name not in _CLASSIC_TYPES:
        raise UnsupportedError(f"{path}: classic NetCDF does not support {native.dtype}: use .npy")
    meta = signal.meta
    dims = meta.dims or tuple(f"axis{i}" for i in range(native.ndim))

    def write(file: IO[bytes]) -> None:
        buffer = io.BytesIO()
        out = netcdf_file(buffer, "w", version=2)
        try:
            _fill_netcdf(out, dims, native, meta, path)
            out.flush()
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
            raise UnsupportedError(
                f"{path}: classic NetCDF does not support the names or attributes of the field: {error}"
            ) from None
        finally:
            # SciPy flushes a writable file again when the object is deleted, even after a failure.
            out.mode = "r"
        file.write(buffer.getvalue())

    write_whole(path, write, force=force)


def _fill_netcdf(out: netcdf_file, dims: tuple[str, ...], native: NDArray[Any], meta: SignalMeta, path: Path) -> None:
    for dim, n in zip(dims, native.shape, strict=True):
        out.createDimension(dim, n)
    for dim, values in meta.coordinates.items():
        safe = classic_numbers(values)
        if safe is None:
            raise UnsupportedError(
                f"{path}: classic NetCDF does not support the {values.dtype} numbers of coordinate {dim!r}: use .npy,"
                " or Signal.to_xarray().to_netcdf() for NetCDF-4"
            )
        along = out.createVariable(dim, safe.dtype.newbyteorder(">"), (dim,))
        along[:] = safe
        _set_attributes(along, meta.coordinate_attributes.get(dim, {}))
    variable = out.createVariable(meta.variable or "values", native.dtype.newbyteorder(">"), dims)
    variable[:] = native
    _set_attributes(variable, meta.attributes)
    _set_attributes(variable, {f"selected_{dim}": value for dim, value in meta.fixed.items()})


def classic_numbers(values: NDArray[Any]) -> NDArray[Any] | None:
    """Return numbers in a type of classic NetCDF that holds them exactly; None if there is none.

    Integers that it lacks become 32-bit integers where these hold them all, else float64.
    """
    if values.dtype.name in _CLASSIC_TYPES:
        return values
    if values.dtype.kind not in "iub":
        return values.astype(np.float32) if values.dtype.name == "float16" else None
    if not values.size or (int(values.min()) >= -(2**31) and int(values.max()) < 2**31):
        return values.astype(np.int32)
    wide = values.astype(np.float64)
    if values.dtype.itemsize < 8:
        return wide
    # A number that rounds up to the end of its type, a power of two, would overflow on the way back.
    fits = float(wide.max()) < float(np.iinfo(values.dtype).max)
    return wide if fits and np.array_equal(wide.astype(values.dtype), values) else None


def _set_attributes(variable: Any, attributes: Mapping[str, Any]) -> None:
    """Set attributes; raise ValueError for a name that is a member of SciPy's own class."""
    for key, value in attributes.items():
        if hasattr(variable, key):
            raise ValueError(f"reserved attribute name {key!r}")
        if isinstance(value, np.ndarray | np.generic):
            numbers = classic_numbers(np.asarray(value))
            if numbers is None:
                raise ValueError(f"attribute {key!r} holds {value.dtype} numbers")
            value = numbers
        setattr(variable, key, value)
