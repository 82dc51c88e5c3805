"""Differentiable rounding: a function between the identity and rounding, and noise that stands for rounding errors.

Source: Agustsson and Theis, *Universally quantized neural compression* (arXiv:2006.09952), section 4.1; Kim et al.,
*C3* (arXiv:2312.02753), section 3.1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def soft_round(values: Tensor, temperature: float) -> Tensor:
    """Return values softly rounded: a high temperature gives the identity, 0 rounding; 0.3 is soft, 0.1 sharp.

    This is s_alpha of Agustsson and Theis (section 4.1) with alpha = 1 / temperature.
    """
    floor = torch.floor(values)
    offset = (values - floor - 0.5) / temperature
    return floor + 0.5 + torch.tanh(offset) * (0.5 / math.tanh(0.5 / temperature))


def kumaraswamy(like: Tensor, a: float, random: torch.Generator) -> Tensor:
    """Return Kumaraswamy noise in (-1/2, 1/2) with its mode at 0 (C3, section 3.1).

    Args:
        like: a tensor with the shape of the noise.
        a: the concentration; 1 is uniform noise, larger values concentrate it around 0.
        random: the generator.
    """
    b = (2.0**a * (a - 1.0) + 1.0) / a
    uniform = torch.rand(like.shape, generator=random).clamp_(1e-5, 1.0 - 1e-5)
    return (1.0 - (1.0 - uniform).pow_(1.0 / b)).pow_(1.0 / a) - 0.5
