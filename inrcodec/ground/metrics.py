"""Distortion and rate, the one place where they are computed; all in float64.

Conventions (the published curves of Kodak, CIFAR-10 and LibriSpeech use the same):

- images: clamped and rounded to the grid of their bit depth, MSE over all colour channels, peak 2^depth - 1.
- sounds: PSNR on the signal mapped from [-1, 1] to [0, 1], peak 1, no rounding; SNR beside it.
- fields: PSNR on values normalised to [0, 1], and the largest absolute error in physical units.
- rates: 8 * file bytes per grid point (bpp), or per second / 1000 (kbit/s).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from inrcodec.ground.errors import DataError
from inrcodec.ground.signal import Signal


def mse(a: ArrayLike, b: ArrayLike) -> float:
    """Mean squared difference of two arrays of equal shape; DataError when the shapes differ."""
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if x.shape != y.shape:
        raise DataError(f"signals to compare must have equal shape, got {x.shape} and {y.shape}")
    return float(np.mean(np.square(x - y)))


def psnr(a: ArrayLike, b: ArrayLike, peak: float = 1.0) -> float:
    """Peak signal-to-noise ratio in dB; infinite for equal arrays."""
    error = mse(a, b)
    return math.inf if error == 0 else 10.0 * math.log10(peak**2 / error)


def image_psnr(a: ArrayLike, b: ArrayLike, bit_depth: int = 8) -> float:
    """PSNR in dB of images with values in [0, 1], both clamped and rounded to ``bit_depth`` bits."""
    top = 2**bit_depth - 1
    levels = [np.rint(np.clip(np.asarray(x, np.float64), 0.0, 1.0) * top) for x in (a, b)]
    return psnr(levels[0], levels[1], peak=top)


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
