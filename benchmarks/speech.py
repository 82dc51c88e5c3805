"""Speech, the first 3 s of test clips: file rate, PSNR ([0, 1] convention), SNR, seconds; published points beside.

python benchmarks/speech.py --count 3 --kbps 11 22
"""

from __future__ import annotations

import argparse
import dataclasses
import time

import numpy as np
import torch
from common import OUT, data_folder, peak_gib, published, table
from tqdm import tqdm

from inrcodec.api import InrFile
from inrcodec.codecs.operations import Settings, compress_signals
from inrcodec.ground.metrics import audio_psnr, kbps, snr
from inrcodec.ground.signal import Signal
from inrcodec.maths.atomic import write_whole
from inrcodec.maths.files import read_signal, write_signal

SECONDS = 3


def main() -> None:
    """Compress, decode, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=3)
    parser.add_argument("--kbps", type=float, nargs="+", default=[11.0, 22.0])
    parser.add_argument("--effort", default="default")
    options = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    paths = sorted((data_folder() / "librispeech" / "test").glob("*.flac"))[: options.count]
    rows: list[list[str]] = []
    for target in options.kbps:
        measured = []
        for path in paths:
            signal = first_seconds(read_signal(path), SECONDS)
            with tqdm(desc=f"{path.stem} {target} kbit/s", unit="step", disable=None) as bar:
                begun = time.perf_counter()
                encoded = compress_signals(
                    [signal], Settings(target_kbps=target, effort=options.effort), None, bar.update
                )
                coded = time.perf_counter() - begun
            out = OUT / f"{path.stem}_{target:g}.inr"
            write_whole(out, encoded.data, force=True)
            begun = time.perf_counter()
            decoded = InrFile(out).render()
            seconds = time.perf_counter() - begun
            write_signal(decoded, out.with_suffix(".wav"), force=True)
            rate = kbps(len(encoded.data), signal.header.n_points, signal.header.sample_rate)
            quality = audio_psnr(signal.values, decoded.values), snr(signal.values, decoded.values)
            measured.append((rate, *quality, audio_psnr(signal.values, 0 * signal.values), coded, seconds))
            rows.append([path.stem, f"{len(encoded.data):,}", *_cells(measured[-1]), ""])
        mean = tuple(np.mean(measured, axis=0))
        rows.append(
            ["mean", "", *_cells(mean), published("librispeech_rd.csv", ("RECOMBINER", "COIN++", "MP3"), mean[0])]
        )
    head = (
        "clip",
        "bytes",
        "kbit/s",
        "PSNR dB",
        "SNR dB",
        "PSNR of silence",
        "encode s",
        "decode s",
        "published, test-clean",
    )
    print(f"first {SECONDS} s, effort {options.effort}, {torch.get_num_threads()} threads")
    print(table(head, rows))
    print(f"peak memory {peak_gib():.2f} GiB")


def first_seconds(signal: Signal, seconds: float) -> Signal:
    """The start of a sound."""
    values = signal.values[: int(seconds * signal.header.sample_rate)]
    return Signal(values, dataclasses.replace(signal.header, shape=values.shape[:1]), signal.meta)


def _cells(figures: tuple[float, ...]) -> list[str]:
    return [f"{value:.2f}" for value in figures]


if __name__ == "__main__":
    main()
