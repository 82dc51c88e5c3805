"""Entropy coding of integers that are Gaussian with one of 64 scales, under tables of counts that are shipped as data.

A symbol k has the probability that a Gaussian of mean 0 and scale s gives to [k - 1/2, k + 1/2]. The scales are
log-spaced from 0.05 to 256 (a wrong neighbour costs below 0.001 bit). Counts of a scale sum to 65,536, none is 0; the
last one is that of an escape, behind which the value follows by itself. Nothing here is computed in floating point when
a file is written or read: the tables come from ``data/gaussian_tables.npy``, checked by hash when loaded.

Messages are short (a 32x32 picture takes 50 bytes), so their ends matter. An ANS coder that starts empty spends 24 bits
(the precision of its tables) on its first symbol whatever it says. So a message tells, first, which of its parts is the
last one with a value other than 0, and the *end* of that part, about ``END_BITS`` bits of values of the largest scales,
is coded as an integer (``coding.interval``), from which the ANS coder starts. A message is the coder's words,
without the zero bytes after them; it is 4 to 5 bits longer than its values' information, half a byte of it rounding.
"""

from __future__ import annotations

import hashlib
import math
from functools import cache
from pathlib import Path
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from inrcodec.coding.interval import IntervalReader, IntervalWriter
from inrcodec.errors import FormatError, InrcodecError, LimitError

IntArray = NDArray[np.int64]

TABLE_TOTAL = 1 << 16
"""Counts of a table of probabilities sum to this."""
N_SCALES = 64
MIN_SCALE, MAX_SCALE = 0.05, 256.0
SUPPORT_SCALES = 4.5
ESCAPE_BITS = 12
MAX_VALUE = 1 << 2 * ESCAPE_BITS - 1
"""Magnitudes from here on cannot be coded."""
END_BITS, MAX_IN_END = 40, 256
MAX_END_BYTES = 3 * MAX_IN_END * 2 + 4
"""An end of nothing but escapes, three numbers of 16 bits each, in whole words."""
ENTROPIES = (
    0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 6, 12, 21, 33, 45, 57, 69, 80, 90, 100, 111, 122, 134, 145, 157, 169, 181,
    193, 206, 218, 230, 243, 255, 268, 280, 293, 305, 318, 330, 343, 355, 368, 380, 393, 405, 418, 430, 443,
    455, 467, 480, 492, 505, 517, 530, 542, 554, 566, 578, 590, 602, 614, 625, 636,
)  # fmt: skip
"""Of the scales' symbols in 1/64 bit: part of the format, hence written out."""
TABLES_SHA256 = "8574538dc00c8c073cd54dc5ede2bedb8a55193ef4e4143852ca6e1bd3863b59"

TABLES_FILE = Path(__file__).parent / "gaussian_tables.npy"


def scale_values() -> NDArray[np.float64]:
    """The scales, (64,)."""
    return np.exp(np.linspace(math.log(MIN_SCALE), math.log(MAX_SCALE), N_SCALES))


def support(index: int) -> int:
    """Largest magnitude that a scale's table codes without escape."""
    return _layout()[index]


