"""Targets for a file turned into rates for a codec: bits per point and kbit/s by what a file takes beside the codec's
bodies, PSNR by a search over beta."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from inrcodec.codecs.base import Codec, Coded, CodedEntry, DecodeRequest, Encoding, FloatArray, Rate, Source
from inrcodec.errors import UsageError
from inrcodec.signals.metrics import signal_psnr
from inrcodec.signals.signal import Signal

LONG_BODY_MEAN, LONG_BODY_POWER = 125.0, 5.0
"""Bytes: bodies of 128 or more, whose length takes two bytes in an archive, are half of those with this mean length;
the power tells how sharply their share rises with the mean."""
PSNR_TOLERANCE_DB = 0.1
PSNR_TRIES = 8
MAX_PSNR_DB = 200.0
"""Stands for an infinite PSNR in means."""


def file_bits(target_bpp: float | None, target_kbps: float | None, signals: Sequence[Signal]) -> float | None:
    """Return the bits that a file may take by its targets, None where there is no target for its length.

    Raises:
        UsageError: kbit/s are asked for of signals that are not audio.
    """
    if target_bpp is not None:
        return target_bpp * sum(signal.header.n_points for signal in signals)
    if target_kbps is None:
        return None
    if any(signal.header.kind != "audio" for signal in signals):
        raise UsageError("target-kbps is for audio: use target-bpp for images and fields")
    seconds = sum(signal.header.n_points / signal.header.sample_rate for signal in signals)
    return target_kbps * 1000 * seconds


def body_rate(bits: float, other_bytes: int, n_signals: int, *, in_archive: bool) -> Rate:
    """Return the rate for all bodies in a file of ``bits`` that takes ``other_bytes`` without them.

    The longer the bodies of an archive, the more of them need a second byte for their length.
    """
    if in_archive:
        mean = max(bits / 8 / n_signals, 1.0)
        other_bytes += round(n_signals / (1.0 + (LONG_BODY_MEAN / mean) ** LONG_BODY_POWER))
    if bits <= 8 * other_bytes:
        raise UsageError(
            f"the target allows {bits / 8:.0f} bytes, but headers, alpha and metadata such as a colour profile or EXIF"
            f" alone take {other_bytes}: raise it"
        )
    return Rate(bits=bits - 8 * other_bytes)


def search_psnr(
    codec: Codec,
    encoding: Encoding,
    signals: Sequence[Signal],
    sources: Sequence[Source],
    target_db: float,
    *,
    has_next: bool = False,
) -> tuple[Coded, float]:
    """Encode at one beta after another until the mean PSNR is near the target; return what is nearest, and its PSNR.

    The logarithm of beta over dB is nearly a line. With ``has_next``, another prior goes on where the rates of this one
    end, and the search ends there.

    Raises:
        UsageError: the codec cannot reach the target within 1 dB.
    """
    log_beta = math.log(codec.default_beta(sources))
    tried: list[tuple[float, float]] = []
    best: tuple[float, Coded, float] | None = None
    for _ in range(PSNR_TRIES):
        coded = encoding.at(Rate(beta=math.exp(log_beta)))
        psnr = _mean_psnr(codec, coded, signals)
        if has_next and coded.exhausted and psnr < target_db - PSNR_TOLERANCE_DB:
            return coded, psnr
        tried.append((log_beta, psnr))
        miss = abs(psnr - target_db)
        if best is None or miss < best[0]:
            best = (miss, coded, psnr)
        if miss <= PSNR_TOLERANCE_DB:
            break
        log_beta = _next_log_beta(tried, target_db)
    assert best is not None
    if best[0] > 10 * PSNR_TOLERANCE_DB:
        raise UsageError(
            f"target-psnr {target_db} dB is out of range for prior {codec.prior.name!r}: the nearest it reaches for "
            f"this signal is {best[2]:.1f} dB"
        )
    return best[1], best[2]


def _mean_psnr(codec: Codec, coded: Coded, signals: Sequence[Signal]) -> float:
    """Return the mean PSNR of the decoded signals in dB."""
    values = []
    for place, (signal, body) in enumerate(zip(signals, coded.bodies, strict=True)):
        entry = CodedEntry(signal.header, coded.parameters, body, coded.chain, place)
        decoded = signal.with_values(_with_alpha(codec.decode(entry, DecodeRequest()), signal.values))
        values.append(signal_psnr(signal, decoded))
    return float(np.mean(np.minimum(values, MAX_PSNR_DB)))


def _next_log_beta(tried: list[tuple[float, float]], target_db: float) -> float:
    """Return a point between the nearest results on both sides where there are both, else one along the usual slope."""
    below = max((k for k in tried if k[1] < target_db), key=lambda k: k[1], default=None)
    above = min((k for k in tried if k[1] >= target_db), key=lambda k: k[1], default=None)
    if below is not None and above is not None and above[1] > below[1]:
        share = (target_db - below[1]) / (above[1] - below[1])
        return below[0] + float(np.clip(share, 0.1, 0.9)) * (above[0] - below[0])
    log_beta, psnr = below or above or tried[-1]
    return log_beta - (target_db - psnr) * math.log(10) / 10 * 1.3


def _with_alpha(values: FloatArray, original: FloatArray) -> FloatArray:
    """Return decoded values with the original's alpha channel, where it has one."""
    if values.shape[-1] == original.shape[-1]:
        return values
    return np.concatenate([values, original[..., -1:]], axis=-1)
