"""Growing a network changes nothing of what it computes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from inrcodec.codecs.hierarchical.config import HierarchicalConfig, LevelConfig
from inrcodec.codecs.hierarchical.elbo import elbo, native_fourier, rounded
from inrcodec.codecs.hierarchical.growth import fine_tuning_network, grown
from inrcodec.codecs.hierarchical.model import HierarchicalINR
from inrcodec.errors import UsageError

SMALL = HierarchicalConfig(
    channels=3,
    axes=2,
    feature_stride=2,
    feature_width=8,
    head_width=8,
    log_lambdas=(4.0, 10.0),
    levels=(LevelConfig(8, 12, (4, 4), 3, 1), LevelConfig(4, 10, (3,), 1, 1), LevelConfig(2, 8, (2,), 1, 0)),
)
LARGE = replace(
    SMALL,
    log_lambdas=(2.0, 10.0),
    n_anchors=13,
    levels=(LevelConfig(8, 20, (4, 4), 4, 3), LevelConfig(4, 16, (3,), 2, 1), LevelConfig(2, 8, (2,), 1, 1)),
)


def _random_model() -> HierarchicalINR:
    torch.manual_seed(3)
    model = HierarchicalINR(SMALL)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def test_function_is_preserved_at_common_rates() -> None:
    model = _random_model()
    larger = grown(model, LARGE)
    values, fourier = torch.rand(3, 3, 16, 24), native_fourier(SMALL, 16, 24)
    # Old and new anchors lie at 4, 4.75 .. and 2, 2.667 ..: only where both tables have an anchor is the line the same.
    log_lambda = torch.tensor([4.0, 10.0, 7.0])
    log_lambda[2] = 4.0
    with torch.no_grad():
        before = elbo(model, values, log_lambda, fourier, rounded)
        after = elbo(larger, values, log_lambda, fourier, rounded)
    assert torch.allclose(before.mse, after.mse, rtol=1e-4)
    assert torch.allclose(before.level_bits, after.level_bits, rtol=1e-3)


def test_every_new_parameter_can_learn() -> None:
    larger = grown(_random_model(), LARGE)
    optimiser = torch.optim.Adam(larger.parameters(), lr=1e-3)
    values, fourier = torch.rand(3, 3, 16, 24), native_fourier(SMALL, 16, 24)
    start = [p.detach().clone() for p in larger.parameters()]
    for _ in range(4):
        optimiser.zero_grad()
        found = elbo(larger, values, torch.tensor([2.5, 6.0, 9.0]), fourier, rounded)
        (found.mse * 1000 + found.bits / 384).mean().backward()
        optimiser.step()
    for (name, parameter), before in zip(larger.named_parameters(), start, strict=True):
        if name.endswith("weight"):
            moved = (parameter.detach() - before).flatten(1).abs().amax(1)
            assert (moved > 0).float().mean() > 0.7, name  # some rectified units are never on


@pytest.mark.parametrize(
    "wrong",
    [
        {"channels": 1},
        {"feature_width": 16},
        {"levels": LARGE.levels[:2]},
        {"levels": (LevelConfig(8, 8, (4, 4), 3, 1), *LARGE.levels[1:])},
        {"levels": (LevelConfig(8, 20, (4, 5), 3, 1), *LARGE.levels[1:])},
    ],
)
def test_refuses_what_does_not_fit(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="no smaller"):
        grown(_random_model(), replace(LARGE, **wrong))


def test_a_network_of_another_shape_is_left_for_the_learned_one() -> None:
    assert fine_tuning_network(SMALL, LARGE) == LARGE
    other = replace(SMALL, levels=(LevelConfig(8, 32, (8,), 3, 1), LevelConfig(4, 16, (4, 4), 1, 1, phases=2)))
    assert fine_tuning_network(SMALL, other) == SMALL
    with pytest.raises(UsageError, match="no smaller"):
        fine_tuning_network(SMALL, replace(other, channels=1))
