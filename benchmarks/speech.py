"""Measure speech, the first 3 s of test clips: rate, PSNR, SNR and seconds, with other codecs and published results.

python benchmarks/speech.py --kbps 10.7 22.1

PSNR maps samples from [-1, 1] to [0, 1], as publications do. MP3, Opus and Vorbis are libsndfile's, on the same clips.
"""

from __future__ import annotations

import argparse
import dataclasses
import io

import numpy as np
import soundfile
import torch
from common import OUT, data_folder, peak_gib, published, run_codec, table

from inrcodec.settings import Settings
from inrcodec.signals.files import read_signal, write_signal
from inrcodec.signals.metrics import audio_psnr, kbps, snr
from inrcodec.signals.signal import Signal

SECONDS = 3
BASELINES = {
    "MP3": {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "CONSTANT"},
    "Opus": {"format": "OGG", "subtype": "OPUS"},
    "Vorbis": {"format": "OGG", "subtype": "VORBIS"},
}


def main() -> None:
    """Compress and decode every clip at every rate, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=12, help="number of clips")
    parser.add_argument("--kbps", type=float, nargs="+", default=[10.7, 22.1], help="target rates")
    parser.add_argument("--effort", default="default")
    parser.add_argument("--codec", default="auto")
    parser.add_argument("--means", action="store_true", help="print only means")
    options = parser.parse_args()
    paths = sorted((data_folder() / "librispeech" / "test").glob("*.flac"))[: options.count]
    signals = {path.stem: first_seconds(read_signal(path), SECONDS) for path in paths}
    rows: list[list[str]] = []
    for target in options.kbps:
        results: list[tuple[float, ...]] = []
        for name, signal in signals.items():
            settings = Settings(codec=options.codec, target_kbps=target, effort=options.effort)
            measured = run_codec([signal], settings, f"{name}_{target:g}_{options.effort}.inr")
            decoded = measured.decoded[0]
            write_signal(decoded, OUT / f"{name}_{target:g}_{options.effort}.wav", force=True)
            rate = kbps(measured.size, signal.header.n_points, signal.header.sample_rate)
            quality = audio_psnr(signal.values, decoded.values), snr(signal.values, decoded.values)
            silence = audio_psnr(signal.values, 0 * signal.values)
            results.append((rate, *quality, silence, measured.encode_seconds, measured.decode_seconds))
            if not options.means:
                rows.append([name, f"{measured.size:,}", *_cells(results[-1]), ""])
        mean = tuple(np.mean(results, axis=0))
        rows.append(
            ["mean", "", *_cells(mean), published("librispeech_rd.csv", ("RECOMBINER", "COIN++", "MP3"), mean[0])]
        )
    for kind in BASELINES:
        for level in (0.6, 0.8, 0.9, 1.0):
            if (point := _baseline(kind, level, list(signals.values()))) is not None:
                rows.append([f"{kind}, mean", "", *(f"{v:.2f}" for v in point), *[""] * 4])
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
    """Return the start of an audio signal."""
    values = signal.values[: int(seconds * signal.header.sample_rate)]
    return Signal(values, dataclasses.replace(signal.header, shape=values.shape[:1]), signal.meta)


def _baseline(kind: str, level: float, signals: list[Signal]) -> tuple[float, float, float] | None:
    """Return mean kbit/s, PSNR and SNR of another codec at a compression level; None if it has no such level."""
    points = []
    for signal in signals:
        rate = round(signal.header.sample_rate)
        buffer = io.BytesIO()
        try:
            soundfile.write(buffer, signal.values, rate, compression_level=level, **BASELINES[kind])
        except soundfile.LibsndfileError:
            return None
        buffer.seek(0)
        decoded = soundfile.read(buffer, dtype="float32", always_2d=True)[0][: len(signal.values)]
        decoded = np.pad(decoded, ((0, len(signal.values) - len(decoded)), (0, 0)))
        size = kbps(len(buffer.getvalue()), len(signal.values), rate)
        points.append((size, audio_psnr(signal.values, decoded), snr(signal.values, decoded)))
    kilobits, psnr, ratio = np.mean(points, axis=0)
    return float(kilobits), float(psnr), float(ratio)


def _cells(figures: tuple[float, ...]) -> list[str]:
    return [f"{value:.2f}" for value in figures]


if __name__ == "__main__":
    main()
