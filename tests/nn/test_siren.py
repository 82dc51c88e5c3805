"""Test SIREN layers: the batched network against a loop, and the moments of the local reparameterisation."""

from __future__ import annotations

import math

import pytest
import torch

from inrcodec.nn import siren as module
from inrcodec.nn.siren import SirenShape, siren, siren_local, split_weights, spread_frequencies

SHAPE = SirenShape((5, 7, 4, 3))


def draw(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(11, 5, generator=generator), 0.5 * torch.randn(n, SHAPE.n_weights, generator=generator)


def test_counts_of_weights_and_multiply_adds() -> None:
    assert SHAPE.layers == [(6, 7), (8, 4), (5, 3)]
    assert SHAPE.n_weights == 42 + 32 + 15
    assert SHAPE.multiply_adds == 35 + 28 + 12


def test_network_equals_the_formula_point_by_point() -> None:
    features, weights = draw(2)
    out = siren(features, weights, SHAPE)
    for s in range(2):
        first, second, third = (m[s] for m in split_weights(weights, SHAPE))
        for p in range(11):
            hidden = torch.sin(features[p] @ first[:-1] + first[-1])
            hidden = torch.sin(hidden @ second[:-1] + second[-1])
            assert torch.allclose(out[s, p], hidden @ third[:-1] + third[-1], atol=1e-5)


def test_groups_of_signals_give_the_same_values(monkeypatch: pytest.MonkeyPatch) -> None:
    features, weights = draw(9)
    whole = siren(features, weights, SHAPE)
    monkeypatch.setattr(module, "CACHE_BYTES", 4 * 11 * 7 * 2)
    assert torch.allclose(siren(features, weights, SHAPE), whole, atol=1e-6)


def test_features_may_be_given_per_signal() -> None:
    features, weights = draw(3)
    expanded = features.expand(3, -1, -1)
    assert torch.allclose(siren(expanded, weights, SHAPE), siren(features, weights, SHAPE), atol=1e-6)


def test_local_reparameterisation_has_the_moments_of_a_linear_layer() -> None:
    """The pre-activations of one linear layer are Gaussian with known mean and variance, independent at each point."""
    shape = SirenShape((4, 2))
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(3, 4, generator=generator)
    mean, variance = torch.randn(1, 10, generator=generator), torch.rand(1, 10, generator=generator)
    draws = siren_local(features, mean.expand(20000, -1), variance.expand(20000, -1), shape, generator)
    m, v = split_weights(mean, shape)[0][0], split_weights(variance, shape)[0][0]
    expected_mean = features @ m[:-1] + m[-1]
    expected_variance = features.square() @ v[:-1] + v[-1]
    error = (draws.mean(dim=0) - expected_mean).abs() / (expected_variance / 20000).sqrt()
    assert error.max() < 5.0  # five standard errors
    assert torch.allclose(draws.var(dim=0), expected_variance, rtol=0.06)


def test_local_reparameterisation_without_variance_is_the_network() -> None:
    features, weights = draw(2)
    local = siren_local(features, weights, torch.zeros_like(weights), SHAPE, torch.Generator().manual_seed(0))
    assert torch.allclose(local, siren(features, weights, SHAPE), atol=1e-4)


@pytest.mark.parametrize("n_axes", [1, 2, 3])
def test_frequencies_span_the_grid(n_axes: int) -> None:
    frequency, phase = spread_frequencies(n_axes, 40, 16.0)
    length = frequency.norm(dim=0)
    assert frequency.shape == (n_axes, 40) and phase.shape == (40,)
    assert length[0] > 0.5 * math.pi and length[-1] < 16.0 * math.pi
    assert (length.diff() > 0).all()
