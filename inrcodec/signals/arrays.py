"""Arrays as signals and back: NumPy arrays and torch tensors.

An array does not say whether it is an image, audio or a field, nor which axis holds its channels. What its shape and
type settle is inferred; everything else is an error that names the argument to pass:

| array                                               | is                                                           |
|-----------------------------------------------------|--------------------------------------------------------------|
| uint8, uint16 or bool, (H, W) or (H, W, 1 to 4)     | an image                                                     |
| floating-point, (H, W, 3 or 4)                      | an image in [0, 1]                                           |
| any, with ``sample_rate``                           | audio, (n,) or (n, C)                                        |
| any, with ``dims``, ``coordinates`` or ``units``    | a field                                                      |
| numbers that are no image and too wide for channels | a field                                                      |
| all other                                           | ambiguous: pass ``kind``, and ``layout`` for channels first  |
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import DataError, UnsupportedError, UsageError
from inrcodec.signals.header import KINDS, Kind, SignalHeader
from inrcodec.signals.metadata import SignalMeta
from inrcodec.signals.signal import Signal

KIND_OF_LAYOUT: dict[str, Kind] = {
    "HW": "image",
    "HWC": "image",
    "CHW": "image",
    "N": "audio",
    "NC": "audio",
    "CN": "audio",
}
"""The layouts of arrays, and the kind of signal that each belongs to."""
MAX_COLOURS = 4
MAX_SPEAKERS = 8
"""The number of channels up to which integers with two axes may be audio."""
_IMAGE_LAYOUTS = ("gray", "gray+alpha", "rgb", "rgba")
_AUDIO_TYPES = {
    "int8": "pcm_s8",
    "uint8": "pcm_u8",
    "int16": "pcm_16",
    "int32": "pcm_32",
    "float16": "float32",
    "float32": "float32",
    "float64": "float64",
}


def from_array(
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
    name: str = "array",
) -> Signal:
    """Return an array as a signal; see ``Signal.from_array``. ``name`` appears in error messages."""
    values = plain_array(array, name)
    is_field = bool(variable or dims or coordinates or units)
    kind, layout = _kind_and_layout(values, kind, layout, sample_rate, is_field, name)
    if kind != "field" and is_field:
        raise UsageError(f"{name}: variable, dims, coordinates and units belong to fields, not to {kind}")
    if kind != "audio" and sample_rate is not None:
        raise UsageError(f"{name}: sample_rate belongs to audio, not to a signal of kind {kind}")
    if bit_depth is not None and (kind != "image" or values.dtype.kind != "f"):
        raise UsageError(f"{name}: bit_depth belongs to floating-point images, other arrays have their own depth")
    if kind == "image":
        return _image(values, layout, bit_depth or 8, name)
    if kind == "audio":
        return _audio(values, layout, sample_rate, name)
    return _field(values, variable, dims, coordinates or {}, units, name)


def plain_array(array: Any, name: str = "array") -> NDArray[Any]:
    """Return anything like an array as a NumPy array of numbers or truth values, in native byte order.

    Raises:
        DataError: the array is empty, a single number, or has masked elements.
        UnsupportedError: its elements are not numbers, or it cannot be converted.
    """
    if _is_instance(array, "torch", "Tensor"):
        array = _from_torch(array, name)
    n_masked = int(np.ma.getmaskarray(array).sum()) if isinstance(array, np.ma.MaskedArray) else 0
    if n_masked:
        raise DataError(f"{name}: {n_masked} elements are masked: fill them first, with array.filled(value)")
    try:
        values: NDArray[Any] = np.asarray(array)
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise UnsupportedError(f"{name}: cannot be converted to a NumPy array: {reason}") from None
    if values.dtype.kind not in "biuf" or values.dtype.itemsize > 8:
        raise UnsupportedError(
            f"{name}: unsupported array type {values.dtype}: expected integers, floating-point numbers or bool, convert"
            " it first, for example with array.astype(np.float32)"
        )
    if values.ndim == 0:
        raise DataError(f"{name}: a single number, expected an array of 1 to 4 axes")
    if values.size == 0:
        raise DataError(f"{name}: the array is empty, got shape {values.shape}")
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _is_instance(value: Any, module: str, name: str) -> bool:
    """Return whether a value is an instance of a class of an optional module, without importing the module."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(value, getattr(loaded, name, ()))


