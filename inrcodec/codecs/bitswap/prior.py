"""A learned lossless model: one safetensors file of integers that sender and receiver share.

Its *known answer* is the outcome of all its networks on a made-up image; see ``prior_file``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from inrcodec.codecs.bitswap.config import BitSwapConfig, conv_shapes
from inrcodec.codecs.bitswap.exact import ExactLayers, ExactTables
from inrcodec.codecs.bitswap.model import BitSwapModel, PhaseNetwork, posterior, prior, spread
from inrcodec.codecs.prior_file import ExactPriorFile

FORMAT = "inrcodec-bitsback-1"


@dataclass(frozen=True)
class BitSwapPrior(ExactPriorFile):
    """A lossless model; see the module's text.

    Attributes:
        config: shape of the networks.
        tables: weights and biases in integers.
    """

    config: BitSwapConfig
    tables: ExactTables

    format: ClassVar[str] = FORMAT
    kind: ClassVar[str] = "image"
    axes: ClassVar[int] = 2

    @classmethod
    def from_model(cls, model: BitSwapModel, name: str, card: dict[str, Any]) -> BitSwapPrior:
        """Return the prior of a trained model, as its file gives it."""
        return cls(name, model.config, ExactTables.from_model(model), card=card).with_answer()

    @property
    def channels(self) -> int:
        """Return the number of channels that the prior models together."""
        return self.config.channels

    @cached_property
    def layers(self) -> ExactLayers:
        """Return the networks in integers."""
        return ExactLayers(self.config, self.tables)

    @cached_property
    def model(self) -> BitSwapModel:
        """Return the networks in floating point, with the values of the integers."""
        model = BitSwapModel(self.config)
        self.tables.put_into(model)
        return model.requires_grad_(False)

    def _head(self) -> dict[str, Any]:
        return {"kind": self.kind, "config": self.config.to_dict()}

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"weight.{name}": value.to(torch.int16) for name, value in self.tables.weights.items()}
        tensors.update({f"bias.{name}": value.to(torch.int32) for name, value in self.tables.biases.items()})
        tensors["top"] = self.tables.top.to(torch.int32)
        return tensors

    @classmethod
    def _read(cls, head: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
        config = BitSwapConfig.from_dict(head["config"])
        top = _integers(tensors["top"], (2 * config.latents[-1],))
        weights, biases = {}, {}
        for conv, inputs, outputs, kernel in conv_shapes(config):
            weights[conv] = _integers(tensors[f"weight.{conv}"], (outputs, inputs, kernel, kernel))
            biases[conv] = _integers(tensors[f"bias.{conv}"], (outputs,))
        return {"config": config, "tables": ExactTables(weights, biases, top)}

    def _check(self, source: str) -> None:
        """Check nothing more: shapes are checked while they are read, and every integer is valid."""

    def _computed_answer(self) -> str:
        return _answer(self.layers)

    @cached_property
    def multiply_adds_per_cell(self) -> int:
        """Return the multiply-adds of a decode for each cell of 2x2 points, over all scales of the image."""
        total = 0.0
        for name, inputs, outputs, kernel in conv_shapes(self.config):
            scale = int(name.split("-")[0].removeprefix("scale")) if name.startswith("scale") else self.config.splits
            total += inputs * outputs * kernel**2 / 4**scale
        return round(total)


def _integers(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    if tensor.is_floating_point() or tuple(tensor.shape) != shape:
        raise ValueError(f"a tensor of shape {shape}")
    return tensor.to(torch.int64)


@torch.no_grad()
def _answer(layers: ExactLayers) -> str:
    """Return a hash of the outcome of every network on a small made-up image and made-up latents."""
    config = layers.config
    seen = hashlib.sha256()

    def note(found: Tensor) -> Tensor:
        seen.update(found.to(torch.int64).numpy().astype("<i8").tobytes())
        return found

    def made_up(channels: int, height: int, width: int, levels: int) -> Tensor:
        count = channels * height * width
        numbers = (np.arange(count, dtype=np.int64) * 2654435761 >> 7) % levels
        return torch.from_numpy(numbers).view(1, channels, height, width)

    phases = [layers.of_levels(made_up(config.channels, 6, 6, config.levels)) for _ in range(4)]
    for scale in range(config.splits):
        network = PhaseNetwork(layers, config, f"scale{scale}")
        for phase in phases[:3]:
            note(network.step(phase))
    below = torch.cat(phases, dim=1)
    sizes = [(6, 6)]
    for layer, (channels, stride) in enumerate(zip(config.latents, config.strides, strict=True)):
        note(posterior(layers, config, layer, below))
        height, width = (-(-n // stride) for n in sizes[-1])
        sizes.append((height, width))
        below = layers.of_latents(made_up(channels, height, width, 9) - 4)
        if layer:
            note(prior(layers, config, layer - 1, below, sizes[layer]))
        else:
            network = PhaseNetwork(layers, config, "base")
            note(network.step(spread(below, stride, sizes[0]), is_values=False))
            for phase in phases[: len(config.base_inputs) - 1]:
                note(network.step(phase))
    return seen.hexdigest()
