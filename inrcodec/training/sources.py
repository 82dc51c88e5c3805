"""Sources of training data: endless random patches of images, recordings or fields.

A source holds its signals in memory and draws patches of a given shape at random places, with the changes that leave
a natural signal natural (mirror images, lower resolution, another speed or gain). Files are split into a training
part and a held-out part before anything is drawn, so that no held-out sample is ever trained on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inrcodec.errors import DataError, UsageError

FloatArray = NDArray[np.float32]

FULL_RESOLUTION_SHARE = 0.25
"""Share of crops at full resolution, where images are resampled."""


class PatchSource(Protocol):
    """Draws training patches.

    Attributes:
        channels: channels of a patch.
    """

    channels: int

    def draw(self, count: int, rng: np.random.Generator) -> FloatArray:
        """Return ``count`` patches, (count, *patch_shape, channels), in the range of the signal's kind."""
        ...


class TileSource:
    """Draws whole small signals of equal shape (CIFAR-10 images, say), mirrored at random."""

    def __init__(self, tiles: NDArray[np.uint8], *, mirror: bool) -> None:
        if len(tiles) == 0:
            raise DataError("no tiles to train on")
        self.tiles, self.mirror, self.channels = tiles, mirror, tiles.shape[-1]

    def draw(self, count: int, rng: np.random.Generator) -> FloatArray:
        """Return tiles, (count, size, size, channels), in [0, 1]."""
        chosen = self.tiles[rng.integers(len(self.tiles), size=count)].astype(np.float32) / 255.0
        if self.mirror:
            flip = rng.random(count) < 0.5
            chosen[flip] = chosen[flip, :, ::-1]
        return chosen


class ImageSource:
    """Draws random crops of images, mirrored at random; large images count for more.

    Without ``scales``, images come at full and at half resolution. With them (lowest, highest), a quarter of the crops
    are at full resolution and the others are resampled by factors whose logarithm is drawn evenly: an image of many
    points is smoother from point to point than one of few.
    """

    def __init__(
        self,
        images: Sequence[NDArray[np.uint8]],
        patch_shape: tuple[int, ...],
        scales: tuple[float, float] | None = None,
    ) -> None:
        every = [*images, *([] if scales else [halve(image) for image in images])]
        largest = scales[1] if scales else 1.0
        self.images = [im for im in every if all(largest * n >= p for n, p in zip(im.shape, patch_shape, strict=False))]
        if not self.images:
            raise DataError(f"no image is as large as a patch of {patch_shape}")
        self.patch_shape, self.channels, self.scales = patch_shape, self.images[0].shape[-1], scales
        area = np.sqrt([im.shape[0] * im.shape[1] for im in self.images])
        self.share = area / area.sum()

    def draw(self, count: int, rng: np.random.Generator) -> FloatArray:
        """Return crops, (count, *patch_shape, channels), in [0, 1]."""
        height, width = self.patch_shape
        out = np.empty((count, height, width, self.channels), np.float32)
        for row, choice in enumerate(rng.choice(len(self.images), size=count, p=self.share)):
            image = self.images[choice]
            scale = 1.0
            if self.scales is not None and rng.random() >= FULL_RESOLUTION_SHARE:
                low, high = map(math.log, self.scales)
                scale = math.exp(rng.uniform(low, high))
            scale = max(scale, height / image.shape[0], width / image.shape[1])
            crop = _resampled_crop(image, height, width, scale, rng)
            out[row] = (crop[:, ::-1] if rng.random() < 0.5 else crop) / np.float32(255.0)
        return out


