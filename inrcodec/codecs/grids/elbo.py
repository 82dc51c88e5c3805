"""The beta-ELBO of latent grids: bits under the context network and squared errors, both with their gradients.

Latents have uniform posteriors of one step. For descent their samples are made softer than rounding and noisier than
its outcome: soft rounding before and after noise, whose spread falls and whose sharpness rises as the fit goes on.

Source: Kim et al., C3 (arXiv 2312.02753), section 3.1: soft rounding (after Agustsson and Theis 2020) with noise of a
Kumaraswamy distribution.
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
"""Ranges of rows that a grid's work is cut into, so that sums are the same on any number of threads."""
MIN_ROWS = 8


def sample(latents: Tensor, temperature: float, a: float, random: torch.Generator) -> Tensor:
    """A soft sample of a grid's posteriors."""
    first = soft_round(latents, temperature)
    return soft_round(first + kumaraswamy(latents, a, random), temperature)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "grids")


def over_rows(height: int, work: Callable[[int, int], Any]) -> list[Any]:
    """``work`` (first row, last row) on bands of rows, by as many threads as torch has; results in order."""
    count = max(1, min(BANDS, height // MIN_ROWS))
    edges = [height * i // count for i in range(count + 1)]
    threads = torch.get_num_threads()
    if threads == 1 or count == 1:
        return [work(a, b) for a, b in itertools.pairwise(edges)]
    return list(_pool(threads).map(work, edges[:-1], edges[1:]))


class _ContextBits(torch.autograd.Function):
    """Bits of a grid (H, W), given the interpolated coarser one and the context network's weights."""

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
            part = above if coarser is None else above[first : last + 2]
            grad_above, grad_weights = np.zeros_like(part), np.zeros(size, np.float32)
            bits = grid_context.context_bits(
                padded[rows], part, coarser is not None, 0, last - first, *arrays, grad, grad_above, grad_weights
            )
            return bits, (rows, grad), (slice(first, last + 2), grad_above), grad_weights

        total, grad, grad_above, grad_weights = 0.0, np.zeros_like(padded), np.zeros_like(above), np.zeros(size)
        for bits, (rows, own), (rows_above, own_above), own_weights in over_rows(height, work):
            total += bits
            grad[rows] += own
            if coarser is not None:
                grad_above[rows_above] += own_above
            grad_weights += own_weights
        ends = np.cumsum([array.size for array in arrays])[:-1]
        parts = np.split(grad_weights.astype(np.float32), ends)
        ctx.found = (
            torch.from_numpy(grad[REACH:, REACH:-REACH].copy()),
            None if coarser is None else torch.from_numpy(_folded(grad_above)),
            [torch.from_numpy(p.reshape(a.shape)) for p, a in zip(parts, arrays, strict=True)],
        )
        return latents.new_tensor(total)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        own, above, weights = ctx.found
        return own * gradient, None if above is None else above * gradient, *(w * gradient for w in weights)


_context_bits: Callable[..., Tensor] = _ContextBits.apply


class _SquaredErrors(torch.autograd.Function):
    """Sum over channels and points (weighted) of squared errors of the values that features (G, H, W) stand for."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, wanted: Tensor, mask: Tensor, *weights: Tensor) -> Tensor:
        net = _Synthesis(features, weights)
        out = net.values()
        grad = np.empty_like(out)
        arrays = wanted.numpy(), mask.numpy()
        total = sum(over_rows(out.shape[1], lambda a, b: grid_synthesis.squared_errors(out, *arrays, a, b, grad)))
        ctx.found = net.gradients(grad)
        return features.new_tensor(total)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, *weights = ctx.found
        return features * gradient, None, None, *(w * gradient for w in weights)


_squared_errors: Callable[..., Tensor] = _SquaredErrors.apply


class _Synthesis:
    """One pass of the synthesis network, forwards and, if wanted, backwards."""

    def __init__(self, features: Tensor, weights: Sequence[Tensor]) -> None:
        self.features = features.contiguous().numpy()
        self.w1, self.b1, self.w2, self.b2, self.k1, self.c1, self.k2, self.c2 = (w.numpy() for w in weights)

    def values(self) -> Any:
        """(C, H, W)."""
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
        """Of features and weights, by those of the values, (C, H, W)."""
        by_active = self._back(grad, self.k2)
        second = grad + by_active * (self.second > 0)
        first = np.ascontiguousarray(second + self._back(second, self.k1))
        k2, c2 = self._kernel(self.active, grad)
        k1, c1 = self._kernel(self.first, second)

        def work(a: int, b: int) -> list[Any]:
            own = [np.zeros_like(w) for w in (self.w1, self.b1, self.w2, self.b2)]
            grid_synthesis.pointwise_gradients(self.features, self.w1, self.b1, self.w2, first, a, b, features, *own)
            return own

        features = np.zeros_like(self.features)
        parts = over_rows(features.shape[1], work)
        summed = [np.sum([part[i] for part in parts], axis=0) for i in range(4)]
        return [torch.from_numpy(np.ascontiguousarray(a)) for a in (features, *summed, k1, c1, k2, c2)]

    def _added(self, values: Any, kernel: Any, bias: Any, onto: Any = None) -> Any:
        """3x3 of values with a border, onto the values themselves or others."""
        out = (values[:, 1:-1, 1:-1] if onto is None else onto) + bias[:, None, None]
        over_rows(out.shape[1], lambda a, b: grid_synthesis.add_convolved(values, kernel, a, b, out))
        return out

    def _back(self, grad: Any, kernel: Any) -> Any:
        """Gradient of what went into a 3x3 with repeated edges."""
        turned = np.ascontiguousarray(kernel.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1])
        wide = np.pad(grad, ((0, 0), (2, 2), (2, 2)))
        out = np.zeros((grad.shape[0], grad.shape[1] + 2, grad.shape[2] + 2), np.float32)
        over_rows(out.shape[1], lambda a, b: grid_synthesis.add_convolved(wide, turned, a, b, out))
        return np.stack([_folded(plane) for plane in out])

    def _kernel(self, values: Any, grad: Any) -> tuple[Any, Any]:
        def work(a: int, b: int) -> tuple[Any, Any]:
            own = np.zeros_like(self.k1), np.zeros_like(self.c1)
            grid_synthesis.convolved_gradients(values, grad, a, b, *own)
            return own

        parts = over_rows(grad.shape[1], work)
        return np.sum([k for k, _ in parts], axis=0), np.sum([c for _, c in parts], axis=0)


def _with_edges(values: Any) -> Any:
    """Fill the border of (C, H + 2, W + 2) with the values beside it."""
    values[:, 0], values[:, -1] = values[:, 1], values[:, -2]
    values[:, :, 0], values[:, :, -1] = values[:, :, 1], values[:, :, -2]
    return values


def _folded(grad: Any) -> Any:
    """Gradient (H, W) of what was padded by one repeated value, from (H + 2, W + 2); changes its argument."""
    grad[1] += grad[0]
    grad[-2] += grad[-1]
    grad[:, 1] += grad[:, 0]
    grad[:, -2] += grad[:, -1]
    return np.ascontiguousarray(grad[1:-1, 1:-1])


def interpolated(grid: Tensor) -> Tensor:
    """Grids (..., H, W) at twice their resolution, bilinearly, edges repeated."""
    shape = grid.shape
    fine = functional.interpolate(
        grid.reshape(1, -1, *shape[-2:]), scale_factor=2, mode="bilinear", align_corners=False
    )
    return fine.view(*shape[:-2], 2 * shape[-2], 2 * shape[-1])


def grid_bits(config: GridsConfig, grids: Sequence[Tensor], weights: dict[str, Tensor]) -> Tensor:
    """Bits of all grids, finest first."""
    network = [weights[name] for name in config.shapes if name.startswith("context.")]
    total = grids[0].new_zeros(())
    for number, grid in enumerate(grids):
        coarser = interpolated(grids[number + 1]) if number + 1 < len(grids) else None
        total = total + _context_bits(grid, coarser, *network)
    return total


def grid_features(grids: Sequence[Tensor]) -> Tensor:
    """All grids, finest first, at the points of the finest: (G, H, W)."""
    features = None
    for grid in reversed(grids):
        own = grid[None] / LATENT_UNIT
        features = own if features is None else torch.cat([own, interpolated(features)])
    assert features is not None
    return features


def grid_errors(
    config: GridsConfig, features: Tensor, wanted: Tensor, mask: Tensor, weights: dict[str, Tensor]
) -> Tensor:
    """Sum over points that count of squared errors, mean over channels. ``wanted`` (C, H, W), ``mask`` (H, W)."""
    return _squared_errors(features, wanted, mask, *_synthesis_weights(config, weights)) / config.channels


@torch.no_grad()
def grid_values(config: GridsConfig, features: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """Values (C, H, W)."""
    return torch.from_numpy(_Synthesis(features, _synthesis_weights(config, weights)).values())


def _synthesis_weights(config: GridsConfig, weights: dict[str, Tensor]) -> list[Tensor]:
    return [weights[name] for name in config.shapes if name.startswith("synthesis.")]
