"""A base network shared by all signals, and modulations: what is special to one signal (COIN++, arXiv 2201.12904).

The base network is a SIREN with a wide first layer; every layer adds to the values. A signal (a patch of one) has a
latent vector, which a linear map turns into *shifts* of the pre-activations of every layer. What the network gives
without any shift is subtracted, so that no shift means the centre of the values, whatever the weights.

A random network takes days to meta-learn. This one is not random: ``begin_at`` makes the first layer plane waves of the
frequencies and colours that training patches use most, with shifts so small that values follow them nearly linearly,
and the map to shifts such that latent dimensions are the patches' principal components. So it starts as a linear
transform codec, whose inner step is a projection; learning bends it from there.

Shapes: N patches, P points, A axes, C channels, D latent dimensions, W_i units of layer i.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from scipy.fft import dctn
from torch import Tensor, nn

from inrcodec.errors import FormatError, UsageError
from inrcodec.nn.config import check_plain
from inrcodec.nn.siren import shifted_siren

SHIFT_SIZE = 0.03
"""Root mean square of the first layer's shifts of training patches before the first step."""
MIN_POWER = 1e-2
"""Combinations of waves of less power than this part of the mean are not used: shifts would have to be large."""
INNER_BANDWIDTH = 1.0
"""Root mean square of the following layers' pre-activations before the first step."""


