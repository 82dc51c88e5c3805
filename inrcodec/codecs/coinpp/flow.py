"""A normalising flow over modulations: what latents of natural signals look like (Functa, arXiv 2201.12204).

Masked autoregressive (Papamakarios et al., NeurIPS 2017) in the order of the latent dimensions, the strongest first:
each is Gaussian given those before it, mean and scale by a masked network (MADE, Germain et al., ICML 2015), which is
also told the quantisation step. As an entropy model it gives the probability of a cell of that step; drawn one after
the other, dimensions are a new signal.

Its probabilities are floating point, so that they serve studies and samples, not files. Shapes: N patches, D latent
dimensions, H hidden units.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

HIDDEN = 512
LOG_SCALE_RANGE = (-6.0, 3.0)
INPUT_LIMIT = 8.0
LEAST = 1e-8
MIN_NATS = 2.0


class ModulationFlow(nn.Module):
    """``scales`` (D,): standard deviations of latents, the units inside; not learned."""

    def __init__(self, latent_dims: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.scales: Tensor
        self.register_buffer("scales", torch.ones(latent_dims))
        self.read = nn.Linear(latent_dims + 1, hidden)
        self.mix = nn.Linear(hidden, hidden)
        self.write = nn.Linear(hidden, 2 * latent_dims)
        nn.init.zeros_(self.write.weight)
        nn.init.zeros_(self.write.bias)
        # A hidden unit of degree k sees dimensions before k, and is seen by dimensions from k on; the step is for all.
        degree = torch.arange(hidden) * latent_dims // hidden
        dims = torch.arange(latent_dims)
        self._read_mask = torch.cat([(dims[None] < degree[:, None]).float(), torch.ones(hidden, 1)], dim=1)
        self._mix_mask = (degree[None] <= degree[:, None]).float()
        self._write_mask = (degree[None] <= dims[:, None]).float().repeat(2, 1)

    def forward(self, latents: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation (N, D) of every dimension given those before it in ``latents`` (N, D), at
        quantisation steps (N,)."""
        inputs = (latents / self.scales).clamp(-INPUT_LIMIT, INPUT_LIMIT)
        inputs = torch.cat([inputs, step.log()[:, None]], dim=1)
        hidden = functional.gelu(functional.linear(inputs, self.read.weight * self._read_mask, self.read.bias))
        mixed = functional.gelu(functional.linear(hidden, self.mix.weight * self._mix_mask, self.mix.bias))
        out = functional.linear(hidden + mixed, self.write.weight * self._write_mask, self.write.bias)
        mean, log_scale = out.chunk(2, dim=1)
        return mean * self.scales, log_scale.clamp(*LOG_SCALE_RANGE) + self.scales.log()

    @torch.no_grad()
    def sample(self, count: int, step: float, generator: torch.Generator, temperature: float = 1.0) -> Tensor:
        """Latents (count, D), dimension by dimension; ``temperature`` scales the standard deviations."""
        latents = torch.zeros(count, len(self.scales))
        steps = torch.full((count,), step)
        noise = torch.randn(latents.shape, generator=generator) * temperature
        for index in range(latents.shape[1]):
            mean, log_scale = self(latents, steps)
            latents[:, index] = mean[:, index] + log_scale[:, index].exp() * noise[:, index]
        return latents


def cell_nats(flow: ModulationFlow, quantised: Tensor, step: Tensor) -> Tensor:
    """Length in nats (N, D) of latents rounded to whole ``step`` (N,): minus the logarithm of their cells'
    probabilities."""
    mean, log_scale = flow(quantised, step)
    distance, scale = (quantised - mean).abs(), log_scale.exp()
    half = 0.5 * step[:, None]
    root = math.sqrt(2.0)
    # The upper tail, where erfc has the precision that erf lacks.
    inside = 0.5 * (torch.erfc((distance - half) / (scale * root)) - torch.erfc((distance + half) / (scale * root)))
    tail = 0.5 * ((distance - half).clamp_min(0.0) / scale).square() + MIN_NATS
    return torch.where(inside > LEAST, -inside.clamp_min(LEAST).log(), tail)
