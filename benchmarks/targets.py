"""Compare target rates and qualities with those of the files, over the whole range of every prior.

python benchmarks/targets.py --effort fast

Signals are a Kodak photograph, CIFAR-10 test images (one in a file, 50 in an archive), 3 s of speech, and a global
field of July. Rates count whole files; 23 bytes of each are not the codec's, which matters for a 32x32 image.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from common import data_folder, kodak_path, mosaic, run_codec, table
from field_data import global_fields
from speech import first_seconds

from inrcodec.settings import Settings
from inrcodec.signals.files import read_signal
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.metrics import signal_psnr
from inrcodec.signals.signal import Signal

TINY = SignalHeader("image", "rgb", "u8", (32, 32), 3)


def main() -> None:
    """Encode every signal at every target and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--effort", default="fast")
    parser.add_argument("--count", type=int, help="number of targets of each kind; default: all")
    options = parser.parse_args()
    photograph = read_signal(kodak_path(3))
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
        for target in targets[: options.count]:
            settings = _settings(prior, options.effort, unit_name, target)
            measured = run_codec(signals, settings, "target.inr", archive=len(signals) > 1)
            actual = _actual(signals, measured.size, measured.decoded, unit_name)
            miss = f"{actual - target:+.2f} dB" if unit_name == "psnr" else f"{100 * (actual / target - 1):+.1f} %"
            rows.append([name, f"{target:g} {unit_name}", f"{actual:.3f}", miss, f"{measured.encode_seconds:.1f}"])
    print(f"effort {options.effort}")
    print(table(("signals", "target", "actual", "miss", "encode s"), rows))


def _settings(prior: str | None, effort: str, unit: str, target: float) -> Settings:
    """Return settings that ask for a rate or a quality in a unit."""
    settings = Settings(prior=prior, effort=effort)
    if unit == "psnr":
        return replace(settings, target_psnr=target)
    return replace(settings, target_kbps=target) if unit == "kbps" else replace(settings, target_bpp=target)


def _actual(signals: Sequence[Signal], size: int, decoded: Sequence[Signal], unit: str) -> float:
    if unit == "psnr":
        return float(np.mean([signal_psnr(a, b) for a, b in zip(signals, decoded, strict=True)]))
    if unit == "kbps":
        return 8 * size / 1000 / sum(s.header.n_points / s.header.sample_rate for s in signals)
    return 8 * size / sum(s.header.n_points for s in signals)


if __name__ == "__main__":
    main()
