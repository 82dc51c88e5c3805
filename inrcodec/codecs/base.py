"""The codec interface: what every codec takes and gives, and all that the rest of the package may know of one.

    signals -> sources -> Codec.encoding(sources, options) -> Encoding.at(rate) -> Coded          (compress)
    file    -> CodedEntry -> Codec.decode(entry, request) -> values                               (decompress)

A codec lives in a folder of its own below ``codecs`` and is known to the package by its ``Family``, a record of names,
file-format ids and functions that ``codecs/registry.py`` lists. To add a codec, write a folder (or a single module)
with a ``FAMILY`` and add it to ``registry.FAMILIES``; see docs/developing.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import FormatError, UsageError
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.signals.header import SignalHeader

if TYPE_CHECKING:
    from inrcodec.signals.signal import Signal
    from inrcodec.training.job import TrainingJob, TrainingOptions

FloatArray = NDArray[np.float32]

Window = tuple[slice, ...]
"""A part of a grid: the points from start to stop along every axis."""

Progress = Callable[[int], None]
"""Called with the amount of work done since the last call: gradient steps of an encoder (values of a lossless one),
values of a decoder."""

EFFORTS = ("fast", "default", "best")
"""Names of the presets that trade encoding time for quality; every codec has all three."""

PSNR, MS_SSIM = "psnr", "ms-ssim"
OBJECTIVES = (PSNR, MS_SSIM)
"""What an encoder can be asked to maximise at a rate."""


def no_progress(done: int) -> None:
    """Ignore progress."""


@runtime_checkable
class Prior(Protocol):
    """What sender and receiver know in advance: a trained model and its tables.

    Attributes:
        id: first 8 bytes of the SHA-256 of the prior's file; files name the prior by it.
        name: name of the prior, the stem of its file.
        format: what the prior's file states as its format; it tells the family.
        card: what the prior was made from and what it reaches, as plain values.
        kind: kind of signal that it models: "image", "audio" or "field".
        axes: number of axes of the grids that it models.
        channels: number of channels that it models together.
    """

    @property
    def id(self) -> bytes:
        """Return the first 8 bytes of the SHA-256 of the prior's file."""

    @property
    def name(self) -> str:
        """Return the name of the prior."""

    @property
    def format(self) -> str:
        """Return what the prior's file states as its format."""

    @property
    def card(self) -> dict[str, Any]:
        """Return what the prior was made from and what it reaches, as plain values."""

    @property
    def kind(self) -> str:
        """Return the kind of signal that the prior models."""

    @property
    def axes(self) -> int:
        """Return the number of axes of the grids that the prior models."""

    @property
    def channels(self) -> int:
        """Return the number of channels that the prior models together."""


@dataclass(frozen=True)
class NoPrior:
    """The prior of codecs that learn nothing in advance; its id is all zeros."""

    id: bytes = b"\0" * 8
    name: str = "none"
    format: str = "none"
    kind: str = "any"
    axes: int = 0
    channels: int = 0
    card: dict[str, Any] = field(default_factory=dict)


NO_PRIOR = NoPrior()


@dataclass(frozen=True)
class Rate:
    """The rate to aim for: a weight ``beta``, or ``bits`` of all bodies together, or neither for the codec's default.

    Attributes:
        beta: squared error of values per bit per point.
        bits: bits that all bodies together may take.

    Raises:
        UsageError: both are given, or ``bits`` is not positive.
    """

    beta: float | None = None
    bits: float | None = None

    def __post_init__(self) -> None:
        if self.beta is not None and self.bits is not None:
            raise UsageError("give either beta or a target rate, not both")
        if self.bits is not None and not (math.isfinite(self.bits) and self.bits > 0):
            raise UsageError(f"the target rate leaves {self.bits:.0f} bits for the signal: raise it")


@dataclass(frozen=True)
class Source:
    """A signal as codecs see it.

    Attributes:
        values: (*shape, channels), float32; images in [0, 1], audio in [-1, 1], fields normalised to [0, 1].
        header: kind, layout and shape.
        extra: the signal's other metadata as bytes, which codecs only compare.
    """

    values: FloatArray
    header: SignalHeader
    extra: bytes = b""


@dataclass(frozen=True)
class Coded:
    """What an encoder wrote.

    Attributes:
        parameters: the part that all signals of a file share.
        bodies: one per signal.
        chain: a message of all signals together, where a codec sends them so; bodies are empty then.
        exhausted: whether a higher rate was asked for than the prior reaches.
    """

    parameters: bytes
    bodies: list[bytes]
    chain: bytes = b""
    exhausted: bool = False


@dataclass(frozen=True, kw_only=True)
class EncodeOptions:
    """How to encode, whatever the rate.

    Attributes:
        effort: one of ``EFFORTS``.
        coder: how latents or weights are sent, one of the codec's ``coders``; None for its default.
        optimise: one of the codec's ``objectives``.
        progress: told of gradient steps done.
    """

    effort: str = "default"
    coder: str | None = None
    optimise: str = PSNR
    progress: Progress = no_progress


