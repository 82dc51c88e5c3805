"""What the benchmarks share: the data folder, published curves, tables, memory."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from inrcodec.api import InrFile
from inrcodec.encoding import encode_signals
from inrcodec.settings import Settings
from inrcodec.signals.signal import Signal
from inrcodec.storage import write_whole
from inrcodec.training.sources import cut_tiles

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


def photograph(number: int) -> NDArray[np.uint8]:
    """Levels (H, W, 3) of a Kodak photograph."""
    return np.asarray(Image.open(data_folder() / "kodak" / f"kodim{number:02d}.png").convert("RGB"))


def side_by_side(height: int, width: int) -> NDArray[np.uint8]:
    """A picture (height, width, 3) of lying photographs in rows."""
    lying = [picture for picture in map(photograph, range(1, 17)) if picture.shape[1] > picture.shape[0]]
    tall, wide = lying[0].shape[:2]
    down, across = -(-height // tall), -(-width // wide)
    rows = [np.hstack([lying[(r * across + c) % len(lying)] for c in range(across)]) for r in range(down)]
    return np.ascontiguousarray(np.vstack(rows)[:height, :width])


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


@dataclass(frozen=True)
class Measured:
    """One file made and read back: seconds are of all signals together."""

    size: int
    payload: int
    decoded: list[Signal]
    encode_seconds: float
    decode_seconds: float


def run_codec(signals: Sequence[Signal], settings: Settings, name: str, *, archive: bool = False) -> Measured:
    """Compress to a file NAME in the output folder (an archive of all signals, or one signal), decode what it holds."""
    OUT.mkdir(parents=True, exist_ok=True)
    names = [f"{i:04d}" for i in range(len(signals))] if archive else None
    with tqdm(desc=name, unit="step", disable=None, leave=False) as bar:
        begun = time.perf_counter()
        encoded = encode_signals(signals, settings, names, bar.update)
        encode_seconds = time.perf_counter() - begun
    path = OUT / name
    write_whole(path, encoded.data, force=True)
    begun = time.perf_counter()
    opened = InrFile(path)
    decoded = [opened.render(entry=i) for i in range(len(opened))] if archive else [opened.render()]
    return Measured(path.stat().st_size, encoded.payload_bytes, decoded, encode_seconds, time.perf_counter() - begun)
