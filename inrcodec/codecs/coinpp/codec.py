"""The COIN++ codec: a signal is cut into patches, each a latent vector that modulates the prior's base network.

    values -> planes -> patches -> latents -> gains, whole numbers -> message       (compress)
    message -> latents -> shifts -> base network -> any grid -> planes -> values    (decompress)

What is sent besides the prior's id: the *parameters* (fineness, one or two bytes, and for sounds their level, one byte;
shared by all entries of an archive) and per signal a *body*: the message of all its patches.
Source: COIN++ (arXiv 2201.12904).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from inrcodec.codecs.base import Coded, Rate, Source
from inrcodec.codecs.coinpp.inner_loop import fit_latents
from inrcodec.codecs.coinpp.latents import choose_gains, quantise, read_latents, requantise, write_latents
from inrcodec.codecs.coinpp.prior import MAX_FINENESS, CoinPPPrior, fineness_of, step_of
from inrcodec.codecs.combiner.progressive import Progress
from inrcodec.codecs.loudness import gain_of, has_level, level_of
from inrcodec.codecs.patches import PatchLayout, oversampling, render
from inrcodec.codecs.planes import PlaneMap
from inrcodec.coding.bits import read_varint, write_varint
from inrcodec.errors import FormatError, LimitError, UsageError
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.signals.coordinates import grid_coordinates
from inrcodec.signals.header import SignalHeader

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class CoinPPEffort:
    """``inner``: inner steps from zero, none where the prior predicts latents and ``predicts``; ``rounds``: of
    quantising again after them."""

    name: str
    inner: int
    rounds: int = 0
    predicts: bool = False


COINPP_EFFORTS = {
    effort.name: effort
    for effort in (CoinPPEffort("fast", 3, predicts=True), CoinPPEffort("default", 10), CoinPPEffort("best", 20, 10))
}


MAX_REFINED = 3
REFINED_ENOUGH = 0.985


class CoinPPCodec:
    """``encoding`` turns signals to bytes, ``decode`` one body back to values at any size, under one prior."""

    name = "coin++"

    def __init__(self, prior: CoinPPPrior) -> None:
        self.prior = prior

    # Sender.

    def encoding(
        self, sources: Sequence[Source], effort: str, tick: Progress | None = None, coder: str | None = None
    ) -> CoinPPEncoding:
        """Signals to be encoded, at one rate or one after the other; ``effort`` is a preset's name.

        Raises UsageError for another coder than quantisation, the one that this codec has.
        """
        if coder not in (None, "round"):
            raise UsageError(f"codec coin++ sends quantised modulations (round), not {coder!r}")
        return CoinPPEncoding(self, sources, COINPP_EFFORTS[effort], tick or (lambda steps: None))

    def planned_steps(self, sources: Sequence[Source], effort: str) -> int:
        """Steps of an encoding, patches times steps on each."""
        preset = COINPP_EFFORTS[effort]
        return sum(self.n_patches(source.header) for source in sources) * (preset.inner + preset.rounds)

    def n_patches(self, header: SignalHeader) -> int:
        """Patches of a signal."""
        planes = PlaneMap.make(header, self.prior)
        return planes.n_planes * PatchLayout(planes.shape, self.prior.config.patch_shape).n_patches

    @property
    def max_parameter_bytes(self) -> int:
        """Most bytes that parameters take."""
        return len(write_varint(MAX_FINENESS)) + has_level(self.prior)

    def level_of(self, sources: Sequence[Source]) -> int:
        """Loudness of all sources together about the prior's, in quarters of an octave."""
        return level_of(sources, self.prior, self.prior.config.spread)

    def default_beta(self, sources: Sequence[Source]) -> float:
        """Beta where nothing is asked for."""
        return self.beta_of(math.sqrt(math.prod(self.prior.steps))) * gain_of(self.level_of(sources)) ** 2

    def beta_of(self, step: float) -> float:
        """Squared error of values per bit per point at which a step is the best one: 2 ln 2 step^2 / 12 per latent."""
        config = self.prior.config
        return math.log(2.0) * step**2 * config.spread**2 / (6.0 * config.channels)

    def step_for(self, beta: float) -> float:
        """Inverse of ``beta_of``."""
        return math.sqrt(beta / self.beta_of(1.0))

    # Bytes.

    def write_parameters(self, fineness: int, level: int) -> bytes:
        """Inverse of ``read_parameters``."""
        return write_varint(fineness) + (level.to_bytes(1, "little", signed=True) if has_level(self.prior) else b"")

    def read_parameters(self, data: bytes) -> tuple[int, int, int]:
        """Fineness, level, position behind the parameters; FormatError when they are damaged."""
        fineness, position = read_varint(data, 0)
        if fineness > MAX_FINENESS:
            raise FormatError(f"a fineness of {fineness} does not exist")
        if not has_level(self.prior):
            return fineness, 0, position
        if position >= len(data):
            raise FormatError("the codec's parameters are cut short")
        return fineness, int.from_bytes(data[position : position + 1], "little", signed=True), position + 1

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
        fineness, level, end = self.read_parameters(parameters)
        if end != len(parameters):
            raise FormatError("the codec's parameters go on after their end")
        config = self.prior.config
        planes = PlaneMap.make(header, self.prior)
        layout = PatchLayout(planes.shape, config.patch_shape)
        wanted = planes.plane_size(size if size is not None else header.shape)
        self._check_work(planes, layout, wanted, limits)
        latents = read_latents(self.prior, body, planes.n_planes * layout.n_patches, fineness)
        out = np.empty((planes.n_planes, *wanted, config.channels), np.float32)
        for number, mine in enumerate(latents.split(layout.n_patches)):
            out[number] = render(layout, wanted, config.channels, self._evaluator(mine))
        return planes.from_planes(out * np.float32(gain_of(level)) if level else out)

    def _evaluator(self, latents: torch.Tensor) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        return lambda patch, coordinates: self.prior.values(latents[patch], coordinates)

    def _check_work(self, planes: PlaneMap, layout: PatchLayout, size: tuple[int, ...], limits: Limits) -> None:
        config = self.prior.config
        n_patches = planes.n_planes * layout.n_patches
        fine = math.prod(m * t for m, t in zip(size, oversampling(planes.shape, size), strict=True)) * planes.n_planes
        if max(fine, n_patches * config.latent_dims) > limits.max_points or max(size) > limits.max_axis:
            raise LimitError(f"decoding evaluates {fine} points, the limit is {limits.max_points}")
        work = fine * config.multiply_adds + n_patches * config.latent_dims * config.n_shifts
        if work > limits.max_multiply_adds:
            raise LimitError(f"decoding takes {work:.2g} multiply-adds, the limit is {limits.max_multiply_adds:.2g}")


