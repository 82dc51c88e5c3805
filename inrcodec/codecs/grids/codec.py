"""The grids codec: latent grids and small networks fitted to every image, starting from a learned prior.

    values -> planes, tiles -> gradient descent on latents and weights -> two messages each   (encoding.py)
    messages -> weights -> context network -> grids -> synthesis -> planes -> values          (decode, below)

A file holds the id of the prior, the *parameters* shared by all its signals (the *quality*, a position in the prior's
tables) and one *body* per signal. A body holds two messages for every plane or tile: the fineness of the weights (one
byte) with the weights, then the latents.

Sources: COOL-CHIC (arXiv 2212.05458), C3 (arXiv 2312.02753).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    Window,
    check_options,
    check_parameters_end,
)
from inrcodec.codecs.grids.config import WEIGHT_BITS
from inrcodec.codecs.grids.effort import GRID_STEPS
from inrcodec.codecs.grids.elbo import grid_features, grid_values
from inrcodec.codecs.grids.plane_messages import read_grids, read_weights
from inrcodec.codecs.grids.prior import FINENESSES, GridsPrior
from inrcodec.codecs.messages import split_messages
from inrcodec.codecs.planes import PlaneMap
from inrcodec.codecs.tiles import TileBlender, check_tile_work, padded_shape, plane_tiles
from inrcodec.coding.bits import read_varint, write_varint
from inrcodec.errors import FormatError
from inrcodec.signals.resample import window_axes

if TYPE_CHECKING:
    from inrcodec.codecs.grids.encoding import GridsEncoding

DEFAULT_PLACE = 0.45
"""The default rate lies at this fraction of the range of log(lambda)."""


class GridsCodec(Codec):
    """Fits latent grids and small networks to every signal and decodes them at any size, under one prior."""

    name = "grids"
    coders = ("round",)

    def __init__(self, prior: GridsPrior) -> None:
        self._prior = prior

    @property
    def prior(self) -> GridsPrior:
        """Return the prior over grids and weights that both sides share."""
        return self._prior

    @property
    def max_parameter_bytes(self) -> int:
        """See ``Codec``."""
        return len(write_varint(self.prior.max_quality))

    def encoding(self, sources: Sequence[Source], options: EncodeOptions) -> GridsEncoding:
        """See ``Codec.encoding``."""
        from inrcodec.codecs.grids.encoding import GridsEncoding

        check_options(self, options)
        return GridsEncoding(self, sources, options)

    def planned_steps(self, sources: Sequence[Source], effort: str) -> int:
        """Return the gradient steps of all planes together; a target rate may take more."""
        planes = [PlaneMap.make(source.header, self.prior) for source in sources]
        stride = self.prior.config.coarsest
        return GRID_STEPS[effort] * sum(p.n_planes * len(plane_tiles(self.prior.kind, p.shape, stride)) for p in planes)

    def default_beta(self, sources: Sequence[Source]) -> float:
        """See ``Codec.default_beta``."""
        low, high = self.prior.config.log_lambdas
        return math.exp(-(low + DEFAULT_PLACE * (high - low)))

    def split_parameters(self, payload: bytes) -> tuple[bytes, bytes]:
        """See ``Codec.split_parameters``."""
        _, end = self._read_quality(payload)
        return payload[:end], payload[end:]

    def _read_quality(self, data: bytes) -> tuple[int, int]:
        """Return the quality and the position of the first byte after it; raise FormatError if it is out of range."""
        quality, position = read_varint(data, 0)
        if quality > self.prior.max_quality:
            raise FormatError(
                f"quality {quality} is out of range for prior {self.prior.name!r}, expected at most "
                f"{self.prior.max_quality}"
            )
        return quality, position

    @torch.no_grad()
    def decode(self, entry: CodedEntry, request: DecodeRequest) -> FloatArray:
        """See ``Codec.decode``; planes and tiles outside the window are not decoded."""
        quality, end = self._read_quality(entry.parameters)
        check_parameters_end(entry.parameters, end)
        planes = PlaneMap.make(entry.header, self.prior)
        size = planes.plane_size(request.grid(entry.header))
        tiles = plane_tiles(self.prior.kind, planes.shape, self.prior.config.coarsest)
        check_tile_work(
            request.limits,
            planes.n_planes,
            planes.shape,
            size,
            tiles=tiles,
            stride=self.prior.config.coarsest,
            multiply_adds=self.prior.config.multiply_adds_per_point,
        )
        covered, plane_numbers, window = planes.part(request.covered(entry.header))
        messages = split_messages(entry.body, planes.n_planes * len(tiles) * 2)
        axes = window_axes(planes.shape, size, window)
        out = np.empty((len(plane_numbers), *(p.stop - p.start for p in window), self.prior.channels), np.float32)
        for place, number in enumerate(plane_numbers):
            blender = TileBlender(planes.shape, tuple(axis.needed() for axis in axes), self.prior.channels)
            for index, tile in enumerate(tiles):
                if blender.touches(tile):
                    first = 2 * (number * len(tiles) + index)
                    blender.add(tile, self._tile(messages[first], messages[first + 1], quality, tile))
            values = blender.values
            for axis_number, axis in enumerate(axes):
                values = axis.resampled(values, axis_number, blender.window[axis_number].start)
            out[place] = values
            request.progress(out[place].size)
        return covered.from_planes(out)

    def _tile(self, weights: bytes, latents: bytes, quality: int, tile: Window) -> FloatArray:
        """Return the values (*tile shape, C) of a tile from its two messages."""
        if not weights or weights[0] >= len(FINENESSES):
            raise FormatError("the weights of a plane are truncated, or their fineness is out of range")
        config = self.prior.config
        integers = read_weights(self.prior, quality, FINENESSES[weights[0]], weights[1:])
        shape = tuple(part.stop - part.start for part in tile)
        padded = padded_shape(shape, config.coarsest)
        grids = read_grids(self.prior, integers, latents, (padded[0], padded[1]))
        parts = config.parts(torch.from_numpy(integers).float() / (1 << WEIGHT_BITS))
        values = grid_values(config, grid_features(grids), parts)
        return values[:, : shape[0], : shape[1]].permute(1, 2, 0).contiguous().numpy()
