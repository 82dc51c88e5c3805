"""Signals to file bytes: what ``compress`` does, without paths and without a command line.

A file's rate is its length. What a caller wants as bits per pixel, kbit/s or PSNR is turned here into bits for the
codec: the wanted file length less everything that is not the codec's body.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from inrcodec.codecs import prior_store
from inrcodec.codecs.base import Coded, Rate, Source
from inrcodec.codecs.bitswap.bits_back import SCHEMES
from inrcodec.codecs.bitswap.codec import BitSwapCodec
from inrcodec.codecs.coin.codec import CoinCodec, NoPrior
from inrcodec.codecs.combiner.progressive import Progress
from inrcodec.codecs.hierarchical.codec import HierarchicalCodec
from inrcodec.codecs.hierarchical.encoder import MEASURES
from inrcodec.codecs.planes import has_alpha
from inrcodec.codecs.prior_store import AnyPrior
from inrcodec.codecs.registry import (
    AUTO,
    CODEC_IDS,
    SMALL_IMAGE_POINTS,
    AnyCodec,
    AnyEncoding,
    codec_for,
    codec_id,
    default_prior,
)
from inrcodec.container.alpha import encode_alpha
from inrcodec.container.inr import ALPHA, CHAIN, EXTRA, PARAMETERS, Container, Section, image_bits, pack, unpack
from inrcodec.container.inrs import ArchiveEntry, pack_archive
from inrcodec.decoding import decompress_container
from inrcodec.errors import UsageError
from inrcodec.signals.metrics import signal_psnr
from inrcodec.signals.signal import Signal

EFFORT_NAMES = ("fast", "default", "best")
LONG_BODY_MEAN, LONG_BODY_POWER = 125.0, 5.0
"""Bytes: bodies of 128 or more, whose length takes two bytes in an archive, are half of those with this mean length;
the power tells how sharply their share rises with the mean."""
CODER_ALIASES = {"dither": "round", "astar": "rec"}
"""Names of coders in the first release."""
PSNR_TOLERANCE_DB = 0.1
PSNR_TRIES = 8
MAX_FITTED_POINTS = 1 << 20
"""Pictures of more points are not fitted by a second codec: a million take a quarter of an hour."""
DB_PER_LOG_BITS = 5.6
"""Of photographs, about: 3.9 dB for twice the bits."""


@dataclass(frozen=True)
class Settings:
    """What the caller chooses; at most one of ``beta`` and the targets.

    ``codec``: by default the codec of the prior, of which the default is that of the hierarchical codec. At ``effort``
    best, where neither is given, photographs are coded by codec grids as well and the better file is kept.

    ``beta``: squared value units per bit per point (values of images in [0, 1], of sounds in [-1, 1]). ``target_bpp``:
    file bits per grid point. ``target_kbps``: 1000 file bits per second. ``target_psnr``: dB. ``coder``:
    "round" (quantisation, the default) or "rec" (relative entropy coding). ``measure``: "psnr" or "ms-ssim",
    what the hierarchical codec raises at the rate asked for.
    """

    codec: str = AUTO
    prior: str | None = None
    effort: str = "default"
    beta: float | None = None
    target_bpp: float | None = None
    target_kbps: float | None = None
    target_psnr: float | None = None
    coder: str | None = None
    measure: str = MEASURES[0]

    def __post_init__(self) -> None:
        if self.coder in CODER_ALIASES:
            object.__setattr__(self, "coder", CODER_ALIASES[self.coder])
        if self.codec != AUTO:
            codec_id(self.codec)
        if self.effort not in EFFORT_NAMES:
            raise UsageError(f"effort must be one of {', '.join(EFFORT_NAMES)}, got {self.effort!r}")
        if self.measure not in MEASURES:
            raise UsageError(f"optimise must be one of {', '.join(MEASURES)}, got {self.measure!r}")
        wanted = self._wanted()
        if len(wanted) > 1:
            raise UsageError(f"give only one of {', '.join(name.replace('_', '-') for name in wanted)}")
        for name, value in wanted.items():
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"{name.replace('_', '-')} must be a positive number, got {value}")

    @property
    def wants_rate(self) -> bool:
        """Whether a rate or a quality is asked for."""
        return bool(self._wanted())

    def _wanted(self) -> dict[str, float]:
        names = ("beta", "target_bpp", "target_kbps", "target_psnr")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


@dataclass(frozen=True)
class Encoded:
    """A file in memory and how much of it is the codec's own: parameters and bodies."""

    data: bytes
    payload_bytes: int
    prior: AnyPrior | NoPrior
    codec: str

    @property
    def lossless(self) -> bool:
        """Whether every value comes back as it was."""
        return self.codec in SCHEMES


