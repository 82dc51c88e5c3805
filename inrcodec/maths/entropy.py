"""Entropy coding of integers under tables of integer counts, by constriction's ANS coder.

Every number that steers the decoder is an integer or a ratio of integers with a power of two below it, exact in
float64, so that all machines decode alike. Two coders:

- ``encode_symbols``: symbols under one table of counts each.
- ``encode_zipf``: indices of unbounded size under a law close to Zipf's, p(n) ~ n^-(1 + 1/(E + 1.53)) for a mean of
  E bits (Li and El Gamal, IEEE Trans. Inf. Theory 2018, section III): the bucket floor(log2 n), whose probability falls
  by the constant factor 2^(-1/(E + 1.53)), through ANS, then the bits below the leading one as they are.
"""

from __future__ import annotations

import constriction
import numpy as np
from numpy.typing import NDArray

from inrcodec.ground.bits import BitReader, BitWriter, read_varint, write_varint
from inrcodec.ground.errors import FormatError, LimitError

IntArray = NDArray[np.int64]

TABLE_TOTAL = 1 << 16
N_BUCKETS = 33
"""Indices up to 2^33 - 1."""

# round(65536 * 2^(-1 / (E + 1.53))) for E = 0 .. 31 bits: part of the format, hence written out.
BUCKET_RATIOS = (
    41661, 49831, 53852, 56238, 57815, 58936, 59773, 60421, 60939, 61361, 61712, 62009, 62263, 62483, 62675, 62845,
    62995, 63130, 63251, 63360, 63460, 63550, 63634, 63710, 63781, 63846, 63907, 63963, 64016, 64065, 64111, 64154,
)  # fmt: skip


def encode_symbols(symbols: IntArray, tables: IntArray, contexts: IntArray) -> bytes:
    """Symbols (n,) coded with row ``contexts[i]`` of ``tables`` (T, A), counts >= 1 that sum to 65,536 in each row."""
    coder = constriction.stream.stack.AnsCoder()
    for context in np.unique(contexts)[::-1].tolist():
        coder.encode_reverse(symbols[contexts == context].astype(np.int32), _model(tables[context]))
    return np.asarray(coder.get_compressed()).astype("<u4").tobytes().rstrip(b"\0")


def decode_symbols(data: bytes, tables: IntArray, contexts: IntArray) -> IntArray:
    """Inverse of ``encode_symbols``; FormatError unless the coder ends exactly empty."""
    words = np.frombuffer(data + bytes(-len(data) % 4), "<u4").astype(np.uint32)
    if words.size and words[-1] == 0:
        raise FormatError("entropy-coded data ends in an empty word")
    coder = constriction.stream.stack.AnsCoder(words)
    out = np.zeros(len(contexts), np.int64)
    for context in np.unique(contexts).tolist():
        chosen = np.flatnonzero(contexts == context)
        out[chosen] = coder.decode(_model(tables[context]), len(chosen))
    if not coder.is_empty():
        raise FormatError("entropy-coded data does not end where it should")
    return out


def _model(counts: IntArray) -> constriction.stream.model.Categorical:
    assert counts.min() >= 1 and counts.sum() == TABLE_TOTAL
    return constriction.stream.model.Categorical(counts.astype(np.float64), perfect=False)


def bucket_counts(mean_bits: int) -> IntArray:
    """Counts of the buckets of ``encode_zipf`` for a mean of ``mean_bits`` (0 to 31), by integer arithmetic."""
    ratio = BUCKET_RATIOS[mean_bits]
    weights = [1 << 40]
    for _ in range(N_BUCKETS - 1):
        weights.append(weights[-1] * ratio >> 16)
    total = sum(weights)
    counts = [max(1, w * (TABLE_TOTAL - N_BUCKETS) // total) for w in weights]
    counts[0] += TABLE_TOTAL - sum(counts)
    return np.array(counts, np.int64)


def encode_zipf(indices: IntArray, mean_bits: int) -> bytes:
    """Non-negative indices below 2^33 - 1; ``mean_bits`` (0 to 31) is known to both sides, about the KL in bits."""
    numbers = np.asarray(indices, np.int64) + 1
    if numbers.size and (numbers.min() < 1 or numbers.max() >= 1 << N_BUCKETS):
        raise LimitError(f"index {numbers.max() - 1} is out of the range of the code")
    buckets = np.array([int(n).bit_length() - 1 for n in numbers], np.int64)
    head = encode_symbols(buckets, bucket_counts(mean_bits)[None], np.zeros(len(numbers), np.int64))
    writer = BitWriter()
    for number, bucket in zip(numbers.tolist(), buckets.tolist(), strict=True):
        writer.write(number - (1 << bucket), bucket)
    return write_varint(len(head)) + head + writer.to_bytes()


def decode_zipf(data: bytes, count: int, mean_bits: int) -> IntArray:
    """Inverse of ``encode_zipf``; FormatError when the data are damaged or go on."""
    length, position = read_varint(data, 0)
    if position + length > len(data):
        raise FormatError("entropy-coded data ends early")
    tables = bucket_counts(mean_bits)[None]
    buckets = decode_symbols(data[position : position + length], tables, np.zeros(count, np.int64))
    reader = BitReader(data[position + length :])
    out = [(1 << bucket) + int(reader.read(1, bucket)[0]) - 1 for bucket in buckets.tolist()]
    reader.finish()
    return np.array(out, np.int64)


def zipf_bits(index: int, mean_bits: int) -> float:
    """Ideal length of an index in bits, for studies."""
    bucket = (index + 1).bit_length() - 1
    return float(bucket - np.log2(bucket_counts(mean_bits)[bucket] / TABLE_TOTAL))
