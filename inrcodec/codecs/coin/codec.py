"""The COIN codec: one SIREN per signal, its weights quantised; nothing is known in advance (arXiv 2103.03123).

    values -> fit -> weights -> whole numbers -> message         (compress)
    message -> weights -> values at any grid                     (decompress)

What is sent: the *parameters* (hidden width, hidden layers, fineness of the weights, a byte for loudness; shared by all
entries of an archive) and per signal a *body*, its weights. The size of the network follows from the wanted rate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from inrcodec.codecs.base import Coded, Rate, Source
from inrcodec.codecs.coin.fit import fit_siren
from inrcodec.codecs.coin.weights import FLOAT16, MAX_FINENESS, groups, read_weights, write_weights
from inrcodec.codecs.combiner.progressive import Progress
from inrcodec.codecs.patches import PatchLayout, oversampling, render
from inrcodec.codecs.planes import has_alpha
from inrcodec.coding.bits import read_varint, write_varint
from inrcodec.errors import FormatError, LimitError, UsageError
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.nn.siren import SirenShape, siren
from inrcodec.signals.header import SignalHeader

FloatArray = NDArray[np.float32]

DEFAULT_BITS_PER_POINT = 0.5
DEFAULT_BITS_PER_WEIGHT = 6.15
"""Weights of 16 steps of standard deviation: where on photographs finer numbers are worth as much as more of them."""
MIN_WIDTH, MAX_WIDTH, MAX_LAYERS = 2, 512, 32
DEEP_FROM = 3000
POINTS_AT_ONCE = 1 << 13
SIGNALS_AT_ONCE_POINTS = 1 << 15
_EVALUATED_AT_ONCE = 1 << 21


@dataclass(frozen=True)
class NoPrior:
    """Stands where other codecs have a prior."""

    name: str = "none"
    kind: str = "any"
    id: bytes = b"\0" * 8


NO_PRIOR = NoPrior()


@dataclass(frozen=True)
class CoinEffort:
    """Steps of Adam."""

    name: str
    steps: int


COIN_EFFORTS = {
    effort.name: effort for effort in (CoinEffort("fast", 500), CoinEffort("default", 3000), CoinEffort("best", 20000))
}


@dataclass(frozen=True)
class Parameters:
    """What a file says beside its bodies: values are centre + 2^(level / 4) times what the network gives."""

    width: int
    layers: int
    fineness: int
    level: int

    def shape(self, header: SignalHeader) -> SirenShape:
        """Of the network of a signal."""
        return SirenShape((len(header.shape), *[self.width] * self.layers, _channels(header)))


class CoinCodec:
    """``encoding`` turns signals to bytes, ``decode`` one body back to values at any size."""

    name = "coin"
    prior = NO_PRIOR

    # Sender.

    def encoding(
        self, sources: Sequence[Source], effort: str, tick: Progress | None = None, coder: str | None = None
    ) -> CoinEncoding:
        """Signals to be encoded, at one rate or one after the other; ``coder`` float16 sends weights as in the paper.

        Raises UsageError for a coder that it does not have.
        """
        if coder not in (None, "round", "float16"):
            raise UsageError(f"codec coin sends quantised weights (round) or float16, not {coder!r}")
        return CoinEncoding(self, sources, COIN_EFFORTS[effort], tick or (lambda steps: None), coder == "float16")

    def planned_steps(self, sources: Sequence[Source], effort: str) -> int:
        """Steps of Adam, all signals together."""
        return len(_groups(sources)) * COIN_EFFORTS[effort].steps

    @property
    def max_parameter_bytes(self) -> int:
        """Most bytes that parameters take."""
        return len(self.write_parameters(Parameters(MAX_WIDTH, MAX_LAYERS, FLOAT16, 0)))

    def default_beta(self, sources: Sequence[Source]) -> float:
        """Beta where nothing is asked for: this codec chooses a size of network by it, see ``bits_for_beta``."""
        return beta_for_bits(DEFAULT_BITS_PER_POINT)

    def write_parameters(self, told: Parameters) -> bytes:
        """Inverse of ``read_parameters``."""
        return (
            write_varint(told.width)
            + bytes([told.layers])
            + write_varint(told.fineness)
            + told.level.to_bytes(1, "little", signed=True)
        )

    def read_parameters(self, data: bytes) -> tuple[Parameters, int]:
        """Parameters and the position behind them; FormatError when they are damaged."""
        width, position = read_varint(data, 0)
        if position >= len(data):
            raise FormatError("the codec's parameters are cut short")
        layers = data[position]
        fineness, position = read_varint(data, position + 1)
        if position >= len(data):
            raise FormatError("the codec's parameters are cut short")
        if not (MIN_WIDTH <= width <= MAX_WIDTH and 1 <= layers <= MAX_LAYERS and fineness <= FLOAT16):
            raise FormatError(f"a network of {layers} layers of {width} with fineness {fineness} does not exist")
        level = int.from_bytes(data[position : position + 1], "little", signed=True)
        return Parameters(width, layers, fineness, level), position + 1

    # Receiver.

    @torch.no_grad()
    def decode(
        self,
        parameters: bytes,
        body: bytes,
        header: SignalHeader,
        size: tuple[int, ...] | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> FloatArray:
        """Values on a grid of ``size`` points (the signal's own by default), (*size, C without alpha).

        Raises FormatError when the body does not fit the signal, LimitError when it asks for more than ``limits``.
        """
        told, end = self.read_parameters(parameters)
        if end != len(parameters):
            raise FormatError("the codec's parameters go on after their end")
        shape, wanted = told.shape(header), size if size is not None else header.shape
        fine = math.prod(m * t for m, t in zip(wanted, oversampling(header.shape, wanted), strict=True))
        if max(fine, shape.n_weights) > limits.max_points or max(wanted) > limits.max_axis:
            raise LimitError(f"decoding evaluates {fine} points, the limit is {limits.max_points}")
        if fine * shape.multiply_adds > limits.max_multiply_adds:
            work = fine * shape.multiply_adds
            raise LimitError(f"decoding takes {work:.2g} multiply-adds, the limit is {limits.max_multiply_adds:.2g}")
        weights = read_weights(body, shape, told.fineness)[None]
        centre, spread = _range_of(header, told.level)

        def evaluate(patch: torch.Tensor, coordinates: torch.Tensor) -> torch.Tensor:
            parts = coordinates.split(max(1, _EVALUATED_AT_ONCE // max(shape.widths)))
            return torch.cat([siren(part, weights, shape) for part in parts], dim=1) * spread + centre

        return render(PatchLayout(header.shape, header.shape), wanted, _channels(header), evaluate)


class CoinEncoding:
    """Signals being encoded: networks of one size are fitted once."""

    def __init__(
        self, codec: CoinCodec, sources: Sequence[Source], effort: CoinEffort, tick: Progress, float16: bool
    ) -> None:
        self.codec, self.sources, self.effort, self.tick, self.float16 = codec, sources, effort, tick, float16
        self.level = _level(sources)
        self._fitted: dict[tuple[int, int], list[torch.Tensor]] = {}

    def at(self, rate: Rate) -> Coded:
        """Bytes at a rate."""
        points = sum(source.header.n_points for source in self.sources)
        if rate.bits is not None:
            bits = rate.bits
        else:
            bits = points * bits_for_beta(self.codec.default_beta(self.sources) if rate.beta is None else rate.beta)
        width, layers = self._architecture(bits)
        weights = self._weights(width, layers)
        fineness = FLOAT16 if self.float16 else self._search(weights, width, layers, bits)
        told = Parameters(width, layers, fineness, self.level)
        return Coded(self.codec.write_parameters(told), self._bodies(weights, told))

    def _architecture(self, bits: float) -> tuple[int, int]:
        """Width and layers whose weights take about ``bits``, all signals together; UsageError when too few."""
        per_weight = 16.0 if self.float16 else DEFAULT_BITS_PER_WEIGHT
        each = bits / per_weight / len(self.sources)
        layers = 3 if each < DEEP_FROM else 5
        for count in range(layers, 0, -1):
            fitting = [w for w in range(MIN_WIDTH, MAX_WIDTH + 1) if self._mean_weights(w, count) <= each]
            if fitting and (fitting[-1] >= 8 or count == 1):
                return fitting[-1], count
        raise UsageError(f"the target rate leaves {each:.0f} weights for a network, too few: raise it")

    def _mean_weights(self, width: int, layers: int) -> float:
        shapes = [Parameters(width, layers, 0, 0).shape(source.header) for source in self.sources]
        extra = 0 if self.float16 else 8 * len(groups(shapes[0])) / DEFAULT_BITS_PER_WEIGHT
        return sum(shape.n_weights for shape in shapes) / len(shapes) + extra

    def _weights(self, width: int, layers: int) -> list[torch.Tensor]:
        """Fitted weights of every source, (n,)."""
        if (width, layers) not in self._fitted:
            out: list[torch.Tensor] = [torch.empty(0)] * len(self.sources)
            for number, group in enumerate(_groups(self.sources)):
                header = self.sources[group[0]].header
                centre, spread = _range_of(header, self.level)
                values = np.stack([self.sources[i].values[..., : _channels(header)] for i in group])
                values = (values.reshape(len(group), header.n_points, -1) - np.float32(centre)) / np.float32(spread)
                found = fit_siren(
                    torch.from_numpy(values),
                    header.shape,
                    Parameters(width, layers, 0, 0).shape(header),
                    self.effort.steps,
                    POINTS_AT_ONCE,
                    number,
                    tick=self.tick,
                ).weights
                for i, own in zip(group, found, strict=True):
                    out[i] = own
            self._fitted[width, layers] = out
        return self._fitted[width, layers]

    def _bodies(self, weights: list[torch.Tensor], told: Parameters) -> list[bytes]:
        return [
            write_weights(own, told.shape(source.header), told.fineness)
            for own, source in zip(weights, self.sources, strict=True)
        ]

    def _search(self, weights: list[torch.Tensor], width: int, layers: int, bits: float) -> int:
        """The finest quantisation whose bodies take at most ``bits``; the coarsest when none does."""
        low, high = 0, MAX_FINENESS
        while low < high:
            middle = (low + high + 1) // 2
            bodies = self._bodies(weights, Parameters(width, layers, middle, self.level))
            if 8 * sum(map(len, bodies)) <= bits:
                low = middle
            else:
                high = middle - 1
        return low


def bits_for_beta(beta: float) -> float:
    """Bits per point that this codec spends at a beta: a rule of thumb by photographs, of which 0.5 bits are asked for
    at 2.6e-3, and twice as many at 0.3 of it."""
    if not (math.isfinite(beta) and beta > 0):
        raise UsageError(f"beta must be a positive number, got {beta}")
    return float(DEFAULT_BITS_PER_POINT * (2.6e-3 / beta) ** (1.0 / math.log2(1.0 / 0.3)))


def beta_for_bits(bits_per_point: float) -> float:
    """Inverse of ``bits_for_beta``."""
    return float(2.6e-3 * (DEFAULT_BITS_PER_POINT / bits_per_point) ** math.log2(1.0 / 0.3))


def _channels(header: SignalHeader) -> int:
    return header.channels - has_alpha(header)


def _groups(sources: Sequence[Source]) -> list[list[int]]:
    """Signals that are fitted together: of one grid, and few enough for the cache."""
    alike: dict[Any, list[list[int]]] = {}
    for index, source in enumerate(sources):
        key = source.header.shape, _channels(source.header)
        at_once = max(1, SIGNALS_AT_ONCE_POINTS // source.header.n_points)
        runs = alike.setdefault(key, [])
        if not runs or len(runs[-1]) >= at_once:
            runs.append([])
        runs[-1].append(index)
    return [run for runs in alike.values() for run in runs]


def _level(sources: Sequence[Source]) -> int:
    """Of sounds: how loud all are together, in quarters of an octave about a root mean square of 1/2."""
    if sources[0].header.kind != "audio":
        return 0
    power = np.mean([np.square(source.values, dtype=np.float64).mean() for source in sources])
    return int(np.clip(round(4.0 * math.log2(max(2.0 * math.sqrt(power), 1e-9))), -128, 127))


def _range_of(header: SignalHeader, level: int) -> tuple[float, float]:
    """Centre of the values and what the network's are multiplied by."""
    return (0.0, float(2.0 ** (level / 4.0))) if header.kind == "audio" else (0.5, 0.5 * float(2.0 ** (level / 4.0)))
