"""Measure CIFAR-10 test images in one .inrs archive: file and payload rate, PSNR, seconds per image, published results.

python benchmarks/cifar10.py --count 2000 --bpp 0.5 0.94 1.92 3.3
python benchmarks/cifar10.py --count 500 --bpp 0.9 1.9 --codec combiner
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from common import mosaic, peak_gib, published, run_codec, table

from inrcodec.settings import Settings
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.metrics import signal_psnr
from inrcodec.signals.signal import Signal


def main() -> None:
    """Compress and decode an archive at every rate, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000, help="number of images")
    parser.add_argument("--bpp", type=float, nargs="+", default=[0.5, 0.94, 1.92, 3.3], help="target rates")
    parser.add_argument("--effort", default="default")
    parser.add_argument("--codec", default="auto")
    options = parser.parse_args()
    tiles = mosaic("cifar10/test_*.webp", 32)[: options.count]
    header = SignalHeader("image", "rgb", "u8", (32, 32), 3)
    signals = [Signal(tile.astype(np.float32) / np.float32(255), header) for tile in tiles]
    count, points = len(signals), 1024 * len(signals)
    rows = []
    for bpp in options.bpp:
        settings = Settings(codec=options.codec, target_bpp=bpp, effort=options.effort)
        measured = run_codec(signals, settings, f"cifar10_{bpp:g}_{options.effort}.inrs", archive=True)
        psnr = float(np.mean([signal_psnr(a, b) for a, b in zip(signals, measured.decoded, strict=True)]))
        rate, payload = 8 * measured.size / points, 8 * measured.payload / points
        rows.append(
            [
                f"{rate:.3f}",
                f"{payload:.3f}",
                f"{psnr:.2f}",
                f"{measured.size:,}",
                f"{measured.encode_seconds / count:.3f}",
                f"{measured.decode_seconds / count:.4f}",
                published("cifar10_rd.csv", ("RECOMBINER", "COIN++", "BPG"), payload),
            ]
        )
    head = ("file bpp", "payload bpp", "PSNR dB", "bytes", "encode s/image", "decode s/image", "published (payload)")
    print(f"{count} test images, effort {options.effort}, {torch.get_num_threads()} threads")
    print(table(head, rows))
    print(f"peak memory {peak_gib():.2f} GiB")


if __name__ == "__main__":
    main()
