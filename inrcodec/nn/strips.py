"""Local functions of large arrays, strip by strip: what they need beyond input and output stays small."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

STRIP_NUMBERS = 1 << 20
"""Numbers of the first array that a strip holds, about."""
FLOAT32_INTEGERS = float(1 << 24)


def in_strips(
    function: Callable[..., Tensor],
    values: Tensor,
    *others: Tensor,
    halo: int,
    overwrite: bool = False,
    numbers: int = 0,
) -> Tensor:
    """``function(values, *others)`` for arrays (N, C, H, W) of equal height, rows by rows.

    A row of the outcome may depend on rows at most ``halo`` away, with zeros (or whatever the function itself takes)
    beyond the first and last; it may have any number of rows per row of ``values``, and another type in every strip
    (the widest is kept). ``numbers``: of ``values`` that a strip holds, about. ``overwrite``: the outcome may take the
    place of ``values`` where it has the same shape and type.
    """
    height = values.shape[2]
    rows = max(1, (numbers or STRIP_NUMBERS) // max(1, values[:, :, :1].numel()))
    if rows >= height:
        return function(values, *others)
    out: Tensor | None = None
    kept = values[:, :, :0]
    for start in range(0, height, rows):
        stop = min(start + rows, height)
        top, bottom = max(0, start - halo), min(height, stop + halo)
        part = torch.cat([kept, values[:, :, start:bottom]], dim=2)
        kept = part[:, :, max(0, stop - halo) - top : stop - top].clone()
        found = function(part, *(other[:, :, top:bottom] for other in others))
        ratio = found.shape[2] // (bottom - top)
        found = found[:, :, (start - top) * ratio : (stop - top) * ratio]
        if out is None:
            shape = (*found.shape[:2], height * ratio, found.shape[3])
            same = overwrite and shape == values.shape and found.dtype == values.dtype
            out = values if same else found.new_empty(shape)
        out = out.to(torch.promote_types(out.dtype, found.dtype))
        out[:, :, start * ratio : stop * ratio] = found
    assert out is not None
    return out


def narrow_integers(values: Tensor) -> Tensor:
    """Integers in float64 as float32 where that holds them all."""
    if values.dtype == torch.float64 and values.numel() and float(values.abs().max()) <= FLOAT32_INTEGERS:
        return values.float()
    return values
