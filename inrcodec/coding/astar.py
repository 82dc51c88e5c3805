"""Exact A* coding of one block: the decoded candidate is a sample of q, the index has no upper bound.

Global-bound A* coding (Flamich, Markou and Hernandez-Lobato, ICML 2022, algorithm 2): candidates x_1, x_2, .. ~ p
arrive at the times T_1 < T_2 < .. of a Poisson process; the one with the largest log(q/p)(x_i) - log T_i is an exact
sample of q. Since -log T_i falls, the search may stop as soon as -log T_i + max_x log(q/p)(x) cannot beat the best so
far. The index is about 2^KL in size and goes through ``coding.astar.encode_zipf``.

For codes of fixed length see ``rec``: same candidates, same signs, and the same decoder reads them.
"""

from __future__ import annotations

import math

import constriction
import numpy as np
from numpy.typing import NDArray

from inrcodec.coding.bits import BitReader, BitWriter, read_varint, write_varint
from inrcodec.coding.gaussian import TABLE_TOTAL
from inrcodec.coding.randomness import candidate_rows, signs
from inrcodec.errors import DataError, FormatError, LimitError

FloatArray = NDArray[np.float64]

CHUNK = 1024


def astar_encode(
    mean: FloatArray,
    scale: FloatArray,
    *,
    seed: int,
    block_id: int,
    noise: np.random.Generator,
    max_candidates: int = 1 << 24,
) -> int:
    """Index of an exact sample of q = N(mean, scale^2), (D,) each, in units of the prior N(0, I).

    ``noise`` is the sender's private generator. Raises DataError when log(q/p) has no maximum (a scale of 1 or more),
    LimitError when ``max_candidates`` do not suffice.
    """
    bound = max_log_ratio(mean, scale)
    sign = signs(seed, np.array([block_id]), len(mean))[0]
    best, index, time = -math.inf, -1, 0.0
    for start in range(0, max_candidates, CHUNK):
        x = candidate_rows(seed, len(mean), np.arange(start, start + CHUNK)) * sign
        arrivals = time + np.cumsum(noise.exponential(size=CHUNK))
        time = float(arrivals[-1])
        score = log_ratio(x.astype(np.float64), mean, scale) - np.log(arrivals)
        # A candidate counts only while the bound at its arrival is above the best before it.
        running = np.maximum.accumulate(np.concatenate([[best], score]))[:-1]
        done = np.flatnonzero(bound - np.log(arrivals) <= running)
        stop = int(done[0]) if len(done) else CHUNK
        if stop and score[:stop].max() > best:
            index = start + int(score[:stop].argmax())
            best = float(score[:stop].max())
        if len(done):
            return index
    raise LimitError(f"A* coding found no sample among {max_candidates} candidates: cut smaller blocks")


def log_ratio(x: FloatArray, mean: FloatArray, scale: FloatArray) -> FloatArray:
    """log q(x) - log p(x) in nats of candidates (n, D)."""
    standard = (x - mean) / scale
    return np.asarray((0.5 * (np.square(x) - np.square(standard)) - np.log(scale)).sum(axis=1))


def max_log_ratio(mean: FloatArray, scale: FloatArray) -> float:
    """Largest value of log q - log p in nats; DataError when it has none."""
    if not (scale < 1).all():
        raise DataError(f"exact A* coding needs posterior scales below the prior's, got {scale.max():.3g} of it")
    return float((0.5 * np.square(mean) / (1.0 - np.square(scale)) - np.log(scale)).sum())


def block_kl_bits(mean: FloatArray, scale: FloatArray) -> float:
    """KL of a block in bits."""
    return float((0.5 * (np.square(mean) + np.square(scale) - 1.0) - np.log(scale)).sum() / math.log(2.0))


IntArray = NDArray[np.int64]
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
