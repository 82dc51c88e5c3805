"""Entropy coding of integers that are Gaussian with one of 64 scales, under tables of counts that are shipped as data.

A symbol k has the probability that a Gaussian of mean 0 and scale s gives to [k - 1/2, k + 1/2]. The scales are
log-spaced from 0.05 to 256 (a wrong neighbour costs below 0.001 bit). Counts of a scale sum to 65,536, none is 0; the
last one is that of an escape, behind which the value follows by itself. Nothing here is computed in floating point when
a file is written or read: the tables come from ``data/gaussian_tables.npy``, checked by hash when loaded.
"""

from __future__ import annotations

import hashlib
import math
from functools import cache
from pathlib import Path

import constriction
import numpy as np
from numpy.typing import NDArray

from inrcodec.ground.errors import FormatError, InrcodecError, LimitError
from inrcodec.maths.entropy import TABLE_TOTAL

IntArray = NDArray[np.int64]

N_SCALES = 64
SMALLEST_SCALE, LARGEST_SCALE = 0.05, 256.0
SUPPORT_SCALES = 4.5
ESCAPE_BITS = 12
LARGEST_VALUE = 1 << 2 * ESCAPE_BITS - 1
"""Magnitudes from here on cannot be coded."""
TABLES_SHA256 = "8574538dc00c8c073cd54dc5ede2bedb8a55193ef4e4143852ca6e1bd3863b59"

_FILE = Path(__file__).parent / "data" / "gaussian_tables.npy"


def scale_values() -> NDArray[np.float64]:
    """The scales, (64,)."""
    return np.exp(np.linspace(math.log(SMALLEST_SCALE), math.log(LARGEST_SCALE), N_SCALES))


def support(index: int) -> int:
    """Largest magnitude that a scale's table codes without escape."""
    return _layout()[index]


@cache
def _layout() -> list[int]:
    counts = _tables()
    return [(int(n) - 2) // 2 for n in counts[:N_SCALES]]


@cache
def _tables() -> IntArray:
    data = _FILE.read_bytes()
    if hashlib.sha256(data).hexdigest() != TABLES_SHA256:
        raise InrcodecError(f"{_FILE.name} is not the one that belongs to this version: install the package again")
    return np.load(_FILE, allow_pickle=False).astype(np.int64)


@cache
def counts_of(index: int) -> IntArray:
    """Counts of the symbols -S .. S and of the escape for one scale."""
    tables = _tables()
    start = N_SCALES + int(tables[:index].sum())
    return tables[start : start + int(tables[index])]


@cache
def _model(index: int) -> constriction.stream.model.Categorical:
    return constriction.stream.model.Categorical(counts_of(index).astype(np.float64), perfect=False)


@cache
def _escape_model() -> constriction.stream.model.Uniform:
    return constriction.stream.model.Uniform(1 << ESCAPE_BITS)


def make_tables() -> IntArray:
    """What the shipped file holds: the 64 numbers of counts, then the counts of every scale. Used once, to make it."""
    rows = []
    for scale in scale_values():
        half = max(1, math.ceil(SUPPORT_SCALES * scale))
        edges = [0.5 * math.erfc((k - 0.5) / (scale * math.sqrt(2))) for k in range(-half, half + 2)]
        inside = [edges[i] - edges[i + 1] for i in range(2 * half + 1)]
        row = np.array([*inside, max(0.0, 1.0 - sum(inside))])
        counts = np.maximum(1, np.floor(row * (TABLE_TOTAL - len(row)))).astype(np.int64)
        counts[half] += TABLE_TOTAL - counts.sum()
        rows.append(counts)
    return np.concatenate([[len(row) for row in rows], *rows]).astype(np.int64)


class GaussianWriter:
    """Collects parts of a message in the order in which they will be read; ``to_bytes`` codes them all."""

    def __init__(self) -> None:
        self._parts: list[tuple[IntArray, IntArray]] = []

    def write(self, values: IntArray, scales: IntArray) -> None:
        """Append values (n,) with scale indices (n,); LimitError when a value is out of all range."""
        if values.size and int(np.abs(values).max()) >= LARGEST_VALUE:
            raise LimitError("a latent is out of the range of its code: the signal is far from what the prior knows")
        self._parts.append((np.asarray(values, np.int64), np.asarray(scales, np.int64)))

    def to_bytes(self) -> bytes:
        """The message, without the zero bytes at its end."""
        coder = constriction.stream.stack.AnsCoder()
        for values, scales in reversed(self._parts):
            for index in np.unique(scales)[::-1].tolist():
                half = support(index)
                part = values[scales == index]
                out = np.abs(part) > half
                if out.any():
                    escaped = part[out] + LARGEST_VALUE
                    digits = np.stack([escaped >> ESCAPE_BITS, escaped & (1 << ESCAPE_BITS) - 1], axis=1)
                    coder.encode_reverse(digits.reshape(-1).astype(np.int32), _escape_model())
                symbols = np.where(out, 2 * half + 1, part + half)
                coder.encode_reverse(symbols.astype(np.int32), _model(index))
        return np.asarray(coder.get_compressed()).astype("<u4").tobytes().rstrip(b"\0")


class GaussianReader:
    """Reads a message part by part."""

    def __init__(self, data: bytes) -> None:
        if data.endswith(b"\0"):
            raise FormatError("entropy-coded data ends in an empty byte")
        words = np.frombuffer(data + bytes(-len(data) % 4), "<u4").astype(np.uint32)
        self._coder = constriction.stream.stack.AnsCoder(words)

    def read(self, scales: IntArray) -> IntArray:
        """The next values (n,) for scale indices (n,); of a damaged message any values."""
        out = np.zeros(len(scales), np.int64)
        for index in np.unique(scales).tolist():
            chosen = np.flatnonzero(scales == index)
            half = support(index)
            symbols = self._coder.decode(_model(index), len(chosen)).astype(np.int64)
            values = symbols - half
            escaped = np.flatnonzero(symbols == 2 * half + 1)
            if escaped.size:
                digits = self._coder.decode(_escape_model(), 2 * escaped.size).astype(np.int64).reshape(-1, 2)
                values[escaped] = (digits[:, 0] << ESCAPE_BITS) + digits[:, 1] - LARGEST_VALUE
            out[chosen] = values
        return out

    def finish(self) -> None:
        """FormatError unless everything has been read."""
        if not self._coder.is_empty():
            raise FormatError("entropy-coded data does not end where it should")