@dataclass(frozen=True)
class CoinPPConfig:
    """Shape of a base network: ``widths`` of its layers, the first one's much the largest.

    Values are (value - ``centre``) / ``spread`` inside.
    """

    patch_shape: tuple[int, ...]
    channels: int
    widths: tuple[int, ...] = (1280, 64, 64)
    latent_dims: int = 768
    centre: float = 0.5
    spread: float = 0.25

    def __post_init__(self) -> None:
        sizes = (*self.patch_shape, self.channels, *self.widths, self.latent_dims)
        if not 1 <= len(self.patch_shape) <= 2 or not self.widths or min(sizes) < 1 or max(sizes) > 1 << 14:
            raise UsageError(f"a base network cannot have the shape {self}")
        if self.n_points > 1 << 16 or self.n_shifts > 1 << 14 or self.channels > 16 or len(self.widths) > 64:
            raise UsageError(f"a base network cannot have the shape {self}")
        if not (0 < self.spread < 1e6 and abs(self.centre) < 1e6):
            raise UsageError(f"a base network cannot have the shape {self}")
        if self.latent_dims > min(self.n_shifts, self.n_points * self.channels):
            raise UsageError(f"{self.latent_dims} latent dimensions are more than shifts or values of a patch")

    @property
    def n_points(self) -> int:
        """Grid points of a patch."""
        return math.prod(self.patch_shape)

    @property
    def n_shifts(self) -> int:
        """Shifts of one patch."""
        return sum(self.widths)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds per point."""
        ways = itertools.pairwise(self.widths)
        return len(self.patch_shape) * self.widths[0] + sum(a * b for a, b in ways) + self.n_shifts * self.channels

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "patch_shape": list(self.patch_shape), "widths": list(self.widths)}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> CoinPPConfig:
        """Inverse of ``to_dict``; FormatError when it is none."""
        try:
            shapes = {name: tuple(int(n) for n in fields[name]) for name in ("patch_shape", "widths")}
            made = cls(**{**fields, **shapes})
            check_plain(made)
            return made
        except (TypeError, KeyError, ValueError, OverflowError, UsageError) as error:
            raise FormatError(f"not a base network: {error}") from None


class ModulatedINR(nn.Module):
    """See the module's text.

    ``log_rates`` (D,): logarithms of the inner steps' sizes, one per latent dimension (Meta-SGD, as in Functa, arXiv
    2201.12204, section 3.2). ``log_scales`` (D,): of the latent dimensions' standard deviations. ``row_sizes`` (D,),
    not learned: typical shift by a latent dimension of 1, so that the map to shifts is learned in units of its own.
    """

    def __init__(self, config: CoinPPConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.frequency = nn.Parameter(torch.randn(len(config.patch_shape), widths[0]))
        self.phase = nn.Parameter(torch.zeros(widths[0]))
        self.matrices = nn.ParameterList(
            torch.randn(a, b) * INNER_BANDWIDTH * math.sqrt(2.0 / a) for a, b in itertools.pairwise(widths)
        )
        self.biases = nn.ParameterList((torch.rand(width) * 2.0 - 1.0) * math.pi for width in widths[1:])
        self.readouts = nn.ParameterList(torch.zeros(width, config.channels) for width in widths)
        self.to_shifts = nn.Parameter(torch.zeros(config.latent_dims, config.n_shifts))
        self.row_sizes: Tensor
        self.register_buffer("row_sizes", torch.ones(config.latent_dims))
        self.shift_bias = nn.Parameter(torch.zeros(config.n_shifts))
        self.log_rates = nn.Parameter(torch.zeros(config.latent_dims))
        self.log_scales = nn.Parameter(torch.zeros(config.latent_dims))

    def forward(self, latent: Tensor, coordinates: Tensor, base: Tensor | None = None) -> Tensor:
        """Values in the model's units, (N, P, C), of latents (N, D) at coordinates (P, A).

        ``base``: what ``base_values`` gives there, for callers that evaluate at the same coordinates again.
        """
        values = self._shifted((latent * self.row_sizes) @ self.to_shifts + self.shift_bias, coordinates)
        return values - (self.base_values(coordinates) if base is None else base)

    def base_values(self, coordinates: Tensor) -> Tensor:
        """What the base network gives without any shift, (1, P, C)."""
        return self._shifted(torch.zeros_like(self.shift_bias)[None], coordinates)

    def _shifted(self, shifts: Tensor, coordinates: Tensor) -> Tensor:
        first = coordinates @ self.frequency + self.phase
        return shifted_siren(first, list(self.matrices), list(self.biases), list(self.readouts), shifts)

    @torch.no_grad()
    def begin_at(self, values: Tensor, coordinates: Tensor) -> None:
        """Make this a linear codec of training patches' principal components; see the module's text.

        ``values`` (N, P, C) in the model's units, ``coordinates`` (P, A) of the patch's grid.
        """
        self._begin_waves(values)
        # Derivative of the values by the first layer's shifts where there are none, (P * C, W_1), and within its span
        # an orthonormal basis and the covariance of the patches.
        waves = torch.cos(coordinates @ self.frequency + self.phase)
        jacobian = (waves[:, None, :] * self.readouts[0].T[None]).flatten(0, 1)
        power, turned = torch.linalg.eigh((jacobian.T @ jacobian).double())
        kept = max(self.config.latent_dims, int((power > MIN_POWER * power.mean()).sum()))
        to_basis = turned[:, -kept:] / power[-kept:].clamp_min(1e-9).sqrt()
        seen = (values.flatten(1) @ (jacobian @ to_basis.float())).double()
        mean = seen.mean(dim=0)
        variances, components = torch.linalg.eigh((seen - mean).T @ (seen - mean) / len(seen))
        dims = self.config.latent_dims
        variances, components = variances.flip(0)[:dims].clamp_min(1e-8), components.flip(1)[:, :dims]
        found = (to_basis @ torch.cat([components, mean[:, None]], dim=1)).T
        size = (found[:-1].square() * variances[:, None]).sum(dim=0).sqrt().clamp_min(1e-6)
        gain = (size / SHIFT_SIZE).float()
        self.readouts[0].mul_(gain[:, None])
        rows = found[:-1].float() / gain
        self.row_sizes.copy_(rows.square().mean(dim=1).sqrt())
        self.to_shifts[:, : len(gain)] = rows / self.row_sizes[:, None]
        self.shift_bias[: len(gain)] = found[-1].float() / gain
        self.log_scales.copy_(0.5 * variances.log().float())

    def _begin_waves(self, values: Tensor) -> None:
        """First layer: for the cosine coefficients of most energy, over colour axes too, the plane waves that they are
        made of; one readout each, along its colour axis."""
        axes, shape = len(self.config.patch_shape), self.config.patch_shape
        grid = values.reshape(len(values), *shape, -1).cpu().numpy()
        colour = np.linalg.eigh(np.cov(grid.reshape(-1, grid.shape[-1]).T).reshape(grid.shape[-1], -1))[1].T
        energy = np.square(dctn(grid @ colour.T, axes=range(1, axes + 1), norm="ortho")).mean(axis=0)
        width, unit = self.config.widths[0], 0
        for place in np.argsort(-energy, axis=None):
            *wave, axis = (int(k) for k in np.unravel_index(place, energy.shape))
            signs = {tuple(s if k else 1 for s, k in zip(sign, wave, strict=True)) for sign in _signs(axes)}
            for sign in sorted(signs):
                if unit == width:
                    return
                self.frequency[:, unit] = torch.tensor([0.5 * math.pi * s * k for s, k in zip(sign, wave, strict=True)])
                self.phase[unit] = 0.5 * math.pi * sum(s * k for s, k in zip(sign, wave, strict=True))
                self.readouts[0][unit] = torch.from_numpy(colour[axis]).float()
                unit += 1


def _signs(axes: int) -> list[tuple[int, ...]]:
    """Of the plane waves that make up a product of cosines: the first axis' is one."""
    return [(1, *rest) for rest in itertools.product((1, -1), repeat=axes - 1)]
