"""Inspect a hierarchical file: where its bits are spent, and how far samples of its posteriors spread the values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from inrcodec.codecs.base import CodedEntry
from inrcodec.codecs.hierarchical.batches import as_batch
from inrcodec.codecs.hierarchical.checkerboard import scatter_color
from inrcodec.codecs.hierarchical.codec import HierarchicalCodec
from inrcodec.codecs.hierarchical.config import HierarchicalConfig, block_phase, coarser_shape
from inrcodec.codecs.hierarchical.elbo import symbol_bits
from inrcodec.codecs.hierarchical.exact import log_lambda_of
from inrcodec.codecs.hierarchical.parameters import read_parameters
from inrcodec.codecs.hierarchical.render import render
from inrcodec.codecs.hierarchical.top_down import top_down
from inrcodec.codecs.messages import split_messages
from inrcodec.codecs.planes import PlaneMap
from inrcodec.codecs.tiles import TileBlender, padded_shape, plane_tiles

FloatArray = NDArray[np.float32]

CELL = 8
"""Side, in points, of the cells over which bits are summed."""


@dataclass(frozen=True)
class Inspection:
    """The inspection of one plane.

    Attributes:
        bits: bits (h, w) of every cell of ``cell`` points along each axis.
        by_level: bits of all latents at a stride, by stride, coarsest first.
        cell: side of a cell in points.
        spread: standard deviation of the values over samples of the posteriors, of the plane's shape; None if not
            computed.
    """

    bits: FloatArray
    by_level: dict[int, float]
    cell: int
    spread: FloatArray | None


@torch.no_grad()
def inspect(codec: HierarchicalCodec, entry: CodedEntry, *, plane: int = 0, samples: int = 8) -> Inspection:
    """Inspect one plane of a signal.

    Args:
        codec: the codec with the prior of the file.
        entry: the coded signal.
        plane: number of the plane.
        samples: posterior samples for the spread; at 0, and for a plane in tiles, it is not computed.
    """
    parameters, _ = read_parameters(codec.prior, entry.parameters)
    planes = PlaneMap.make(entry.header, codec.prior)
    shape = coarser_shape(planes.shape, parameters.halvings)
    config = codec.prior.config
    tiles = plane_tiles(codec.prior.kind, shape, config.coarsest)
    step = 1 + parameters.weights
    messages = split_messages(entry.body, planes.n_planes * len(tiles) * step)
    blender = TileBlender(shape, tuple(slice(0, n) for n in shape), 1)
    by_level: dict[int, float] = {}
    spread = None
    for index, tile in enumerate(tiles):
        tile_shape = tuple(part.stop - part.start for part in tile)
        padded = padded_shape(tile_shape, config.coarsest)
        density = torch.zeros(padded if config.axes == 2 else (1, *padded))

        def add_bits(name: str, residual: Tensor, scales: Tensor, density: Tensor = density) -> None:
            block_bits = symbol_bits(residual, scales.log()).sum(1, keepdim=True)
            bits = scatter_color(block_bits, block_phase(config, name))[0, 0]
            stride = config.levels[int(name.split(".")[0])].stride
            by_level[stride] = by_level.get(stride, 0.0) + float(bits.sum())
            rows = stride if config.axes == 2 else 1
            density += bits.repeat_interleave(rows, 0).repeat_interleave(stride, 1).float() / (rows * stride)

        message = messages[(plane * len(tiles) + index) * step + step - 1]
        h = codec.latent_features(message, parameters.quality, parameters.coder, padded, add_bits)
        inside = density[tuple(slice(0, n) for n in tile_shape)] if config.axes == 2 else density[0, : tile_shape[0]]
        blender.add(tile, inside.numpy()[..., None])
        if samples and len(tiles) == 1:
            rate = codec.prior.model.rates(torch.full((1,), log_lambda_of(config, parameters.quality)))
            decoded = render(codec.prior.model, h, rate, tile_shape, tile_shape)
            spread = _spread(codec, decoded, parameters.quality, samples)
    return Inspection(
        _cells(blender.values[..., 0], config), dict(sorted(by_level.items(), reverse=True)), CELL, spread
    )


def _cells(density: FloatArray, config: HierarchicalConfig) -> FloatArray:
    """Sum the bits of points over cells."""
    plane = torch.from_numpy(density).view(1, 1, *((1, -1) if config.axes == 1 else density.shape))
    rows = CELL if config.axes == 2 else 1
    height, width = plane.shape[2:]
    padded = functional.pad(plane, (0, -width % CELL, 0, -height % rows))
    return (functional.avg_pool2d(padded, (rows, CELL))[0, 0] * rows * CELL).numpy()


def _spread(codec: HierarchicalCodec, decoded: FloatArray, quality: int, samples: int) -> FloatArray:
    """Return the standard deviation of values over posterior samples, averaged over channels first.

    The posterior is the one that the encoder proposes for the decoded values (*shape, C). Every latent is drawn
    uniformly within its step, and finer ones are proposed anew given the coarser ones.
    """
    model, config = codec.prior.model, codec.prior.config
    rate = model.rates(torch.full((1,), log_lambda_of(config, quality)))
    random = torch.Generator().manual_seed(0)
    batch = as_batch(decoded[None], config)
    features = model.bottom_up(batch.values, rate)
    shape, padded = decoded.shape[:-1], batch.values.shape[2:]
    rows = 1 if config.axes == 1 else padded[0] // config.coarsest

    def choose(name: str, h: Tensor, prior: Tensor) -> Tensor:
        step = model.steps(name, rate)
        proposed = model.propose(name, h, prior, features, rate)
        noise = torch.rand(proposed.shape, generator=random) - 0.5
        return prior.chunk(2, dim=1)[0] + proposed + step * noise

    total, squares = np.zeros(shape, np.float64), np.zeros(shape, np.float64)
    for _ in range(samples):
        h = top_down(model.layers(rate), 1, rows, padded[1] // config.coarsest, choose)
        values = render(model, h, rate, shape, shape).mean(axis=-1, dtype=np.float64)
        total += values
        squares += values * values
    variance = (squares - total * total / samples) / max(1, samples - 1)
    result: FloatArray = np.sqrt(variance.clip(0.0)).astype(np.float32)
    return result
