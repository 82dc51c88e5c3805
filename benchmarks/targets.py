"""DataSpec rates and qualities against what files have: the whole range of every prior.

python benchmarks/targets.py --effort fast

Signals: a Kodak photograph, a CIFAR-10 test image (a file of its own and 50 in an archive), 3 s of speech, a global
field of July. Rates are of whole files: 23 bytes of a file are not the codec's, which a 32x32 image feels.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from common import data_folder, mosaic, run_codec, table
from field_data import global_fields
from speech import first_seconds

from inrcodec.settings import Settings
from inrcodec.signals.files import read_signal
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.metrics import signal_psnr
from inrcodec.signals.signal import Signal

TINY = SignalHeader("image", "rgb", "u8", (32, 32), 3)


def main() -> None:
    """Every signal at every target, one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--effort", default="fast")
    options = parser.parse_args()
    photograph = read_signal(data_folder() / "kodak" / "kodim03.png")
    tiles = mosaic("cifar10/test_*.webp", 32)[:50].astype(np.float32) / np.float32(255)
    clip = first_seconds(read_signal(min((data_folder() / "librispeech" / "test").glob("*.flac"))), 3)
    plane = global_fields(1)["z"][1]
    unit = ((plane - plane.min()) / np.ptp(plane)).astype(np.float32)
    field = Signal(unit[..., None], SignalHeader("field", "field", "float32", unit.shape, 1))
    sets: list[tuple[str, list[Signal], str | None, str, Sequence[float]]] = [
        ("photograph", [photograph], None, "bpp", (0.1, 0.25, 0.5, 1, 2, 4)),
        ("photograph", [photograph], None, "psnr", (30, 34, 38, 42)),
        ("50 images of 32x32", [Signal(tile, TINY) for tile in tiles], None, "bpp", (0.3, 1, 2, 4)),
        ("50 images of 32x32", [Signal(tile, TINY) for tile in tiles], None, "psnr", (25, 30, 35)),
        ("one image of 32x32", [Signal(tiles[0], TINY)], None, "bpp", (0.5, 1, 2, 4)),
        ("speech", [clip], None, "kbps", (4, 8, 16, 32, 64)),
        ("speech", [clip], None, "psnr", (48, 54, 60)),
        ("500 hPa geopotential", [field], "globe", "bpp", (0.01, 0.1, 0.5, 2)),
        ("500 hPa geopotential", [field], "globe", "psnr", (40, 50)),
    ]
    rows = []
    for name, signals, prior, unit_name, targets in sets:
        for target in targets:
            settings = Settings(prior=prior, effort=options.effort, **{f"target_{unit_name}": float(target)})
            found = run_codec(signals, settings, "target.inr", archive=len(signals) > 1)
            reached = _reached(signals, found.size, found.decoded, unit_name)
            miss = f"{reached - target:+.2f} dB" if unit_name == "psnr" else f"{100 * (reached / target - 1):+.1f} %"
            rows.append([name, f"{target:g} {unit_name}", f"{reached:.3f}", miss, f"{found.encode_seconds:.1f}"])
    print(f"effort {options.effort}")
    print(table(("signals", "target", "reached", "miss", "encode s"), rows))


def _reached(signals: Sequence[Signal], size: int, decoded: Sequence[Signal], unit: str) -> float:
    if unit == "psnr":
        return float(np.mean([signal_psnr(a, b) for a, b in zip(signals, decoded, strict=True)]))
    if unit == "kbps":
        return 8 * size / 1000 / sum(s.header.n_points / s.header.sample_rate for s in signals)
    return 8 * size / sum(s.header.n_points for s in signals)


if __name__ == "__main__":
    main()
