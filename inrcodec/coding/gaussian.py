"""Entropy coding of integers under Gaussians of one of 64 scales, with tables of counts shipped as data.

The value k has the probability that a Gaussian of mean 0 and scale s assigns to [k - 1/2, k + 1/2]. The scales are
log-spaced from 0.05 to 256; coding under a neighbouring scale costs less than 0.001 bit. The counts of a scale sum to
65,536 and none is 0. The last one belongs to an escape symbol, after which the value itself follows. Encoding and
decoding use integers only: the tables come from ``gaussian_tables.npy``, which is checked by hash when it is loaded.

Messages are short (a 32x32 image takes 50 bytes), so the bits at their ends matter. An ANS coder that starts empty
spends 24 bits, the precision of its tables, on its first symbol whatever it is. Therefore a message first says which
of its parts is the last one with a value other than 0. The *end* of that part, the values of the largest scales that
carry about ``END_BITS`` bits, is coded as an integer (``coding.interval``), and the ANS coder starts from that integer.
The message is the coder's words without trailing zero bytes. It is 4 to 5 bits longer than the information of its
values; rounding to whole bytes accounts for 4 of them.
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
"""The sum of the counts of a table."""
N_SCALES = 64
MIN_SCALE, MAX_SCALE = 0.05, 256.0
SUPPORT_SCALES = 4.5
ESCAPE_BITS = 12
MAX_VALUE = 1 << 2 * ESCAPE_BITS - 1
"""Values must be smaller than this in magnitude."""
END_BITS, MAX_IN_END = 40, 256
MAX_END_BYTES = 3 * MAX_IN_END * 2 + 4
"""The size of an end that holds escapes only, each of three 16-bit numbers, in whole 32-bit words."""
ENTROPIES = (
    0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 6, 12, 21, 33, 45, 57, 69, 80, 90, 100, 111, 122, 134, 145, 157, 169, 181,
    193, 206, 218, 230, 243, 255, 268, 280, 293, 305, 318, 330, 343, 355, 368, 380, 393, 405, 418, 430, 443,
    455, 467, 480, 492, 505, 517, 530, 542, 554, 566, 578, 590, 602, 614, 625, 636,
)  # fmt: skip
"""The entropy of a symbol of each scale, in 1/64 bit: part of the format, hence written out."""
TABLES_SHA256 = "8574538dc00c8c073cd54dc5ede2bedb8a55193ef4e4143852ca6e1bd3863b59"

TABLES_FILE = Path(__file__).parent / "gaussian_tables.npy"


def scale_values() -> NDArray[np.float64]:
    """Return the scales (64,), the standard deviations of the tables."""
    return np.exp(np.linspace(math.log(MIN_SCALE), math.log(MAX_SCALE), N_SCALES))


def support(index: int) -> int:
    """Return the maximum magnitude that the table of scale ``index`` (0 to 63) codes without an escape."""
    return _layout()[index]


@cache
def _layout() -> list[int]:
    counts = _tables()
    return [(int(n) - 2) // 2 for n in counts[:N_SCALES]]


@cache
def _tables() -> IntArray:
    data = TABLES_FILE.read_bytes()
    if hashlib.sha256(data).hexdigest() != TABLES_SHA256:
        raise InrcodecError(f"{TABLES_FILE.name} does not belong to this version: reinstall the package")
    result: IntArray = np.load(TABLES_FILE, allow_pickle=False).astype(np.int64)
    return result


@cache
def counts_of(index: int) -> IntArray:
    """Return the counts (2 S + 2,) of the values -S .. S and of the escape, where S is ``support(index)``."""
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
    """Map symbols 0, 1, 2, 3, 4 .. to values 0, -1, 1, -2, 2 .., the most probable first."""
    return (symbols + 1 >> 1) * np.where(symbols % 2 == 1, -1, 1)


def _symbols(values: IntArray) -> IntArray:
    """Invert ``_values``."""
    return np.where(values < 0, -2 * values - 1, 2 * values)


@cache
def _escape_model() -> constriction.stream.model.Uniform:
    return constriction.stream.model.Uniform(1 << ESCAPE_BITS)


def make_tables() -> IntArray:
    """Return the content of the shipped file: the number of counts of each scale, then the counts of all scales.

    Used once, to make the file: its floating-point results may differ between machines.
    """
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
    """Return the places of a part's values in reading order, without the end, and the places of the end.

    Only the last part has an end.
    """
    order = np.argsort(scales, kind="stable")
    if not last:
        return order, order[:0]
    backwards = order[: -MAX_IN_END - 1 : -1]
    spent = np.cumsum(np.array(ENTROPIES)[scales[backwards]])
    n_end = min(int(np.searchsorted(spent, 64 * END_BITS)) + 1, len(backwards))
    return order[: len(order) - n_end], order[len(order) - n_end :]


def _runs(order: IntArray, scales: NDArray[np.uint8]) -> list[tuple[int, IntArray]]:
    """Return each scale index that occurs, in order, with its places."""
    indices, first = np.unique(scales[order], return_index=True)
    return list(zip(indices.tolist(), np.split(order, first[1:]), strict=True)) if len(order) else []


class GaussianWriter:
    """Collects the parts of a message in reading order; ``to_bytes`` encodes them all."""

    def __init__(self) -> None:
        self._parts: list[tuple[NDArray[np.int32], NDArray[np.uint8]]] = []

    def write(self, values: IntArray, scales: IntArray) -> None:
        """Append a part.

        Args:
            values: (n,) integers.
            scales: (n,) indices of their scales, 0 to 63.

        Raises:
            LimitError: a value has a magnitude of ``MAX_VALUE`` or more.
        """
        if values.size and int(np.abs(values).max()) >= MAX_VALUE:
            raise LimitError(
                "latent out of range: this signal is too unlike the prior's training data; try another --prior"
            )
        self._parts.append((np.asarray(values, np.int32), np.asarray(scales, np.uint8)))

    def to_bytes(self) -> bytes:
        """Return the message without trailing zero bytes."""
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
    """Reads the messages that ``GaussianWriter`` returns, part by part.

    Args:
        data: the message.
        n_parts: the number of its parts.

    Raises:
        FormatError: the data ends in a zero byte, which ``GaussianWriter`` never writes.
    """

    def __init__(self, data: bytes, n_parts: int) -> None:
        if data.endswith(b"\0"):
            raise FormatError("corrupt entropy-coded data: it ends in a zero byte")
        words = np.frombuffer(data + bytes(-len(data) % 4), "<u4").astype(np.uint32)
        self._coder = constriction.stream.stack.AnsCoder(words)
        self._last = int(self._coder.decode(_number_model(n_parts))) if n_parts > 1 else 0
        self._number = 0

    def read(self, scales: IntArray) -> IntArray:
        """Return the values (n,) of the next part for their scale indices (n,), 0 to 63.

        A corrupt message may yield any values.

        Raises:
            FormatError: the end of the message is corrupt.
        """
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
                raise FormatError("corrupt entropy-coded data: it does not end after the last symbol")
            out[end] = _values_of(int.from_bytes(data, "little"), scales[end])
            if self._last and not out.any():
                raise FormatError("corrupt entropy-coded data: it does not end after the last symbol")
        return out

    def finish(self) -> None:
        """Check that every part with a value other than 0 has been read.

        Raises:
            FormatError: a part is left.
        """
        if self._number <= self._last:
            raise FormatError("corrupt entropy-coded data: trailing symbols after the last part")


@cache
def _number_model(count: int) -> constriction.stream.model.Uniform:
    return constriction.stream.model.Uniform(count)


def _words(integer: int) -> NDArray[np.uint32]:
    size = -(-integer.bit_length() // 32)
    return np.frombuffer(integer.to_bytes(4 * size, "little"), "<u4").astype(np.uint32)


def _integer_of(values: IntArray, scales: IntArray) -> int:
    """Return the integer that codes the end of a message."""
    writer = IntervalWriter()
    for value, symbol, index in zip(values.tolist(), _symbols(values).tolist(), scales.tolist(), strict=True):
        half = support(index)
        writer.write(min(symbol, 2 * half + 1), _edges(index))
        if symbol > 2 * half:
            for digit in _escape_digits(np.array(value)).tolist():
                writer.write(digit, _ESCAPE_EDGES)
    return writer.to_integer()


def _values_of(integer: int, scales: IntArray) -> IntArray:
    """Invert ``_integer_of``; raise FormatError when no values have this integer."""
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
    """Return the two digits (n, 2), in base 2^12, of values beyond the support of their table."""
    shifted = values + MAX_VALUE
    return np.stack([shifted >> ESCAPE_BITS, shifted & (1 << ESCAPE_BITS) - 1], axis=-1)


def _value_of(high: Any, low: Any) -> Any:
    """Invert ``_escape_digits``."""
    return (high << ESCAPE_BITS) + low - MAX_VALUE
