"""Signals to the bytes of a file: choose the codec, encode at the wanted rate, pack.

    signals, Settings -> Batch (sources, sections, once) -> codec, or several candidates of which the best is kept
    -> encoding at a rate (rate_targets.py turns targets into one) -> container -> Encoded

Neither paths nor the command line are known here. The rate of a file is its length.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

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
    choices = candidates(signals[0], settings) if len(signals) == 1 else [settings]
    codecs = [_choose_codec(signals, choice) for choice in choices]
    plan(sum(codec.planned_steps(batch.sources, settings.effort) for codec in codecs))
    choices = _at_one_beta(choices, codecs[0], batch)
    return _best_of(
        signals[0],
        choices[0],
        [partial(_encode, batch, choice, codec, progress) for choice, codec in zip(choices, codecs, strict=True)],
    )


def encode_each(signals: Sequence[Signal], settings: Settings) -> list[Encoded]:
    """Encode every signal to an ``.inr`` file of its own, with the same bytes as ``encode_signals`` one by one.

    Signals of codecs that encode several faster together are encoded so. Errors are those of ``encode_signals``, for
    the first signal that has one.
    """
    settle_in_fork()
    batches = [Batch.of([signal]) for signal in signals]
    jobs: list[list[tuple[Settings, Codec]]] = []
    together: dict[bytes, list[tuple[int, int]]] = {}
    for number, (signal, batch) in enumerate(zip(signals, batches, strict=True)):
        choices = candidates(signal, settings)
        codecs = [_choose_codec([signal], choice) for choice in choices]
        jobs.append(list(zip(_at_one_beta(choices, codecs[0], batch), codecs, strict=True)))
        for place, codec in enumerate(codecs):
            if codec.encodes_together and settings.target_psnr is None:
                together.setdefault(codec.prior.id, []).append((number, place))
    encoded: dict[tuple[int, int], Encoded] = {}
    for places in together.values():
        codec = jobs[places[0][0]][places[0][1]][1]
        rates = [_rate(jobs[number][place][0], codec, batches[number]) for number, place in places]
        sources = [batches[number].sources[0] for number, _ in places]
        coded = codec.encode_each(sources, _options(settings), rates)
        for (number, place), body in zip(places, coded, strict=True):
            # Where the prior's rates end, the signal is encoded by itself, with the next one.
            if not body.exhausted or _next_codec(codec, jobs[number][place][0]) is None:
                encoded[number, place] = _encoded(batches[number], codec, body)

    def encode(number: int, place: int) -> Encoded:
        choice, codec = jobs[number][place]
        return encoded.get((number, place)) or _encode(batches[number], choice, codec, no_progress)

    return [
        _best_of(signal, jobs[number][0][0], [partial(encode, number, place) for place in range(len(jobs[number]))])
        for number, signal in enumerate(signals)
    ]


def encodes_together(settings: Settings) -> bool:
    """Return whether ``encode_each`` may encode several signals faster together."""
    return family_named(settings.codec) is family_named(AUTO) and settings.target_psnr is None


def candidates(signal: Signal, settings: Settings) -> list[Settings]:
    """Return the settings of all encodings of a signal, of which the best is kept; the first are those given.

    Where no prior is given, other priors that may code the signal better are tried. At effort best, where no codec is
    given either, a second codec is, unless something is asked for that it cannot do.
    """
    out = [settings]
    family = family_named(settings.codec)
    if settings.prior is None and settings.optimise == PSNR and family.other_priors is not None:
        out += [replace(settings, prior=name) for name in family.other_priors(signal)]
    asked = (settings.codec, settings.prior, settings.coder, settings.optimise, settings.target_psnr)
    if settings.effort == "best" and asked == (AUTO, None, None, PSNR, None):
        second = second_candidate_of(signal)
        out += [] if second is None else [replace(settings, codec=second.names[0])]
    return out


def _at_one_beta(choices: Sequence[Settings], codec: Codec, batch: Batch) -> list[Settings]:
    """Return candidates that can be compared: without a target, all use the beta of the first one's codec."""
    if len(choices) == 1 or choices[0].has_target:
        return list(choices)
    beta = choices[0].beta or codec.default_beta(batch.sources)
    return [replace(choice, beta=beta) for choice in choices]


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
    if 8 * len(empty) >= bits:
        metadata = sum(len(section.data) for sections in batch.sections for section in sections if section.tag == EXTRA)
        raise UsageError(
            f"the target allows {max(0, math.floor(bits / 8)):,} bytes, but the file takes {len(empty):,} before the "
            f"first value, {metadata:,} of them metadata such as colour profiles: raise it, or remove metadata first"
        )
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


def _best_of(signal: Signal, settings: Settings, encodings: Sequence[Callable[[], Encoded]]) -> Encoded:
    """Return the best file of a signal: the one of the lowest cost at one beta, or the best at the target.

    For a target PSNR this is the smallest file. For a target rate, files that exceed it come last, and dB are weighed
    against bits by the slope of photographs. A target that one candidate cannot meet may be met by another.
    """
    if len(encodings) == 1:
        return encodings[0]()
    results: list[tuple[float, float, Encoded]] = []
    refused: list[UsageError] = []
    for encode in encodings:
        try:
            encoded = encode()
        except UsageError as error:
            refused.append(error)
            continue
        bits = 8.0 * len(encoded.data)
        if settings.target_psnr is not None:
            results.append((0.0, bits, encoded))
            continue
        psnr = signal_psnr(signal, decompress_container(unpack(encoded.data)))
        encoded = replace(encoded, psnr=psnr)
        if settings.target_bpp is None:
            assert settings.beta is not None
            squared_error = 10.0 ** (-0.1 * psnr)
            results.append((0.0, bits * settings.beta / signal.header.n_points + squared_error, encoded))
        else:
            excess = max(bits - settings.target_bpp * signal.header.n_points, 0.0)
            results.append((excess, math.log(bits) - psnr / DB_PER_LOG_BITS, encoded))
    if not results:
        raise refused[0]
    return min(results, key=lambda result: result[:2])[2]