def compress_signals(
    signals: Sequence[Signal],
    settings: Settings,
    names: Sequence[str] | None = None,
    tick: Progress | None = None,
    plan: Callable[[int], None] | None = None,
) -> Encoded:
    """One signal to an ``.inr`` file, or several with their ``names`` to an ``.inrs`` archive.

    ``plan`` is told the number of gradient steps to come, ``tick`` how many were done. Raises UsageError when the
    target does not fit the kind of signal, UnsupportedError when the prior cannot carry the signals.
    """
    if plan is None:
        plan = _unplanned
    if len(signals) == 1 and (other := second_candidate(signals[0], settings)) is not None:
        return _better_of(signals[0], settings, other, tick, plan)
    codec = _codec_for(signals, settings)
    plan(codec.planned_steps(_sources(signals), settings.effort))
    return _compressed(signals, settings, codec, names, tick)


def _compressed(
    signals: Sequence[Signal], settings: Settings, codec: AnyCodec, names: Sequence[str] | None, tick: Progress | None
) -> Encoded:
    """``compress_signals`` by one codec."""
    sources = _sources(signals)

    def build(coded: Coded) -> Encoded:
        return _encoded(codec, signals, coded, names)

    if isinstance(codec, BitSwapCodec) and settings.wants_rate:
        raise UsageError(f"codec {codec.name} is lossless: it takes no beta and no target")
    rate = _rate(settings, codec, signals, names)
    if isinstance(codec, HierarchicalCodec):
        encoding: AnyEncoding = codec.encoding(sources, settings.effort, tick, settings.coder, settings.measure)
    elif settings.measure != MEASURES[0]:
        raise UsageError(f"codec {codec.name} cannot optimise {settings.measure}: the hierarchical codec does")
    else:
        encoding = codec.encoding(sources, settings.effort, tick, settings.coder)
    if settings.target_psnr is not None:
        return _search_psnr(encoding, signals, settings.target_psnr, build)
    return build(encoding.at(rate))


def _unplanned(steps: int) -> None:
    """For callers who need no plan."""


def second_candidate(signal: Signal, settings: Settings) -> Settings | None:
    """Settings of a second codec that is worth its time: at effort best, for a photograph that it is not too large for,
    fitted grids, unless something is asked for that they cannot do."""
    asked = (settings.codec, settings.prior, settings.coder, settings.measure, settings.target_psnr)
    if settings.effort != "best" or asked != (AUTO, None, None, MEASURES[0], None):
        return None
    header = signal.header
    fits = header.kind == "image" and SMALL_IMAGE_POINTS < header.n_points <= MAX_FITTED_POINTS
    return replace(settings, codec="grids") if fits and signal.colour_values.shape[-1] == 3 else None


def _better_of(
    signal: Signal, settings: Settings, other: Settings, tick: Progress | None, plan: Callable[[int], None]
) -> Encoded:
    """The file with the lower cost of the default codec's and the other's, both at one beta or for the same bits.

    Where bits are asked for, files that are too large come last, and dB are exchanged for bits at the rate that
    photographs have about."""
    made: list[tuple[float, float, Encoded]] = []
    pairs = [(one, _codec_for([signal], one)) for one in (settings, other)]
    plan(sum(codec.planned_steps(_sources([signal]), one.effort) for one, codec in pairs))
    beta = settings.beta or pairs[0][1].default_beta(_sources([signal]))
    for one, codec in pairs:
        if not settings.wants_rate:
            one = replace(one, beta=beta)
        encoded = _compressed([signal], one, codec, None, tick)
        found = decompress_container(unpack(encoded.data))
        bits = 8.0 * len(encoded.data)
        if settings.target_bpp is None:
            made.append((0.0, bits * beta / signal.header.n_points + _squared_error(signal, found), encoded))
        else:
            over = bits - settings.target_bpp * signal.header.n_points
            made.append((max(over, 0.0), math.log(bits) - signal_psnr(signal, found) / DB_PER_LOG_BITS, encoded))
    return min(made, key=lambda one: one[:2])[2]


