"""The Bayesian INR: one small SIREN per patch, its weights a latent vector with a Gaussian posterior.

    latent h ~ q = N(mean, scale^2)          one per patch, D dimensions, factorised
    weights w = base + h A                   linear reparameterisation (RECOMBINER, arXiv 2309.17182, section 3.2)
    values y(x) = SIREN_w(sin(x W + b))      features of the coordinates, equal for all patches

``Reparameterisation.NONE`` is COMBINER as published (arXiv 2305.19185): h is the weight vector itself and values are
drawn by local reparameterisation. ``LAYER`` gives each layer a square matrix of its own; ``JOINT`` one matrix whose D
rows may move every layer at once, so that D is chosen freely.

A *proposal* may belong to the model: a network that looks at the values of a patch and gives the posterior to start
the fit from. Without it the fit starts at the prior. Neither the proposal nor any gradient is needed for decoding.

Values inside the model are normalised: (value - centre) / spread, constants of the prior.
"""

from __future__ import annotations

import enum
import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from inrcodec.errors import FormatError
from inrcodec.nn.config import check_plain
from inrcodec.nn.siren import SirenShape, initial_weights, input_features, siren, siren_local, spread_frequencies


class Reparameterisation(enum.StrEnum):
    """How the weights depend on the latent vector."""

    NONE = "none"
    LAYER = "layer"
    JOINT = "joint"


@dataclass(frozen=True)
class CombinerConfig:
    """Sizes of the model.

    ``patch_shape``: points of a patch along each axis. ``channels``: values per point. ``features``: width of the
    shared first layer. ``hidden``, ``hidden_layers``: the per-patch layers. ``latent_dims``: D, used by JOINT alone.
    ``proposal_hidden``: width of the proposal network, 0 for none.
    """

    patch_shape: tuple[int, ...]
    channels: int
    features: int = 64
    hidden: int = 32
    hidden_layers: int = 2
    reparameterisation: Reparameterisation = Reparameterisation.JOINT
    latent_dims: int = 768
    proposal_hidden: int = 512

    def __post_init__(self) -> None:
        object.__setattr__(self, "patch_shape", tuple(int(n) for n in self.patch_shape))
        object.__setattr__(self, "reparameterisation", Reparameterisation(self.reparameterisation))
        if not 1 <= len(self.patch_shape) <= 3:
            raise FormatError(f"a patch has 1 to 3 axes, got {len(self.patch_shape)}")
        if not all(1 <= n <= 1 << 16 for n in self.patch_shape) or self.n_points > 1 << 20:
            raise FormatError(f"patch of {self.patch_shape} points is out of range")
        for name, most in (
            ("channels", 16),
            ("features", 1024),
            ("hidden", 1024),
            ("hidden_layers", 16),
            ("latent_dims", 1 << 16),
        ):
            if not 1 <= getattr(self, name) <= most:
                raise FormatError(f"network {name} must be 1 to {most}, got {getattr(self, name)}")
        widest = max(self.features, self.hidden)
        if self.n_points * widest > 1 << 26:
            raise FormatError(f"activations of {self.n_points} points by {widest} are too many")
        if not 0 <= self.proposal_hidden <= 8192:
            raise FormatError(f"proposal_hidden must be 0 to 8192, got {self.proposal_hidden}")

    @property
    def n_points(self) -> int:
        """Points of a patch."""
        return math.prod(self.patch_shape)

    @property
    def shape(self) -> SirenShape:
        """Widths of the per-patch network."""
        return SirenShape((self.features, *[self.hidden] * self.hidden_layers, self.channels))

    @property
    def dims(self) -> int:
        """D, the length of the latent vector."""
        return self.latent_dims if self.reparameterisation is Reparameterisation.JOINT else self.shape.n_weights

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            **asdict(self),
            "patch_shape": list(self.patch_shape),
            "reparameterisation": str(self.reparameterisation),
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> CombinerConfig:
        """Inverse of ``to_dict``; raises FormatError when fields are missing, unknown or out of range."""
        try:
            made = cls(**fields)
            check_plain(made)
            return made
        except (TypeError, ValueError) as error:
            raise FormatError(f"network description of the prior is not valid: {error}") from None


