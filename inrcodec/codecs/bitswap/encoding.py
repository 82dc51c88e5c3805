"""Encode images losslessly: one body per image, or one message for a chain of images of one size."""

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
    """Images being encoded.

    Attributes:
        codec: the codec.
        sources: the images.
        effort: the effort preset.
        progress: called with the number of values done.
    """

    def __init__(self, codec: BitSwapCodec, sources: Sequence[Source], options: EncodeOptions) -> None:
        for source in sources:
            codec.check(source.header)
        self.codec, self.sources = codec, sources
        self.effort, self.progress = BITSWAP_EFFORTS[options.effort], options.progress

    def at(self, rate: Rate) -> Coded:
        """See ``Encoding.at``; there is only one rate."""
        assert rate.beta is None and rate.bits is None
        if self._can_chain():
            return Coded(b"", [b""] * len(self.sources), chain=self._chain())
        prepared = [_Prepared.make(self.codec, source) for source in self.sources]
        bodies: dict[int, bytes] = {}
        for group in _groups(prepared, self.codec):
            bodies.update(zip(group, self._bodies([prepared[number] for number in group]), strict=True))
        return Coded(b"", [bodies[number] for number in range(len(prepared))])

    def _can_chain(self) -> bool:
        """Return whether the images go into one message."""
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
        all_levels = np.stack([to_levels(source) for source in self.sources])
        flags, colours = SCHEMES.index(codec.scheme), all_levels.shape[3]
        if colours > codec.prior.channels and (all_levels == all_levels[..., :1]).all():
            flags, colours = flags | GRAY, 1
        images = [codec.messages.planes_of(levels[..., :colours]) for levels in all_levels]
        message = codec.messages.push_chain(images, self.progress)
        crc = crc_of(all_levels)
        chain = write_varint(len(all_levels)) + bytes([flags]) + crc + message
        if self.effort.checks:
            _check_same(codec.chain_levels(chain, header, self.progress), all_levels)
        return chain

    def _bodies(self, prepared: Sequence[_Prepared]) -> list[bytes]:
        """Return the shortest body of each image: as PNG, or in any orientation under the model."""
        codec = self.codec
        candidates = [_stored(image) for image in prepared]
        for orientation in range(self.effort.orientations):
            reoriented = [_reoriented(image.planes, orientation) for image in prepared]
            images = [codec.messages.planes_of(planes) for planes in reoriented]
            messages = codec.messages.push(images, self.progress)
            if self.effort.checks:
                decoded = codec.messages.pop(messages, images[0].shape, self.progress)
                _check_same(np.stack(decoded), np.stack(images))
            for bodies, image, message in zip(candidates, prepared, messages, strict=True):
                flags = bytes([image.flags | orientation << SCHEME_BITS])
                bodies.append(flags + image.crc + image.low + message)
        return [min(bodies, key=len) for bodies in candidates]


@dataclass(frozen=True)
class _Prepared:
    """An image prepared for its body.

    Attributes:
        header: header of the image.
        levels: its samples (H, W, C).
        planes: the samples of at most 8 bits (H, W, C') that the model codes.
        flags: the first byte of the body, without the orientation.
        low: the low bytes of 16-bit samples, deflated, with their length; else empty.
        crc: the CRC-32 of the samples.
    """

    header: SignalHeader
    levels: NDArray[np.uint16]
    planes: NDArray[np.uint16]
    flags: int
    low: bytes
    crc: bytes

    @classmethod
    def make(cls, codec: BitSwapCodec, source: Source) -> _Prepared:
        """Prepare one source."""
        levels = to_levels(source)
        crc = crc_of(levels)
        low, planes = b"", levels
        flags = SCHEMES.index(codec.scheme)
        if source.header.sample_type == "u16":
            low_bytes = (levels & 255).transpose(2, 0, 1).reshape(-1, levels.shape[1])
            deflated = encode_alpha((low_bytes / np.float32(255)).astype(np.float32), 8)
            low, planes, flags = write_varint(len(deflated)) + deflated, (levels >> 8).astype(np.uint16), flags | DEEP
        elif levels.shape[2] == 3 and codec.prior.channels == 1 and (levels == levels[..., :1]).all():
            planes, flags = levels[..., :1], flags | GRAY
        return cls(source.header, levels, planes, flags, low, crc)


def _stored(image: _Prepared) -> list[bytes]:
    """Return the body with the image as PNG; none for 16-bit colour images, which Pillow cannot write."""
    if image.header.sample_type == "u16" and image.levels.shape[2] == 3:
        return []
    return [bytes([STORED]) + image.crc + to_png(image.levels, image.header)]


def _groups(prepared: Sequence[_Prepared], codec: BitSwapCodec) -> list[list[int]]:
    """Return groups of indices of images that are coded side by side."""
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for index, image in enumerate(prepared):
        by_shape.setdefault(image.planes.shape, []).append(index)
    groups = []
    for indices in by_shape.values():
        size = codec.messages.at_once(prepared[indices[0]].planes.shape)
        groups += [indices[start : start + size] for start in range(0, len(indices), size)]
    return groups


def _reoriented(planes: NDArray[np.uint16], orientation: int) -> NDArray[np.uint16]:
    """Return planes (H, W, C) in another orientation, see ``messages.turned``."""
    return turned(planes.transpose(2, 0, 1), orientation).transpose(1, 2, 0)


def _check_same(decoded: NDArray[np.uint16], original: NDArray[np.uint16]) -> None:
    if not np.array_equal(decoded, original):
        raise InrcodecError("the file does not decode to the original image on this machine: nothing was written")
