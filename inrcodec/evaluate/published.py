"""Read published rate-distortion points from CSV tables (columns: codec, bpp or kbps, psnr in dB)."""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from pathlib import Path

import numpy as np

from inrcodec.errors import DataError, UsageError
from inrcodec.evaluate.bd_rate import Curve

TABLES = {
    "kodak": ("kodak_rd.csv", ("BPG444", "RECOMBINER", "COIN++", "JPEG2000", "VTM", "C3")),
    "cifar10": ("cifar10_rd.csv", ("BPG", "RECOMBINER", "COIN++", "COMBINER")),
    "librispeech": ("librispeech_rd.csv", ("MP3", "RECOMBINER", "COIN++", "COMBINER")),
    "era5": ("era5_rd.csv", ("BPG", "COIN++")),
}
"""File and default codecs of the tables of published results."""


def read_curves(path: Path) -> dict[str, Curve]:
    """Return the (rate, PSNR) points of every codec, by rising rate; DataError when the table cannot be read."""
    curves: dict[str, list[tuple[float, float]]] = defaultdict(list)
    try:
        with open(path, newline="") as file:
            for row in csv.DictReader(file):
                rate = row["bpp"] if "bpp" in row else row["kbps"]
                curves[row["codec"]].append((float(rate), float(row["psnr"])))
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{path}: not a table of published points: {error}") from None
    return {codec: sorted(points) for codec, points in curves.items()}


def psnr_at(curve: Curve, rate: float) -> float | None:
    """Return the PSNR of a curve at a rate, interpolated in log rate; None outside of its range."""
    rates, values = np.array(curve).T
    if not rates[0] <= rate <= rates[-1]:
        return None
    return float(np.interp(np.log(rate), np.log(rates), values))


def published_curves(table: str | Path) -> dict[str, Curve]:
    """Return the curves of the default codecs of a table in ``TABLES``, or all curves of a CSV file.

    Tables lie in the folder ``published`` of the data folder that the environment variable INRCODEC_DATA names.

    Raises:
        UsageError: there is no such table. DataError: it cannot be read.
    """
    if str(table) not in TABLES:
        if not Path(table).is_file():
            raise UsageError(f"published must be a CSV file or one of {', '.join(TABLES)}, got {table}")
        return read_curves(Path(table))
    name, codecs = TABLES[str(table)]
    folder = os.environ.get("INRCODEC_DATA")
    if folder is None:
        raise UsageError(
            f"published results {table!r} are read from a data folder: set INRCODEC_DATA, or give a CSV file"
        )
    curves = read_curves(Path(folder) / "published" / name)
    return {codec: curves[codec] for codec in codecs if codec in curves}
