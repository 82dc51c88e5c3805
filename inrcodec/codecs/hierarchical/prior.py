"""A learned prior of the hierarchical model: one safetensors file that sender and receiver share.

It holds the top-down part as integers (``ExactTables``), the bottom-up part and the head as float16, and the Gaussian
prior over the head's weights. The weights of a model with depthwise blocks are entropy coded (``packed_weights``), the
top-down part and the encoder in one message each. Its *known answer* is the outcome of the integer network on made-up
input; see ``prior_file``.
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
    WEIGHT_LIMIT,
    ExactLayers,
    ExactTables,
    max_quality,
    place_latents,
)
from inrcodec.codecs.hierarchical.model import HierarchicalINR
from inrcodec.codecs.hierarchical.top_down import top_down
from inrcodec.codecs.packed_weights import pack, round_rows, unpack
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
            parameter ``head``. Empty for a model without a head.
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
        if model.config.pointwise:
            floats.update({key: _rounded_encoder(floats[key]) for key in _packed_floats(floats)})
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
        head: dict[str, Any] = {"kind": self.kind, "config": self.config.to_dict()}
        if self.config.pointwise:
            head["packed"] = {part: description for part, (description, _) in self._packed.items()}
        return head

    @cached_property
    def _packed(self) -> dict[str, tuple[list[Any], dict[str, Tensor]]]:
        """Return the packed weights of the top-down part and of the encoder; ``floats`` must be rounded."""
        encoder = {key: self.floats[key] for key in _packed_floats(self.floats)}
        return {"down": pack(self.tables.weights), "up": pack(encoder)}

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {} if self.config.pointwise else _named("weight.", self.tables.weights, torch.int16)
        packed = self._packed if self.config.pointwise else {}
        for part, (_, values) in packed.items():
            tensors.update({f"packed.{part}.{key}": value for key, value in values.items()})
        tensors.update(_named("bias.", self.tables.biases, torch.int32))
        tensors.update(_named("step.", self.tables.steps, torch.int32))
        tensors["first"] = self.tables.first.to(torch.int32)
        unpacked = set(self.floats) - set(_packed_floats(self.floats)) if packed else self.floats
        tensors.update(_named("model.", {name: self.floats[name] for name in unpacked}, torch.float16))
        tensors["weight_log_scale"] = self.weight_log_scale.half()
        return tensors

    @classmethod
    def _read(cls, head: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
        floats = {k.removeprefix("model."): v.float() for k, v in tensors.items() if k.startswith("model.")}
        weights = _part(tensors, "weight.")
        if "packed" in head:
            packed = {part: _unpacked(head["packed"][part], tensors, part) for part in ("down", "up")}
            weights = {name: value.long() for name, value in packed["down"].items()}
            floats.update({name: value.float() for name, value in packed["up"].items()})
        return {
            "kind": str(head["kind"]),
            "config": HierarchicalConfig.from_dict(head["config"]),
            "tables": ExactTables(
                weights, _part(tensors, "bias."), _part(tensors, "step."), tensors["first"].to(torch.int64)
            ),
            "floats": floats,
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
        if expected != found or tuple(self.weight_log_scale.shape) != expected.get("head", (0,)):
            raise FormatError(f"{source}: the network's parameters do not fit its description")
        if any(int(weight.abs().max()) > WEIGHT_LIMIT for weight in self.tables.weights.values()):
            raise FormatError(f"{source}: weights are out of range")
        if not all(torch.isfinite(value).all() for value in (*self.floats.values(), self.weight_log_scale)):
            raise FormatError(f"{source}: holds values that are not finite")
        if (self.weight_log_scale.abs() > 20).any() or min(int(step.min()) for step in self.tables.steps.values()) < 1:
            raise FormatError(f"{source}: scales or steps are out of range")


def _is_exact(key: str) -> bool:
    """Return whether a model's parameter is held as integers."""
    parts = key.split(".")
    return parts[0] in ("first", "log_steps") or (parts[0] == "convs" and parts[1].split("-")[0] in DOWNWARD)


def _packed_floats(floats: dict[str, Tensor]) -> list[str]:
    """Return the names of the parameters outside the top-down part that are packed: the encoder's weights."""
    return [key for key in floats if key.startswith("convs.") and key.endswith(".weight")]


def _rounded_encoder(weight: Tensor) -> Tensor:
    """Return weights of the encoder as files hold them; the few of a depthwise convolution keep 16 bits."""
    if weight.ndim == 3:
        return (weight.double() * (1 << 14)).round().div(1 << 14).float()
    return round_rows(weight).float()


def _named(prefix: str, values: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {f"{prefix}{name}": value.to(dtype) for name, value in values.items()}


def _unpacked(description: list[Any], tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    prefix = f"packed.{part}."
    return unpack(description, {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})


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
    total = 0.0
    for name, conv in model.named_convs():
        word, *rest = name.split(".")
        if word.startswith(("shrink", "narrow", "rise", "ask")):
            continue
        stride, level = config.feature_stride, None
        if word in DOWNWARD and rest:
            level = config.levels[int(rest[0])]
            stride = config.levels[int(rest[0]) - 1].stride if word == "up" else level.stride
        one_color = word.startswith("prior") or (word == "latent_in" and config.pointwise)
        places = level.phases if level is not None and one_color else 1
        total += conv.weight.numel() / (places * stride**config.axes)
    head = 0 if config.patch else config.head_width * (config.head_width + 2 * config.channels) + 64
    return round(total) + head
