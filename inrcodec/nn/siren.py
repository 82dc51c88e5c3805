"""SIREN layers as pure functions of weights and inputs (Sitzmann et al., arXiv:2006.09661).

The widths of the layers define a network. Its weights are one flat vector per signal, which this module splits into
matrices; the last row of each matrix is the bias. Shapes: S signals, P points, F input features, C channels.

The input features ``sin(x W + b)`` are the first SIREN layer. They belong to the prior and are the same for all
signals, so they are computed once. The factor w0 of the paper is part of W, whose columns are spread over the
frequencies that the grid can represent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

CACHE_BYTES = 1 << 21
"""The size of the activations of one layer, in bytes, that are computed at once on a CPU."""


@dataclass(frozen=True)
class SirenShape:
    """Describes the layers whose weights belong to one signal.

    Attributes:
        widths: the number of input features, the widths of the hidden layers, and the number of channels.
    """

    widths: tuple[int, ...]

    @property
    def layers(self) -> list[tuple[int, int]]:
        """Return (rows, columns) of each layer's matrix, the bias row included."""
        return [(n_in + 1, n_out) for n_in, n_out in zip(self.widths[:-1], self.widths[1:], strict=True)]

    @property
    def layer_sizes(self) -> list[int]:
        """Return the number of weights of each layer."""
        return [rows * columns for rows, columns in self.layers]

    @property
    def n_weights(self) -> int:
        """Return the number of weights of one signal."""
        return sum(self.layer_sizes)

    @property
    def multiply_adds(self) -> int:
        """Return the number of multiply-adds per point."""
        return sum((rows - 1) * columns for rows, columns in self.layers)


def input_features(coordinates: Tensor, frequency: Tensor, phase: Tensor) -> Tensor:
    """Return the features (P, F) of the first SIREN layer, which all signals share.

    Args:
        coordinates: (P, axes).
        frequency: (axes, F) in radians per unit of coordinate.
        phase: (F,) in radians.
    """
    return torch.sin(coordinates @ frequency + phase)


def spread_frequencies(n_axes: int, n_features: int, max_cycles: float) -> tuple[Tensor, Tensor]:
    """Return the initial frequency and phase of the feature layer.

    The frequencies are log-spaced from half a cycle to ``max_cycles`` cycles over [-1, 1]. In two and three dimensions
    the directions follow the golden angle, which covers the half circle evenly for any number of features.

    Returns:
        The frequency (n_axes, F) in radians per unit of coordinate, and the phase (F,) in radians.
    """
    index = torch.arange(n_features, dtype=torch.float64)
    radius = math.pi * 0.5 * (2.0 * max_cycles) ** ((index + 0.5) / n_features)
    golden = math.pi * (3.0 - math.sqrt(5.0))
    direction = torch.ones(n_axes, n_features, dtype=torch.float64)
    if n_axes == 2:
        direction = torch.stack([torch.cos(golden * index), torch.sin(golden * index)])
    elif n_axes == 3:
        height = 1.0 - 2.0 * ((index * 0.7548776662466927) % 1.0)
        ring = torch.sqrt(1.0 - height**2)
        direction = torch.stack([ring * torch.cos(golden * index), ring * torch.sin(golden * index), height])
    phase = 2.0 * math.pi * ((index * 0.6180339887498949) % 1.0)
    return (radius * direction).float(), phase.float()


