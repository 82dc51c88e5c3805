"""Training images in the memory of a device, resampled beforehand, from which crops are cut there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

LevelArray = NDArray[np.uint8]
SCALES = (0.5, 2.0)
"""Factors by which images are resampled, where a recipe names none."""
VERSIONS = 5
"""Resampled versions of every image besides the image itself."""
ORIGINALS_WEIGHT = 1.5
"""How much more often an image itself is drawn from than a resampled version of it of the same size."""
SPARE_SIDE = 8
"""Points by which images are larger than crops at least."""
BANK_BYTES = 16 << 30
"""Limit of the memory that the images take; there are fewer resampled versions of many images."""


def resampled(
    image: LevelArray, count: int, scales: tuple[float, float], min_side: int, seed: Sequence[int]
) -> list[LevelArray]:
    """Return an image and ``count`` resampled versions of it, all sides at least ``min_side``.

    Args:
        image: (H, W, 3).
        count: number of versions.
        scales: smallest and largest factor; their logarithms are drawn evenly.
        min_side: smallest side.
        seed: of the factors.
    """
    original = Image.fromarray(image)
    smallest = min_side / min(original.size)
    low, high = (math.log(max(scale, smallest)) for scale in scales)
    drawn = np.exp(np.random.default_rng(seed).uniform(low, high, count))
    out = []
    for scale in (max(1.0, smallest), *drawn):
        width, height = (max(min_side, round(n * scale)) for n in original.size)
        kind = Image.Resampling.BICUBIC if scale > 1.0 else Image.Resampling.LANCZOS
        same = (width, height) == original.size
        out.append(np.asarray(original if same else original.resize((width, height), kind)))
    return out


class ImageBank:
    """Images in the memory of a device, from which crops are cut there.

    Args:
        images: (H, W, 3) each.
        scales: smallest and largest factor by which they are resampled.
        side: side of crops.
        device: where the images are.
        seed: of the factors.
    """

    def __init__(
        self, images: Sequence[LevelArray], scales: tuple[float, float], side: int, device: torch.device, seed: int = 0
    ) -> None:
        versions = _versions_that_fit(images, scales)

        def versions_of(number: int) -> list[LevelArray]:
            return resampled(images[number], versions, scales, side + SPARE_SIDE, (seed, number))

        with ThreadPoolExecutor() as pool:
            arrays = [array for group in pool.map(versions_of, range(len(images))) for array in group]
        self.device, self.side = device, side
        self.height = torch.tensor([a.shape[0] for a in arrays], device=device)
        self.width = torch.tensor([a.shape[1] for a in arrays], device=device)
        sizes = np.array([a.size for a in arrays], np.int64)
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        self.start = torch.from_numpy(starts).to(device)
        self.data = torch.empty(int(sizes.sum()), dtype=torch.uint8, device=device)
        for array, start in zip(arrays, starts.tolist(), strict=True):
            self.data[start : start + array.size] = torch.from_numpy(array.reshape(-1).copy()).to(device)
        share = np.sqrt(sizes / 3.0)
        share[:: versions + 1] *= ORIGINALS_WEIGHT
        self.share = torch.from_numpy(share / share.sum()).float().to(device)

    def draw(self, count: int) -> Tensor:
        """Return crops (count, 3, side, side) in [0, 1] by torch's global generator.

        Half of them are mirrored, one in ten is transposed, two in five have other contrast and colour.
        """
        side, device = self.side, self.device
        k = torch.multinomial(self.share, count, replacement=True)
        u = torch.rand(6, count, device=device)
        top, left = ((u[i] * (n[k] - side + 1)).long() for i, n in ((0, self.height), (1, self.width)))
        line = torch.arange(side, device=device)
        columns = torch.where(u[2, :, None] < 0.5, line, side - 1 - line)
        place = (top[:, None] + line)[:, :, None] * self.width[k][:, None, None] + (left[:, None] + columns)[:, None, :]
        place = torch.where((u[3] < 0.1)[:, None, None], place.transpose(1, 2), place)
        flat = (self.start[k][:, None, None] + place * 3)[..., None] + torch.arange(3, device=device)
        values = self.data[flat].float() / 255.0
        gain = torch.empty(count, 3, device=device).uniform_(-0.12, 0.08)
        gain = torch.exp(gain + torch.empty(count, 1, device=device).uniform_(-0.35, 0.15))[:, None, None]
        varied = ((values - 0.45) * gain + 0.45 + (0.2 * u[5] - 0.1)[:, None, None, None]).clamp(0.0, 1.0)
        is_varied = (u[4] < 0.4)[:, None, None, None]
        return torch.where(is_varied, (varied * 255.0).round() / 255.0, values).permute(0, 3, 1, 2)


def _versions_that_fit(images: Sequence[LevelArray], scales: tuple[float, float]) -> int:
    low, high = scales
    growth = (high**2 - low**2) / (2.0 * math.log(high / low))
    room = BANK_BYTES / sum(image.size for image in images) - 1.0
    return max(0, min(VERSIONS, int(room / growth)))
