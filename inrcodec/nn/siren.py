"""SIREN layers as pure functions of weights and inputs (Sitzmann et al., NeurIPS 2020).

A network is described by its layer widths; its weights are one flat vector per signal, cut here into matrices. Every
layer carries its bias as the last row of its matrix. Shapes: S signals, P points, F input features, C channels.

The input features ``sin(x W + b)`` are the first SIREN layer. They belong to the prior and are equal for all signals,
so they are computed once however many signals are evaluated; the factor w0 of the paper is part of W, whose columns
are spread over the frequencies that the grid can carry.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

CACHE_BYTES = 1 << 21
"""Size of one layer's activations that is worked on at once."""


@dataclass(frozen=True)
class SirenShape:
    """Widths of the per-signal layers: ``widths[0]`` input features, ``widths[-1]`` channels, hidden ones between."""

    widths: tuple[int, ...]

    @property
    def layers(self) -> list[tuple[int, int]]:
        """(rows, columns) of each layer's matrix, the bias row included."""
        return [(n_in + 1, n_out) for n_in, n_out in zip(self.widths[:-1], self.widths[1:], strict=True)]

    @property
    def layer_sizes(self) -> list[int]:
        """Number of weights of each layer."""
        return [rows * columns for rows, columns in self.layers]

    @property
    def n_weights(self) -> int:
        """Number of weights of one signal."""
        return sum(self.layer_sizes)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds per point."""
        return sum((rows - 1) * columns for rows, columns in self.layers)


def input_features(coordinates: Tensor, frequency: Tensor, phase: Tensor) -> Tensor:
    """First SIREN layer, shared by all signals: (P, axes) coordinates to (P, F) features."""
    return torch.sin(coordinates @ frequency + phase)


def spread_frequencies(n_axes: int, n_features: int, max_cycles: float) -> tuple[Tensor, Tensor]:
    """Start of the feature layer: frequencies log-spaced from a half cycle to ``max_cycles`` over [-1, 1].

    In several dimensions the directions follow the golden angle, which fills the half circle evenly at any number of
    features. Returns frequency (n_axes, F) in radians per unit of coordinate, and phase (F,).
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
    """Start of the flat weight vector and the typical size of each weight, both (n_weights,)."""
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
    """Cut (S, n_weights) into matrices (S, rows, columns), views of the same memory."""
    parts = weights.split(shape.layer_sizes, dim=1)
    return [part.view(weights.shape[0], *layer) for part, layer in zip(parts, shape.layers, strict=True)]


def siren(features: Tensor, weights: Tensor, shape: SirenShape) -> Tensor:
    """Values (S, P, C) of S signals at P points.

    ``features`` is (P, F), shared by all signals, or (S, P, F), each signal its own (as latent features are);
    ``weights`` is (S, n_weights). On a processor many signals are evaluated a few at a time, so that the activations
    stay in the cache between one layer and the next (1.5 times faster at 1,024 points and 32 units).
    """
    at_once = max(1, CACHE_BYTES // (4 * features.shape[-2] * max(shape.widths[1:])))
    if weights.shape[0] > at_once and weights.device.type == "cpu":
        parts = weights.split(at_once)
        inputs = [features] * len(parts) if features.ndim == 2 else features.split(at_once)
        return torch.cat([siren(f, w, shape) for f, w in zip(inputs, parts, strict=True)])
    matrices = split_weights(weights, shape)
    first = matrices[0]
    hidden = torch.matmul(features, first[:, :-1]) + first[:, -1:]
    for matrix in matrices[1:]:
        hidden = torch.baddbmm(matrix[:, -1:], torch.sin(hidden), matrix[:, :-1])
    return hidden


def siren_local(
    features: Tensor, mean: Tensor, variance: Tensor, shape: SirenShape, generator: torch.Generator | None
) -> Tensor:
    """Values (S, P, C) with weights drawn by the local reparameterisation trick (Kingma et al., 2015).

    Instead of one draw of the weights per signal, every pre-activation is drawn from its Gaussian given its inputs:
    mean ``z @ mean`` and variance ``z^2 @ variance``. ``mean`` and ``variance`` are (S, n_weights), the variance of a
    factorised posterior.
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
    """Values (S, P, C) of S signals by one SIREN whose layers are shifted for each (COIN++, section 3.1, eq. 2).

    ``first`` (P, W_1): pre-activations of the first layer, the same for all signals; ``matrices`` (W_i, W_i+1) and
    ``biases`` (W_i+1,) of the following ones; ``readouts`` (W_i, C): what every layer adds to the values; ``shifts``
    (S, sum of W_i), added before each sine.
    """
    parts = shifts.split([readout.shape[0] for readout in readouts], dim=-1)
    sine = torch.sin if torch.is_grad_enabled() else torch.sin_
    channels = readouts[0].shape[1]
    wave, values = sine(first + parts[0][:, None]), None
    for matrix, bias, readout, shift in zip(matrices, biases, readouts[:-1], parts[1:], strict=True):
        # One product for the next layer and the values: the wide first layer is read once.
        both = torch.matmul(wave, torch.cat([matrix, readout], dim=1))
        wave = sine(both[..., :-channels] + (bias + shift)[:, None])
        values = both[..., -channels:] if values is None else values + both[..., -channels:]
    last = torch.matmul(wave, readouts[-1])
    return last if values is None else values + last
