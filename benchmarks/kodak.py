"""Kodak photographs: file rate, PSNR, seconds and peak memory of this codec, JPEG and WebP at equal bytes beside it.

python benchmarks/kodak.py --bpp 0.13 0.316 0.97
python benchmarks/kodak.py --images 1 2 3 --bpp 0.3 0.8 --codec combiner
"""

from __future__ import annotations

import argparse
import io

import numpy as np
import torch
from common import data_folder, peak_gib, published, run_codec, table
from PIL import Image

from inrcodec.codecs.operations import Settings
from inrcodec.ground.metrics import image_psnr, signal_psnr
from inrcodec.maths.files import read_signal


def main() -> None:
    """Compress, decode, measure, print a table of images and means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=list(range(1, 17)))
    parser.add_argument("--bpp", type=float, nargs="+", default=[0.13, 0.316, 0.97])
    parser.add_argument("--effort", default="default")
    parser.add_argument("--codec", default="auto")
    parser.add_argument("--means", action="store_true", help="Print means alone.")
    options = parser.parse_args()
    rows: list[list[str]] = []
    for bpp in options.bpp:
        measured = []
        for number in options.images:
            name = f"kodim{number:02d}"
            signal = read_signal(data_folder() / "kodak" / f"{name}.png")
            settings = Settings(options.codec, target_bpp=bpp, effort=options.effort)
            found = run_codec([signal], settings, f"{name}_{bpp:g}_{options.effort}.inr")
            others = [_baseline(signal.to_native(), kind, found.size) for kind in ("JPEG", "WEBP")]
            rate, psnr = 8 * found.size / signal.header.n_points, signal_psnr(signal, found.decoded[0])
            measured.append((rate, psnr, found.encode_seconds, found.decode_seconds, *others))
            if not options.means:
                rows.append([name, f"{found.size:,}", *_cells(measured[-1]), ""])
        mean = tuple(np.mean(measured, axis=0))
        beside = published("kodak_rd.csv", ("RECOMBINER", "COIN", "COIN++", "BPG444"), mean[0])
        rows.append(["mean", "", *_cells(mean), beside])
    head = ("image", "bytes", "bpp", "PSNR dB", "encode s", "decode s", "JPEG dB", "WebP dB", "published, mean of 24")
    print(
        f"effort {options.effort}, {torch.get_num_threads()} threads; JPEG and WebP at the largest size not above ours"
    )
    print(table(head, rows))
    print(f"peak memory {peak_gib():.2f} GiB")


def _cells(figures: tuple[float, ...]) -> list[str]:
    return [f"{value:.{digits}f}" for value, digits in zip(figures, (3, 2, 1, 2, 2, 2), strict=True)]


def _baseline(image: np.ndarray, kind: str, size: int) -> float:
    """PSNR of another codec at its best quality whose file is not larger than ``size``; NaN when none is."""
    best = float("nan")
    for quality in range(1, 96):
        buffer = io.BytesIO()
        settings = {"optimize": True, "progressive": True} if kind == "JPEG" else {"method": 6}
        Image.fromarray(image).save(buffer, kind, quality=quality, **settings)
        if buffer.tell() > size:
            break
        best = image_psnr(image / 255.0, np.asarray(Image.open(buffer).convert("RGB")) / 255.0)
    return best


if __name__ == "__main__":
    main()
