"""The lossless codecs ``bitswap`` and ``bbans``: images to bytes and back, bit for bit.

    levels -> planes -> tiles -> message under the prior's networks         (encoding.py)
    message -> tiles -> planes -> levels                                    (decode, below)

A *body* is one byte of flags (``samples.py``), the CRC-32 of the levels, and the message. The message of a 16-bit image
holds its high bytes; its low bytes are deflated. An image that is smaller as PNG is stored as PNG. Several images of
one size under a model without finer scales share one message, the *chain*, because each of them alone would need its
own initial bits.

The receiver checks that the message ends empty and that the levels have the CRC-32. A corrupt message, or a machine
that computes differently, gives an error and never wrong pixels.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inrcodec.codecs.base import (
    Codec,
    CodedEntry,
    DecodeRequest,
    EncodeOptions,
    FloatArray,
    Progress,
    Source,
    check_options,
    check_parameters_end,
    no_progress,
)
from inrcodec.codecs.bitswap.bits_back import SCHEMES
from inrcodec.codecs.bitswap.effort import BITSWAP_EFFORTS
from inrcodec.codecs.bitswap.messages import ORIENTATIONS, ImageStreams, turned_back
from inrcodec.codecs.bitswap.prior import BitSwapPrior
from inrcodec.codecs.bitswap.samples import (
    CRC_BYTES,
    DEEP,
    GRAY,
    SCHEME_BITS,
    STORED,
    check_crc,
    colour_channels,
    to_values,
)
from inrcodec.codecs.bitswap.stored_png import from_png
from inrcodec.coding.bits import read_varint
from inrcodec.container.alpha import decode_alpha
from inrcodec.errors import FormatError, LimitError, UnsupportedError, UsageError
from inrcodec.limits import Limits
from inrcodec.signals.header import SignalHeader

if TYPE_CHECKING:
    from inrcodec.codecs.bitswap.encoding import BitSwapEncoding

LATENTS_PER_POINT = 16
"""The limit on latents is this times ``Limits.max_points``, because a model may have more latents than pixels."""


class BitSwapCodec(Codec):
    """Encodes images losslessly by bits-back coding under one prior.

    Attributes:
        name: the scheme, "bitswap" or "bbans".
        scheme: the same: the order in which latents are coded.
        messages: codes images under the prior.
    """

    def __init__(self, prior: BitSwapPrior, scheme: str = SCHEMES[0]) -> None:
        self._prior, self.name, self.scheme = prior, scheme, scheme
        self.messages = ImageStreams(prior, scheme)
        self._last_chain: tuple[tuple[bytes, SignalHeader], NDArray[np.uint16]] | None = None

    @property
    def prior(self) -> BitSwapPrior:
        """Return the model that both sides share."""
        return self._prior

    @property
    def max_parameter_bytes(self) -> int:
        """Return 0: there are no parameters."""
        return 0

    def encoding(self, sources: Sequence[Source], options: EncodeOptions) -> BitSwapEncoding:
        """See ``Codec.encoding``."""
        from inrcodec.codecs.bitswap.encoding import BitSwapEncoding

        check_options(self, options)
        return BitSwapEncoding(self, sources, options)

    def planned_steps(self, sources: Sequence[Source], effort: str) -> int:
        """See ``Codec.planned_steps``; a value that is pushed or popped counts as one."""
        preset = BITSWAP_EFFORTS[effort]
        values = sum(s.header.n_points * colour_channels(s.header) for s in sources)
        return values * preset.orientations * (1 + preset.checks)

    def default_beta(self, sources: Sequence[Source]) -> float:
        """Raise UsageError, because there is no rate to choose."""
        raise UsageError(f"codec {self.name} is lossless: it takes no target")

    def split_parameters(self, payload: bytes) -> tuple[bytes, bytes]:
        """See ``Codec.split_parameters``."""
        return b"", payload

    def check(self, header: SignalHeader) -> None:
        """Check that the codec and the prior can carry a signal.

        Raises:
            UnsupportedError: they cannot.
        """
        channels, levels = self.prior.channels, self.prior.config.levels
        if header.kind != "image":
            raise UnsupportedError(f"lossless coding is for images only, got a signal of kind {header.kind!r}")
        if channels > colour_channels(header):
            raise UnsupportedError(
                f"prior {self.prior.name!r} is for colour images: choose one for gray images with --prior"
            )
        if levels < 256 and header.sample_type == "u16":
            raise UnsupportedError(
                f"prior {self.prior.name!r} is for images of {levels} levels, got a 16-bit image: choose another with "
                "--prior"
            )

    def decode(self, entry: CodedEntry, request: DecodeRequest) -> FloatArray:
        """See ``Codec.decode``; UnsupportedError for another size than the image's own."""
        header = entry.header
        check_parameters_end(entry.parameters, 0)
        if request.grid(header) != header.shape:
            raise UnsupportedError("a lossless file decodes at its own size: resize the decoded image")
        if entry.chain:
            levels = self._from_chain(entry, request)
        else:
            self._check_file(header, 1, request.limits)
            levels = self.levels_of(entry.body, header, request.limits, request.progress)
        return request.cut(to_values(levels, header))

    def _from_chain(self, entry: CodedEntry, request: DecodeRequest) -> NDArray[np.uint16]:
        """Return the levels of the image at a place of a chain."""
        count, _ = read_varint(entry.chain, 0)
        if not 1 <= count <= request.limits.max_entries:
            raise LimitError(f"a chain of {count} images exceeds the limit of {request.limits.max_entries}")
        self._check_file(entry.header, count, request.limits)
        levels = self.chain_levels(entry.chain, entry.header, request.progress)
        if entry.place >= len(levels):
            raise FormatError(f"place {entry.place} is out of range in a chain of {len(levels)} images")
        return np.asarray(levels[entry.place])

    def _check_file(self, header: SignalHeader, count: int, limits: Limits) -> None:
        try:
            self.check(header)
        except UnsupportedError as error:
            raise FormatError(f"corrupt file: {error}") from None
        points = count * header.n_points * colour_channels(header)
        limits.check_size(points, header.shape, "values")
        config = self.prior.config
        grids = [math.prod(config.latent_grid(layer, *header.shape)) for layer in range(len(config.latents))]
        latents = count * colour_channels(header) * sum(n * grid for n, grid in zip(config.latents, grids, strict=True))
        if latents > LATENTS_PER_POINT * limits.max_points:
            raise LimitError(f"decoding takes {latents} latents, the limit is {LATENTS_PER_POINT * limits.max_points}")
        limits.check_work((points / 4.0 + 1.0) * self.prior.multiply_adds_per_cell)

    def levels_of(self, body: bytes, header: SignalHeader, limits: Limits, progress: Progress) -> NDArray[np.uint16]:
        """Return the levels (H, W, C without alpha) of a body.

        Raises:
            FormatError: the body is truncated or corrupt.
        """
        if len(body) < 1 + CRC_BYTES:
            raise FormatError("the body of an image is truncated")
        flags, rest = body[0], body[1 + CRC_BYTES :]
        levels = (
            from_png(rest, header, colour_channels(header), limits)
            if flags == STORED
            else self._modelled(flags, rest, header, progress)
        )
        check_crc(levels, body[1 : 1 + CRC_BYTES])
        return levels

    def _modelled(self, flags: int, data: bytes, header: SignalHeader, progress: Progress) -> NDArray[np.uint16]:
        scheme, orientation = flags & (1 << SCHEME_BITS) - 1, flags >> SCHEME_BITS & ORIENTATIONS - 1
        deep, gray = bool(flags & DEEP), bool(flags & GRAY)
        if flags & STORED or SCHEMES[scheme : scheme + 1] != (self.scheme,) or deep != (header.sample_type == "u16"):
            raise FormatError("the body of an image does not fit its header")
        low: FloatArray | None = None
        if deep:
            length, position = read_varint(data, 0)
            rows = header.shape[0] * colour_channels(header)
            low = decode_alpha(data[position : position + length], (rows, header.shape[1]), 8)
            data = data[position + length :]
        colours = 1 if gray else colour_channels(header)
        size = header.shape[::-1] if orientation & 4 else header.shape
        planes = self.messages.pop([data], (*self.messages.stack(colours), *size), progress)[0]
        levels = turned_back(planes.reshape(colours, *size), orientation).transpose(1, 2, 0).astype(np.uint16)
        if gray:
            levels = np.repeat(levels, colour_channels(header), axis=2)
        if low is not None:
            low_bytes = np.rint(low * 255.0).astype(np.uint16).reshape(colour_channels(header), *header.shape)
            result: NDArray[np.uint16] = levels << 8 | low_bytes.transpose(1, 2, 0)
            return result
        return self.messages.to_levels(levels)

    def chain_levels(self, chain: bytes, header: SignalHeader, progress: Progress = no_progress) -> NDArray[np.uint16]:
        """Return the levels (N, H, W, C) of all images of a chain.

        Those of the last chain are kept, because the images of a chain are usually decoded one after the other.
        """
        key = (hashlib.sha256(chain).digest(), header)
        if self._last_chain is not None and self._last_chain[0] == key:
            return self._last_chain[1]
        count, position = read_varint(chain, 0)
        head = chain[position : position + 1 + CRC_BYTES]
        if len(head) < 1 + CRC_BYTES or SCHEMES[head[0] & ~GRAY : (head[0] & ~GRAY) + 1] != (self.scheme,):
            raise FormatError("the chain of images is corrupt")
        colours = 1 if head[0] & GRAY else colour_channels(header)
        shape = (*self.messages.stack(colours), *header.shape)
        images = self.messages.pop_chain(chain[position + 1 + CRC_BYTES :], count, shape, progress)
        planes = np.stack(images).reshape(count, colours, *header.shape).transpose(0, 2, 3, 1)
        levels = self.messages.to_levels(planes.astype(np.uint16))
        if head[0] & GRAY:
            levels = np.repeat(levels, colour_channels(header), axis=3)
        check_crc(levels, head[1:])
        self._last_chain = (key, levels)
        return levels
