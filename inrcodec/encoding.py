"""Signals to the bytes of a file: choose the codec, encode at the wanted rate, pack.

    signals, Settings -> Batch (sources, sections, once) -> codec, or two candidates at effort best
    -> encoding at a rate (rate_targets.py turns targets into one) -> container -> Encoded

Neither paths nor the command line are known here. The rate of a file is its length.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from inrcodec import rate_targets
from inrcodec.codecs import prior_store
from inrcodec.codecs.base import NO_PRIOR, PSNR, Codec, Coded, EncodeOptions, Prior, Progress, Rate, Source, no_progress
from inrcodec.codecs.planes import has_alpha
from inrcodec.codecs.registry import AUTO, codec_for, codec_id, default_prior, family_named, second_candidate_of
from inrcodec.container.alpha import encode_alpha
from inrcodec.container.inr import ALPHA, CHAIN, EXTRA, PARAMETERS, Container, Section, image_bits, pack, unpack
from inrcodec.container.inrs import ArchiveEntry, pack_archive
from inrcodec.decoding import decompress_container
from inrcodec.errors import UsageError
from inrcodec.parallel.forks import settle_in_fork
from inrcodec.settings import Encoded, Settings
from inrcodec.signals.metrics import signal_psnr
from inrcodec.signals.signal import Signal

DB_PER_LOG_BITS = 5.6
"""Rate-distortion slope of photographs, about: 3.9 dB for twice the bits."""


@dataclass(frozen=True)
class Batch:
    """The signals of one file and what is made of them once.

    Attributes:
        signals: what to encode.
        names: names of an archive's entries; None for a single file.
        sources: the signals as codecs see them.
        sections: of each signal, the parts of the file that no codec writes: metadata and alpha.
    """

    signals: Sequence[Signal]
    names: Sequence[str] | None
    sources: Sequence[Source]
    sections: Sequence[tuple[Section, ...]]

    @classmethod
    def of(cls, signals: Sequence[Signal], names: Sequence[str] | None = None) -> Batch:
        """Build the batch of signals that go into one file."""
        extras = [signal.meta.extra_to_bytes() for signal in signals]
        sources = [Source(signal.values, signal.header, extra) for signal, extra in zip(signals, extras, strict=True)]
        return cls(signals, names, sources, [_sections(source) for source in sources])

    @property
    def n_points(self) -> int:
        """Return the grid points of all signals."""
        return sum(signal.header.n_points for signal in self.signals)

    def pack(self, codec: Codec, coded: Coded) -> bytes:
        """Return the bytes of the file."""
        number, prior_id = codec_id(codec.name), codec.prior.id
        if self.names is None:
            payload = coded.parameters + coded.bodies[0]
            return pack(Container(number, prior_id, self.signals[0].header, payload, self.sections[0]))
        shared = [Section(PARAMETERS, coded.parameters, critical=True)] if coded.parameters else []
        shared += [Section(CHAIN, coded.chain, critical=True)] if coded.chain else []
        entries = [
            ArchiveEntry(name, signal.header, body, (*sections, *shared))
            for name, signal, body, sections in zip(self.names, self.signals, coded.bodies, self.sections, strict=True)
        ]
        return pack_archive(number, prior_id, entries)


def _sections(source: Source) -> tuple[Section, ...]:
    sections = []
    if source.extra:
        sections.append(Section(EXTRA, source.extra, critical=False))
    if has_alpha(source.header):
        alpha = encode_alpha(source.values[..., -1], image_bits(source.header))
        sections.append(Section(ALPHA, alpha, critical=True))
    return tuple(sections)


def encode_signals(
    signals: Sequence[Signal],
    settings: Settings,
    names: Sequence[str] | None = None,
    progress: Progress = no_progress,
    plan: Callable[[int], None] = no_progress,
) -> Encoded:
    """Encode one signal to an ``.inr`` file, or several with their ``names`` to an ``.inrs`` archive.

    Args:
        signals: what to encode.
        settings: codec, prior, effort and rate.
        names: names of an archive's entries; None for a single file.
        progress: told of gradient steps done.
        plan: told once of the gradient steps to come.

    Raises:
        UsageError: the target does not fit the kind of signal. UnsupportedError: the prior cannot carry a signal.
    """
    settle_in_fork()
    batch = Batch.of(signals, names)
    other = second_candidate(signals[0], settings) if len(signals) == 1 else None
    if other is not None:
        return _better_of(batch, settings, other, progress, plan)
    codec = _choose_codec(signals, settings)
    plan(codec.planned_steps(batch.sources, settings.effort))
    return _encode(batch, settings, codec, progress)


def encode_each(signals: Sequence[Signal], settings: Settings) -> list[Encoded]:
    """Encode every signal to an ``.inr`` file of its own, with the same bytes as ``encode_signals`` one by one.

    Signals of codecs that encode several faster together are encoded so. Errors are those of ``encode_signals``, for
    the first signal that has one.
    """
    settle_in_fork()
    codecs = [_choose_codec([signal], settings) for signal in signals]
    encoded: dict[int, Encoded] = {}
    together: dict[bytes, list[int]] = {}
    for number, codec in enumerate(codecs):
        alone = settings.target_psnr is not None or second_candidate(signals[number], settings) is not None
        if codec.encodes_together and not alone:
            together.setdefault(codec.prior.id, []).append(number)
        else:
            encoded[number] = encode_signals([signals[number]], settings)
    for numbers in together.values():
        codec = codecs[numbers[0]]
        batches = [Batch.of([signals[number]]) for number in numbers]
        rates = [_rate(settings, codec, batch) for batch in batches]
        coded = codec.encode_each([batch.sources[0] for batch in batches], _options(settings), rates)
        for number, batch, one in zip(numbers, batches, coded, strict=True):
            # Where the prior's rates end, the signal is encoded by itself, with the next one.
            again = one.exhausted and _next_codec(codec, settings) is not None
            encoded[number] = encode_signals([signals[number]], settings) if again else _encoded(batch, codec, one)
    return [encoded[number] for number in range(len(signals))]


def encodes_together(settings: Settings) -> bool:
    """Return whether ``encode_each`` may encode several signals faster together."""
    return family_named(settings.codec) is family_named(AUTO) and settings.target_psnr is None


def second_candidate(signal: Signal, settings: Settings) -> Settings | None:
    """Return the settings of a second encoding that ``encode_signals`` compares with the first, None for no other.

    At effort best, where neither codec nor prior is given, a second codec is tried for signals that it may code better,
    unless something is asked for that it cannot do.
    """
    asked = (settings.codec, settings.prior, settings.coder, settings.optimise, settings.target_psnr)
    if settings.effort != "best" or asked != (AUTO, None, None, PSNR, None):
        return None
    family = second_candidate_of(signal)
    return None if family is None else replace(settings, codec=family.names[0])


def _choose_codec(signals: Sequence[Signal], settings: Settings) -> Codec:
    """Return the codec under the prior that the settings and the signals ask for."""
    family = family_named(settings.codec)
    if family.prior_format is None:
        if settings.prior is not None:
            raise UsageError(f"codec {settings.codec} uses no learned prior: leave out --prior")
        return family.codec(NO_PRIOR, settings.codec)
    prior = prior_store.find(settings.prior or default_prior(signals, settings.codec))
    codec = codec_for(prior, settings.codec)
    if settings.codec not in (AUTO, codec.name):
        raise UsageError(f"prior {prior.name!r} belongs to codec {codec.name}, not {settings.codec}")
    return codec


def _options(settings: Settings, progress: Progress = no_progress) -> EncodeOptions:
    return EncodeOptions(effort=settings.effort, coder=settings.coder, optimise=settings.optimise, progress=progress)


def _rate(settings: Settings, codec: Codec, batch: Batch) -> Rate:
    """Return the rate for the codec's bodies that a target for the file leaves."""
    bits = rate_targets.file_bits(settings.target_bpp, settings.target_kbps, batch.signals)
    if bits is None:
        return Rate(beta=settings.beta)
    empty = batch.pack(codec, Coded(bytes(codec.max_parameter_bytes), [b""] * len(batch.signals)))
    return rate_targets.body_rate(bits, len(empty), len(batch.signals), in_archive=batch.names is not None)


