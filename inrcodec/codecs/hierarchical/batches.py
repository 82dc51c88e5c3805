"""Signals as the hierarchical encoder takes them: planes, padded, alike ones together; and messages as bodies."""

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


@dataclass(frozen=True)
class OwnedBatch:
    """A batch and, for each of its planes or tiles of planes, the number of the source that it comes from and the place
    among all of that source."""

    batch: Batch
    owners: list[tuple[int, int]]


def make_batches(
    sources: Sequence[Source], prior: HierarchicalPrior, gain: float, halvings: int = 0
) -> list[OwnedBatch]:
    """All planes of all sources, large ones cut into tiles, divided by ``gain``, those of one shape together, in the
    order of the sources; on grids halved so often."""
    by_shape: dict[tuple[int, ...], list[tuple[tuple[int, int], FloatArray]]] = {}
    for number, source in enumerate(sources):
        planes = PlaneMap.make(source.header, prior)
        shape = coarser_shape(planes.shape, halvings)
        tiles = plane_tiles(prior.kind, shape, prior.config.coarsest)
        for place, plane in enumerate(planes.to_planes(source.values)):
            values = on_coarser_grid(plane, shape, prior.config.periodic)
            for index, tile in enumerate(tiles):
                part = values[tile]
                by_shape.setdefault(part.shape[:-1], []).append(((number, place * len(tiles) + index), part))
    made = []
    for shape, members in by_shape.items():
        at_once = max(1, POINTS_AT_ONCE // math.prod(padded_shape(shape, prior.config.coarsest)))
        for start in range(0, len(members), at_once):
            some = members[start : start + at_once]
            values = np.stack([plane for _, plane in some]) / np.float32(gain)
            made.append(OwnedBatch(as_batch(values, prior.config), [owner for owner, _ in some]))
    return made


def as_batch(values: FloatArray, config: HierarchicalConfig) -> Batch:
    """Planes (N, *shape, C) of one shape, padded by their edges (a circle by its other end)."""
    shape = values.shape[1:-1]
    padded = padded_shape(shape, config.coarsest)
    mask = np.zeros(padded, np.float32)
    mask[tuple(slice(n) for n in shape)] = 1.0
    for axis, (n, p) in enumerate(zip(shape, padded, strict=True)):
        around = config.periodic and axis == len(shape) - 1
        widths = [(0, p - n) if a == axis + 1 else (0, 0) for a in range(values.ndim)]
        values = np.pad(values, widths, mode="wrap" if around else "edge")
    if config.axes == 1:
        values = values[:, None]
    tensor = torch.from_numpy(np.ascontiguousarray(values)).permute(0, 3, 1, 2)
    whole = torch.from_numpy(mask.reshape(-1))
    return Batch(
        tensor.contiguous(memory_format=torch.channels_last), None if mask.all() else whole, math.prod(shape), shape
    )


def on_coarser_grid(plane: FloatArray, shape: tuple[int, ...], periodic: bool) -> FloatArray:
    """Values (*shape, C) from which interpolation comes near a plane: means, improved by what is left of the plane."""
    if shape == plane.shape[:-1]:
        return plane
    found = resample_grid(plane, shape, periodic=periodic)
    for _ in range(IMPROVEMENTS):
        left = plane - resample_grid(found, plane.shape[:-1], periodic=periodic)
        found = found + resample_grid(left, shape, periodic=periodic)
    return found
