"""Packed weights: nothing is lost, about the entropy of the rows is spent, and bad descriptions are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inrcodec.codecs.packed_weights import MAX_DEVIATION, pack, round_rows, row_units, unpack
from inrcodec.errors import FormatError, LimitError


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_rounded_weights_come_back(rows: int, columns: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    scales = 10.0 ** (8.0 * torch.rand(rows, 1, 1, generator=random) - 4.0)
    one = round_rows(torch.randn(rows, columns, 3, generator=random) * scales)
    two = round_rows((torch.randn(2, columns, generator=random) * 900).round(), min_unit=1.0)
    weights = {"one": one, "two": two, "zeros": torch.zeros(3, 2)}
    found = unpack(*pack(weights))
    assert list(found) == list(weights)
    for name, weight in weights.items():
        assert torch.equal(found[name], weight.double())
    assert torch.equal(two, two.round())


def test_rounding_keeps_half_a_unit_and_the_message_its_entropy() -> None:
    torch.manual_seed(0)
    weight = torch.randn(64, 500)
    rounded = round_rows(weight)
    unit = row_units(weight)
    assert ((rounded - weight).abs() <= 0.5 * unit[:, None] + 1e-9).all()
    integers = rounded / unit[:, None]
    assert MAX_DEVIATION / 2.2 < float(integers.square().mean().sqrt()) <= 1.01 * MAX_DEVIATION
    ideal = float((integers.square().mean(dim=1).sqrt() * np.sqrt(2 * np.pi * np.e)).log2().sum()) * 500 / 8
    _, tensors = pack({"": rounded})
    assert tensors["message"].numel() == pytest.approx(ideal, rel=0.01)


def test_what_does_not_fit_is_refused() -> None:
    description, tensors = pack({"a": round_rows(torch.randn(4, 6)), "b": round_rows(torch.randn(2, 3))})
    with pytest.raises(LimitError):
        pack({"a": torch.full((1, 2), 1.1)})
    for wrong in ([["a", [1 << 14, 1 << 14]]], [["a", [4, 6]]], [["a", [0, 6]], ["b", [6, 3]]]):
        with pytest.raises(FormatError):
            unpack(wrong, tensors)
    with pytest.raises(FormatError):
        unpack(description, {**tensors, "exponents": torch.full((6,), 100, dtype=torch.int8)})
    with pytest.raises(FormatError):
        unpack(description, {**tensors, "scales": torch.full((6,), 64, dtype=torch.uint8)})
    with pytest.raises(KeyError):
        unpack(description, {"message": tensors["message"]})
