"""Exact A* coding of one block, and the code of its unbounded index.

Global-bound A* coding (Flamich, Markou and Hernandez-Lobato, arXiv:2201.12857, algorithm 2) encodes an exact sample of
a posterior q as the index of a shared candidate. Candidates x_1, x_2, .. ~ p arrive at the times T_1 < T_2 < .. of a
Poisson process; the one that maximises log(q/p)(x_i) - log T_i is a sample of q. Because -log T_i falls, the search may
stop as soon as -log T_i + max_x log(q/p)(x) cannot beat the best score so far.

The index is about 2^KL in size and has no upper bound, so it needs a code of variable length. ``encode_zipf`` splits
index + 1 into a bucket (its bit length) and the bits below the leading one. Buckets follow a geometric law, which makes
the law of the indices close to Zipf's; they are entropy-coded, the bits below are stored as they are.

``coding.relative_entropy`` picks among the same candidates with the same signs, but with indices of fixed length. Its
``decode_blocks`` decodes the indices of this module as well.
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
IntArray = NDArray[np.int64]

N_BUCKETS = 33
"""Indices reach up to 2^33 - 2."""
CHUNK = 1024
"""Candidates that are scored at once."""

# round(65536 * 2^(-1 / (E + 1.53))) for E = 0 .. 31 bits: part of the format, hence written out.
BUCKET_RATIOS = (
    41661, 49831, 53852, 56238, 57815, 58936, 59773, 60421, 60939, 61361, 61712, 62009, 62263, 62483, 62675, 62845,
    62995, 63130, 63251, 63360, 63460, 63550, 63634, 63710, 63781, 63846, 63907, 63963, 64016, 64065, 64111, 64154,
)  # fmt: skip


def encode_symbols(symbols: IntArray, tables: IntArray, contexts: IntArray) -> bytes:
    """Encode symbols, each under the table that its context selects.

    Args:
        symbols: (n,), each in [0, A).
        tables: (T, A) counts, all at least 1, each row with the sum 65,536.
        contexts: (n,); symbol i is coded under row ``contexts[i]`` of ``tables``.
    """
    coder = constriction.stream.stack.AnsCoder()
    for context in np.unique(contexts)[::-1].tolist():
        coder.encode_reverse(symbols[contexts == context].astype(np.int32), _model(tables[context]))
    return np.asarray(coder.get_compressed()).astype("<u4").tobytes().rstrip(b"\0")


def decode_symbols(data: bytes, tables: IntArray, contexts: IntArray) -> IntArray:
    """Return the symbols (n,) of ``encode_symbols`` for the same tables and contexts.

    Raises:
        FormatError: the data ends in an empty word, or the coder is not empty after the last symbol.
    """
    words = np.frombuffer(data + bytes(-len(data) % 4), "<u4").astype(np.uint32)
    if words.size and words[-1] == 0:
        raise FormatError("corrupt entropy-coded data: it ends in an empty word")
    coder = constriction.stream.stack.AnsCoder(words)
    symbols = np.zeros(len(contexts), np.int64)
    for context in np.unique(contexts).tolist():
        positions = np.flatnonzero(contexts == context)
        symbols[positions] = coder.decode(_model(tables[context]), len(positions))
    if not coder.is_empty():
        raise FormatError("corrupt entropy-coded data: it does not end after the last symbol")
    return symbols


def _model(counts: IntArray) -> constriction.stream.model.Categorical:
    assert counts.min() >= 1 and counts.sum() == TABLE_TOTAL
    return constriction.stream.model.Categorical(counts.astype(np.float64), perfect=False)


def bucket_counts(mean_bits: int) -> IntArray:
    """Return the counts (33,) of the buckets of ``encode_zipf``, computed in integer arithmetic.

    Args:
        mean_bits: the expected bit length of an index, 0 to 31.
    """
    ratio = BUCKET_RATIOS[mean_bits]
    weights = [1 << 40]
    for _ in range(N_BUCKETS - 1):
        weights.append(weights[-1] * ratio >> 16)
    total = sum(weights)
    counts = [max(1, w * (TABLE_TOTAL - N_BUCKETS) // total) for w in weights]
    counts[0] += TABLE_TOTAL - sum(counts)
    return np.array(counts, np.int64)


def encode_zipf(indices: IntArray, mean_bits: int) -> bytes:
    """Encode non-negative indices of unknown size.

    Args:
        indices: (n,), each in [0, 2^33 - 2].
        mean_bits: about the KL divergence of a block in bits, 0 to 31; the decoder must know it.

    Raises:
        LimitError: an index is out of range.
    """
    numbers = np.asarray(indices, np.int64) + 1
    if numbers.size and (numbers.min() < 1 or numbers.max() >= 1 << N_BUCKETS):
        raise LimitError(f"index out of range: expected 0 to 2^{N_BUCKETS} - 2, got {numbers.max() - 1}")
    buckets = np.array([int(n).bit_length() - 1 for n in numbers], np.int64)
    head = encode_symbols(buckets, bucket_counts(mean_bits)[None], np.zeros(len(numbers), np.int64))
    writer = BitWriter()
    for number, bucket in zip(numbers.tolist(), buckets.tolist(), strict=True):
        writer.write(number - (1 << bucket), bucket)
    return write_varint(len(head)) + head + writer.to_bytes()


def decode_zipf(data: bytes, count: int, mean_bits: int) -> IntArray:
    """Return the ``count`` indices of ``encode_zipf`` for the same ``mean_bits``.

    Raises:
        FormatError: the data is truncated or corrupt, or has trailing bytes.
    """
    length, position = read_varint(data, 0)
    if position + length > len(data):
        raise FormatError(f"truncated entropy-coded data: expected {length} bytes, got {len(data) - position}")
    tables = bucket_counts(mean_bits)[None]
    buckets = decode_symbols(data[position : position + length], tables, np.zeros(count, np.int64))
    reader = BitReader(data[position + length :])
    indices = [(1 << bucket) + int(reader.read(1, bucket)[0]) - 1 for bucket in buckets.tolist()]
    reader.finish()
    return np.array(indices, np.int64)


def zipf_bits(index: int, mean_bits: int) -> float:
    """Return the ideal code length of an index in bits, without the rounding of ``encode_zipf``."""
    bucket = (index + 1).bit_length() - 1
    return float(bucket - np.log2(bucket_counts(mean_bits)[bucket] / TABLE_TOTAL))


def astar_encode(
    mean: FloatArray,
    scale: FloatArray,
    *,
    seed: int,
    block_id: int,
    noise: np.random.Generator,
    max_candidates: int = 1 << 24,
) -> int:
    """Return the index of a candidate that is an exact sample of q = N(mean, scale^2).

    Args:
        mean: (D,), in units of the prior N(0, I).
        scale: (D,), each below 1, in the same units.
        seed: the seed of the shared candidates and signs.
        block_id: selects the signs of the block.
        noise: the encoder's private generator, which draws the arrival times.
        max_candidates: the number of candidates after which the search gives up.

    Raises:
        DataError: log(q/p) has no maximum, because a scale is 1 or more.
        LimitError: the sample is not among the first ``max_candidates`` candidates.
    """
    bound = max_log_ratio(mean, scale)
    sign = signs(seed, np.array([block_id]), len(mean))[0]
    best, index, time = -math.inf, -1, 0.0
    for start in range(0, max_candidates, CHUNK):
        x = candidate_rows(seed, len(mean), np.arange(start, start + CHUNK)) * sign
        arrivals = time + np.cumsum(noise.exponential(size=CHUNK))
        time = float(arrivals[-1])
        score = log_ratio(x.astype(np.float64), mean, scale) - np.log(arrivals)
        # A candidate counts only while the bound at its arrival is above the best score before it.
        best_before = np.maximum.accumulate(np.concatenate([[best], score]))[:-1]
        done = np.flatnonzero(bound - np.log(arrivals) <= best_before)
        stop = int(done[0]) if len(done) else CHUNK
        if stop and score[:stop].max() > best:
            index = start + int(score[:stop].argmax())
            best = float(score[:stop].max())
        if len(done):
            return index
    raise LimitError(f"A* coding found no sample among {max_candidates} candidates: use smaller blocks")


def log_ratio(x: FloatArray, mean: FloatArray, scale: FloatArray) -> FloatArray:
    """Return log q(x) - log p(x) in nats, (n,), for candidates (n, D) and q = N(mean, scale^2), both (D,)."""
    standard = (x - mean) / scale
    return np.asarray((0.5 * (np.square(x) - np.square(standard)) - np.log(scale)).sum(axis=1))


def max_log_ratio(mean: FloatArray, scale: FloatArray) -> float:
    """Return the maximum of log q - log p in nats for q = N(mean, scale^2), both (D,).

    Raises:
        DataError: there is no maximum, because a scale is 1 or more.
    """
    if not (scale < 1).all():
        raise DataError(f"exact A* coding needs posterior scales below the prior's, got a ratio of {scale.max():.3g}")
    return float((0.5 * np.square(mean) / (1.0 - np.square(scale)) - np.log(scale)).sum())


def block_kl_bits(mean: FloatArray, scale: FloatArray) -> float:
    """Return the KL divergence of N(mean, scale^2), both (D,), from N(0, I) in bits."""
    return float((0.5 * (np.square(mean) + np.square(scale) - 1.0) - np.log(scale)).sum() / math.log(2.0))