def _resampled_crop(
    image: NDArray[np.uint8], height: int, width: int, scale: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return a random part of the image that has this size after resampling by ``scale``."""
    if scale == 1.0:
        top = rng.integers(image.shape[0] - height + 1)
        left = rng.integers(image.shape[1] - width + 1)
        return image[top : top + height, left : left + width]
    tall, wide = min(height / scale, image.shape[0]), min(width / scale, image.shape[1])
    top, left = rng.uniform(0.0, image.shape[0] - tall), rng.uniform(0.0, image.shape[1] - wide)
    box = (left, top, left + wide, top + tall)
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC, box=box))


def halve(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the averages of 2x2 points; an odd last row or column is left out."""
    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    quads = image[:height, :width].astype(np.float32).reshape(height // 2, 2, width // 2, 2, -1)
    result: NDArray[np.uint8] = np.round(quads.mean(axis=(1, 3))).astype(np.uint8)
    return result


class AudioSource:
    """Draws random segments of recordings, played up to 12 % faster or slower, with gains from -10 dB to 4 dB.

    With ``normalised``, every recording has a root mean square of 1, gains vary by 4 dB around it, and nothing is
    clipped; this is for models whose files carry the gain.
    """

    def __init__(
        self, recordings: Sequence[FloatArray], patch_shape: tuple[int, ...], *, normalised: bool = False
    ) -> None:
        (self.length,) = patch_shape
        self.normalised = normalised
        self.recordings = [r for r in recordings if len(r) > 2 * self.length]
        if normalised:
            self.recordings = [r / max(float(np.sqrt(np.square(r).mean())), 1e-4) for r in self.recordings]
        if not self.recordings:
            raise DataError(f"no recording is longer than {2 * self.length} samples")
        self.channels = 1
        lengths = np.array([len(r) for r in self.recordings], np.float64)
        self.share = lengths / lengths.sum()

    def draw(self, count: int, rng: np.random.Generator) -> FloatArray:
        """Return segments, (count, length, 1)."""
        out = np.empty((count, self.length, 1), np.float32)
        grid = np.arange(self.length)
        for row, choice in enumerate(rng.choice(len(self.recordings), size=count, p=self.share)):
            recording = self.recordings[choice]
            speed = np.exp(rng.uniform(-0.12, 0.12)) if rng.random() < 0.5 else 1.0
            start = int(rng.integers(int(len(recording) - self.length * max(speed, 1.0))))
            patch = recording[start : start + self.length]
            if speed != 1.0:
                part = recording[start : start + int(self.length * speed) + 2]
                patch = np.interp(grid * speed, np.arange(len(part)), part).astype(np.float32)
            low, high = (-0.45, 0.45) if self.normalised else (-1.1, 0.5)
            out[row, :, 0] = patch * np.exp(rng.uniform(low, high))
        return out if self.normalised else np.clip(out, -1.0, 1.0)


class FieldSource:
    """Draws random patches of gridded fields normalised to [0, 1], mirrored along the last axis at random."""

    def __init__(self, fields: Sequence[FloatArray], patch_shape: tuple[int, ...]) -> None:
        self.fields = [f for f in fields if all(n >= p for n, p in zip(f.shape[:-1], patch_shape, strict=True))]
        if not self.fields:
            raise DataError(f"no field is as large as a patch of {patch_shape}")
        self.patch_shape, self.channels = patch_shape, self.fields[0].shape[-1]

    def draw(self, count: int, rng: np.random.Generator) -> FloatArray:
        """Return patches, (count, *patch_shape, channels)."""
        out = np.empty((count, *self.patch_shape, self.channels), np.float32)
        for row in range(count):
            field = self.fields[rng.integers(len(self.fields))]
            corner = [rng.integers(n - p + 1) for n, p in zip(field.shape[:-1], self.patch_shape, strict=True)]
            patch = field[tuple(slice(c, c + p) for c, p in zip(corner, self.patch_shape, strict=True))]
            out[row] = patch[..., ::-1, :] if rng.random() < 0.5 else patch
        return out


def split_held_out(paths: Sequence[Path], share: float = 0.05) -> tuple[list[Path], list[Path]]:
    """Return sorted files as into a training part and a held-out part, every n-th file, at least one of two."""
    ordered = sorted(paths)
    if len(ordered) < 2:
        return ordered, []
    every = max(2, round(1.0 / share))
    held = ordered[every // 2 :: every] or ordered[-1:]
    return [path for path in ordered if path not in set(held)], held


def cut_tiles(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return the tiles of a mosaic (H, W, C), (n, size, size, C), row by row.

    Raises:
        UsageError: the mosaic is not made of tiles of this size.
    """
    height, width, channels = image.shape
    if height % size or width % size:
        raise UsageError(f"a mosaic of {height}x{width} is not made of tiles of {size}")
    grid = image.reshape(height // size, size, width // size, size, channels)
    return grid.swapaxes(1, 2).reshape(-1, size, size, channels)
