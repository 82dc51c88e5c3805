"""Pictures to messages under a lossless model and back, by bits-back coding: one alone or several side by side, tile by
tile, or many in one message.

Models know planes of their own levels: ``planes_of`` and ``to_levels`` go between these and a picture's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from inrcodec.codecs.base import Progress
from inrcodec.codecs.bitswap.bits_back import BitsBack
from inrcodec.codecs.bitswap.prior import BitSwapPrior
from inrcodec.codecs.bitswap.tables import CHUNK
from inrcodec.coding.ans import Bundle, Message, WatchedMessage
from inrcodec.errors import DataError, FormatError

Levels = NDArray[np.uint8]

SHARE_MARGIN = 1.5
"""Of pictures that pay for latents: not all of them cost what the first one does."""


class ImageStreams:
    """``push`` and ``pop``, ``push_chain`` and ``pop_chain`` are each other's inverses under one prior; ``scheme``:
    bitswap or bbans."""

    def __init__(self, prior: BitSwapPrior, scheme: str) -> None:
        self.prior, self.scheme = prior, scheme

    def stack(self, colours: int) -> tuple[int, int]:
        """Pictures and channels that colours make under the prior; FormatError when it is for more of them."""
        if self.prior.channels not in (1, colours):
            raise FormatError(f"prior {self.prior.name!r} is for colour, the picture's data are gray")
        return (1, colours) if self.prior.channels == colours else (colours, 1)

    def to_levels(self, values: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """Levels of 8 bits from those of the prior."""
        return values * np.uint16(255 // (self.prior.config.levels - 1))

    def planes_of(self, levels: NDArray[np.uint16]) -> Levels:
        """Planes (N, C, H, W) in the prior's levels of (H, W, colours); DataError when it has too few of them."""
        step = 255 // (self.prior.config.levels - 1)
        if (levels % step).any():
            raise DataError(f"prior {self.prior.name!r} is for pictures of {self.prior.config.levels} levels")
        moved = np.ascontiguousarray((levels // step).astype(np.uint8).transpose(2, 0, 1))
        return moved.reshape(*self.stack(len(moved)), *levels.shape[:2])

    def push(self, images: Sequence[Levels], tick: Progress) -> list[bytes]:
        """Messages of pictures (N, C, H, W) of one shape, coded side by side."""
        messages = [Message() for _ in images]
        coder = BitsBack(self.prior.layers, self.scheme, tick)
        for rows, columns in tiles(*images[0].shape[2:]):
            part = np.concatenate([image[:, :, rows, columns] for image in images])
            coder.push(messages[0] if len(messages) == 1 else Bundle(messages), part)
        return [message.to_bytes() for message in messages]

    def pop(self, data: Sequence[bytes], shape: tuple[int, ...], tick: Progress) -> list[Levels]:
        """Inverse of ``push``; FormatError when a message does not end where it should."""
        messages = [Message(part) for part in data]
        coder = BitsBack(self.prior.layers, self.scheme, tick)
        found = np.empty((len(data) * shape[0], *shape[1:]), np.uint8)
        for rows, columns in reversed(list(tiles(shape[2], shape[3]))):
            part = (*found.shape[:2], rows.stop - rows.start, columns.stop - columns.start)
            stack = messages[0] if len(messages) == 1 else Bundle(messages)
            found[:, :, rows, columns] = coder.pop(stack, part)
        if not all(message.is_empty for message in messages):
            raise FormatError("the message does not end where it should")
        return list(found.reshape(len(data), *shape))

    def at_once(self, shape: tuple[int, ...]) -> int:
        """How many pictures of shape (H, W, colours) are coded side by side."""
        config = self.prior.config
        phase = -(-shape[0] // 2) * -(-shape[1] // 2)
        latents = [
            channels * math.prod(config.latent_grid(layer, *shape[:2])) for layer, channels in enumerate(config.latents)
        ]
        return max(1, min(CHUNK // (max(phase, *latents) * self.stack(shape[2])[0]), GROUP_POINTS // phase))

    def push_chain(self, images: Sequence[Levels], tick: Progress) -> bytes:
        """A byte, the share of ``groups``, and one message of pictures (N, C, H, W) of one size, in growing groups:
        those before pay for the first latents of those that follow."""
        message = Message()
        coder, share = BitsBack(self.prior.layers, self.scheme, tick), self._share(images[0])
        for start, stop in groups(len(images), images[0].shape[-2] * images[0].shape[-1], share):
            coder.push(message, np.concatenate(images[start:stop]))
        return bytes([share]) + message.to_bytes()

    def _share(self, image: Levels) -> int:
        """How many pictures before it pay for the initial bits of one."""
        noise = np.random.default_rng(0).integers(1, 256, 16 * image.size).astype(np.uint8)
        message = WatchedMessage(noise.tobytes())
        before = message.n_bits
        BitsBack(self.prior.layers, self.scheme).push(message, image)
        needed, earned = before - message.least, max(1, message.n_bits - before)
        return min(max(1, math.ceil(SHARE_MARGIN * needed / earned)), 255)

    def pop_chain(self, data: bytes, count: int, shape: tuple[int, ...], tick: Progress) -> list[Levels]:
        """Inverse of ``push_chain`` for ``count`` pictures of shape (N, C, H, W)."""
        if not data or not data[0]:
            raise FormatError("the chain of pictures is damaged")
        message = Message(data[1:])
        coder = BitsBack(self.prior.layers, self.scheme, tick)
        images: list[Levels] = []
        for start, stop in reversed(list(groups(count, shape[-2] * shape[-1], data[0]))):
            found = coder.pop(message, ((stop - start) * shape[0], *shape[1:]))
            images = [*found.reshape(stop - start, *shape), *images]
        if not message.is_empty:
            raise FormatError("the message does not end where it should")
        return images


LONGEST_SIDE = 2048
"""Sides of pictures that are coded as one; larger ones are cut into equal tiles."""
GROUP_POINTS = 1 << 18
"""Points of pictures that are coded together."""
ORIENTATIONS = 8


def groups(count: int, points: int, share: int) -> Iterator[tuple[int, int]]:
    """Where the groups of a chain begin and end: each has 1 / ``share`` of the pictures before, which pay for it."""
    start, most = 0, max(1, GROUP_POINTS // points)
    while start < count:
        stop = min(start + min(max(1, start // share), most), count)
        yield start, stop
        start = stop


def tiles(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Equal tiles of at most ``LONGEST_SIDE`` a side, row by row."""
    rows, columns = (np.linspace(0, n, -(-n // LONGEST_SIDE) + 1).astype(int).tolist() for n in (height, width))
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            yield slice(top, bottom), slice(left, right)


def turned(planes: NDArray[np.uint16], orientation: int) -> NDArray[np.uint16]:
    """Planes (C, H, W) mirrored up-down (1), left-right (2), transposed (4)."""
    planes = planes[:, ::-1] if orientation & 1 else planes
    planes = planes[:, :, ::-1] if orientation & 2 else planes
    return planes.swapaxes(1, 2) if orientation & 4 else planes


def turned_back(planes: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Inverse of ``turned``."""
    planes = planes.swapaxes(1, 2) if orientation & 4 else planes
    planes = planes[:, :, ::-1] if orientation & 2 else planes
    return planes[:, ::-1] if orientation & 1 else planes
