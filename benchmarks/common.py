"""Helpers that the benchmarks share: the data folder, published curves, tables, memory.

Run a benchmark as a script (``python benchmarks/kodak.py``): Python then finds this module because it lies in the
script's folder.
"""

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
from inrcodec.codecs import prior_store
from inrcodec.codecs.combiner.prior import CombinerPrior
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
from inrcodec.encoding import encode_signals
from inrcodec.settings import Settings
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.signal import Signal
from inrcodec.storage import write_whole
from inrcodec.training.sources import cut_tiles

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "out" / "benchmarks"


def data_folder() -> Path:
    """Return the folder that INRCODEC_DATA names, or else ../shared/data beside the checkout; exit if it is missing."""
    folder = Path(os.environ.get("INRCODEC_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        sys.exit(f"no data folder {folder}: set INRCODEC_DATA")
    return folder


def mosaic(pattern: str, tile: int) -> NDArray[np.uint8]:
    """Return all tiles, (n, tile, tile, 3), of the mosaics in the data folder that match a pattern."""
    files = sorted(data_folder().glob(pattern))
    return np.concatenate([cut_tiles(np.asarray(Image.open(f).convert("RGB")), tile) for f in files])


def photograph(number: int) -> NDArray[np.uint8]:
    """Return the levels, (H, W, 3), of a Kodak photograph."""
    return np.asarray(Image.open(kodak_path(number)).convert("RGB"))


def kodak_path(number: int) -> Path:
    """Return the file of a Kodak photograph."""
    return data_folder() / "kodak" / f"kodim{number:02d}.png"


def image_signal(levels: NDArray[np.uint8]) -> Signal:
    """Return the signal of an image's levels, (H, W, 1 or 3)."""
    channels = levels.shape[-1]
    header = SignalHeader("image", "rgb" if channels == 3 else "gray", "u8", levels.shape[:2], channels)
    return Signal((levels / np.float32(255)).astype(np.float32), header)


def hierarchical_prior(name: str) -> HierarchicalPrior:
    """Return a prior of the hierarchical codec by name."""
    prior = prior_store.find(name)
    assert isinstance(prior, HierarchicalPrior)
    return prior


def combiner_prior(name: str) -> CombinerPrior:
    """Return a prior of the combiner codec by name."""
    prior = prior_store.find(name)
    assert isinstance(prior, CombinerPrior)
    return prior


def side_by_side(height: int, width: int) -> NDArray[np.uint8]:
    """Return an image, (height, width, 3), of landscape-format photographs in rows."""
    landscapes = [image for image in map(photograph, range(1, 17)) if image.shape[1] > image.shape[0]]
    tall, wide = landscapes[0].shape[:2]
    n_rows, n_columns = -(-height // tall), -(-width // wide)
    rows = [
        np.hstack([landscapes[(row * n_columns + column) % len(landscapes)] for column in range(n_columns)])
        for row in range(n_rows)
    ]
    return np.ascontiguousarray(np.vstack(rows)[:height, :width])


def peak_gib() -> float:
    """Return the peak resident memory of this process in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)])


def published(name: str, codecs: Sequence[str], rate: float) -> str:
    """Return "codec dB" of published curves at a rate, separated by commas."""
    from inrcodec.evaluate.published import psnr_at, read_curves

    curves = read_curves(data_folder() / "published" / name)
    values = [psnr_at(curves[codec], rate) if codec in curves else None for codec in codecs]
    return ", ".join(
        f"{codec} {'-' if value is None else f'{value:.2f}'}" for codec, value in zip(codecs, values, strict=True)
    )


@dataclass(frozen=True)
class Measured:
    """Holds the results for one file that was written and decoded again.

    Attributes:
        size: bytes of the file.
        payload: bytes that the codec wrote.
        decoded: the decoded signals.
        encode_seconds: time to encode all signals.
        decode_seconds: time to decode all signals.
    """

    size: int
    payload: int
    decoded: list[Signal]
    encode_seconds: float
    decode_seconds: float


def run_codec(signals: Sequence[Signal], settings: Settings, name: str, *, archive: bool = False) -> Measured:
    """Compress one signal, or an archive of several, to a file in the output folder, and decode it."""
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
