"""The COMBINER codec: a signal is cut into patches, each a Bayesian SIREN, sent block by block.

    values -> planes -> patches -> posteriors -> blocks -> indices -> body          (compress)
    body -> indices -> latents -> weights -> values at any grid -> planes -> values  (decompress)

What is sent besides the prior's id: the *parameters* (operating point, 4 or 5 bytes, and for sounds their level, one
byte; shared by all entries of an archive) and per signal a *body*: the class of every patch, then the index of every
block, ``budget_bits`` each.

Level: a prior of sounds knows those of a common loudness, and recordings differ by 40 dB. Values are divided by
2^(level / 4) before the model sees them, so that their root mean square is within the range that the prior has learned.
Sources: COMBINER (arXiv 2305.19185), RECOMBINER (arXiv 2309.17182).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from inrcodec.codecs.base import Coded, Rate, Source
from inrcodec.codecs.combiner.blocks import count_blocks
from inrcodec.codecs.combiner.effort import COMBINER_EFFORTS, CombinerEffort, combiner_effort_named
from inrcodec.codecs.combiner.prior import KL_UNITS_PER_BIT, CombinerPrior
from inrcodec.codecs.combiner.progressive import (
    TARGET_STEPS_PER_BIT,
    CodedSignal,
    Fit,
    OperatingPoint,
    Patches,
    Progress,
    ProgressiveEncoder,
    decode_latents,
)
from inrcodec.codecs.combiner.rate_control import better_anchor, point_for_beta, point_for_bits, target_for_blocks
from inrcodec.codecs.loudness import gain_of, has_level, level_of
from inrcodec.codecs.patches import PatchLayout, oversampling, render
from inrcodec.codecs.planes import PlaneMap
from inrcodec.coding.bits import BitReader, BitWriter, read_varint, write_varint
from inrcodec.coding.relative_entropy import check_budget
from inrcodec.errors import FormatError, LimitError, UsageError
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.signals.coordinates import grid_coordinates
from inrcodec.signals.header import SignalHeader

FloatArray = NDArray[np.float32]

KNOWN_LEVELS = (-8, 2)
"""Root mean squares about the prior's that it has learned, in levels: such sounds are left as they are."""

WEIGHTS_AT_ONCE = 1 << 24
PATCHES_AT_ONCE = 256
"""Patches of small signals that go through the encoder together."""


