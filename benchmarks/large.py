"""Run a large image through the command line: seconds, file size and peak memory of compress and decompress.

python benchmarks/large.py                             24 megapixels, default codec, effort fast
python benchmarks/large.py --size 2048 2048 --lossless

The image is made of photographs side by side. Every command runs in its own process; its time includes start-up and
reading the file.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

import numpy as np
from common import OUT, side_by_side, table
from PIL import Image

from inrcodec.signals.metrics import image_psnr


def run_command(arguments: list[str]) -> tuple[float, float]:
    """Run a command of the package and return its seconds and peak memory in GiB; exit when it fails."""
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "inrcodec", *arguments])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"failed: {' '.join(arguments)}")
    return time.perf_counter() - begun, usage.ru_maxrss / 2**20


def main() -> None:
    """Make the image, compress and decompress it, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(4000, 6000), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--effort", default="fast")
    parser.add_argument("--lossless", action="store_true")
    options = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    levels = side_by_side(*options.size)
    source, file, output = (OUT / name for name in ("large.png", "large.inr", "large_decoded.png"))
    Image.fromarray(levels).save(source, compress_level=1)
    settings = ["--lossless"] if options.lossless else ["--effort", options.effort]
    rows = []
    for name, arguments in (
        ("compress", ["compress", str(source), "-o", str(file), "-f", "-q", *settings]),
        ("decompress", ["decompress", str(file), "-o", str(output), "-f", "-q"]),
    ):
        seconds, gib = run_command(arguments)
        rows.append([name, f"{seconds:.1f}", f"{gib:.2f}"])
        print(*rows[-1], flush=True)
    decoded = np.asarray(Image.open(output))
    points = levels.shape[0] * levels.shape[1]
    psnr = image_psnr(decoded / np.float32(255), levels / np.float32(255))
    print(table(("command", "seconds", "peak GiB"), rows))
    print(
        f"{points / 1e6:.1f} megapixels, {file.stat().st_size:,} bytes, {8 * file.stat().st_size / points:.3f} bpp, "
        f"PSNR {psnr:.2f} dB, {os.cpu_count()} cores"
    )


if __name__ == "__main__":
    main()
