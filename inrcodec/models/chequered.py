"""The two colours of a chequered board of places: rows of the places of one colour, and back to the board."""

from __future__ import annotations

import torch
from torch import Tensor


def pick(values: Tensor, phase: int | None) -> Tensor:
    """Values (N, C, H, W) at the places whose row + column + ``phase`` is even, (N, C, H, W / 2); W is even.

    All of them where ``phase`` is None.
    """
    if phase is None:
        return values
    pairs = values.unflatten(3, (-1, 2))
    return torch.where(_second(values.shape[2], phase, values.device), pairs[..., 1], pairs[..., 0])


def put(values: Tensor, phase: int | None) -> Tensor:
    """Inverse of ``pick``: places of the other colour are 0."""
    if phase is None:
        return values
    second = _second(values.shape[2], phase, values.device)
    nothing = torch.zeros((), dtype=values.dtype, device=values.device)
    return torch.stack([torch.where(second, nothing, values), torch.where(second, values, nothing)], dim=4).flatten(3)


def _second(height: int, phase: int, device: torch.device) -> Tensor:
    """Of every row, whether its places of this colour are the second ones of their pairs, (H, 1)."""
    return ((torch.arange(height, device=device) + phase) % 2 == 1)[:, None]