class BayesianINR(nn.Module):
    """Shared parameters of the model and the functions of h that they define.

    Shapes: S patches, P points, A axes, C channels, D latent dimensions, R rate anchors.
    """

    def __init__(self, config: CombinerConfig, n_anchors: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.n_anchors = n_anchors
        generator = generator or torch.Generator().manual_seed(0)
        n_axes = len(config.patch_shape)
        frequency, phase = spread_frequencies(n_axes, config.features, max(config.patch_shape) / 2)
        self.frequency, self.phase = nn.Parameter(frequency), nn.Parameter(phase)
        start, size = initial_weights(config.shape, generator)
        self.base = nn.Parameter(start)
        matrices: list[Tensor] = []
        if config.reparameterisation is Reparameterisation.JOINT:
            gain = 0.3 / math.sqrt(config.dims)
            matrices = [torch.randn(config.dims, len(size), generator=generator) * size * gain]
        elif config.reparameterisation is Reparameterisation.LAYER:
            for part in size.split(config.shape.layer_sizes):
                matrices.append(
                    torch.randn(len(part), len(part), generator=generator) * part * 0.1 / math.sqrt(len(part))
                )
        self.basis = nn.ParameterList([nn.Parameter(matrix) for matrix in matrices])
        if config.proposal_hidden:
            self.proposal_in = nn.Linear(config.n_points * config.channels, config.proposal_hidden)
            self.proposal_rate = nn.Parameter(torch.zeros(n_anchors, config.proposal_hidden))
            self.proposal_scale = nn.Parameter(torch.full((n_anchors, config.dims), -1.0))
            self.proposal_out = nn.Linear(config.proposal_hidden, 2 * config.dims)
            with torch.no_grad():
                for parameter in (*self.proposal_in.parameters(), *self.proposal_out.parameters()):
                    bound = 1.0 / math.sqrt(config.n_points * config.channels)
                    parameter.uniform_(-bound, bound, generator=generator)
                self.proposal_out.weight[config.dims :].zero_()
                self.proposal_out.bias.zero_()

    @property
    def has_proposal(self) -> bool:
        """Whether the model can propose posteriors."""
        return self.config.proposal_hidden > 0

    def features(self, coordinates: Tensor) -> Tensor:
        """(P, A) patch coordinates in [-1, 1] to (P, F) features."""
        return input_features(coordinates, self.frequency, self.phase)

    def weights(self, latent: Tensor) -> Tensor:
        """Latent vectors (S, D) to weights (S, n_weights)."""
        match self.config.reparameterisation:
            case Reparameterisation.NONE:
                return latent + self.base
            case Reparameterisation.LAYER:
                parts = latent.split(self.config.shape.layer_sizes, dim=1)
                return self.base + torch.cat([part @ a for part, a in zip(parts, self.basis, strict=True)], dim=1)
            case _:
                return torch.addmm(self.base, latent, self.basis[0])

    def values(self, latent: Tensor, features: Tensor) -> Tensor:
        """Normalised values (S, P, C) of latent vectors (S, D) at features (P, F)."""
        return siren(features, self.weights(latent), self.config.shape)

    def sampled_values(
        self, mean: Tensor, scale: Tensor, features: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """One draw of normalised values (S, P, C) under the posterior N(mean, scale^2), differentiable in both."""
        if self.config.reparameterisation is Reparameterisation.NONE:
            return siren_local(features, mean + self.base, scale.square(), self.config.shape, generator)
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        return self.values(mean + scale * noise, features)

    def propose(
        self, values: Tensor, anchor: Tensor, prior_mean: Tensor, prior_log_scale: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Posteriors proposed for normalised values (S, P, C) at rate anchors (S,).

        The network speaks in units of the prior, (S, D) each: mean = prior mean + prior scale * u, log scale = prior
        log scale + v. Returns mean and log scale, (S, D).
        """
        hidden = torch.nn.functional.gelu(self.proposal_in(values.flatten(1)) + self.proposal_rate[anchor])
        shift, log_ratio = self.proposal_out(hidden).chunk(2, dim=1)
        log_ratio = (log_ratio + self.proposal_scale[anchor]).clamp(-8.0, 0.1)
        return prior_mean + prior_log_scale.exp() * shift, prior_log_scale + log_ratio
