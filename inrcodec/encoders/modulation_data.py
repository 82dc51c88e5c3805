"""Modulations of a training set as a data set of their own (Functa, arXiv 2201.12204, section 4): a file of patches and
their latents under one prior. What is learned from it: ``modulation_learning``."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from inrcodec.encoders.training_data import PatchSource
from inrcodec.ground.errors import FormatError, UsageError
from inrcodec.ground.grid import grid_coordinates
from inrcodec.methods.maml import fit_latents
from inrcodec.models.modulation_prior import ModulationPrior

FORMAT = "inrcodec-modulations-1"
MAX_BYTES = 1 << 31


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
    """Fit ``count`` patches of a source by ``steps`` inner steps; ``tick`` is told of patches times steps done.

    No steps: latents as the prior's predictor has them, in a moment; UsageError when the prior has none.
    """
    config = prior.config
    values = torch.from_numpy(source.draw(count, np.random.default_rng((seed, 1 << 42)))).flatten(1, -2)
    values = (values - config.centre) / config.spread
    coordinates = torch.from_numpy(grid_coordinates(config.patch_shape).reshape(-1, prior.axes))
    if steps:
        latents = fit_latents(prior.model, values, coordinates, steps, tick=tick)
    elif prior.predictor:
        with torch.no_grad():
            latents = prior.predicted(values)
    else:
        raise UsageError(f"prior {prior.name!r} has no predictor: take inner steps")
    return Modulations(values, latents, prior.id, summary)
