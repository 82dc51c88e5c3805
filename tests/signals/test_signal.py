"""Test signals and their metadata: round trips, other sizes, rejection of corrupt and contradictory data."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from inrcodec.errors import DataError, FormatError, InrcodecError, LimitError
from inrcodec.limits import DEFAULT_LIMITS
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.metadata import SignalMeta
from inrcodec.signals.signal import Signal

numbers = st.floats(-1e6, 1e6)
names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)
arrays = hnp.arrays(st.sampled_from(["<f4", "<f8", "<i4", "u1"]), hnp.array_shapes(max_dims=1, max_side=12))
attributes = st.dictionaries(names, st.one_of(names, st.integers(-99, 99), numbers, st.binary(max_size=9)), max_size=3)
metas = st.builds(
    SignalMeta,
    icc_profile=st.binary(max_size=40),
    exif_orientation=st.integers(1, 8),
    dpi=st.none() | st.tuples(st.floats(1, 600), st.floats(1, 600)),
    offset=numbers,
    scale=st.floats(1e-6, 1e6),
    variable=st.just("") | names,
    dims=st.lists(names, max_size=3).map(tuple),
    coordinates=st.dictionaries(names, arrays, max_size=2),
    attributes=attributes,
    coordinate_attributes=st.dictionaries(names, attributes.filter(bool), max_size=2),
    fixed=st.dictionaries(names, numbers, max_size=2),
    source_format=st.sampled_from(["", "npy", "netcdf"]),
)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, np.ndarray):
        return a.dtype.newbyteorder("=") == b.dtype.newbyteorder("=") and np.array_equal(a, b, equal_nan=True)
    return bool(a == b)


@given(metas)
def test_metadata_round_trip(meta: SignalMeta) -> None:
    back = SignalMeta.from_extra(meta.extra_to_bytes(), meta.bit_depth)
    for field in dataclasses.fields(SignalMeta):
        assert same(getattr(meta, field.name), getattr(back, field.name)), field.name


def test_default_metadata_takes_no_bytes() -> None:
    assert SignalMeta().extra_to_bytes() == b"" and SignalMeta.from_extra(b"", 16).bit_depth == 16


def test_evenly_spaced_coordinates_take_few_bytes() -> None:
    meta = SignalMeta(dims=("lat",), coordinates={"lat": np.linspace(-90, 90, 721).astype(np.float32)})
    data = meta.extra_to_bytes()
    assert len(data) < 150
    assert np.array_equal(SignalMeta.from_extra(data, 8).coordinates["lat"], meta.coordinates["lat"])


@given(metas, st.data())
def test_corrupt_metadata_raises_only_named_errors(meta: SignalMeta, data: st.DataObject) -> None:
    good = meta.extra_to_bytes()
    if not good:
        return
    bad = bytearray(good)
    bad[data.draw(st.integers(0, len(bad) - 1))] ^= data.draw(st.integers(1, 255))
    for corrupt in (bytes(bad), good[: data.draw(st.integers(1, len(good) - 1))] if len(good) > 1 else b"\x09"):
        with contextlib.suppress(InrcodecError):
            SignalMeta.from_extra(corrupt, 8)


@pytest.mark.parametrize(
    "content",
    [
        [],
        3,
        {"dpi": 1},
        {"affine": [1]},
        {"affine": ["a", 1]},
        {"affine": [float("inf"), 1]},
        {"icc": "!"},
        {"icc": 7},
        {"dims": 3},
        {"coordinates": [1]},
        {"coordinates": {"x": {"type": "O", "shape": [1]}}},
        {"coordinates": {"x": {"type": "<f4", "shape": [2], "data": "AAAA"}}},
        {"coordinates": {"x": {"type": "<f4", "shape": [-1], "data": ""}}},
        {"coordinates": {"x": {"type": "<f4", "shape": [1 << 40], "start": 0, "step": 1}}},
        {"coordinates": {"x": {"type": "<i4", "shape": [3], "start": 1e300, "step": "z"}}},
        {"attributes": {"a": {"type": "<f4"}}},
        {"attributes": []},
        {"fixed": {"a": None}},
    ],
)
def test_invalid_metadata_is_rejected(content: object) -> None:
    with pytest.raises(DataError):
        SignalMeta.from_extra(b"\x01" + zlib.compress(json.dumps(content).encode()), 8)


def test_metadata_that_inflates_too_far_is_rejected() -> None:
    small = dataclasses.replace(DEFAULT_LIMITS, max_metadata_bytes=10_000)
    with pytest.raises(LimitError):
        SignalMeta.from_extra(b"\x01" + zlib.compress(b'"' + b"a" * 100_000_000 + b'"'), 8, small)
    deep = b"\x01" + zlib.compress(b"[" * 200_000)
    with pytest.raises(FormatError):
        SignalMeta.from_extra(deep, 8)


def test_values_of_another_shape_or_type_or_not_finite_are_rejected() -> None:
    header = SignalHeader("image", "gray", "u8", (2, 3), 1)
    wrong: list[Any] = [np.zeros((2, 3), np.float32), np.zeros((2, 3, 1)), np.full((2, 3, 1), np.nan, np.float32)]
    for values in wrong:
        with pytest.raises(DataError):
            Signal(values, header)


def test_native_samples_are_clipped_and_rounded() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    header = SignalHeader("image", "gray", "u8", (16, 16), 1)
    assert np.array_equal(Signal((levels / np.float32(255)).astype(np.float32), header).to_native(), levels)
    over = Signal(np.array([[[1.7]], [[-0.2]]], np.float32), SignalHeader("image", "gray", "u16", (2, 1), 1))
    over = dataclasses.replace(over, meta=SignalMeta(bit_depth=16))
    assert over.to_native().ravel().tolist() == [65535, 0]
    field = Signal(
        np.array([[0.0], [0.5], [1.0]], np.float32),
        SignalHeader("field", "field", "int16", (3,), 1),
        SignalMeta(offset=-10.0, scale=300.0),
    )
    assert field.to_native().tolist() == [-10, 140, 290] and field.to_native().dtype == np.int16


def test_another_size_changes_sample_rate_resolution_and_coordinates() -> None:
    audio = SignalHeader("audio", "mono", "pcm_16", (100,), 1, 16000)
    assert Signal.from_parts(audio, b"", np.zeros((50, 1), np.float32)).header.sample_rate == 8000
    extra = SignalMeta(dims=("y", "x"), coordinates={"x": np.arange(4.0)}, dpi=(100.0, 100.0)).extra_to_bytes()
    field = SignalHeader("field", "field", "float32", (2, 4), 1)
    back = Signal.from_parts(field, extra, np.zeros((2, 8, 1), np.float32))
    assert back.meta.coordinates["x"].tolist() == [-0.25, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.25]
    assert back.meta.dpi == (200.0, 100.0)
