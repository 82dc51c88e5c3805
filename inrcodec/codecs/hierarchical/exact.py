"""The top-down path of the hierarchical model in exact integers, which every machine computes alike.

Numbers are fixed-point with the units of ``nn.exact``: 2^-13 for activations, 2^-12 for weights. A *quality* is a
position in the table of rate anchors, in units of 1/256 anchor; a file stores it in place of log(lambda).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from inrcodec.codecs.hierarchical.config import HierarchicalConfig, block_names
from inrcodec.codecs.hierarchical.model import HierarchicalINR
from inrcodec.codecs.packed_weights import row_units
from inrcodec.nn.exact import ACTIVATION_BITS, ACTIVATION_LIMIT, WEIGHT_BITS, ExactConv, between_anchors, to_fixed
from inrcodec.nn.strips import in_strips, narrow_integers

QUALITY_BITS = 8
"""Qualities are in units of 2^-8 anchor."""
BIAS_BITS = ACTIVATION_BITS + WEIGHT_BITS
"""Biases are in units of 2^-25, as the products of weights and activations."""
WEIGHT_LIMIT = (1 << 15) - 1
"""Max magnitude of a weight."""
TARGET_WEIGHT = round(0.98 * WEIGHT_LIMIT)
"""Where rescaling allows it, magnitudes of weights are at most this, so that rounding does not exceed the limit."""
TARGET_ROW_SUM = round(0.98 * (1 << 19))
"""The magnitudes of a row of weights sum to at most this where rescaling allows it: decoders in 32-bit integers (the
viewer's) can hold no more than 2^19."""
RESIDUAL_BITS = 8
"""Residuals of latents are in units of 2^-8 posterior step sizes."""


def max_quality(config: HierarchicalConfig) -> int:
    """Return the max quality; the min is 0."""
    return (config.n_anchors - 1) << QUALITY_BITS


def quality_of(config: HierarchicalConfig, log_lambda: float) -> int:
    """Return the quality nearest to ``log_lambda``."""
    low, high = config.log_lambdas
    place = (log_lambda - low) / (high - low) * max_quality(config)
    return min(max(round(place), 0), max_quality(config))


def log_lambda_of(config: HierarchicalConfig, quality: int) -> float:
    """Return the log(lambda) that a quality stands for."""
    low, high = config.log_lambdas
    return low + (high - low) * quality / max_quality(config)


DOWNWARD = ("up", "down", "prior_in", "prior_out", "latent_in", "out")
"""Names of the top-down convolutions begin with one of these."""


@dataclass(frozen=True)
class ExactTables:
    """The integers of a prior file; all are int64.

    Attributes:
        weights: by convolution, (C_out, C_in, rows, columns) in units of 2^-12, magnitudes below 2^15; (C, rows,
            columns) for depthwise convolutions.
        biases: by convolution, tables (A, C_out) over anchors in units of 2^-25.
        steps: by latent block, tables (A, c) of posterior step sizes in units of 2^-13, positive.
        first: the features (C,) before anything is decoded, in units of 2^-13.
    """

    weights: dict[str, Tensor]
    biases: dict[str, Tensor]
    steps: dict[str, Tensor]
    first: Tensor

    @classmethod
    def from_model(cls, model: HierarchicalINR) -> ExactTables:
        """Return the tables of a trained model, rounded."""
        unrounded = _rescaled(model)
        weights, biases = {}, {}
        for name, (weight, bias) in unrounded.items():
            fixed = to_fixed(weight, WEIGHT_BITS).clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT)
            if model.config.pointwise and model.conv(name).groups == 1:
                fixed = _rounded_rows(fixed)
            weights[name] = fixed
            biases[name] = to_fixed(bias, BIAS_BITS).clamp(-(1 << 31) + 1, (1 << 31) - 1)
        steps = {
            name: to_fixed(model.log_step(name).exp(), ACTIVATION_BITS).clamp_min(1)
            for name in block_names(model.config)
        }
        return cls(weights, biases, steps, to_fixed(model.first, ACTIVATION_BITS))

    def put_into(self, model: HierarchicalINR) -> None:
        """Set a model's parameters to the values that the integers stand for."""
        with torch.no_grad():
            for name, weight in self.weights.items():
                conv = model.conv(name)
                conv.weight.copy_(weight.double() / (1 << WEIGHT_BITS))
                conv.bias.copy_(self.biases[name].double() / (1 << BIAS_BITS))
            for name, step in self.steps.items():
                model.log_step(name).copy_((step.double() / (1 << ACTIVATION_BITS)).log())
            model.first.copy_(self.first.double() / (1 << ACTIVATION_BITS))


