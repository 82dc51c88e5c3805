"""Compress and decompress an image and audio with the shipped priors (``make demo``), and draw the result.

The image is a sample of scikit-image. The audio is the first speech recording in the data folder (INRCODEC_DATA, or
``../shared/data``) or, if there is none, a synthetic sung vowel.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import matplotlib
import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image
from skimage import data
from tqdm import tqdm

import inrcodec
from inrcodec.signals.files import default_suffix, write_signal
from inrcodec.signals.metrics import bpp, image_psnr, kbps, signal_psnr, snr
from inrcodec.storage import write_whole

OUT = Path("out/demo")
IMAGE = "chelsea"
"""Name of the function of skimage.data that returns the image."""
IMAGE_BPP = 0.5
AUDIO_KBPS = 22.0


def main() -> None:
    """Run the demo and write all files to ``out/demo``."""
    OUT.mkdir(parents=True, exist_ok=True)
    image, audio = OUT / "cat.png", OUT / "audio.wav"
    Image.fromarray(getattr(data, IMAGE)()).save(image)
    _write_audio(audio)
    summaries = [
        _round_trip(image, inrcodec.Settings(target_bpp=IMAGE_BPP)),
        _round_trip(audio, inrcodec.Settings(target_kbps=AUDIO_KBPS)),
    ]
    figure = _draw_comparison(image, image.with_suffix(".inr"))
    print("\nSummary")
    print("\n".join(summaries))
    print(f"Original, decoded image and residual side by side: {figure}")
    print(f"Next, decode at three times the size: inrcodec decompress {OUT / 'cat.inr'} -o big.png --scale 3")


def _write_audio(path: Path) -> None:
    folder = Path(os.environ.get("INRCODEC_DATA", "../shared/data")) / "librispeech" / "test"
    recordings = sorted(folder.glob("*.flac")) if folder.is_dir() else []
    if recordings:
        values, rate = soundfile.read(recordings[0], dtype="float32")
        soundfile.write(path, values[: 3 * rate], rate, "PCM_16")
    else:
        soundfile.write(path, sung_vowel(3.0, 16000), 16000, "PCM_16")


def sung_vowel(seconds: float, rate: int) -> NDArray[np.float32]:
    """Return a sung vowel, (samples,): harmonics of a swaying pitch under three formants, in syllables.

    Args:
        seconds: duration.
        rate: sample rate in Hz.
    """
    t: NDArray[np.float64] = np.arange(int(seconds * rate)) / rate
    pitch = 130.0 * 2.0 ** (0.25 * np.sin(2 * np.pi * 0.7 * t) + 0.02 * np.sin(2 * np.pi * 5.5 * t))
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    voice = np.zeros_like(t)
    for k in range(1, 40):
        f = k * pitch
        level = sum(g / (1.0 + ((f - c) / w) ** 2) for c, w, g in ((650, 90, 1.0), (1100, 110, 0.5), (2500, 160, 0.2)))
        voice += level * np.sin(k * phase) * (f < 0.45 * rate)
    syllables = np.clip(np.sin(2 * np.pi * 2.2 * t), 0.0, None) ** 0.5
    voice *= syllables
    return np.asarray(0.3 * voice / np.abs(voice).max(), np.float32)


def _round_trip(source: Path, settings: inrcodec.Settings) -> str:
    """Compress and decompress a file, write the results beside it, and return a line that describes them."""
    original = inrcodec.read_signal(source)
    n_bytes = source.stat().st_size
    print(f"Compressing {source} ({n_bytes:,} bytes) ...", flush=True)
    with tqdm(unit="step", disable=not sys.stderr.isatty(), leave=False) as bar:
        begun = time.perf_counter()
        encoded = inrcodec.encode(original, settings, progress=bar.update).data
        middle = time.perf_counter()
    decoded = inrcodec.decompress(encoded)
    done = time.perf_counter()
    write_whole(source.with_suffix(".inr"), encoded, force=True)
    write_signal(decoded, source.with_name(f"{source.stem}_decoded{default_suffix(decoded)}"), force=True)
    header = original.header
    if header.kind == "audio":
        rate = f"{kbps(len(encoded), header.n_points, header.sample_rate):.2f} kbit/s"
        rate += f", SNR {snr(original.values, decoded.values):.2f} dB"
    else:
        rate = f"{bpp(len(encoded), header.n_points):.3f} bpp"
    return (
        f"{header.kind}: {n_bytes:,} -> {len(encoded):,} bytes, {rate}, PSNR {signal_psnr(original, decoded):.2f} dB, "
        f"encoded in {middle - begun:.1f} s, decoded in {done - middle:.2f} s"
    )


def _draw_comparison(image: Path, coded: Path) -> Path:
    """Draw the original, the decoded image and their difference, and return the figure's path."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    original = inrcodec.read_signal(image).values
    decoded = inrcodec.decompress(coded).values
    figure, axes = pyplot.subplots(1, 3, figsize=(13.5, 3.5), layout="constrained")
    size = coded.stat().st_size
    titles = (
        f"original, {image.stat().st_size:,} bytes (PNG)",
        f"decoded, {size:,} bytes, {bpp(size, original.shape[0] * original.shape[1]):.2f} bpp, "
        f"{image_psnr(original, decoded):.1f} dB",
        "residual x 2",
    )
    for axis, values, title in zip(axes, (original, decoded, 0.5 + 2.0 * (decoded - original)), titles, strict=True):
        axis.imshow(np.clip(values, 0.0, 1.0))
        axis.set_title(title, fontsize=10)
        axis.set_axis_off()
    path = OUT / "side_by_side.png"
    figure.savefig(path, dpi=110)
    return path


if __name__ == "__main__":
    main()
