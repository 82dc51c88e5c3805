"""Places of a chequered board: both colours make the whole, gradients pass, one row works."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inrcodec.codecs.hierarchical.checkerboard import scatter_color, take_color


@given(rows=st.integers(1, 7), pairs=st.integers(1, 5))
def test_both_colours_make_the_whole(rows: int, pairs: int) -> None:
    values = torch.arange(2.0 * rows * pairs * 3).view(1, 3, rows, 2 * pairs) + 1.0
    parts = [take_color(values, phase) for phase in (0, 1)]
    assert parts[0].shape == (1, 3, rows, pairs)
    assert torch.equal(torch.stack([scatter_color(part, phase) for phase, part in enumerate(parts)]).sum(0), values)


def test_colours_are_those_of_a_chequered_board() -> None:
    board = scatter_color(torch.ones(1, 1, 4, 2), 0)[0, 0]
    rows, columns = torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")
    assert torch.equal(board, ((rows + columns) % 2 == 0).float())
    assert torch.equal(take_color(board[None, None], 1), torch.zeros(1, 1, 4, 2))


@pytest.mark.parametrize("phase", [0, 1, None])
def test_gradients_reach_the_picked_places_alone(phase: int | None) -> None:
    values = torch.ones(1, 2, 3, 4, requires_grad=True)
    (3.0 * take_color(values, phase)).sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad, scatter_color(take_color(torch.full((1, 2, 3, 4), 3.0), phase), phase))


@pytest.mark.parametrize("phase", [0, 1])
def test_gradients_of_what_is_put_are_those_of_its_places(phase: int) -> None:
    values = torch.ones(1, 2, 3, 2, requires_grad=True)
    weights = torch.arange(24.0).view(1, 2, 3, 4)
    (weights * scatter_color(values, phase)).sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad, take_color(weights, phase))


def test_whole_grids_pass_unchanged() -> None:
    values = torch.randn(1, 2, 3, 5)
    assert take_color(values, None) is values and scatter_color(values, None) is values
