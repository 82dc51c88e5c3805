"""Weights of a prior's file as integers with a power of two per row, entropy coded.

A weight is q 2^e, with one exponent e for each row (the weights that lead to one output). ``round_rows`` brings weights
into this form; the integers of a row then have a standard deviation of at most ``MAX_DEVIATION``, about 10 bits each.
``pack`` codes each row under a Gaussian of its own standard deviation (``coding.gaussian``) and loses nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec.coding.gaussian import MAX_SCALE, MAX_VALUE, GaussianReader, GaussianWriter, scale_values
from inrcodec.errors import FormatError, LimitError

MAX_DEVIATION = MAX_SCALE
"""Maximum root mean square of a row's integers after ``round_rows``."""
MAX_WEIGHTS = 1 << 26
"""Limit on the number of weights in one message."""
MAX_EXPONENT = 32
"""Limit on the magnitude of an exponent."""


def row_units(weights: Tensor, min_unit: float = 0.0) -> Tensor:
    """Return, for every row, the power of two to whose multiples its weights are to be rounded, (rows,) in float64.

    Args:
        weights: (rows, ...).
        min_unit: the smallest result.
    """
    deviation = weights.detach().double().flatten(1).square().mean(dim=1).sqrt()
    exponents = (deviation.clamp_min(1e-12) / MAX_DEVIATION).log2().ceil()
    result: Tensor = (2.0 ** exponents.clamp(-MAX_EXPONENT, MAX_EXPONENT)).clamp_min(min_unit)
    return result


def round_rows(weights: Tensor, *, min_unit: float = 0.0) -> Tensor:
    """Return weights (rows, ...) rounded to the nearest multiples of ``row_units``, in float64."""
    unit = row_units(weights, min_unit).view(-1, *[1] * (weights.ndim - 1))
    return (weights.detach().double() / unit).round() * unit


def pack(weights: Mapping[str, Tensor]) -> tuple[list[Any], dict[str, Tensor]]:
    """Return weights as a description in plain values and three tensors.

    Args:
        weights: by name, (rows, ...); each is a multiple of a power of two per row, as ``round_rows`` returns.

    Returns:
        Names and shapes, and the tensors "message", "exponents" and "scales" (one number per row).

    Raises:
        LimitError: a weight is too large a multiple.
    """
    writer = GaussianWriter()
    exponents, scales = [], []
    for weight in weights.values():
        rows = weight.detach().double().flatten(1).numpy()
        exponent = _common_exponents(rows)
        integers = np.rint(rows * 2.0 ** -exponent[:, None]).astype(np.int64)
        if np.abs(integers).max(initial=0) >= MAX_VALUE:
            raise LimitError("weights to pack must be rounded first")
        scale = _scale_indices(integers)
        writer.write(integers.reshape(-1), np.repeat(scale, rows.shape[1]))
        exponents.append(exponent)
        scales.append(scale)
    tensors = {
        "message": np.frombuffer(writer.to_bytes(), np.uint8).copy(),
        "exponents": np.concatenate(exponents).astype(np.int8),
        "scales": np.concatenate(scales).astype(np.uint8),
    }
    description = [[name, list(weight.shape)] for name, weight in weights.items()]
    return description, {name: torch.from_numpy(values) for name, values in tensors.items()}


def unpack(description: list[Any], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights, in float64, that ``pack`` turned into a description and tensors.

    Raises:
        FormatError: the message is corrupt, or shapes and rows do not fit together.
        KeyError, TypeError, ValueError: something is missing or has the wrong type.
    """
    shapes = {str(name): [int(n) for n in shape] for name, shape in description}
    n_rows = sum(shape[0] for shape in shapes.values())
    if min(min(shape) for shape in shapes.values()) < 1 or sum(map(math.prod, shapes.values())) > MAX_WEIGHTS:
        raise FormatError("corrupt model: the shapes of its weights are out of range")
    exponents, scales = (tensors[name].numpy().astype(np.int64) for name in ("exponents", "scales"))
    if not len(exponents) == len(scales) == n_rows or np.abs(exponents).max() > MAX_EXPONENT or scales.max() >= 64:
        raise FormatError("corrupt model: the exponents or scales of its weights are out of range")
    reader = GaussianReader(tensors["message"].numpy().astype(np.uint8).tobytes(), len(shapes))
    out, row = {}, 0
    for name, shape in shapes.items():
        rows, columns = shape[0], math.prod(shape[1:])
        integers = reader.read(np.repeat(scales[row : row + rows], columns)).reshape(rows, columns)
        values = integers * 2.0 ** exponents[row : row + rows, None]
        out[name] = torch.from_numpy(values).view(shape)
        row += rows
    reader.finish()
    return out


def _common_exponents(rows: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the largest exponent e of each row such that all its numbers are multiples of 2^e; 0 for rows of zeros."""
    mantissas, exponents = np.frexp(rows)
    integers = (mantissas * 2.0**53).astype(np.int64)
    lowest = np.frexp((integers & -integers).astype(np.float64))[1] - 1 + exponents - 53
    common = np.where(integers == 0, MAX_EXPONENT, lowest).min(axis=1, initial=MAX_EXPONENT)
    return np.where((integers == 0).all(axis=1), 0, common).astype(np.int64)


def _scale_indices(integers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return, for every row, the index of the scale nearest to its root mean square, on a logarithmic scale."""
    deviation = np.sqrt(np.square(integers.astype(np.float64)).mean(axis=1))
    logs = np.log(scale_values())
    places = (np.log(np.maximum(deviation, scale_values()[0])) - logs[0]) / (logs[1] - logs[0])
    result: NDArray[np.int64] = np.rint(places).clip(0, len(logs) - 1).astype(np.int64)
    return result
