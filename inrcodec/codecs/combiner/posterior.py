"""Gradient steps on the Gaussian posteriors of many patches at once, which minimise the beta-ELBO of each patch:

    loss(patch) = E_q[mse] / beta + sum_d weight_d KL_bits_d / points

in bits per point, so that patches of all rates have equal weight (COMBINER, arXiv 2305.19185, eq. 4, divided by beta).
Steps are in units of the posterior: an Adam step of size 1 moves the mean by one posterior scale. In absolute units, a
step that suits a vague dimension would be far too large for a sharp one.

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
    """Diagonal Gaussians.

    Attributes:
        mean: (S, D).
        log_scale: logarithm (S, D) of the standard deviation.
    """

    mean: Tensor
    log_scale: Tensor

    def __getitem__(self, rows: Tensor | slice) -> Gaussian:
        """Return the Gaussians of some rows."""
        return Gaussian(self.mean[rows], self.log_scale[rows])

    def clone(self) -> Gaussian:
        """Return a copy with its own memory."""
        return Gaussian(self.mean.clone(), self.log_scale.clone())

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Return one sample (S, D)."""
        noise = torch.randn(self.mean.shape, generator=generator, dtype=self.mean.dtype, device=self.mean.device)
        return self.mean + self.log_scale.exp() * noise


def kl_bits(posterior: Gaussian, prior: Gaussian) -> Tensor:
    """Return the KL divergence from the prior to the posterior per dimension, in bits, (S, D)."""
    log_ratio = posterior.log_scale - prior.log_scale
    shift = (posterior.mean - prior.mean) * torch.exp(-prior.log_scale)
    return (0.5 * (torch.exp(2.0 * log_ratio) + shift.square() - 1.0) - log_ratio) / LN2


def masked_mse(values: Tensor, target: Tensor, point_weight: Tensor | None) -> Tensor:
    """Return the mean squared error of each patch, (S,).

    The sum is divided by all P points of a patch, including those outside the signal, so that every point of the signal
    has the same weight.

    Args:
        values: (S, P, C).
        target: (S, P, C).
        point_weight: (S, P), 0 where a point of the patch lies outside the signal; None if none does.
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
    """Return the distortion of one sample (S,), in squared normalised units, and the KL divergence (S, D) in bits."""
    values = model.sampled_values(posterior.mean, posterior.log_scale.exp(), features, generator)
    return masked_mse(values, target, point_weight), kl_bits(posterior, prior)


class PosteriorAdam:
    """Adam (arXiv 1412.6980) over the rows of a set of posteriors, which may be visited in any order.

    Attributes:
        moments: first and second moment of the gradient of the mean, then of the log scale, (4, rows, D).
        count: steps taken by each row, (rows, 1).
    """

    decay_first, decay_second = 0.9, 0.99

    def __init__(self, shape: tuple[int, int], device: torch.device | str = "cpu") -> None:
        self.moments = torch.zeros(4, *shape, device=device)
        self.count = torch.zeros(shape[0], 1, device=device)

    def step(self, rows: Tensor | slice, grad_mean: Tensor, grad_log_scale: Tensor) -> tuple[Tensor, Tensor]:
        """Return normalised descent steps for the mean and the log scale of the given rows.

        They are about 1 in magnitude, to be multiplied by a learning rate.
        """
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
    """Learning rates.

    Attributes:
        mean: of means, in posterior scales per step.
        log_scale: of log scales, in nats per step.
    """

    mean: float = 0.1
    log_scale: float = 0.05

    @property
    def pair(self) -> tuple[float, float]:
        """Return both rates, that of the mean first."""
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
    """Take one step on ``posterior[rows]`` in place, and accumulate the gradients of the model's parameters.

    All arguments but ``posterior`` and ``optimiser`` hold the S given rows only.

    Args:
        model: the model.
        posterior: the posteriors of all patches.
        prior: the priors, (S, D).
        optimiser: the optimiser of all patches.
        rows: the patches to step on.
        features: features (P, F) of the coordinates.
        target: normalised values (S, P, C).
        beta: (S,), in squared normalised units per bit per point.
        rates: learning rates.
        kl_weight: weight (S, D) of the KL divergence of each dimension.
        point_weight: (S, P), see ``masked_mse``.
        open_dims: (S, D), 0 where a dimension has been sent and must not change.
        row_weight: weight (S,) of each patch's loss, which affects only the gradients of the model.
        generator: source of the samples.

    Returns:
        Distortion (S,) and KL divergence in bits (S, D) before the step.
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
