"""The beta-ELBO of latent grids: bits under the context network and squared errors, both with their gradients.

Latents have uniform posteriors of one step size. For gradient descent, samples are drawn by soft rounding before and
after adding noise; as the fit proceeds, the noise becomes smaller and the rounding sharper.

Source: C3 (arXiv 2312.02753), section 3.1: soft rounding (arXiv 2006.09952) with noise of a Kumaraswamy distribution.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from inrcodec.codecs.grids import context_gradients as grid_context
from inrcodec.codecs.grids import synthesis as grid_synthesis
from inrcodec.codecs.grids.config import LATENT_UNIT, REACH, GridsConfig
from inrcodec.nn.soft_rounding import kumaraswamy, soft_round

BANDS = 16
"""Max number of bands of rows that the work on a grid is split into. It does not depend on the number of threads, so
neither do the sums."""
MIN_ROWS = 8
"""Min number of rows of a band, if a grid is split."""


def sample(latents: Tensor, temperature: float, a: float, random: torch.Generator) -> Tensor:
    """Return a soft sample of the posteriors of a grid.

    Args:
        latents: the grid.
        temperature: temperature of soft rounding.
        a: shape parameter of the Kumaraswamy noise.
        random: source of the noise.
    """
    first = soft_round(latents, temperature)
    return soft_round(first + kumaraswamy(latents, a, random), temperature)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "grids")


def over_rows(height: int, work: Callable[[int, int], Any]) -> list[Any]:
    """Call ``work(first, last)`` on bands of rows, with as many threads as torch uses; return the results in order."""
    count = max(1, min(BANDS, height // MIN_ROWS))
    edges = [height * i // count for i in range(count + 1)]
    threads = torch.get_num_threads()
    if threads == 1 or count == 1:
        return [work(a, b) for a, b in itertools.pairwise(edges)]
    return list(_pool(threads).map(work, edges[:-1], edges[1:]))


class _ContextBits(torch.autograd.Function):
    """Bits of a grid (H, W), given the interpolated coarser grid and the weights of the context network."""

    @staticmethod
    def forward(ctx: Any, latents: Tensor, coarser: Tensor | None, *weights: Tensor) -> Tensor:
        height, width = latents.shape
        padded = functional.pad(latents, (REACH, REACH, REACH, 0)).numpy()
        above = np.zeros((3, 3), np.float32) if coarser is None else np.pad(coarser.numpy(), 1, mode="edge")
        arrays = [weight.numpy() for weight in weights]
        size = sum(array.size for array in arrays)

        def work(first: int, last: int) -> tuple[float, Any, Any, Any]:
            rows = slice(first, last + REACH)
            grad = np.zeros((last - first + REACH, width + 2 * REACH), np.float32)
            band_above = above if coarser is None else above[first : last + 2]
            grad_above, grad_weights = np.zeros_like(band_above), np.zeros(size, np.float32)
            bits = grid_context.context_bits(
                padded[rows], band_above, coarser is not None, 0, last - first, *arrays, grad, grad_above, grad_weights
            )
            return bits, (rows, grad), (slice(first, last + 2), grad_above), grad_weights

        total, grad, grad_above, grad_weights = 0.0, np.zeros_like(padded), np.zeros_like(above), np.zeros(size)
        for bits, (rows, band), (rows_above, band_above), band_weights in over_rows(height, work):
            total += bits
            grad[rows] += band
            if coarser is not None:
                grad_above[rows_above] += band_above
            grad_weights += band_weights
        ends = np.cumsum([array.size for array in arrays])[:-1]
        flat = np.split(grad_weights.astype(np.float32), ends)
        ctx.gradients = (
            torch.from_numpy(grad[REACH:, REACH:-REACH].copy()),
            None if coarser is None else torch.from_numpy(_folded(grad_above)),
            [torch.from_numpy(g.reshape(a.shape)) for g, a in zip(flat, arrays, strict=True)],
        )
        return latents.new_tensor(total)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        latents, above, weights = ctx.gradients
        return latents * gradient, None if above is None else above * gradient, *(w * gradient for w in weights)


_context_bits: Callable[..., Tensor] = _ContextBits.apply


class _SquaredErrors(torch.autograd.Function):
    """Sum over channels and weighted points of the squared errors of the values synthesised from features (G, H, W)."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, target: Tensor, mask: Tensor, *weights: Tensor) -> Tensor:
        net = _Synthesis(features, weights)
        out = net.values()
        grad = np.empty_like(out)
        arrays = target.numpy(), mask.numpy()
        total = sum(over_rows(out.shape[1], lambda a, b: grid_synthesis.squared_errors(out, *arrays, a, b, grad)))
        ctx.gradients = net.gradients(grad)
        return features.new_tensor(total)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, *weights = ctx.gradients
        return features * gradient, None, None, *(w * gradient for w in weights)


