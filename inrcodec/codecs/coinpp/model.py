"""A base network shared by all signals, and the modulations that adapt it to one signal (COIN++, arXiv 2201.12904).

The base network is a SIREN with a wide first layer; every layer contributes to the output. A patch of a signal has a
latent vector, which a linear map turns into *shifts* of the pre-activations of every layer (section 3.2 there). The
output without any shift is subtracted, so that a shift of 0 always gives the centre of the values.

Meta-learning a network from random weights takes days, so this one starts elsewhere: ``begin_at`` sets the first layer
to plane waves with the frequencies and colours that training patches use most, with shifts so small that the values are
nearly linear in them, and sets the map to shifts so that the latent dimensions are the principal components of the
patches. The model thus starts as a linear transform codec whose inner step is a projection, and training makes it
nonlinear.

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
"""Root mean square of the first layer's shifts on training patches, before training."""
MIN_POWER = 1e-2
"""Combinations of waves with less than this fraction of the mean power are not used: their shifts would be large."""
INNER_BANDWIDTH = 1.0
"""Root mean square of the pre-activations of the later layers, before training."""


@dataclass(frozen=True)
class CoinPPConfig:
    """Describes the shape of a base network.

    Attributes:
        patch_shape: points of a patch along each axis.
        channels: channels of the values.
        widths: units of each layer; the first layer is by far the widest.
        latent_dims: D, the length of a latent vector.
        centre: value that the network sees as 0.
        spread: difference of values that the network sees as 1.
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
            raise UsageError(f"the configuration of the base network is out of range: {self}")
        if self.n_points > 1 << 16 or self.n_shifts > 1 << 14 or self.channels > 16 or len(self.widths) > 64:
            raise UsageError(f"the configuration of the base network is out of range: {self}")
        if not (0 < self.spread < 1e6 and abs(self.centre) < 1e6):
            raise UsageError(f"the configuration of the base network is out of range: {self}")
        max_latent_dims = min(self.n_shifts, self.n_points * self.channels)
        if self.latent_dims > max_latent_dims:
            raise UsageError(
                f"latent_dims {self.latent_dims} exceeds the limit of {max_latent_dims}: a patch has "
                f"{self.n_shifts} shifts and {self.n_points * self.channels} values"
            )

    @property
    def n_points(self) -> int:
        """Return the number of grid points of a patch."""
        return math.prod(self.patch_shape)

    @property
    def n_shifts(self) -> int:
        """Return the number of shifts of one patch."""
        return sum(self.widths)

    @property
    def multiply_adds(self) -> int:
        """Return the multiply-adds per point."""
        hidden = sum(a * b for a, b in itertools.pairwise(self.widths))
        return len(self.patch_shape) * self.widths[0] + hidden + self.n_shifts * self.channels

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as JSON-compatible values."""
        return {**asdict(self), "patch_shape": list(self.patch_shape), "widths": list(self.widths)}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> CoinPPConfig:
        """Return the configuration that ``to_dict`` turned into ``fields``.

        Raises:
            FormatError: fields are missing, unknown or out of range.
        """
        try:
            shapes = {name: tuple(int(n) for n in fields[name]) for name in ("patch_shape", "widths")}
            config = cls(**{**fields, **shapes})
            check_plain(config)
            return config
        except (TypeError, KeyError, ValueError, OverflowError, UsageError) as error:
            raise FormatError(f"the model's configuration is invalid: {error}") from None


class ModulatedINR(nn.Module):
    """A base network with the map from latent vectors to shifts; see the module's docstring.

    Attributes:
        config: the shape of the network.
        log_rates: logarithm (D,) of the inner step size of each latent dimension (Meta-SGD, as in Functa, arXiv
            2201.12204, section 3.2).
        log_scales: logarithm (D,) of the standard deviation of each latent dimension.
        row_sizes: typical shift (D,) that a latent of 1 causes; not trained. The map to shifts is trained in units of
            it.
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
        """Return the values (N, P, C), in the model's units, of latents (N, D) at coordinates (P, A).

        ``base`` is ``base_values`` at these coordinates; callers that use the same coordinates repeatedly pass it.
        """
        values = self._shifted((latent * self.row_sizes) @ self.to_shifts + self.shift_bias, coordinates)
        return values - (self.base_values(coordinates) if base is None else base)

    def base_values(self, coordinates: Tensor) -> Tensor:
        """Return the output (1, P, C) of the base network without any shift."""
        return self._shifted(torch.zeros_like(self.shift_bias)[None], coordinates)

    def _shifted(self, shifts: Tensor, coordinates: Tensor) -> Tensor:
        first = coordinates @ self.frequency + self.phase
        return shifted_siren(first, list(self.matrices), list(self.biases), list(self.readouts), shifts)

    @torch.no_grad()
    def begin_at(self, values: Tensor, coordinates: Tensor) -> None:
        """Initialise the model as a linear codec of the principal components of training patches.

        Args:
            values: patches (N, P, C) in the model's units.
            coordinates: (P, A), of the grid of a patch.
        """
        self._begin_waves(values)
        # The derivative (P * C, W_1) of the values with respect to the first layer's shifts at 0, then an orthonormal
        # basis of its span, and the covariance of the patches in that basis.
        waves = torch.cos(coordinates @ self.frequency + self.phase)
        jacobian = (waves[:, None, :] * self.readouts[0].T[None]).flatten(0, 1)
        power, eigenvectors = torch.linalg.eigh((jacobian.T @ jacobian).double())
        n_kept = max(self.config.latent_dims, int((power > MIN_POWER * power.mean()).sum()))
        to_basis = eigenvectors[:, -n_kept:] / power[-n_kept:].clamp_min(1e-9).sqrt()
        projected = (values.flatten(1) @ (jacobian @ to_basis.float())).double()
        mean = projected.mean(dim=0)
        variances, components = torch.linalg.eigh((projected - mean).T @ (projected - mean) / len(projected))
        dims = self.config.latent_dims
        variances, components = variances.flip(0)[:dims].clamp_min(1e-8), components.flip(1)[:, :dims]
        shifts = (to_basis @ torch.cat([components, mean[:, None]], dim=1)).T
        size = (shifts[:-1].square() * variances[:, None]).sum(dim=0).sqrt().clamp_min(1e-6)
        gain = (size / SHIFT_SIZE).float()
        self.readouts[0].mul_(gain[:, None])
        rows = shifts[:-1].float() / gain
        self.row_sizes.copy_(rows.square().mean(dim=1).sqrt())
        self.to_shifts[:, : len(gain)] = rows / self.row_sizes[:, None]
        self.shift_bias[: len(gain)] = shifts[-1].float() / gain
        self.log_scales.copy_(0.5 * variances.log().float())

    def _begin_waves(self, values: Tensor) -> None:
        """Set the first layer to the plane waves that make up the cosine transform coefficients of the most energy.

        Coefficients are taken over decorrelated colour axes; each wave contributes along the colour axis of its
        coefficient.
        """
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
    """Return the signs of the plane waves that make up a product of cosines; the first axis has sign 1."""
    return [(1, *rest) for rest in itertools.product((1, -1), repeat=axes - 1)]
