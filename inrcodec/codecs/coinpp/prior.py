"""A learned prior of codec coin++: base network and statistics of its latent vectors, one safetensors file.

Quantisation: a latent dimension is rounded to integer multiples of a *step*, equal for all dimensions (which are
measured in units of values, so that equal steps cost equal squared error). A file carries the step as an integer,
``fineness``: step = ``MAX_STEP`` * 2^(-fineness / 32). The rounded number's probability comes from a Gaussian table
whose scale follows by integer arithmetic alone: the dimension's log standard deviation, an integer in the prior file,
less the step's, plus the *gain* of the patch (in half octaves, since the energy of patches differs).
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from inrcodec.codecs.coinpp.flow import ModulationFlow
from inrcodec.codecs.coinpp.model import CoinPPConfig, ModulatedINR
from inrcodec.codecs.coinpp.predictor import ModulationPredictor
from inrcodec.codecs.prior_file import PriorFile
from inrcodec.errors import FormatError, UsageError
from inrcodec.nn.exact import ACTIVATION_BITS, scale_indices

FORMAT = "inrcodec-modulation-1"
MAX_STEP = 16.0
FINENESS_PER_OCTAVE = 32
MAX_FINENESS = 14 * FINENESS_PER_OCTAVE
PREDICTED_AT_ONCE = 1024
MAX_HIDDEN = 1 << 13
EVALUATED_AT_ONCE, POINTS_AT_ONCE = 1 << 20, 128
"""Activations of one layer, and points, at once: what the cache holds. Blocks are small, so that freed ones serve
again: with all points of a patch at once glibc grew its heap by a block for every signal of an archive."""
MAX_KEPT_GRID, KEPT_GRIDS = 1 << 14, 16
MAX_GAIN = 16
"""Gains are from -16 to 16 half octaves."""
_OCTAVE_UNITS = 5678
"""Natural logarithm of 2 in units of 2^-13, ln(2) * 8192; part of the format."""


def step_of(fineness: int) -> float:
    """Return the quantisation step of a fineness, in the model's units of latents."""
    return float(MAX_STEP * 2.0 ** (-fineness / FINENESS_PER_OCTAVE))


def fineness_of(step: float) -> int:
    """Return the fineness nearest to a step."""
    found = round(FINENESS_PER_OCTAVE * math.log2(MAX_STEP / step))
    return min(max(found, 0), MAX_FINENESS)


