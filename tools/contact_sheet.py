"""A sheet of crops: original, JPEG, AVIF and this codec at equal bytes.

python tools/contact_sheet.py
python tools/contact_sheet.py --bpp 0.2 --images photo.png other.png --out sheet.png

By default the pictures that come with scikit-image. Every other codec gets the best quality whose file is not larger
than this codec's.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from common import OUT, run_codec
from skimage import data

from inrcodec.evaluate.baselines import baseline_at_size, baseline_named
from inrcodec.settings import Settings
from inrcodec.signals.files import read_signal
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.metrics import signal_psnr
from inrcodec.signals.signal import Signal

matplotlib.use("Agg")
from matplotlib import pyplot as plt

SAMPLES = {"astronaut": data.astronaut, "cat": data.chelsea, "coffee": data.coffee}


def main() -> None:
    """Draw the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, nargs="*", help="picture files; default: scikit-image's samples")
    parser.add_argument("--bpp", type=float, default=0.3)
    parser.add_argument("--effort", default="default")
    parser.add_argument("--baselines", nargs="+", default=["jpeg", "avif"])
    parser.add_argument("--crop", type=int, default=224, help="side of the crops in pixels")
    parser.add_argument("--out", type=Path, default=OUT / "contact_sheet.png")
    options = parser.parse_args()
    if options.images:
        signals = {path.stem: read_signal(path) for path in options.images}
    else:
        signals = {name: _sample(make()) for name, make in SAMPLES.items()}
    columns = 2 + len(options.baselines)
    figure, grid = plt.subplots(
        len(signals), columns, figsize=(2.6 * columns, 2.95 * len(signals)), squeeze=False, layout="constrained"
    )
    for row, (name, signal) in zip(grid, signals.items(), strict=True):
        settings = Settings(target_bpp=options.bpp, effort=options.effort)
        ours = run_codec([signal], settings, f"sheet_{name}.inr")
        shown = [(f"{name}, original", signal)]
        for other in options.baselines:
            point = baseline_at_size(baseline_named(other), signal, ours.size)
            if point is None:
                shown.append((f"{other}: no file so small", signal.with_values(np.ones_like(signal.values))))
            else:
                shown.append((f"{other}, {point.file_bytes:,} bytes, {point.psnr:.2f} dB", point.decoded))
        decoded = ours.decoded[0]
        shown.append((f"inrcodec, {ours.size:,} bytes, {signal_psnr(signal, decoded):.2f} dB", decoded))
        print(name, *(text for text, _ in shown[1:]), sep="; ")
        top, left = ((n - options.crop) // 2 for n in signal.header.shape)
        for axes, (text, picture) in zip(row, shown, strict=True):
            part = picture.colour_values[max(0, top) :, max(0, left) :][: options.crop, : options.crop]
            axes.imshow(np.clip(part, 0, 1), interpolation="nearest", cmap="gray")
            axes.set_title(text, fontsize=7)
            axes.axis("off")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out, dpi=140)
    print(options.out)


def _sample(levels: np.ndarray) -> Signal:
    values = np.ascontiguousarray(levels, np.float32) / np.float32(255)
    return Signal(values, SignalHeader("image", "rgb", "u8", levels.shape[:2], 3))


if __name__ == "__main__":
    main()
