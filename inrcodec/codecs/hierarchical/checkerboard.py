"""The two colours of a checkerboard of places: gather the places of one colour into a smaller grid, or scatter them.

A place belongs to colour ``phase`` if row + column + ``phase`` is even, so every row has W / 2 places of each colour.
Gathering and scattering are each other's gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor


def take_color(values: Tensor, phase: int | None) -> Tensor:
    """Return the values at the places of one colour.

    Args:
        values: (N, C, H, W), W even.
        phase: the colour, 0 or 1; None for all places.

    Returns:
        (N, C, H, W / 2), or ``values`` itself if ``phase`` is None.
    """
    return values if phase is None else _take_color(values, phase)


def scatter_color(values: Tensor, phase: int | None) -> Tensor:
    """Return values (N, C, H, W / 2) on the whole grid (N, C, H, W), with 0 at the places of the other colour.

    This is the inverse of ``take_color``; ``values`` itself if ``phase`` is None.
    """
    return values if phase is None else _scatter_color(values, phase)


class _TakeColor(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values: Tensor, phase: int) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.phase = phase
        return _gather(values, phase)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        return _scatter(gradient, ctx.phase), None


class _ScatterColor(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values: Tensor, phase: int) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.phase = phase
        return _scatter(values, phase)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        return _gather(gradient, ctx.phase), None


_take_color: Callable[[Tensor, int], Tensor] = _TakeColor.apply
_scatter_color: Callable[[Tensor, int], Tensor] = _ScatterColor.apply


def _gather(values: Tensor, phase: int) -> Tensor:
    pairs = values.unflatten(3, (-1, 2))
    return torch.where(_is_second(values.shape[2], phase % 2, values.device), pairs[..., 1], pairs[..., 0])


def _scatter(values: Tensor, phase: int) -> Tensor:
    second = _is_second(values.shape[2], phase % 2, values.device)
    zero = torch.zeros((), dtype=values.dtype, device=values.device)
    both = [torch.where(second, zero, values), torch.where(second, values, zero)]
    # Keep the channels last in memory if they are.
    if values.is_contiguous():
        return torch.stack(both, dim=4).flatten(3)
    last = torch.stack([half.permute(0, 2, 3, 1) for half in both], dim=3)
    return last.flatten(2, 3).permute(0, 3, 1, 2)


@lru_cache(maxsize=64)
def _is_second(height: int, phase: int, device: torch.device) -> Tensor:
    """Return, for every row, whether its places of this colour are the second ones of their pairs, (H, 1)."""
    return ((torch.arange(height, device=device) + phase) % 2 == 1)[:, None]