def is_array(value: Any) -> bool:
    """Return whether a value is an array or a tensor; lists are not."""
    return isinstance(value, np.ndarray | np.generic) or hasattr(value, "__array__")


def is_pil(value: Any) -> bool:
    """Return whether a value is an image of Pillow."""
    return _is_instance(value, "PIL.Image", "Image")


def is_xarray(value: Any) -> bool:
    """Return whether a value is a DataArray or Dataset of xarray."""
    return _is_instance(value, "xarray", "DataArray") or _is_instance(value, "xarray", "Dataset")


def _from_torch(tensor: Any, name: str) -> NDArray[Any]:
    """Return a torch tensor, on any device and with or without gradients, as a NumPy array."""
    if str(tensor.layout) != "torch.strided":
        raise UnsupportedError(f"{name}: a sparse tensor ({tensor.layout}): pass tensor.to_dense()")
    try:
        tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
        array: NDArray[Any] = (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise UnsupportedError(f"{name}: a tensor that cannot be converted to a NumPy array: {reason}") from None
    return array


def _kind_and_layout(
    array: NDArray[Any], kind: str | None, layout: str | None, sample_rate: int | None, is_field: bool, name: str
) -> tuple[Kind, str | None]:
    """Return the kind of signal that an array holds, and the layout that was given, in capitals."""
    if layout is not None:
        given, layout = layout, str(layout).upper()
        if layout not in KIND_OF_LAYOUT:
            raise UsageError(f"{name}: layout must be one of {', '.join(KIND_OF_LAYOUT)}, got {given!r}")
        if kind not in (None, KIND_OF_LAYOUT[layout]):
            raise UsageError(f"{name}: layout {layout} belongs to {KIND_OF_LAYOUT[layout]}, got kind {kind!r}")
    if kind is not None:
        if kind not in KINDS:
            raise UsageError(f"{name}: kind must be one of {', '.join(KINDS)}, got {kind!r}")
        return kind, layout
    if layout is not None:
        return KIND_OF_LAYOUT[layout], layout
    if sample_rate is not None:
        return "audio", None
    return ("field" if is_field else _kind_of(array, name)), None


def _kind_of(array: NDArray[Any], name: str) -> Kind:
    """Return the kind of signal that the shape and type of an array settle; UsageError where they do not."""
    shape, dtype = array.shape, array.dtype
    as_image, as_audio, as_field = "kind='image'", "sample_rate=... in Hz for audio", "kind='field'"
    channels_first = "layout='CHW' for an image with its channels first"
    channels_last = "layout='HWC' for one with its channels last"
    choices = [as_field]
    first, last = _channel_axes(shape)
    if array.ndim == 1:
        choices = [as_audio, as_field]
    elif array.ndim == 2:
        if dtype.name in ("uint8", "uint16", "bool"):
            return "image"
        if min(shape) <= MAX_SPEAKERS:
            choices = [as_audio, as_field, *([as_image] if dtype.kind == "f" else [])]
        elif dtype.kind == "f":
            choices = [as_image, as_field]
        else:
            return "field"
    elif array.ndim == 3:
        if dtype.name not in ("uint8", "uint16", "bool") and dtype.kind != "f":
            return "field"
        if last and not first and (dtype.kind != "f" or shape[-1] >= 3):
            return "image"
        if not (first or last) and dtype.kind == "f":
            return "field"
        choices = [
            *([channels_first] if first else []),
            *([channels_last] if last else []),
            as_field,
            *([] if first or last else ["a list of images for an archive"]),
        ]
    elif array.ndim == 4:
        choices = [as_field, "a list of images for an archive"]
    else:
        raise UnsupportedError(f"{name}: expected an array of 1 to 4 axes, got shape {shape}")
    raise UsageError(
        f"{name}: cannot tell what an array of shape {shape} and type {dtype} holds: pass {' or '.join(choices)}"
    )


def _channel_axes(shape: tuple[int, ...]) -> tuple[bool, bool]:
    """Return whether the first and the last axis may be the channels of an image.

    Images of few rows with 3 or 4 channels last are taken for what they are, unless the first axis has length 3.
    """
    first, last = shape[0] <= MAX_COLOURS, shape[-1] <= MAX_COLOURS
    return first and not (shape[-1] in (3, 4) and shape[0] != 3), last


def _check_finite(array: NDArray[Any], kind: str, name: str) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        n_bad = int((~np.isfinite(array)).sum())
        raise DataError(
            f"{name}: the {kind} has {n_bad} values that are not finite (NaN or infinite): fill them first, for example"
            " with np.nan_to_num"
        )


def _image(array: NDArray[Any], layout: str | None, bit_depth: int, name: str) -> Signal:
    if layout == "HW" or array.ndim == 2:
        if array.ndim != 2 or layout not in (None, "HW"):
            raise UsageError(f"{name}: layout {layout} does not fit an array of shape {array.shape}")
        array, layout = array[..., None], "HWC"
    elif array.ndim != 3:
        hint = ": pass a list of images for an archive" if array.ndim == 4 else ""
        raise UsageError(f"{name}: an image has 2 or 3 axes, got shape {array.shape}{hint}")
    first, last = _channel_axes(array.shape)
    if layout is None and first:
        choices = " or layout='HWC' if they are last" if last else ""
        raise UsageError(
            f"{name}: cannot tell which axis of shape {array.shape} holds the channels of the image: pass layout='CHW'"
            f" if they are first{choices}"
        )
    if layout == "CHW":
        array = np.moveaxis(array, 0, -1)
    channels = array.shape[2]
    if channels > MAX_COLOURS:
        raise UsageError(
            f"{name}: an image has 1 to {MAX_COLOURS} channels, got {channels} in (height, width, channels)"
            f" {array.shape}: pass kind='field' for other arrays"
        )
    _check_finite(array, "image", name)
    if bit_depth not in (8, 16):
        raise UsageError(f"{name}: bit_depth must be 8 or 16, got {bit_depth}")
    top = {"bool": 1, "uint8": 255, "uint16": 65535}.get(array.dtype.name)
    if top is not None:
        bit_depth = 16 if top > 255 else 8
        values = (array / np.float32(top)).astype(np.float32)
    elif array.dtype.kind == "f":
        low, high = float(array.min()), float(array.max())
        if low < 0.0 or high > 1.0:
            raise UsageError(
                f"{name}: floating-point images are expected in [0, 1], got {low:.4g} to {high:.4g}: scale them, or"
                " convert integer levels to uint8 or uint16; other values are a field: pass kind='field'"
            )
        values = array.astype(np.float32)
    else:
        raise UsageError(
            f"{name}: an image is uint8, uint16, bool or floating-point in [0, 1], got {array.dtype}: convert it, or"
            " pass kind='field'"
        )
    sample_type = "u16" if bit_depth == 16 else "u8"
    header = SignalHeader("image", _IMAGE_LAYOUTS[channels - 1], sample_type, values.shape[:2], channels)
    header.check_limits()
    return Signal(np.ascontiguousarray(values), header, SignalMeta(bit_depth))


def _audio(array: NDArray[Any], layout: str | None, sample_rate: int | None, name: str) -> Signal:
    if sample_rate is None:
        raise UsageError(f"{name}: audio needs its sample rate: pass sample_rate=... in Hz")
    try:
        rate = operator.index(int(sample_rate) if int(sample_rate) == sample_rate else sample_rate)
    except (TypeError, ValueError, OverflowError):
        raise UsageError(f"{name}: the sample rate must be an integer in Hz, got {sample_rate!r}") from None
    if layout == "N" or array.ndim == 1:
        if array.ndim != 1 or layout not in (None, "N"):
            raise UsageError(f"{name}: layout {layout} does not fit an array of shape {array.shape}")
        array = array[:, None]
    elif array.ndim != 2:
        raise UsageError(f"{name}: audio has 1 or 2 axes, (samples,) or (samples, channels), got shape {array.shape}")
    if layout is None and array.shape[0] < array.shape[1]:
        raise UsageError(
            f"{name}: audio is expected as (samples, channels), got shape {array.shape}: pass layout='CN' if channels"
            " come first, layout='NC' if there are more channels than samples"
        )
    array = array.T if layout == "CN" else array
    _check_finite(array, "audio", name)
    sample_type = _AUDIO_TYPES.get(array.dtype.name)
    if sample_type is None:
        raise UsageError(
            f"{name}: audio is {', '.join(_AUDIO_TYPES)}, got {array.dtype}: convert it, for example to float32 with a"
            " full scale of 1"
        )
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            values = array.astype(np.float32)
    else:
        bits = 8 * array.dtype.itemsize
        middle = 2 ** (bits - 1) if array.dtype.kind == "u" else 0
        values = ((array.astype(np.float64) - middle) / 2 ** (bits - 1)).astype(np.float32)
    channels = values.shape[1]
    names = {1: "mono", 2: "stereo"}
    header = SignalHeader("audio", names.get(channels, "multi"), sample_type, (len(values),), channels, rate)
    header.check_limits()
    return Signal(np.ascontiguousarray(values), header)


def _field(
    array: NDArray[Any],
    variable: str,
    dims: Sequence[str] | None,
    coordinates: Mapping[str, Any],
    units: str | None,
    name: str,
) -> Signal:
    from inrcodec.signals.files.fields import field_signal, is_periodic

    if dims is None and coordinates:
        raise UsageError(f"{name}: coordinates belong to named axes: pass dims=...")
    if isinstance(dims, str):
        raise UsageError(f"{name}: dims must be a list of names, got the text {dims!r}")
    axes = tuple(str(dim) for dim in dims or ())
    along: dict[str, NDArray[Any]] = {}
    for key, numbers in coordinates.items():
        if key not in axes:
            raise UsageError(f"{name}: no axis {key!r} for a coordinate: choose one of {', '.join(axes)}")
        along[key] = plain_array(numbers, f"{name}: coordinate {key}")
        if along[key].dtype.kind == "b" or along[key].dtype.name == "float16":
            along[key] = along[key].astype(np.float32)
    attributes: dict[str, Any] = {} if units is None else {"units": str(units)}
    meta = SignalMeta(
        variable=variable, dims=axes, coordinates=along, attributes=attributes, source_format="netcdf" if axes else ""
    )
    periodic = tuple(is_periodic(dim, along, {}) for dim in axes) or (False,) * array.ndim
    return field_signal(array.astype(np.uint8) if array.dtype.kind == "b" else array, name, meta, periodic)


def to_numpy(signal: Signal, dtype: Any = None) -> NDArray[Any]:
    """Return the samples of a signal as an array; see ``Signal.to_numpy``."""
    kind = signal.header.kind
    native = signal.to_native()
    if kind != "field" and native.shape[-1] == 1:
        native = native[..., 0]
    if dtype is None or np.dtype(dtype) == native.dtype:
        return native
    wanted = np.dtype(dtype)
    if kind == "field":
        if wanted.kind in "iu":
            bounds = np.iinfo(wanted)
            clipped: NDArray[Any] = np.clip(np.rint(native), bounds.min, bounds.max)
            return clipped.astype(wanted)
        return native.astype(wanted)
    values = signal.values[..., 0] if signal.values.shape[-1] == 1 else signal.values
    if kind == "image":
        if wanted.kind == "f":
            return np.clip(values, 0.0, 1.0).astype(wanted)
        if wanted.name in ("uint8", "uint16"):
            top = np.iinfo(wanted).max
            scaled: NDArray[Any] = np.rint(np.clip(values.astype(np.float64), 0.0, 1.0) * top)
            return scaled.astype(wanted)
        raise UsageError(f"an image is returned as uint8, uint16 or floating-point, got {wanted}")
    if wanted.kind == "f":
        return native.astype(wanted)
    if wanted.name not in _AUDIO_TYPES:
        raise UsageError(f"audio is returned as {', '.join(_AUDIO_TYPES)}, got {wanted}")
    full = 2.0 ** (8 * wanted.itemsize - 1)
    levels: NDArray[Any] = np.clip(np.rint(values.astype(np.float64) * full), -full, full - 1)
    return (levels + (full if wanted.kind == "u" else 0.0)).astype(wanted)
