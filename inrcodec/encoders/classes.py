"""Which class of the prior a patch belongs to.

The blocks of a class have a fixed budget, the mean KL of its training patches. A patch whose KL differs has to be
pressed into the budget: with R(beta) falling like beta^-k, moving the rate by dR costs dR^2 / (2 k R) bits to second
order (the slope of the rate-distortion curve changes by dR / (k R) on the way). A class therefore costs

    KL of the patch under the class + (KL - budget)^2 / (2 k budget).
"""

from __future__ import annotations

import torch
from torch import Tensor

RATE_ELASTICITY = 0.6
"""k, as measured on trained priors: bits grow by about 50 % when beta is halved."""


def class_cost_bits(kl: Tensor, budget: Tensor) -> Tensor:
    """Cost of every class, (S, K), from the patches' KL under each class (S, K) and the budgets (K,), all in bits."""
    return kl + (kl - budget).square() / (2.0 * RATE_ELASTICITY * torch.clamp(budget, min=1.0))
