"""A learned prior of the hierarchical model: one safetensors file that sender and receiver share.

It holds the top-down part as integers (``ExactTables``), the bottom-up part and the head as float16, and the Gaussian
prior over the head's weights. Its *known answer* is the outcome of the integer network on made-up input; see
``prior_file``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inrcodec.codecs.hierarchical.config import HierarchicalConfig
from inrcodec.codecs.hierarchical.exact import (
    DOWNWARD,
    RESIDUAL_BITS,
    ExactLayers,
    ExactTables,
    max_quality,
    place_latents,
)
from inrcodec.codecs.hierarchical.model import HierarchicalINR, top_down
from inrcodec.codecs.prior_file import ExactPriorFile
from inrcodec.errors import FormatError
from inrcodec.nn.exact import scale_indices

FORMAT = "inrcodec-hierarchy-1"
_KEPT_LAYERS = 4
MAX_ANSWER_WORK = 1 << 32
"""Multiply-adds of a known answer: seconds."""


@dataclass(frozen=True)
class HierarchicalPrior(ExactPriorFile):
    """A prior of the hierarchical model; see the module's text.

    Attributes:
        kind: "image", "audio" or "field".
        config: shape of the network.
        tables: the top-down part in integers.
        floats: parameters that are not in ``tables``, by their names in the model.
        weight_log_scale: log standard deviations of the head's weights under the prior, (n,); the means are the
            parameter ``head``.
    """

    kind: str
    config: HierarchicalConfig
    tables: ExactTables
    floats: dict[str, Tensor]
    weight_log_scale: Tensor

    format = FORMAT

    @classmethod
    def from_model(
        cls, model: HierarchicalINR, name: str, kind: str, weight_log_scale: Tensor, card: dict[str, Any]
    ) -> HierarchicalPrior:
        """Return the prior of a trained model, as its file gives it."""
        tables = ExactTables.from_model(model)
        floats = {key: value.detach().clone() for key, value in model.state_dict().items() if not _is_exact(key)}
        return cls(name, kind, model.config, tables, floats, weight_log_scale, card=card).with_answer()

    @property
    def axes(self) -> int:
        """Return the number of axes of the grids that the prior models."""
        return self.config.axes

    @property
    def channels(self) -> int:
        """Return the number of channels that the prior models together."""
        return self.config.channels

    @cached_property
    def model(self) -> HierarchicalINR:
        """Return the network in floating point without gradients; the top-down part has the values of the integers."""
        model = HierarchicalINR(self.config)
        model.load_state_dict(self.floats, strict=False)
        self.tables.put_into(model)
        channels_last: Any = {"memory_format": torch.channels_last}
        return model.to(**channels_last).requires_grad_(False)

    def with_weight_scales(self, log_scale: Tensor) -> HierarchicalPrior:
        """Return the prior with other log standard deviations of the head's weights, as its file gives it."""
        return replace(self, weight_log_scale=log_scale).as_read_back()

    @cached_property
    def _layers(self) -> dict[int, ExactLayers]:
        return {}

    def layers(self, quality: int) -> ExactLayers:
        """Return the top-down part in integers at a quality; the last few are kept."""
        kept = self._layers
        if quality not in kept:
            while len(kept) >= _KEPT_LAYERS:
                kept.pop(next(iter(kept)))
            kept[quality] = ExactLayers(self.config, self.tables, quality)
        return kept[quality]

    def _head(self) -> dict[str, Any]:
        return {"kind": self.kind, "config": self.config.to_dict()}

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"weight.{name}": value.to(torch.int16) for name, value in self.tables.weights.items()}
        tensors.update({f"bias.{name}": value.to(torch.int32) for name, value in self.tables.biases.items()})
        tensors.update({f"step.{name}": value.to(torch.int32) for name, value in self.tables.steps.items()})
        tensors["first"] = self.tables.first.to(torch.int32)
        tensors.update({f"model.{name}": value.half() for name, value in self.floats.items()})
        tensors["weight_log_scale"] = self.weight_log_scale.half()
        return tensors

    @classmethod
    def _read(cls, head: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
        return {
            "kind": str(head["kind"]),
            "config": HierarchicalConfig.from_dict(head["config"]),
            "tables": ExactTables(
                _part(tensors, "weight."),
                _part(tensors, "bias."),
                _part(tensors, "step."),
                tensors["first"].to(torch.int64),
            ),
            "floats": {k.removeprefix("model."): v.float() for k, v in tensors.items() if k.startswith("model.")},
            "weight_log_scale": tensors["weight_log_scale"].float(),
        }

    def _computed_answer(self) -> str:
        return _answer(self.config, self.tables)

    def _check(self, source: str) -> None:
        cells = (2 * self.config.coarsest) ** self.config.axes
        if cells * multiply_adds_per_point(self.config) > MAX_ANSWER_WORK:
            raise FormatError(f"{source}: the network is too large for its known answer to be computed")
        with torch.device("meta"):
            model = HierarchicalINR(self.config)
        expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
        found = {key: tuple(value.shape) for key, value in self.floats.items()}
        found["first"] = tuple(self.tables.first.shape)
        for name, weight in self.tables.weights.items():
            found[f"convs.{name.replace('.', '-')}.weight"] = tuple(weight.shape)
        for name, bias in self.tables.biases.items():
            found[f"convs.{name.replace('.', '-')}.bias"] = tuple(bias.shape)
        for name, step in self.tables.steps.items():
            found[f"log_steps.{name.replace('.', '-')}"] = tuple(step.shape)
        if expected != found or tuple(self.weight_log_scale.shape) != expected["head"]:
            raise FormatError(f"{source}: the network's parameters do not fit its description")
        if not all(torch.isfinite(value).all() for value in (*self.floats.values(), self.weight_log_scale)):
            raise FormatError(f"{source}: holds values that are not finite")
        if self.weight_log_scale.abs().max() > 20 or min(int(step.min()) for step in self.tables.steps.values()) < 1:
            raise FormatError(f"{source}: scales or steps are out of range")


def _is_exact(key: str) -> bool:
    """Return whether a model's parameter is held as integers."""
    parts = key.split(".")
    return parts[0] in ("first", "log_steps") or (parts[0] == "convs" and parts[1].split("-")[0] in DOWNWARD)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v.to(torch.int64) for k, v in tensors.items() if k.startswith(prefix)}