@cache
def _layout() -> list[int]:
    counts = _tables()
    return [(int(n) - 2) // 2 for n in counts[:N_SCALES]]


@cache
def _tables() -> IntArray:
    data = TABLES_FILE.read_bytes()
    if hashlib.sha256(data).hexdigest() != TABLES_SHA256:
        raise InrcodecError(f"{TABLES_FILE.name} is not the one of this version: install the package again")
    return np.load(TABLES_FILE, allow_pickle=False).astype(np.int64)


@cache
def counts_of(index: int) -> IntArray:
    """Counts of the symbols -S .. S and of the escape for one scale."""
    tables = _tables()
    start = N_SCALES + int(tables[:index].sum())
    return tables[start : start + int(tables[index])]


@cache
def _model(index: int) -> constriction.stream.model.Categorical:
    return constriction.stream.model.Categorical(_counts_by_symbol(index).astype(np.float64), perfect=False)


@cache
def _edges(index: int) -> list[int]:
    return [0, *np.cumsum(_counts_by_symbol(index)).tolist()]


def _counts_by_symbol(index: int) -> IntArray:
    half = support(index)
    counts = counts_of(index)
    return np.append(counts[_values(np.arange(2 * half + 1)) + half], counts[-1])


def _values(symbols: IntArray) -> IntArray:
    """Symbols 0, 1, 2, 3, 4 .. are the values 0, -1, 1, -2, 2 ..: the likeliest first."""
    return (symbols + 1 >> 1) * np.where(symbols % 2 == 1, -1, 1)


def _symbols(values: IntArray) -> IntArray:
    """Inverse of ``_values``."""
    return np.where(values < 0, -2 * values - 1, 2 * values)


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


def _reading_order(scales: NDArray[np.uint8], *, last: bool) -> tuple[IntArray, IntArray]:
    """Places of a part's values in the order in which they are read, and of the last part those that are its end."""
    order = np.argsort(scales, kind="stable")
    if not last:
        return order, order[:0]
    backwards = order[: -MAX_IN_END - 1 : -1]
    spent = np.cumsum(np.array(ENTROPIES)[scales[backwards]])
    n_end = min(int(np.searchsorted(spent, 64 * END_BITS)) + 1, len(backwards))
    return order[: len(order) - n_end], order[len(order) - n_end :]


def _runs(order: IntArray, scales: NDArray[np.uint8]) -> list[tuple[int, IntArray]]:
    """Scale indices in order, and the places of each."""
    found, first = np.unique(scales[order], return_index=True)
    return list(zip(found.tolist(), np.split(order, first[1:]), strict=True)) if len(order) else []


class GaussianWriter:
    """Collects parts of a message in the order in which they will be read; ``to_bytes`` codes them all."""

    def __init__(self) -> None:
        self._parts: list[tuple[NDArray[np.int32], NDArray[np.uint8]]] = []

    def write(self, values: IntArray, scales: IntArray) -> None:
        """Append values (n,) with scale indices (n,); LimitError when a value is out of all range."""
        if values.size and int(np.abs(values).max()) >= MAX_VALUE:
            raise LimitError("a latent is out of the range of its code: the signal is far from what the prior knows")
        self._parts.append((np.asarray(values, np.int32), np.asarray(scales, np.uint8)))

    def to_bytes(self) -> bytes:
        """The message."""
        coder = constriction.stream.stack.AnsCoder()
        last = max((number for number, (values, _) in enumerate(self._parts) if values.any()), default=0)
        for part, (values, scales) in reversed(list(enumerate(self._parts[: last + 1]))):
            order, end = _reading_order(scales, last=part == last)
            if end.size:
                number = _integer_of(values[end].astype(np.int64), scales[end].astype(np.int64))
                coder = constriction.stream.stack.AnsCoder(_words(number))
            for index, places in reversed(_runs(order, scales)):
                half = support(index)
                placed = values[places].astype(np.int64)
                out = np.abs(placed) > half
                if out.any():
                    coder.encode_reverse(_escape_digits(placed[out]).reshape(-1).astype(np.int32), _escape_model())
                symbols = np.where(out, 2 * half + 1, _symbols(placed))
                coder.encode_reverse(symbols.astype(np.int32), _model(index))
        if len(self._parts) > 1:
            coder.encode_reverse(last, _number_model(len(self._parts)))
        return np.asarray(coder.get_compressed()).astype("<u4").tobytes().rstrip(b"\0")


class GaussianReader:
    """Reads a message of ``n_parts`` parts, part by part."""

    def __init__(self, data: bytes, n_parts: int) -> None:
        if data.endswith(b"\0"):
            raise FormatError("entropy-coded data ends in an empty byte")
        words = np.frombuffer(data + bytes(-len(data) % 4), "<u4").astype(np.uint32)
        self._coder = constriction.stream.stack.AnsCoder(words)
        self._last = int(self._coder.decode(_number_model(n_parts))) if n_parts > 1 else 0
        self._number = 0

    def read(self, scales: IntArray) -> IntArray:
        """The next values (n,) for scale indices (n,); of a damaged message any values, or FormatError in the part
        with the end."""
        out = np.zeros(len(scales), np.int64)
        rows = scales.astype(np.uint8)
        self._number += 1
        if self._number > self._last + 1:
            return out
        last = self._number == self._last + 1
        order, end = _reading_order(rows, last=last)
        for index, places in _runs(order, rows):
            half = support(index)
            symbols = self._coder.decode(_model(index), len(places)).astype(np.int64)
            values = _values(symbols)
            escaped = np.flatnonzero(symbols == 2 * half + 1)
            if escaped.size:
                digits = self._coder.decode(_escape_model(), 2 * escaped.size).astype(np.int64).reshape(-1, 2)
                values[escaped] = _value_of(digits[:, 0], digits[:, 1])
            out[places] = values
        if last:
            data = np.asarray(self._coder.get_compressed()).astype("<u4").tobytes()
            if len(data) > MAX_END_BYTES:
                raise FormatError("entropy-coded data does not end where it should")
            out[end] = _values_of(int.from_bytes(data, "little"), scales[end])
            if self._last and not out.any():
                raise FormatError("entropy-coded data does not end where it should")
        return out

    def finish(self) -> None:
        """FormatError unless all parts up to the end have been read."""
        if self._number <= self._last:
            raise FormatError("entropy-coded data goes on after its last part")


@cache
def _number_model(count: int) -> constriction.stream.model.Uniform:
    return constriction.stream.model.Uniform(count)


def _words(integer: int) -> NDArray[np.uint32]:
    size = -(-integer.bit_length() // 32)
    return np.frombuffer(integer.to_bytes(4 * size, "little"), "<u4").astype(np.uint32)


def _integer_of(values: IntArray, scales: IntArray) -> int:
    """The end of a message."""
    writer = IntervalWriter()
    for value, symbol, index in zip(values.tolist(), _symbols(values).tolist(), scales.tolist(), strict=True):
        half = support(index)
        writer.write(min(symbol, 2 * half + 1), _edges(index))
        if symbol > 2 * half:
            for digit in _escape_digits(np.array(value)).tolist():
                writer.write(digit, _ESCAPE_EDGES)
    return writer.to_integer()


def _values_of(integer: int, scales: IntArray) -> IntArray:
    """Inverse of ``_integer_of``; FormatError when nothing has this integer."""
    reader = IntervalReader(integer)
    out = np.zeros(len(scales), np.int64)
    for place, index in enumerate(scales.tolist()):
        symbol = reader.read(_edges(index))
        if symbol == 2 * support(index) + 1:
            out[place] = _value_of(reader.read(_ESCAPE_EDGES), reader.read(_ESCAPE_EDGES))
        else:
            out[place] = (symbol + 1 >> 1) * (-1 if symbol % 2 else 1)
    reader.finish()
    return out


_ESCAPE_EDGES = range(0, TABLE_TOTAL + 1, TABLE_TOTAL >> ESCAPE_BITS)


def _escape_digits(values: IntArray) -> IntArray:
    """Two digits (n, 2) of values out of their table's support."""
    shifted = values + MAX_VALUE
    return np.stack([shifted >> ESCAPE_BITS, shifted & (1 << ESCAPE_BITS) - 1], axis=-1)


def _value_of(high: Any, low: Any) -> Any:
    """Inverse of ``_escape_digits``."""
    return (high << ESCAPE_BITS) + low - MAX_VALUE
