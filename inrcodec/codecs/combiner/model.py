"""The Bayesian INR: one small SIREN per patch, its weights a latent vector with a Gaussian posterior.

    latent h ~ q = N(mean, scale^2)          one per patch, D dimensions, factorised
    weights w = base + h A                   linear reparameterisation (RECOMBINER, arXiv 2309.17182, section 3.2)
    values y(x) = SIREN_w(sin(x W + b))      features of the coordinates, the same for all patches

``Reparameterisation.NONE`` is COMBINER as published (arXiv 2305.19185): h is the weight vector itself, and values are
sampled by local reparameterisation. ``LAYER`` gives each layer its own square matrix. ``JOINT`` has one matrix, each of
whose D rows can change all layers, so D can be chosen freely.

The model may include a *proposal* network, which maps the values of a patch to the posterior that the fit starts from.
Without it the fit starts near the prior. Decoding needs neither the proposal nor any gradient.

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
    """Describes the sizes of the model.

    Attributes:
        patch_shape: points of a patch along each axis.
        channels: values per point.
        features: width of the shared first layer.
        hidden: width of each hidden layer of the per-patch network.
        hidden_layers: number of these hidden layers.
        reparameterisation: how the weights depend on the latent vector.
        latent_dims: D, used only with ``JOINT``.
        proposal_hidden: width of the proposal network; 0 for none.
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
            raise FormatError(f"a patch must have 1 to 3 axes, got {len(self.patch_shape)}")
        if not all(1 <= n <= 1 << 16 for n in self.patch_shape) or self.n_points > 1 << 20:
            raise FormatError(f"patch_shape {self.patch_shape} is out of range, expected at most {1 << 20} points")
        for name, maximum in (
            ("channels", 16),
            ("features", 1024),
            ("hidden", 1024),
            ("hidden_layers", 16),
            ("latent_dims", 1 << 16),
        ):
            if not 1 <= getattr(self, name) <= maximum:
                raise FormatError(f"network {name} must be 1 to {maximum}, got {getattr(self, name)}")
        widest = max(self.features, self.hidden)
        if self.n_points * widest > 1 << 26:
            raise FormatError(f"{self.n_points} points x {widest} units exceed the limit of {1 << 26} activations")
        if not 0 <= self.proposal_hidden <= 8192:
            raise FormatError(f"proposal_hidden must be 0 to 8192, got {self.proposal_hidden}")

    @property
    def n_points(self) -> int:
        """Return the number of points of a patch."""
        return math.prod(self.patch_shape)

    @property
    def shape(self) -> SirenShape:
        """Return the widths of the per-patch network."""
        return SirenShape((self.features, *[self.hidden] * self.hidden_layers, self.channels))

    @property
    def dims(self) -> int:
        """Return D, the length of the latent vector."""
        return self.latent_dims if self.reparameterisation is Reparameterisation.JOINT else self.shape.n_weights

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as JSON-compatible values."""
        return {
            **asdict(self),
            "patch_shape": list(self.patch_shape),
            "reparameterisation": str(self.reparameterisation),
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> CombinerConfig:
        """Return the configuration that ``to_dict`` turned into ``fields``.

        Raises:
            FormatError: fields are missing, unknown or out of range.
        """
        try:
            config = cls(**fields)
            check_plain(config)
            return config
        except (TypeError, ValueError) as error:
            raise FormatError(f"the model's configuration is invalid: {error}") from None


class BayesianINR(nn.Module):
    """The shared parameters of the model, and the functions of the latent vector h that they define.

    Shapes: S patches, P points, A axes, C channels, F features, D latent dimensions, R rate anchors.
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
            for layer in size.split(config.shape.layer_sizes):
                matrices.append(
                    torch.randn(len(layer), len(layer), generator=generator) * layer * 0.1 / math.sqrt(len(layer))
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
        """Return whether the model can propose posteriors."""
        return self.config.proposal_hidden > 0

    def features(self, coordinates: Tensor) -> Tensor:
        """Return the features (P, F) of patch coordinates (P, A) in [-1, 1]."""
        return input_features(coordinates, self.frequency, self.phase)

    def weights(self, latent: Tensor) -> Tensor:
        """Return the weights (S, n_weights) of latent vectors (S, D)."""
        match self.config.reparameterisation:
            case Reparameterisation.NONE:
                return latent + self.base
            case Reparameterisation.LAYER:
                layers = latent.split(self.config.shape.layer_sizes, dim=1)
                return self.base + torch.cat([layer @ a for layer, a in zip(layers, self.basis, strict=True)], dim=1)
            case _:
                return torch.addmm(self.base, latent, self.basis[0])

    def values(self, latent: Tensor, features: Tensor) -> Tensor:
        """Return the normalised values (S, P, C) of latent vectors (S, D) at features (P, F)."""
        return siren(features, self.weights(latent), self.config.shape)

    def sampled_values(
        self, mean: Tensor, scale: Tensor, features: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return one sample of the normalised values (S, P, C) under the posterior N(mean, scale^2).

        The sample is differentiable with respect to mean and scale, (S, D) each.
        """
        if self.config.reparameterisation is Reparameterisation.NONE:
            return siren_local(features, mean + self.base, scale.square(), self.config.shape, generator)
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        return self.values(mean + scale * noise, features)

    def propose(
        self, values: Tensor, anchor: Tensor, prior_mean: Tensor, prior_log_scale: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Propose posteriors.

        The network outputs u and v in units of the prior: mean = prior mean + prior scale * u, log scale = prior log
        scale + v.

        Args:
            values: normalised values (S, P, C).
            anchor: rate anchors (S,).
            prior_mean: (S, D).
            prior_log_scale: (S, D).

        Returns:
            Mean and log scale, (S, D) each.
        """
        hidden = torch.nn.functional.gelu(self.proposal_in(values.flatten(1)) + self.proposal_rate[anchor])
        shift, log_ratio = self.proposal_out(hidden).chunk(2, dim=1)
        log_ratio = (log_ratio + self.proposal_scale[anchor]).clamp(-8.0, 0.1)
        return prior_mean + prior_log_scale.exp() * shift, prior_log_scale + log_ratio
