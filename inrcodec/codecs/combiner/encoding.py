"""Encode signals with codec combiner: choose an operating point, fit posteriors, send them progressively."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from inrcodec.codecs.base import Coded, Progress, Rate, Source
from inrcodec.codecs.combiner.bitstream import OperatingPoint, class_bits, write_body, write_parameters
from inrcodec.codecs.combiner.effort import CombinerEffort
from inrcodec.codecs.combiner.prior import CombinerPrior
from inrcodec.codecs.combiner.progressive import Fit, Patches, ProgressiveEncoder
from inrcodec.codecs.combiner.rate_control import better_anchor, point_for_beta, point_for_bits, target_for_blocks
from inrcodec.codecs.loudness import gain_of, level_of
from inrcodec.codecs.patches import PatchLayout
from inrcodec.codecs.planes import PlaneMap
from inrcodec.signals.coordinates import grid_coordinates
from inrcodec.signals.header import SignalHeader

KNOWN_LEVELS = (-8, 2)
"""Range of gains, in quarters of an octave relative to the prior, that the prior was trained on: audio within it is
left unchanged."""
PATCHES_AT_ONCE = 256
"""Signals are encoded together up to this many patches."""


class CombinerEncoding:
    """Signals being encoded; every rate needs a new fit.

    Attributes:
        prior: the prior.
        sources: the signals.
        effort: the effort preset.
        progress: called with the number of gradient steps done.
    """

    def __init__(
        self, prior: CombinerPrior, sources: Sequence[Source], effort: CombinerEffort, progress: Progress
    ) -> None:
        self.prior, self.sources, self.effort, self.progress = prior, sources, effort, progress

    def at(self, rate: Rate) -> Coded:
        """See ``Encoding.at``; all signals are encoded at one operating point."""
        prior, effort, sources = self.prior, self.effort, self.sources
        encoder = ProgressiveEncoder(prior, effort, progress=self.progress)
        level = level_of(sources, prior, prior.spread, KNOWN_LEVELS)
        gain = gain_of(level)
        if rate.beta is not None:
            rate = Rate(beta=rate.beta / gain**2)
        groups = patch_groups(prior, sources)
        pilots = sources if len(groups) == 1 else _evenly(sources, len(groups[0]))
        share = sum(n_patches(prior, s.header) for s in pilots) / sum(n_patches(prior, s.header) for s in sources)
        point, pilot_fit = self._operating_point(
            encoder, pilots, gain, rate if rate.bits is None else Rate(bits=rate.bits * share)
        )
        bodies: list[bytes] = []
        for group in groups:
            patches = self._patches([sources[i] for i in group], gain)
            fit = pilot_fit if len(groups) == 1 else None
            coded = encoder.encode(patches, self._features(), point, fit)
            bodies += [write_body(prior, signal, effort.budget_bits) for signal in coded]
        return Coded(write_parameters(prior, point, effort.budget_bits, level), bodies)

    def _features(self) -> torch.Tensor:
        shape = self.prior.config.patch_shape
        return self.prior.model.features(torch.from_numpy(grid_coordinates(shape).reshape(-1, len(shape))))

    def _patches(self, sources: Sequence[Source], gain: float) -> Patches:
        cut, weights, signal = [], [], []
        for number, source in enumerate(sources):
            planes = PlaneMap.make(source.header, self.prior)
            layout = PatchLayout(planes.shape, self.prior.config.patch_shape)
            for plane in planes.to_planes(source.values):
                values, weight = layout.cut(plane)
                cut.append((values / np.float32(gain) - np.float32(self.prior.centre)) / np.float32(self.prior.spread))
                weights.append(np.ones(values.shape[:2], np.float32) if weight is None else weight)
                signal.append(np.full(len(values), number))
        weight = np.concatenate(weights)
        return Patches(
            torch.from_numpy(np.concatenate(cut)),
            None if weight.all() else torch.from_numpy(weight),
            np.concatenate(signal).astype(np.int64),
        )

    def _operating_point(
        self, encoder: ProgressiveEncoder, pilots: Sequence[Source], gain: float, rate: Rate
    ) -> tuple[OperatingPoint, Fit | None]:
        """Return the operating point for a rate, and the posteriors of the pilots if fitted to count blocks."""
        prior, effort = self.prior, encoder.effort
        if rate.bits is None:
            beta = rate.beta if rate.beta is not None else float(prior.betas[prior.n_anchors // 2])
            return point_for_beta(prior, effort, beta), None
        patches = self._patches(pilots, gain)
        point = point_for_bits(prior, effort, rate.bits / len(patches.values))
        tried: set[int] = set()
        while True:
            fit = encoder.fit_posteriors(patches, self._features(), point)
            spent = sum(class_bits(prior, int((patches.signal == s).sum())) for s in range(patches.n_signals))
            max_blocks = int((rate.bits - spent) // effort.budget_bits)
            target = target_for_blocks(prior, point.anchor, fit.classes, max(max_blocks, 0))
            point = OperatingPoint(point.anchor, point.beta, target)
            tried.add(point.anchor)
            other = better_anchor(prior, effort, point.anchor, target)
            if other in tried:
                return point, fit
            point = OperatingPoint(other, float(prior.betas[other]), target)


def n_patches(prior: CombinerPrior, header: SignalHeader) -> int:
    """Return the number of patches of a signal."""
    planes = PlaneMap.make(header, prior)
    return planes.n_planes * PatchLayout(planes.shape, prior.config.patch_shape).n_patches


def patch_groups(prior: CombinerPrior, sources: Sequence[Source]) -> list[list[int]]:
    """Return groups of indices of sources that are encoded together."""
    groups: list[list[int]] = []
    size = 0
    for index, source in enumerate(sources):
        count = n_patches(prior, source.header)
        if not groups or size + count > PATCHES_AT_ONCE:
            groups.append([])
            size = 0
        groups[-1].append(index)
        size += count
    return groups


def _evenly(sources: Sequence[Source], count: int) -> list[Source]:
    """Return about ``count`` of the sources, evenly spaced from the first to the last."""
    chosen = np.linspace(0, len(sources) - 1, min(max(count, 2), len(sources))).round().astype(int)
    return [sources[i] for i in np.unique(chosen).tolist()]
