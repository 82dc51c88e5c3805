"""Published rate-distortion points, read from CSV tables (columns: codec, bpp or kbps, psnr in dB)."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np

from inrcodec.ground.errors import DataError

Curve = list[tuple[float, float]]


def read_curves(path: Path) -> dict[str, Curve]:
    """Codec name to its (rate, PSNR) points by rising rate; DataError when the table cannot be read."""
    curves: dict[str, Curve] = defaultdict(list)
    try:
        with open(path, newline="") as file:
            for row in csv.DictReader(file):
                rate = row["bpp"] if "bpp" in row else row["kbps"]
                curves[row["codec"]].append((float(rate), float(row["psnr"])))
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{path}: no table of published points: {error}") from None
    return {codec: sorted(points) for codec, points in curves.items()}


def psnr_at(curve: Curve, rate: float) -> float | None:
    """PSNR of a curve at a rate, linear in log rate; None outside of its range."""
    rates, values = np.array(curve).T
    if not rates[0] <= rate <= rates[-1]:
        return None
    return float(np.interp(np.log(rate), np.log(rates), values))