def initial_weights(shape: SirenShape, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the initial flat weight vector and the typical size of each weight, both (n_weights,)."""
    start, size = [], []
    last = len(shape.layers) - 1
    for index, (rows, columns) in enumerate(shape.layers):
        matrix = torch.randn(rows, columns, generator=generator) / math.sqrt(rows - 1)
        if index < last:
            matrix[-1] = torch.rand(columns, generator=generator) * 2.0 - 1.0
        else:
            matrix *= 0.3
            matrix[-1] = 0.5
        start.append(matrix.reshape(-1))
        size.append(torch.full((rows * columns,), 1.0 / math.sqrt(rows - 1)))
    return torch.cat(start), torch.cat(size)


def split_weights(weights: Tensor, shape: SirenShape) -> list[Tensor]:
    """Return weights (S, n_weights) as one matrix (S, rows, columns) per layer, views of the same memory."""
    vectors = weights.split(shape.layer_sizes, dim=1)
    return [vector.view(weights.shape[0], *layer) for vector, layer in zip(vectors, shape.layers, strict=True)]


def siren(features: Tensor, weights: Tensor, shape: SirenShape) -> Tensor:
    """Return the values (S, P, C) of S signals at P points.

    On a CPU, signals are evaluated a few at a time, so that activations stay in the cache from one layer to the next
    (1.5 times faster at 1,024 points and 32 units).

    Args:
        features: (P, F), shared by all signals, or (S, P, F).
        weights: (S, n_weights).
        shape: the shape of the network.
    """
    at_once = max(1, CACHE_BYTES // (4 * features.shape[-2] * max(shape.widths[1:])))
    if weights.shape[0] > at_once and weights.device.type == "cpu":
        groups = weights.split(at_once)
        inputs = [features] * len(groups) if features.ndim == 2 else features.split(at_once)
        return torch.cat([siren(f, w, shape) for f, w in zip(inputs, groups, strict=True)])
    matrices = split_weights(weights, shape)
    first = matrices[0]
    hidden = torch.matmul(features, first[:, :-1]) + first[:, -1:]
    for matrix in matrices[1:]:
        hidden = torch.baddbmm(matrix[:, -1:], torch.sin(hidden), matrix[:, :-1])
    return hidden


def siren_local(
    features: Tensor, mean: Tensor, variance: Tensor, shape: SirenShape, generator: torch.Generator | None
) -> Tensor:
    """Return values (S, P, C) under random weights, by the local reparameterisation trick (arXiv:1506.02557).

    Instead of the weights, every pre-activation is drawn from its Gaussian given the inputs z of its layer, with the
    mean ``z @ mean`` and the variance ``z^2 @ variance``.

    Args:
        features: (P, F), shared by all signals, or (S, P, F).
        mean: (S, n_weights), the mean of the weights.
        variance: (S, n_weights), the variance of the weights, which are independent.
        shape: the shape of the network.
        generator: draws the noise.
    """
    means, variances = split_weights(mean, shape), split_weights(variance, shape)
    hidden = features
    for index, (m, v) in enumerate(zip(means, variances, strict=True)):
        inputs = torch.sin(hidden) if index else hidden
        centre = torch.matmul(inputs, m[:, :-1]) + m[:, -1:]
        spread = torch.matmul(inputs.square(), v[:, :-1]) + v[:, -1:]
        noise = torch.randn(centre.shape, generator=generator, dtype=centre.dtype, device=centre.device)
        hidden = centre + (spread + 1e-16).sqrt() * noise
    return hidden


def shifted_siren(
    first: Tensor, matrices: Sequence[Tensor], biases: Sequence[Tensor], readouts: Sequence[Tensor], shifts: Tensor
) -> Tensor:
    """Return values (S, P, C) of one SIREN with shifts per signal (COIN++, arXiv:2201.12904, section 3.1, eq. 2).

    Args:
        first: (P, W_1), the pre-activations of the first layer, the same for all signals.
        matrices: (W_i, W_i+1) for each following layer.
        biases: (W_i+1,) for each following layer.
        readouts: (W_i, C) for each layer, its contribution to the values.
        shifts: (S, sum of W_i), added before each sine.
    """
    layer_shifts = shifts.split([readout.shape[0] for readout in readouts], dim=-1)
    sine = torch.sin if torch.is_grad_enabled() else torch.sin_
    channels = readouts[0].shape[1]
    wave, values = sine(first + layer_shifts[0][:, None]), None
    for matrix, bias, readout, shift in zip(matrices, biases, readouts[:-1], layer_shifts[1:], strict=True):
        # One product serves the next layer and the values, so the wide first layer is read once.
        product = torch.matmul(wave, torch.cat([matrix, readout], dim=1))
        wave = sine(product[..., :-channels] + (bias + shift)[:, None])
        values = product[..., -channels:] if values is None else values + product[..., -channels:]
    last = torch.matmul(wave, readouts[-1])
    return last if values is None else values + last
