"""Images to bytes by the lossless codecs: one body per image, or one message for a chain of images of one size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inrcodec.codecs.base import Coded, EncodeOptions, Rate, Source
from inrcodec.codecs.bitswap.bits_back import SCHEMES
from inrcodec.codecs.bitswap.effort import BITSWAP_EFFORTS
from inrcodec.codecs.bitswap.messages import turned
from inrcodec.codecs.bitswap.samples import DEEP, GRAY, SCHEME_BITS, STORED, crc_of, to_levels
from inrcodec.codecs.bitswap.stored_png import to_png
from inrcodec.codecs.planes import has_alpha
from inrcodec.coding.bits import write_varint
from inrcodec.container.alpha import encode_alpha
from inrcodec.errors import InrcodecError
from inrcodec.signals.header import SignalHeader

if TYPE_CHECKING:
    from inrcodec.codecs.bitswap.codec import BitSwapCodec


class BitSwapEncoding:
    """Pictures being encoded."""

    def __init__(self, codec: BitSwapCodec, sources: Sequence[Source], options: EncodeOptions) -> None:
        for source in sources:
            codec.check(source.header)
        self.codec, self.sources = codec, sources
        self.effort, self.tick = BITSWAP_EFFORTS[options.effort], options.progress

    def at(self, rate: Rate) -> Coded:
        """Bytes; there is only one rate."""
        assert rate.beta is None and rate.bits is None
        if self._chains():
            return Coded(b"", [b""] * len(self.sources), chain=self._chain())
        prepared = [_Prepared.make(self.codec, source) for source in self.sources]
        bodies: dict[int, bytes] = {}
        for group in _alike(prepared, self.codec):
            chosen = [prepared[number] for number in group]
            bodies.update(zip(group, self._bodies(chosen), strict=True))
        return Coded(b"", [bodies[number] for number in range(len(prepared))])

    def _chains(self) -> bool:
        """Whether the pictures go into one message."""
        first = self.sources[0]
        return (
            self.codec.prior.config.splits == 0
            and len(self.sources) > 1
            and not has_alpha(first.header)
            and first.header.sample_type != "u16"
            and all(s.header == first.header and s.extra == first.extra for s in self.sources)
        )

    def _chain(self) -> bytes:
        codec, header = self.codec, self.sources[0].header
        pictures = np.stack([to_levels(source) for source in self.sources])
        how, colours = SCHEMES.index(codec.scheme), pictures.shape[3]
        if colours > codec.prior.channels and (pictures == pictures[..., :1]).all():
            how, colours = how | GRAY, 1
        images = [codec.messages.planes_of(levels[..., :colours]) for levels in pictures]
        message = codec.messages.push_chain(images, self.tick)
        crc = crc_of(pictures)
        chain = write_varint(len(pictures)) + bytes([how]) + crc + message
        if self.effort.checks:
            _check_same(codec.chain_levels(chain, header, self.tick), pictures)
        return chain

    def _bodies(self, pictures: Sequence[_Prepared]) -> list[bytes]:
        codec = self.codec
        tried = [_stored(picture) for picture in pictures]
        for orientation in range(self.effort.orientations):
            moved = [_moved(picture.planes, orientation) for picture in pictures]
            images = [codec.messages.planes_of(planes) for planes in moved]
            messages = codec.messages.push(images, self.tick)
            if self.effort.checks:
                found = codec.messages.pop(messages, images[0].shape, self.tick)
                _check_same(np.stack(found), np.stack(images))
            for number, (picture, message) in enumerate(zip(pictures, messages, strict=True)):
                how = bytes([picture.how | orientation << SCHEME_BITS])
                tried[number].append(how + picture.crc + picture.low + message)
        return [min(bodies, key=len) for bodies in tried]


@dataclass(frozen=True)
class _Prepared:
    """A picture as its body describes it: ``planes`` (H, W, C) of 8 bits go to the model, ``low`` goes beside them."""

    header: SignalHeader
    levels: NDArray[np.uint16]
    planes: NDArray[np.uint16]
    how: int
    low: bytes
    crc: bytes

    @classmethod
    def make(cls, codec: BitSwapCodec, source: Source) -> _Prepared:
        """Of one source."""
        levels = to_levels(source)
        crc = crc_of(levels)
        low, planes = b"", levels
        how = SCHEMES.index(codec.scheme)
        if source.header.sample_type == "u16":
            beneath = (levels & 255).transpose(2, 0, 1).reshape(-1, levels.shape[1])
            packed = encode_alpha((beneath / np.float32(255)).astype(np.float32), 8)
            low, planes, how = write_varint(len(packed)) + packed, (levels >> 8).astype(np.uint16), how | DEEP
        elif levels.shape[2] == 3 and codec.prior.channels == 1 and (levels == levels[..., :1]).all():
            planes, how = levels[..., :1], how | GRAY
        return cls(source.header, levels, planes, how, low, crc)


def _stored(picture: _Prepared) -> list[bytes]:
    """The picture's body as PNG; none for colours of 16 bits, which Pillow does not write."""
    if picture.header.sample_type == "u16" and picture.levels.shape[2] == 3:
        return []
    return [bytes([STORED]) + picture.crc + to_png(picture.levels, picture.header)]


def _alike(pictures: Sequence[_Prepared], codec: BitSwapCodec) -> list[list[int]]:
    """Numbers of pictures that are coded side by side."""
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for number, picture in enumerate(pictures):
        by_shape.setdefault(picture.planes.shape, []).append(number)
    found = []
    for numbers in by_shape.values():
        size = codec.messages.at_once(pictures[numbers[0]].planes.shape)
        found += [numbers[start : start + size] for start in range(0, len(numbers), size)]
    return found


def _moved(planes: NDArray[np.uint16], orientation: int) -> NDArray[np.uint16]:
    """(H, W, C) turned and mirrored."""
    return turned(planes.transpose(2, 0, 1), orientation).transpose(1, 2, 0)


def _check_same(found: NDArray[np.uint16], wanted: NDArray[np.uint16]) -> None:
    if not np.array_equal(found, wanted):
        raise InrcodecError("the file does not decode to its picture on this machine: nothing was written")
