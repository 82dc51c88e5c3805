"""NetCDF: integers that the classic format lacks, and NetCDF-4 through the engines that are installed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy.io import netcdf_file

from inrcodec.errors import DataError, UnsupportedError
from inrcodec.signals.files import fields, read_signal, write_signal
from inrcodec.signals.files.fields import HDF5_MAGIC, classic_numbers, hdf5_engine
from inrcodec.signals.signal import Signal

MILLISECONDS = 1_577_836_800_000
"""1 January 2020 in milliseconds since 1970."""


def field(time: np.ndarray) -> Signal:
    """Return a field with these numbers as coordinates of its first axis."""
    values = np.arange(time.size * 4, dtype=np.float32).reshape(time.size, 4)
    return Signal.from_array(values, variable="v", dims=("time", "x"), coordinates={"time": time})


def times_of(path: Path) -> np.ndarray:
    """Return the coordinates of the axis ``time`` of a classic file."""
    with netcdf_file(path, mmap=False) as file:
        return np.array(file.variables["time"].data)


@pytest.mark.parametrize(
    ("time", "dtype"),
    [
        (np.arange(5), "int32"),
        (np.arange(5, dtype=np.uint16), "int32"),
        (np.arange(5, dtype=np.uint32), "int32"),
        (np.arange(5, dtype=np.int16), "int16"),
        (MILLISECONDS + 3_600_000 * np.arange(5), "float64"),
        (-MILLISECONDS - np.arange(5), "float64"),
        (np.arange(5, dtype=np.uint32) + np.uint32(2**31), "float64"),
        (1_000_000 * MILLISECONDS + 3_600_000_000_000 * np.arange(5), "float64"),
    ],
)
def test_integer_coordinates_keep_their_numbers(time: np.ndarray, dtype: str, tmp_path: Path) -> None:
    write_signal(field(time), tmp_path / "a.nc")
    back = times_of(tmp_path / "a.nc")
    assert back.dtype.newbyteorder("=").name == dtype
    assert [int(value) for value in back] == time.tolist()
    assert read_signal(tmp_path / "a.nc").meta.coordinates["time"].tolist() == time.tolist()


@pytest.mark.parametrize(
    "time",
    [
        2**53 + np.arange(5),
        1_000_000 * MILLISECONDS + np.arange(5),
        np.array([0, 2**63 - 1]),
        np.array([0, 2**64 - 1], np.uint64),
    ],
)
def test_integer_coordinates_that_no_type_holds_are_refused(time: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"int64 numbers of coordinate 'time': use \.npy.*NetCDF-4") as caught:
        write_signal(field(time), tmp_path / "a.nc")
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_integer_attributes_keep_their_numbers(tmp_path: Path) -> None:
    signal = field(np.arange(5))
    numbers = {"few": np.int64(3), "many": MILLISECONDS + np.arange(3), "flag": np.uint8(7)}
    signal.meta.attributes.update(numbers)
    write_signal(signal, tmp_path / "a.nc")
    back = read_signal(tmp_path / "a.nc").meta.attributes
    for key, value in numbers.items():
        np.testing.assert_array_equal(back[key], value)
    signal.meta.attributes["odd"] = np.int64(2**53 + 1)
    with pytest.raises(UnsupportedError, match="attribute 'odd' holds int64 numbers"):
        write_signal(signal, tmp_path / "b.nc")


def test_classic_numbers_are_exact_or_none() -> None:
    assert classic_numbers(np.zeros(0, np.int64)) is not None
    floats = classic_numbers(np.array([0.5], np.float16))
    assert floats is not None and floats.dtype == np.float32 and floats[0] == 0.5
    assert classic_numbers(np.zeros(3, complex)) is None


def write_netcdf4(path: Path, engine: Any) -> np.ndarray:
    """Write a small NetCDF-4 file with 64-bit times, and return its values."""
    import xarray

    values = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    time = MILLISECONDS + 1000 * np.arange(3)
    variables = {"v": (("time", "y", "x"), values, {"units": "K", "level": np.int64(3)})}
    xarray.Dataset(variables, {"time": time, "y": np.arange(4.0)}).to_netcdf(path, engine=engine)
    return values


@pytest.mark.parametrize(("engine", "module"), [("h5netcdf", "h5py"), ("netcdf4", "netCDF4")])
def test_netcdf4_is_read_with_either_engine(
    engine: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("xarray", module):
        pytest.importorskip(name)
    values = write_netcdf4(tmp_path / "a.nc", engine)
    monkeypatch.setattr(fields, "hdf5_engine", lambda: engine)
    signal = read_signal(tmp_path / "a.nc")
    np.testing.assert_allclose(signal.to_numpy(), values, atol=1e-6)
    assert signal.meta.attributes["units"] == "K" and signal.meta.attributes["level"] == 3
    write_signal(signal, tmp_path / "b.nc")
    assert times_of(tmp_path / "b.nc").tolist() == (MILLISECONDS + 1000 * np.arange(3)).tolist()
    (tmp_path / "c.nc").write_bytes((tmp_path / "a.nc").read_bytes()[:300])
    with pytest.raises(DataError, match="the NetCDF file cannot be read"):
        read_signal(tmp_path / "c.nc")


def test_engines_are_found_by_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    installed: set[str] = set()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name in installed else None)
    assert hdf5_engine() is None
    installed |= {"xarray", "h5netcdf"}
    assert hdf5_engine() is None
    installed |= {"netCDF4"}
    assert hdf5_engine() == "netcdf4"
    installed |= {"h5py"}
    assert hdf5_engine() == "h5netcdf"


def test_netcdf4_without_an_engine_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    blocked: dict[str, ModuleType | None] = {"h5py": None, "h5netcdf": None, "netCDF4": None}
    for name, module in blocked.items():
        monkeypatch.setitem(sys.modules, name, module)
    with pytest.raises(UnsupportedError, match=r"bytes: a NetCDF-4 file.*extra fields.*nccopy") as caught:
        read_signal(HDF5_MAGIC + bytes(100))
    assert "\n" not in str(caught.value)


def test_netcdf4_alone_reads_from_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """netCDF4 reads paths only, so that bytes go through a temporary file."""
    content = HDF5_MAGIC + bytes(100)
    seen: list[bytes] = []

    def variables(source: Any, engine: str) -> Any:
        assert engine == "netcdf4"
        seen.append(Path(source).read_bytes())
        return {"v": (("x",), np.arange(4.0), {})}

    monkeypatch.setattr(fields, "hdf5_engine", lambda: "netcdf4")
    monkeypatch.setattr(fields, "_hdf5_variables", variables)
    assert read_signal(content).meta.variable == "v" and seen == [content]
