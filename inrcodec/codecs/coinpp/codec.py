"""The COIN++ codec: a signal is cut into patches; the latent vector of a patch modulates the prior's base network.

    values -> planes -> patches -> latents -> gains, integers -> message            (encoding.py)
    message -> latents -> shifts -> base network -> any grid -> planes -> values    (decode, below)

A file holds the id of the prior, the *parameters* shared by all its signals (the fineness, one or two bytes, and for
audio the gain, one byte) and one *body* per signal: the message of all its patches. The *fineness* is the logarithm of
the quantisation step size of the latents (``prior.step_of``).

Source: COIN++ (arXiv 2201.12904).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from inrcodec.codecs.base import (
    Codec,
    CodedEntry,
    DecodeRequest,
    EncodeOptions,
    FloatArray,
    Source,
    check_options,
    check_parameters_end,
)
from inrcodec.codecs.coinpp.effort import COINPP_EFFORTS
from inrcodec.codecs.coinpp.latents import read_latents
from inrcodec.codecs.coinpp.prior import MAX_FINENESS, CoinPPPrior
from inrcodec.codecs.loudness import gain_of, has_level, level_of
from inrcodec.codecs.patches import PatchLayout, check_patch_work, render
from inrcodec.codecs.planes import PlaneMap
from inrcodec.coding.bits import read_varint, write_varint
from inrcodec.errors import FormatError
from inrcodec.signals.header import SignalHeader

if TYPE_CHECKING:
    from inrcodec.codecs.coinpp.encoding import CoinPPEncoding


class CoinPPCodec(Codec):
    """Encodes patches as modulations of a shared network and decodes them at any size, under one prior."""

    name = "coin++"
    coders = ("round",)

    def __init__(self, prior: CoinPPPrior) -> None:
        self._prior = prior

    @property
    def prior(self) -> CoinPPPrior:
        """Return the base network and latent statistics that both sides share."""
        return self._prior

    @property
    def max_parameter_bytes(self) -> int:
        """See ``Codec``."""
        return len(write_varint(MAX_FINENESS)) + has_level(self.prior)

    def encoding(self, sources: Sequence[Source], options: EncodeOptions) -> CoinPPEncoding:
        """See ``Codec.encoding``."""
        from inrcodec.codecs.coinpp.encoding import CoinPPEncoding

        check_options(self, options)
        return CoinPPEncoding(self, sources, options)

    def planned_steps(self, sources: Sequence[Source], effort: str) -> int:
        """See ``Codec.planned_steps``; a step on one patch counts as one."""
        preset = COINPP_EFFORTS[effort]
        return sum(self.n_patches(source.header) for source in sources) * (preset.inner + preset.rounds)

    def n_patches(self, header: SignalHeader) -> int:
        """Return the number of patches of a signal."""
        planes = PlaneMap.make(header, self.prior)
        return planes.n_planes * PatchLayout(planes.shape, self.prior.config.patch_shape).n_patches

    def level_of(self, sources: Sequence[Source]) -> int:
        """Return the gain of all sources together, in quarters of an octave; 0 unless they are audio."""
        return level_of(sources, self.prior, self.prior.config.spread)

    def default_beta(self, sources: Sequence[Source]) -> float:
        """See ``Codec.default_beta``."""
        return self.beta_of(math.sqrt(math.prod(self.prior.steps))) * gain_of(self.level_of(sources)) ** 2

    def beta_of(self, step: float) -> float:
        """Return the beta at which a quantisation step size is optimal: 2 ln 2 step^2 / 12 per latent.

        Beta is in squared units of the values per bit per point; latents are scaled so that their squared error is that
        of the values in the model's units.
        """
        config = self.prior.config
        return math.log(2.0) * step**2 * config.spread**2 / (6.0 * config.channels)

    def step_for(self, beta: float) -> float:
        """Return the optimal quantisation step size at a beta, the inverse of ``beta_of``."""
        return math.sqrt(beta / self.beta_of(1.0))

    def split_parameters(self, payload: bytes) -> tuple[bytes, bytes]:
        """See ``Codec.split_parameters``."""
        *_, end = self.read_parameters(payload)
        return payload[:end], payload[end:]

    def write_parameters(self, fineness: int, level: int) -> bytes:
        """Return fineness and gain as bytes, the inverse of ``read_parameters``."""
        return write_varint(fineness) + (level.to_bytes(1, "little", signed=True) if has_level(self.prior) else b"")

    def read_parameters(self, data: bytes) -> tuple[int, int, int]:
        """Return the fineness, the gain in quarters of an octave, and the position of the first byte after them.

        Raises:
            FormatError: the parameters are truncated or out of range.
        """
        fineness, position = read_varint(data, 0)
        if fineness > MAX_FINENESS:
            raise FormatError(f"fineness {fineness} is out of range, the maximum is {MAX_FINENESS}")
        if not has_level(self.prior):
            return fineness, 0, position
        if position >= len(data):
            raise FormatError("the codec parameters are truncated")
        return fineness, int.from_bytes(data[position : position + 1], "little", signed=True), position + 1

    @torch.no_grad()
    def decode(self, entry: CodedEntry, request: DecodeRequest) -> FloatArray:
        """See ``Codec.decode``."""
        fineness, level, end = self.read_parameters(entry.parameters)
        check_parameters_end(entry.parameters, end)
        config = self.prior.config
        planes = PlaneMap.make(entry.header, self.prior)
        layout = PatchLayout(planes.shape, config.patch_shape)
        size = planes.plane_size(request.grid(entry.header))
        check_patch_work(
            request.limits,
            planes.n_planes,
            layout,
            size,
            latents=config.latent_dims,
            multiply_adds=config.multiply_adds,
            patch_multiply_adds=config.latent_dims * config.n_shifts,
        )
        latents = read_latents(self.prior, entry.body, planes.n_planes * layout.n_patches, fineness)
        out = np.empty((planes.n_planes, *size, config.channels), np.float32)
        for number, plane_latents in enumerate(latents.split(layout.n_patches)):
            out[number] = render(layout, size, config.channels, self._evaluator(plane_latents))
            request.progress(out[number].size)
        return request.cut(planes.from_planes(out * np.float32(gain_of(level)) if level else out))

    def _evaluator(self, latents: torch.Tensor) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        return lambda patch, coordinates: self.prior.values(latents[patch], coordinates)
