"""Compare all codecs on the same photographs at equal file size: rate, PSNR, seconds to encode and to decode.

python benchmarks/all_codecs.py --images 1 2 3 --bpp 0.3
python benchmarks/all_codecs.py --codecs coin coin++ --effort best

Lossless codecs take no target rate and are left out.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from common import kodak_path, peak_gib, run_codec, table

from inrcodec.codecs.registry import FAMILIES
from inrcodec.settings import Settings
from inrcodec.signals.files import read_signal
from inrcodec.signals.metrics import signal_psnr

LOSSY_CODECS = [name for family in FAMILIES if not family.lossless for name in family.names]


def main() -> None:
    """Compress every image with every codec and print a table of means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[1, 2, 3], help="numbers of Kodak photographs")
    parser.add_argument("--bpp", type=float, nargs="+", default=[0.3], help="target rates")
    parser.add_argument("--codecs", nargs="+", default=LOSSY_CODECS, choices=LOSSY_CODECS)
    parser.add_argument("--effort", default="default")
    options = parser.parse_args()
    signals = {kodak_path(number).stem: read_signal(kodak_path(number)) for number in options.images}
    rows = []
    for bpp in options.bpp:
        for codec in options.codecs:
            settings = Settings(codec=codec, target_bpp=bpp, effort=options.effort)
            results = []
            for name, signal in signals.items():
                measured = run_codec([signal], settings, f"{name}_{bpp:g}_{codec}.inr")
                results.append(
                    (
                        measured.size,
                        8 * measured.size / signal.header.n_points,
                        signal_psnr(signal, measured.decoded[0]),
                        measured.encode_seconds,
                        measured.decode_seconds,
                    )
                )
            size, rate, psnr, encode, decode = np.mean(results, axis=0)
            rows.append([codec, f"{size:,.0f}", f"{rate:.3f}", f"{psnr:.2f}", f"{encode:.1f}", f"{decode:.2f}"])
    print(f"means over {', '.join(signals)}, effort {options.effort}, {torch.get_num_threads()} threads")
    print(table(("codec", "bytes", "bpp", "PSNR dB", "encode s", "decode s"), rows))
    print(f"peak memory {peak_gib():.2f} GiB")


if __name__ == "__main__":
    main()
