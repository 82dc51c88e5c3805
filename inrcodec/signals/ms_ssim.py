"""Multi-scale structural similarity (MS-SSIM) of images: the metric, and a differentiable error per point.

Source: Z. Wang, E. Simoncelli, A. Bovik, *Multi-scale structural similarity for image quality assessment* (Asilomar
2003). The window is an 11x11 Gaussian (standard deviation 1.5). There are five scales, each made by averaging 2x2
points of the finer one. Contrast and structure count at all scales, luminance at the coarsest.
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
"""Constants that stabilise the divisions, for values in [0, 1]."""
MAX_POINTS = 1 << 24
"""``signal_ms_ssim`` skips larger images, which would take too much memory."""


def ms_ssim(first: Tensor, second: Tensor) -> Tensor:
    """Return the MS-SSIM (N,) of two batches of images (N, C, H, W) in [0, 1], the mean over channels.

    Windows lie inside the image, as published. If a side is below 176, no window fits at the coarsest scale; the image
    then uses as many scales as fit, with weights normalised to the sum 1. Below 11 the window shrinks to that side.
    """
    side = min(first.shape[2:])
    n_scales = min(len(SCALE_WEIGHTS), max(1, int(math.log2(max(side, 1) / WINDOW)) + 1) if side >= WINDOW else 1)
    weights = [weight / sum(SCALE_WEIGHTS[:n_scales]) for weight in SCALE_WEIGHTS[:n_scales]]
    kernel = _kernel(min(WINDOW, side), first)
    product = torch.ones(first.shape[:2], dtype=first.dtype, device=first.device)
    for scale, weight in enumerate(weights):
        luminance, contrast = _maps(first, second, lambda x: _blurred(x, kernel, padded=False))
        similarity = contrast * luminance if scale == n_scales - 1 else contrast
        product = product * similarity.mean(dim=(2, 3)).clamp_min(0.0) ** weight
        if scale < n_scales - 1:
            first, second = functional.avg_pool2d(first, 2), functional.avg_pool2d(second, 2)
    return product.mean(dim=1)


def signal_ms_ssim(original: Signal, decoded: Signal) -> float | None:
    """Return the MS-SSIM of two images without alpha, rounded to their bit depth.

    Return None for audio, fields and images of more than ``MAX_POINTS`` points.
    """
    if original.header.kind != "image" or original.header.n_points > MAX_POINTS:
        return None
    top = 2**original.meta.bit_depth - 1
    first, second = (
        torch.from_numpy(np.rint(np.clip(s.colour_values, 0.0, 1.0).astype(np.float64) * top) / top)
        for s in (original, decoded)
    )
    return float(ms_ssim(first.permute(2, 0, 1)[None], second.permute(2, 0, 1)[None]))


def structure_errors(first: Tensor, second: Tensor) -> Tensor:
    """Return errors (N, H, W) whose mean is, to first order, 1 - MS-SSIM of images (N, C, H, W) in [0, 1].

    The product over scales becomes a sum of weight * (1 - similarity), where the similarity map of each scale is spread
    over the points that it averages. Windows at the border average their inner part. Gradients reach both arguments.
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
    """Return every channel convolved with the separable window."""
    channels, border = values.shape[1], len(kernel) // 2 if padded else 0
    rows = functional.conv2d(
        values, kernel.view(1, 1, -1, 1).expand(channels, -1, -1, -1), padding=(border, 0), groups=channels
    )
    return functional.conv2d(
        rows, kernel.view(1, 1, 1, -1).expand(channels, -1, -1, -1), padding=(0, border), groups=channels
    )


def _maps(first: Tensor, second: Tensor, blur: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Return luminance and contrast-structure of every window."""
    mean_a, mean_b = blur(first), blur(second)
    mean_product = mean_a * mean_b
    variances = blur(first * first) + blur(second * second) - mean_a * mean_a - mean_b * mean_b
    covariance = blur(first * second) - mean_product
    luminance = (2.0 * mean_product + LUMINANCE_FLOOR) / (mean_a * mean_a + mean_b * mean_b + LUMINANCE_FLOOR)
    return luminance, (2.0 * covariance + CONTRAST_FLOOR) / (variances + CONTRAST_FLOOR)
