"""Latent grids fitted to every picture, with networks that move from a learned prior.

    values -> planes, tiles -> descent on latents and weights -> two messages each       (compress)
    messages -> weights -> context network -> grids -> synthesis -> planes -> values     (decompress)

What is sent besides the prior's id: the *parameters* (quality, the place in the prior's tables; shared by all entries
of an archive) and per signal a *body*: of every plane or tile a byte of fineness with the message of its weights, and
the message of its latents.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from inrcodec.codecs.base import Coded, Rate, Source, Window
from inrcodec.codecs.grids.config import WEIGHT_BITS
from inrcodec.codecs.grids.elbo import grid_features, grid_values
from inrcodec.codecs.grids.fit import GridEncoder, GridProblem, Progress, read_grids, read_weights
from inrcodec.codecs.grids.prior import FINENESSES, GridsPrior
from inrcodec.codecs.hierarchical.batches import join_messages, padded_shape, split_messages
from inrcodec.codecs.planes import PlaneMap
from inrcodec.codecs.tiles import TileBlender, plane_tiles
from inrcodec.coding.bits import read_varint, write_varint
from inrcodec.errors import FormatError, LimitError, UsageError
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.resample import window_axes

FloatArray = NDArray[np.float32]

GRID_STEPS = {"fast": 60, "default": 250, "best": 1200}
"""Steps of descent by effort."""
DEFAULT_PLACE = 0.45
"""Where nothing is asked for: this far up the range of log(lambda)."""


class GridsCodec:
    """``encoding`` turns signals to bytes, ``decode`` one body back to values at any size, under one prior."""

    name = "grids"

    def __init__(self, prior: GridsPrior) -> None:
        self.prior = prior

    # Sender.

    def encoding(
        self, sources: Sequence[Source], effort: str, tick: Progress | None = None, coder: str | None = None
    ) -> GridsEncoding:
        """Signals to be encoded, at one rate or one after the other; ``effort`` is a preset's name.

        Raises UsageError for another coder than ANS of rounded latents, the one that this codec has.
        """
        if coder not in (None, "round"):
            raise UsageError(f"codec grids sends rounded latents (round), not {coder!r}")
        return GridsEncoding(self, sources, GridEncoder(self.prior, GRID_STEPS[effort], tick or (lambda steps: None)))

    def planned_steps(self, sources: Sequence[Source], effort: str) -> int:
        """Steps of descent, all planes together (a wanted rate may take some more)."""
        planes = [PlaneMap.make(source.header, self.prior) for source in sources]
        return GRID_STEPS[effort] * sum(p.n_planes * len(plane_tiles(self.prior, p.shape)) for p in planes)

    @property
    def max_parameter_bytes(self) -> int:
        """Most bytes that parameters take."""
        return len(write_varint(self.prior.max_quality))

    def default_beta(self, sources: Sequence[Source]) -> float:
        """Beta where nothing is asked for."""
        low, high = self.prior.config.log_lambdas
        return math.exp(-(low + DEFAULT_PLACE * (high - low)))

    def problems(self, source: Source) -> list[GridProblem]:
        """Planes, or their tiles, padded by their edges."""
        planes = PlaneMap.make(source.header, self.prior)
        out = []
        for plane in planes.to_planes(source.values):
            for tile in plane_tiles(self.prior, planes.shape):
                values = plane[tile]
                padded = padded_shape(self.prior.config, values.shape[:2])
                widths = [(0, p - n) for p, n in zip(padded, values.shape[:2], strict=True)]
                mask = np.pad(np.ones(values.shape[:2], np.float32), widths)
                values = np.pad(values, [*widths, (0, 0)], mode="edge").transpose(2, 0, 1)
                out.append(GridProblem(torch.from_numpy(np.ascontiguousarray(values)), torch.from_numpy(mask)))
        return out

    def read_parameters(self, data: bytes) -> tuple[int, int]:
        """Quality and the position behind it; FormatError when it does not exist."""
        quality, position = read_varint(data, 0)
        if quality > self.prior.max_quality:
            raise FormatError(f"quality {quality} does not exist in prior {self.prior.name!r}")
        return quality, position

    # Receiver.

    @torch.no_grad()
    def decode(
        self,
        parameters: bytes,
        body: bytes,
        header: SignalHeader,
        size: tuple[int, ...] | None = None,
        limits: Limits = DEFAULT_LIMITS,
        window: Window | None = None,
    ) -> FloatArray:
        """Values on a grid of ``size`` points (the signal's own by default), (*size, C without alpha), or in a window.

        Planes and tiles out of the window are not decoded.
        Raises FormatError when the body does not fit the signal, LimitError when it asks for more than ``limits``.
        """
        quality, end = self.read_parameters(parameters)
        if end != len(parameters):
            raise FormatError("the codec's parameters go on after their end")
        planes = PlaneMap.make(header, self.prior)
        wanted = planes.plane_size(size if size is not None else header.shape)
        tiles = plane_tiles(self.prior, planes.shape)
        self._check_work(planes, tiles, wanted, limits)
        covered, numbers, part = planes.part(window or tuple(slice(0, n) for n in size or header.shape))
        messages = split_messages(body, planes.n_planes * len(tiles) * 2)
        axes = window_axes(planes.shape, wanted, part)
        out = np.empty((len(numbers), *(p.stop - p.start for p in part), self.prior.channels), np.float32)
        for place, number in enumerate(numbers):
            mosaic = TileBlender(planes.shape, tuple(axis.needed() for axis in axes), self.prior.channels)
            for index, tile in enumerate(tiles):
                if mosaic.touches(tile):
                    at = 2 * (number * len(tiles) + index)
                    mosaic.put(tile, self._tile(messages[at], messages[at + 1], quality, tile))
            values = mosaic.values
            for along, axis in enumerate(axes):
                values = axis.resampled(values, along, mosaic.window[along].start)
            out[place] = values
        return covered.from_planes(out)

    def _tile(self, weights: bytes, latents: bytes, quality: int, tile: Window) -> FloatArray:
        """Values (*tile, C)."""
        if not weights or weights[0] >= len(FINENESSES):
            raise FormatError("the weights of a plane have no fineness")
        config = self.prior.config
        whole = read_weights(self.prior, quality, FINENESSES[weights[0]], weights[1:])
        shape = tuple(part.stop - part.start for part in tile)
        padded = padded_shape(config, shape)
        grids = read_grids(self.prior, whole, latents, (padded[0], padded[1]))
        parts = config.parts(torch.from_numpy(whole).float() / (1 << WEIGHT_BITS))
        values = grid_values(config, grid_features(grids), parts)
        return values[:, : shape[0], : shape[1]].permute(1, 2, 0).contiguous().numpy()

    def _check_work(self, planes: PlaneMap, tiles: Sequence[Window], size: tuple[int, ...], limits: Limits) -> None:
        made = math.prod(max(a, b) for a, b in zip(planes.shape, size, strict=True)) * planes.n_planes
        shapes = [tuple(part.stop - part.start for part in tile) for tile in tiles]
        padded = sum(math.prod(padded_shape(self.prior.config, one)) for one in shapes) * planes.n_planes
        if max(made, padded) > limits.max_points or max(size) > limits.max_axis:
            raise LimitError(f"decoding evaluates {max(made, padded)} points, the limit is {limits.max_points}")
        work = padded * self.prior.config.multiply_adds_per_point
        if work > limits.max_multiply_adds:
            raise LimitError(f"decoding takes {work:.2g} multiply-adds, the limit is {limits.max_multiply_adds:.2g}")


@dataclass(frozen=True)
class GridsEncoding:
    """Signals being encoded."""

    codec: GridsCodec
    sources: Sequence[Source]
    encoder: GridEncoder

    def at(self, rate: Rate) -> Coded:
        """Bytes at a rate."""
        problems = [self.codec.problems(source) for source in self.sources]
        if rate.bits is not None:
            quality, coded = self.encoder.encode([p for some in problems for p in some], bits=rate.bits)
        else:
            beta = rate.beta if rate.beta is not None else self.codec.default_beta(self.sources)
            quality, coded = self.encoder.encode([p for some in problems for p in some], log_lambda=-math.log(beta))
        bodies, at = [], 0
        for some in problems:
            messages = []
            for plane in coded[at : at + len(some)]:
                messages += [bytes([FINENESSES.index(plane.fineness)]) + plane.weights, plane.latents]
            bodies.append(join_messages(messages))
            at += len(some)
        return Coded(write_varint(quality), bodies)
