"""Draw a sheet of crops: original, JPEG, AVIF and this codec at equal file size.

python tools/contact_sheet.py
python tools/contact_sheet.py --bpp 0.2 --images photo.png other.png --out sheet.png

By default the images are samples of scikit-image. Every other codec is run at the best quality whose file is no larger
than this codec's.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from skimage import data

import inrcodec
from inrcodec.evaluate.baselines import baseline_at_size, baseline_named
from inrcodec.settings import Settings
from inrcodec.signals.files import read_signal
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.metrics import signal_psnr
from inrcodec.signals.signal import Signal

matplotlib.use("Agg")
from matplotlib import pyplot as plt

SAMPLES = {"astronaut": "astronaut", "cat": "chelsea", "coffee": "coffee"}
"""Titles and names of the functions of skimage.data that return the samples."""


def main() -> None:
    """Draw the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, nargs="*", help="image files; default: samples of scikit-image")
    parser.add_argument("--bpp", type=float, default=0.3, help="target rate")
    parser.add_argument("--effort", default="default")
    parser.add_argument("--baselines", nargs="+", default=["jpeg", "avif"], help="names of other codecs")
    parser.add_argument("--crop", type=int, default=224, help="side of the crops in pixels")
    parser.add_argument("--out", type=Path, default=Path("out/contact_sheet.png"), help="figure to write")
    options = parser.parse_args()
    if options.images:
        signals = {path.stem: read_signal(path) for path in options.images}
    else:
        signals = {title: _sample(name) for title, name in SAMPLES.items()}
    n_rows, n_columns = len(signals), 2 + len(options.baselines)
    size_inches = (2.6 * n_columns, 2.95 * n_rows)
    figure, grid = plt.subplots(n_rows, n_columns, figsize=size_inches, squeeze=False, layout="constrained")
    for row, (name, signal) in zip(grid, signals.items(), strict=True):
        encoded = inrcodec.encode(signal, Settings(target_bpp=options.bpp, effort=options.effort))
        size = len(encoded.data)
        columns = [(f"{name}, original", signal)]
        for other in options.baselines:
            point = baseline_at_size(baseline_named(other), signal, size)
            if point is None:
                columns.append((f"{other}: no file this small", signal.with_values(np.ones_like(signal.values))))
            else:
                columns.append((f"{other}, {point.file_bytes:,} bytes, {point.psnr:.2f} dB", point.decoded))
        decoded = inrcodec.decompress(encoded.data)
        columns.append((f"inrcodec, {size:,} bytes, {signal_psnr(signal, decoded):.2f} dB", decoded))
        print(name, *(title for title, _ in columns[1:]), sep="; ")
        top, left = ((n - options.crop) // 2 for n in signal.header.shape)
        for axes, (title, image) in zip(row, columns, strict=True):
            crop = image.colour_values[max(0, top) :, max(0, left) :][: options.crop, : options.crop]
            axes.imshow(np.clip(crop, 0, 1), interpolation="nearest", cmap="gray")
            axes.set_title(title, fontsize=7)
            axes.axis("off")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out, dpi=140)
    print(options.out)


def _sample(name: str) -> Signal:
    levels: NDArray[np.uint8] = getattr(data, name)()
    values = (levels / np.float32(255)).astype(np.float32)
    return Signal(values, SignalHeader("image", "rgb", "u8", levels.shape[:2], 3))


if __name__ == "__main__":
    main()
