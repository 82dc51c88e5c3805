"""PSNR, SNR and rates. No other module computes them; everything is in float64.

The conventions are those of the published curves for Kodak, CIFAR-10 and LibriSpeech:

- images: clamped and rounded to their bit depth, MSE over all colour channels, peak 2^depth - 1.
- audio: PSNR of the signal mapped from [-1, 1] to [0, 1], peak 1, no rounding; SNR in addition.
- fields: PSNR of values normalised to [0, 1].
- rates: computed from the file size, 8 * bytes per grid point (bpp) or per second / 1000 (kbit/s).
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
"""Larger signals are compared in chunks of about this many numbers, to bound memory."""


def mse(a: ArrayLike, b: ArrayLike) -> float:
    """Return the mean squared difference of two arrays of equal shape.

    Raises:
        DataError: the shapes differ. All functions of this module that compare arrays raise it.
    """
    x, y = np.asarray(a), np.asarray(b)
    return _mean_square(x, y, lambda values: values)


def psnr(a: ArrayLike, b: ArrayLike, peak: float = 1.0) -> float:
    """Return the peak signal-to-noise ratio in dB; infinite for equal arrays."""
    return _decibels(mse(a, b), peak)


def _decibels(error: float, peak: float) -> float:
    return math.inf if error == 0 else 10.0 * math.log10(peak**2 / error)


def _mean_square(a: AnyArray, b: AnyArray, mapped: Callable[[FloatArray], FloatArray]) -> float:
    """Return the mean squared difference of mapped values, computed over chunks of rows."""
    if a.shape != b.shape:
        raise DataError(f"signals to compare must have equal shape, got {a.shape} and {b.shape}")
    if a.ndim == 0 or a.size <= NUMBERS_AT_ONCE:
        return float(np.mean(np.square(mapped(a.astype(np.float64)) - mapped(b.astype(np.float64)))))
    rows = max(1, NUMBERS_AT_ONCE * len(a) // a.size)
    chunks = (slice(start, start + rows) for start in range(0, len(a), rows))
    sums = [np.square(mapped(a[c].astype(np.float64)) - mapped(b[c].astype(np.float64))).sum() for c in chunks]
    return math.fsum(sums) / a.size


def image_psnr(a: ArrayLike, b: ArrayLike, bit_depth: int = 8) -> float:
    """Return the PSNR in dB of images in [0, 1], both clamped and rounded to ``bit_depth`` bits."""
    top = 2**bit_depth - 1
    error = _mean_square(np.asarray(a), np.asarray(b), lambda values: np.rint(np.clip(values, 0.0, 1.0) * top))
    return _decibels(error, top)


def audio_psnr(a: ArrayLike, b: ArrayLike) -> float:
    """Return the PSNR in dB of audio in [-1, 1], mapped to [0, 1]: 6.02 dB above -10 log10 of the MSE."""
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return psnr((x + 1.0) / 2.0, (y + 1.0) / 2.0)


def snr(signal: ArrayLike, decoded: ArrayLike) -> float:
    """Return the signal-to-noise ratio in dB: the energy of the signal over the energy of the error."""
    x = np.asarray(signal, np.float64)
    error, energy = mse(x, decoded), float(np.mean(np.square(x)))
    if error == 0:
        return math.inf
    return -math.inf if energy == 0 else 10.0 * math.log10(energy / error)


def signal_psnr(original: Signal, decoded: Signal) -> float:
    """Return the PSNR in dB by the convention of the signal's kind, without a (lossless) alpha channel."""
    a, b = original.colour_values, decoded.colour_values
    if original.header.kind == "audio":
        return audio_psnr(a, b)
    if original.header.kind == "image":
        return image_psnr(a, b, original.meta.bit_depth)
    return psnr(a, b)


def bpp(file_bytes: int, n_points: int) -> float:
    """Return the rate in bits per grid point."""
    return 8.0 * file_bytes / n_points


def kbps(file_bytes: int, n_samples: int, sample_rate: int) -> float:
    """Return the rate in kbit/s (1000 bits per second); ``sample_rate`` is in Hz."""
    return 8.0 * file_bytes * sample_rate / n_samples / 1000.0
