"""The default codec: hierarchical latents in a Bayesian INR.

    values -> planes -> posteriors of latents -> symbols, level by level -> message         (compress)
    message -> latents -> features -> SIREN -> any grid -> planes -> values                 (decompress)

What is sent besides the prior's id: the *parameters* (quality, two bytes, for sounds their level, for fields how often
their grid is halved, one byte; shared by all entries of an archive) and per signal a *body*: the messages of every
plane, its weights' (where the parameters say so; often empty) and its latents'.

Level: values of sounds are divided by 2^(level / 4), so that their root mean square is the prior's spread.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from inrcodec.codecs.base import Coded, Rate, Source, Window
from inrcodec.codecs.hierarchical.batches import (
    OwnedBatch,
    coarser_shape,
    join_messages,
    make_batches,
    padded_shape,
    split_messages,
)
from inrcodec.codecs.hierarchical.coarse_grid import MAX_HALVINGS, choose_halvings, grid_log_lambda
from inrcodec.codecs.hierarchical.config import HierarchicalConfig, block_names
from inrcodec.codecs.hierarchical.encoder import (
    MEASURES,
    CodedLatents,
    LatentEncoder,
    Search,
    SearchRequest,
    hierarchical_effort_named,
)
from inrcodec.codecs.hierarchical.exact import (
    RESIDUAL_BITS,
    log_lambda_of,
    max_quality,
    place_latents,
    quality_of,
    to_floats,
)
from inrcodec.codecs.hierarchical.head_weights import HeadProblem, fit_weights, receive_weights, send_weights
from inrcodec.codecs.hierarchical.latent_coders import CODERS, make_reader
from inrcodec.codecs.hierarchical.model import top_down
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior, multiply_adds_per_point
from inrcodec.codecs.hierarchical.rate_search import quality_search
from inrcodec.codecs.hierarchical.refinement import Batch, Progress
from inrcodec.codecs.hierarchical.render import render
from inrcodec.codecs.loudness import gain_of, has_level, level_of
from inrcodec.codecs.planes import PlaneMap
from inrcodec.codecs.tiles import TileBlender, plane_tiles
from inrcodec.coding.bits import read_varint, write_varint
from inrcodec.coding.gaussian import scale_values
from inrcodec.errors import FormatError, LimitError, UsageError
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.nn.exact import scale_indices
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.resample import window_axes

FloatArray = NDArray[np.float32]
Watch = Callable[[str, torch.Tensor, torch.Tensor], None]

MIN_POINTS_FOR_WEIGHTS = 1 << 15
"""Weights of its own never pay for a smaller signal."""
GRID_KEPT = 2.5
"""Distance of log(beta) over which a grid that was chosen is kept."""
DEFAULT_PLACE = 0.45
"""Where nothing is asked for: this far up the range of log(lambda)."""


@dataclass(frozen=True)
class Parameters:
    """What a file says beside its bodies; ``weights``: whether planes have messages of weights."""

    quality: int
    coder: str
    weights: bool
    level: int = 0
    halvings: int = 0


class HierarchicalCodec:
    """``encoding`` turns signals to bytes, ``decode`` one body back to values at any size, under one prior."""

    name = "hierarchical"

    def __init__(self, prior: HierarchicalPrior) -> None:
        self.prior = prior

    # Sender.

    def encoding(
        self,
        sources: Sequence[Source],
        effort: str,
        tick: Progress | None = None,
        coder: str | None = None,
        measure: str = MEASURES[0],
    ) -> HierarchicalEncoding:
        """Signals to be encoded, at one rate or one after the other; ``effort`` is a preset's name, ``coder`` one of
        ``codecs.hierarchical.latent_coders``, ``measure`` what is raised.

        UsageError when that takes steps and there are none."""
        chosen = hierarchical_effort_named(effort)
        if measure != MEASURES[0] and (self.prior.kind != "image" or chosen.steps == 0):
            raise UsageError(f"optimising {measure} takes an image and steps of refinement: use effort default or best")
        encoder = LatentEncoder(
            self.prior,
            chosen,
            coder or CODERS[0],
            tick or (lambda steps: None),
            measure,
            keep_features=chosen.weight_steps > 0,
        )
        return HierarchicalEncoding(self, sources, encoder)

    def planned_steps(self, sources: Sequence[Source], effort: str) -> int:
        """Gradient steps of ``encode`` (choosing a quality for a wanted rate may take some more)."""
        preset = hierarchical_effort_named(effort)
        sizes = [owned.batch.points for owned in make_batches(sources, self.prior, 1.0)]
        return sum(sum(preset.steps_for(self.prior.kind, points)) for points in sizes)

    @property
    def has_halvings(self) -> bool:
        """Whether files say on how coarse a grid the signal is described."""
        return self.prior.kind == "field"

    @property
    def max_parameter_bytes(self) -> int:
        """Most bytes that parameters take."""
        largest = (max_quality(self.prior.config) + 1) * 2 * len(CODERS)
        return len(write_varint(largest)) + has_level(self.prior) + self.has_halvings

    def level_of(self, sources: Sequence[Source]) -> int:
        """Loudness of all sources together about the prior's, in quarters of an octave."""
        return level_of(sources, self.prior, self.prior.config.spread)

    def default_beta(self, sources: Sequence[Source]) -> float:
        """Beta where nothing is asked for."""
        return gain_of(self.level_of(sources)) ** 2 * math.exp(-default_log_lambda(self.prior.config))

    def write_parameters(self, parameters: Parameters) -> bytes:
        """Inverse of ``read_parameters``."""
        number = parameters.quality * len(CODERS) + CODERS.index(parameters.coder)
        out = write_varint(2 * number + parameters.weights)
        if has_level(self.prior):
            out += parameters.level.to_bytes(1, "little", signed=True)
        return out + bytes([parameters.halvings]) if self.has_halvings else out

    def read_parameters(self, data: bytes) -> tuple[Parameters, int]:
        """Parameters and the position behind them; FormatError when they are damaged."""
        number, position = read_varint(data, 0)
        quality, coder = divmod(number // 2, len(CODERS))
        if quality > max_quality(self.prior.config):
            raise FormatError(f"quality {quality} does not exist in prior {self.prior.name!r}")
        level = halvings = 0
        if has_level(self.prior) or self.has_halvings:
            if position >= len(data):
                raise FormatError("the codec's parameters are cut short")
            if has_level(self.prior):
                level = int.from_bytes(data[position : position + 1], "little", signed=True)
            else:
                halvings = data[position]
            position += 1
        if halvings > MAX_HALVINGS:
            raise FormatError(f"a grid halved {halvings} times does not exist")
        return Parameters(quality, CODERS[coder], bool(number % 2), level, halvings), position

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

        Planes and tiles out of the window are not decoded, of the others all latents and the rows that are wanted.
        Raises FormatError when the body does not fit the signal, LimitError when it asks for more than ``limits``.
        """
        told, end = self.read_parameters(parameters)
        if end != len(parameters):
            raise FormatError("the codec's parameters go on after their end")
        gain = gain_of(told.level)
        planes = PlaneMap.make(header, self.prior)
        wanted = planes.plane_size(size if size is not None else header.shape)
        shape = coarser_shape(planes.shape, told.halvings)
        tiles = plane_tiles(self.prior, shape)
        self._check_work(planes.n_planes, shape, tiles, wanted, limits)
        covered, numbers, part = planes.part(window or tuple(slice(0, n) for n in size or header.shape))
        out = np.empty((len(numbers), *(p.stop - p.start for p in part), self.prior.channels), np.float32)
        messages = split_messages(body, planes.n_planes * len(tiles) * (1 + told.weights))
        axes = window_axes(shape, wanted, part)
        for place, number in enumerate(numbers):
            if len(tiles) == 1:
                out[place] = self._tile(messages, number, told, shape, wanted, part)
                continue
            mosaic = TileBlender(shape, tuple(axis.needed() for axis in axes), self.prior.channels)
            for index, tile in enumerate(tiles):
                if mosaic.touches(tile):
                    own = tuple(p.stop - p.start for p in tile)
                    mosaic.put(tile, self._tile(messages, number * len(tiles) + index, told, own, own))
            values = mosaic.values
            for along, axis in enumerate(axes):
                values = axis.resampled(values, along, mosaic.window[along].start)
            out[place] = values
        return covered.from_planes(out * np.float32(gain) if gain != 1.0 else out)

    def _tile(
        self,
        messages: Sequence[bytes],
        number: int,
        told: Parameters,
        shape: tuple[int, ...],
        size: tuple[int, ...],
        window: Window | None = None,
    ) -> FloatArray:
        """Values (*size, C), or in a window of these, of a plane or tile that covers a grid of ``shape``."""
        *weights, latents = messages[number * (1 + told.weights) : (number + 1) * (1 + told.weights)]
        head = receive_weights(self.prior, weights[0]) if weights else None
        h = self.latent_features(latents, told.quality, told.coder, padded_shape(self.prior.config, shape))
        model = self.prior.model
        rate = model.rates(torch.full((1,), log_lambda_of(self.prior.config, told.quality)))
        return render(model, h, rate, shape, size, head, window)

    def latent_features(
        self, message: bytes, quality: int, coder: str, padded: tuple[int, ...], watch: Watch | None = None
    ) -> torch.Tensor:
        """Features at the finest stride that a message stands for, in floating point.

        ``watch`` is shown every block's name, residuals in steps and prior scales in steps, (1, c, h, w).
        """
        layers = self.prior.layers(quality)
        reader = make_reader(coder, message, len(block_names(self.prior.config)))

        def choose(name: str, h: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
            scales = scale_indices(prior.chunk(2, dim=1)[1])
            residual = torch.from_numpy(reader.receive(scales.flatten().numpy())).view(scales.shape)
            if watch is not None:
                watch(name, residual.double() / (1 << RESIDUAL_BITS), torch.from_numpy(scale_values())[scales.long()])
            return place_latents(layers, name, prior, residual)

        coarsest = self.prior.config.coarsest
        rows = 1 if len(padded) == 1 else padded[0] // coarsest
        h = top_down(layers, 1, rows, padded[-1] // coarsest, choose)
        reader.finish()
        return to_floats(h)

    def _check_work(
        self, n_planes: int, shape: tuple[int, ...], tiles: Sequence[Window], size: tuple[int, ...], limits: Limits
    ) -> None:
        made = math.prod(max(a, b) for a, b in zip(shape, size, strict=True)) * n_planes
        shapes = [tuple(part.stop - part.start for part in tile) for tile in tiles]
        padded = sum(math.prod(padded_shape(self.prior.config, one)) for one in shapes) * n_planes
        if max(made, padded) > limits.max_points or max(size) > limits.max_axis:
            raise LimitError(f"decoding evaluates {max(made, padded)} points, the limit is {limits.max_points}")
        work = padded * multiply_adds_per_point(self.prior.config)
        if work > limits.max_multiply_adds:
            raise LimitError(f"decoding takes {work:.2g} multiply-adds, the limit is {limits.max_multiply_adds:.2g}")


class HierarchicalEncoding:
    """Signals being encoded: coding them again at nearly the same rate goes on from the posteriors found before."""

    def __init__(self, codec: HierarchicalCodec, sources: Sequence[Source], encoder: LatentEncoder) -> None:
        self.codec, self.sources, self.encoder = codec, sources, encoder
        self.level = codec.level_of(sources)
        self.halvings = 0
        self._grid_beta: float | None = None
        self._batches: dict[int, list[OwnedBatch]] = {}

    def at(self, rate: Rate) -> Coded:
        """Bytes at a rate."""
        return self.encoder.run(self.search(rate))

    def search(self, rate: Rate) -> Search[Coded]:
        """``at`` as a dialogue, for encodings side by side."""
        prior, config = self.codec.prior, self.codec.prior.config
        usual = default_log_lambda(config)
        if self.codec.has_halvings:
            self._choose_grid(rate, usual)
        if rate.bits is None:
            log_lambda = usual
            if rate.beta is not None:
                log_lambda = 2.0 * math.log(gain_of(self.level)) - math.log(rate.beta)
            quality = quality_of(config, grid_log_lambda(prior, log_lambda, self.halvings))
            yield [SearchRequest("refine", owned.batch, quality) for owned in self.batches]
            coded = yield [SearchRequest("code", owned.batch, quality) for owned in self.batches]
        else:
            quality, coded = yield from quality_search(self.encoder, [o.batch for o in self.batches], rate.bits)
        weights = [self._weights(owned.batch, found, quality) for owned, found in zip(self.batches, coded, strict=True)]
        sent = any(message for group in weights for message in group)
        parts: list[dict[int, list[bytes]]] = [{} for _ in self.sources]
        for owned, heads, found in zip(self.batches, weights, coded, strict=True):
            for (owner, place), head, message in zip(owned.owners, heads, found.messages, strict=True):
                parts[owner][place] = [head, message] if sent else [message]
        parameters = Parameters(quality, self.encoder.coder, sent, self.level, self.halvings)
        bodies = [join_messages([m for place in sorted(part) for m in part[place]]) for part in parts]
        return Coded(self.codec.write_parameters(parameters), bodies)

    def _choose_grid(self, rate: Rate, usual: float) -> None:
        """Betas near one that a grid was chosen for stay on it, so that a search over them sees a smooth curve."""
        if (
            rate.beta is not None
            and self._grid_beta is not None
            and abs(math.log(rate.beta / self._grid_beta)) < GRID_KEPT
        ):
            return
        self.halvings = choose_halvings(self.codec.prior, self.sources, rate, usual)
        self._grid_beta = rate.beta

    @property
    def batches(self) -> list[OwnedBatch]:
        """All planes on the chosen grid."""
        if self.halvings not in self._batches:
            made = make_batches(self.sources, self.codec.prior, gain_of(self.level), self.halvings)
            self._batches[self.halvings] = made
        return self._batches[self.halvings]

    def _weights(self, batch: Batch, coded: CodedLatents, quality: int) -> list[bytes]:
        """Messages of the weights of a batch's planes, empty where the prior's mean serves."""
        steps, prior = self.encoder.effort.weight_steps, self.codec.prior
        if coded.features is None or batch.points < MIN_POINTS_FOR_WEIGHTS:
            return [b""] * len(batch.values)
        log_lambda = log_lambda_of(prior.config, quality)
        out = []
        with torch.no_grad():
            features = prior.model.features(coded.features, prior.model.rates(torch.full((1,), log_lambda)))
        for number, values in enumerate(batch.values):
            problem = HeadProblem.make(
                prior.model, features[number : number + 1], values[None], batch.fourier(prior.config), batch.mask
            )
            mean, scale = fit_weights(prior, problem, math.exp(log_lambda), steps)
            out.append(send_weights(prior, problem, math.exp(log_lambda), mean, scale) or b"")
        return out


def default_log_lambda(config: HierarchicalConfig) -> float:
    """Log(lambda) where nothing is asked for."""
    low, high = config.log_lambdas
    return low + DEFAULT_PLACE * (high - low)
