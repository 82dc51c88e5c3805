"""Decode one file at other sizes, and measure seconds and quality at each.

python benchmarks/scales.py --bpp 0.5 --out out/benchmarks/scales.png

The script codes a Kodak photograph (or --image), and the same photograph averaged over 2x2 points. A decode below the
native size is compared with the photograph averaged to that size. Above the native size, the file of the halved image
is decoded at twice its size and compared with the photograph, and so is bicubic interpolation of its native decode.
*Consistent* is the PSNR between a larger decode, averaged back, and the native decode.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from common import OUT, kodak_path, run_codec, table
from numpy.typing import NDArray
from PIL import Image

from inrcodec.api import InrFile
from inrcodec.settings import Settings
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.metrics import image_psnr
from inrcodec.signals.signal import Signal

SCALES = (0.5, 1.0, 2.0, 4.0)
DETAIL = 96
"""Side, in native points, of the detail that the figure of all scales shows."""

FloatArray = NDArray[np.float32]


def main() -> None:
    """Encode twice, decode at every scale, print the tables, and draw a detail at all scales."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, help="image file; default: kodim04")
    parser.add_argument("--bpp", type=float, default=0.5, help="target rate")
    parser.add_argument("--effort", default="default")
    parser.add_argument("--out", type=Path, default=OUT / "scales.png", help="figure to write")
    options = parser.parse_args()
    path = options.image or kodak_path(4)
    image: FloatArray = np.asarray(Image.open(path).convert("RGB"), np.float32) / np.float32(255)
    image = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
    settings = Settings(target_bpp=options.bpp, effort=options.effort)
    full, half = (_encoded(values, settings, name) for name, values in (("full", image), ("half", mean(image, 2))))
    rows, details = [], []
    native = full.render().values
    for scale in SCALES:
        begun = time.perf_counter()
        decoded = full.render(scale=scale).values
        seconds = time.perf_counter() - begun
        details.append(_detail(decoded, scale))
        psnr = image_psnr(decoded, mean(image, round(1 / scale))) if scale <= 1 else None
        consistent = image_psnr(mean(decoded, round(scale)), native) if scale > 1 else None
        size = f"{decoded.shape[1]}x{decoded.shape[0]}"
        rows.append([f"{scale:g}", size, f"{seconds:.2f}", _db(psnr), _db(consistent)])
    print(f"{path.name} at {options.bpp:g} bpp, effort {options.effort}, {torch.get_num_threads()} threads")
    print(table(("scale", "size", "decode s", "PSNR vs. averaged image", "consistent, dB"), rows))
    print()
    small = half.render()
    bicubic = Image.fromarray(small.to_native()).resize(image.shape[1::-1], Image.Resampling.BICUBIC)
    decoded_psnr = image_psnr(half.render(scale=2.0).values, image)
    bicubic_psnr = image_psnr(np.asarray(bicubic, np.float32) / np.float32(255), image)
    print("PSNR of the halved image's file at twice its size, against the full image")
    head = ("decoded at scale 2", "native decode, bicubic")
    print(table(head, [[f"{decoded_psnr:.2f} dB", f"{bicubic_psnr:.2f} dB"]]))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.rint(np.clip(np.hstack(details), 0, 1) * 255).astype(np.uint8)).save(options.out)
    print(f"\ndetail at all scales: {options.out}")


def mean(values: FloatArray, side: int) -> FloatArray:
    """Return averages over squares of ``side`` x ``side`` points."""
    rows, columns = values.shape[0] // side, values.shape[1] // side
    squares = values[: rows * side, : columns * side].reshape(rows, side, columns, side, -1)
    return np.asarray(squares.mean(axis=(1, 3)), np.float32)


def _encoded(values: FloatArray, settings: Settings, name: str) -> InrFile:
    header = SignalHeader("image", "rgb", "u8", values.shape[:2], 3)
    run_codec([Signal(values, header)], settings, f"scales_{name}.inr")
    return InrFile(OUT / f"scales_{name}.inr")


def _detail(values: FloatArray, scale: float) -> FloatArray:
    """Return the centre of a decode, enlarged to the size of the largest scale by repeating points."""
    side = round(DETAIL * scale)
    top, left = (n // 2 - side // 2 for n in values.shape[:2])
    times = round(SCALES[-1] / scale)
    return values[top : top + side, left : left + side].repeat(times, 0).repeat(times, 1)


def _db(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main()
