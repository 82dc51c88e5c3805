"""Posterior steps: the KL by an independent formula, losses that fall, dimensions that stay."""

from __future__ import annotations

import math

import torch

from inrcodec.codecs.combiner.posterior import (
    Gaussian,
    PosteriorAdam,
    Rates,
    elbo_terms,
    kl_bits,
    masked_mse,
    posterior_step,
)
from inrcodec.signals.coordinates import grid_coordinates
from tests.support.tiny import smooth_tiles, tiny_prior


def setup(n: int = 6) -> tuple[Gaussian, Gaussian, torch.Tensor, torch.Tensor, torch.Tensor]:
    prior = tiny_prior()
    values = torch.from_numpy(smooth_tiles(n, seed=3).reshape(n, 64, 3) / 255.0).float()
    target = (values - prior.centre) / prior.spread
    p = Gaussian(prior.mean[1, :1].expand(n, -1), prior.log_scale[1, :1].expand(n, -1))
    q = Gaussian(p.mean.clone(), p.log_scale - 1.0)
    features = prior.model.features(torch.from_numpy(grid_coordinates((8, 8)).reshape(-1, 2)))
    return q, p, target, features, torch.full((n,), 1e-3)


def test_kl_equals_torch_distributions() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b, c, d = torch.randn(4, 3, 5, generator=generator)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(a, b.exp()), torch.distributions.Normal(c, d.exp())
    )
    assert torch.allclose(kl_bits(Gaussian(a, b), Gaussian(c, d)), expected / math.log(2), atol=1e-4)


def test_masked_points_do_not_count() -> None:
    values, target = torch.ones(1, 4, 2), torch.zeros(1, 4, 2)
    weight = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    assert masked_mse(values, target, None).item() == 1.0
    assert masked_mse(values, target, weight).item() == 0.5


def test_steps_lower_the_loss() -> None:
    q, p, target, features, beta = setup()
    model, adam = tiny_prior().model, PosteriorAdam((6, 20))
    losses = []
    for _ in range(80):
        mse, kl = posterior_step(model, q, p, adam, slice(0, 6), features, target, beta, Rates(0.2, 0.05))
        losses.append(float((mse / beta + kl.sum(dim=1) / 64).sum()))
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


def test_closed_dimensions_stay_and_cost_nothing() -> None:
    q, p, target, features, beta = setup()
    open_dims = torch.ones(6, 20)
    open_dims[:, ::2] = 0.0
    before = q.clone()
    adam = PosteriorAdam((6, 20))
    for _ in range(5):
        posterior_step(
            tiny_prior().model, q, p, adam, slice(0, 6), features, target, beta, Rates(), open_dims=open_dims
        )
    assert torch.equal(q.mean[:, ::2], before.mean[:, ::2])
    assert torch.equal(q.log_scale[:, ::2], before.log_scale[:, ::2])
    assert (q.mean[:, 1::2] != before.mean[:, 1::2]).any()


def test_a_heavier_kl_ends_lower() -> None:
    ends = []
    for factor in (1.0, 8.0):
        q, p, target, features, beta = setup()
        adam, weight = PosteriorAdam((6, 20)), torch.full((6, 20), factor)
        for _ in range(150):
            posterior_step(
                tiny_prior().model,
                q,
                p,
                adam,
                slice(0, 6),
                features,
                target,
                20 * beta,
                Rates(0.2, 0.05),
                kl_weight=weight,
            )
        ends.append(float(kl_bits(q, p).sum()))
    assert ends[1] < 0.8 * ends[0]


def test_rows_may_be_visited_in_any_order() -> None:
    adam = PosteriorAdam((4, 3))
    gradient = torch.ones(2, 3)
    first, _ = adam.step(torch.tensor([3, 1]), gradient, gradient)
    assert torch.allclose(first, -torch.ones(2, 3), atol=1e-4)  # Adam's first step is one in size
    assert adam.count[:, 0].tolist() == [0, 1, 0, 1]


def test_draws_are_reproducible() -> None:
    q, p, target, features, _ = setup()
    results = [
        elbo_terms(tiny_prior().model, q, p, features, target, None, torch.Generator().manual_seed(4))[0]
        for _ in range(2)
    ]
    assert torch.equal(results[0], results[1])
