"""``make demo``: a photograph and a sound through the codec, with the shipped priors, and a picture of the result.

The photograph is one of scikit-image's. The sound is the first speech recording of the data folder (INRCODEC_DATA, or
``../shared/data``), or, where there is none, a sung vowel made here.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

OUT = Path("out/demo")
PHOTO_BPP = 0.5
SOUND_KBPS = 22.0


def main() -> None:
    """Run the demo; everything it makes is in ``out/demo``."""
    OUT.mkdir(parents=True, exist_ok=True)
    from PIL import Image
    from skimage import data

    photo, sound = OUT / "cat.png", OUT / "sound.wav"
    Image.fromarray(data.chelsea()).save(photo)
    _write_sound(sound)
    for source, options in ((photo, {"target_bpp": PHOTO_BPP}), (sound, {"target_kbps": SOUND_KBPS})):
        _round_trip(source, options)
    picture = _side_by_side(photo, OUT / "cat.inr")
    print(f"\nOriginal, decoded and residual side by side: {picture}")
    print(f"Try:  inrcodec decompress {OUT / 'cat.inr'} -o big.png --scale 3")


def _write_sound(path: Path) -> None:
    import soundfile

    folder = Path(os.environ.get("INRCODEC_DATA", "../shared/data")) / "librispeech" / "test"
    recordings = sorted(folder.glob("*.flac")) if folder.is_dir() else []
    if recordings:
        values, rate = soundfile.read(recordings[0], dtype="float32")
        soundfile.write(path, values[: 3 * rate], rate, "PCM_16")
    else:
        soundfile.write(path, sung_vowel(3.0, 16000), 16000, "PCM_16")


def sung_vowel(seconds: float, rate: int) -> NDArray[np.float32]:
    """A gliding vowel: harmonics of a swaying pitch under three formants, in syllables."""
    t = np.arange(int(seconds * rate)) / rate
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


def _round_trip(source: Path, options: dict[str, float]) -> None:
    import inrcodec
    from inrcodec.signals.files import default_suffix, write_signal
    from inrcodec.signals.metrics import bpp, kbps, signal_psnr, snr
    from inrcodec.storage import write_whole

    original = inrcodec.read_signal(source)
    print(f"{source}: {source.stat().st_size:,} bytes, compressing ...", flush=True)
    begun = time.perf_counter()
    blob = inrcodec.compress(original, progress=_dots(), **options)  # type: ignore[arg-type]
    coded = time.perf_counter()
    decoded = inrcodec.decompress(blob)
    done = time.perf_counter()
    write_whole(source.with_suffix(".inr"), blob, force=True)
    write_signal(decoded, source.with_name(f"{source.stem}_decoded{default_suffix(decoded)}"), force=True)
    header = original.header
    if header.kind == "audio":
        rate = f"{kbps(len(blob), header.n_points, header.sample_rate):.2f} kbit/s"
        rate += f", SNR {snr(original.values, decoded.values):.2f} dB"
    else:
        rate = f"{bpp(len(blob), header.n_points):.3f} bpp"
    print(
        f"  {len(blob):,} bytes, {rate}, PSNR {signal_psnr(original, decoded):.2f} dB, "
        f"encoded in {coded - begun:.1f} s, decoded in {done - coded:.2f} s"
    )


class _dots:  # noqa: N801
    """A bar of gradient steps on a terminal, nothing elsewhere."""

    def __init__(self) -> None:
        from tqdm import tqdm

        self.bar = tqdm(unit="step", disable=not sys.stderr.isatty(), leave=False)

    def __call__(self, steps: int) -> None:
        self.bar.update(steps)


def _side_by_side(photo: Path, coded: Path) -> Path:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    import inrcodec
    from inrcodec.signals.metrics import bpp, image_psnr

    original = inrcodec.read_signal(photo).values
    decoded = inrcodec.decompress(coded).values
    figure, axes = pyplot.subplots(1, 3, figsize=(13.5, 3.5), layout="constrained")
    size = coded.stat().st_size
    titles = (
        f"original, {photo.stat().st_size:,} bytes (PNG)",
        f"decoded, {size:,} bytes, {bpp(size, original.shape[0] * original.shape[1]):.2f} bpp, "
        f"{image_psnr(original, decoded):.1f} dB",
        "residual x 4",
    )
    for axis, image, title in zip(axes, (original, decoded, 0.5 + 2.0 * (decoded - original)), titles, strict=True):
        axis.imshow(np.clip(image, 0.0, 1.0))
        axis.set_title(title, fontsize=10)
        axis.set_axis_off()
    path = OUT / "side_by_side.png"
    figure.savefig(path, dpi=110)
    return path


if __name__ == "__main__":
    main()
