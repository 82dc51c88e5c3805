"""Choose the symbols of one latent block by annealing: all at once, at random, ever nearer to the cheaper neighbour.

How the cost changes if one symbol moves to a neighbouring integer is known: its own bits exactly, the error and the
bits of later blocks to second order. How symbols that move together interact is not known. So every symbol moves with
the probability of a heat bath whose temperature falls to 0, and gradients are averaged over steps, so that a symbol
responds to where its neighbours usually are. Moving along the straight-through gradient of rounding gains less: it
ignores that the first step away from 0 is expensive.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from inrcodec.codecs.hierarchical.checkerboard import scatter_color
from inrcodec.codecs.hierarchical.elbo import Quantise, rounded, symbol_bits

TEMPERATURE = 1.0
"""Temperature at the beginning, in bits. It falls linearly to 0 at the last step."""
MEMORY = 0.5
"""The weight of earlier gradients in the average."""


class Cost(Protocol):
    """Returns the total cost in bits, from the annealed block on, and is differentiable."""

    def __call__(self, quantise: Quantise, offset: Tensor) -> Tensor:
        """Return the cost with latents from ``quantise`` and ``offset`` (N, c, H, W) added to the proposals."""
        ...


Random = Callable[[tuple[int, ...]], Tensor]
"""Shape (c, h, w) of the block's latents -> uniform random numbers (N, c, h, w)."""


def anneal(
    cost: Cost,
    offset: Tensor,
    phase: int | None,
    curvature: Tensor,
    steps: int,
    random: Random,
    progress: Callable[[int], None],
) -> Tensor:
    """Return offsets to the proposals of one latent block that lower the cost.

    Args:
        cost: the cost.
        offset: the offsets (N, c, H, W) to begin with, on the whole grid, in step sizes.
        phase: checkerboard colour of the block.
        curvature: second derivative (N, 1, 1, 1) of the cost with respect to a latent without its own bits, in bits per
            squared step size.
        steps: steps to take; each evaluates the cost and its gradient once.
        random: uniform random numbers.
        progress: called with 1 after every step.
    """
    average = torch.zeros(())
    for step in range(steps):
        block = _FirstBlock()
        (gradient,) = torch.autograd.grad(cost(block, offset).sum(), block.shifts)
        average = gradient if step == 0 else MEMORY * average + (1.0 - MEMORY) * gradient
        direction = torch.where(average > 0, -1.0, 1.0)
        moved = block.symbols + direction
        own_bits = symbol_bits(moved, block.log_scale) - symbol_bits(block.symbols, block.log_scale)
        change = own_bits + direction * average + 0.5 * curvature
        temperature = TEMPERATURE * (1.0 - (step + 1) / steps)
        if temperature > 0.0:
            moves = random(tuple(change.shape[1:])) < torch.sigmoid(-change / temperature)
        else:
            moves = change < 0
        offset = offset + scatter_color(torch.where(moves, moved - block.residual, 0.0), phase)
        progress(1)
    return offset


class _FirstBlock:
    """Rounds, and keeps what was rounded first, with a shift of 0 whose gradient leaves out the symbols' own bits."""

    def __init__(self) -> None:
        self.shifts: list[Tensor] = []

    def __call__(self, residual: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        if self.shifts:
            return rounded(residual, log_scale)
        self.residual, self.log_scale = residual.detach(), log_scale.detach()
        self.symbols = self.residual.round()
        shift = torch.zeros_like(self.symbols).requires_grad_(True)
        self.shifts.append(shift)
        return self.symbols + shift, self.symbols
