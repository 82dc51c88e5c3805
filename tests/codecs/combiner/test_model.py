"""The model: its three parameterisations, its limits."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from inrcodec.codecs.combiner.model import BayesianINR, CombinerConfig, Reparameterisation
from inrcodec.errors import FormatError

SMALL: dict[str, Any] = {"features": 6, "hidden": 5, "hidden_layers": 2, "latent_dims": 9, "proposal_hidden": 4}


@pytest.mark.parametrize("axes", [(16,), (4, 4), (3, 3, 2)])
@pytest.mark.parametrize("kind", list(Reparameterisation))
def test_values_of_every_kind_and_dimension(axes: tuple[int, ...], kind: Reparameterisation) -> None:
    config = CombinerConfig(axes, 2, reparameterisation=kind, **SMALL)
    model = BayesianINR(config, 3)
    latent = torch.randn(4, config.dims)
    features = model.features(torch.rand(7, len(axes)))
    assert model.weights(latent).shape == (4, config.shape.n_weights)
    assert model.values(latent, features).shape == (4, 7, 2)
    assert config.dims == (9 if kind is Reparameterisation.JOINT else config.shape.n_weights)


def test_none_is_the_weights_themselves() -> None:
    model = BayesianINR(CombinerConfig((4, 4), 1, reparameterisation="none", **SMALL), 1)  # type: ignore[arg-type]
    latent = torch.randn(2, model.config.dims)
    assert torch.equal(model.weights(latent), latent + model.base)


def test_joint_is_linear_in_the_latents() -> None:
    model = BayesianINR(CombinerConfig((4, 4), 1, **SMALL), 1)
    a, b = torch.randn(2, 1, 9)
    zero = model.weights(torch.zeros(1, 9))
    assert torch.allclose(model.weights(a + b) - zero, (model.weights(a) - zero) + (model.weights(b) - zero), atol=1e-5)


@pytest.mark.parametrize("kind", ["none", "joint"])
def test_draws_vary_as_the_posterior_says(kind: str) -> None:
    model = BayesianINR(CombinerConfig((4, 4), 1, reparameterisation=kind, **SMALL), 1)  # type: ignore[arg-type]
    features = model.features(torch.rand(5, 2))
    mean = torch.zeros(64, model.config.dims)
    wide = model.sampled_values(mean, torch.full_like(mean, 0.5), features, torch.Generator().manual_seed(0))
    none = model.sampled_values(mean, torch.full_like(mean, 1e-8), features, torch.Generator().manual_seed(0))
    assert wide.std(dim=0).min() > 1e-3
    assert none.std(dim=0).max() < 1e-4
    assert torch.allclose(none[0], model.values(mean[:1], features)[0], atol=1e-3)


def test_config_survives_json_and_refuses_nonsense() -> None:
    config = CombinerConfig((4, 4), 3, reparameterisation=Reparameterisation.LAYER)
    assert CombinerConfig.from_dict(config.to_dict()) == config
    changes: list[dict[str, Any]] = [
        {"channels": 0},
        {"patch_shape": []},
        {"patch_shape": [1 << 20, 4]},
        {"hidden": 10**9},
        {"odd": 1},
    ]
    for change in changes:
        with pytest.raises(FormatError):
            CombinerConfig.from_dict({**config.to_dict(), **change})
