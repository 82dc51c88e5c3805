"""DataArrays of xarray in and out: names, axes, coordinates, times and attributes."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from inrcodec.errors import DataError, LossWarning, UnsupportedError, UsageError
from inrcodec.signals.signal import Signal

xarray = pytest.importorskip("xarray")


def temperature(**options: Any) -> Any:
    """Return a small DataArray with times, coordinates and attributes."""
    values = np.random.default_rng(0).normal(280, 10, (3, 4, 6)).astype(np.float32)
    return xarray.DataArray(
        values,
        dims=("time", "lat", "lon"),
        coords={
            "time": np.array(["2020-01-01", "2020-01-01T06", "2020-01-02"], "datetime64[ns]"),
            "lat": ("lat", np.linspace(50, 53, 4), {"units": "degrees_north"}),
            "lon": np.arange(6) * 60,
            "height": 2.0,
        },
        name="t2m",
        attrs={"units": "K", "levels": 3, "range": [1.0, 2.0]},
        **options,
    )


def test_data_arrays_come_back_as_they_were() -> None:
    data = temperature()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        signal = Signal.from_xarray(data)
        back = signal.to_xarray()
    assert signal.header.kind == "field" and signal.header.periodic == (False, False, True)
    assert back.name == "t2m" and back.dims == data.dims and back.dtype == data.dtype
    np.testing.assert_allclose(back.values, data.values, atol=1e-4)
    for key in ("time", "lat", "lon", "height"):
        np.testing.assert_array_equal(back[key].values, data[key].values)
    assert back["time"].dtype.kind == "M" and back["lat"].attrs["units"] == "degrees_north"
    assert back.attrs["units"] == "K" and back.attrs["levels"] == 3
    np.testing.assert_array_equal(back.attrs["range"], [1.0, 2.0])


def test_metadata_survives_its_bytes() -> None:
    signal = Signal.from_xarray(temperature())
    extra = signal.meta.extra_to_bytes()
    back = Signal.from_parts(signal.header, extra, signal.values).to_xarray()
    xarray.testing.assert_identical(back.drop_attrs(), signal.to_xarray().drop_attrs())


def test_units_of_time_in_values_stay_numbers() -> None:
    data = xarray.DataArray(np.arange(5.0), dims="x", attrs={"units": "days"}, name="age")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back = Signal.from_xarray(data).to_xarray()
    assert back.dtype == np.float64 and back.attrs["units"] == "days"


def test_time_differences_come_back() -> None:
    steps = np.array([0, 6, 12], "timedelta64[h]").astype("timedelta64[ns]")
    data = xarray.DataArray(np.arange(3.0), dims="step", coords={"step": steps})
    back = Signal.from_xarray(data).to_xarray()
    assert back.name is None
    np.testing.assert_array_equal(back["step"].values, steps)


def test_a_dataset_with_one_variable_is_enough() -> None:
    data = temperature().to_dataset()
    assert Signal.from_xarray(data).meta.variable == "t2m"
    data["u"] = data.t2m
    with pytest.raises(UsageError, match=r"several variables.*t2m, u"):
        Signal.from_xarray(data)
    assert Signal.from_xarray(data, "u").meta.variable == "u"
    with pytest.raises(UsageError, match=r"no variable 'v'.*t2m, u"):
        Signal.from_xarray(data, "v")
    with pytest.raises(DataError, match="no variable"):
        Signal.from_xarray(xarray.Dataset())


def test_lazy_data_is_computed() -> None:
    pytest.importorskip("dask.array")
    data = temperature()
    np.testing.assert_array_equal(Signal.from_xarray(data.chunk(time=1)).values, Signal.from_xarray(data).values)


def test_coordinates_that_are_lost_are_named() -> None:
    data = temperature().assign_coords(
        region=("lat", ["a", "b", "c", "d"]), area=(("lat", "lon"), np.ones((4, 6))), when=np.datetime64("2020-01-01")
    )
    with pytest.warns(LossWarning, match="coordinates not kept: region, area, when"):
        signal = Signal.from_xarray(data)
    assert set(signal.meta.coordinates) == {"time", "lat", "lon"}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda data: data.where(data > data.mean()), DataError, "not finite"),
        (lambda data: data.expand_dims("member"), UnsupportedError, r"at most 3 axes.*\.isel\(member=0\)"),
        (lambda data: data.isel(lat=slice(0)), DataError, "empty"),
        (lambda data: data.astype(str), UnsupportedError, "unsupported array type"),
        (lambda data: data.assign_attrs(history=["a", "b"]), UnsupportedError, "attribute 'history'"),
        (lambda data: data.values, UsageError, "expected a DataArray"),
        (lambda data: data.isel(time=0, lat=0, lon=0), DataError, "single number"),
    ],
)
def test_what_cannot_be_kept_is_refused(change: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        Signal.from_xarray(change(temperature()))
    assert "\n" not in str(caught.value)


def test_other_signals_have_no_data_array() -> None:
    with pytest.raises(UsageError, match="expected a field, got a signal of kind image"):
        Signal.from_array(np.zeros((6, 7), np.uint8)).to_xarray()
