"""Round the weights of a trained model so that what its maps compute changes least.

A weight is rounded to a multiple of a power of two of its row (``packed_weights``). Instead of each to the nearest
multiple, the weights of a row are rounded one after the other, and the error of each is made up for by those that
follow, as far as their inputs are correlated. The biases make up for the mean of what is left.

Source: Frantar et al., *GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers*
(arXiv 2210.17323), section 3.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from inrcodec.codecs.hierarchical.exact import DOWNWARD, rescale_rows
from inrcodec.codecs.hierarchical.model import HierarchicalINR
from inrcodec.codecs.hierarchical.rate_conv import RateConv
from inrcodec.codecs.packed_weights import row_units
from inrcodec.nn.exact import WEIGHT_BITS

DAMPING = 1e-3
"""Added to the variance of every input, as a fraction of the mean variance."""


class _Inputs:
    """Sums the inputs of a map and their products."""

    def __init__(self) -> None:
        self.count, self.total, self.products = 0, torch.zeros(()), torch.zeros(())

    def add(self, values: Tensor) -> None:
        rows = values.detach().permute(0, 2, 3, 1).flatten(0, 2).double()
        self.count += len(rows)
        self.total = self.total + rows.sum(dim=0)
        self.products = self.products + rows.T @ rows

    @property
    def mean(self) -> Tensor:
        return self.total / self.count

    @property
    def covariance(self) -> Tensor:
        return self.products / self.count - torch.outer(self.mean, self.mean)


@torch.no_grad()
def round_weights(model: HierarchicalINR, run: Callable[[], object]) -> None:
    """Round the weights of all maps between channels of a model with depthwise blocks, in place.

    Args:
        model: the model.
        run: runs the model on training signals at all rates; its inputs are what the rounding is calibrated on.
    """
    rescale_rows(model)
    convs = {name: conv for name, conv in model.named_convs() if conv.groups == 1}
    inputs = {name: _Inputs() for name in convs}
    hooks = [conv.register_forward_pre_hook(_watch(inputs[name])) for name, conv in convs.items()]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    for name, conv in convs.items():
        down = name.split(".")[0] in DOWNWARD
        _round(conv, inputs[name], 2.0**-WEIGHT_BITS if down else 0.0)


def _watch(inputs: _Inputs) -> Callable[[torch.nn.Module, tuple[Tensor, ...]], None]:
    return lambda module, arguments: inputs.add(arguments[0])


def _round(conv: RateConv, inputs: _Inputs, min_unit: float) -> None:
    weight = conv.weight.flatten(1).double()
    unit = row_units(weight, min_unit)
    if inputs.count == 0:
        rounded = (weight / unit[:, None]).round() * unit[:, None]
    else:
        covariance = inputs.covariance
        rounded = rounded_in_turn(weight, covariance, unit)
        conv.bias.add_(((weight - rounded) @ inputs.mean).to(conv.bias))
    conv.weight.copy_(rounded.view(conv.weight.shape))


def rounded_in_turn(weight: Tensor, covariance: Tensor, unit: Tensor) -> Tensor:
    """Return weights (rows, inputs) rounded to multiples of ``unit`` (rows,), each error made up for by later weights.

    Args:
        weight: float64.
        covariance: covariance (inputs, inputs) of the inputs.
        unit: the power of two of each row.
    """
    variance = covariance.diagonal()
    damped = covariance + torch.diag(DAMPING * variance.mean().clamp_min(1e-12).expand(len(variance)))
    factor = torch.linalg.cholesky(torch.linalg.inv(damped), upper=True)
    remaining, out = weight.clone(), torch.empty_like(weight)
    for column in range(weight.shape[1]):
        out[:, column] = (remaining[:, column] / unit).round() * unit
        error = (remaining[:, column] - out[:, column]) / factor[column, column]
        remaining[:, column + 1 :] -= torch.outer(error, factor[column, column + 1 :])
    return out