def _squared_error(signal: Signal, decoded: Signal) -> float:
    return float(10.0 ** (-0.1 * signal_psnr(signal, decoded)))


def fits_together(settings: Settings) -> bool:
    """Whether ``compress_apart`` may fit signals together."""
    return settings.codec in (AUTO, HierarchicalCodec.name) and settings.target_psnr is None


def compress_apart(signals: Sequence[Signal], settings: Settings) -> list[Encoded]:
    """Every signal to an ``.inr`` file of its own, the same as ``compress_signals`` makes of it alone.

    Those of one shape are fitted together where that is faster: by the hierarchical codec, unless a PSNR is asked for.
    Errors are those of ``compress_signals``, for the first signal that has one.
    """
    codecs = [_codec_for([signal], settings) for signal in signals]
    out: dict[int, Encoded] = {}
    by_codec: dict[bytes, list[int]] = {}
    for number, codec in enumerate(codecs):
        alone = second_candidate(signals[number], settings) is not None
        if isinstance(codec, HierarchicalCodec) and fits_together(settings) and not alone:
            by_codec.setdefault(codec.prior.id, []).append(number)
        else:
            out[number] = compress_signals([signals[number]], settings)
    for numbers in by_codec.values():
        encodings = []
        for number in numbers:
            codec = codecs[number]
            assert isinstance(codec, HierarchicalCodec)
            sources = _sources([signals[number]])
            encodings.append(codec.encoding(sources, settings.effort, None, settings.coder, settings.measure))
        rates = [_rate(settings, codecs[number], [signals[number]], None) for number in numbers]
        searches = [encoding.search(rate) for encoding, rate in zip(encodings, rates, strict=True)]
        for number, coded in zip(numbers, encodings[0].encoder.run_all(searches), strict=True):
            out[number] = _encoded(codecs[number], [signals[number]], coded, None)
    return [out[number] for number in range(len(signals))]


def _sources(signals: Sequence[Signal]) -> list[Source]:
    return [Source(signal.values, signal.header, signal.meta.extra_to_bytes()) for signal in signals]


def _encoded(codec: AnyCodec, signals: Sequence[Signal], coded: Coded, names: Sequence[str] | None) -> Encoded:
    own = len(coded.parameters) + len(coded.chain) + sum(len(body) for body in coded.bodies)
    return Encoded(_file(codec, signals, coded, names), own, codec.prior, codec.name)


def _codec_for(signals: Sequence[Signal], settings: Settings) -> AnyCodec:
    if settings.codec == CoinCodec.name:
        if settings.prior is not None:
            raise UsageError("codec coin knows nothing in advance: it takes no prior")
        return CoinCodec()
    prior = prior_store.find(settings.prior or _common_prior(signals, settings.codec))
    codec = codec_for(prior, settings.codec)
    if settings.codec not in (AUTO, codec.name):
        raise UsageError(f"prior {prior.name!r} belongs to codec {codec.name}, not {settings.codec}")
    return codec


def _common_prior(signals: Sequence[Signal], codec: str) -> str:
    chosen = {default_prior(signal, codec) for signal in signals}
    if chosen == {"bitswap-gray", "bitswap-colour"}:
        # A model of gray carries colour plane by plane, one of colour no picture that has gray alone.
        all_colour = all(signal.colour_values.shape[-1] == 3 for signal in signals)
        return "bitswap-colour" if all_colour else "bitswap-gray"
    for general in ("photographs", "combiner-photographs", "coinpp-photographs", "fields"):
        if len(chosen) == 2 and general in chosen and len({signal.header.kind for signal in signals}) == 1:
            return general
    if len(chosen) > 1:
        raise UsageError("an archive holds signals of one kind: images and sounds need files of their own")
    return chosen.pop()


def _rate(settings: Settings, codec: AnyCodec, signals: Sequence[Signal], names: Sequence[str] | None) -> Rate:
    if settings.target_bpp is not None:
        points = sum(signal.header.n_points for signal in signals)
        return _rate_of_file(settings.target_bpp * points, codec, signals, names)
    if settings.target_kbps is not None:
        if any(signal.header.kind != "audio" for signal in signals):
            raise UsageError("target-kbps is for sounds: use target-bpp for images and fields")
        seconds = sum(signal.header.n_points / signal.header.sample_rate for signal in signals)
        return _rate_of_file(settings.target_kbps * 1000 * seconds, codec, signals, names)
    return Rate(beta=settings.beta)


