"""Measure fields: PSNR and max error over bits per point, with JPEG 2000, SZ3 and ZFP on the same planes.

python benchmarks/fields.py
python benchmarks/fields.py --codec coin++

Global fields are those of July at the full 241x480 points and averaged to 46x90; priors were trained on January. The
temperature t2m is every eighth of the hours 576 to 743; priors were trained on earlier ones. No prior has seen wind
speed. Every plane is one file. PSNR is relative to a plane's range, and so is the max error. JPEG 2000 encodes 16-bit
levels; SZ3 and ZFP run with an error bound. Of each of them, the setting with the best PSNR among files no larger than
this codec's is shown. They need imagecodecs: pip install 'inrcodec[baselines]'.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from common import peak_gib, published, run_codec, table
from field_data import T2M_HOURS, global_fields, variable
from numpy.typing import NDArray

from inrcodec.settings import Settings
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.signal import Signal
from inrcodec.training.field_sources import averaged

FloatArray = NDArray[np.float32]
GLOBAL_RATES, COARSE_RATES, REGIONAL_RATES = (0.01, 0.05, 0.2, 0.8), (0.2, 0.5, 1.0, 2.0), (0.4, 0.8, 1.6, 3.2)


def main() -> None:
    """Measure every set at its rates and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--effort", default="default")
    parser.add_argument("--codec", default="auto")
    parser.add_argument("--sets", type=int, help="number of sets of planes; default: all")
    parser.add_argument("--rates", type=int, help="number of rates of each set; default: all")
    parser.add_argument("--baselines", nargs="*", choices=BASELINES, default=list(BASELINES))
    options = parser.parse_args()
    july = {f"{name}{level}": plane for name, v in global_fields(1).items() for level, plane in enumerate(v)}
    for level in range(3):
        july[f"speed{level}"] = np.hypot(july[f"u{level}"], july[f"v{level}"])
    hours = variable("era5_t2m_uk_201903.nc", "t2m")[T2M_HOURS::8]
    sets: list[tuple[str, list[FloatArray], str | None, Sequence[float]]] = [
        (f"{name}, 241x480", [july[f"{name}{level}"] for level in range(3)], "globe", GLOBAL_RATES) for name in "zuv"
    ]
    sets += [
        (f"{name}, 46x90", [averaged(july[f"{name}{level}"], (46, 90)) for level in range(3)], "globe", COARSE_RATES)
        for name in ("z", "u", "v", "speed")
    ]
    sets.append(("t2m, 33x49", list(hours), "fields", REGIONAL_RATES))
    rows = []
    for name, planes, prior, rates in sets[: options.sets]:
        for rate in rates[: options.rates]:
            settings = Settings(
                codec=options.codec,
                prior=prior if options.codec == "auto" else None,
                effort=options.effort,
                target_bpp=rate,
            )
            rows.append([name, *_row(planes, settings, options.baselines)])
    head = ("planes", "file bits/point", "PSNR dB", "max error", "encode s", "decode s")
    print(f"means over planes, codec {options.codec}, effort {options.effort}, {torch.get_num_threads()} threads")
    print("other codecs: bits/point, PSNR dB, max error")
    print(table((*head, *options.baselines, "COIN++ (other data)"), rows))
    print(f"peak memory {peak_gib():.2f} GiB")


def _row(planes: list[FloatArray], settings: Settings, baselines: Sequence[str]) -> list[str]:
    results: list[tuple[float, ...]] = []
    others: dict[str, list[tuple[float, float, float]]] = {name: [] for name in baselines}
    for plane in planes:
        low, high = float(plane.min()), float(plane.max())
        unit = ((plane - low) / (high - low)).astype(np.float32)
        header = SignalHeader("field", "field", "float32", unit.shape, 1)
        measured = run_codec([Signal(unit[..., None], header)], settings, "f.inr")
        bits = 8 * measured.size / unit.size
        quality = _quality(unit, measured.decoded[0].values[..., 0])
        results.append((bits, *quality, measured.encode_seconds, measured.decode_seconds))
        for name, points in others.items():
            run, levels = BASELINES[name]
            if (best := _best_point(unit, run, levels, measured.size)) is not None:
                points.append(best)
    mean = np.mean(results, axis=0)
    cells = [f"{mean[0]:.3f}", f"{mean[1]:.2f}", f"{mean[2]:.4f}", f"{mean[3]:.2f}", f"{mean[4]:.2f}"]
    for points in others.values():
        point = np.mean(points, axis=0) if len(points) == len(planes) else None
        cells.append("-" if point is None else f"{point[0]:.3f}, {point[1]:.2f}, {point[2]:.4f}")
    return [*cells, published("era5_rd.csv", ("COIN++",), float(mean[0]))]


def _quality(plane: FloatArray, decoded: FloatArray) -> tuple[float, float]:
    """Return the PSNR relative to the range of values, which is 1, and the max error as a share of it."""
    error = np.abs(decoded.astype(np.float64) - plane)
    return float(-10 * np.log10(np.mean(np.square(error)) + 1e-30)), float(error.max())


def _imagecodecs() -> Any:
    """Return the library without its type hints, which leave out that levels may be fractions."""
    return importlib.import_module("imagecodecs")


def _jpeg2000(plane: FloatArray, level: float) -> tuple[int, FloatArray]:
    imagecodecs = _imagecodecs()
    data = imagecodecs.jpeg2k_encode(np.rint(plane * 65535).astype(np.uint16), level=level)
    return len(data), imagecodecs.jpeg2k_decode(data).astype(np.float32) / np.float32(65535)


def _sz3(plane: FloatArray, bound: float) -> tuple[int, FloatArray]:
    imagecodecs = _imagecodecs()
    data = imagecodecs.sz3_encode(plane, mode="abs", abs=bound)
    return len(data), imagecodecs.sz3_decode(data, shape=plane.shape, dtype=plane.dtype)


def _zfp(plane: FloatArray, bound: float) -> tuple[int, FloatArray]:
    imagecodecs = _imagecodecs()
    data = imagecodecs.zfp_encode(plane, mode="a", level=bound)
    return len(data), imagecodecs.zfp_decode(data)


Coder = Callable[[FloatArray, float], tuple[int, FloatArray]]
_BOUNDS = np.geomspace(0.3, 1e-5, 60).tolist()
BASELINES: dict[str, tuple[Coder, list[float]]] = {
    "JPEG 2000": (_jpeg2000, np.arange(12.0, 90.0, 1.0).tolist()),
    "SZ3": (_sz3, _BOUNDS),
    "ZFP": (_zfp, _BOUNDS),
}


def _best_point(plane: FloatArray, run: Coder, settings: list[float], size: int) -> tuple[float, float, float] | None:
    """Return bits per point, PSNR and max error of the best file of at most ``size`` bytes; None if there is none."""
    best: tuple[float, float, float] | None = None
    for setting in settings:
        n_bytes, decoded = run(plane, setting)
        if n_bytes <= size:
            quality = _quality(plane, decoded)
            if best is None or quality[0] > best[1]:
                best = 8 * n_bytes / plane.size, *quality
    return best


if __name__ == "__main__":
    main()
