"""Images to messages and back by bits-back coding: one or several side by side, tile by tile, or many in one message.

A prior models *planes*, arrays (N, C, H, W) of its own levels; ``planes_of`` and ``to_levels`` convert between planes
and the samples of an image.
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
"""Margin on the number of images whose bits pay for the latents of one more, because images differ."""
MAX_SIDE = 2048
"""Images with a longer side are cut into equal tiles."""
GROUP_POINTS = 1 << 18
"""Images are coded together up to this many points."""
ORIENTATIONS = 8
"""Number of orientations of an image, see ``turned``."""


class ImageStreams:
    """Codes images under one prior. ``pop`` is the inverse of ``push``, ``pop_chain`` of ``push_chain``.

    Attributes:
        prior: the prior.
        scheme: the order of coding, one of ``bits_back.SCHEMES``.
    """

    def __init__(self, prior: BitSwapPrior, scheme: str) -> None:
        self.prior, self.scheme = prior, scheme

    def stack(self, colours: int) -> tuple[int, int]:
        """Return the number N of planes and their channels C for an image of ``colours`` channels.

        Raises:
            FormatError: the prior models more channels than the image has.
        """
        if self.prior.channels not in (1, colours):
            raise FormatError(f"prior {self.prior.name!r} is for colour images, but the image is gray")
        return (1, colours) if self.prior.channels == colours else (colours, 1)

    def to_levels(self, values: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """Return 8-bit samples from levels of the prior."""
        return values * np.uint16(255 // (self.prior.config.levels - 1))

    def planes_of(self, levels: NDArray[np.uint16]) -> Levels:
        """Return the planes (N, C, H, W), in levels of the prior, of an image (H, W, colours) of 8-bit samples.

        Raises:
            DataError: the prior has too few levels for the image.
        """
        step = 255 // (self.prior.config.levels - 1)
        if (levels % step).any():
            raise DataError(
                f"prior {self.prior.name!r} is for images of {self.prior.config.levels} levels, the image has others: "
                "choose another with --prior"
            )
        planes = np.ascontiguousarray((levels // step).astype(np.uint8).transpose(2, 0, 1))
        return planes.reshape(*self.stack(len(planes)), *levels.shape[:2])

    def push(self, images: Sequence[Levels], progress: Progress) -> list[bytes]:
        """Return the messages of images (N, C, H, W) of one shape, coded side by side."""
        messages = [Message() for _ in images]
        coder = BitsBack(self.prior.layers, self.scheme, progress)
        for rows, columns in tiles(*images[0].shape[2:]):
            tile = np.concatenate([image[:, :, rows, columns] for image in images])
            coder.push(messages[0] if len(messages) == 1 else Bundle(messages), tile)
        return [message.to_bytes() for message in messages]

    def pop(self, data: Sequence[bytes], shape: tuple[int, ...], progress: Progress) -> list[Levels]:
        """Return the images (N, C, H, W) of messages, the inverse of ``push``.

        Raises:
            FormatError: a message is corrupt.
        """
        messages = [Message(message) for message in data]
        coder = BitsBack(self.prior.layers, self.scheme, progress)
        images = np.empty((len(data) * shape[0], *shape[1:]), np.uint8)
        for rows, columns in reversed(list(tiles(shape[2], shape[3]))):
            tile_shape = (*images.shape[:2], rows.stop - rows.start, columns.stop - columns.start)
            stack = messages[0] if len(messages) == 1 else Bundle(messages)
            images[:, :, rows, columns] = coder.pop(stack, tile_shape)
        if not all(message.is_empty for message in messages):
            raise FormatError("the message of an image has trailing data: the file is corrupt")
        return list(images.reshape(len(data), *shape))

    def at_once(self, shape: tuple[int, ...]) -> int:
        """Return how many images of shape (H, W, colours) are coded side by side."""
        config = self.prior.config
        phase = -(-shape[0] // 2) * -(-shape[1] // 2)
        latents = [
            channels * math.prod(config.latent_grid(layer, *shape[:2])) for layer, channels in enumerate(config.latents)
        ]
        return max(1, min(CHUNK // (max(phase, *latents) * self.stack(shape[2])[0]), GROUP_POINTS // phase))

    def push_chain(self, images: Sequence[Levels], progress: Progress) -> bytes:
        """Return a chain: one byte, the ``share`` of ``groups``, and one message of images (N, C, H, W) of one size.

        The images are coded in growing groups; the bits of the groups before pay for the initial bits of the next.
        """
        message = Message()
        coder, share = BitsBack(self.prior.layers, self.scheme, progress), self._share(images[0])
        for start, stop in groups(len(images), images[0].shape[-2] * images[0].shape[-1], share):
            coder.push(message, np.concatenate(images[start:stop]))
        return bytes([share]) + message.to_bytes()

    def _share(self, image: Levels) -> int:
        """Return the number of images whose bits pay for the initial bits of one more."""
        noise = np.random.default_rng(0).integers(1, 256, 16 * image.size).astype(np.uint8)
        message = WatchedMessage(noise.tobytes())
        before = message.n_bits
        BitsBack(self.prior.layers, self.scheme).push(message, image)
        needed, earned = before - message.least, max(1, message.n_bits - before)
        return min(max(1, math.ceil(SHARE_MARGIN * needed / earned)), 255)

    def pop_chain(self, data: bytes, count: int, shape: tuple[int, ...], progress: Progress) -> list[Levels]:
        """Return ``count`` images of shape (N, C, H, W) from a chain, the inverse of ``push_chain``.

        Raises:
            FormatError: the chain is corrupt.
        """
        if not data or not data[0]:
            raise FormatError("the chain of images is corrupt")
        message = Message(data[1:])
        coder = BitsBack(self.prior.layers, self.scheme, progress)
        images: list[Levels] = []
        for start, stop in reversed(list(groups(count, shape[-2] * shape[-1], data[0]))):
            group = coder.pop(message, ((stop - start) * shape[0], *shape[1:]))
            images = [*group.reshape(stop - start, *shape), *images]
        if not message.is_empty:
            raise FormatError("the chain of images has trailing data: the file is corrupt")
        return images


def groups(count: int, points: int, share: int) -> Iterator[tuple[int, int]]:
    """Yield first and end index of each group of a chain.

    A group has 1 / ``share`` as many images as come before it, whose bits pay for it, and at most ``GROUP_POINTS``.
    """
    start, max_images = 0, max(1, GROUP_POINTS // points)
    while start < count:
        stop = min(start + min(max(1, start // share), max_images), count)
        yield start, stop
        start = stop


def tiles(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Yield equal tiles of at most ``MAX_SIDE`` points a side, in row-major order."""
    rows, columns = (np.linspace(0, n, -(-n // MAX_SIDE) + 1).astype(int).tolist() for n in (height, width))
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            yield slice(top, bottom), slice(left, right)


def turned(planes: NDArray[np.uint16], orientation: int) -> NDArray[np.uint16]:
    """Return planes (C, H, W) in another orientation.

    The bits of ``orientation`` select mirroring up-down (1), then left-right (2), then transposing (4).
    """
    planes = planes[:, ::-1] if orientation & 1 else planes
    planes = planes[:, :, ::-1] if orientation & 2 else planes
    return planes.swapaxes(1, 2) if orientation & 4 else planes


def turned_back(planes: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Return planes in their original orientation, the inverse of ``turned``."""
    planes = planes.swapaxes(1, 2) if orientation & 4 else planes
    planes = planes[:, :, ::-1] if orientation & 2 else planes
    return planes[:, ::-1] if orientation & 1 else planes
