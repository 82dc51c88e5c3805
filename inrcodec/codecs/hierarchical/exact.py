"""The hierarchical model's way down in exact integers: what sender and receiver compute alike on every machine.

Numbers are fixed point with the units of ``nn.exact``. A *quality* is the place on the table of rate anchors
in units of 1/256 anchor; it is what a file carries of log(lambda).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from inrcodec.codecs.hierarchical.config import HierarchicalConfig, block_names
from inrcodec.codecs.hierarchical.model import HierarchicalINR
from inrcodec.nn.exact import ACTIVATION_BITS, ACTIVATION_LIMIT, WEIGHT_BITS, ExactConv, between_anchors, to_fixed
from inrcodec.nn.strips import in_strips, narrow_integers

QUALITY_BITS = 8
BIAS_BITS = ACTIVATION_BITS + WEIGHT_BITS
WEIGHT_LIMIT = (1 << 15) - 1
TARGET_ROW_SUM = round(0.98 * (1 << 19))
"""What the magnitudes of a row of weights sum to at most where that is to be had: decoders in 32-bit integers (the
viewer's) hold no more than 2^19."""
RESIDUAL_BITS = 8
"""Residuals of latents are in units of 2^-8 posterior steps."""


def max_quality(config: HierarchicalConfig) -> int:
    """Largest quality."""
    return (config.n_anchors - 1) << QUALITY_BITS


def quality_of(config: HierarchicalConfig, log_lambda: float) -> int:
    """Nearest quality of a log lambda."""
    low, high = config.log_lambdas
    place = (log_lambda - low) / (high - low) * max_quality(config)
    return min(max(round(place), 0), max_quality(config))


def log_lambda_of(config: HierarchicalConfig, quality: int) -> float:
    """The log lambda that a quality stands for."""
    low, high = config.log_lambdas
    return low + (high - low) * quality / max_quality(config)


DOWNWARD = ("up", "down", "prior_in", "prior_out", "latent_in")
"""First words of the names of the convolutions on the way down."""


@dataclass(frozen=True)
class ExactTables:
    """The integers that a prior file holds: convolution weights and bias tables by name, steps by latent block.

    ``weights``: int64 (C_out, C_in, rows, columns) in units of 2^-12, magnitudes below 2^15. ``biases``: (A, C_out) in
    2^-25. ``steps``: (A, c) in 2^-13, positive. ``first``: (C,) in 2^-13.
    """

    weights: dict[str, Tensor]
    biases: dict[str, Tensor]
    steps: dict[str, Tensor]
    first: Tensor

    @classmethod
    def from_model(cls, model: HierarchicalINR) -> ExactTables:
        """Rounded from a trained model."""
        real = {
            name: (conv.weight.detach().clone(), conv.bias.detach().clone())
            for name, conv in model.named_convs()
            if name.split(".")[0] in DOWNWARD
        }
        _lessen_rows(real)
        weights, biases = {}, {}
        for name, (weight, bias) in real.items():
            weights[name] = to_fixed(weight, WEIGHT_BITS).clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT)
            biases[name] = to_fixed(bias, BIAS_BITS).clamp(-(1 << 31) + 1, (1 << 31) - 1)
        steps = {
            name: to_fixed(model.log_step(name).exp(), ACTIVATION_BITS).clamp_min(1)
            for name in block_names(model.config)
        }
        return cls(weights, biases, steps, to_fixed(model.first, ACTIVATION_BITS))

    def put_into(self, model: HierarchicalINR) -> None:
        """Give a model the values that the integers stand for."""
        with torch.no_grad():
            for name, weight in self.weights.items():
                conv = model.conv(name)
                conv.weight.copy_(weight.double() / (1 << WEIGHT_BITS))
                conv.bias.copy_(self.biases[name].double() / (1 << BIAS_BITS))
            for name, step in self.steps.items():
                model.log_step(name).copy_((step.double() / (1 << ACTIVATION_BITS)).log())
            model.first.copy_(self.first.double() / (1 << ACTIVATION_BITS))


def _lessen_rows(real: dict[str, tuple[Tensor, Tensor]]) -> None:
    """Make hidden units whose weights (C_out, C_in, rows, columns) are too large, alone or all together, smaller, and
    what reads them larger by the same factor: behind a ReLU that is the same function."""
    for name, (weight, bias) in real.items():
        if name.startswith("prior_in"):
            reader = name.replace("prior_in", "prior_out")
        elif name.endswith(".in"):
            reader = name.removesuffix(".in") + ".out"
        else:
            continue
        sizes = weight.abs().flatten(1) * (1 << WEIGHT_BITS)
        excess = torch.maximum(sizes.sum(1) / TARGET_ROW_SUM, sizes.amax(1) / WEIGHT_LIMIT).clamp_min(1.0)
        weight.div_(excess[:, None, None, None])
        bias.div_(excess)
        real[reader][0].mul_(excess[:, None, None])


class ExactLayers:
    """``codecs.hierarchical.model.Layers`` in integers, at one quality."""

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
        """The learned constant everywhere."""
        return self._first[None, :, None, None].repeat(count, 1, height, width)

    def conv(self, name: str, values: Tensor) -> Tensor:
        """Convolution in integers."""
        # Sums of two activations stay below twice the limit; the clamp brings them back into the checked range.
        return self._convs[name](values.clamp(-ACTIVATION_LIMIT, ACTIVATION_LIMIT))

    def relu(self, values: Tensor) -> Tensor:
        """max(0, values)."""
        return values.clamp_min(0)

    def local(self, function: Callable[..., Tensor], values: Tensor, *others: Tensor, halo: int) -> Tensor:
        """Strip by strip, in float32 in between where that holds the integers."""
        return in_strips(lambda *parts: narrow_integers(function(*parts)), values, *others, halo=halo, overwrite=True)

    def step(self, name: str) -> Tensor:
        """Posterior steps (c, 1, 1) of a latent block in units of 2^-13."""
        return self._steps[name][:, None, None]


def to_floats(h: Tensor) -> Tensor:
    """Features in floating point, float32; ``h`` is used up."""
    return h.float().mul_(2.0**-ACTIVATION_BITS)


def place_latents(layers: ExactLayers, name: str, prior: Tensor, residual: Tensor) -> Tensor:
    """Latents of a block: prior mean plus residual (in 2^-8 steps) times step, clamped to the activations' range; the
    means are used up."""
    step = layers.step(name) * 2.0**-RESIDUAL_BITS

    def moved(mean: Tensor, residual: Tensor) -> Tensor:
        shift = (residual.double() * step + 0.5).floor_()
        return (mean + shift).clamp_(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)

    return layers.local(moved, prior.chunk(2, dim=1)[0], residual, halo=0)