class CombinerCodec:
    """``encode`` signals to bytes and ``decode`` one body back to values at any size, under one prior."""

    name = "combiner"

    def __init__(self, prior: CombinerPrior) -> None:
        self.prior = prior

    # Sender.

    def encoding(
        self, sources: Sequence[Source], effort: str, tick: Progress | None = None, coder: str | None = None
    ) -> CombinerEncoding:
        """Signals to be encoded, at one rate or one after the other; ``effort`` is a preset's name.

        Raises UsageError for another coder than relative entropy coding, the one that this codec has.
        """
        if coder not in (None, "rec"):
            raise UsageError(f"codec combiner sends everything by relative entropy coding (rec), not {coder!r}")
        return CombinerEncoding(self, sources, combiner_effort_named(effort), tick)

    def default_beta(self, sources: Sequence[Source]) -> float:
        """Beta where nothing is asked for."""
        return float(self.prior.betas[self.prior.n_anchors // 2])

    def encode(
        self,
        sources: Sequence[Source],
        rate: Rate,
        effort: CombinerEffort = COMBINER_EFFORTS["default"],
        *,
        tick: Progress | None = None,
    ) -> Coded:
        """Fit and code signals at one operating point.

        ``tick`` is called with the number of gradient steps done; ``planned_steps`` says how many there will be.
        """
        tick = tick or (lambda steps: None)
        encoder = ProgressiveEncoder(self.prior, effort, tick=tick)
        level = level_of(sources, self.prior, self.prior.spread, KNOWN_LEVELS)
        gain = gain_of(level)
        if rate.beta is not None:
            rate = Rate(beta=rate.beta / gain**2)
        groups = self._groups(sources)
        pilots = sources if len(groups) == 1 else _evenly(sources, len(groups[0]))
        share = sum(self._n_patches(s.header) for s in pilots) / sum(self._n_patches(s.header) for s in sources)
        point, pilot_fit = self._operating_point(
            encoder, pilots, gain, rate if rate.bits is None else Rate(bits=rate.bits * share)
        )
        bodies: list[bytes] = []
        for group in groups:
            patches = self._patches([sources[i] for i in group], gain)
            fit = pilot_fit if len(groups) == 1 else None
            coded = encoder.encode(patches, self._features(), point, fit)
            bodies += [self._write_body(signal, point, effort.budget_bits) for signal in coded]
        parameters = bytes([point.anchor, effort.budget_bits]) + write_varint(point.target)
        if has_level(self.prior):
            parameters += level.to_bytes(1, "little", signed=True)
        return Coded(parameters, bodies)

    def planned_steps(self, sources: Sequence[Source], effort: str) -> int:
        """Gradient steps of an encoding, all groups together (choosing a point for a rate may take more)."""
        return len(self._groups(sources)) * combiner_effort_named(effort).total_steps

    def _features(self) -> torch.Tensor:
        shape = self.prior.config.patch_shape
        return self.prior.model.features(torch.from_numpy(grid_coordinates(shape).reshape(-1, len(shape))))

    def _n_patches(self, header: SignalHeader) -> int:
        planes = PlaneMap.make(header, self.prior)
        return planes.n_planes * PatchLayout(planes.shape, self.prior.config.patch_shape).n_patches

    def _groups(self, sources: Sequence[Source]) -> list[list[int]]:
        groups: list[list[int]] = []
        size = 0
        for index, source in enumerate(sources):
            n = self._n_patches(source.header)
            if not groups or size + n > PATCHES_AT_ONCE:
                groups.append([])
                size = 0
            groups[-1].append(index)
            size += n
        return groups

    @property
    def max_parameter_bytes(self) -> int:
        """Most bytes that parameters take."""
        return 4 + has_level(self.prior)

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
        """The point for a rate, and the posteriors of the pilots if they were fitted to count blocks."""
        prior, effort = self.prior, encoder.effort
        if rate.bits is None:
            beta = rate.beta if rate.beta is not None else float(prior.betas[prior.n_anchors // 2])
            return point_for_beta(prior, effort, beta), None
        patches = self._patches(pilots, gain)
        point = point_for_bits(prior, effort, rate.bits / len(patches.values))
        tried: set[int] = set()
        while True:
            fit = encoder.fit_posteriors(patches, self._features(), point)
            spent = sum(self._class_bits(int((patches.signal == s).sum())) for s in range(patches.n_signals))
            wanted = int((rate.bits - spent) // effort.budget_bits)
            target = target_for_blocks(prior, point.anchor, fit.classes, max(wanted, 0))
            point = OperatingPoint(point.anchor, point.beta, target)
            tried.add(point.anchor)
            other = better_anchor(prior, effort, point.anchor, target)
            if other in tried:
                return point, fit
            point = OperatingPoint(other, float(prior.betas[other]), target)

    # Bytes.

    def _class_bits(self, n_patches: int) -> int:
        return n_patches * (self.prior.n_classes - 1).bit_length()

    def _write_body(self, coded: CodedSignal, point: OperatingPoint, budget_bits: int) -> bytes:
        writer = BitWriter()
        writer.write(coded.classes, (self.prior.n_classes - 1).bit_length())
        writer.write(coded.indices, budget_bits)
        return writer.to_bytes()

    def read_parameters(self, data: bytes) -> tuple[OperatingPoint, int, float, int]:
        """Operating point, bits per block, gain, position behind the parameters; FormatError when damaged."""
        if len(data) < 3:
            raise FormatError("the codec's parameters are cut short")
        anchor, budget_bits = data[0], data[1]
        target, position = read_varint(data, 2)
        if anchor >= self.prior.n_anchors or not 1 <= target <= 64 * TARGET_STEPS_PER_BIT:
            raise FormatError(f"operating point {anchor}, {target} does not exist in prior {self.prior.name!r}")
        check_budget(budget_bits)
        level = 0
        if has_level(self.prior):
            if position >= len(data):
                raise FormatError("the codec's parameters are cut short")
            level = int.from_bytes(data[position : position + 1], "little", signed=True)
            position += 1
        return OperatingPoint(anchor, float(self.prior.betas[anchor]), target), budget_bits, gain_of(level), position

    # Receiver.

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
        prior = self.prior
        point, budget_bits, gain, end = self.read_parameters(parameters)
        if end != len(parameters):
            raise FormatError("the codec's parameters go on after their end")
        planes = PlaneMap.make(header, prior)
        layout = PatchLayout(planes.shape, prior.config.patch_shape)
        n_patches = planes.n_planes * layout.n_patches
        wanted = planes.plane_size(size if size is not None else header.shape)
        self._check_work(n_patches, planes, wanted, limits)
        coded = self._read_body(body, point, budget_bits, n_patches, limits)
        latent = decode_latents(prior, point, coded, budget_bits)
        out = np.empty((planes.n_planes, *wanted, prior.config.channels), np.float32)
        for number in range(planes.n_planes):
            mine = latent[number * layout.n_patches : (number + 1) * layout.n_patches]
            out[number] = render(layout, wanted, prior.config.channels, self._evaluator(mine))
        return planes.from_planes(out * np.float32(gain) if gain != 1.0 else out)

    def _evaluator(self, latent: torch.Tensor) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        model, prior = self.prior.model, self.prior

        def evaluate(patch: torch.Tensor, coordinates: torch.Tensor) -> torch.Tensor:
            features = model.features(coordinates)
            parts = patch.split(max(1, WEIGHTS_AT_ONCE // prior.config.shape.n_weights))
            values = torch.cat([model.values(latent[part], features) for part in parts])
            return values * prior.spread + prior.centre

        return evaluate

    def _check_work(self, n_patches: int, planes: PlaneMap, size: tuple[int, ...], limits: Limits) -> None:
        config = self.prior.config
        fine = math.prod(m * t for m, t in zip(size, oversampling(planes.shape, size), strict=True)) * planes.n_planes
        if max(fine, n_patches * config.dims) > limits.max_points or max(size) > limits.max_axis:
            most = max(fine, n_patches * config.dims)
            raise LimitError(f"decoding takes {most} points or latents, the limit is {limits.max_points}")
        work = fine * config.shape.multiply_adds + n_patches * config.dims * config.shape.n_weights
        if work > limits.max_multiply_adds:
            raise LimitError(f"decoding takes {work:.2g} multiply-adds, the limit is {limits.max_multiply_adds:.2g}")

    def _read_body(
        self, body: bytes, point: OperatingPoint, budget_bits: int, n_patches: int, limits: Limits
    ) -> CodedSignal:
        if 8 * len(body) < self._class_bits(n_patches):
            raise FormatError(f"body of {len(body)} bytes is too short for {n_patches} patches")
        reader = BitReader(body)
        classes = reader.read(n_patches, (self.prior.n_classes - 1).bit_length())
        if classes.max() >= self.prior.n_classes:
            raise FormatError(f"class {classes.max()} of a patch is not one of {self.prior.n_classes}")
        target_units = point.target * KL_UNITS_PER_BIT // TARGET_STEPS_PER_BIT
        n_blocks = count_blocks(self.prior.kl_units[point.anchor], classes, target_units)
        if n_blocks > limits.max_blocks:
            raise LimitError(f"the signal has {n_blocks} blocks, the limit is {limits.max_blocks}")
        indices = reader.read(n_blocks, budget_bits)
        reader.finish()
        return CodedSignal(classes, indices)


@dataclass(frozen=True)
class CombinerEncoding:
    """Signals being encoded."""

    codec: CombinerCodec
    sources: Sequence[Source]
    effort: CombinerEffort
    tick: Progress | None

    def at(self, rate: Rate) -> Coded:
        """Bytes at a rate."""
        return self.codec.encode(self.sources, rate, self.effort, tick=self.tick)


def _evenly(sources: Sequence[Source], count: int) -> list[Source]:
    """``count`` of the sources, from the first to the last."""
    chosen = np.linspace(0, len(sources) - 1, min(max(count, 2), len(sources))).round().astype(int)
    return [sources[i] for i in np.unique(chosen).tolist()]
