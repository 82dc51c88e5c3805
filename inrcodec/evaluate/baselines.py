"""Other codecs, run: file bytes and what comes back at their settings.

Images: JPEG (optimised, progressive), WebP (method 6), JPEG 2000 (irreversible) and AVIF (4:4:4) through Pillow, JPEG
XL through imagecodecs (extra ``baselines``). Sounds: MP3, Opus and Vorbis through libsndfile, fed with 16-bit PCM.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image

from inrcodec.errors import UnsupportedError, UsageError
from inrcodec.signals.metrics import signal_psnr
from inrcodec.signals.signal import Signal

Levels = NDArray[Any]
MAX_DELAY = 4096
"""Samples that a sound codec's output is looked for behind its input."""


@dataclass(frozen=True)
class Baseline:
    """``encode`` turns levels (H, W, C) of an image, or samples (n, C) of a sound and its rate, to a file at a setting;
    ``settings`` go from the smallest files to the largest, a curve goes over the part ``places`` of them. ``about``:
    what else its files depend on.
    """

    name: str
    kind: str
    settings: tuple[float, ...]
    places: tuple[float, float]
    encode: Callable[[Levels, int, float], bytes]
    decode: Callable[[bytes], Levels]
    about: str

    def curve(self, count: int = 8) -> list[float]:
        """Settings of a rate-distortion curve over the usual rates."""
        last = len(self.settings) - 1
        return [self.settings[round(place * last)] for place in np.linspace(*self.places, count)]


@dataclass(frozen=True)
class BaselinePoint:
    """One file: its setting, bytes, what comes back and how long both ways took."""

    setting: float
    data: bytes
    decoded: Signal
    psnr: float
    encode_seconds: float
    decode_seconds: float

    @property
    def file_bytes(self) -> int:
        """Length of the file."""
        return len(self.data)


def run_baseline(baseline: Baseline, signal: Signal, setting: float) -> BaselinePoint:
    """Encode and decode; UnsupportedError when the codec does not carry such a signal."""
    if signal.header.kind != baseline.kind:
        raise UnsupportedError(f"{baseline.name} does not carry signals of kind {signal.header.kind}")
    if baseline.kind == "image" and signal.meta.bit_depth != 8:
        raise UnsupportedError(f"{baseline.name} is run on images of 8 bits, not {signal.meta.bit_depth}")
    native = signal.to_native()
    if baseline.kind == "image":
        native = native[..., : signal.colour_values.shape[-1]]
    begun = time.perf_counter()
    data = baseline.encode(native, signal.header.sample_rate, setting)
    encoded = time.perf_counter()
    decoded = decode_baseline(baseline, signal, data)
    done = time.perf_counter()
    return BaselinePoint(setting, data, decoded, signal_psnr(signal, decoded), encoded - begun, done - encoded)


def decode_baseline(baseline: Baseline, signal: Signal, data: bytes) -> Signal:
    """What a file of ``signal`` gives back, moved to where the signal lies; alpha is the signal's own."""
    if baseline.kind == "audio":
        return signal.with_values(_aligned(baseline.decode(data), signal.values))
    colours = signal.colour_values
    back = baseline.decode(data).reshape(colours.shape).astype(np.float32) / 255.0
    return signal.with_values(np.concatenate([back, signal.values[..., colours.shape[-1] :]], axis=-1))


def baseline_at_size(baseline: Baseline, signal: Signal, file_bytes: int) -> BaselinePoint | None:
    """The best setting whose file is not larger than ``file_bytes``; None when even the smallest is."""
    low, high, best = 0, len(baseline.settings) - 1, None
    while low <= high:
        middle = (low + high) // 2
        found = run_baseline(baseline, signal, baseline.settings[middle])
        if found.file_bytes <= file_bytes:
            best, low = found, middle + 1
        else:
            high = middle - 1
    return best


def baseline_named(name: str) -> Baseline:
    """The codec of this name; UsageError when there is none."""
    if name not in BASELINES:
        raise UsageError(f"baseline must be one of {', '.join(BASELINES)}, got {name!r}")
    return BASELINES[name]


def _pillow(kind: str, setting: str, **fixed: Any) -> Callable[[Levels, int, float], bytes]:
    def encode(levels: Levels, rate: int, value: float) -> bytes:
        out = io.BytesIO()
        chosen: Any = [value] if kind == "JPEG2000" else int(value)
        # Pillow leaves the colours of JPEG 2000 as they are unless told otherwise: 3 dB worse.
        more = {"mct": 1} if kind == "JPEG2000" and levels.shape[-1] == 3 else {}
        Image.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels).save(
            out, kind, **{setting: chosen}, **fixed, **more
        )
        return out.getvalue()

    return encode


