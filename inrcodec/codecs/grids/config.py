"""The shape of a signal described by latent grids: the number of grids, and the weights of its two small networks.

latents z_i, one number at every place of grid i, stride 2^i
    -> all grids interpolated bilinearly to stride 1 -> synthesis network -> values
    -> context network: a prior for every latent from those before it
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inrcodec.errors import FormatError
from inrcodec.nn.config import check_plain

MAX_GRIDS, MAX_HIDDEN = 9, 64
"""Limits on the number of grids and on the hidden units of a network."""
LATENT_UNIT = 8.0
"""The synthesis network sees a latent of this value as 1."""


@dataclass(frozen=True)
class GridsConfig:
    """Describes the grids and the networks of a signal.

    Attributes:
        grids: number of grids; grid i has stride 2^i.
        context_width: hidden units of the context network, a multiple of 4.
        synthesis_width: hidden units of the synthesis network, a multiple of 4.
        channels: channels of the values.
        log_lambdas: range of log(lambda), lambda = 1 / beta, over which the prior has anchors.
        anchors: number of anchors.
    """

    grids: int = 7
    context_width: int = 24
    synthesis_width: int = 32
    channels: int = 3
    log_lambdas: tuple[float, float] = (3.0, 10.5)
    anchors: int = 6

    def __post_init__(self) -> None:
        widths = (self.context_width, self.synthesis_width)
        low, high = self.log_lambdas
        if not (
            1 <= self.grids <= MAX_GRIDS
            and 1 <= self.channels <= 16
            and 2 <= self.anchors <= 64
            and -20.0 < low < high < 40.0
            and all(4 <= w <= MAX_HIDDEN and w % 4 == 0 for w in widths)
        ):
            raise FormatError("the configuration of the latent grids is out of range")

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all weights by name, in their order: context network, then synthesis network."""
        n, m, c = self.context_width, self.synthesis_width, self.channels
        return {
            "context.w1": (n, N_INPUTS),
            "context.b1": (n,),
            "context.w2": (n, n),
            "context.b2": (n,),
            "context.w3": (2, n),
            "context.b3": (2,),
            "synthesis.w1": (m, self.grids),
            "synthesis.b1": (m,),
            "synthesis.w2": (c, m),
            "synthesis.b2": (c,),
            "synthesis.k1": (c, c, 3, 3),
            "synthesis.c1": (c,),
            "synthesis.k2": (c, c, 3, 3),
            "synthesis.c2": (c,),
        }

    @cached_property
    def places(self) -> dict[str, slice]:
        """Return the place of each weight tensor in the vector of all weights."""
        out, start = {}, 0
        for name, shape in self.shapes.items():
            size = int(np.prod(shape))
            out[name] = slice(start, start + size)
            start += size
        return out

    @property
    def n_weights(self) -> int:
        """Return the length of the vector of all weights."""
        return sum(int(np.prod(shape)) for shape in self.shapes.values())

    @property
    def coarsest(self) -> int:
        """Return the stride of the coarsest grid; sizes are padded to multiples of it."""
        return 1 << (self.grids - 1)

    @property
    def multiply_adds_per_point(self) -> int:
        """Return the multiply-adds per point of decoding: both networks and the interpolation."""
        n, m, c = self.context_width, self.synthesis_width, self.channels
        context = n * N_INPUTS + n * n + 2 * n
        return -(-4 * context // 3) + m * (self.grids + c) + 18 * c * c + 4 * self.grids * 4 // 3

    def parts(self, weights: Tensor) -> dict[str, Tensor]:
        """Split the vector (n_weights,) of all weights into tensors by name."""
        return {name: weights[self.places[name]].view(shape) for name, shape in self.shapes.items()}

    def first_weights(self, random: torch.Generator) -> Tensor:
        """Return the weights at the start of training: random hidden layers, constant outputs."""
        out = torch.zeros(self.n_weights)
        parts = self.parts(out)
        for name in ("context.w1", "context.w2", "synthesis.w1", "synthesis.w2"):
            bound = parts[name].shape[1] ** -0.5
            parts[name].copy_((torch.rand(parts[name].shape, generator=random) * 2 - 1) * bound)
        parts["context.b3"][1] = -0.5
        parts["synthesis.b2"].fill_(0.5)
        return out

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as JSON-compatible values."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**plain, "log_lambdas": list(self.log_lambdas)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> GridsConfig:
        """Return the configuration that ``to_dict`` turned into ``data``.

        Raises:
            FormatError: a value is missing, has the wrong type or is out of range.
        """
        try:
            values = {field.name: data[field.name] for field in fields(cls)}
            values["log_lambdas"] = tuple(map(float, values["log_lambdas"]))
            config = cls(**values)
            check_plain(config)
            return config
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise FormatError(f"the model's configuration has a missing or invalid value: {error}") from None


REACH = 3
"""The context of a latent reaches this many rows up and columns to either side."""
NEIGHBOURS = tuple(
    [(-3, dx) for dx in (-1, 0, 1)]
    + [(-2, dx) for dx in range(-2, 3)]
    + [(-1, dx) for dx in range(-3, 3)]
    + [(0, dx) for dx in (-3, -2, -1)]
)
"""Rows and columns from a latent to the latents of its grid in its context."""
COARSER = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))
"""Rows and columns from a latent to the values of the interpolated coarser grid in its context."""
N_INPUTS = len(NEIGHBOURS) + len(COARSER)
"""Inputs of the context network."""

N_SCALES = 80
"""Number of scales of Laplace distributions."""
LOG_SCALE_STEP = 0.125
"""Step of the log scales; a power of two, so that integers can represent it exactly."""
LOG_SMALLEST_SCALE = -3.5
"""Min log scale."""
LOG_LARGEST_SCALE = LOG_SMALLEST_SCALE + LOG_SCALE_STEP * (N_SCALES - 1)
"""Max log scale."""

WEIGHT_BITS, ACTIVATION_BITS, LATENT_BITS = 16, 12, 4
"""Units of the integers of a context network: weights 2^-16, activations 2^-12, latents and means 2^-4."""
MAX_LATENT = 1 << 15
"""Magnitudes of latents are below this."""
