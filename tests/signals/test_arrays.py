"""Arrays in and out: what is inferred, what is ambiguous, what is refused, and that values come back."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from inrcodec.errors import DataError, InrcodecError, UnsupportedError, UsageError
from inrcodec.signals.files.images import ORIENTATION_TAG
from inrcodec.signals.signal import Signal

RANDOM = np.random.default_rng(0)


def levels(*shape: int, dtype: Any = np.uint8) -> np.ndarray:
    """Return random integers over the whole range of a type."""
    bounds = np.iinfo(dtype)
    return RANDOM.integers(bounds.min, int(bounds.max) + 1, shape, dtype=dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    "shape", [(6, 7), (6, 7, 2), (6, 7, 3), (6, 7, 4), (6, 2), (1, 1), (3, 9), (1, 1, 3), (4, 4, 3), (2, 5, 4)]
)
def test_images_come_back_as_they_were(shape: tuple[int, ...], dtype: Any) -> None:
    array = levels(*shape, dtype=dtype)
    signal = Signal.from_array(array)
    assert signal.header.kind == "image" and signal.header.shape == shape[:2]
    for back in (signal.to_numpy(), np.asarray(signal), np.array(signal)):
        assert back.dtype == dtype
        np.testing.assert_array_equal(back, array)


def test_one_channel_is_gray() -> None:
    array = levels(6, 7, 1)
    signal = Signal.from_array(array)
    assert signal.header.layout == "gray"
    np.testing.assert_array_equal(signal.to_numpy(), array[..., 0])


def test_truth_values_are_black_and_white() -> None:
    mask = levels(6, 7) > 127
    np.testing.assert_array_equal(Signal.from_array(mask).to_numpy(), mask * np.uint8(255))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floating_point_images_lie_between_0_and_1(dtype: Any) -> None:
    array = RANDOM.random((6, 7, 3)).astype(dtype)
    signal = Signal.from_array(array)
    assert signal.header.sample_type == "u8"
    np.testing.assert_allclose(signal.to_numpy(np.float64), array, atol=1e-7)
    np.testing.assert_array_equal(signal.to_numpy(), np.rint(array.astype(np.float32).astype(np.float64) * 255))
    deep = Signal.from_array(array, bit_depth=16)
    assert deep.to_numpy().dtype == np.uint16 and deep.header.sample_type == "u16"
    with pytest.raises(UsageError, match=r"expected in \[0, 1\], got [0-9.]+ to [0-9.]+.*uint8"):
        Signal.from_array(array.astype(np.float64) * 255 + 0.5)
    with pytest.raises(UsageError, match="bit_depth must be 8 or 16, got 12"):
        Signal.from_array(array, bit_depth=12)


def test_channels_first_is_said() -> None:
    array = levels(3, 8, 9)
    signal = Signal.from_array(array, layout="chw")
    np.testing.assert_array_equal(signal.to_numpy(), np.moveaxis(array, 0, -1))
    np.testing.assert_array_equal(Signal.from_array(torch.from_numpy(array), layout="CHW").values, signal.values)
    for kind in (None, "image"):
        with pytest.raises(UsageError, match="layout='CHW'"):
            Signal.from_array(array, kind)
    with pytest.raises(UsageError, match=r"layout='CHW'.*layout='HWC'"):
        Signal.from_array(levels(3, 9, 3))
    assert Signal.from_array(levels(3, 9, 3), layout="HWC").header.shape == (3, 9)


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [
        ((100,), np.float32, ["sample_rate", "kind='field'"]),
        ((100, 2), np.float32, ["sample_rate", "kind='field'"]),
        ((2, 100), np.int16, ["sample_rate", "kind='field'"]),
        ((100,), np.uint8, ["sample_rate", "kind='field'"]),
        ((20, 30), np.float64, ["kind='image'", "kind='field'"]),
        ((3, 20, 30), np.float32, ["layout='CHW'", "kind='field'"]),
        ((20, 30, 1), np.float32, ["layout='HWC'", "kind='field'"]),
        ((20, 30, 40), np.uint8, ["kind='field'", "list of images"]),
        ((2, 3, 20, 30), np.float32, ["kind='field'", "list of images"]),
    ],
)
def test_what_is_ambiguous_names_what_to_pass(shape: tuple[int, ...], dtype: Any, words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        Signal.from_array(np.zeros(shape, dtype))
    message = str(caught.value)
    assert str(shape) in message and "\n" not in message
    assert all(word in message for word in words)


@pytest.mark.parametrize(
    ("dtype", "sample_type"),
    [
        (np.int8, "pcm_s8"),
        (np.uint8, "pcm_u8"),
        (np.int16, "pcm_16"),
        (np.int32, "pcm_32"),
        (np.float32, "float32"),
        (np.float64, "float64"),
    ],
)
@pytest.mark.parametrize("shape", [(50,), (50, 2), (50, 5)])
def test_audio_comes_back_as_it_was(shape: tuple[int, ...], dtype: Any, sample_type: str) -> None:
    array = levels(*shape, dtype=dtype) if np.dtype(dtype).kind in "iu" else RANDOM.uniform(-1, 1, shape).astype(dtype)
    signal = Signal.from_array(array, sample_rate=8000)
    assert signal.header.sample_type == sample_type and signal.header.sample_rate == 8000
    assert signal.values.shape == (50, *shape[1:], *([1] if len(shape) == 1 else []))
    back = signal.to_numpy(dtype)
    assert back.shape == shape and back.dtype == dtype
    # Values are float32, which hold 24 bits.
    np.testing.assert_allclose(back, array, rtol=1e-6, atol=1e-7)
    assert signal.to_numpy().dtype == np.float32 and np.abs(signal.to_numpy()).max() <= 1


def test_layouts_of_audio() -> None:
    array = RANDOM.uniform(-1, 1, (2, 50)).astype(np.float32)
    signal = Signal.from_array(array, layout="CN", sample_rate=8000)
    np.testing.assert_array_equal(signal.to_numpy(), array.T)
    with pytest.raises(UsageError, match="layout='CN'"):
        Signal.from_array(array, sample_rate=8000)
    with pytest.raises(UsageError, match="audio needs its sample rate"):
        Signal.from_array(array.T, "audio")
    rates: list[Any] = [8000.5, "fast", float("nan")]
    for rate in rates:
        with pytest.raises(UsageError, match="integer in Hz"):
            Signal.from_array(array.T, sample_rate=rate)
    with pytest.raises(UsageError, match=r"audio is int8.*got uint16"):
        Signal.from_array(levels(50, 2, dtype=np.uint16), sample_rate=8000)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.uint8, np.int32, bool])
@pytest.mark.parametrize("shape", [(30,), (5, 6), (5, 6, 7)])
def test_fields_come_back_in_physical_units(shape: tuple[int, ...], dtype: Any) -> None:
    array = RANDOM.uniform(0, 100, shape).astype(dtype)
    back = Signal.from_array(array, "field").to_numpy()
    assert back.dtype == (np.uint8 if dtype is bool else dtype) and back.shape == shape
    np.testing.assert_allclose(back, array.astype(back.dtype), atol=1e-5)


def test_fields_keep_axes_coordinates_and_units() -> None:
    array = RANDOM.normal(size=(4, 8)).astype(np.float32)
    along = {"lat": [10.0, 20.0, 30.0, 40.0], "lon": np.arange(8) * 45}
    signal = Signal.from_array(array, variable="t", dims=("lat", "lon"), coordinates=along, units="K")
    assert signal.meta.dims == ("lat", "lon") and signal.meta.attributes == {"units": "K"}
    assert signal.header.periodic == (False, True)
    np.testing.assert_array_equal(signal.meta.coordinates["lon"], along["lon"])
    with pytest.raises(UsageError, match="no axis 'time'"):
        Signal.from_array(array, dims=("lat", "lon"), coordinates={"time": [1]})
    with pytest.raises(UsageError, match=r"pass dims"):
        Signal.from_array(array, coordinates={"lat": along["lat"]})
    with pytest.raises(DataError, match="coordinate 'lat' has shape"):
        Signal.from_array(array, dims=("lat", "lon"), coordinates={"lat": [1.0]})
    with pytest.raises(UsageError, match="dims"):
        Signal.from_array(levels(6, 7), "image", dims=("a", "b"))


def test_memory_order_and_byte_order_do_not_matter() -> None:
    array = levels(12, 14, 3, dtype=np.uint16)
    expected = Signal.from_array(array).values
    for same in (array.astype(">u2"), np.asfortranarray(array), array[::-1][::-1], np.repeat(array, 2, 1)[:, ::2]):
        np.testing.assert_array_equal(Signal.from_array(same).values, expected)
    wave = RANDOM.uniform(-1, 1, 40)
    np.testing.assert_array_equal(
        Signal.from_array(wave.astype(">f8"), sample_rate=8000).values, Signal.from_array(wave, sample_rate=8000).values
    )


def test_tensors_of_all_sorts() -> None:
    array = RANDOM.random((6, 7, 3)).astype(np.float32)
    tensor = torch.from_numpy(array)
    expected = Signal.from_array(array).values
    for same in (tensor, tensor.clone().requires_grad_(), torch.nn.Parameter(tensor), tensor.double()):
        np.testing.assert_array_equal(Signal.from_array(same).values, expected)
    np.testing.assert_allclose(Signal.from_array(tensor.bfloat16()).values, expected, atol=0.01)
    with pytest.raises(UnsupportedError, match=r"to_dense\(\)"):
        Signal.from_array(tensor.to_sparse())
    for other in (tensor.to("meta"), tensor.to(torch.complex64)):
        with pytest.raises(UnsupportedError):
            Signal.from_array(other)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.float32(3), "single number"),
        (np.array(5), "single number"),
        (np.zeros((0, 3), np.uint8), r"empty, got shape \(0, 3\)"),
        (np.zeros((4, 4), object), "unsupported array type object"),
        (np.zeros((4, 4), complex), "unsupported array type complex128"),
        (np.array(["a", "b"]), "unsupported array type <U1"),
        (np.zeros(4, "datetime64[s]"), "unsupported array type datetime64"),
        (np.zeros(4, [("a", "f4")]), "unsupported array type"),
        (np.zeros((4, 4), np.longdouble), "unsupported array type|cannot tell"),
        (np.ma.masked_less(np.arange(16.0).reshape(4, 4), 3), r"3 elements are masked.*filled"),
        ([[1, 2], [3]], "cannot be converted"),
        (np.zeros((2,) * 5, np.uint8), "1 to 4 axes"),
    ],
)
def test_what_is_no_signal_is_refused_in_one_line(array: Any, message: str) -> None:
    with pytest.raises(InrcodecError, match=message) as caught:
        Signal.from_array(array)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["image", "audio", "field"])
def test_values_that_are_not_finite_are_counted(kind: str, bad: float) -> None:
    array = np.full((9, 8), 0.5)
    array[2, 3] = array[4, 4] = bad
    with pytest.raises(DataError, match=f"the {kind} has 2 values that are not finite"):
        Signal.from_array(array, kind, sample_rate=8000 if kind == "audio" else None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "picture"}, "kind must be one of image, audio, field"),
        ({"layout": "WHC"}, "layout must be one of HW, HWC, CHW, N, NC, CN, got 'WHC'"),
        ({"layout": "CHW", "kind": "audio"}, "layout CHW belongs to image"),
        ({"layout": "HWC"}, "does not fit"),
        ({"layout": "N", "sample_rate": 8000}, "does not fit"),
        ({"kind": "image", "sample_rate": 8000}, "sample_rate belongs to audio"),
        ({"kind": "image", "bit_depth": 16}, "bit_depth"),
        ({"sample_rate": 8000, "units": "Pa"}, "belong to fields"),
    ],
)
def test_arguments_that_do_not_fit_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Signal.from_array(levels(6, 5), **arguments)


def test_numpy_protocol() -> None:
    array = levels(6, 7, 3)
    signal = Signal.from_array(array)
    assert np.asarray(signal, dtype=np.float32).max() == array.max()
    assert np.array(signal, copy=True).flags.writeable
    with pytest.raises(ValueError, match="always a copy"):
        np.array(signal, copy=False)
    np.testing.assert_array_equal(np.add(signal, np.uint8(0)), array)


def test_types_follow_their_range() -> None:
    array = levels(6, 7, dtype=np.uint16)
    signal = Signal.from_array(array)
    assert signal.to_numpy(np.uint8).dtype == np.uint8
    np.testing.assert_array_equal(signal.to_numpy("u1"), np.rint(array / 257))
    assert 0.9 < signal.to_numpy(float).max() <= 1.0
    with pytest.raises(UsageError, match="uint8, uint16 or floating-point, got int32"):
        signal.to_numpy(np.int32)
    wave = Signal.from_array(np.array([0.0, 0.5, -1.0, 1.0]), sample_rate=8000)
    np.testing.assert_array_equal(wave.to_numpy(np.int16), [0, 16384, -32768, 32767])
    np.testing.assert_array_equal(wave.to_numpy(np.uint8), [128, 192, 0, 255])
    with pytest.raises(UsageError, match="audio is returned as"):
        wave.to_numpy(np.int64)
    field = Signal.from_array(np.array([-1.0, 2.4, 700.0]), "field")
    np.testing.assert_array_equal(field.to_numpy(np.uint8), [0, 2, 255])


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
def test_pillow_images_come_back_as_they_were(mode: str) -> None:
    shape = (6, 7, len(mode)) if mode in ("LA", "RGB", "RGBA") else (6, 7)
    image = Image.fromarray(levels(*shape, dtype=np.uint16 if mode == "I;16" else np.uint8))
    assert image.mode == mode
    image.info.update(dpi=(72.0, 96.0), icc_profile=b"profile")
    exif = image.getexif()
    exif[ORIENTATION_TAG] = 6
    back = Signal.from_pil(image).to_pil()
    assert back.mode == mode and back.info["dpi"] == (72.0, 96.0) and back.info["icc_profile"] == b"profile"
    assert back.getexif()[ORIENTATION_TAG] == 6
    np.testing.assert_array_equal(np.asarray(back), np.asarray(image))


def test_pillow_images_that_are_refused() -> None:
    with pytest.raises(DataError, match="the image is empty"):
        Signal.from_pil(Image.new("RGB", (0, 3)))
    with pytest.raises(UnsupportedError, match="mode CMYK"):
        Signal.from_pil(Image.new("CMYK", (3, 3)))
    with pytest.raises(UnsupportedError, match="mode F of Pillow"):
        Signal.from_pil(Image.new("F", (3, 3)))
    with pytest.raises(UsageError, match="expected an image of Pillow, got ndarray"):
        Signal.from_pil(levels(3, 3))
    buffer = io.BytesIO()
    frames = [Image.new("L", (8, 8), shade) for shade in (0, 99)]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    with Image.open(buffer) as animation:
        with pytest.raises(UnsupportedError, match=r"2 frames.*copy\(\)"):
            Signal.from_pil(animation)
        animation.seek(1)
        assert Signal.from_pil(animation.copy()).header.shape == (8, 8)
    wave = Signal.from_array(np.zeros(9), sample_rate=8000)
    with pytest.raises(UsageError, match="expected an image, got a signal of kind audio"):
        wave.to_pil()


def test_orientation_is_that_of_the_loaded_pixels() -> None:
    """Pillow turns a TIFF when it loads it, and other images not."""
    image = Image.fromarray(levels(6, 7, 3))
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 6
    for format_name, expected in (("TIFF", 1), ("PNG", 6)):
        buffer = io.BytesIO()
        image.save(buffer, format_name, exif=exif)
        signal = Signal.from_pil(Image.open(buffer))
        assert signal.meta.exif_orientation == expected
        assert signal.header.shape == ((7, 6) if expected == 1 else (6, 7))
