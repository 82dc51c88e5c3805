"""The lossless codecs ``bitswap`` and ``bbans``: pictures to bytes and back, bit for bit.

    levels -> planes -> tiles -> message under the prior's networks         (compress)
    message -> tiles -> planes -> levels                                    (decompress)

A *body* is one byte that says how (below), the CRC-32 of the levels, and the message. Sixteen-bit pictures send their
high bytes so and their low bytes deflated. A picture that is smaller as PNG is sent as PNG. Several pictures of one
size under a model without finer scales go into one message, the *chain*, since each of them alone would pay for its
first latents.

The receiver checks that the message ends empty and that the levels have the CRC-32: of a damaged message or a machine
that computes otherwise comes an error, never other pixels.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inrcodec.codecs.base import Coded, Rate, Source
from inrcodec.codecs.bitswap.bits_back import SCHEMES
from inrcodec.codecs.bitswap.messages import ORIENTATIONS, ImageStreams, turned, turned_back
from inrcodec.codecs.bitswap.prior import BitSwapPrior
from inrcodec.codecs.bitswap.stored_png import from_png, to_png
from inrcodec.codecs.planes import has_alpha
from inrcodec.coding.bits import read_varint, write_varint
from inrcodec.container.alpha import decode_alpha, encode_alpha
from inrcodec.errors import FormatError, InrcodecError, LimitError, UnsupportedError, UsageError
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.signals.header import SignalHeader

Progress = Callable[[int], None]
FloatArray = NDArray[np.float32]

STORED, GRAY, DEEP = 0x80, 0x40, 0x20
"""How a picture is sent: as PNG; as its first plane, all being equal; low bytes beside high ones. The scheme's number
in ``SCHEMES`` is in the lowest bits, the orientation in the three above it."""
SCHEME_BITS = 2
CRC_BYTES = 4
LATENTS_PER_POINT = 16
"""Of ``Limits.max_points``: models may have more latents than pixels."""


@dataclass(frozen=True)
class BitSwapEffort:
    """``checks``: decode after encoding; ``orientations``: turned and mirrored pictures that are tried."""

    name: str
    checks: bool
    orientations: int


BITSWAP_EFFORTS = {
    effort.name: effort
    for effort in (
        BitSwapEffort("fast", False, 1),
        BitSwapEffort("default", True, 1),
        BitSwapEffort("best", True, ORIENTATIONS),
    )
}


class BitSwapCodec:
    """``encoding`` turns pictures to bytes, ``decode`` one body back, under one prior; ``scheme``: bitswap or bbans."""

    def __init__(self, prior: BitSwapPrior, scheme: str = "bitswap") -> None:
        self.prior, self.scheme = prior, scheme
        self.messages = ImageStreams(prior, scheme)

    @property
    def name(self) -> str:
        """The scheme."""
        return self.scheme

    # Sender.

    def encoding(
        self, sources: Sequence[Source], effort: str, tick: Progress | None = None, coder: str | None = None
    ) -> BitSwapEncoding:
        """Pictures to be encoded. Raises UsageError for a coder, UnsupportedError for what it cannot carry."""
        if coder is not None:
            raise UsageError(f"codec {self.name} has no choice of coders, got {coder!r}")
        for source in sources:
            self._check(source.header)
        return BitSwapEncoding(self, sources, BITSWAP_EFFORTS[effort], tick or (lambda points: None))

    def planned_steps(self, sources: Sequence[Source], effort: str) -> int:
        """Values to be pushed and popped."""
        preset = BITSWAP_EFFORTS[effort]
        values = sum(s.header.n_points * _colours(s.header) for s in sources)
        return values * preset.orientations * (1 + preset.checks)

    @property
    def max_parameter_bytes(self) -> int:
        """Parameters are none."""
        return 0

    def read_parameters(self, data: bytes) -> tuple[int]:
        """Where the body begins."""
        del data
        return (0,)

    def default_beta(self, sources: Sequence[Source]) -> float:
        """UsageError: there is no rate to choose."""
        raise UsageError(f"codec {self.name} is lossless: it takes no target")

    def _check(self, header: SignalHeader) -> None:
        channels, levels = self.prior.channels, self.prior.config.levels
        if header.kind != "image":
            raise UnsupportedError(f"lossless coding is for pictures, this is {header.kind}")
        if channels > _colours(header):
            raise UnsupportedError(f"prior {self.prior.name!r} is for colour: choose one for gray with --prior")
        if levels < 256 and header.sample_type == "u16":
            raise UnsupportedError(f"prior {self.prior.name!r} is for pictures of {levels} levels")

    # Receiver.

    def decode(
        self,
        parameters: bytes,
        body: bytes,
        header: SignalHeader,
        size: tuple[int, ...] | None = None,
        limits: Limits = DEFAULT_LIMITS,
        tick: Progress | None = None,
    ) -> FloatArray:
        """Values (H, W, C without alpha); FormatError when damaged, UnsupportedError for another size."""
        if parameters:
            raise FormatError("the codec's parameters go on after their end")
        _own_size(header, size)
        self._check_file(header, 1, limits)
        return _to_values(self.levels_of(body, header, limits, tick or (lambda values: None)), header)

    def decode_chain(
        self, chain: bytes, place: int, header: SignalHeader, size: tuple[int, ...] | None, limits: Limits
    ) -> FloatArray:
        """Values of the picture at a place of a chain; errors as ``decode``."""
        _own_size(header, size)
        count, _ = read_varint(chain, 0)
        if not 1 <= count <= limits.max_entries:
            raise LimitError(f"a chain of {count} pictures, the limit is {limits.max_entries}")
        self._check_file(header, count, limits)
        levels = _chain_levels(self, chain, header)
        if place >= len(levels):
            raise FormatError(f"a chain of {len(levels)} pictures has no place {place}")
        return _to_values(levels[place], header)

    def _check_file(self, header: SignalHeader, count: int, limits: Limits) -> None:
        try:
            self._check(header)
        except UnsupportedError as error:
            raise FormatError(f"damaged file: {error}") from None
        points = count * header.n_points * _colours(header)
        if points > limits.max_points:
            raise LimitError(f"decoding gives {points} values, the limit is {limits.max_points}")
        config = self.prior.config
        grids = [math.prod(config.latent_grid(layer, *header.shape)) for layer in range(len(config.latents))]
        latents = count * _colours(header) * sum(n * grid for n, grid in zip(config.latents, grids, strict=True))
        if latents > LATENTS_PER_POINT * limits.max_points:
            raise LimitError(f"decoding takes {latents} latents, the limit is {LATENTS_PER_POINT * limits.max_points}")
        work = (points / 4.0 + 1.0) * self.prior.multiply_adds_per_cell
        if work > limits.max_multiply_adds:
            raise LimitError(f"decoding takes {work:.2g} multiply-adds, the limit is {limits.max_multiply_adds:.2g}")

    def levels_of(
        self, body: bytes, header: SignalHeader, limits: Limits = DEFAULT_LIMITS, tick: Progress = lambda values: None
    ) -> NDArray[np.uint16]:
        """Levels (H, W, C without alpha) of a body."""
        if len(body) < 1 + CRC_BYTES:
            raise FormatError("the picture's data are cut short")
        how, rest = body[0], body[1 + CRC_BYTES :]
        levels = (
            from_png(rest, header, _colours(header), limits)
            if how == STORED
            else self._modelled(how, rest, header, tick)
        )
        _check_crc(levels, body[1 : 1 + CRC_BYTES])
        return levels

    def _modelled(self, how: int, data: bytes, header: SignalHeader, tick: Progress) -> NDArray[np.uint16]:
        scheme, orientation = how & (1 << SCHEME_BITS) - 1, how >> SCHEME_BITS & ORIENTATIONS - 1
        deep, gray = bool(how & DEEP), bool(how & GRAY)
        if how & STORED or SCHEMES[scheme : scheme + 1] != (self.scheme,) or deep != (header.sample_type == "u16"):
            raise FormatError("the picture's data do not fit its header")
        low: FloatArray | None = None
        if deep:
            length, position = read_varint(data, 0)
            rows = header.shape[0] * _colours(header)
            low = decode_alpha(data[position : position + length], (rows, header.shape[1]), 8)
            data = data[position + length :]
        colours = 1 if gray else _colours(header)
        size = header.shape[::-1] if orientation & 4 else header.shape
        planes = self.messages.pop([data], (*self.messages.stack(colours), *size), tick)[0]
        levels = turned_back(planes.reshape(colours, *size), orientation).transpose(1, 2, 0).astype(np.uint16)
        if gray:
            levels = np.repeat(levels, _colours(header), axis=2)
        if low is not None:
            beneath = np.rint(low * 255.0).astype(np.uint16).reshape(_colours(header), *header.shape)
            return levels << 8 | beneath.transpose(1, 2, 0)
        return self.messages.to_levels(levels)


class BitSwapEncoding:
    """Pictures being encoded."""

    def __init__(self, codec: BitSwapCodec, sources: Sequence[Source], effort: BitSwapEffort, tick: Progress) -> None:
        self.codec, self.sources, self.effort, self.tick = codec, sources, effort, tick

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
        pictures = np.stack([_to_levels(source) for source in self.sources])
        how, colours = SCHEMES.index(codec.scheme), pictures.shape[3]
        if colours > codec.prior.channels and (pictures == pictures[..., :1]).all():
            how, colours = how | GRAY, 1
        images = [codec.messages.planes_of(levels[..., :colours]) for levels in pictures]
        message = codec.messages.push_chain(images, self.tick)
        crc = zlib.crc32(pictures.astype("<u2").tobytes()).to_bytes(CRC_BYTES, "little")
        chain = write_varint(len(pictures)) + bytes([how]) + crc + message
        if self.effort.checks:
            _check_same(_chain_levels(codec, chain, header, self.tick), pictures)
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
        levels = _to_levels(source)
        crc = zlib.crc32(levels.astype("<u2").tobytes()).to_bytes(CRC_BYTES, "little")
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


def _colours(header: SignalHeader) -> int:
    """Channels without alpha."""
    return header.channels - has_alpha(header)


def _own_size(header: SignalHeader, size: tuple[int, ...] | None) -> None:
    if size is not None and size != header.shape:
        raise UnsupportedError("a lossless file decodes at its own size: resize the picture that comes out")


def _to_levels(source: Source) -> NDArray[np.uint16]:
    top = 65535 if source.header.sample_type == "u16" else 255
    colours = source.values[..., : _colours(source.header)].astype(np.float64)
    return np.rint(np.clip(colours, 0.0, 1.0) * top).astype(np.uint16)


def _to_values(levels: NDArray[np.uint16], header: SignalHeader) -> FloatArray:
    top = np.float32(65535 if header.sample_type == "u16" else 255)
    return (levels.astype(np.float32) / top).astype(np.float32)


def _check_crc(levels: NDArray[np.uint16], crc: bytes) -> None:
    if zlib.crc32(levels.astype("<u2").tobytes()).to_bytes(CRC_BYTES, "little") != crc:
        raise FormatError("the decoded picture is not the one that was encoded: the file is damaged")


def _check_same(found: NDArray[np.uint16], wanted: NDArray[np.uint16]) -> None:
    if not np.array_equal(found, wanted):
        raise InrcodecError("the file does not decode to its picture on this machine: nothing was written")


_LAST_CHAIN: dict[tuple[bytes, bytes, SignalHeader], NDArray[np.uint16]] = {}
"""Levels of the chain that was decoded last: its pictures are asked for one by one."""


def _chain_levels(
    codec: BitSwapCodec, chain: bytes, header: SignalHeader, tick: Progress = lambda values: None
) -> NDArray[np.uint16]:
    """Levels (N, H, W, C) of all pictures of a chain."""
    key = (codec.prior.id, hashlib.sha256(chain).digest(), header)
    if key in _LAST_CHAIN:
        return _LAST_CHAIN[key]
    count, position = read_varint(chain, 0)
    head = chain[position : position + 1 + CRC_BYTES]
    if len(head) < 1 + CRC_BYTES or SCHEMES[head[0] & ~GRAY : (head[0] & ~GRAY) + 1] != (codec.scheme,):
        raise FormatError("the chain of pictures is damaged")
    colours = 1 if head[0] & GRAY else _colours(header)
    shape = (*codec.messages.stack(colours), *header.shape)
    images = codec.messages.pop_chain(chain[position + 1 + CRC_BYTES :], count, shape, tick)
    planes = np.stack(images).reshape(count, colours, *header.shape).transpose(0, 2, 3, 1)
    levels = codec.messages.to_levels(planes.astype(np.uint16))
    if head[0] & GRAY:
        levels = np.repeat(levels, _colours(header), axis=3)
    _check_crc(levels, head[1:])
    _LAST_CHAIN.clear()
    _LAST_CHAIN[key] = levels
    return levels
