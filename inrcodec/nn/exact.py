"""Convolutional networks in exact integer arithmetic, with the same bits on every machine.

The parameters of an entropy decoder must not depend on floating-point rounding (Balle et al., *Integer networks for
data compression with latent-variable models*, ICLR 2019). Activations and weights are therefore integers. They are
stored in float32 or float64 tensors, so that ordinary matrix products compute with them: while no partial sum leaves
the range in which the type holds every integer (2^24, 2^53), sums are exact in any order, with or without fused
multiply-add, on any number of threads. Every layer checks this when it is built.

Fixed point: an activation is an integer in units of 2^-ACTIVATION_BITS, a weight in units of 2^-WEIGHT_BITS, a bias in
units of their product. After a convolution: add half a unit, shift right, clamp to +-ACTIVATION_LIMIT.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from inrcodec.coding.gaussian import MAX_SCALE, MIN_SCALE, N_SCALES
from inrcodec.errors import FormatError
from inrcodec.nn.strips import in_strips

ACTIVATION_BITS = 13
WEIGHT_BITS = 12
ACTIVATION_LIMIT = 1 << 23
STRIP_NUMBERS = 1 << 19
"""The numbers of patches that are unfolded at once: they fit the cache and bound memory."""
MIN_CHANNELS_BY_TAP, TAP_NUMBERS = 16, 1 << 18
"""The number of channels from which convolutions run tap by tap, and the numbers of a strip in that case."""
# Scale index = (log scale + SCALE_OFFSET) * SCALE_FACTOR >> SCALE_SHIFT, all integers: part of the format.
SCALE_SHIFT = 19
SCALE_OFFSET = round(-math.log(MIN_SCALE) * (1 << ACTIVATION_BITS))
SCALE_FACTOR = round((N_SCALES - 1) / math.log(MAX_SCALE / MIN_SCALE) * (1 << SCALE_SHIFT) / (1 << ACTIVATION_BITS))

EXACT_RANGE = {torch.float32: 1 << 24, torch.float64: 1 << 53}
"""The magnitude up to which a type holds every integer."""


def to_fixed(values: Tensor, bits: int) -> Tensor:
    """Return real values as integers in units of 2^-bits, int64, rounding halves away from zero.

    The rounding is exact for float32 input.
    """
    scaled = values.detach().double() * float(1 << bits)
    return (scaled.sign() * (scaled.abs() + 0.5).floor()).to(torch.int64)


@dataclass(frozen=True)
class ExactConv:
    """Computes a convolution with integer weights and a zero border of half a kernel.

    Attributes:
        weight: (C_out, C_in, rows, columns), integers times 2^-shift in a floating-point type; (C, rows, columns) for a
            depthwise convolution, which treats every channel by itself. The power of two makes the right shift after
            the sum free, and sums as exact as those of integers.
        bias: (C_out,), in the same units and type, plus half a unit of the result for rounding.
        limit: the magnitude to which results are clamped.
        periodic: whether the last axis is a circle instead of having a zero border.
    """

    weight: Tensor
    bias: Tensor
    limit: int
    periodic: bool = False

    @classmethod
    def make(
        cls,
        weight: Tensor,
        bias: Tensor,
        *,
        shift: int = WEIGHT_BITS,
        limit: int = ACTIVATION_LIMIT,
        input_limit: int = ACTIVATION_LIMIT,
        periodic: bool = False,
        dtype: torch.dtype | None = None,
    ) -> ExactConv:
        """Return a convolution in the smallest type that holds every sum.

        Args:
            weight: (C_out, C_in, rows, columns), or (C, rows, columns) for a depthwise convolution, int64.
            bias: (C_out,), int64.
            shift: the right shift after the sum, in bits.
            limit: the magnitude to which results are clamped.
            input_limit: the maximum magnitude of the inputs.
            periodic: whether the last axis is a circle.
            dtype: the type to use instead of the smallest one.

        Raises:
            FormatError: a weight is out of range, or a sum could exceed what the type holds exactly.
        """
        half = 1 << (shift - 1) if shift else 0
        # With this bound, no sum below overflows an int64.
        if weight.numel() and max(float(n.double().abs().max()) for n in (weight, bias)) >= 1 << 50:
            raise FormatError("corrupt model: a weight of an exact network is out of range")
        rows = weight.abs().flatten(1).double().sum(1) * input_limit + bias.abs().double() + half
        max_sum = float(rows.max())
        fitting = [t for t, span in EXACT_RANGE.items() if max_sum < span and dtype in (None, t)]
        if not fitting:
            raise FormatError(f"corrupt model: sums of an exact network reach {max_sum:.3g} and cannot be held exactly")
        unit = 2.0**-shift
        return cls(weight.to(fitting[0]) * unit, (bias + half).to(fitting[0]) * unit, limit, periodic)

    def __call__(self, values: Tensor, *, relu: bool = False) -> Tensor:
        """Return the convolution (N, C_out, H, W) of integers (N, C_in, H, W) within the input limit.

        With ``relu``, negative results become 0.
        """
        rows, columns = self.weight.shape[-2] // 2, self.weight.shape[-1] // 2
        values = values.to(self.weight.dtype)
        if columns and self.periodic:
            values = functional.pad(values, (columns, columns, 0, 0), mode="circular")
            columns = 0
        total = _convolve(values, self.weight, self.bias, rows, columns)
        return total.floor_().clamp_(0 if relu else -self.limit, self.limit)


def _convolve(values: Tensor, weight: Tensor, bias: Tensor, rows: int, columns: int) -> Tensor:
    """Return a convolution computed by matrix products: transforms (Winograd, FFT) would leave the integers."""
    count, _, height, width = values.shape
    if weight.ndim == 3:
        return _convolve_channels(values, weight, bias, rows, columns)
    if weight.shape[2] == weight.shape[3] == 1:
        return _product(weight.flatten(1), values.flatten(2), bias).view(count, -1, height, width)
    if weight.shape[1] >= MIN_CHANNELS_BY_TAP:
        return _convolve_by_tap(values, weight, bias, rows, columns)
    padded = functional.pad(values, (columns, columns, rows, rows))
    out = values.new_empty(count, weight.shape[0], height, padded.shape[3] - weight.shape[3] + 1)
    strip = max(1, STRIP_NUMBERS // (count * out.shape[3] * weight[0].numel()))
    for start in range(0, height, strip):
        stop = min(start + strip, height)
        patches = functional.unfold(padded[:, :, start : stop + 2 * rows], (weight.shape[2], weight.shape[3]))
        products = _product(weight.flatten(1), patches, bias)
        out[:, :, start:stop] = products.view(count, weight.shape[0], stop - start, -1)
    return out


def _product(weight: Tensor, columns: Tensor, bias: Tensor) -> Tensor:
    """Return weight (C_out, C_in) times columns (N, C_in, P), plus the bias (C_out,)."""
    return torch.baddbmm(bias[:, None], weight.expand(len(columns), -1, -1), columns)


def _convolve_channels(values: Tensor, weight: Tensor, bias: Tensor, rows: int, columns: int) -> Tensor:
    """Return a depthwise convolution, as a sum over the taps of the kernel."""
    height = values.shape[2]
    padded = functional.pad(values, (columns, columns, rows, rows))
    width = padded.shape[3] - weight.shape[2] + 1
    total = values.new_empty(*values.shape[:3], width).copy_(bias[:, None, None])
    for r, c in np.ndindex(*weight.shape[1:]):
        total.addcmul_(padded[:, :, r : r + height, c : c + width], weight[:, r, c, None, None])
    return total


def _convolve_by_tap(values: Tensor, weight: Tensor, bias: Tensor, rows: int, columns: int) -> Tensor:
    """Return a convolution computed as a sum over the taps of the kernel.

    Each tap is a matrix product with the flattened image, shifted. Nothing is copied, so with many channels this is
    twice as fast as unfolding patches.
    """
    count, channels, height, _ = values.shape
    # One more row below, so that the run of the last tap ends inside.
    padded = functional.pad(values, (columns, columns, rows, rows + 1))
    line = padded.shape[3]
    width = line - weight.shape[3] + 1
    taps = [(r * line + c, weight[:, :, r, c].contiguous()) for r, c in np.ndindex(*weight.shape[2:])]
    out = values.new_empty(count, weight.shape[0], height, width)
    strip = max(1, TAP_NUMBERS // (channels * line))
    for number in range(count):
        flat = padded[number].reshape(channels, -1)
        for start in range(0, height, strip):
            stop = min(start + strip, height)
            run = (stop - start) * line
            total = values.new_empty(weight.shape[0], run).copy_(bias[:, None])
            for offset, tap in taps:
                first = start * line + offset
                total.addmm_(tap, flat[:, first : first + run])
            out[number, :, start:stop] = total.view(-1, stop - start, line)[:, :, :width]
    return out


def between_anchors(table: Tensor, place: int, unit_bits: int) -> Tensor:
    """Return the linear interpolation (n,) between the rows of a table, rounding halves up.

    Args:
        table: (A, n), int64.
        place: the position in units of 2^-unit_bits rows, 0 to (A - 1) 2^unit_bits.
        unit_bits: the bits after the binary point of ``place``.
    """
    unit = 1 << unit_bits
    anchor = min(place // unit, table.shape[0] - 2)
    offset = place - anchor * unit
    return (table[anchor] * (unit - offset) + table[anchor + 1] * offset + unit // 2) >> unit_bits


def scale_indices(log_scale: Tensor) -> Tensor:
    """Return the scale indices of ``coding.gaussian``, int64, for log scales of any shape in units of 2^-13."""

    def indices(log_scales: Tensor) -> Tensor:
        scaled = (log_scales.to(torch.int64) + SCALE_OFFSET) * SCALE_FACTOR + (1 << (SCALE_SHIFT - 1))
        return (scaled >> SCALE_SHIFT).clamp_(0, N_SCALES - 1)

    return in_strips(indices, log_scale, halo=0) if log_scale.ndim == 4 else indices(log_scale)
