"""CIFAR-10 test images as one .inrs archive: file and payload rate, PSNR, seconds per image, published points beside.

python benchmarks/cifar10.py --count 500 --bpp 0.9 1.9
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from common import OUT, mosaic, peak_gib, published, table
from tqdm import tqdm

from inrcodec.api import InrFile
from inrcodec.codecs.operations import Settings, compress_signals
from inrcodec.ground.metrics import signal_psnr
from inrcodec.ground.plain import PlainHeader
from inrcodec.ground.signal import Signal
from inrcodec.maths.atomic import write_whole


def main() -> None:
    """Compress, decode, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--bpp", type=float, nargs="+", default=[0.9, 1.9])
    parser.add_argument("--effort", default="default")
    options = parser.parse_args()
    tiles = mosaic("cifar10/test_*.webp", 32)[: options.count]
    header = PlainHeader("image", "rgb", "u8", (32, 32), 3)
    signals = [Signal(tile.astype(np.float32) / np.float32(255), header) for tile in tiles]
    names = [f"{i:04d}.png" for i in range(len(signals))]
    OUT.mkdir(parents=True, exist_ok=True)
    rows = []
    for bpp in options.bpp:
        with tqdm(desc=f"{bpp} bpp", unit="step", disable=None) as bar:
            begun = time.perf_counter()
            encoded = compress_signals(signals, Settings(target_bpp=bpp, effort=options.effort), names, bar.update)
            coded = time.perf_counter()
        path = OUT / f"cifar10_{bpp}.inrs"
        write_whole(path, encoded.data, force=True)
        opened = InrFile(path)
        begun_decode = time.perf_counter()
        decoded = [opened.render(entry=i) for i in range(len(opened))]
        done = time.perf_counter()
        psnr = float(np.mean([signal_psnr(a, b) for a, b in zip(signals, decoded, strict=True)]))
        points = 1024 * len(signals)
        rate, payload = 8 * len(encoded.data) / points, 8 * encoded.payload_bytes / points
        rows.append([
            f"{rate:.3f}", f"{payload:.3f}", f"{psnr:.2f}", f"{len(encoded.data):,}",
            f"{(coded - begun) / len(signals):.3f}", f"{(done - begun_decode) / len(signals):.4f}",
            published("cifar10_rd.csv", ("RECOMBINER", "COIN++", "BPG"), payload),
        ])  # fmt: skip
    head = ("file bpp", "payload bpp", "PSNR dB", "bytes", "encode s/image", "decode s/image", "published (payload)")
    print(f"{len(signals)} test images, effort {options.effort}, {torch.get_num_threads()} threads")
    print(table(head, rows))
    print(f"peak memory {peak_gib():.2f} GiB")


if __name__ == "__main__":
    main()
