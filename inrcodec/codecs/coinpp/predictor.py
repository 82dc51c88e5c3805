"""A network that predicts the latents of a patch from its values, so that encoding needs no inner steps.

It reverses Functa (arXiv 2201.12204, section 5), where networks take modulations as input. The prediction is a linear
map of the values, which by itself is close to one inner step from zero, plus a correction by a network with one hidden
layer that sees the output of the linear map.

Shapes: N patches, P points, C channels, D latent dimensions, H hidden units.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

HIDDEN = 512
"""Hidden units H."""


class ModulationPredictor(nn.Module):
    """Predicts latents from values.

    Attributes:
        linear: the linear map.
        read: first layer of the correction.
        write: last layer of the correction.
        scales: standard deviations (D,) of the latents, the units of the correction; not trained.
    """

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
        """Return the latents (N, D) predicted for values (N, P, C) in the model's units."""
        first = self.linear(values.flatten(1))
        result: Tensor = first + self.write(functional.gelu(self.read(first / self.scales))) * self.scales
        return result

    @torch.no_grad()
    def begin_at(self, values: Tensor, latents: Tensor, ridge: float = 1e-3) -> None:
        """Initialise the linear map by ridge regression.

        Args:
            values: patches (N, P, C) in the model's units.
            latents: their latents (N, D).
            ridge: regularisation, relative to the mean variance of the values.
        """
        flat, mean = values.flatten(1), values.flatten(1).mean(dim=0)
        centred, target = (flat - mean).double(), (latents - latents.mean(dim=0)).double()
        gram = centred.T @ centred
        gram += ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
        weight = torch.linalg.solve(gram, centred.T @ target).T.float()
        self.linear.weight.copy_(weight)
        self.linear.bias.copy_(latents.mean(dim=0) - weight @ mean)
        self.scales.copy_(latents.square().mean(dim=0).sqrt().clamp_min(1e-4))
