"""The coder of latents: its tables, round trips, code lengths, damage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inrcodec.ground.errors import FormatError, LimitError
from inrcodec.maths.entropy import TABLE_TOTAL
from inrcodec.maths.gaussian_coder import (
    LARGEST_VALUE,
    N_SCALES,
    GaussianReader,
    GaussianWriter,
    counts_of,
    scale_values,
    support,
)


@pytest.mark.parametrize("index", range(0, N_SCALES, 7))
def test_tables_are_those_of_the_law(index: int) -> None:
    counts, scale, half = counts_of(index), scale_values()[index], support(index)
    assert counts.sum() == TABLE_TOTAL and counts.min() >= 1 and len(counts) == 2 * half + 2
    assert np.array_equal(counts[: 2 * half + 1], counts[: 2 * half + 1][::-1])
    k = np.arange(-half, half + 1)
    law = np.array([
        0.5 * (math.erf((v + 0.5) / (scale * math.sqrt(2))) - math.erf((v - 0.5) / (scale * math.sqrt(2)))) for v in k
    ])  # fmt: skip
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
    reader = GaussianReader(writer.to_bytes())
    for values, scales in parts:
        assert np.array_equal(reader.read(scales), values)
    reader.finish()


def test_length_is_the_information() -> None:
    rng = np.random.default_rng(1)
    scales = rng.integers(0, 40, 20000)
    values = np.rint(rng.normal(size=20000) * scale_values()[scales]).astype(np.int64)
    writer = GaussianWriter()
    writer.write(values, scales)
    ideal = sum(
        -math.log2(counts_of(s)[v + support(s)] / TABLE_TOTAL) if abs(v) <= support(s) else 24 + 16
        for v, s in zip(values.tolist(), scales.tolist(), strict=True)
    )
    assert ideal / 8 <= len(writer.to_bytes()) <= ideal / 8 * 1.001 + 4


def test_golden_bytes() -> None:
    writer = GaussianWriter()
    writer.write(np.array([0, 1, -2, 5, 0, 400]), np.array([3, 20, 25, 30, 0, 10]))
    assert writer.to_bytes().hex() == "220b8090df8bd6aa23"


def test_damage_and_excess_are_errors() -> None:
    writer = GaussianWriter()
    writer.write(np.array([3, -1, 2]), np.array([30, 30, 30]))
    data = writer.to_bytes()
    reader = GaussianReader(data + b"\1\2\3\4")
    reader.read(np.array([30, 30, 30]))
    with pytest.raises(FormatError):
        reader.finish()
    with pytest.raises(FormatError):
        GaussianReader(data + b"\0")
    with pytest.raises(LimitError, match="far from"):
        writer.write(np.array([LARGEST_VALUE]), np.array([0]))
