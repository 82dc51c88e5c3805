"""Write the training part of the fields as folders of .npy files: January of the global variables, hours 0-575 of t2m.

python benchmarks/field_data.py
inrcodec priors train out/benchmarks/globe_training --recipe globe -o globe.safetensors
inrcodec priors train out/benchmarks/field_training DATA/natural/train --recipe fields -o fields.safetensors
"""

from __future__ import annotations

import argparse

import numpy as np
from common import OUT, data_folder
from numpy.typing import NDArray

T2M_HOURS = 576
"""Number of hours of t2m in the training part; the later ones are for tests."""


def global_fields(month: int) -> dict[str, NDArray[np.float32]]:
    """Return z, u and v of a month (0 January, 1 July), each (3 levels, 241, 480)."""
    return {name: variable("eraint_uvz.nc", name)[month] for name in ("z", "u", "v")}


def variable(file: str, name: str) -> NDArray[np.float32]:
    """Return a variable of a NetCDF file in the data folder."""
    import xarray

    with xarray.open_dataset(data_folder() / "fields" / file, engine="scipy") as data:
        return np.asarray(data[name].values, np.float32)


def main() -> None:
    """Write both folders."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for folder in ("globe_training", "field_training"):
        (OUT / folder).mkdir(parents=True, exist_ok=True)
        for name, values in global_fields(0).items():
            np.save(OUT / folder / f"{name}.npy", values)
    np.save(OUT / "field_training" / "t2m.npy", variable("era5_t2m_uk_201903.nc", "t2m")[:T2M_HOURS:8])


if __name__ == "__main__":
    main()
