"""Encode signals with codec grids: fit latents and networks to every plane or tile, then code them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from inrcodec.codecs.base import Coded, EncodeOptions, Rate, Source
from inrcodec.codecs.grids.effort import GRID_STEPS
from inrcodec.codecs.grids.fit import GridEncoder, GridProblem
from inrcodec.codecs.grids.prior import FINENESSES, GridsPrior
from inrcodec.codecs.messages import join_messages
from inrcodec.codecs.planes import PlaneMap
from inrcodec.codecs.tiles import padded_shape, plane_tiles
from inrcodec.coding.bits import write_varint

if TYPE_CHECKING:
    from inrcodec.codecs.grids.codec import GridsCodec


class GridsEncoding:
    """Signals being encoded; every rate needs a new fit.

    Attributes:
        codec: the codec.
        sources: the signals.
        encoder: fits and codes planes and tiles.
    """

    def __init__(self, codec: GridsCodec, sources: Sequence[Source], options: EncodeOptions) -> None:
        self.codec, self.sources = codec, sources
        self.encoder = GridEncoder(codec.prior, GRID_STEPS[options.effort], options.progress)

    def at(self, rate: Rate) -> Coded:
        """See ``Encoding.at``."""
        problems = [plane_problems(source, self.codec.prior) for source in self.sources]
        all_problems = [problem for group in problems for problem in group]
        if rate.bits is not None:
            quality, coded = self.encoder.encode(all_problems, bits=rate.bits)
        else:
            beta = rate.beta if rate.beta is not None else self.codec.default_beta(self.sources)
            quality, coded = self.encoder.encode(all_problems, log_lambda=-math.log(beta))
        bodies, start = [], 0
        for group in problems:
            messages = []
            for plane in coded[start : start + len(group)]:
                messages += [bytes([FINENESSES.index(plane.fineness)]) + plane.weights, plane.latents]
            bodies.append(join_messages(messages))
            start += len(group)
        return Coded(write_varint(quality), bodies)


def plane_problems(source: Source, prior: GridsPrior) -> list[GridProblem]:
    """Return the planes of a signal, or their tiles, padded by repeating their edges."""
    planes = PlaneMap.make(source.header, prior)
    stride = prior.config.coarsest
    problems = []
    for plane in planes.to_planes(source.values):
        for tile in plane_tiles(prior.kind, planes.shape, stride):
            values = plane[tile]
            padded = padded_shape(values.shape[:2], stride)
            widths = [(0, p - n) for p, n in zip(padded, values.shape[:2], strict=True)]
            mask = np.pad(np.ones(values.shape[:2], np.float32), widths)
            values = np.pad(values, [*widths, (0, 0)], mode="edge").transpose(2, 0, 1)
            problems.append(GridProblem(torch.from_numpy(np.ascontiguousarray(values)), torch.from_numpy(mask)))
    return problems
