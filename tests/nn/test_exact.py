"""Test integer networks: equality with integer arithmetic in both types, and rejection of sums that are not exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inrcodec.errors import FormatError
from inrcodec.nn import exact as exact_network
from inrcodec.nn.exact import ACTIVATION_LIMIT, ExactConv, between_anchors, to_fixed


def by_integers(values: np.ndarray, weight: np.ndarray, bias: np.ndarray, shift: int, periodic: bool) -> np.ndarray:
    """Return the same convolution, computed with int64 arrays."""
    rows, columns = weight.shape[2] // 2, weight.shape[3] // 2
    padded = np.pad(values, ((0, 0), (0, 0), (rows, rows), (0, 0)))
    padded = np.pad(padded, ((0, 0), (0, 0), (0, 0), (columns, columns)), mode="wrap" if periodic else "constant")
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axis=(2, 3))
    total = np.einsum("nchwij,ocij->nohw", windows, weight) + bias[:, None, None]
    result: np.ndarray = np.clip((total + (1 << shift >> 1)) >> shift, -ACTIVATION_LIMIT, ACTIVATION_LIMIT)
    return result


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**31),
    st.sampled_from([(1, 1), (3, 3), (1, 3)]),
    st.booleans(),
    st.sampled_from([torch.float32, torch.float64]),
    st.sampled_from([4, 20]),
    st.sampled_from([1, 1 << 18]),
)
def test_convolution_equals_integer_arithmetic(
    seed: int, kernel: tuple[int, int], periodic: bool, dtype: torch.dtype, channels: int, at_once: int
) -> None:
    rng = np.random.default_rng(seed)
    large = dtype is torch.float64
    weight = (
        rng.integers(-(1 << 15), 1 << 15, (5, channels, *kernel))
        if large
        else rng.integers(-90, 90, (5, channels, *kernel))
    )
    bias = rng.integers(-(1 << 30), 1 << 30, 5) if large else rng.integers(-1000, 1000, 5)
    limit = ACTIVATION_LIMIT if large else 255
    values = rng.integers(-limit, limit + 1, (2, channels, 6, 5))
    conv = ExactConv.make(
        torch.from_numpy(weight), torch.from_numpy(bias), shift=7, input_limit=limit, periodic=periodic
    )
    assert conv.weight.dtype is dtype
    with pytest.MonkeyPatch.context() as patch:
        for name in ("STRIP_NUMBERS", "TAP_NUMBERS"):
            patch.setattr(exact_network, name, at_once)
        result = conv(torch.from_numpy(values)).to(torch.int64).numpy()
    assert np.array_equal(result, by_integers(values, weight, bias, 7, periodic))


@pytest.mark.parametrize("shape", [(5, 4, 1, 1), (5, 4, 3, 3), (5, 16, 1, 3), (4, 3, 3)])
def test_a_single_place_leaves_the_convolution_as_it_was(shape: tuple[int, ...]) -> None:
    conv = ExactConv.make(torch.full(shape, 7), torch.arange(shape[0]))
    values = torch.ones(1, shape[1] if len(shape) == 4 else shape[0], 1, 1)
    assert torch.equal(conv(values), conv(values))
    assert torch.equal(conv(values, relu=True), conv(values).clamp_min(0))


def test_sums_that_cannot_be_exact_are_rejected() -> None:
    weight, bias = torch.full((1, 1 << 10, 3, 3), 1 << 15), torch.zeros(1, dtype=torch.int64)
    with pytest.raises(FormatError, match="exactly"):
        ExactConv.make(weight, bias, input_limit=1 << 30)
    with pytest.raises(FormatError, match="exactly"):
        ExactConv.make(torch.full((1, 8, 1, 1), 1 << 20), bias, input_limit=1 << 10, dtype=torch.float32)


def test_fixed_point_rounds_to_nearest() -> None:
    values = torch.tensor([0.0, 0.124, 0.126, -0.126, 0.125, -0.125, 3.0])
    assert to_fixed(values, 2).tolist() == [0, 0, 1, -1, 1, -1, 12]


def test_table_rows_are_interpolated_linearly() -> None:
    table = torch.tensor([[0, 100], [256, -100], [0, 0]])
    assert between_anchors(table, 0, 8).tolist() == [0, 100]
    assert between_anchors(table, 128, 8).tolist() == [128, 0]
    assert between_anchors(table, 256, 8).tolist() == [256, -100]
    assert between_anchors(table, 512, 8).tolist() == [0, 0]