class CoinPPEncoding:
    """Signals being encoded: their latents are fitted once, whatever the rates that are asked for after."""

    def __init__(self, codec: CoinPPCodec, sources: Sequence[Source], effort: CoinPPEffort, tick: Progress) -> None:
        self.codec, self.sources, self.effort, self.tick = codec, sources, effort, tick
        self.level = codec.level_of(sources)
        config = codec.prior.config
        self._coordinates = torch.from_numpy(grid_coordinates(config.patch_shape).reshape(-1, codec.prior.axes))
        self._values, self._weight = self._patches()
        self._latents: torch.Tensor | None = None

    def _patches(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """All patches of all sources in the model's units, (N, P, C), and the weight (N, P) of their points."""
        config, gain = self.codec.prior.config, np.float32(gain_of(self.level))
        cut, weights = [], []
        for source in self.sources:
            planes = PlaneMap.make(source.header, self.codec.prior)
            layout = PatchLayout(planes.shape, config.patch_shape)
            for plane in planes.to_planes(source.values):
                values, weight = layout.cut(plane)
                cut.append((values / gain - np.float32(config.centre)) / np.float32(config.spread))
                weights.append(np.ones(values.shape[:2], np.float32) if weight is None else weight)
        weight = np.concatenate(weights)
        return torch.from_numpy(np.concatenate(cut)), None if weight.all() else torch.from_numpy(weight)

    @property
    def latents(self) -> torch.Tensor:
        """Latents of all patches, (N, D), before quantisation."""
        prior = self.codec.prior
        if self._latents is None and self.effort.predicts and prior.predictor:
            with torch.no_grad():
                self._latents = prior.predicted(self._values)
            self.tick(self.effort.inner * len(self._latents))
        elif self._latents is None:
            self._latents = fit_latents(
                prior.model, self._values, self._coordinates, self.effort.inner, weight=self._weight, tick=self.tick
            )
        return self._latents

    def at(self, rate: Rate) -> Coded:
        """Bytes at a rate."""
        if rate.bits is not None:
            fineness, bodies = self._search(rate.bits)
        else:
            beta = self.codec.default_beta(self.sources) if rate.beta is None else rate.beta
            if not (math.isfinite(beta) and beta > 0):
                raise UsageError(f"beta must be a positive number, got {beta}")
            fineness = fineness_of(self.codec.step_for(beta / gain_of(self.level) ** 2))
            bodies = self._refined(fineness) if self.effort.rounds else self._rounded(fineness)
        return Coded(self.codec.write_parameters(fineness, self.level), bodies)

    def _rounded(self, fineness: int) -> list[bytes]:
        prior, step = self.codec.prior, step_of(fineness)
        gains = choose_gains(prior, self.latents, step)
        return self._bodies(quantise(prior, self.latents, gains, step), gains, fineness)

    def _refined(self, fineness: int) -> list[bytes]:
        prior, step = self.codec.prior, step_of(fineness)
        gains = choose_gains(prior, self.latents, step)
        numbers = requantise(
            prior,
            quantise(prior, self.latents, gains, step),
            gains,
            step,
            self._values,
            self._coordinates,
            self.effort.rounds,
            weight=self._weight,
            tick=self.tick,
        )
        return self._bodies(numbers, gains, fineness)

    def _bodies(self, numbers: torch.Tensor, gains: torch.Tensor, fineness: int) -> list[bytes]:
        counts = [self.codec.n_patches(source.header) for source in self.sources]
        return [
            write_latents(self.codec.prior, k, g, fineness)
            for k, g in zip(numbers.split(counts), gains.split(counts), strict=True)
        ]

    def _search(self, bits: float) -> tuple[int, list[bytes]]:
        """The finest step whose bodies take at most ``bits`` (the coarsest when none does), and the bodies.

        Refining changes lengths: what it makes of them at one step is taken to hold near it.
        """
        wanted, low = bits, 0
        for _ in range(MAX_REFINED):
            low, high = 0, MAX_FINENESS
            while low < high:
                middle = (low + high + 1) // 2
                if 8 * sum(map(len, self._rounded(middle))) <= wanted:
                    low = middle
                else:
                    high = middle - 1
            if not self.effort.rounds:
                break
            bodies = self._refined(low)
            found = 8 * sum(map(len, bodies))
            if REFINED_ENOUGH * bits <= found <= bits:
                return low, bodies
            wanted *= bits / max(found, 8)
        return low, self._refined(low) if self.effort.rounds else self._rounded(low)