@dataclass(frozen=True)
class CodedEntry:
    """One signal of a file as a decoder sees it.

    Attributes:
        header: kind, layout and shape of the signal.
        parameters: the part that all signals of a file share.
        body: the signal's own part.
        chain: a message of all signals of the file together, see ``Coded``.
        place: number of the signal in the chain.
    """

    header: SignalHeader
    parameters: bytes
    body: bytes
    chain: bytes = b""
    place: int = 0


@dataclass(frozen=True, kw_only=True)
class DecodeRequest:
    """What to decode: the same for every codec.

    Attributes:
        size: points along each axis of the output grid; None for the signal's own grid.
        window: the part of the output grid to decode; None for all of it.
        limits: what the file may ask for.
        progress: told of values decoded.
        device: where to compute; "cpu" is the only one that decoders support.

    Raises:
        UsageError: ``device`` is not supported.
    """

    size: tuple[int, ...] | None = None
    window: Window | None = None
    limits: Limits = DEFAULT_LIMITS
    progress: Progress = no_progress
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.device != "cpu":
            raise UsageError(f"decoding runs on the CPU, got device {self.device!r}")

    def grid(self, header: SignalHeader) -> tuple[int, ...]:
        """Return the size of the output grid of a signal."""
        return header.shape if self.size is None else self.size

    def covered(self, header: SignalHeader) -> Window:
        """Return the part of the output grid to decode, as a window even where that is all of it."""
        return tuple(slice(0, n) for n in self.grid(header)) if self.window is None else self.window

    def cut(self, values: FloatArray) -> FloatArray:
        """Return the requested part of values on the whole output grid, (*size, C)."""
        return values if self.window is None else values[self.window]


class Encoding(Protocol):
    """Signals being encoded: fitted as often as needed, sent at any rate."""

    def at(self, rate: Rate) -> Coded:
        """Return the bytes at a rate."""