def _encode(batch: Batch, settings: Settings, codec: Codec, progress: Progress) -> Encoded:
    """Encode a batch with one codec."""
    if family_named(codec.name).lossless and settings.has_target:
        raise UsageError(f"codec {codec.name} is lossless: it takes no beta and no target")
    rate = _rate(settings, codec, batch)
    encoding = codec.encoding(batch.sources, _options(settings, progress))
    following, psnr = _next_codec(codec, settings), None
    if settings.target_psnr is None:
        coded = encoding.at(rate)
    else:
        coded, psnr = rate_targets.search_psnr(
            codec, encoding, batch.signals, batch.sources, settings.target_psnr, has_next=following is not None
        )
    if coded.exhausted and following is not None:
        return _encode(batch, settings, following, progress)
    return _encoded(batch, codec, coded, psnr)


def _next_codec(codec: Codec, settings: Settings) -> Codec | None:
    """Return the codec under the shipped prior that goes on where the rates of a default prior end, if there is one."""
    family = family_named(codec.name)
    if settings.prior is not None or family.next_prior is None:
        return None
    name = family.next_prior(codec.prior)
    return None if name is None else codec_for(prior_store.find(name), codec.name)


def _encoded(batch: Batch, codec: Codec, coded: Coded, psnr: float | None = None) -> Encoded:
    payload_bytes = len(coded.parameters) + len(coded.chain) + sum(len(body) for body in coded.bodies)
    prior: Prior = codec.prior
    lossless = family_named(codec.name).lossless
    return Encoded(batch.pack(codec, coded), codec.name, prior.name, prior.id, payload_bytes, lossless, psnr)


def _better_of(
    batch: Batch, settings: Settings, other: Settings, progress: Progress, plan: Callable[[int], None]
) -> Encoded:
    """Return the file with the lower cost of two codecs, both at one beta or for the same bits.

    For a target rate, files that exceed it come last, and dB are weighed against bits by the slope of photographs.
    """
    signal = batch.signals[0]
    candidates = [(choice, _choose_codec(batch.signals, choice)) for choice in (settings, other)]
    plan(sum(codec.planned_steps(batch.sources, choice.effort) for choice, codec in candidates))
    beta = settings.beta or candidates[0][1].default_beta(batch.sources)
    results: list[tuple[float, float, Encoded]] = []
    for choice, codec in candidates:
        encoded = _encode(batch, choice if settings.has_target else replace(choice, beta=beta), codec, progress)
        psnr = signal_psnr(signal, decompress_container(unpack(encoded.data)))
        encoded, bits = replace(encoded, psnr=psnr), 8.0 * len(encoded.data)
        if settings.target_bpp is None:
            squared_error = 10.0 ** (-0.1 * psnr)
            results.append((0.0, bits * beta / signal.header.n_points + squared_error, encoded))
        else:
            excess = max(bits - settings.target_bpp * signal.header.n_points, 0.0)
            results.append((excess, math.log(bits) - psnr / DB_PER_LOG_BITS, encoded))
    return min(results, key=lambda result: result[:2])[2]
