"""Local functions of large arrays, evaluated strip by strip to bound the memory of intermediate results."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

STRIP_NUMBERS = 1 << 20
"""The default size of a strip: about this many numbers of the first array."""
FLOAT32_INTEGERS = float(1 << 24)
"""Float32 holds every integer up to this magnitude."""


def in_strips(
    function: Callable[..., Tensor],
    values: Tensor,
    *others: Tensor,
    halo: int,
    overwrite: bool = False,
    numbers: int = 0,
) -> Tensor:
    """Return ``function(values, *others)``, computed on strips of rows.

    Args:
        function: a local function. A row of its result depends on rows at most ``halo`` away and on the function's own
            padding beyond the first and last row. Each row of ``values`` may yield several rows. The type may differ
            between strips; the result has the widest one.
        values: (N, C, H, W).
        others: more arrays of the same height.
        halo: the reach of the function in rows.
        overwrite: whether the result may replace ``values`` in memory, if shape and type are the same.
        numbers: the size of a strip of ``values``, about; 0 means ``STRIP_NUMBERS``.
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
        # Rows above ``start`` may have been overwritten, so they come from the copy that was kept.
        strip = torch.cat([kept, values[:, :, start:bottom]], dim=2)
        kept = strip[:, :, max(0, stop - halo) - top : stop - top].clone()
        result = function(strip, *(other[:, :, top:bottom] for other in others))
        ratio = result.shape[2] // (bottom - top)
        result = result[:, :, (start - top) * ratio : (stop - top) * ratio]
        if out is None:
            shape = (*result.shape[:2], height * ratio, result.shape[3])
            same = overwrite and shape == values.shape and result.dtype == values.dtype
            out = values if same else result.new_empty(shape)
        out = out.to(torch.promote_types(out.dtype, result.dtype))
        out[:, :, start * ratio : stop * ratio] = result
    assert out is not None
    return out


def narrow_integers(values: Tensor) -> Tensor:
    """Return integers in float64 as float32 if that type holds them all, otherwise unchanged."""
    if values.dtype != torch.float64 or not values.numel():
        return values
    low, high = torch.aminmax(values)
    return values.float() if max(-float(low), float(high)) <= FLOAT32_INTEGERS else values
