"""Distortion and rate, the one place where they are computed; all in float64.

Conventions (the published curves of Kodak, CIFAR-10 and LibriSpeech use the same):

- images: clamped and rounded to the grid of their bit depth, MSE over all colour channels, peak 2^depth - 1.
- sounds: PSNR on the signal mapped from [-1, 1] to [0, 1], peak 1, no rounding; SNR beside it.
- fields: PSNR on values normalised to [0, 1], and the largest absolute error in physical units.
- rates: 8 * file bytes per grid point (bpp), or per second / 1000 (kbit/s).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inrcodec.errors import DataError
from inrcodec.signals.signal import Signal

AnyArray = NDArray[Any]
FloatArray = NDArray[np.float64]

NUMBERS_AT_ONCE = 1 << 21
"""Of larger signals this many numbers are compared at a time."""


def mse(a: ArrayLike, b: ArrayLike) -> float:
    """Mean squared difference of two arrays of equal shape; DataError when the shapes differ."""
    x, y = np.asarray(a), np.asarray(b)
    return _mean_square(x, y, lambda part: part)


def psnr(a: ArrayLike, b: ArrayLike, peak: float = 1.0) -> float:
    """Peak signal-to-noise ratio in dB; infinite for equal arrays."""
    return _decibels(mse(a, b), peak)


def _decibels(error: float, peak: float) -> float:
    return math.inf if error == 0 else 10.0 * math.log10(peak**2 / error)


def _mean_square(a: AnyArray, b: AnyArray, mapped: Callable[[FloatArray], FloatArray]) -> float:
    """Mean squared difference of mapped values, a part of the rows at a time."""
    if a.shape != b.shape:
        raise DataError(f"signals to compare must have equal shape, got {a.shape} and {b.shape}")
    if a.ndim == 0 or a.size <= NUMBERS_AT_ONCE:
        return float(np.mean(np.square(mapped(a.astype(np.float64)) - mapped(b.astype(np.float64)))))
    rows = max(1, NUMBERS_AT_ONCE * len(a) // a.size)
    parts = (slice(start, start + rows) for start in range(0, len(a), rows))
    sums = [np.square(mapped(a[p].astype(np.float64)) - mapped(b[p].astype(np.float64))).sum() for p in parts]
    return math.fsum(sums) / a.size


def image_psnr(a: ArrayLike, b: ArrayLike, bit_depth: int = 8) -> float:
    """PSNR in dB of images with values in [0, 1], both clamped and rounded to ``bit_depth`` bits."""
    top = 2**bit_depth - 1
    error = _mean_square(np.asarray(a), np.asarray(b), lambda part: np.rint(np.clip(part, 0.0, 1.0) * top))
    return _decibels(error, top)


def audio_psnr(a: ArrayLike, b: ArrayLike) -> float:
    """PSNR in dB of sounds in [-1, 1], mapped to [0, 1]: 6.02 dB above -10 log10 of the MSE."""
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return psnr((x + 1.0) / 2.0, (y + 1.0) / 2.0)


def snr(signal: ArrayLike, decoded: ArrayLike) -> float:
    """Signal-to-noise ratio in dB: energy of the signal over energy of the error."""
    x = np.asarray(signal, np.float64)
    error, energy = mse(x, decoded), float(np.mean(np.square(x)))
    if error == 0:
        return math.inf
    return -math.inf if energy == 0 else 10.0 * math.log10(energy / error)


def signal_psnr(original: Signal, decoded: Signal) -> float:
    """PSNR by the convention of the signal's kind; alpha, which is kept exactly, is left out."""
    a, b = original.colour_values, decoded.colour_values
    if original.header.kind == "audio":
        return audio_psnr(a, b)
    if original.header.kind == "image":
        return image_psnr(a, b, original.meta.bit_depth)
    return psnr(a, b)


def bpp(file_bytes: int, n_points: int) -> float:
    """Bits per grid point."""
    return 8.0 * file_bytes / n_points


def kbps(file_bytes: int, n_samples: int, sample_rate: int) -> float:
    """Kilobits (1000) per second."""
    return 8.0 * file_bytes * sample_rate / n_samples / 1000.0
