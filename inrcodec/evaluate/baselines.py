"""Run other codecs at their settings: file size and decoded signal.

Images: JPEG (optimised, progressive), WebP (method 6), JPEG 2000 (irreversible) and AVIF (4:4:4) through Pillow, JPEG
XL through imagecodecs (extra ``baselines``). Audio: MP3, Opus and Vorbis through libsndfile, from 16-bit PCM.
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
"""Max delay in samples of an audio codec's output that is compensated."""


@dataclass(frozen=True)
class Baseline:
    """Holds a codec that signals of this package can be compared with.

    Attributes:
        name: name of the codec.
        kind: kind of signal that it encodes, "image" or "audio".
        settings: its settings, from the smallest files to the largest.
        places: where a curve begins and ends in ``settings``, as fractions.
        encode: takes levels (H, W, C) of an image or samples (n, C) of audio, the sample rate and a setting; returns
            the bytes of a file.
        decode: takes the bytes of a file; returns levels or samples.
        about: what a setting means, and what else files depend on.
    """

    name: str
    kind: str
    settings: tuple[float, ...]
    places: tuple[float, float]
    encode: Callable[[Levels, int, float], bytes]
    decode: Callable[[bytes], Levels]
    about: str

    def curve(self, count: int = 8) -> list[float]:
        """Return ``count`` settings of a rate-distortion curve over typical rates."""
        last = len(self.settings) - 1
        return [self.settings[round(place * last)] for place in np.linspace(*self.places, count)]


@dataclass(frozen=True)
class BaselinePoint:
    """Holds the results for one file of a baseline.

    Attributes:
        setting: the codec's setting.
        data: bytes of the file.
        decoded: the decoded signal.
        psnr: its PSNR in dB.
        encode_seconds: time to encode.
        decode_seconds: time to decode.
    """

    setting: float
    data: bytes
    decoded: Signal
    psnr: float
    encode_seconds: float
    decode_seconds: float

    @property
    def file_bytes(self) -> int:
        """Return the length of the file."""
        return len(self.data)


def run_baseline(baseline: Baseline, signal: Signal, setting: float) -> BaselinePoint:
    """Encode and decode a signal at a setting.

    Raises:
        UnsupportedError: the codec does not encode such a signal.
    """
    if signal.header.kind != baseline.kind:
        raise UnsupportedError(f"{baseline.name} does not encode signals of kind {signal.header.kind}")
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
    """Return what a file of ``signal`` decodes to, without the codec's delay; alpha is taken from ``signal``."""
    if baseline.kind == "audio":
        return signal.with_values(_aligned(baseline.decode(data), signal.values))
    colours = signal.colour_values
    decoded = baseline.decode(data).reshape(colours.shape).astype(np.float32) / 255.0
    return signal.with_values(np.concatenate([decoded, signal.values[..., colours.shape[-1] :]], axis=-1))


def baseline_at_size(baseline: Baseline, signal: Signal, file_bytes: int) -> BaselinePoint | None:
    """Return the point of the best setting whose file has at most ``file_bytes`` bytes; None if there is none."""
    low, high, best = 0, len(baseline.settings) - 1, None
    while low <= high:
        middle = (low + high) // 2
        point = run_baseline(baseline, signal, baseline.settings[middle])
        if point.file_bytes <= file_bytes:
            best, low = point, middle + 1
        else:
            high = middle - 1
    return best


def baseline_named(name: str) -> Baseline:
    """Return the baseline of a name; UsageError when there is none."""
    if name not in BASELINES:
        raise UsageError(f"baseline must be one of {', '.join(BASELINES)}, got {name!r}")
    return BASELINES[name]


def _pillow(kind: str, setting: str, **fixed: Any) -> Callable[[Levels, int, float], bytes]:
    def encode(levels: Levels, rate: int, value: float) -> bytes:
        out = io.BytesIO()
        options: dict[str, Any] = {setting: [value] if kind == "JPEG2000" else int(value)}
        if kind == "JPEG2000" and levels.shape[-1] == 3:
            # By default Pillow does not transform the colours of JPEG 2000, which costs 3 dB.
            options["mct"] = 1
        image = Image.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels)
        image.save(out, kind, **options, **fixed)
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


