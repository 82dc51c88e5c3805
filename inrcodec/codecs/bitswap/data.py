"""Training data of lossless models: images as levels, without the traces of another codec.

Files without loss (PNG, WebP, mosaics of tiles) are used as they are; JPEG files averaged down by 2 and by 3, which
removes most of their block structure. Batches come from sources of several sizes at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import DataError
from inrcodec.signals.files import read_signal
from inrcodec.training.folders import DataSummary, files_in
from inrcodec.training.sources import cut_tiles

LevelArray = NDArray[np.uint8]

HELD_OUT = 20
"""Every n-th file or tile is held out."""
REDUCTIONS = (2, 3)
SOFT_SHARE, MAX_BLUR, MAX_NOISE = 0.5, 0.25, 2.0
"""Share of crops of photographs that is softened, max weight of a neighbour, max standard deviation in levels."""
LOSSY_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".avif", ".heic")


class LevelSource:
    """Draws batches of crops of one size from images (H, W, C) of levels in memory.

    Args:
        tiles: whole small images.
        photographs: images that crops are cut from.
        crop: side of crops.
        mirror: whether crops are mirrored left to right at random.
        binary: whether every value becomes 1 with the probability that it stands for, anew at each drawing.
        tile_share: share of batches that are whole tiles, where there are both.
    """

    def __init__(
        self,
        tiles: Sequence[LevelArray],
        photographs: Sequence[LevelArray],
        crop: int,
        *,
        mirror: bool,
        binary: bool,
        tile_share: float = 0.25,
    ) -> None:
        self.tiles = np.concatenate(list(tiles)) if tiles else None
        self.photographs = [p for p in photographs if min(p.shape[:2]) >= crop]
        if self.tiles is None and not self.photographs:
            raise DataError(f"no image is as large as {crop}x{crop}")
        self.crop, self.mirror, self.binary = crop, mirror, binary
        self.tile_share = 0.0 if self.tiles is None else tile_share if self.photographs else 1.0
        if self.photographs:
            area = np.sqrt([p.shape[0] * p.shape[1] for p in self.photographs])
            self._share = area / area.sum()

    def draw(self, points: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Return levels (N, C, h, w) of about ``points`` points in all."""
        if rng.random() < self.tile_share:
            assert self.tiles is not None
            count = max(1, points // (self.tiles.shape[1] * self.tiles.shape[2]))
            drawn = self.tiles[rng.integers(len(self.tiles), size=count)]
        else:
            count = max(1, points // self.crop**2)
            drawn = np.stack([self._crop(rng) for _ in range(count)])
        if self.mirror:
            flip = rng.random(count) < 0.5
            drawn = np.where(flip[:, None, None, None], drawn[:, :, ::-1], drawn)
        levels = np.ascontiguousarray(drawn.transpose(0, 3, 1, 2)).astype(np.float32)
        if self.binary:
            levels = (rng.random(levels.shape, np.float32) * 255.0 < levels).astype(np.float32)
        return levels

    def _crop(self, rng: np.random.Generator) -> LevelArray:
        image = self.photographs[rng.choice(len(self.photographs), p=self._share)]
        top, left = (int(rng.integers(n - self.crop + 1)) for n in image.shape[:2])
        crop = image[top : top + self.crop, left : left + self.crop]
        return softened(crop, rng) if self.mirror and rng.random() < SOFT_SHARE else crop


@dataclass(frozen=True)
class LevelData:
    """Training data in memory.

    Attributes:
        training: source of training images.
        held_out: source of held-out images; of training images where nothing is held out.
        summary: what was read.
    """

    training: LevelSource
    held_out: LevelSource
    summary: DataSummary


def read_level_data(
    folders: Sequence[Path], channels: int, crop: int, *, tile: int = 0, mirror: bool = True, binary: bool = False
) -> LevelData:
    """Read all images of the folders.

    Args:
        folders: folders and files.
        channels: 1 for gray, 3 for colour.
        crop: side of the crops that larger images are cut into.
        tile: side of the tiles that lossless files are mosaics of; 0 for whole images.
        mirror: whether training images are mirrored at random.
        binary: whether values become 0 or 1 at random.

    Raises:
        DataError: there is nothing to train on.
    """
    paths = files_in(folders)
    files = 0
    tiles: list[LevelArray] = []
    photographs: tuple[list[LevelArray], list[LevelArray]] = [], []
    for number, path in enumerate(paths):
        try:
            signal = read_signal(path)
        except DataError:
            continue
        if signal.header.kind != "image":
            continue
        files += 1
        levels = in_channels(np.rint(signal.colour_values * 255).astype(np.uint8), channels)
        part = photographs[number % HELD_OUT == HELD_OUT // 2]
        if path.suffix.lower() in LOSSY_SUFFIXES:
            part += [reduced(levels, factor) for factor in REDUCTIONS]
        elif tile:
            tiles.append(cut_tiles(levels, tile))
        else:
            part.append(levels)
    every = np.concatenate(tiles) if tiles else np.empty((0, 1, 1, channels), np.uint8)
    held = np.arange(len(every)) % HELD_OUT == 0
    parts = [([every[~held]] if tiles else [], photographs[0]), ([every[held]] if tiles else [], photographs[1])]
    if not any(parts[1]):
        parts[1] = parts[0]
    training = LevelSource(*parts[0], crop, mirror=mirror, binary=binary)
    held_out = LevelSource(*parts[1], crop, mirror=False, binary=binary)
    n_tiles, n_held_tiles = int((~held).sum()), int(held.sum())
    words = (
        f"{n_tiles} tiles and {len(photographs[0])} images, "
        f"{n_held_tiles} tiles and {len(photographs[1])} images held out"
    )
    n_training, n_held_out = n_tiles + len(photographs[0]), n_held_tiles + len(photographs[1])
    return LevelData(training, held_out, DataSummary(words, files, n_training, n_held_out))


def softened(levels: LevelArray, rng: np.random.Generator) -> LevelArray:
    """Return a crop (H, W, C) as a less sharp lens and a noisier sensor would have given it.

    Photographs at their full size are softer than those that were averaged down.
    """
    side, sigma = rng.uniform(0.0, MAX_BLUR), rng.uniform(0.0, MAX_NOISE)
    soft = levels.astype(np.float32)
    for axis in (0, 1):
        padded = np.pad(soft, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
        first, last = (
            np.take(padded, range(levels.shape[axis]), axis),
            np.take(padded, range(2, levels.shape[axis] + 2), axis),
        )
        soft = (1.0 - 2.0 * side) * soft + side * (first + last)
    noisy = soft + sigma * rng.standard_normal(levels.shape, np.float32)
    result: LevelArray = np.rint(noisy.clip(0.0, 255.0)).astype(np.uint8)
    return result


def in_channels(levels: LevelArray, channels: int) -> LevelArray:
    """Return levels (H, W, 1 or 3) as gray (the luma of BT.601) or colour."""
    if levels.shape[-1] == channels:
        return levels
    if channels == 3:
        return np.repeat(levels, 3, axis=-1)
    luma = (levels.astype(np.int64) @ np.array([299, 587, 114]) + 500) // 1000
    result: LevelArray = luma[..., None].astype(np.uint8)
    return result


def reduced(levels: LevelArray, factor: int) -> LevelArray:
    """Return the averages of cells of ``factor`` by ``factor`` points, without incomplete cells."""
    height, width = (n // factor for n in levels.shape[:2])
    cells = levels[: height * factor, : width * factor].astype(np.float32)
    result: LevelArray = np.rint(cells.reshape(height, factor, width, factor, -1).mean(axis=(1, 3))).astype(np.uint8)
    return result
