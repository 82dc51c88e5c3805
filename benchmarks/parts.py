"""Time partial decoding against decoding the whole: regions of images, slices of fields, coarser grids.

python benchmarks/parts.py
python benchmarks/parts.py --size 3000 4000      an image that is coded in tiles

The image is made of photographs side by side; the field is a stack of synthetic planes that resemble geopotential.
Times are medians of three, with files open and priors loaded.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import image_signal, side_by_side, table

import inrcodec
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.metadata import SignalMeta
from inrcodec.signals.signal import Signal

N_PLANES = 40
Part = tuple[str, float, Callable[[], object]]
"""Name, share of the points of the whole, and what decodes it."""


def main() -> None:
    """Encode, decode parts and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(512, 768), metavar=("HEIGHT", "WIDTH"))
    options = parser.parse_args()
    height, width = options.size
    image = image_signal(side_by_side(height, width))
    file = inrcodec.open(inrcodec.compress(image, target_bpp=0.5, effort="fast"))
    parts: list[Part] = [
        ("whole image", 1.0, lambda: file.render()),
        ("scale 1/4", 1 / 16, lambda: file.render(scale=0.25)),
        ("top eighth", 1 / 8, lambda: file.render(region=(0, 0, height // 8, width))),
        ("64x64 points", 64 * 64 / height / width, lambda: file.render(region=(height // 3, width // 3, 64, 64))),
        ("64x64 points at scale 4", 0.0, lambda: file.render(scale=4, region=(height, width, 64, 64))),
    ]
    rows = _timed(parts)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stack.inr"
        path.write_bytes(inrcodec.compress(_stack(), target_bpp=0.1, effort="fast"))
        rows += _timed(_slices(path))
    print(table(("part", "share of points", "seconds", "share of time"), rows))


def _slices(path: Path) -> list[Part]:
    import xarray

    data = xarray.open_dataset(path, engine="inrcodec").v
    return [
        (f"whole field of {N_PLANES} planes", 1.0, lambda: data.copy().compute()),
        ("one plane by xarray", 1 / N_PLANES, lambda: data.isel(level=7).compute()),
        ("one row of one plane", 1 / N_PLANES / 181, lambda: data.isel(level=7, latitude=90).compute()),
    ]


def _stack() -> Signal:
    y, x = np.linspace(-1, 1, 181), np.linspace(0, 2 * np.pi, 240, endpoint=False)
    rng = np.random.default_rng(0)
    planes = []
    for _ in range(N_PLANES):
        waves = zip(range(1, 9), *rng.random((2, 8)), strict=True)
        planes.append(sum(a * np.cos(k * x[None] + p) * (1 - y[:, None] ** 2) ** (k / 2) for k, a, p in waves))
    values = np.stack(planes).astype(np.float32)[..., None]
    values = (values - values.min()) / np.ptp(values)
    meta = SignalMeta(variable="v", dims=("level", "latitude", "longitude"))
    return Signal(values, SignalHeader("field", "field", "float32", values.shape[:3], 1), meta)


def _timed(parts: list[Part]) -> list[list[str]]:
    """Return rows of the table; the first part is the whole."""
    parts[0][2]()
    seconds = []
    for _, _, decode in parts:
        times = []
        for _ in range(3):
            begun = time.perf_counter()
            decode()
            times.append(time.perf_counter() - begun)
        seconds.append(statistics.median(times))
    return [
        [name, f"{share:.2g}", f"{s:.3f}", f"{100 * s / seconds[0]:.0f} %"]
        for (name, share, _), s in zip(parts, seconds, strict=True)
    ]


if __name__ == "__main__":
    main()
