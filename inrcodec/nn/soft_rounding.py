"""Rounding made differentiable: between the identity and rounding, and noise for what is rounded.

Source: Agustsson and Theis, *Universally quantized neural compression* (NeurIPS 2020), section 4.1; Kim et al., C3
(arXiv 2312.02753), section 3.1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def soft_round(values: Tensor, temperature: float) -> Tensor:
    """Between the identity and rounding (Agustsson and Theis 2020); temperature 0.3 is soft, 0.1 sharp."""
    floor = torch.floor(values)
    rest = (values - floor - 0.5) / temperature
    return floor + 0.5 + torch.tanh(rest) * (0.5 / math.tanh(0.5 / temperature))


def kumaraswamy(like: Tensor, a: float, random: torch.Generator) -> Tensor:
    """Noise in (-1/2, 1/2) with its mode at 0: a = 1 is uniform, above it more about 0."""
    b = (2.0**a * (a - 1.0) + 1.0) / a
    drawn = torch.rand(like.shape, generator=random).clamp_(1e-5, 1.0 - 1e-5)
    return (1.0 - (1.0 - drawn).pow_(1.0 / b)).pow_(1.0 / a) - 0.5
