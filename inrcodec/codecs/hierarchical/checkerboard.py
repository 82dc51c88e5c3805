"""The two colours of a chequered board of places: rows of the places of one colour, and back to the board."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


def take_color(values: Tensor, phase: int | None) -> Tensor:
    """Values (N, C, H, W) at the places whose row + column + ``phase`` is even, (N, C, H, W / 2); W is even.

    All of them where ``phase`` is None.
    """
    return values if phase is None else _Pick.apply(values, phase)


def scatter_color(values: Tensor, phase: int | None) -> Tensor:
    """Inverse of ``pick``: places of the other colour are 0."""
    return values if phase is None else _Put.apply(values, phase)


class _Pick(torch.autograd.Function):
    """Each of the two is the other's gradient."""

    @staticmethod
    def forward(ctx, values: Tensor, phase: int) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.phase = phase
        return _picked(values, phase)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        return _spread(gradient, ctx.phase), None


class _Put(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values: Tensor, phase: int) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.phase = phase
        return _spread(values, phase)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        return _picked(gradient, ctx.phase), None


def _picked(values: Tensor, phase: int) -> Tensor:
    pairs = values.unflatten(3, (-1, 2))
    return torch.where(_second(values.shape[2], phase % 2, values.device), pairs[..., 1], pairs[..., 0])


def _spread(values: Tensor, phase: int) -> Tensor:
    second = _second(values.shape[2], phase % 2, values.device)
    nothing = torch.zeros((), dtype=values.dtype, device=values.device)
    both = [torch.where(second, nothing, values), torch.where(second, values, nothing)]
    # Channels stay last in memory where they are.
    last = torch.stack([half.permute(0, 2, 3, 1) for half in both], dim=3)
    return last.flatten(2, 3).permute(0, 3, 1, 2)


@lru_cache(maxsize=64)
def _second(height: int, phase: int, device: torch.device) -> Tensor:
    """Of every row, whether its places of this colour are the second ones of their pairs, (H, 1)."""
    return ((torch.arange(height, device=device) + phase) % 2 == 1)[:, None]
