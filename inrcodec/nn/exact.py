"""Convolutional networks in exact integer arithmetic: the same bits on every machine.

What steers an entropy decoder may not come out of floating-point rounding (Balle et al., ICLR 2019). Here activations
and weights are integers, carried in float64 or float32 tensors so that ordinary matrix products do the work: as long
as no partial sum can leave the range in which the type holds every integer (2^53, 2^24), sums are exact in any order,
with or without fused multiply-add, on any number of threads. That is checked for every layer when it is made.

Fixed point: an activation is an integer in units of 2^-ACTIVATION_BITS, a weight in units of 2^-WEIGHT_BITS, a bias in
units of both together. After a convolution: add half a unit, shift right, clamp to +-ACTIVATION_LIMIT.
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
"""Numbers of patches at once: what the cache holds, and a bound on memory."""
MIN_CHANNELS_BY_TAP, TAP_NUMBERS = 16, 1 << 18
# Scale index = (log scale + SCALE_OFFSET) * SCALE_FACTOR >> SCALE_SHIFT, all integers: part of the format.
SCALE_SHIFT = 19
SCALE_OFFSET = round(-math.log(MIN_SCALE) * (1 << ACTIVATION_BITS))
SCALE_FACTOR = round((N_SCALES - 1) / math.log(MAX_SCALE / MIN_SCALE) * (1 << SCALE_SHIFT) / (1 << ACTIVATION_BITS))

EXACT_RANGE = {torch.float32: 1 << 24, torch.float64: 1 << 53}


def to_fixed(values: Tensor, bits: int) -> Tensor:
    """Real values to integers in units of 2^-bits, int64; exact for float32 input, halves away from zero."""
    scaled = values.detach().double() * float(1 << bits)
    return (scaled.sign() * (scaled.abs() + 0.5).floor()).to(torch.int64)


@dataclass(frozen=True)
class ExactConv:
    """One convolution: ``weight`` (C_out, C_in, rows, columns), ``bias`` (C_out,), integers in a floating type.

    Zero border of half a kernel; with ``periodic`` the last axis is a circle.
    """

    weight: Tensor
    bias: Tensor
    shift: int
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
        """From int64 weights and biases; the smallest type that holds every sum is chosen unless ``dtype`` is given.

        Raises FormatError when inputs up to ``input_limit`` could lead to a sum that float64 does not hold.
        """
        half = 1 << (shift - 1) if shift else 0
        # Sums of 23 bit numbers over at most a few thousand inputs: far below 2^63.
        if weight.numel() and max(float(n.double().abs().max()) for n in (weight, bias)) >= 1 << 50:
            raise FormatError("a weight of an exact network is out of range")
        rows = weight.abs().flatten(1).double().sum(1) * input_limit + bias.abs().double() + half
        largest = float(rows.max())
        fitting = [t for t, span in EXACT_RANGE.items() if largest < span and dtype in (None, t)]
        if not fitting:
            raise FormatError(f"sums of an exact network reach {largest:.3g}, more than can be held exactly")
        return cls(weight.to(fitting[0]), (bias + half).to(fitting[0]), shift, limit, periodic)

    def __call__(self, values: Tensor) -> Tensor:
        """(N, C_in, H, W) integers, none above the input limit, to (N, C_out, H, W)."""
        rows, columns = self.weight.shape[2] // 2, self.weight.shape[3] // 2
        values = values.to(self.weight.dtype)
        if columns and self.periodic:
            values = functional.pad(values, (columns, columns, 0, 0), mode="circular")
            columns = 0
        total = _convolve(values, self.weight, rows, columns) + self.bias[:, None, None]
        return (total * 2.0**-self.shift).floor_().clamp_(-self.limit, self.limit)


def _convolve(values: Tensor, weight: Tensor, rows: int, columns: int) -> Tensor:
    """Convolution by matrix products alone: no transform (Winograd, FFT) that leaves the integers."""
    count, _, height, width = values.shape
    if weight.shape[2] == weight.shape[3] == 1:
        return torch.matmul(weight.flatten(1), values.flatten(2)).view(count, -1, height, width)
    if weight.shape[1] >= MIN_CHANNELS_BY_TAP:
        return _convolve_by_tap(values, weight, rows, columns)
    padded = functional.pad(values, (columns, columns, rows, rows))
    out = values.new_empty(count, weight.shape[0], height, padded.shape[3] - weight.shape[3] + 1)
    strip = max(1, STRIP_NUMBERS // (count * out.shape[3] * weight[0].numel()))
    for start in range(0, height, strip):
        stop = min(start + strip, height)
        patches = functional.unfold(padded[:, :, start : stop + 2 * rows], (weight.shape[2], weight.shape[3]))
        found = torch.matmul(weight.flatten(1), patches)
        out[:, :, start:stop] = found.view(count, weight.shape[0], stop - start, -1)
    return out


def _convolve_by_tap(values: Tensor, weight: Tensor, rows: int, columns: int) -> Tensor:
    """As a sum over the places of the kernel, each a matrix product with the picture moved along its rows, end to end:
    nothing is copied, which is twice as fast as patches where there are many channels."""
    count, channels, height, _ = values.shape
    # One more row below, so that the last place's run of points ends inside.
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
            total = torch.zeros(weight.shape[0], run, dtype=values.dtype)
            for offset, tap in taps:
                first = start * line + offset
                total.addmm_(tap, flat[:, first : first + run])
            out[number, :, start:stop] = total.view(-1, stop - start, line)[:, :, :width]
    return out


def between_anchors(table: Tensor, place: int, unit_bits: int) -> Tensor:
    """Row of an int64 table (A, n) at ``place`` in units of 2^-unit_bits rows, linear in between, halves upwards."""
    unit = 1 << unit_bits
    anchor, part = min(place // unit, table.shape[0] - 2), place
    part = place - anchor * unit
    return (table[anchor] * (unit - part) + table[anchor + 1] * part + unit // 2) >> unit_bits


def scale_indices(log_scale: Tensor) -> Tensor:
    """Rows of the tables of ``coding.gaussian`` for log scales (any shape) in units of 2^-13, int64."""

    def indices(part: Tensor) -> Tensor:
        scaled = (part.to(torch.int64) + SCALE_OFFSET) * SCALE_FACTOR + (1 << (SCALE_SHIFT - 1))
        return (scaled >> SCALE_SHIFT).clamp_(0, N_SCALES - 1)

    return in_strips(indices, log_scale, halo=0) if log_scale.ndim == 4 else indices(log_scale)