def _rounded_rows(weight: Tensor) -> Tensor:
    """Return integers rounded to the multiples that a file of packed weights holds, within the limit."""
    unit = row_units(weight, min_unit=1.0).view(-1, *[1] * (weight.ndim - 1))
    most = (WEIGHT_LIMIT / unit).floor()
    return ((weight / unit).round().clamp(-most, most) * unit).long()


def rescale_rows(model: HierarchicalINR) -> None:
    """Scale down the hidden units of a model whose weights exceed the limits of integers; its function stays the same.

    The weights that read these units, which pass through a ReLU, are scaled up by the same factor.
    """
    with torch.no_grad():
        for name, (weight, bias) in _rescaled(model).items():
            model.conv(name).weight.copy_(weight)
            model.conv(name).bias.copy_(bias)


def _rescaled(model: HierarchicalINR) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the weights and biases of the top-down convolutions, rescaled as ``rescale_rows`` does."""
    out = {
        name: (conv.weight.detach().clone(), conv.bias.detach().clone())
        for name, conv in model.named_convs()
        if name.split(".")[0] in DOWNWARD
    }
    for name, (weight, bias) in out.items():
        if name.startswith("prior_in"):
            reader = name.replace("prior_in", "prior_out")
        elif name.endswith(".in"):
            reader = name.removesuffix(".in") + ".out"
        else:
            continue
        sizes = weight.abs().flatten(1) * (1 << WEIGHT_BITS)
        excess = torch.maximum(sizes.sum(1) / TARGET_ROW_SUM, sizes.amax(1) / TARGET_WEIGHT).clamp_min(1.0)
        weight.div_(excess[:, None, None, None])
        bias.div_(excess)
        out[reader][0].mul_(excess[:, None, None])
    return out


class ExactLayers:
    """``codecs.hierarchical.model.Layers`` in exact integers, at one quality."""

    def __init__(self, config: HierarchicalConfig, tables: ExactTables, quality: int) -> None:
        self.config, self.quality = config, quality
        self._first = tables.first.double()
        self._convs = {
            name: ExactConv.make(
                weight, between_anchors(tables.biases[name], quality, QUALITY_BITS), periodic=config.periodic
            )
            for name, weight in tables.weights.items()
        }
        self._steps = {
            name: between_anchors(step, quality, QUALITY_BITS).double() for name, step in tables.steps.items()
        }

    def start(self, count: int, height: int, width: int) -> Tensor:
        """Return the learned constant at every place."""
        return self._first[None, :, None, None].repeat(count, 1, height, width)

    def conv(self, name: str, values: Tensor) -> Tensor:
        """Convolve in integers."""
        # A sum of two activations can reach twice the limit; the clamp brings it back into the checked range.
        return self._convs[name](values.clamp(-ACTIVATION_LIMIT, ACTIVATION_LIMIT))

    def conv_relu_conv(self, first: str, second: str, values: Tensor) -> Tensor:
        """Convolve twice in integers."""
        return self._convs[second](self._convs[first](values.clamp(-ACTIVATION_LIMIT, ACTIVATION_LIMIT), relu=True))

    def local(self, function: Callable[..., Tensor], values: Tensor, *others: Tensor, halo: int) -> Tensor:
        """Return ``function`` of the arrays, strip by strip, in float32 where that holds the integers."""
        return in_strips(lambda *strips: narrow_integers(function(*strips)), values, *others, halo=halo, overwrite=True)

    def step(self, name: str) -> Tensor:
        """Return the posterior step sizes (c, 1, 1) of a latent block in units of 2^-13."""
        return self._steps[name][:, None, None]


def to_floats(h: Tensor) -> Tensor:
    """Return integer features in float32; ``h`` may be overwritten."""
    return h.float().mul_(2.0**-ACTIVATION_BITS)


def place_latents(layers: ExactLayers, name: str, prior: Tensor, residual: Tensor) -> Tensor:
    """Return the latents of a block: prior mean plus residual times step size, clamped to the range of activations.

    Args:
        layers: the layers, which know the step sizes.
        name: the latent block.
        prior: prior parameters (N, 2c, h, w); the means may be overwritten.
        residual: (N, c, h, w), in units of 2^-8 step sizes.
    """
    step = layers.step(name) * 2.0**-RESIDUAL_BITS

    def shift_mean(mean: Tensor, residual: Tensor) -> Tensor:
        shift = (residual.double() * step + 0.5).floor_()
        return (mean + shift).clamp_(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)

    return layers.local(shift_mean, prior.chunk(2, dim=1)[0], residual, halo=0)
