"""A normalising flow over the latents of natural signals (Functa, arXiv 2201.12204, section 5).

The flow is masked autoregressive (arXiv 1705.07057) in the order of the latent dimensions, strongest first: each
dimension is Gaussian given those before it, with mean and scale from a masked network (MADE, arXiv 1502.03509) that
also takes the quantisation step size. As an entropy model, the flow gives the probability of a quantisation cell.
Sampling the dimensions one after the other gives a new signal.

Its probabilities are floating-point numbers, which differ between machines, so it serves studies and samples but not
files.

Shapes: N patches, D latent dimensions, H hidden units.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

HIDDEN = 512
"""Hidden units H."""
LOG_SCALE_RANGE = (-6.0, 3.0)
"""Range of the log scales that the network may output, in units of ``ModulationFlow.scales``."""
INPUT_LIMIT = 8.0
"""Latents are clamped to this many standard deviations before the network sees them."""
MIN_PROBABILITY = 1e-8
"""Below this probability, the length of a cell is approximated by that of the Gaussian's tail."""
MIN_NATS = 2.0
"""Added to the exponent of the tail, in place of the logarithm of its prefactor."""


class ModulationFlow(nn.Module):
    """The flow.

    Attributes:
        scales: standard deviations (D,) of the latents, the units of the network; not trained.
        read: first layer.
        mix: second layer.
        write: last layer.
    """

    def __init__(self, latent_dims: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.scales: Tensor
        self.register_buffer("scales", torch.ones(latent_dims))
        self.read = nn.Linear(latent_dims + 1, hidden)
        self.mix = nn.Linear(hidden, hidden)
        self.write = nn.Linear(hidden, 2 * latent_dims)
        nn.init.zeros_(self.write.weight)
        nn.init.zeros_(self.write.bias)
        # A hidden unit of degree k sees dimensions below k and is seen by dimensions from k on. All see the step size.
        degree = torch.arange(hidden) * latent_dims // hidden
        dims = torch.arange(latent_dims)
        self._read_mask = torch.cat([(dims[None] < degree[:, None]).float(), torch.ones(hidden, 1)], dim=1)
        self._mix_mask = (degree[None] <= degree[:, None]).float()
        self._write_mask = (degree[None] <= dims[:, None]).float().repeat(2, 1)

    def forward(self, latents: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and log standard deviation (N, D) of every dimension given those before it.

        Args:
            latents: (N, D).
            step: quantisation step sizes (N,).
        """
        inputs = (latents / self.scales).clamp(-INPUT_LIMIT, INPUT_LIMIT)
        inputs = torch.cat([inputs, step.log()[:, None]], dim=1)
        hidden = functional.gelu(functional.linear(inputs, self.read.weight * self._read_mask, self.read.bias))
        mixed = functional.gelu(functional.linear(hidden, self.mix.weight * self._mix_mask, self.mix.bias))
        out = functional.linear(hidden + mixed, self.write.weight * self._write_mask, self.write.bias)
        mean, log_scale = out.chunk(2, dim=1)
        return mean * self.scales, log_scale.clamp(*LOG_SCALE_RANGE) + self.scales.log()

    @torch.no_grad()
    def sample(self, count: int, step: float, generator: torch.Generator, temperature: float = 1.0) -> Tensor:
        """Sample latents (count, D), one dimension after the other; ``temperature`` scales the standard deviations."""
        latents = torch.zeros(count, len(self.scales))
        steps = torch.full((count,), step)
        noise = torch.randn(latents.shape, generator=generator) * temperature
        for index in range(latents.shape[1]):
            mean, log_scale = self(latents, steps)
            latents[:, index] = mean[:, index] + log_scale[:, index].exp() * noise[:, index]
        return latents


def cell_nats(flow: ModulationFlow, quantised: Tensor, step: Tensor) -> Tensor:
    """Return the ideal code length (N, D), in nats, of latents (N, D) quantised to multiples of ``step`` (N,)."""
    mean, log_scale = flow(quantised, step)
    distance, scale = (quantised - mean).abs(), log_scale.exp()
    half = 0.5 * step[:, None]
    root = math.sqrt(2.0)
    # In the upper tail, erfc keeps the precision that erf would lose.
    inside = 0.5 * (torch.erfc((distance - half) / (scale * root)) - torch.erfc((distance + half) / (scale * root)))
    tail = 0.5 * ((distance - half).clamp_min(0.0) / scale).square() + MIN_NATS
    return torch.where(inside > MIN_PROBABILITY, -inside.clamp_min(MIN_PROBABILITY).log(), tail)
