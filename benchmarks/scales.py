"""One file decoded at other sizes: seconds, and how far each is from what the picture itself says of that size.

python benchmarks/scales.py --bpp 0.5 --out out/benchmarks/scales.png

Files are of a Kodak photograph (or --image) and of the same photograph averaged over 2x2 points. Below the native size
a decode is compared with the picture averaged to that size; above it, the file of the halved picture, decoded twice as
large, is compared with the picture itself, beside bicubic interpolation of its native decode. *Consistent*: PSNR
between a larger decode, averaged back, and the native one.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from common import OUT, data_folder, run_codec, table
from numpy.typing import NDArray
from PIL import Image

from inrcodec.api import InrFile
from inrcodec.settings import Settings
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.metrics import image_psnr
from inrcodec.signals.signal import Signal

SCALES = (0.5, 1.0, 2.0, 4.0)
DETAIL = 96
"""Side, in native points, of the detail that the picture of all scales shows."""

FloatArray = NDArray[np.float32]


def main() -> None:
    """Encode twice, decode at every scale, print the table, draw a detail at all scales."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, help="A picture; kodim04 by default.")
    parser.add_argument("--bpp", type=float, default=0.5)
    parser.add_argument("--effort", default="default")
    parser.add_argument("--out", type=Path, default=OUT / "scales.png")
    options = parser.parse_args()
    path = options.image or data_folder() / "kodak" / "kodim04.png"
    picture = np.asarray(Image.open(path).convert("RGB"), np.float32) / np.float32(255)
    picture = picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]
    settings = Settings(target_bpp=options.bpp, effort=options.effort)
    full, half = (_encoded(values, settings, name) for name, values in (("full", picture), ("half", mean(picture, 2))))
    rows, shown = [], []
    native = full.render().values
    for scale in SCALES:
        begun = time.perf_counter()
        decoded = full.render(scale=scale).values
        seconds = time.perf_counter() - begun
        shown.append(_detail(decoded, scale))
        truth = image_psnr(decoded, mean(picture, round(1 / scale))) if scale <= 1 else None
        back = image_psnr(mean(decoded, round(scale)), native) if scale > 1 else None
        rows.append([f"{scale:g}", f"{decoded.shape[1]}x{decoded.shape[0]}", f"{seconds:.2f}", _db(truth), _db(back)])
    print(f"{path.name} at {options.bpp:g} bpp, effort {options.effort}, {torch.get_num_threads()} threads")
    print(table(("scale", "size", "decode s", "PSNR against the averaged picture", "consistent, dB"), rows))
    print()
    small = half.render()
    bicubic = Image.fromarray(small.to_native()).resize(picture.shape[1::-1], Image.Resampling.BICUBIC)
    twice = image_psnr(half.render(scale=2.0).values, picture)
    other = image_psnr(np.asarray(bicubic, np.float32) / np.float32(255), picture)
    print("the halved picture's file, decoded twice as large, against the picture")
    print(table(("by the function", "native decode and bicubic"), [[f"{twice:.2f} dB", f"{other:.2f} dB"]]))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.rint(np.clip(np.hstack(shown), 0, 1) * 255).astype(np.uint8)).save(options.out)
    print(f"\na detail at all scales: {options.out.name}")


def mean(values: FloatArray, times: int) -> FloatArray:
    """Average over squares of points."""
    rows, columns = values.shape[0] // times, values.shape[1] // times
    squares = values[: rows * times, : columns * times].reshape(rows, times, columns, times, -1)
    return np.asarray(squares.mean(axis=(1, 3)), np.float32)


def _encoded(values: FloatArray, settings: Settings, name: str) -> InrFile:
    header = SignalHeader("image", "rgb", "u8", values.shape[:2], 3)
    run_codec([Signal(values, header)], settings, f"scales_{name}.inr")
    return InrFile(OUT / f"scales_{name}.inr")


def _detail(values: FloatArray, scale: float) -> FloatArray:
    """The middle of a decode, all scales at the size of the largest by repeated points."""
    side = round(DETAIL * scale)
    top, left = (n // 2 - side // 2 for n in values.shape[:2])
    times = round(SCALES[-1] / scale)
    return values[top : top + side, left : left + side].repeat(times, 0).repeat(times, 1)


def _db(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main()
