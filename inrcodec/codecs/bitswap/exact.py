"""Lossless models in exact integers, which every machine computes alike.

Numbers are fixed-point with the units of ``nn.exact``. The posteriors are exact too, because a decoder pushes the
latents back under them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from inrcodec.codecs.bitswap.config import BitSwapConfig, conv_shapes
from inrcodec.codecs.bitswap.model import LATENT_LIMIT, MEAN_GAIN, POSTERIOR_LOG_SCALES, PRIOR_LOG_SCALES, BitSwapModel
from inrcodec.errors import FormatError
from inrcodec.nn.exact import ACTIVATION_BITS, ACTIVATION_LIMIT, WEIGHT_BITS, ExactConv, to_fixed

BIAS_BITS = ACTIVATION_BITS + WEIGHT_BITS
WEIGHT_LIMIT = (1 << 15) - 1
"""Max magnitude of a weight."""
BIAS_LIMIT = (1 << 31) - 1
"""Max magnitude of a bias."""


@dataclass(frozen=True)
class ExactTables:
    """The integers of a prior file; all are int64.

    Attributes:
        weights: by convolution, (C_out, C_in, rows, columns) in units of 2^-12, magnitudes below 2^15.
        biases: by convolution, (C_out,) in units of 2^-25.
        top: parameters (2 C,) of the prior of z_L, in units of 2^-13.
    """

    weights: dict[str, Tensor]
    biases: dict[str, Tensor]
    top: Tensor

    @classmethod
    def from_model(cls, model: BitSwapModel) -> ExactTables:
        """Return the tables of a trained model, rounded."""
        weights, biases = {}, {}
        for name, _, _, _ in conv_shapes(model.config):
            conv = model.layer(name)
            assert conv.bias is not None
            weights[name] = to_fixed(conv.weight, WEIGHT_BITS).clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT)
            biases[name] = to_fixed(conv.bias, BIAS_BITS).clamp(-BIAS_LIMIT, BIAS_LIMIT)
        return cls(weights, biases, to_fixed(model.top, ACTIVATION_BITS))

    def put_into(self, model: BitSwapModel) -> None:
        """Set a model's parameters to the values that the integers stand for."""
        with torch.no_grad():
            for name, weight in self.weights.items():
                conv = model.layer(name)
                assert conv.bias is not None
                conv.weight.copy_(weight.double() / (1 << WEIGHT_BITS))
                conv.bias.copy_(self.biases[name].double() / (1 << BIAS_BITS))
            model.top.copy_(self.top.double() / (1 << ACTIVATION_BITS))


class ExactLayers:
    """``codecs.bitswap.model.Layers`` in exact integers.

    Attributes:
        config: the configuration of the model.
        top: parameters (2 C,) of the prior of z_L.
    """

    def __init__(self, config: BitSwapConfig, tables: ExactTables) -> None:
        self.config = config
        self.top = tables.top.double()
        self._convs = {}
        for name, inputs, outputs, kernel in conv_shapes(config):
            if tables.weights[name].shape != (outputs, inputs, kernel, kernel):
                raise FormatError(f"layer {name} of the model does not have the shape that its configuration states")
            self._convs[name] = ExactConv.make(tables.weights[name], tables.biases[name])

    def conv(self, name: str, values: Tensor) -> Tensor:
        """Convolve in integers."""
        # Sums of activations may exceed the limit; the clamp brings them back into the checked range.
        return self._convs[name](values.clamp(-ACTIVATION_LIMIT, ACTIVATION_LIMIT))

    def relu(self, values: Tensor) -> Tensor:
        """Return max(0, values)."""
        return values.clamp_min(0)

    def keep(self, values: Tensor) -> Tensor:
        """Return the values in float32, clamped to the range that it holds exactly."""
        return values.clamp(-ACTIVATION_LIMIT, ACTIVATION_LIMIT).float()

    def of_levels(self, levels: Tensor) -> Tensor:
        """Return integer levels as networks see them: (level - centre) / unit."""
        n = self.config.levels
        return (2 * levels - (n - 1)).double() * float((1 << ACTIVATION_BITS + 1) // n)

    def of_latents(self, latents: Tensor) -> Tensor:
        """Return integer latents as networks see them."""
        return latents.double() * float(1 << ACTIVATION_BITS)


def latent_numbers(parameters: Tensor, *, of_posterior: bool) -> tuple[Tensor, Tensor]:
    """Return the means, in units of 2^-13 bins, and the log scales, in units of 2^-13, of latents as int64.

    ``parameters`` (N, 2 C, h, w) is the output of a network; the results are (N, C, h, w) each.
    """
    mean, log_scale = parameters.to(torch.int64).chunk(2, dim=1)
    low, high = POSTERIOR_LOG_SCALES if of_posterior else PRIOR_LOG_SCALES
    unit = 1 << ACTIVATION_BITS
    limit = LATENT_LIMIT * unit
    return (int(MEAN_GAIN) * mean).clamp(-limit, limit), log_scale.clamp(round(low * unit), round(high * unit))
