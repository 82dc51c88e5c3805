"""The weights of a SIREN as integers, or in float16 as in the paper (COIN, arXiv 2103.03123).

Every matrix and every bias is a *group* with its own root mean square, sent as a byte: 2^(byte / 8 - 20). A weight is
sent as an integer number of steps; a step is the root mean square times 2^(-fineness / 16), so that all groups share
one Gaussian table. The first matrix, whose large weights are frequencies, has steps 16 times smaller: it holds less
than 1 % of the weights, and with the steps of the others it lost 3 dB on photographs.
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
"""A step halves with every 16 of fineness."""
MAX_FINENESS = 9 * FINENESS_PER_OCTAVE
"""Max fineness of quantised weights."""
FLOAT16 = MAX_FINENESS + 1
"""The fineness that stands for weights in float16."""
FIRST_FINER = 64
"""Fineness added for the first matrix."""
_ROOT_PER_OCTAVE, _ROOT_OFFSET = 8, 20
_OCTAVE_UNITS = 5678
"""ln 2 in units of 2^-13."""


def groups(shape: SirenShape) -> list[int]:
    """Return the sizes of the groups in the order of the weights: a matrix, its bias, the next matrix and so on."""
    return [size for rows, columns in shape.layers for size in ((rows - 1) * columns, columns)]


def group_fineness(shape: SirenShape, fineness: int) -> list[int]:
    """Return the fineness of every group."""
    return [fineness + FIRST_FINER, *[fineness] * (len(groups(shape)) - 1)]


def _tables(shape: SirenShape, fineness: int) -> IntArray:
    """Return the index of the Gaussian table of every weight."""
    indices = [table_of(value) for value in group_fineness(shape, fineness)]
    return np.repeat(np.array(indices, np.int64), groups(shape))


def table_of(fineness: int) -> int:
    """Return the index of the Gaussian table for a fineness, by integer arithmetic."""
    return int(scale_indices(torch.tensor([fineness * _OCTAVE_UNITS // FINENESS_PER_OCTAVE]))[0])


def write_weights(weights: Tensor, shape: SirenShape, fineness: int) -> bytes:
    """Return the body for weights (n,)."""
    if fineness == FLOAT16:
        return weights.numpy().astype("<f2").tobytes()
    roots, numbers = [], []
    for group, value in zip(weights.split(groups(shape)), group_fineness(shape, fineness), strict=True):
        root = float(group.square().mean().sqrt().clamp_min(1e-30))
        roots.append(min(max(round(_ROOT_PER_OCTAVE * (math.log2(root) + _ROOT_OFFSET)), 0), 255))
        numbers.append(torch.round(group.double() / _step(roots[-1], value)).long())
    writer = GaussianWriter()
    writer.write(torch.cat(numbers).numpy(), _tables(shape, fineness))
    return bytes(roots) + writer.to_bytes()


def read_weights(body: bytes, shape: SirenShape, fineness: int) -> Tensor:
    """Return the weights (n,) of a body, float32.

    Raises:
        FormatError: the body is truncated or corrupt, or does not fit the shape.
    """
    if fineness == FLOAT16:
        if len(body) != 2 * shape.n_weights:
            raise FormatError(f"the body has {len(body)} bytes, expected {2 * shape.n_weights} for float16 weights")
        weights = torch.from_numpy(np.frombuffer(body, "<f2").astype(np.float32))
        if not torch.isfinite(weights).all():
            raise FormatError("a weight is not finite")
        return weights
    sizes = groups(shape)
    if len(body) < len(sizes):
        raise FormatError(f"the body is truncated: {len(body)} bytes, expected at least {len(sizes)}")
    reader = GaussianReader(body[len(sizes) :], 1)
    numbers = torch.from_numpy(reader.read(_tables(shape, fineness)))
    reader.finish()
    by_group = zip(numbers.double().split(sizes), body, group_fineness(shape, fineness), strict=False)
    return torch.cat([group * _step(root, value) for group, root, value in by_group]).float()


def _step(root: int, fineness: int) -> float:
    """Return the step size of a group from the byte of its root mean square and its fineness."""
    return float(2.0 ** (root / _ROOT_PER_OCTAVE - _ROOT_OFFSET - fineness / FINENESS_PER_OCTAVE))
