"""Render what the report shows of one signal: original, decoded and residual at every operating point.

Images are central crops of at most ``SHOWN_HEIGHT`` x ``SHOWN_WIDTH`` points, stored as WebP of quality 92. Audio is
shown as spectrograms, with the first seconds to listen to. Fields are shown along their last two axes, at the first
index of the others.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image

from inrcodec.container.inr import unpack
from inrcodec.decoding import decompress_container
from inrcodec.display import data_uri
from inrcodec.evaluate.baselines import BASELINES, decode_baseline
from inrcodec.evaluate.inspection_figure import spectrogram
from inrcodec.evaluate.points import Point
from inrcodec.evaluate.sweep_jobs import read_source
from inrcodec.signals.signal import Signal
from inrcodec.storage import read_whole

if TYPE_CHECKING:
    from inrcodec.evaluate.sweep_result import Sweep

SHOWN_HEIGHT, SHOWN_WIDTH = 360, 480
RESIDUAL_GAIN = 4.0
HEARD_SECONDS = 6.0


def example_frames(result: Sweep, name: str) -> dict[str, Any]:
    """Return the original and, by series, frames with label, image and residual (and audio), for the page's script."""
    original = read_source(result.sources[name])
    scale = _scale(original)
    series = []
    for codec in result.series:
        points = sorted((p for p in result.points if (p.signal, p.series) == (name, codec)), key=lambda p: p.rate)
        frames = [_frame(result.folder, point, original, scale) for point in points]
        if frames:
            series.append({"name": codec, "frames": frames})
    out: dict[str, Any] = {"original": _rendering(original, scale), "series": series}
    if original.header.kind == "audio":
        out["sound"] = _audio(original)
    return out


def _frame(folder: Path, point: Point, original: Signal, scale: tuple[float, float]) -> dict[str, Any]:
    data = read_whole(folder / point.file)
    if point.series in BASELINES:
        decoded = decode_baseline(BASELINES[point.series], original, data)
    else:
        decoded = decompress_container(unpack(data), prior=point.details.get("prior"))
    unit = "kbit/s" if point.unit == "kbps" else "bpp"
    out: dict[str, Any] = {
        "label": f"{point.file_bytes:,} bytes, {point.rate:.3g} {unit}, {point.psnr:.2f} dB",
        "decoded": _rendering(decoded, scale),
        "residual": _residual(original, decoded, scale),
    }
    if original.header.kind == "audio":
        out["sound"] = _audio(decoded)
    return out


def _scale(original: Signal) -> tuple[float, float]:
    """Return the values that are drawn darkest and brightest."""
    if original.header.kind == "image":
        return 0.0, 1.0
    if original.header.kind == "audio":
        top = float(spectrogram(original.values).max())
        return top - 80.0, top
    return float(original.values.min()), float(original.values.max())


def _rendering(signal: Signal, scale: tuple[float, float]) -> str:
    low, high = scale
    plane = _plane(signal)
    shown = np.clip((plane - low) / max(high - low, 1e-9), 0.0, 1.0)
    return _webp(
        shown if signal.header.kind == "image" else _coloured(shown, "magma" if _is_audio(signal) else "viridis")
    )


def _residual(original: Signal, decoded: Signal, scale: tuple[float, float]) -> str:
    if _is_audio(original):
        return _rendering(original.with_values(decoded.values - original.values), scale)
    low, high = scale
    difference = (_plane(decoded) - _plane(original)) / max(high - low, 1e-9)
    if original.header.kind == "image":
        return _webp(np.clip(0.5 + RESIDUAL_GAIN * difference, 0.0, 1.0))
    return _webp(_coloured(np.clip(0.5 + 2.0 * RESIDUAL_GAIN * difference, 0.0, 1.0), "RdBu_r"))


def _is_audio(signal: Signal) -> bool:
    return signal.header.kind == "audio" or len(signal.header.shape) == 1


def _plane(signal: Signal) -> NDArray[np.float32]:
    """Return what is shown of a signal: (H, W, 3) for images, (H, W) for all else."""
    if _is_audio(signal):
        return spectrogram(signal.values)
    values = signal.colour_values
    while values.ndim > 3:
        values = values[0]
    height, width = values.shape[:2]
    top, left = max(0, (height - SHOWN_HEIGHT) // 2), max(0, (width - SHOWN_WIDTH) // 2)
    if signal.header.kind == "field":
        step = -(-max(height, width) // SHOWN_WIDTH)
        return values[::step, ::step, 0]
    crop = values[top : top + SHOWN_HEIGHT, left : left + SHOWN_WIDTH]
    return np.repeat(crop, 3, axis=2) if crop.shape[2] == 1 else crop


def _coloured(shown: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    from matplotlib import colormaps

    return np.asarray(colormaps[name](shown)[..., :3], np.float32)


def _webp(shown: NDArray[np.float32]) -> str:
    out = io.BytesIO()
    Image.fromarray(np.rint(shown * 255.0).astype(np.uint8)).save(out, "WEBP", quality=92)
    return data_uri(out.getvalue(), "image/webp")


def _audio(signal: Signal) -> str:
    rate = signal.header.sample_rate
    out = io.BytesIO()
    soundfile.write(out, np.clip(signal.values[: int(HEARD_SECONDS * rate)], -1, 1), rate, "PCM_16", format="WAV")
    return data_uri(out.getvalue(), "audio/wav")
