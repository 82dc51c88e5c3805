"""A learned prior: what sender and receiver know before a signal arrives, one safetensors file.

It holds the shared parameters of a ``BayesianINR`` and Gaussian priors over its latent vectors, one for every pair
(rate anchor, class). An *anchor* is an operating point, trained at one beta. A *class* is a kind of patch (flat,
busy, loud ...): patches of one class have a prior of their own, so that the sum of KL over a block of dimensions varies
little between patches of a class. Invariants:

- ``mean``, ``log_scale`` (R, K, D) float32, finite; ``betas`` (R,) falling: anchor 0 is the lowest rate.
- ``kl_units`` (R, K, D): mean KL per dimension over the training patches of the class in 1/1024 bit, integers. Blocks
  are cut from them by integer arithmetic alone, so every machine cuts them alike.
- ``class_counts`` (R, K) integer frequencies that sum to 65,536: how often training patches were of each class.
- the id of a prior is the first 8 bytes of the SHA-256 of its file.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec.codecs.combiner.model import BayesianINR, CombinerConfig
from inrcodec.codecs.prior_file import PriorFile
from inrcodec.errors import FormatError

KL_UNITS_PER_BIT = 1024
CLASS_TABLE_TOTAL = 1 << 16
FORMAT = "inrcodec-prior-1"


@dataclass(frozen=True)
class CombinerPrior(PriorFile):
    """A prior of codec combiner; see the module's text.

    Attributes:
        kind: "image", "audio" or "field".
        config: shape of the network.
        parameters: the network's shared parameters.
        betas: (R,), squared value units per bit per point.
        mean: (R, K, D).
        log_scale: (R, K, D).
        kl_units: (R, K, D), in 1/1024 bit.
        class_counts: (R, K).
        centre: with ``spread`` it turns values into the model's, (value - centre) / spread.
        spread: see ``centre``.
    """

    kind: str
    config: CombinerConfig
    parameters: dict[str, Tensor]
    betas: Tensor
    mean: Tensor
    log_scale: Tensor
    kl_units: NDArray[np.int64]
    class_counts: NDArray[np.int64]
    centre: float
    spread: float

    format = FORMAT

    @property
    def axes(self) -> int:
        """Return the number of axes of the grids that the prior models."""
        return len(self.config.patch_shape)

    @property
    def channels(self) -> int:
        """Return the number of channels that the prior models together."""
        return self.config.channels

    @property
    def n_anchors(self) -> int:
        """Return R, the number of anchors."""
        return self.mean.shape[0]

    @property
    def n_classes(self) -> int:
        """Return K, the number of classes."""
        return self.mean.shape[1]

    @cached_property
    def model(self) -> BayesianINR:
        """Return the network with the shared parameters in place, without gradients."""
        model = BayesianINR(self.config, self.n_anchors)
        model.load_state_dict(self.parameters)
        return model.requires_grad_(False)

    @cached_property
    def class_kl_bits(self) -> NDArray[np.float64]:
        """Return the mean KL of a patch of each class, (R, K), in bits."""
        return np.asarray(self.kl_units.sum(axis=2) / KL_UNITS_PER_BIT, np.float64)

    @cached_property
    def anchor_kl_bits(self) -> NDArray[np.float64]:
        """Return the mean KL of a training patch at each anchor, (R,), in bits."""
        share = self.class_counts / CLASS_TABLE_TOTAL
        return np.asarray((self.class_kl_bits * share).sum(axis=1), np.float64)

    def _head(self) -> dict[str, Any]:
        return {"kind": self.kind, "config": self.config.to_dict(), "centre": self.centre, "spread": self.spread}

    def _tensors(self) -> dict[str, Tensor]:
        """Return shared parameters as float16 (steps of 2^-11 are far below any posterior), the rest as stated."""
        tensors = {f"model.{name}": value.detach().cpu().half() for name, value in self.parameters.items()}
        tensors["betas"] = self.betas.float()
        tensors["mean"] = self.mean.half()
        tensors["log_scale"] = self.log_scale.half()
        tensors["kl_units"] = torch.from_numpy(self.kl_units.astype(np.int32))
        tensors["class_counts"] = torch.from_numpy(self.class_counts.astype(np.int32))
        return tensors

    @classmethod
    def _read(cls, head: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
        return {
            "kind": str(head["kind"]),
            "config": CombinerConfig.from_dict(head["config"]),
            "parameters": {k.removeprefix("model."): v.float() for k, v in tensors.items() if k.startswith("model.")},
            "betas": tensors["betas"].float(),
            "mean": tensors["mean"].float(),
            "log_scale": tensors["log_scale"].float(),
            "kl_units": tensors["kl_units"].numpy().astype(np.int64),
            "class_counts": tensors["class_counts"].numpy().astype(np.int64),
            "centre": float(head["centre"]),
            "spread": float(head["spread"]),
        }

    def _check(self, source: str) -> None:
        config = self.config
        if self.betas.ndim != 1 or not 1 <= len(self.betas) <= 64 or self.mean.ndim != 3:
            raise FormatError(f"{source}: anchors and classes have the wrong shape")
        n_anchors, n_classes = len(self.betas), self.mean.shape[1]
        latent_shape = (n_anchors, n_classes, config.dims)
        for name, shape, wanted in (
            ("mean", tuple(self.mean.shape), latent_shape),
            ("log_scale", tuple(self.log_scale.shape), latent_shape),
            ("kl_units", self.kl_units.shape, latent_shape),
            ("class_counts", self.class_counts.shape, (n_anchors, n_classes)),
        ):
            if shape != wanted or not 1 <= n_classes <= 64:
                raise FormatError(f"{source}: {name} has shape {shape}, expected {wanted} with 1 to 64 classes")
        with torch.device("meta"):
            expected = {name: tuple(p.shape) for name, p in BayesianINR(config, n_anchors).state_dict().items()}
        found = {name: tuple(value.shape) for name, value in self.parameters.items()}
        if expected != found:
            raise FormatError(f"{source}: the network's parameters do not fit its description")
        tensors = (*self.parameters.values(), self.betas, self.mean, self.log_scale)
        if not all(torch.isfinite(value).all() for value in tensors):
            raise FormatError(f"{source}: holds values that are not finite")
        if not (
            (self.betas > 0).all()
            and self.betas.diff().le(0).all()
            and abs(self.centre) < 1e6
            and 0 < self.spread < 1e6
        ):
            raise FormatError(f"{source}: betas must fall and be positive, the spread too")
        if self.log_scale.abs().max() > 20 or self.kl_units.min() < 0 or self.kl_units.max() >= 1 << 20:
            raise FormatError(f"{source}: scales or KL figures are out of range")
        if self.class_counts.min() < 1 or (self.class_counts.sum(axis=1) != CLASS_TABLE_TOTAL).any():
            raise FormatError(f"{source}: class counts must be positive and sum to {CLASS_TABLE_TOTAL}")


RATE_ELASTICITY = 0.6
"""k, as measured on trained priors: bits grow by about 50 % when beta is halved."""


def class_cost_bits(kl: Tensor, budget: Tensor) -> Tensor:
    """Return the cost of every class, (S, K), from KL under each class (S, K) and budgets (K,), all in bits."""
    return kl + (kl - budget).square() / (2.0 * RATE_ELASTICITY * torch.clamp(budget, min=1.0))


def exact_exp(log_scale: Tensor) -> Tensor:
    """Return exp of float32 values, float32, the same on every processor.

    Vector instructions differ in the last bit of exp. In float64 such a difference is lost when the result is rounded.
    """
    return log_scale.double().exp().float()
