"""Encode signals with COIN: fit one SIREN per signal, then quantise its weights."""

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
"""Default rate."""
DEFAULT_BITS_PER_WEIGHT = 6.15
"""Bits of a weight whose standard deviation is 16 steps. On photographs, finer weights and more weights are then worth
the same."""
DEEP_FROM = 3000
"""Networks of at least this many weights have five hidden layers, smaller ones three."""
POINTS_AT_ONCE = 1 << 13
"""Points that a step of Adam sees."""
SIGNALS_AT_ONCE_POINTS = 1 << 15
"""Small signals are fitted together up to this many points."""


class CoinEncoding:
    """Signals being encoded; for every size of the network, they are fitted once.

    Attributes:
        codec: the codec.
        sources: the signals.
        effort: the effort preset.
        progress: called with the number of steps done.
        float16: whether weights are sent in float16.
        level: gain of audio, in quarters of an octave.
    """

    def __init__(self, codec: CoinCodec, sources: Sequence[Source], options: EncodeOptions) -> None:
        self.codec, self.sources, self.effort = codec, sources, COIN_EFFORTS[options.effort]
        self.progress, self.float16 = options.progress, options.coder == "float16"
        self.level = _level(sources)
        self._fitted: dict[tuple[int, int], list[torch.Tensor]] = {}

    def at(self, rate: Rate) -> Coded:
        """See ``Encoding.at``."""
        points = sum(source.header.n_points for source in self.sources)
        if rate.bits is not None:
            bits = rate.bits
        else:
            bits = points * bits_for_beta(self.codec.default_beta(self.sources) if rate.beta is None else rate.beta)
        width, layers = self._architecture(bits)
        weights = self._weights(width, layers)
        fineness = FLOAT16 if self.float16 else self._search(weights, width, layers, bits)
        parameters = Parameters(width, layers, fineness, self.level)
        return Coded(write_parameters(parameters), self._bodies(weights, parameters))

    def _architecture(self, bits: float) -> tuple[int, int]:
        """Return the width and the number of hidden layers of networks that together take about ``bits``.

        Raises:
            UsageError: the bits are too few for the smallest network.
        """
        per_weight = 16.0 if self.float16 else DEFAULT_BITS_PER_WEIGHT
        n_weights = bits / per_weight / len(self.sources)
        max_layers = 3 if n_weights < DEEP_FROM else 5
        for layers in range(max_layers, 0, -1):
            widths = [w for w in range(MIN_WIDTH, MAX_WIDTH + 1) if self._mean_weights(w, layers) <= n_weights]
            if widths and (widths[-1] >= 8 or layers == 1):
                return widths[-1], layers
        raise UsageError(f"the target rate leaves {n_weights:.0f} weights for a network, too few: raise it")

    def _mean_weights(self, width: int, layers: int) -> float:
        """Return the mean number of weights of a signal, including what the bytes of the groups cost."""
        shapes = [Parameters(width, layers, 0, 0).shape(source.header) for source in self.sources]
        extra = 0 if self.float16 else 8 * len(groups(shapes[0])) / DEFAULT_BITS_PER_WEIGHT
        return sum(shape.n_weights for shape in shapes) / len(shapes) + extra

    def _weights(self, width: int, layers: int) -> list[torch.Tensor]:
        """Return the fitted weights (n,) of every source."""
        if (width, layers) not in self._fitted:
            out: list[torch.Tensor] = [torch.empty(0)] * len(self.sources)
            for number, group in enumerate(fitted_together(self.sources)):
                header = self.sources[group[0]].header
                centre, spread = value_range(header, self.level)
                values = np.stack([self.sources[i].values[..., : signal_channels(header)] for i in group])
                values = (values.reshape(len(group), header.n_points, -1) - np.float32(centre)) / np.float32(spread)
                fitted = fit_siren(
                    torch.from_numpy(values),
                    header.shape,
                    Parameters(width, layers, 0, 0).shape(header),
                    self.effort.steps,
                    POINTS_AT_ONCE,
                    number,
                    progress=self.progress,
                ).weights
                for i, signal_weights in zip(group, fitted, strict=True):
                    out[i] = signal_weights
            self._fitted[width, layers] = out
        return self._fitted[width, layers]

    def _bodies(self, weights: list[torch.Tensor], parameters: Parameters) -> list[bytes]:
        return [
            write_weights(signal_weights, parameters.shape(source.header), parameters.fineness)
            for signal_weights, source in zip(weights, self.sources, strict=True)
        ]

    def _search(self, weights: list[torch.Tensor], width: int, layers: int, bits: float) -> int:
        """Return the max fineness at which the bodies take at most ``bits``; 0 if none does."""
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
    """Return the bits per point to spend at a beta.

    This is a rule of thumb from photographs: 0.5 bits at a beta of 2.6e-3, and twice as many at 0.3 times that beta.

    Raises:
        UsageError: ``beta`` is not positive and finite.
    """
    if not (math.isfinite(beta) and beta > 0):
        raise UsageError(f"beta must be a positive number, got {beta}")
    return float(DEFAULT_BITS_PER_POINT * (2.6e-3 / beta) ** (1.0 / math.log2(1.0 / 0.3)))


def beta_for_bits(bits_per_point: float) -> float:
    """Return the beta at which the codec spends ``bits_per_point`` bits, the inverse of ``bits_for_beta``."""
    return float(2.6e-3 * (DEFAULT_BITS_PER_POINT / bits_per_point) ** math.log2(1.0 / 0.3))


def fitted_together(sources: Sequence[Source]) -> list[list[int]]:
    """Return groups of indices of signals that are fitted together: one grid, and few enough for the cache."""
    groups_by_grid: dict[Any, list[list[int]]] = {}
    for index, source in enumerate(sources):
        key = source.header.shape, signal_channels(source.header)
        at_once = max(1, SIGNALS_AT_ONCE_POINTS // source.header.n_points)
        grid_groups = groups_by_grid.setdefault(key, [])
        if not grid_groups or len(grid_groups[-1]) >= at_once:
            grid_groups.append([])
        grid_groups[-1].append(index)
    return [group for grid_groups in groups_by_grid.values() for group in grid_groups]


def _level(sources: Sequence[Source]) -> int:
    """Return the gain of all audio together, in quarters of an octave relative to a root mean square of 1/2.

    The gain of other kinds of signal is 0.
    """
    if sources[0].header.kind != "audio":
        return 0
    power = np.mean([np.square(source.values, dtype=np.float64).mean() for source in sources])
    return int(np.clip(round(4.0 * math.log2(max(2.0 * math.sqrt(power), 1e-9))), -128, 127))
