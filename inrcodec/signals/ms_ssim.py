"""Multi-scale structural similarity of images, as a measure and as an error of every point to be optimised.

Source: Z. Wang, E. Simoncelli, A. Bovik, *Multi-scale structural similarity for image quality assessment* (Asilomar
2003): a Gaussian window of 11x11 (standard deviation 1.5), five scales, each of the averages of 2x2 points of the one
before; contrast and structure at all scales, luminance at the coarsest.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from inrcodec.signals.signal import Signal

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW, DEVIATION = 11, 1.5
LUMINANCE_FLOOR, CONTRAST_FLOOR = 0.01**2, 0.03**2
"""For values in [0, 1]."""
LARGEST = 1 << 24


def ms_ssim(first: Tensor, second: Tensor) -> Tensor:
    """MS-SSIM (N,) of images (N, C, H, W) in [0, 1], the mean over channels.

    Windows lie inside the image, as published. Images of a side below 176, which have no room for a window at the
    coarsest scale, use as many scales as they have room for, the weights made to add up to 1; below 11 the window
    is as large as the side.
    """
    side = min(first.shape[2:])
    n_scales = min(len(SCALE_WEIGHTS), max(1, int(math.log2(max(side, 1) / WINDOW)) + 1) if side >= WINDOW else 1)
    weights = [weight / sum(SCALE_WEIGHTS[:n_scales]) for weight in SCALE_WEIGHTS[:n_scales]]
    kernel = _kernel(min(WINDOW, side), first)
    product = torch.ones(first.shape[:2], dtype=first.dtype, device=first.device)
    for scale, weight in enumerate(weights):
        luminance, contrast = _maps(first, second, lambda x: _blurred(x, kernel, padded=False))
        found = contrast * luminance if scale == n_scales - 1 else contrast
        product = product * found.mean(dim=(2, 3)).clamp_min(0.0) ** weight
        if scale < n_scales - 1:
            first, second = functional.avg_pool2d(first, 2), functional.avg_pool2d(second, 2)
    return product.mean(dim=1)


def signal_ms_ssim(original: Signal, decoded: Signal) -> float | None:
    """MS-SSIM of the colours of an image, as written to its file; None of other signals and of images of more than
    ``LARGEST`` points."""
    if original.header.kind != "image" or original.header.n_points > LARGEST:
        return None
    top = 2**original.meta.bit_depth - 1
    first, second = (
        torch.from_numpy(np.rint(np.clip(s.colour_values, 0.0, 1.0).astype(np.float64) * top) / top)
        for s in (original, decoded)
    )
    return float(ms_ssim(first.permute(2, 0, 1)[None], second.permute(2, 0, 1)[None]))


def structure_errors(first: Tensor, second: Tensor) -> Tensor:
    """Errors (N, H, W) of every point whose mean is, to first order, 1 - MS-SSIM of images (N, C, H, W).

    The product over scales is taken as a sum, sum of weight * (1 - similarity of the scale's map), each map spread over
    the points that it averages; windows at the border see the part of them that lies inside. Gradients reach both.
    """
    height, width = first.shape[2:]
    kernel = _kernel(WINDOW, first)
    total = first.new_zeros(len(first), height, width)
    for scale, weight in enumerate(SCALE_WEIGHTS):
        inside = _blurred(torch.ones_like(first[:1, :1]), kernel, padded=True)
        luminance, contrast = _maps(first, second, lambda x, c=inside: _blurred(x, kernel, padded=True) / c)  # type: ignore[misc]
        last = scale == len(SCALE_WEIGHTS) - 1 or min(first.shape[2:]) < 2
        error = 1.0 - (contrast * luminance if last else contrast).mean(dim=1)
        spread = error.repeat_interleave(2**scale, 1).repeat_interleave(2**scale, 2)[:, :height, :width]
        total = total + weight * spread
        if last:
            break
        first, second = (functional.avg_pool2d(x, 2, ceil_mode=True) for x in (first, second))
    return total


def _kernel(size: int, like: Tensor) -> Tensor:
    places = torch.arange(size, dtype=like.dtype, device=like.device) - (size - 1) / 2
    weights = torch.exp(-places.square() / (2.0 * DEVIATION**2))
    return weights / weights.sum()


def _blurred(values: Tensor, kernel: Tensor, *, padded: bool) -> Tensor:
    """Every channel by the separable window."""
    channels, border = values.shape[1], len(kernel) // 2 if padded else 0
    rows = functional.conv2d(
        values, kernel.view(1, 1, -1, 1).expand(channels, -1, -1, -1), padding=(border, 0), groups=channels
    )
    return functional.conv2d(
        rows, kernel.view(1, 1, 1, -1).expand(channels, -1, -1, -1), padding=(0, border), groups=channels
    )


def _maps(first: Tensor, second: Tensor, blur: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Luminance and contrast-structure at every window."""
    mean_a, mean_b = blur(first), blur(second)
    both = mean_a * mean_b
    variances = blur(first * first) + blur(second * second) - mean_a * mean_a - mean_b * mean_b
    covariance = blur(first * second) - both
    luminance = (2.0 * both + LUMINANCE_FLOOR) / (mean_a * mean_a + mean_b * mean_b + LUMINANCE_FLOOR)
    return luminance, (2.0 * covariance + CONTRAST_FLOOR) / (variances + CONTRAST_FLOOR)
