"""What the encoder proposes for latent grids: a small network per grid, of the picture at that grid's resolution.

picture, halved i times by means, and its difference from the next coarser one  ->  3x3, ReLU, 3x3, ReLU, 1x1 -> z_i
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

PROPOSAL_WIDTH = 24


class GridProposal(nn.Module):
    """Latents (one value per place of every grid) for values (C, H, W), sizes multiples of the coarsest stride."""

    def __init__(self, grids: int, channels: int) -> None:
        super().__init__()
        self.centre = 0.5
        self.networks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(2 * channels, PROPOSAL_WIDTH, 3, padding=1, padding_mode="replicate"), nn.ReLU(),
                nn.Conv2d(PROPOSAL_WIDTH, PROPOSAL_WIDTH, 3, padding=1, padding_mode="replicate"), nn.ReLU(),
                nn.Conv2d(PROPOSAL_WIDTH, 1, 1),
            )
            for _ in range(grids)
        )  # fmt: skip

    def forward(self, values: Tensor) -> list[Tensor]:
        """The grids, finest first, in steps."""
        here, out = values[None] - self.centre, []
        for number, network in enumerate(self.networks):
            last = number == len(self.networks) - 1
            coarser = functional.avg_pool2d(here, 2) if not last else torch.zeros_like(here[:, :, :1, :1])
            above = functional.interpolate(coarser, size=here.shape[2:], mode="bilinear", align_corners=False)
            out.append(network(torch.cat([here, here - above], dim=1))[0, 0] * 8.0)
            here = coarser
        return out
