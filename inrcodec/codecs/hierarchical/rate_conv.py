"""Convolutions whose biases are tables over rates, of which the hierarchical model is made."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from inrcodec.codecs.hierarchical.config import HierarchicalConfig


def random_normal(*shape: int, scale: float = 1.0) -> Tensor:
    """Return normal random numbers of standard deviation ``scale``.

    On the device "meta", where a network is built for its shapes alone, nothing is drawn: a single arithmetic operation
    there makes torch load its compiler, which takes half a second.
    """
    out = torch.empty(*shape)
    return out if out.is_meta else out.normal_().mul_(scale)


class RateConv(nn.Module):
    """A convolution, 3x3 (1x3 for one axis) or 1x1, whose bias is a table (A, C_out) over rate anchors.

    Args:
        n_in: channels of the input.
        n_out: channels of the output.
        kernel: 3 or 1.
        config: the configuration of the model.
        gain: factor of the initial weights, which are random.
        depthwise: convolve every channel by itself, initially the identity; the weights are (C, rows, columns) then.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel: int,
        config: HierarchicalConfig,
        gain: float = 1.0,
        *,
        depthwise: bool = False,
    ) -> None:
        super().__init__()
        rows = kernel if config.axes == 2 else 1
        self.kernel, self.periodic, self.groups = (rows, kernel), config.periodic, n_in if depthwise else 1
        if depthwise:
            self.weight = nn.Parameter(torch.zeros(n_out, rows, kernel))
            if not self.weight.is_meta:
                self.weight.data[:, rows // 2, kernel // 2] = 1.0
        else:
            bound = gain * math.sqrt(2.0 / (n_in * rows * kernel))
            self.weight = nn.Parameter(random_normal(n_out, n_in, rows, kernel, scale=bound))
        self.bias = nn.Parameter(torch.zeros(config.n_anchors, n_out))

    def forward(self, values: Tensor, rate: Tensor) -> Tensor:
        """Convolve values (N, C_in, H, W) of signals with anchor weights ``rate`` (N, A)."""
        bias = (rate @ self.bias).to(values.dtype)
        if self.kernel == (1, 1) and not torch.is_grad_enabled():
            return _product(values, self.weight.flatten(1), bias)
        weight = self.weight if self.groups == 1 else self.weight[:, None]
        if len(bias) == 1:
            return functional.conv2d(*self.padded(values), weight, bias[0], groups=self.groups)
        out = functional.conv2d(*self.padded(values), weight, groups=self.groups)
        return out + bias[:, :, None, None]

    def padded(self, values: Tensor) -> tuple[Tensor]:
        """Return the values with the border of ``pad_border``, so that the convolution keeps their size."""
        return (pad_border(values, self.kernel, self.periodic),)


def _product(values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the convolution of values (N, C_in, H, W) with a 1x1 kernel (C_out, C_in), plus the bias (N, C_out).

    As a matrix product it takes half as long as torch's convolution on one thread.
    """
    if values.is_contiguous(memory_format=torch.channels_last):
        out = functional.linear(values.permute(0, 2, 3, 1), weight).permute(0, 3, 1, 2)
    else:
        out = torch.matmul(weight, values.flatten(2)).view(len(values), -1, *values.shape[2:])
    return out.add_(bias[:, :, None, None])


def pad_border(values: Tensor, kernel: tuple[int, int], periodic: bool) -> Tensor:
    """Add a border of half a kernel: zeros, or the values of the other end where the last axis is a circle."""
    rows, columns = kernel[0] // 2, kernel[1] // 2
    if columns and periodic:
        values = functional.pad(values, (columns, columns, 0, 0), mode="circular")
        columns = 0
    return functional.pad(values, (columns, columns, rows, rows)) if rows or columns else values


def rate_weights(config: HierarchicalConfig, log_lambda: Tensor) -> Tensor:
    """Return the anchor weights (N, A) of log(lambda) (N,): linear between neighbours, clamped to the range."""
    low, high = config.log_lambdas
    place = ((log_lambda - low) / (high - low)).clamp(0.0, 1.0) * (config.n_anchors - 1)
    anchors = torch.arange(config.n_anchors, device=log_lambda.device)
    return (1.0 - (place[:, None] - anchors).abs()).clamp_min(0.0)
