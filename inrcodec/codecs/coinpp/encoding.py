"""Encode signals with COIN++: fit the latents of all patches once, then quantise them for any rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from inrcodec.codecs.base import Coded, EncodeOptions, Rate, Source
from inrcodec.codecs.coinpp.effort import COINPP_EFFORTS
from inrcodec.codecs.coinpp.inner_loop import fit_latents
from inrcodec.codecs.coinpp.latents import choose_gains, quantise, requantise, write_latents
from inrcodec.codecs.coinpp.prior import MAX_FINENESS, fineness_of, step_of
from inrcodec.codecs.loudness import gain_of
from inrcodec.codecs.patches import PatchLayout
from inrcodec.codecs.planes import PlaneMap
from inrcodec.errors import UsageError
from inrcodec.signals.coordinates import grid_coordinates

if TYPE_CHECKING:
    from inrcodec.codecs.coinpp.codec import CoinPPCodec

MAX_REFINED = 3
"""Max number of step sizes at which a search for a target length requantises."""
REFINED_ENOUGH = 0.985
"""The search ends at a length between this fraction of the target and the target."""


class CoinPPEncoding:
    """Signals being encoded; their latents are fitted once for all rates.

    Attributes:
        codec: the codec.
        sources: the signals.
        effort: the effort preset.
        progress: called with patches times steps done.
        level: gain of audio, in quarters of an octave.
    """

    def __init__(self, codec: CoinPPCodec, sources: Sequence[Source], options: EncodeOptions) -> None:
        self.codec, self.sources = codec, sources
        self.effort, self.progress = COINPP_EFFORTS[options.effort], options.progress
        self.level = codec.level_of(sources)
        config = codec.prior.config
        self._coordinates = torch.from_numpy(grid_coordinates(config.patch_shape).reshape(-1, codec.prior.axes))
        self._values, self._weight = self._patches()
        self._latents: torch.Tensor | None = None

    def _patches(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return all patches (N, P, C) of all sources in the model's units, and the weights (N, P) of their points."""
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
        """Return the latents (N, D) of all patches before quantisation."""
        prior = self.codec.prior
        if self._latents is None and self.effort.predicts and prior.predictor:
            with torch.no_grad():
                self._latents = prior.predicted(self._values)
            self.progress(self.effort.inner * len(self._latents))
        elif self._latents is None:
            self._latents = fit_latents(
                prior.model,
                self._values,
                self._coordinates,
                self.effort.inner,
                weight=self._weight,
                progress=self.progress,
            )
        return self._latents

    def at(self, rate: Rate) -> Coded:
        """See ``Encoding.at``."""
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
            progress=self.progress,
        )
        return self._bodies(numbers, gains, fineness)

    def _bodies(self, numbers: torch.Tensor, gains: torch.Tensor, fineness: int) -> list[bytes]:
        counts = [self.codec.n_patches(source.header) for source in self.sources]
        return [
            write_latents(self.codec.prior, k, g, fineness)
            for k, g in zip(numbers.split(counts), gains.split(counts), strict=True)
        ]

    def _search(self, bits: float) -> tuple[int, list[bytes]]:
        """Return the max fineness at which the bodies take at most ``bits`` (0 if none does), and the bodies.

        Requantisation changes the lengths. The ratio at one step size is assumed to hold nearby.
        """
        rounded_bits, low = bits, 0
        for _ in range(MAX_REFINED):
            low, high = 0, MAX_FINENESS
            while low < high:
                middle = (low + high + 1) // 2
                if 8 * sum(map(len, self._rounded(middle))) <= rounded_bits:
                    low = middle
                else:
                    high = middle - 1
            if not self.effort.rounds:
                break
            bodies = self._refined(low)
            refined_bits = 8 * sum(map(len, bodies))
            if REFINED_ENOUGH * bits <= refined_bits <= bits:
                return low, bodies
            rounded_bits *= bits / max(refined_bits, 8)
        return low, self._refined(low) if self.effort.rounds else self._rounded(low)
