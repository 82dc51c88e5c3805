"""Weights of one SIREN per signal as whole numbers (COIN, arXiv 2103.03123).

Every matrix and every bias is a *group* with a root mean square of its own, sent as a byte: 2^(byte / 8 - 20). Numbers
are weights in steps of that root mean square times 2^(-fineness / 16), so that the groups share one Gaussian table; but
the first matrix, whose large weights are frequencies, is 16 times finer (it holds under 1 % of the weights, and cost
3 dB on photographs as coarse as the others).
Or weights are sent as they are in float16, as in the paper.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec.coding.gaussian import GaussianReader, GaussianWriter
from inrcodec.errors import FormatError
from inrcodec.nn.exact import scale_indices
from inrcodec.nn.siren import SirenShape

IntArray = NDArray[np.int64]

FINENESS_PER_OCTAVE = 16
MAX_FINENESS = 9 * FINENESS_PER_OCTAVE
FLOAT16 = MAX_FINENESS + 1
"""The fineness that stands for weights as they are."""
FIRST_FINER = 64
"""Fineness that is added for the first matrix."""
_ROOT_PER_OCTAVE, _ROOT_OFFSET = 8, 20
_OCTAVE_UNITS = 5678
"""ln 2 in units of 2^-13."""


def groups(shape: SirenShape) -> list[int]:
    """Sizes of the groups, in the order of the weights: a matrix, its bias, the next matrix .."""
    return [size for rows, columns in shape.layers for size in ((rows - 1) * columns, columns)]


def group_fineness(shape: SirenShape, fineness: int) -> list[int]:
    """Of every group."""
    return [fineness + FIRST_FINER, *[fineness] * (len(groups(shape)) - 1)]


def _tables(shape: SirenShape, fineness: int) -> IntArray:
    rows = [table_of(own) for own in group_fineness(shape, fineness)]
    return np.repeat(np.array(rows, np.int64), groups(shape))


def table_of(fineness: int) -> int:
    """Row of the Gaussian tables, by integers alone."""
    return int(scale_indices(torch.tensor([fineness * _OCTAVE_UNITS // FINENESS_PER_OCTAVE]))[0])


def write_weights(weights: Tensor, shape: SirenShape, fineness: int) -> bytes:
    """A body for weights (n,)."""
    if fineness == FLOAT16:
        return weights.numpy().astype("<f2").tobytes()
    roots, numbers = [], []
    for part, own in zip(weights.split(groups(shape)), group_fineness(shape, fineness), strict=True):
        root = float(part.square().mean().sqrt().clamp_min(1e-30))
        roots.append(min(max(round(_ROOT_PER_OCTAVE * (math.log2(root) + _ROOT_OFFSET)), 0), 255))
        numbers.append(torch.round(part.double() / _step(roots[-1], own)).long())
    writer = GaussianWriter()
    writer.write(torch.cat(numbers).numpy(), _tables(shape, fineness))
    return bytes(roots) + writer.to_bytes()


def read_weights(body: bytes, shape: SirenShape, fineness: int) -> Tensor:
    """Weights (n,) of a body; FormatError when it does not fit."""
    if fineness == FLOAT16:
        if len(body) != 2 * shape.n_weights:
            raise FormatError(f"{shape.n_weights} weights of 16 bits do not take {len(body)} bytes")
        weights = torch.from_numpy(np.frombuffer(body, "<f2").astype(np.float32))
        if not torch.isfinite(weights).all():
            raise FormatError("a weight is not finite")
        return weights
    sizes = groups(shape)
    if len(body) < len(sizes):
        raise FormatError("the body is cut short")
    reader = GaussianReader(body[len(sizes) :], 1)
    numbers = torch.from_numpy(reader.read(_tables(shape, fineness)))
    reader.finish()
    finer = group_fineness(shape, fineness)
    parts = [
        part * _step(root, own) for part, root, own in zip(numbers.double().split(sizes), body, finer, strict=False)
    ]
    return torch.cat(parts).float()


def _step(root: int, fineness: int) -> float:
    return float(2.0 ** (root / _ROOT_PER_OCTAVE - _ROOT_OFFSET - fineness / FINENESS_PER_OCTAVE))
