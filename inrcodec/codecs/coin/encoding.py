"""Signals to bytes by COIN: fit one SIREN per signal, quantise its weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from inrcodec.codecs.base import Coded, EncodeOptions, Rate, Source
from inrcodec.codecs.coin.effort import COIN_EFFORTS
from inrcodec.codecs.coin.fit import fit_siren
from inrcodec.codecs.coin.parameters import (
    MAX_WIDTH,
    MIN_WIDTH,
    Parameters,
    signal_channels,
    value_range,
    write_parameters,
)
from inrcodec.codecs.coin.weights import FLOAT16, MAX_FINENESS, groups, write_weights
from inrcodec.errors import UsageError

if TYPE_CHECKING:
    from inrcodec.codecs.coin.codec import CoinCodec

DEFAULT_BITS_PER_POINT = 0.5
DEFAULT_BITS_PER_WEIGHT = 6.15
"""Weights of 16 steps of standard deviation: where, on photographs, finer weights are worth as much as more of them."""
DEEP_FROM = 3000
POINTS_AT_ONCE = 1 << 13
SIGNALS_AT_ONCE_POINTS = 1 << 15


class CoinEncoding:
    """Signals being encoded: networks of one size are fitted once."""

    def __init__(self, codec: CoinCodec, sources: Sequence[Source], options: EncodeOptions) -> None:
        self.codec, self.sources, self.effort = codec, sources, COIN_EFFORTS[options.effort]
        self.tick, self.float16 = options.progress, options.coder == "float16"
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
        return Coded(write_parameters(told), self._bodies(weights, told))

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
            for number, group in enumerate(fitted_together(self.sources)):
                header = self.sources[group[0]].header
                centre, spread = value_range(header, self.level)
                values = np.stack([self.sources[i].values[..., : signal_channels(header)] for i in group])
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


def fitted_together(sources: Sequence[Source]) -> list[list[int]]:
    """Signals that are fitted together: of one grid, and few enough for the cache."""
    alike: dict[Any, list[list[int]]] = {}
    for index, source in enumerate(sources):
        key = source.header.shape, signal_channels(source.header)
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
