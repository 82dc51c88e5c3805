"""Test the Gaussian coder: its tables, round trips, code lengths, corrupt messages."""

from __future__ import annotations

import contextlib
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inrcodec.coding.gaussian import (
    MAX_VALUE,
    N_SCALES,
    TABLE_TOTAL,
    GaussianReader,
    GaussianWriter,
    counts_of,
    scale_values,
    support,
)
from inrcodec.errors import FormatError, LimitError


@pytest.mark.parametrize("index", range(0, N_SCALES, 7))
def test_tables_follow_the_gaussian(index: int) -> None:
    counts, scale, half = counts_of(index), scale_values()[index], support(index)
    assert counts.sum() == TABLE_TOTAL and counts.min() >= 1 and len(counts) == 2 * half + 2
    assert np.array_equal(counts[: 2 * half + 1], counts[: 2 * half + 1][::-1])
    k = np.arange(-half, half + 1)
    law = np.array(
        [0.5 * (math.erf((v + 0.5) / (scale * math.sqrt(2))) - math.erf((v - 0.5) / (scale * math.sqrt(2)))) for v in k]
    )
    used = law > 1e-12
    loss = float(np.sum(law[used] * np.log2(law[used] / (counts[:-1][used] / TABLE_TOTAL))))
    assert loss < (0.02 if index < 60 else 0.08), "the widest tables are coarse at their ends"


def test_neighbouring_scales_cost_little() -> None:
    for index in range(8, N_SCALES - 1, 9):
        near, far = counts_of(index) / TABLE_TOTAL, counts_of(index + 1) / TABLE_TOTAL
        cut = support(index + 1) - support(index)
        wide = far[cut : len(far) - 1 - cut]
        extra = float(np.sum(near[:-1] * np.log2(near[:-1] / wide)))
        assert extra < 0.03


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.lists(st.integers(0, 300), min_size=1, max_size=4))
def test_round_trip(seed: int, sizes: list[int]) -> None:
    rng = np.random.default_rng(seed)
    writer, parts = GaussianWriter(), []
    for size in sizes:
        scales = rng.integers(0, N_SCALES, size)
        values = np.rint(rng.standard_t(2, size) * 2 * scale_values()[scales]).astype(np.int64)
        parts.append((values, scales))
        writer.write(values, scales)
    reader = GaussianReader(writer.to_bytes(), len(parts))
    for values, scales in parts:
        assert np.array_equal(reader.read(scales), values)


def information(values: np.ndarray, scales: np.ndarray) -> float:
    """Return the bits of values under their tables."""
    return sum(
        -math.log2(counts_of(s)[v + support(s)] / TABLE_TOTAL) if abs(v) <= support(s) else 24 + 16
        for v, s in zip(values.tolist(), scales.tolist(), strict=True)
    )


def drawn(rng: np.random.Generator, size: int, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
    """Return values drawn from their scales, and the scales."""
    scales = rng.integers(low, high, size)
    return np.rint(rng.normal(size=size) * scale_values()[scales]).astype(np.int64), scales


def test_length_is_the_information() -> None:
    values, scales = drawn(np.random.default_rng(1), 20000, 0, 40)
    writer = GaussianWriter()
    writer.write(values, scales)
    ideal = information(values, scales)
    assert ideal / 8 - 1 <= len(writer.to_bytes()) <= ideal / 8 * 1.001 + 4


def test_short_messages_are_hardly_longer_than_their_information() -> None:
    """Eight parts of falling information take about 400 bits: 3 locate the end, 4 are rounding, 2 are the end's."""
    rng = np.random.default_rng(2)
    spent, ideal = 0.0, 0.0
    for _ in range(200):
        writer = GaussianWriter()
        for part in range(8):
            values, scales = drawn(rng, 20 * (1 + part), 10 - part, 30 - 2 * part)
            writer.write(values, scales)
            ideal += information(values, scales) / 200
        spent += 8 * len(writer.to_bytes()) / 200
    assert 200 < ideal < 600 and ideal - 2 < spent < ideal + 10


def test_zeros_at_the_end_take_no_bytes() -> None:
    writer = GaussianWriter()
    for part in range(3):
        writer.write(np.zeros(50, np.int64), np.full(50, 20 + part))
    assert writer.to_bytes() == b""
    short, long = GaussianWriter(), GaussianWriter()
    for written in (short, long):
        written.write(np.array([1, 0, 3]), np.array([30, 30, 30]))
        written.write(np.zeros(5 if written is short else 5000, np.int64), np.full(5 if written is short else 5000, 12))
    assert short.to_bytes() == long.to_bytes()


def test_bytes_are_frozen() -> None:
    writer = GaussianWriter()
    writer.write(np.array([0, 1, -2, 5, 0, 400]), np.array([3, 20, 25, 30, 0, 10]))
    writer.write(np.full(100, -1), np.full(100, 22))
    assert writer.to_bytes().hex() == "a9a59ae85d718da1e8dd918b93d37263ed7a81ce115cf242fca3c5688f3b9471"


def test_corrupt_message_and_value_out_of_range_are_rejected() -> None:
    values, scales = np.array([3, -1, 2] * 20), np.array([30, 30, 30] * 20)
    writer = GaussianWriter()
    writer.write(values, scales)
    data = writer.to_bytes()
    with pytest.raises(FormatError, match="does not end"):
        GaussianReader(data + b"\1\2\3\4", 1).read(scales)
    for cut in range(len(data)):
        with contextlib.suppress(FormatError):
            read = GaussianReader(data[:cut].rstrip(b"\0"), 1).read(scales)
            assert not np.array_equal(read, values), "a truncated message is at best another message"
    with pytest.raises(FormatError):
        GaussianReader(data + b"\0", 1)
    silent = GaussianWriter()
    silent.write(np.zeros(3, np.int64), scales[:3])
    silent.write(np.array([1]), scales[:1])
    with pytest.raises(FormatError, match="does not end"):
        reader = GaussianReader(silent.to_bytes(), 2)
        reader.read(scales[:3])
        reader.read(np.array([0]))
    with pytest.raises(LimitError, match="latent out of range"):
        writer.write(np.array([MAX_VALUE]), np.array([0]))
