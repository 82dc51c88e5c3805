"""Test local functions on strips: the same result as on the whole, with and without overwriting, for all types."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from inrcodec.nn.strips import in_strips, narrow_integers


@settings(deadline=None)
@given(height=st.integers(1, 20), numbers=st.integers(1, 200), overwrite=st.booleans(), halo=st.integers(0, 3))
def test_strips_do_not_change_the_result(height: int, numbers: int, overwrite: bool, halo: int) -> None:
    generator = torch.Generator().manual_seed(height)
    values, other = (torch.randint(-9, 9, (2, 3, height, 4), generator=generator).double() for _ in range(2))
    kernel = torch.randint(-9, 9, (3, 3, 2 * halo + 1, 1), generator=generator).double()

    def function(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(a, kernel, padding=(halo, 0)) + b

    expected = function(values, other)
    result = in_strips(function, values.clone(), other, halo=halo, overwrite=overwrite, numbers=numbers)
    assert torch.equal(result, expected)


def test_a_row_may_yield_several_rows() -> None:
    values = torch.randn(1, 8, 9, 3)
    result = in_strips(lambda v: functional.pixel_shuffle(v, 2), values, halo=0, numbers=50)
    assert torch.equal(result, functional.pixel_shuffle(values, 2))


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_widest_type_is_kept(overwrite: bool) -> None:
    values = torch.tensor([1.0, 2.0**24 + 1, 3.0], dtype=torch.float64).view(1, 1, 3, 1)
    result = in_strips(narrow_integers, values.clone(), halo=0, overwrite=overwrite, numbers=1)
    assert result.dtype == torch.float64 and torch.equal(result, values)
    widened = in_strips(
        lambda v: narrow_integers(v * 2.0**24 + 1.0),
        torch.tensor([0.0, 1.0]).double().view(1, 1, 2, 1),
        halo=0,
        overwrite=overwrite,
        numbers=1,
    )
    assert widened.flatten().tolist() == [1.0, 2.0**24 + 1.0]


def test_integers_are_narrowed_where_they_fit() -> None:
    assert narrow_integers(torch.tensor([2.0**24, -5.0]).double()).dtype == torch.float32
    assert narrow_integers(torch.tensor([2.0**24 + 2]).double()).dtype == torch.float64
