"""A seventh codec in one file: the means of square blocks, quantised. Shows, and tests, what a codec has to bring."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import safetensors.numpy

from inrcodec.codecs.base import (
    Codec,
    Coded,
    CodedEntry,
    DecodeRequest,
    EncodeOptions,
    Family,
    FloatArray,
    Rate,
    Source,
    check_options,
    check_parameters_end,
)
from inrcodec.coding.bits import read_varint, write_varint
from inrcodec.errors import FormatError
from inrcodec.signals.signal import Signal

FORMAT = "inrcodec-toy-1"
STEPS = 64


@dataclass(frozen=True)
class ToyPrior:
    """The prior of the toy codec: the side of its blocks."""

    name: str
    block: int
    id: bytes = b"\0" * 8
    format: str = FORMAT
    kind: str = "image"
    axes: int = 2
    channels: int = 3
    card: dict[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Return the prior as the bytes of a file."""
        head = json.dumps({"format": FORMAT, "name": self.name})
        return safetensors.numpy.save({"block": np.array([self.block])}, {"inrcodec": head})


def load_prior(data: bytes, source: str) -> ToyPrior:
    """Return the prior in the bytes of a file."""
    block = int(safetensors.numpy.load(data)["block"][0])
    return ToyPrior(source.rsplit("/", 1)[-1].removesuffix(".safetensors"), block, hashlib.sha256(data).digest()[:8])


class ToyCodec(Codec):
    """Sends the mean of every block in steps of 1 / 256 ... 1 / 4."""

    name = "toy"

    def __init__(self, prior: ToyPrior) -> None:
        self._prior = prior

    @property
    def prior(self) -> ToyPrior:
        """Return the prior."""
        return self._prior

    @property
    def max_parameter_bytes(self) -> int:
        """Return the length of the step's number."""
        return len(write_varint(STEPS))

    def encoding(self, sources: Sequence[Source], options: EncodeOptions) -> ToyEncoding:
        """See ``Codec``."""
        check_options(self, options)
        return ToyEncoding(self, sources, options)

    def default_beta(self, sources: Sequence[Source]) -> float:
        """See ``Codec``."""
        return 1e-3

    def planned_steps(self, sources: Sequence[Source], effort: str) -> int:
        """See ``Codec``."""
        return len(sources)

    def split_parameters(self, payload: bytes) -> tuple[bytes, bytes]:
        """See ``Codec``."""
        _, end = read_varint(payload, 0)
        return payload[:end], payload[end:]

    def decode(self, entry: CodedEntry, request: DecodeRequest) -> FloatArray:
        """See ``Codec``."""
        step, end = read_varint(entry.parameters, 0)
        check_parameters_end(entry.parameters, end)
        size, header = request.grid(entry.header), entry.header
        request.limits.check_size(math.prod(size), size)
        rows, columns = (-(-n // self.prior.block) for n in header.shape)
        means = np.frombuffer(entry.body, np.uint8)
        if means.size != rows * columns * header.channels:
            raise FormatError("the body of an image has the wrong length")
        blocks = means.reshape(rows, columns, header.channels) * step_size(step)
        y, x = ((np.arange(m) * n // m) // self.prior.block for m, n in zip(size, header.shape, strict=True))
        values = blocks[y][:, x].astype(np.float32)
        request.progress(values.size)
        return request.cut(values)


class ToyEncoding:
    """Images being encoded."""

    def __init__(self, codec: ToyCodec, sources: Sequence[Source], options: EncodeOptions) -> None:
        self.codec, self.sources, self.options = codec, sources, options

    def at(self, rate: Rate) -> Coded:
        """Return the bytes at a rate; their number is fixed, the step follows beta."""
        beta = rate.beta if rate.beta is not None else self.codec.default_beta(self.sources)
        step = int(np.clip(round(8 + 2 * math.log2(beta / 1e-3)), 0, STEPS))
        self.options.progress(len(self.sources))
        return Coded(write_varint(step), [self._body(source.values, step) for source in self.sources])

    def _body(self, values: FloatArray, step: int) -> bytes:
        block = self.codec.prior.block
        padded = np.pad(values, [(0, -n % block) for n in values.shape[:2]] + [(0, 0)], mode="edge")
        rows, columns = (n // block for n in padded.shape[:2])
        means = padded.reshape(rows, block, columns, block, -1).mean(axis=(1, 3))
        result: bytes = np.clip(np.rint(means / step_size(step)), 0, 255).astype(np.uint8).tobytes()
        return result


def step_size(step: int) -> float:
    """Return the quantisation step of a number in the file."""
    result: float = max(1.0 / 255.0, 2.0 ** (step / 4.0 - 10.0))
    return result


def describe_prior(prior: ToyPrior) -> dict[str, Any]:
    """Return what ``priors list`` shows."""
    return {"block": prior.block, "about": f"blocks of {prior.block}x{prior.block}"}


def default_prior(signals: Sequence[Signal]) -> str:
    """Return the name of the prior."""
    return "toy-8"


def codec(prior: ToyPrior, name: str) -> Codec:
    """Return the codec under a prior."""
    return ToyCodec(prior)


FAMILY = Family(
    names=("toy",),
    ids=(99,),
    codec=codec,
    prior_format=FORMAT,
    load_prior=load_prior,
    default_prior=default_prior,
    describe_prior=describe_prior,
)