_squared_errors: Callable[..., Tensor] = _SquaredErrors.apply


class _Synthesis:
    """One pass of the synthesis network: forward, then backward if gradients are needed."""

    def __init__(self, features: Tensor, weights: Sequence[Tensor]) -> None:
        self.features = features.contiguous().numpy()
        self.w1, self.b1, self.w2, self.b2, self.k1, self.c1, self.k2, self.c2 = (w.numpy() for w in weights)

    def values(self) -> Any:
        """Return the values (C, H, W)."""
        _, height, width = self.features.shape
        first = np.empty((len(self.w2), height + 2, width + 2), np.float32)
        over_rows(
            height,
            lambda a, b: grid_synthesis.pointwise(self.features, self.w1, self.b1, self.w2, self.b2, a, b, first),
        )
        self.first = _with_edges(first)
        self.second = self._added(self.first, self.k1, self.c1)
        self.active = _with_edges(np.pad(np.maximum(self.second, np.float32(0.0)), ((0, 0), (1, 1), (1, 1))))
        return self._added(self.active, self.k2, self.c2, self.second)

    def gradients(self, grad: Any) -> list[Tensor]:
        """Return the gradients of the features and the weights, given that of the values, (C, H, W)."""
        by_active = self._back(grad, self.k2)
        second = grad + by_active * (self.second > 0)
        first = np.ascontiguousarray(second + self._back(second, self.k1))
        k2, c2 = self._kernel(self.active, grad)
        k1, c1 = self._kernel(self.first, second)

        def work(a: int, b: int) -> list[Any]:
            weights = [np.zeros_like(w) for w in (self.w1, self.b1, self.w2, self.b2)]
            grid_synthesis.pointwise_gradients(
                self.features, self.w1, self.b1, self.w2, first, a, b, features, *weights
            )
            return weights

        features = np.zeros_like(self.features)
        bands = over_rows(features.shape[1], work)
        summed = [np.sum([band[i] for band in bands], axis=0) for i in range(4)]
        return [torch.from_numpy(np.ascontiguousarray(a)) for a in (features, *summed, k1, c1, k2, c2)]

    def _added(self, values: Any, kernel: Any, bias: Any, onto: Any = None) -> Any:
        """Add a 3x3 convolution of values with a border to the values themselves, or to ``onto``."""
        out = (values[:, 1:-1, 1:-1] if onto is None else onto) + bias[:, None, None]
        over_rows(out.shape[1], lambda a, b: grid_synthesis.add_convolved(values, kernel, a, b, out))
        return out

    def _back(self, grad: Any, kernel: Any) -> Any:
        """Return the gradient of the input of a 3x3 convolution with repeated edges."""
        flipped = np.ascontiguousarray(kernel.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1])
        wide = np.pad(grad, ((0, 0), (2, 2), (2, 2)))
        out = np.zeros((grad.shape[0], grad.shape[1] + 2, grad.shape[2] + 2), np.float32)
        over_rows(out.shape[1], lambda a, b: grid_synthesis.add_convolved(wide, flipped, a, b, out))
        return np.stack([_folded(plane) for plane in out])

    def _kernel(self, values: Any, grad: Any) -> tuple[Any, Any]:
        """Return the gradients of the kernel and the bias of a 3x3 convolution."""

        def work(a: int, b: int) -> tuple[Any, Any]:
            gradients = np.zeros_like(self.k1), np.zeros_like(self.c1)
            grid_synthesis.convolved_gradients(values, grad, a, b, *gradients)
            return gradients

        bands = over_rows(grad.shape[1], work)
        return np.sum([k for k, _ in bands], axis=0), np.sum([c for _, c in bands], axis=0)


