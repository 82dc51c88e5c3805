"""Patches: the layout by hand, and rendering at any size against the function itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inrcodec.codecs.patches import PatchLayout, oversampling, render
from inrcodec.signals.coordinates import grid_coordinates


def test_patches_by_hand() -> None:
    values = np.arange(15, dtype=np.float32).reshape(3, 5, 1)
    layout = PatchLayout((3, 5), (2, 2))
    patches, weight = layout.cut(values)
    assert layout.counts == (2, 3) and patches.shape == (6, 4, 1)
    assert patches[1, :, 0].tolist() == [2, 3, 7, 8]
    assert patches[2, :, 0].tolist() == [4, 4, 9, 9]  # the edge repeats beyond the signal ...
    assert weight is not None and weight[2].tolist() == [1, 0, 1, 0]  # ... without weight
    assert weight[4].tolist() == [1, 1, 0, 0]
    assert weight.sum() == 15


def test_exact_fit_needs_no_weights() -> None:
    assert PatchLayout((4, 6), (2, 3)).cut(np.zeros((4, 6, 2), np.float32))[1] is None


def stored(patches: np.ndarray):  # type: ignore[no-untyped-def]
    """A function that gives back the stored points of a patch at its native coordinates."""

    def evaluate(numbers: torch.Tensor, coordinates: torch.Tensor) -> torch.Tensor:
        assert len(coordinates) == patches.shape[1]
        return torch.from_numpy(patches)[numbers]

    return evaluate


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 5)), min_size=1, max_size=3))
def test_native_render_inverts_cut_when_patches_fit(axes: list[tuple[int, int]]) -> None:
    shape, patch = tuple(k * p for k, p in axes), tuple(p for _, p in axes)
    values = np.random.default_rng(0).random((*shape, 2)).astype(np.float32)
    layout = PatchLayout(shape, patch)
    patches, _ = layout.cut(values)
    assert np.array_equal(render(layout, shape, 2, stored(patches)), values)


def plane(layout: PatchLayout):  # type: ignore[no-untyped-def]
    """The linear function 'position in points of the signal', patch by patch."""
    corners = torch.tensor(list(np.ndindex(*layout.counts)), dtype=torch.float32) * torch.tensor(layout.patch_shape)

    def evaluate(numbers: torch.Tensor, coordinates: torch.Tensor) -> torch.Tensor:
        return corners[numbers][:, None] + (coordinates + 1) / 2 * torch.tensor(layout.patch_shape)

    return evaluate


@pytest.mark.parametrize("size", [(7, 10), (14, 20), (3, 31), (1, 1), (8, 9), (700, 3)])
def test_pixel_centres_keep_their_place_at_every_size(size: tuple[int, int]) -> None:
    layout = PatchLayout((7, 10), (4, 4))
    out = render(layout, size, 2, plane(layout))
    for axis in range(2):
        centres = (np.arange(size[axis]) + 0.5) * layout.shape[axis] / size[axis]
        found = np.take(out, 0, axis=1 - axis)[..., axis]
        assert np.allclose(found, centres, atol=1e-4)


def test_below_native_size_a_point_is_the_mean_of_its_footprint() -> None:
    assert oversampling((100, 100), (50, 200)) == (2, 1)
    layout = PatchLayout((8,), (8,))
    patches = np.array([0, 1] * 4, np.float32).reshape(1, 8, 1)
    coordinates = grid_coordinates((8,))[:, 0]

    def evaluate(numbers: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        nearest = np.abs(at.numpy()[:, 0][:, None] - coordinates).argmin(axis=1)
        return torch.from_numpy(patches[:, nearest])

    assert render(layout, (4,), 1, evaluate)[:, 0].tolist() == [0.5] * 4  # alternating points average out