class Codec(Protocol):
    """Signals to bytes and back under one prior.

    Attributes:
        name: one of the names of the codec's family.
        coders: words that ``EncodeOptions.coder`` may be, the default first; empty where there is no choice.
        objectives: what the encoder can maximise.
        encodes_together: whether ``encode_each`` is faster than encoding one signal after the other.
    """

    name: str
    coders: tuple[str, ...] = ()
    objectives: tuple[str, ...] = (PSNR,)
    encodes_together: bool = False

    @property
    def prior(self) -> Prior:
        """Return the prior, ``NO_PRIOR`` for a codec without."""

    @property
    def max_parameter_bytes(self) -> int:
        """Return the largest length of ``Coded.parameters``."""

    def encoding(self, sources: Sequence[Source], options: EncodeOptions) -> Encoding:
        """Prepare signals for one file.

        Raises:
            UsageError: options that the codec does not have. UnsupportedError: the prior cannot carry a signal.
        """

    def default_beta(self, sources: Sequence[Source]) -> float:
        """Return beta where no rate is asked for: squared error of values per bit per point."""

    def planned_steps(self, sources: Sequence[Source], effort: str) -> int:
        """Return how much an encoding will tell its ``progress`` in all; a target rate may take more."""

    def split_parameters(self, payload: bytes) -> tuple[bytes, bytes]:
        """Split the payload of a single file into parameters and body.

        Raises:
            FormatError: the parameters are truncated or out of range.
        """

    def decode(self, entry: CodedEntry, request: DecodeRequest) -> FloatArray:
        """Return values on the requested part of the output grid, (*window, C without alpha).

        Raises:
            FormatError: the bytes do not fit the signal. LimitError: they ask for more than ``request.limits``.
            UnsupportedError: the codec cannot decode at this size.
        """

    def encode_each(self, sources: Sequence[Source], options: EncodeOptions, rates: Sequence[Rate]) -> list[Coded]:
        """Encode each signal for a file of its own, with the same bytes as one by one."""
        return [self.encoding([one], options).at(rate) for one, rate in zip(sources, rates, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Family:
    """All that the rest of the package may know of a codec.

    Functions import the codec's modules when they are called (``deferred``), so that listing families loads nothing
    heavy.

    Attributes:
        names: names on the command line, in files and reports; the first is the default one.
        ids: numbers of these names in files. A number once given is never given to another codec.
        codec: makes the codec of a name under a prior (``NO_PRIOR`` where the family has none).
        lossless: whether every value comes back exactly.
        prior_format: what prior files of the family state as their format; None for a codec without priors.
        load_prior: reads a prior from the bytes of a file; its second argument names the file in errors.
        default_prior: name of the shipped prior for signals that go into one file.
        next_prior: name of the shipped prior that goes on where the rates of a default prior end, if there is one.
        other_priors: names of shipped priors that may serve a signal better than the default one; ``compress`` encodes
            with each and keeps the best file.
        describe_prior: what ``priors list`` reports of a prior besides name, id and size; the key "about" holds a
            short description.
        training: makes a training job; None where the family learns nothing.
        measure_prior: measures a prior on signals of a folder read by a recipe (None: the prior's name says which);
            one record of plain numbers per operating point. Raises UsageError for a recipe that does not exist,
            DataError for a folder without signals.
        is_second_candidate: whether ``compress`` at effort best also encodes this signal with this codec, and keeps the
            better file.
        inspect: the bits and the spread of a decoded signal by place, for ``show``; None where a codec cannot tell.
        in_viewer: whether the browser page decodes files of this codec.
    """

    names: tuple[str, ...]
    ids: tuple[int, ...]
    codec: Callable[[Any, str], Codec]
    lossless: bool = False
    prior_format: str | None = None
    load_prior: Callable[[bytes, str], Prior] | None = None
    default_prior: Callable[[Sequence[Signal]], str] | None = None
    next_prior: Callable[[Prior], str | None] | None = None
    other_priors: Callable[[Signal], Sequence[str]] | None = None
    describe_prior: Callable[[Any], dict[str, Any]] | None = None
    training: Callable[[TrainingOptions], TrainingJob] | None = None
    measure_prior: Callable[[Any, str | None, Any], Sequence[Any]] | None = None
    is_second_candidate: Callable[[Signal], bool] | None = None
    inspect: Callable[[Codec, CodedEntry], Any] | None = None
    in_viewer: bool = False

    def __post_init__(self) -> None:
        assert self.names and len(self.names) == len(self.ids)
        assert (self.prior_format is None) == (self.load_prior is None) == (self.default_prior is None)


def deferred(module: str, name: str) -> Callable[..., Any]:
    """Return a function that imports its target when it is called, so that a family loads nothing heavy by itself.

    Args:
        module: full name of the module.
        name: name of the target in it, with a dot for a class method.
    """
    return partial(_call, module, name)


def _call(module: str, name: str, *arguments: Any) -> Any:
    return attrgetter(name)(import_module(module))(*arguments)


def check_options(codec: Codec, options: EncodeOptions) -> None:
    """Raise UsageError for options that a codec does not have."""
    if options.effort not in EFFORTS:
        raise UsageError(f"effort must be one of {', '.join(EFFORTS)}, got {options.effort!r}")
    if options.coder is not None and options.coder not in codec.coders:
        choice = f"use {' or '.join(codec.coders)}" if codec.coders else "it has no choice of coders"
        raise UsageError(f"codec {codec.name} has no coder {options.coder!r}: {choice}")
    if options.optimise not in codec.objectives:
        raise UsageError(f"codec {codec.name} cannot optimise {options.optimise}, only {', '.join(codec.objectives)}")


def check_parameters_end(parameters: bytes, end: int) -> None:
    """Raise FormatError when there are bytes after the codec parameters, which end at ``end``."""
    if end != len(parameters):
        raise FormatError(f"{len(parameters) - end} trailing bytes after the codec parameters")


def prior_for_all(names: Iterable[str], signals: Sequence[Signal], general: Sequence[str]) -> str:
    """Return the prior for signals that go into one file, from the names of the priors for each.

    Where two priors would serve, one of which is in ``general``, that one serves all signals of the same kind.

    Raises:
        UsageError: no single prior serves all signals.
    """
    distinct = set(names)
    if len(distinct) == 1:
        return distinct.pop()
    shared = [name for name in general if name in distinct]
    if len(distinct) == 2 and shared and len({signal.header.kind for signal in signals}) == 1:
        return shared[0]
    raise UsageError("an archive holds signals of one kind: put images, audio and fields into separate files")


SMALL_IMAGE_POINTS = 48 * 48
"""Images of at most this many points take the priors for small images."""


def prior_kind(signal: Signal) -> str:
    """Return which kind of prior serves a signal: "audio", "small image", "image" or "field".

    Fields of one axis are treated as audio.
    """
    header = signal.header
    if header.kind == "audio" or (header.kind == "field" and len(header.shape) == 1):
        return "audio"
    if header.kind == "field":
        return "field"
    return "small image" if header.n_points <= SMALL_IMAGE_POINTS else "image"


def covers_globe(signal: Signal) -> bool:
    """Return whether the last axes of a field are latitudes and longitudes of the whole globe, by their coordinates."""
    meta = signal.meta
    if len(meta.dims) < 2 or not set(meta.dims[-2:]) <= set(meta.coordinates):
        return False
    latitude, longitude = (np.asarray(meta.coordinates[name]) for name in meta.dims[-2:])
    if latitude.dtype.kind not in "iuf" or longitude.dtype.kind not in "iuf" or min(latitude.size, longitude.size) < 4:
        return False
    steps = np.diff(longitude.astype(np.float64))
    around = bool(np.allclose(steps, steps[0], rtol=0.01)) and abs(abs(steps[0]) * longitude.size - 360.0) < 1.0
    return around and 150.0 <= float(np.ptp(latitude)) <= 180.0 and float(np.abs(latitude).max()) <= 90.0