def _with_edges(values: Any) -> Any:
    """Fill the border of an array (C, H + 2, W + 2) with the adjacent values, in place."""
    values[:, 0], values[:, -1] = values[:, 1], values[:, -2]
    values[:, :, 0], values[:, :, -1] = values[:, :, 1], values[:, :, -2]
    return values


def _folded(grad: Any) -> Any:
    """Return the gradient (H, W) of an array from that of the array padded by its edges, (H + 2, W + 2).

    The argument is overwritten.
    """
    grad[1] += grad[0]
    grad[-2] += grad[-1]
    grad[:, 1] += grad[:, 0]
    grad[:, -2] += grad[:, -1]
    return np.ascontiguousarray(grad[1:-1, 1:-1])


def interpolated(grid: Tensor) -> Tensor:
    """Return grids (..., H, W) interpolated bilinearly to twice their resolution, with repeated edges."""
    shape = grid.shape
    fine = functional.interpolate(
        grid.reshape(1, -1, *shape[-2:]), scale_factor=2, mode="bilinear", align_corners=False
    )
    return fine.view(*shape[:-2], 2 * shape[-2], 2 * shape[-1])


def grid_bits(config: GridsConfig, grids: Sequence[Tensor], weights: dict[str, Tensor]) -> Tensor:
    """Return the bits of all grids.

    Args:
        config: the configuration.
        grids: arrays (H, W), finest first.
        weights: tensors of all weights by name.
    """
    network = [weights[name] for name in config.shapes if name.startswith("context.")]
    total = grids[0].new_zeros(())
    for number, grid in enumerate(grids):
        coarser = interpolated(grids[number + 1]) if number + 1 < len(grids) else None
        total = total + _context_bits(grid, coarser, *network)
    return total


def grid_features(grids: Sequence[Tensor]) -> Tensor:
    """Return all grids, finest first, interpolated to the points of the finest, (G, H, W)."""
    features = None
    for grid in reversed(grids):
        scaled = grid[None] / LATENT_UNIT
        features = scaled if features is None else torch.cat([scaled, interpolated(features)])
    assert features is not None
    return features


def grid_errors(
    config: GridsConfig, features: Tensor, target: Tensor, mask: Tensor, weights: dict[str, Tensor]
) -> Tensor:
    """Return the sum of squared errors over the points that count, averaged over channels.

    Args:
        config: the configuration.
        features: (G, H, W), see ``grid_features``.
        target: the values (C, H, W) of the signal.
        mask: (H, W), 1 where a point counts.
        weights: tensors of all weights by name.
    """
    return _squared_errors(features, target, mask, *_synthesis_weights(config, weights)) / config.channels


@torch.no_grad()
def grid_values(config: GridsConfig, features: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """Return the values (C, H, W) that the synthesis network makes of features (G, H, W)."""
    return torch.from_numpy(_Synthesis(features, _synthesis_weights(config, weights)).values())


def _synthesis_weights(config: GridsConfig, weights: dict[str, Tensor]) -> list[Tensor]:
    return [weights[name] for name in config.shapes if name.startswith("synthesis.")]