def _answer(config: HierarchicalConfig, tables: ExactTables) -> str:
    """Return a hash of all prior parameters and the last features on a small grid with made-up latents."""
    layers = ExactLayers(config, tables, max_quality(config) * 3 // 7)
    seen = hashlib.sha256()

    def choose(name: str, h: Tensor, prior: Tensor) -> Tensor:
        index = scale_indices(prior.chunk(2, dim=1)[1])
        seen.update(prior.to(torch.int64).numpy().astype("<i8").tobytes())
        seen.update(index.numpy().astype("<i8").tobytes())
        count = index.numel()
        made = (np.arange(count, dtype=np.int64) * 2654435761 >> 7) % 7 - 3 << RESIDUAL_BITS
        return place_latents(layers, name, prior, torch.from_numpy(made).view(index.shape))

    rows = 1 if config.axes == 1 else 2
    h = top_down(layers, 1, rows, 2, choose)
    seen.update(h.to(torch.int64).numpy().astype("<i8").tobytes())
    return seen.hexdigest()


@cache
def multiply_adds_per_point(config: HierarchicalConfig) -> int:
    """Return the multiply-adds of a decode per grid point, the head included."""
    with torch.device("meta"):
        model = HierarchicalINR(config)
    strides = {str(i): level.stride for i, level in enumerate(config.levels)}
    total = 0.0
    for name, conv in model.named_convs():
        word, *rest = name.split(".")
        stride = strides[rest[0]] if word in DOWNWARD else config.feature_stride
        if word == "up":
            stride = config.levels[int(rest[0]) - 1].stride
        if word in DOWNWARD or word in ("widen", "last", "to_head"):
            places = config.levels[int(rest[0])].phases if word.startswith("prior") else 1
            total += conv.weight.numel() / (places * stride**config.axes)
    return round(total) + config.head_width * (config.head_width + 2 * config.channels) + 64
