"""Batches for the hierarchical encoder: planes of signals, or tiles of large planes, padded and grouped by shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from inrcodec.codecs.base import Source
from inrcodec.codecs.hierarchical.config import HierarchicalConfig, coarser_shape
from inrcodec.codecs.hierarchical.encoder import POINTS_AT_ONCE
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
from inrcodec.codecs.hierarchical.refinement import Batch
from inrcodec.codecs.planes import PlaneMap
from inrcodec.codecs.tiles import padded_shape, plane_tiles
from inrcodec.signals.resample import resample_grid

FloatArray = NDArray[np.float32]

IMPROVEMENTS = 6
"""Iterations that bring the interpolation of a coarser grid nearer to the plane."""


@dataclass(frozen=True)
class OwnedBatch:
    """A batch together with the origin of its rows.

    Attributes:
        batch: planes, or tiles of planes, of one shape.
        owners: for each row of the batch, the index of its source and its index among the tiles of that source.
    """

    batch: Batch
    owners: list[tuple[int, int]]


def make_batches(
    sources: Sequence[Source], prior: HierarchicalPrior, gain: float, halvings: int = 0
) -> list[OwnedBatch]:
    """Return all planes of all sources as batches, in the order of the sources within each shape.

    Args:
        sources: the signals.
        prior: the prior.
        gain: the values are divided by this.
        halvings: how often the planes' grids are halved first.
    """
    by_shape: dict[tuple[int, ...], list[tuple[tuple[int, int], FloatArray]]] = {}
    for number, source in enumerate(sources):
        planes = PlaneMap.make(source.header, prior)
        shape = coarser_shape(planes.shape, halvings)
        tiles = plane_tiles(prior.kind, shape, prior.config.coarsest)
        for place, plane in enumerate(planes.to_planes(source.values)):
            values = on_coarser_grid(plane, shape, prior.config.periodic)
            for index, tile in enumerate(tiles):
                tile_values = values[tile]
                owner = number, place * len(tiles) + index
                by_shape.setdefault(tile_values.shape[:-1], []).append((owner, tile_values))
    batches = []
    for shape, members in by_shape.items():
        at_once = max(1, POINTS_AT_ONCE // math.prod(padded_shape(shape, prior.config.coarsest)))
        for start in range(0, len(members), at_once):
            chunk = members[start : start + at_once]
            values = np.stack([plane for _, plane in chunk]) / np.float32(gain)
            batches.append(OwnedBatch(as_batch(values, prior.config), [owner for owner, _ in chunk]))
    return batches


def as_batch(values: FloatArray, config: HierarchicalConfig) -> Batch:
    """Return planes (N, *shape, C) as a batch, padded to multiples of the coarsest stride.

    The padding repeats the edge, or continues at the other end where the last axis is a circle.
    """
    shape = values.shape[1:-1]
    padded = padded_shape(shape, config.coarsest)
    mask = np.zeros(padded, np.float32)
    mask[tuple(slice(n) for n in shape)] = 1.0
    for axis, (n, p) in enumerate(zip(shape, padded, strict=True)):
        is_circle = config.periodic and axis == len(shape) - 1
        widths = [(0, p - n) if a == axis + 1 else (0, 0) for a in range(values.ndim)]
        values = np.pad(values, widths, mode="wrap" if is_circle else "edge")
    if config.axes == 1:
        values = values[:, None]
    tensor = torch.from_numpy(np.ascontiguousarray(values)).permute(0, 3, 1, 2)
    return Batch(
        tensor.contiguous(memory_format=torch.channels_last),
        None if mask.all() else torch.from_numpy(mask.reshape(-1)),
        math.prod(shape),
        shape,
    )


def on_coarser_grid(plane: FloatArray, shape: tuple[int, ...], periodic: bool) -> FloatArray:
    """Return values (*shape, C) whose interpolation is close to a plane.

    They start as means of the plane and are corrected by the resampled residual, several times over.
    """
    if shape == plane.shape[:-1]:
        return plane
    coarse = resample_grid(plane, shape, periodic=periodic)
    for _ in range(IMPROVEMENTS):
        residual = plane - resample_grid(coarse, plane.shape[:-1], periodic=periodic)
        coarse = coarse + resample_grid(residual, shape, periodic=periodic)
    return coarse