def _open(data: bytes) -> Levels:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def _encode_jxl(levels: Levels, rate: int, distance: float) -> bytes:
    return bytes(
        _imagecodecs().jpegxl_encode(levels.squeeze(-1) if levels.shape[-1] == 1 else levels, distance=distance)
    )


def _decode_jxl(data: bytes) -> Levels:
    return np.asarray(_imagecodecs().jpegxl_decode(data))


def _imagecodecs() -> Any:
    try:
        import imagecodecs
    except ImportError:
        raise UsageError("JPEG XL needs imagecodecs: pip install 'inrcodec[baselines]'") from None
    return imagecodecs


def _sound(kind: str, subtype: str, **fixed: Any) -> Callable[[Levels, int, float], bytes]:
    def encode(samples: Levels, rate: int, level: float) -> bytes:
        out = io.BytesIO()
        pcm = np.rint(samples * 32767.0).astype(np.int16)
        try:
            soundfile.write(out, pcm, rate, format=kind, subtype=subtype, compression_level=1.0 - level, **fixed)
        except soundfile.LibsndfileError as error:
            raise UnsupportedError(f"{subtype} cannot write {pcm.shape[1]} channels at {rate} Hz: {error}") from None
        return out.getvalue()

    return encode


def _read_sound(data: bytes) -> Levels:
    return np.asarray(soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)[0])


def _aligned(decoded: Levels, original: Levels) -> NDArray[np.float32]:
    """Decoded samples moved by the codec's delay, where they agree best with the original, and of its length."""
    n = len(original)
    n_fft = 1 << (n + MAX_DELAY).bit_length()
    mono = [np.fft.rfft(np.asarray(x, np.float64).mean(axis=1)[: n + MAX_DELAY], n_fft) for x in (decoded, original)]
    likeness = np.fft.irfft(mono[0] * mono[1].conj())[:MAX_DELAY]
    part = decoded[int(np.argmax(likeness)) :][:n]
    return np.pad(part, ((0, n - len(part)), (0, 0))).astype(np.float32)


def _evenly(first: float, last: float, count: int) -> tuple[float, ...]:
    """Settings of even ratio."""
    return tuple(float(value) for value in np.geomspace(first, last, count))


_SOUND_LEVELS = tuple(float(value) for value in np.linspace(0.01, 1.0, 34))
_JPEG = _pillow("JPEG", "quality", optimize=True, progressive=True)
_JPEG2000 = _pillow("JPEG2000", "quality_layers", quality_mode="rates", irreversible=True, no_jp2=True)
_AVIF = _pillow("AVIF", "quality", speed=4, subsampling="4:4:4")
_MP3 = _sound("MP3", "MPEG_LAYER_III", bitrate_mode="CONSTANT")
_WEBP, _OPUS, _VORBIS = _pillow("WEBP", "quality", method=6), _sound("OGG", "OPUS"), _sound("OGG", "VORBIS")
_RATIOS, _DISTANCES, _QUALITIES = _evenly(600.0, 2.0, 120), _evenly(24.0, 0.05, 80), tuple(range(101))
BASELINES = {
    baseline.name: baseline
    for baseline in (
        Baseline("jpeg", "image", _QUALITIES[1:99], (0.03, 0.8), _JPEG, _open, "quality; optimised, progressive"),
        Baseline("webp", "image", _QUALITIES, (0.0, 0.8), _WEBP, _open, "quality; method 6"),
        Baseline(
            "jpeg2000", "image", _RATIOS, (0.15, 0.75), _JPEG2000, _open, "ratio; irreversible, colours decorrelated"
        ),
        Baseline("avif", "image", _QUALITIES[:100], (0.15, 0.75), _AVIF, _open, "quality; speed 4, 4:4:4"),
        Baseline("jxl", "image", _DISTANCES, (0.05, 0.65), _encode_jxl, _decode_jxl, "distance; effort 7"),
        Baseline("mp3", "audio", _SOUND_LEVELS, (0.0, 0.5), _MP3, _read_sound, "level; constant rate"),
        Baseline("opus", "audio", _SOUND_LEVELS, (0.0, 0.25), _OPUS, _read_sound, "level"),
        Baseline("vorbis", "audio", _SOUND_LEVELS, (0.0, 0.8), _VORBIS, _read_sound, "level"),
    )
}