@dataclass(frozen=True)
class CoinPPPrior(PriorFile):
    """A prior of codec coin++; see the module's text.

    Attributes:
        kind: "image", "audio" or "field".
        config: shape of the base network.
        parameters: parameters of the base network.
        log_scale: log standard deviations of latent dimensions of patches of gain 0, (D,), int64, units of 2^-13.
        steps: smallest and largest quantisation step that the prior was trained for.
        predictor: parameters of a ``ModulationPredictor``, or nothing.
        flow: parameters of a ``ModulationFlow``, or nothing.
    """

    kind: str
    config: CoinPPConfig
    parameters: dict[str, Tensor]
    log_scale: Tensor
    steps: tuple[float, float]
    predictor: dict[str, Tensor] = field(default_factory=dict)
    flow: dict[str, Tensor] = field(default_factory=dict)

    format = FORMAT

    @classmethod
    def from_model(
        cls,
        model: ModulatedINR,
        name: str,
        kind: str,
        log_scales: Tensor,
        steps: tuple[float, float],
        card: dict[str, Any],
    ) -> CoinPPPrior:
        """Return the prior of a trained model, as its file gives it."""
        parameters = {k: v.detach().cpu() for k, v in model.state_dict().items()}
        units = torch.round(log_scales.detach().cpu().double() * (1 << ACTIVATION_BITS)).long()
        return cls(name, kind, model.config, parameters, units, steps, card=card).as_read_back()

    @property
    def axes(self) -> int:
        """Return the number of axes of the grids that the prior models."""
        return len(self.config.patch_shape)

    @property
    def channels(self) -> int:
        """Return the number of channels that the prior models together."""
        return self.config.channels

    @cached_property
    def model(self) -> ModulatedINR:
        """Return the base network, without gradients to its weights."""
        model = ModulatedINR(self.config)
        model.load_state_dict(self.parameters)
        return model.requires_grad_(False)

    @cached_property
    def _base_values(self) -> dict[bytes, Tensor]:
        return {}

    def values(self, latents: Tensor, coordinates: Tensor) -> Tensor:
        """Return values (N, P, C) of latents (N, D) at coordinates (P, A), computed for a few patches at a time.

        What the base network gives without shifts is kept for grids that come again: a whole archive has one.
        """
        model, config = self.model, self.config
        key = coordinates.numpy().tobytes() if coordinates.numel() <= MAX_KEPT_GRID else b""
        base = self._base_values.get(key) if key else None
        if base is None:
            base = model.base_values(coordinates)
            if key and len(self._base_values) < KEPT_GRIDS:
                self._base_values[key] = base
        at_once = max(1, EVALUATED_AT_ONCE // (min(len(coordinates), POINTS_AT_ONCE) * max(config.widths)))
        parts = list(zip(coordinates.split(POINTS_AT_ONCE), base.split(POINTS_AT_ONCE, dim=1), strict=True))
        rows = [torch.cat([model(some, x, own) for x, own in parts], dim=1) for some in latents.split(at_once)]
        found = torch.cat(rows)
        return found * config.spread + config.centre

    @cached_property
    def _predictor(self) -> ModulationPredictor:
        hidden = self.predictor["read.bias"].shape[0]
        made = ModulationPredictor(self.config.n_points * self.channels, self.config.latent_dims, hidden)
        made.load_state_dict(self.predictor)
        return made.requires_grad_(False)

    @cached_property
    def flow_model(self) -> ModulationFlow:
        """Return the flow, which the prior must have."""
        made = ModulationFlow(self.config.latent_dims, self.flow["read.bias"].shape[0])
        made.load_state_dict(self.flow)
        return made.requires_grad_(False)

    @cached_property
    def base_id(self) -> bytes:
        """Return the id of the prior without what was learned from its modulations later."""
        card = {k: v for k, v in self.card.items() if k not in ("predictor", "flow")}
        bare = replace(self, predictor={}, flow={}, card=card)
        return hashlib.sha256(bare.to_bytes()).digest()[:8]

    def predicted(self, values: Tensor) -> Tensor:
        """Return the latents (N, D) that the predictor gives for patches (N, P, C) in the model's units."""
        return torch.cat([self._predictor(part) for part in values.split(PREDICTED_AT_ONCE)])

    def table_indices(self, fineness: int, gains: Tensor) -> Tensor:
        """Return the scale index of every dimension's Gaussian table at a step, (N, D), by integers alone.

        Args:
            fineness: of the step.
            gains: gains of the patches, (N,), int64.
        """
        log_step = (4 * FINENESS_PER_OCTAVE - fineness) * _OCTAVE_UNITS // FINENESS_PER_OCTAVE
        return scale_indices(self.log_scale - log_step + gains[:, None] * (_OCTAVE_UNITS // 2))

    def log_scales(self, gains: Tensor) -> Tensor:
        """Return log standard deviations for patches of ``gains`` (N,), (N, D), in floating point."""
        return (self.log_scale + gains[:, None] * (_OCTAVE_UNITS // 2)).float() / (1 << ACTIVATION_BITS)

    def _head(self) -> dict[str, Any]:
        return {"kind": self.kind, "config": self.config.to_dict(), "steps": list(self.steps)}

    def _tensors(self) -> dict[str, Tensor]:
        """Return parameters as float16, but the small ones that steer inner steps as float32."""
        tensors = {f"model.{k}": v.half() if v.ndim > 1 else v.float() for k, v in self.parameters.items()}
        tensors.update({f"predictor.{k}": v.half() for k, v in self.predictor.items()})
        tensors.update({f"flow.{k}": v.half() for k, v in self.flow.items()})
        tensors["log_scale"] = self.log_scale.to(torch.int32)
        return tensors

    @classmethod
    def _read(cls, head: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
        low, high = (float(step) for step in head["steps"])
        parameters, predictor, flow = (
            {k.removeprefix(prefix): v.float() for k, v in tensors.items() if k.startswith(prefix)}
            for prefix in ("model.", "predictor.", "flow.")
        )
        return {
            "kind": str(head["kind"]),
            "config": CoinPPConfig.from_dict(head["config"]),
            "parameters": parameters,
            "log_scale": tensors["log_scale"].to(torch.int64),
            "steps": (low, high),
            "predictor": predictor,
            "flow": flow,
        }

    def _check(self, source: str) -> None:
        with torch.device("meta"):
            expected = {k: tuple(v.shape) for k, v in ModulatedINR(self.config).state_dict().items()}
        found = {k: tuple(v.shape) for k, v in self.parameters.items()}
        if expected != found or tuple(self.log_scale.shape) != (self.config.latent_dims,):
            raise FormatError(f"{source}: the network's parameters do not fit its description")
        if not all(torch.isfinite(v).all() for v in self.parameters.values()):
            raise FormatError(f"{source}: holds values that are not finite")
        self._check_part(source, "predictor", self.predictor)
        self._check_part(source, "flow", self.flow)
        if float(self.log_scale.double().abs().max()) > 20 << ACTIVATION_BITS:
            raise FormatError(f"{source}: scales are out of range")
        if not 1e-6 < self.steps[0] <= self.steps[1] <= MAX_STEP:
            raise FormatError(f"{source}: quantisation steps are out of range")

    def _check_part(self, source: str, name: str, tensors: dict[str, Tensor]) -> None:
        if not tensors:
            return
        bias = tensors.get("read.bias")
        if bias is None or bias.ndim != 1 or not 1 <= len(bias) <= MAX_HIDDEN:
            raise FormatError(f"{source}: the {name} has no hidden layer")
        dims, hidden = self.config.latent_dims, len(bias)
        with torch.device("meta"):
            made: ModulationPredictor | ModulationFlow = (
                ModulationPredictor(self.config.n_points * self.channels, dims, hidden)
                if name == "predictor"
                else ModulationFlow(dims, hidden)
            )
        if {k: tuple(v.shape) for k, v in made.state_dict().items()} != {k: tuple(v.shape) for k, v in tensors.items()}:
            raise FormatError(f"{source}: the {name} does not fit the base network")
        if not all(torch.isfinite(v).all() for v in tensors.values()) or not tensors["scales"].min() > 0:
            raise FormatError(f"{source}: the {name} holds values that are not finite")


def coinpp_prior(prior: object) -> CoinPPPrior:
    """Return a prior of this codec as it is; UsageError for another one."""
    if isinstance(prior, CoinPPPrior):
        return prior
    raise UsageError(f"prior {getattr(prior, 'name', prior)!r} does not belong to codec coin++")