def _rate_of_file(bits: float, codec: AnyCodec, signals: Sequence[Signal], names: Sequence[str] | None) -> Rate:
    """Bits for the bodies in a file of ``bits``: less all that is not bodies.

    The longer an archive's bodies, the more of them need a second byte for their length.
    """
    empty = Coded(bytes(codec.max_parameter_bytes), [b""] * len(signals))
    other = len(_file(codec, signals, empty, names))
    if names is not None:
        mean = max(bits / 8 / len(signals), 1.0)
        other += round(len(signals) / (1.0 + (LONG_BODY_MEAN / mean) ** LONG_BODY_POWER))
    return Rate(bits=bits - 8 * other)


def _file(codec: AnyCodec, signals: Sequence[Signal], coded: Coded, names: Sequence[str] | None) -> bytes:
    number, prior = CODEC_IDS[codec.name], codec.prior
    if names is None:
        payload = coded.parameters + coded.bodies[0]
        return pack(Container(number, prior.id, signals[0].header, payload, tuple(_sections(signals[0]))))
    shared = [Section(PARAMETERS, coded.parameters, critical=True)] if coded.parameters else []
    shared += [Section(CHAIN, coded.chain, critical=True)] if coded.chain else []
    entries = [
        ArchiveEntry(name, signal.header, body, (*_sections(signal), *shared))
        for name, signal, body in zip(names, signals, coded.bodies, strict=True)
    ]
    return pack_archive(number, prior.id, entries)


def _sections(signal: Signal) -> list[Section]:
    sections = []
    extra = signal.meta.extra_to_bytes()
    if extra:
        sections.append(Section(EXTRA, extra, critical=False))
    if has_alpha(signal.header):
        alpha = encode_alpha(signal.values[..., -1], image_bits(signal.header))
        sections.append(Section(ALPHA, alpha, critical=True))
    return sections


def _search_psnr(
    encoding: AnyEncoding, signals: Sequence[Signal], wanted: float, build: Callable[[Coded], Encoded]
) -> Encoded:
    """Encode at beta after beta until the mean PSNR is near enough; log beta over dB is nearly a line."""
    codec = encoding.codec
    log_beta = math.log(codec.default_beta(encoding.sources))
    known: list[tuple[float, float]] = []
    best: tuple[float, Coded] | None = None
    for _ in range(PSNR_TRIES):
        coded = encoding.at(Rate(beta=math.exp(log_beta)))
        decoded = (
            signal.with_values(_with_alpha(codec.decode(coded.parameters, body, signal.header), signal.values))
            for signal, body in zip(signals, coded.bodies, strict=True)
        )
        found = [signal_psnr(signal, back) for signal, back in zip(signals, decoded, strict=True)]
        psnr = float(np.mean(np.minimum(found, 200.0)))
        known.append((log_beta, psnr))
        miss = abs(psnr - wanted)
        if best is None or miss < best[0]:
            best = (miss, coded)
        if miss <= PSNR_TOLERANCE_DB:
            break
        log_beta = _next_log_beta(known, wanted)
    assert best is not None
    if best[0] > 10 * PSNR_TOLERANCE_DB:
        reached = ", ".join(f"{psnr:.1f}" for _, psnr in sorted(known, key=lambda item: item[1]))
        raise UsageError(f"target-psnr {wanted} dB is out of reach of prior {codec.prior.name!r} (got {reached})")
    return build(best[1])


def _next_log_beta(known: list[tuple[float, float]], wanted: float) -> float:
    """Between the nearest results on both sides when there are both, else on along the usual slope."""
    below = max((k for k in known if k[1] < wanted), key=lambda k: k[1], default=None)
    above = min((k for k in known if k[1] >= wanted), key=lambda k: k[1], default=None)
    if below is not None and above is not None and above[1] > below[1]:
        part = (wanted - below[1]) / (above[1] - below[1])
        return below[0] + float(np.clip(part, 0.1, 0.9)) * (above[0] - below[0])
    log_beta, psnr = below or above or known[-1]
    return log_beta - (wanted - psnr) * math.log(10) / 10 * 1.3


def _with_alpha(values: NDArray[np.float32], original: NDArray[np.float32]) -> NDArray[np.float32]:
    if values.shape[-1] == original.shape[-1]:
        return values
    return np.concatenate([values, original[..., -1:]], axis=-1)
