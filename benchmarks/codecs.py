"""All codecs on the same photographs at equal bytes: file rate, PSNR, seconds to encode and to decode.

python benchmarks/codecs.py --images 1 2 3 --bpp 0.3
python benchmarks/codecs.py --codecs coin coin++ --effort best
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from common import data_folder, peak_gib, run_codec, table

from inrcodec.codecs.registry import codec_ids
from inrcodec.settings import Settings
from inrcodec.signals.files import read_signal
from inrcodec.signals.metrics import signal_psnr


def main() -> None:
    """Compress every image with every codec, print one table of means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--bpp", type=float, nargs="+", default=[0.3])
    parser.add_argument("--codecs", nargs="+", default=list(codec_ids()), choices=codec_ids())
    parser.add_argument("--effort", default="default")
    options = parser.parse_args()
    signals = {f"kodim{i:02d}": read_signal(data_folder() / "kodak" / f"kodim{i:02d}.png") for i in options.images}
    rows = []
    for bpp in options.bpp:
        for codec in options.codecs:
            settings = Settings(codec=codec, target_bpp=bpp, effort=options.effort)
            measured = []
            for name, signal in signals.items():
                found = run_codec([signal], settings, f"{name}_{bpp:g}_{codec}.inr")
                measured.append(
                    (
                        found.size,
                        8 * found.size / signal.header.n_points,
                        signal_psnr(signal, found.decoded[0]),
                        found.encode_seconds,
                        found.decode_seconds,
                    )
                )
            size, rate, psnr, encode, decode = np.mean(measured, axis=0)
            rows.append([codec, f"{size:,.0f}", f"{rate:.3f}", f"{psnr:.2f}", f"{encode:.1f}", f"{decode:.2f}"])
    print(f"means of {', '.join(signals)}, effort {options.effort}, {torch.get_num_threads()} threads")
    print(table(("codec", "bytes", "bpp", "PSNR dB", "encode s", "decode s"), rows))
    print(f"peak memory {peak_gib():.2f} GiB")


if __name__ == "__main__":
    main()
