"""Inner steps: what they minimise, that they never end worse, and that second order sees what first order cannot."""

from __future__ import annotations

import torch

from inrcodec.codecs.coinpp.inner_loop import fit_latents, inner_steps, slopes, squared_errors
from inrcodec.codecs.coinpp.model import ModulatedINR
from inrcodec.signals.coordinates import grid_coordinates
from tests.support.tiny import smooth_tiles
from tests.support.tiny_coinpp import CONFIG, tiny_coinpp_prior

COORDINATES = torch.from_numpy(grid_coordinates((8, 8)).reshape(-1, 2))


def patches(count: int = 12, seed: int = 3) -> torch.Tensor:
    """(count, 64, 3) in the model's units."""
    return (torch.from_numpy(smooth_tiles(count, seed)).float().flatten(1, 2) / 255 - 0.5) / 0.25


def begun() -> ModulatedINR:
    """A network at the principal components, before any outer step."""
    torch.manual_seed(0)
    model = ModulatedINR(CONFIG)
    model.begin_at(patches(400, 0), COORDINATES)
    return model


def test_it_begins_as_a_projection() -> None:
    """One inner step of size 1 is nearly the projection onto the principal components: more steps change little, and
    what is left is near what as many components leave (their plane waves do not span all of it)."""
    model = begun().requires_grad_(False)
    values = patches()
    one, ten = (fit_latents(model, values, COORDINATES, steps) for steps in (1, 10))
    error_one, error_ten = (squared_errors(model(z, COORDINATES), values).mean() for z in (one, ten))
    assert error_one < 1.3 * error_ten + 0.01 * values.square().sum(dim=(1, 2)).mean()
    assert error_ten < 0.01 * values.square().sum(dim=(1, 2)).mean()


def test_latents_are_in_units_of_values() -> None:
    """Moving a latent dimension by d moves the values by about d (root of the sum of squares)."""
    model = begun()
    with torch.no_grad():
        here = model(torch.zeros(1, CONFIG.latent_dims), COORDINATES)
        there = model(0.1 * torch.eye(CONFIG.latent_dims)[:16], COORDINATES)
    moved = (there - here).square().sum(dim=(1, 2)).sqrt()
    torch.testing.assert_close(moved, torch.full((16,), 0.1), rtol=0.15, atol=0.0)


def test_steps_never_end_worse() -> None:
    """Even with steps a hundred times too long."""
    model = begun()
    with torch.no_grad():
        model.log_rates.add_(4.6)
    model.requires_grad_(False)
    values = patches()
    start = squared_errors(model(torch.zeros(len(values), CONFIG.latent_dims), COORDINATES), values)
    found = squared_errors(model(fit_latents(model, values, COORDINATES, 12), COORDINATES), values)
    assert (found <= start).all()
    assert found.mean() < 0.5 * start.mean()


def test_points_of_no_weight_are_not_seen() -> None:
    model = tiny_coinpp_prior().model
    values = patches()
    weight = torch.ones(len(values), 64)
    weight[:, 40:] = 0.0
    spoilt = values.clone()
    spoilt[:, 40:] = 9.0
    same = [fit_latents(model, v, COORDINATES, 3, weight=weight) for v in (values, spoilt)]
    torch.testing.assert_close(*same)


def test_second_order_reaches_the_step_sizes() -> None:
    """Through the steps there is a gradient to their sizes, equal to the finite difference; without them, none."""
    model = begun()
    values = patches(4)

    def outcome() -> torch.Tensor:
        return squared_errors(model(inner_steps(model, values, COORDINATES, 2), COORDINATES), values).sum()

    outcome().backward()
    assert model.log_rates.grad is not None
    slope = float(model.log_rates.grad.sum())
    ends = []
    for move in (1e-2, -1e-2):
        with torch.no_grad():
            model.log_rates.add_(move)
        ends.append(float(outcome().detach()))
        with torch.no_grad():
            model.log_rates.sub_(move)
    assert abs((ends[0] - ends[1]) / 2e-2 - slope) < 0.05 * abs(slope) + 0.05
    assert not fit_latents(model, values, COORDINATES, 2).requires_grad


def test_slopes_are_gradients_of_half_the_error() -> None:
    model = tiny_coinpp_prior().model
    values, latents = patches(2), torch.randn(2, CONFIG.latent_dims, generator=torch.Generator().manual_seed(1))
    error, slope = slopes(model, latents, values, COORDINATES, model.base_values(COORDINATES))
    direction = slope / slope.norm()
    ahead, behind = (squared_errors(model(latents + s * direction, COORDINATES), values).sum() for s in (1e-2, -1e-2))
    assert abs(float(ahead - behind) / 4e-2 - float(slope.norm())) < 0.02 * float(slope.norm())
    torch.testing.assert_close(error, squared_errors(model(latents, COORDINATES), values))
