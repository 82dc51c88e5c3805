"""Kodak photographs: file rate, PSNR, seconds and peak memory of this codec, JPEG and WebP at equal bytes beside it.

python benchmarks/kodak.py --images 1 2 3 --bpp 0.3 0.8
"""

from __future__ import annotations

import argparse
import io
import time

import numpy as np
import torch
from common import OUT, data_folder, peak_gib, published, table
from PIL import Image
from tqdm import tqdm

from inrcodec.api import InrFile
from inrcodec.codecs.operations import Settings, compress_signals
from inrcodec.ground.metrics import image_psnr, signal_psnr
from inrcodec.maths.atomic import write_whole
from inrcodec.maths.files import read_signal, write_signal


def main() -> None:
    """Compress, decode, measure, print a table of images and means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--bpp", type=float, nargs="+", default=[0.3, 0.8])
    parser.add_argument("--effort", default="default")
    options = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    rows: list[list[str]] = []
    for bpp in options.bpp:
        measured = []
        for number in options.images:
            name = f"kodim{number:02d}"
            signal = read_signal(data_folder() / "kodak" / f"{name}.png")
            with tqdm(desc=f"{name} {bpp} bpp", unit="step", disable=None) as bar:
                begun = time.perf_counter()
                encoded = compress_signals([signal], Settings(target_bpp=bpp, effort=options.effort), None, bar.update)
                coded = time.perf_counter() - begun
            path = OUT / f"{name}_{bpp}.inr"
            write_whole(path, encoded.data, force=True)
            begun = time.perf_counter()
            decoded = InrFile(path).render()
            seconds = time.perf_counter() - begun
            write_signal(decoded, path.with_suffix(".png"), force=True)
            size = len(encoded.data)
            others = [_baseline(signal.to_native(), kind, size) for kind in ("JPEG", "WEBP")]
            rate, psnr = 8 * size / signal.header.n_points, signal_psnr(signal, decoded)
            measured.append((rate, psnr, coded, seconds, *others))
            rows.append([name, f"{size:,}", *_cells(measured[-1]), ""])
        mean = tuple(np.mean(measured, axis=0))
        rows.append(["mean", "", *_cells(mean), published("kodak_rd.csv", ("RECOMBINER", "COIN++", "BPG444"), mean[0])])
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
