"""Gradient steps on Gaussian posteriors: the beta-ELBO of one patch, many patches at once.

    loss(patch) = E_q[mse] / beta + sum_d weight_d KL_bits_d / points

in bits per point, so that patches of all rates weigh alike (COMBINER, arXiv 2305.19185, eq. 4, divided by beta).
Steps are taken in the posterior's own units: an Adam step of size 1 moves the mean by one posterior scale. In absolute
units a step that is right for a vague dimension throws a sharp one away.

Shapes: S patches, P points, C channels, D latent dimensions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from inrcodec.codecs.combiner.model import BayesianINR

LN2 = math.log(2.0)


@dataclass
class Gaussian:
    """Diagonal Gaussians, ``mean`` and ``log_scale`` (S, D) each."""

    mean: Tensor
    log_scale: Tensor

    def __getitem__(self, rows: Tensor | slice) -> Gaussian:
        return Gaussian(self.mean[rows], self.log_scale[rows])

    def clone(self) -> Gaussian:
        """A copy with memory of its own."""
        return Gaussian(self.mean.clone(), self.log_scale.clone())

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """One draw, (S, D)."""
        noise = torch.randn(self.mean.shape, generator=generator, dtype=self.mean.dtype, device=self.mean.device)
        return self.mean + self.log_scale.exp() * noise


def kl_bits(posterior: Gaussian, prior: Gaussian) -> Tensor:
    """KL divergence per dimension in bits, (S, D)."""
    log_ratio = posterior.log_scale - prior.log_scale
    shift = (posterior.mean - prior.mean) * torch.exp(-prior.log_scale)
    return (0.5 * (torch.exp(2.0 * log_ratio) + shift.square() - 1.0) - log_ratio) / LN2


def masked_mse(values: Tensor, target: Tensor, point_weight: Tensor | None) -> Tensor:
    """Mean squared error per patch, (S,); ``point_weight`` (S, P) is 0 where a patch has no point of the signal.

    The sum is divided by all P points of a patch, those without a sample included: a patch at the border then weighs
    as much per sample as any other.
    """
    squared = (values - target).square()
    if point_weight is not None:
        squared = squared * point_weight[..., None]
    return squared.mean(dim=(1, 2))


def elbo_terms(
    model: BayesianINR,
    posterior: Gaussian,
    prior: Gaussian,
    features: Tensor,
    target: Tensor,
    point_weight: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Distortion of one draw, (S,), in squared normalised units, and KL in bits per dimension, (S, D)."""
    values = model.sampled_values(posterior.mean, posterior.log_scale.exp(), features, generator)
    return masked_mse(values, target, point_weight), kl_bits(posterior, prior)


class PosteriorAdam:
    """Adam (Kingma and Ba, 2015) over the rows of a set of posteriors, rows visited in any order.

    State: first and second moments of the gradients of mean and log scale, and a step count per row.
    """

    decay_first, decay_second = 0.9, 0.99

    def __init__(self, shape: tuple[int, int], device: torch.device | str = "cpu") -> None:
        self.moments = torch.zeros(4, *shape, device=device)
        self.count = torch.zeros(shape[0], 1, device=device)

    def step(self, rows: Tensor | slice, grad_mean: Tensor, grad_log_scale: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised steps downhill for the given rows: about 1 in size, to be multiplied by a learning rate."""
        count = self.count[rows] + 1.0
        self.count[rows] = count
        correct_first, correct_second = 1.0 - self.decay_first**count, 1.0 - self.decay_second**count
        steps = []
        for index, gradient in ((0, grad_mean), (2, grad_log_scale)):
            first = torch.lerp(gradient, self.moments[index, rows], self.decay_first)
            second = torch.lerp(gradient.square(), self.moments[index + 1, rows], self.decay_second)
            self.moments[index, rows], self.moments[index + 1, rows] = first, second
            steps.append(-(first / correct_first) / ((second / correct_second).sqrt() + 1e-12))
        return steps[0], steps[1]


@dataclass(frozen=True)
class Rates:
    """Learning rates: of means in posterior scales per step, of log scales in nats per step."""

    mean: float = 0.1
    log_scale: float = 0.05

    @property
    def pair(self) -> tuple[float, float]:
        """Both, in order."""
        return self.mean, self.log_scale


def posterior_step(
    model: BayesianINR,
    posterior: Gaussian,
    prior: Gaussian,
    optimiser: PosteriorAdam,
    rows: Tensor | slice,
    features: Tensor,
    target: Tensor,
    beta: Tensor,
    rates: Rates,
    *,
    kl_weight: Tensor | None = None,
    point_weight: Tensor | None = None,
    open_dims: Tensor | None = None,
    row_weight: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """One step on ``posterior[rows]`` in place; also adds the gradient of shared parameters that ask for one.

    ``prior``, ``target``, ``beta`` (S,), ``kl_weight`` (S, D), ``point_weight``, ``open_dims`` are those of the rows.
    ``beta`` is in squared normalised units per bit per point; ``open_dims`` (S, D) is 0 where a dimension has been
    sent and stays as it is. ``row_weight`` (S,) scales the loss of a patch, which matters to shared gradients alone.
    Returns distortion (S,) and KL in bits (S, D) before the step.
    """
    mean = posterior.mean[rows].detach().requires_grad_(True)
    log_scale = posterior.log_scale[rows].detach().requires_grad_(True)
    mse, kl = elbo_terms(model, Gaussian(mean, log_scale), prior, features, target, point_weight, generator)
    weighted = kl if kl_weight is None else kl * kl_weight
    if open_dims is not None:
        weighted = weighted * open_dims
    loss = mse / beta + weighted.sum(dim=1) / features.shape[-2]
    (loss if row_weight is None else loss * row_weight).sum().backward()
    assert mean.grad is not None and log_scale.grad is not None
    with torch.no_grad():
        unit = torch.minimum(log_scale, prior.log_scale).exp()
        move_mean, move_scale = optimiser.step(rows, mean.grad * unit, log_scale.grad)
        if open_dims is not None:
            move_mean, move_scale = move_mean * open_dims, move_scale * open_dims
        posterior.mean[rows] = mean + move_mean * unit * rates.mean
        posterior.log_scale[rows] = log_scale + move_scale * rates.log_scale
    return mse.detach(), kl.detach()