def _audio(kind: str, subtype: str, **fixed: Any) -> Callable[[Levels, int, float], bytes]:
    def encode(samples: Levels, rate: int, level: float) -> bytes:
        out = io.BytesIO()
        pcm = np.rint(samples * 32767.0).astype(np.int16)
        try:
            soundfile.write(out, pcm, rate, format=kind, subtype=subtype, compression_level=1.0 - level, **fixed)
        except soundfile.LibsndfileError as error:
            raise UnsupportedError(f"{subtype} cannot write {pcm.shape[1]} channels at {rate} Hz: {error}") from None
        return out.getvalue()

    return encode


def _read_audio(data: bytes) -> Levels:
    return np.asarray(soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)[0])


def _aligned(decoded: Levels, original: Levels) -> NDArray[np.float32]:
    """Return decoded samples without the codec's delay, at which they agree best, cut or padded to the original."""
    n = len(original)
    n_fft = 1 << (n + MAX_DELAY).bit_length()
    mono = [np.fft.rfft(np.asarray(x, np.float64).mean(axis=1)[: n + MAX_DELAY], n_fft) for x in (decoded, original)]
    correlation = np.fft.irfft(mono[0] * mono[1].conj())[:MAX_DELAY]
    aligned = decoded[int(np.argmax(correlation)) :][:n]
    return np.pad(aligned, ((0, n - len(aligned)), (0, 0))).astype(np.float32)


def _geometric(first: float, last: float, count: int) -> tuple[float, ...]:
    return tuple(float(value) for value in np.geomspace(first, last, count))


_AUDIO_LEVELS = tuple(float(value) for value in np.linspace(0.01, 1.0, 34))
_JPEG = _pillow("JPEG", "quality", optimize=True, progressive=True)
_JPEG2000 = _pillow("JPEG2000", "quality_layers", quality_mode="rates", irreversible=True, no_jp2=True)
_AVIF = _pillow("AVIF", "quality", speed=4, subsampling="4:4:4")
_AVIF_SLOW = _pillow("AVIF", "quality", speed=0, subsampling="4:4:4")
_WEBP = _pillow("WEBP", "quality", method=6)
_MP3 = _audio("MP3", "MPEG_LAYER_III", bitrate_mode="CONSTANT")
_OPUS, _VORBIS = _audio("OGG", "OPUS"), _audio("OGG", "VORBIS")
_RATIOS, _DISTANCES, _QUALITIES = _geometric(600.0, 2.0, 120), _geometric(24.0, 0.05, 80), tuple(range(101))
BASELINES = {
    baseline.name: baseline
    for baseline in (
        Baseline("jpeg", "image", _QUALITIES[1:99], (0.03, 0.8), _JPEG, _open, "quality; optimised, progressive"),
        Baseline("webp", "image", _QUALITIES, (0.0, 0.8), _WEBP, _open, "quality; method 6"),
        Baseline(
            "jpeg2000", "image", _RATIOS, (0.15, 0.75), _JPEG2000, _open, "ratio; irreversible, colours decorrelated"
        ),
        Baseline("avif", "image", _QUALITIES[:100], (0.15, 0.75), _AVIF, _open, "quality; speed 4, 4:4:4"),
        Baseline("avif-slow", "image", _QUALITIES[:100], (0.15, 0.75), _AVIF_SLOW, _open, "quality; speed 0, 4:4:4"),
        Baseline("jxl", "image", _DISTANCES, (0.05, 0.65), _encode_jxl, _decode_jxl, "distance; effort 7"),
        Baseline("mp3", "audio", _AUDIO_LEVELS, (0.0, 0.5), _MP3, _read_audio, "level; constant rate"),
        Baseline("opus", "audio", _AUDIO_LEVELS, (0.0, 0.25), _OPUS, _read_audio, "level"),
        Baseline("vorbis", "audio", _AUDIO_LEVELS, (0.0, 0.8), _VORBIS, _read_audio, "level"),
    )
}
"""All baselines by name."""
