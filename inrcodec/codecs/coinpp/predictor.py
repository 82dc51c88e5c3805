"""A network that predicts modulations straight from a patch, so that encoding needs no inner steps (Functa, arXiv
2201.12204, section 5, turned around: there the modulations are what a network reads).

A linear map of the values, which alone is nearly an inner step from zero, and a correction by a network of one hidden
layer that sees what the linear map gives. Shapes: N patches, P points, C channels, D latent dimensions, H hidden units.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

HIDDEN = 512


class ModulationPredictor(nn.Module):
    """Values (N, P, C) in the model's units to latents (N, D). ``scales`` (D,): standard deviations of latents, not
    learned; the correction works in their units."""

    def __init__(self, n_values: int, latent_dims: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.linear = nn.Linear(n_values, latent_dims)
        self.read = nn.Linear(latent_dims, hidden)
        self.write = nn.Linear(hidden, latent_dims)
        self.scales: Tensor
        self.register_buffer("scales", torch.ones(latent_dims))
        nn.init.zeros_(self.write.weight)
        nn.init.zeros_(self.write.bias)

    def forward(self, values: Tensor) -> Tensor:
        first = self.linear(values.flatten(1))
        return first + self.write(functional.gelu(self.read(first / self.scales))) * self.scales

    @torch.no_grad()
    def begin_at(self, values: Tensor, latents: Tensor, ridge: float = 1e-3) -> None:
        """The linear map by regularised least squares from patches and their latents."""
        flat, mean = values.flatten(1), values.flatten(1).mean(dim=0)
        centred, wanted = (flat - mean).double(), (latents - latents.mean(dim=0)).double()
        gram = centred.T @ centred
        gram += ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
        weight = torch.linalg.solve(gram, centred.T @ wanted).T.float()
        self.linear.weight.copy_(weight)
        self.linear.bias.copy_(latents.mean(dim=0) - weight @ mean)
        self.scales.copy_(latents.square().mean(dim=0).sqrt().clamp_min(1e-4))
