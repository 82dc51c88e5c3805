"""Seconds of parts against the whole: regions of pictures, slices of fields, coarser grids.

python benchmarks/parts.py
python benchmarks/parts.py --size 3000 4000      a picture in tiles

The picture is made of photographs side by side; the field is a stack of geopotential-like planes made here. Times are
medians of three, files are open and priors loaded.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import side_by_side, table

import inrcodec
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.metadata import SignalMeta
from inrcodec.signals.signal import Signal

PLANES = 40


def main() -> None:
    """Encode, decode parts, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(512, 768), metavar=("HEIGHT", "WIDTH"))
    options = parser.parse_args()
    height, width = options.size
    levels = side_by_side(height, width)
    values = np.ascontiguousarray(levels, np.float32) / np.float32(255)
    picture = Signal(values, SignalHeader("image", "rgb", "u8", (height, width), 3))
    file = inrcodec.open(inrcodec.compress(picture, target_bpp=0.5, effort="fast"))
    asked: list[tuple[str, float, Callable[[], object]]] = [
        ("picture, the whole", 1.0, lambda: file.render()),
        ("its scale 1/4", 1 / 16, lambda: file.render(scale=0.25)),
        ("its upper eighth", 1 / 8, lambda: file.render(region=(0, 0, width, height // 8))),
        ("64x64 points", 64 * 64 / height / width, lambda: file.render(region=(width // 3, height // 3, 64, 64))),
        ("64x64 points at scale 4", 0.0, lambda: file.render(scale=4, region=(width, height, 64, 64))),
    ]
    rows = _timed(asked)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stack.inr"
        path.write_bytes(inrcodec.compress(_stack(), target_bpp=0.1, effort="fast"))
        rows += _timed(_slices(path))
    print(table(("part", "share of points", "seconds", "of the whole"), rows))


def _slices(path: Path) -> list[tuple[str, float, Callable[[], object]]]:
    import xarray

    data = xarray.open_dataset(path, engine="inrcodec").v
    return [
        (f"field of {PLANES} planes, the whole", 1.0, lambda: data.copy().compute()),
        ("one plane by xarray", 1 / PLANES, lambda: data.isel(level=7).compute()),
        ("one row of one plane", 1 / PLANES / 181, lambda: data.isel(level=7, latitude=90).compute()),
    ]


def _stack() -> Signal:
    y, x = np.linspace(-1, 1, 181), np.linspace(0, 2 * np.pi, 240, endpoint=False)
    rng = np.random.default_rng(0)
    planes = []
    for _ in range(PLANES):
        waves = zip(range(1, 9), *rng.random((2, 8)), strict=True)
        planes.append(sum(a * np.cos(k * x[None] + p) * (1 - y[:, None] ** 2) ** (k / 2) for k, a, p in waves))
    values = np.stack(planes).astype(np.float32)[..., None]
    values = (values - values.min()) / np.ptp(values)
    meta = SignalMeta(variable="v", dims=("level", "latitude", "longitude"))
    return Signal(values, SignalHeader("field", "field", "float32", values.shape[:3], 1), meta)


def _timed(asked: list[tuple[str, float, Callable[[], object]]]) -> list[list[str]]:
    asked[0][2]()
    seconds = []
    for _, _, run in asked:
        times = []
        for _ in range(3):
            begun = time.perf_counter()
            run()
            times.append(time.perf_counter() - begun)
        seconds.append(statistics.median(times))
    return [
        [name, f"{share:.2g}", f"{s:.3f}", f"{100 * s / seconds[0]:.0f} %"]
        for (name, share, _), s in zip(asked, seconds, strict=True)
    ]


if __name__ == "__main__":
    main()
