"""Modulations of a training set as a data set of their own (Functa, arXiv 2201.12204, section 4): a file of patches and
their latents under one prior; and what is learned from it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from inrcodec.encoders.training_data import PatchSource
from inrcodec.ground.errors import FormatError, UsageError
from inrcodec.ground.grid import grid_coordinates
from inrcodec.methods.maml import fit_latents, squared_errors
from inrcodec.models.modulation_predictor import ModulationPredictor
from inrcodec.models.modulation_prior import ModulationPrior

FORMAT = "inrcodec-modulations-1"
MAX_BYTES = 1 << 31
HELD_OUT = 10
"""Every n-th patch is kept from learning."""
BATCH = 64
RATE = 3e-4


@dataclass(frozen=True)
class Modulations:
    """``values`` (N, P, C) in the model's units, ``latents`` (N, D), and the id of the prior that they belong to."""

    values: Tensor
    latents: Tensor
    prior_id: bytes
    summary: str

    def to_bytes(self) -> bytes:
        """A safetensors file; numbers as float16."""
        head = {"format": FORMAT, "prior": self.prior_id.hex(), "summary": self.summary}
        tensors = {"values": self.values.half().contiguous(), "latents": self.latents.half().contiguous()}
        return safetensors.torch.save(tensors, {"inrcodec": json.dumps(head, sort_keys=True)})

    @classmethod
    def from_file(cls, path: Path) -> Modulations:
        """Inverse of ``to_bytes``; FormatError when the file is none."""
        try:
            if path.stat().st_size > MAX_BYTES:
                raise FormatError(f"{path}: larger than the limit of {MAX_BYTES} bytes")
            with safetensors.safe_open(path, "pt") as file:
                head = json.loads((file.metadata() or {})["inrcodec"])
                values, latents = (file.get_tensor(name).float() for name in ("values", "latents"))
            if head["format"] != FORMAT or values.ndim != 3 or latents.ndim != 2 or len(values) != len(latents):
                raise FormatError(f"{path}: not a set of modulations")
            if not (torch.isfinite(values).all() and torch.isfinite(latents).all()):
                raise FormatError(f"{path}: holds values that are not finite")
            return cls(values, latents, bytes.fromhex(head["prior"]), str(head["summary"]))
        except OSError as error:
            raise FormatError(f"{path}: cannot be read: {error.strerror}") from None
        except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
            raise FormatError(f"{path}: not a set of modulations ({type(error).__name__})") from None


def export_modulations(
    prior: ModulationPrior, source: PatchSource, summary: str, count: int, steps: int, *, seed: int = 0,
    tick: Callable[[int], None] | None = None,
) -> Modulations:  # fmt: skip
    """Fit ``count`` patches of a source by ``steps`` inner steps; ``tick`` is told of patches times steps done."""
    config = prior.config
    values = torch.from_numpy(source.draw(count, np.random.default_rng((seed, 1 << 42)))).flatten(1, -2)
    values = (values - config.centre) / config.spread
    latents = fit_latents(prior.model, values, _coordinates(prior), steps, tick=tick)
    return Modulations(values, latents, prior.id, summary)


@dataclass(frozen=True)
class Prediction:
    """Of patches that were kept from learning: mean PSNR in dB (peak 1) of latents as exported, of those predicted by
    the linear map and by the whole network, before any quantisation."""

    exported_db: float
    linear_db: float
    predicted_db: float


def learn_predictor(
    prior: ModulationPrior, data: Modulations, minutes: float, *, steps: int = 0, seed: int = 0,
    progress: Callable[[float, float], None] | None = None,
) -> tuple[ModulationPrior, Prediction]:  # fmt: skip
    """The prior with a network that predicts its modulations; ``steps``, where given, instead of ``minutes``.

    What is minimised is the squared error of latents, which are in units of values. ``progress`` is told the share that
    is done and the error. Raises UsageError when the data belong to another prior.
    """
    if data.prior_id != prior.id:
        made_with = data.prior_id.hex()
        raise UsageError(f"the modulations were made with prior {made_with}, {prior.name!r} is {prior.id.hex()}")
    held = torch.zeros(len(data.latents), dtype=torch.bool)
    held[::HELD_OUT] = True
    if int((~held).sum()) < 2 * BATCH:
        raise UsageError(f"{len(held)} patches are too few to learn from")
    values, latents = data.values[~held], data.latents[~held]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        predictor = ModulationPredictor(values[0].numel(), prior.config.latent_dims)
    predictor.begin_at(values, latents)
    linear = predictor.linear(data.values[held].flatten(1)).detach()
    optimiser = torch.optim.Adam(predictor.parameters(), lr=RATE)
    rng = np.random.default_rng(seed)
    begun, number, done = time.monotonic(), 0, 0.0
    while done < 1.0:
        chosen = torch.from_numpy(rng.integers(len(values), size=BATCH))
        for group in optimiser.param_groups:
            group["lr"] = RATE * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * done)))
        error = (predictor(values[chosen]) - latents[chosen]).square().sum(dim=1).mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        number += 1
        done = min(1.0, number / steps if steps else (time.monotonic() - begun) / (60.0 * minutes))
        if progress is not None and number % 50 == 0:
            progress(done, float(error.detach()))
    made = replace(
        prior, predictor={k: v.detach() for k, v in predictor.state_dict().items()},
        card={**prior.card, "predictor": {"patches": len(values), "data": data.summary, "steps": number}},
    )  # fmt: skip
    made = ModulationPrior.from_bytes(made.to_bytes(), prior.name)
    with torch.no_grad():
        found = [
            _decibels(made, z, data.values[held])
            for z in (data.latents[held], linear, made.predicted(data.values[held]))
        ]
    return made, Prediction(*found)


@torch.no_grad()
def _decibels(prior: ModulationPrior, latents: Tensor, values: Tensor) -> float:
    coordinates = _coordinates(prior)
    errors = [
        squared_errors(prior.model(z, coordinates), v) / v[0].numel()
        for z, v in zip(latents.split(8), values.split(8), strict=True)
    ]
    mean = torch.cat(errors) * prior.config.spread**2
    return float(-10.0 * mean.clamp_min(1e-12).log10().mean())


def _coordinates(prior: ModulationPrior) -> Tensor:
    return torch.from_numpy(grid_coordinates(prior.config.patch_shape).reshape(-1, prior.axes))


def summary_of(prediction: Prediction) -> dict[str, Any]:
    """Rounded, for a report."""
    return {name: round(value, 3) for name, value in vars(prediction).items()}
