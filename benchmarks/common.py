"""What the benchmarks share: the data folder, published curves, tables, memory."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inrcodec.encoders.training_data import cut_tiles

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "out" / "benchmarks"


def data_folder() -> Path:
    """INRCODEC_DATA, else ../shared/data beside the checkout; ends the program when there is none."""
    folder = Path(os.environ.get("INRCODEC_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        sys.exit(f"no data folder {folder}: set INRCODEC_DATA")
    return folder


def mosaic(pattern: str, tile: int) -> NDArray[np.uint8]:
    """All tiles (n, tile, tile, 3) of the mosaics that match a pattern inside the data folder."""
    files = sorted(data_folder().glob(pattern))
    return np.concatenate([cut_tiles(np.asarray(Image.open(f).convert("RGB")), tile) for f in files])


def peak_gib() -> float:
    """Peak resident memory of this process in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)])


def published(name: str, codecs: Sequence[str], rate: float) -> str:
    """'codec dB' of published curves at a rate."""
    from inrcodec.evaluate.published import psnr_at, read_curves

    curves = read_curves(data_folder() / "published" / name)
    found = []
    for codec in codecs:
        value = psnr_at(curves[codec], rate) if codec in curves else None
        found.append(f"{codec} {'-' if value is None else f'{value:.2f}'}")
    return ", ".join(found)
