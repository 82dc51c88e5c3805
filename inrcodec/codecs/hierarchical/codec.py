"""The default codec: hierarchical latents in a Bayesian INR.

    values -> planes -> posteriors of latents -> symbols, level by level -> message         (encoding.py)
    message -> latents -> features -> SIREN -> any grid -> planes -> values                 (decode, below)

A file holds the id of the prior, the *parameters* shared by all its signals (``parameters.py``, two or three bytes) and
one *body* per signal. A body holds the messages of every plane: its head weights (if the parameters say that there are
any; the message may be empty), then its latents.

Audio is divided by a gain of 2^(level / 4) before the model sees it, so that its root mean square matches the prior's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from inrcodec.codecs.base import (
    OBJECTIVES,
    Codec,
    Coded,
    CodedEntry,
    DecodeRequest,
    EncodeOptions,
    FloatArray,
    Rate,
    Source,
    Window,
    check_options,
    check_parameters_end,
)
from inrcodec.codecs.hierarchical.config import block_names, coarser_shape, default_log_lambda
from inrcodec.codecs.hierarchical.effort import HIERARCHICAL_EFFORTS
from inrcodec.codecs.hierarchical.exact import RESIDUAL_BITS, log_lambda_of, place_latents, to_floats
from inrcodec.codecs.hierarchical.head_weights import receive_weights
from inrcodec.codecs.hierarchical.latent_coders import CODERS, make_reader
from inrcodec.codecs.hierarchical.parameters import Parameters, max_parameter_bytes, read_parameters
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior, multiply_adds_per_point
from inrcodec.codecs.hierarchical.render import render
from inrcodec.codecs.hierarchical.top_down import top_down
from inrcodec.codecs.loudness import gain_of, level_of
from inrcodec.codecs.messages import split_messages
from inrcodec.codecs.planes import PlaneMap
from inrcodec.codecs.tiles import TileBlender, check_tile_work, padded_shape, plane_tiles
from inrcodec.coding.gaussian import scale_values
from inrcodec.nn.exact import scale_indices
from inrcodec.signals.resample import window_axes

if TYPE_CHECKING:
    from inrcodec.codecs.hierarchical.encoding import HierarchicalEncoding

ResidualObserver = Callable[[str, torch.Tensor, torch.Tensor], None]
"""Called with the name of a latent block, its residuals and its prior scales, both (1, c, h, w) in step sizes."""


class HierarchicalCodec(Codec):
    """Encodes signals to hierarchical latents and decodes them at any size, under one prior."""

    name = "hierarchical"
    coders = CODERS
    objectives = OBJECTIVES
    encodes_together = True

    def __init__(self, prior: HierarchicalPrior) -> None:
        self._prior = prior

    @property
    def prior(self) -> HierarchicalPrior:
        """Return the model that both sides share."""
        return self._prior

    @property
    def max_parameter_bytes(self) -> int:
        """See ``Codec``."""
        return max_parameter_bytes(self.prior)

    def encoding(self, sources: Sequence[Source], options: EncodeOptions) -> HierarchicalEncoding:
        """See ``Codec.encoding``."""
        from inrcodec.codecs.hierarchical.encoding import HierarchicalEncoding

        check_options(self, options)
        return HierarchicalEncoding(self, sources, options)

    def encode_each(self, sources: Sequence[Source], options: EncodeOptions, rates: Sequence[Rate]) -> list[Coded]:
        """See ``Codec.encode_each``."""
        from inrcodec.codecs.hierarchical.encoding import encode_each

        check_options(self, options)
        return encode_each(self, sources, options, rates)

    def planned_steps(self, sources: Sequence[Source], effort: str) -> int:
        """Return the gradient steps of an encoding; choosing a quality for a target rate may take more."""
        from inrcodec.codecs.hierarchical.batches import make_batches
        from inrcodec.codecs.hierarchical.refinement import step_count

        preset = HIERARCHICAL_EFFORTS[effort]
        sizes = [owned.batch.points for owned in make_batches(sources, self.prior, 1.0)]
        plans = [preset.steps_for(self.prior, points) for points in sizes]
        return sum(adapting + step_count(self.prior.config, trials) for adapting, trials in plans)

    def level_of(self, sources: Sequence[Source]) -> int:
        """Return the gain of all sources together, in quarters of an octave; 0 unless they are audio."""
        return level_of(sources, self.prior, self.prior.config.spread)

    def default_beta(self, sources: Sequence[Source]) -> float:
        """See ``Codec.default_beta``."""
        return gain_of(self.level_of(sources)) ** 2 * math.exp(-default_log_lambda(self.prior.config))

    def split_parameters(self, payload: bytes) -> tuple[bytes, bytes]:
        """See ``Codec.split_parameters``."""
        _, end = read_parameters(self.prior, payload)
        return payload[:end], payload[end:]

    @torch.no_grad()
    def decode(self, entry: CodedEntry, request: DecodeRequest) -> FloatArray:
        """See ``Codec.decode``.

        Planes and tiles outside the window are skipped. In the others, all latents are decoded, but only the requested
        rows are evaluated.
        """
        parameters, end = read_parameters(self.prior, entry.parameters)
        check_parameters_end(entry.parameters, end)
        gain = gain_of(parameters.level)
        planes = PlaneMap.make(entry.header, self.prior)
        size = planes.plane_size(request.grid(entry.header))
        shape = coarser_shape(planes.shape, parameters.halvings)
        tiles = plane_tiles(self.prior.kind, shape, self.prior.config.coarsest)
        check_tile_work(
            request.limits,
            planes.n_planes,
            shape,
            size,
            tiles=tiles,
            stride=self.prior.config.coarsest,
            multiply_adds=multiply_adds_per_point(self.prior.config),
        )
        covered, plane_numbers, window = planes.part(request.covered(entry.header))
        out = np.empty((len(plane_numbers), *(p.stop - p.start for p in window), self.prior.channels), np.float32)
        messages = split_messages(entry.body, planes.n_planes * len(tiles) * (1 + parameters.weights))
        axes = window_axes(shape, size, window)
        for place, number in enumerate(plane_numbers):
            if len(tiles) == 1:
                out[place] = self._tile(messages, number, parameters, shape, size, window)
            else:
                blender = TileBlender(shape, tuple(axis.needed() for axis in axes), self.prior.channels)
                for index, tile in enumerate(tiles):
                    if blender.touches(tile):
                        tile_shape = tuple(p.stop - p.start for p in tile)
                        tile_number = number * len(tiles) + index
                        blender.add(tile, self._tile(messages, tile_number, parameters, tile_shape, tile_shape))
                values = blender.values
                for axis_number, axis in enumerate(axes):
                    values = axis.resampled(values, axis_number, blender.window[axis_number].start)
                out[place] = values
            request.progress(out[place].size)
        return covered.from_planes(out * np.float32(gain) if gain != 1.0 else out)

    def _tile(
        self,
        messages: Sequence[bytes],
        number: int,
        parameters: Parameters,
        shape: tuple[int, ...],
        size: tuple[int, ...],
        window: Window | None = None,
    ) -> FloatArray:
        """Return the values (*size, C), or those in a window, of a plane or tile that covers a grid of ``shape``."""
        *weights, latents = messages[number * (1 + parameters.weights) : (number + 1) * (1 + parameters.weights)]
        head = receive_weights(self.prior, weights[0]) if weights else None
        h = self.latent_features(
            latents, parameters.quality, parameters.coder, padded_shape(shape, self.prior.config.coarsest)
        )
        model = self.prior.model
        rate = model.rates(torch.full((1,), log_lambda_of(self.prior.config, parameters.quality)))
        return render(model, h, rate, shape, size, head, window)

    def latent_features(
        self, message: bytes, quality: int, coder: str, padded: tuple[int, ...], observe: ResidualObserver | None = None
    ) -> torch.Tensor:
        """Decode the message of a plane or tile.

        Args:
            message: the message.
            quality: the quality, see ``exact``.
            coder: the coder of the message, one of ``CODERS``.
            padded: shape of the plane's grid, padded to multiples of the coarsest stride.
            observe: called for every latent block.

        Returns:
            Features (1, C', H', W') at the finest stride, float32.

        Raises:
            FormatError: the message is corrupt.
        """
        layers = self.prior.layers(quality)
        reader = make_reader(coder, message, len(block_names(self.prior.config)))

        def choose(name: str, h: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
            scales = scale_indices(prior.chunk(2, dim=1)[1])
            residual = torch.from_numpy(reader.receive(scales.flatten().numpy())).view(scales.shape)
            if observe is not None:
                observe(name, residual.double() / (1 << RESIDUAL_BITS), torch.from_numpy(scale_values())[scales.long()])
            return place_latents(layers, name, prior, residual)

        coarsest = self.prior.config.coarsest
        rows = 1 if len(padded) == 1 else padded[0] // coarsest
        h = top_down(layers, 1, rows, padded[-1] // coarsest, choose)
        reader.finish()
        return to_floats(h)
