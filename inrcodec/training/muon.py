"""Muon: momentum whose matrices are brought close to orthogonal before every step; Adam for all else.

A convolution's weights (C_out, C_in, k, k) are a matrix (C_out, C_in k k). Sources: K. Jordan et al., *Muon: an
optimizer for hidden layers in neural networks* (2024), for the idea and the polynomial's coefficients; J. Liu et al.,
*Muon is scalable for LLM training* (arXiv 2502.16982, section 2.2), for the size of steps, which lets both kinds of
parameters share a learning rate. The iteration runs on the smaller Gram matrix, so that a step costs two products with
the matrix itself whatever the number of iterations.

Against Adam at equal time of one core, 5 minutes of the recipe ``colour``: 3.98 for 4.25 bits per dimension held out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
SIZE = 0.2
"""Root mean square of a step's entries relative to the learning rate, about that of Adam."""


def orthogonalised(stacks: Sequence[Tensor], iterations: int = ITERATIONS) -> list[Tensor]:
    """Return stacks of matrices with all singular values brought near 1; zero matrices stay zero.

    Stacks whose smaller sides are equal go through the iteration together.

    Args:
        stacks: (k, m, n) each, every stack of its own m and n.
        iterations: of the polynomial.
    """
    wide = [stack.mT if stack.shape[1] > stack.shape[2] else stack for stack in stacks]
    wide = [x / (x.norm(dim=(1, 2), keepdim=True) + 1e-20) for x in wide]
    alike: dict[int, list[int]] = {}
    for index, x in enumerate(wide):
        alike.setdefault(x.shape[1], []).append(index)
    out = list(stacks)
    for members in alike.values():
        factors = _polar_factor(torch.cat([wide[i] @ wide[i].mT for i in members]), iterations)
        for i, factor in zip(members, factors.split([len(wide[i]) for i in members]), strict=True):
            x = factor @ wide[i]
            out[i] = x.mT if stacks[i].shape[1] > stacks[i].shape[2] else x
    return out


def _polar_factor(gram: Tensor, iterations: int) -> Tensor:
    """Return what matrices x are multiplied by from the left, from x x^T (k, m, m)."""
    unit = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    linear, cubic, quintic = COEFFICIENTS
    product = factor = linear * unit + cubic * gram + quintic * (gram @ gram)
    for _ in range(iterations - 1):
        gram = factor @ gram @ factor
        factor = linear * unit + cubic * gram + quintic * (gram @ gram)
        product = factor @ product
    return product


class Muon(torch.optim.Optimizer):
    """Moves parameters of four axes by orthogonalised Nesterov momentum, others by Adam.

    ``iterations`` of orthogonalising may be fewer where minibatches are small and their time matters.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        *,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
        iterations: int = ITERATIONS,
    ) -> None:
        self.iterations = iterations
        every = list(parameters)
        parts = [[p for p in every if p.ndim == 4], [p for p in every if p.ndim != 4]]
        groups: list[dict[str, Any]] = [
            {"params": part, "matrices": matrices} for part, matrices in zip(parts, (True, False), strict=True) if part
        ]
        super().__init__(groups, {"lr": lr, "momentum": momentum, "betas": betas, "eps": eps, "steps": 0})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step along the gradients; parameters without one stay."""
        for group in self.param_groups:
            group["steps"] += 1
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                (self._matrices if group["matrices"] else self._adam)(group, parameters)

    def _moments(self, key: str, parameters: list[Tensor]) -> list[Tensor]:
        for p in parameters:
            if key not in self.state[p]:
                self.state[p][key] = torch.zeros_like(p)
        return [self.state[p][key] for p in parameters]

    def _matrices(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        gradients = [p.grad for p in parameters if p.grad is not None]
        moments = self._moments("momentum", parameters)
        torch._foreach_lerp_(moments, gradients, 1.0 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, moments, group["momentum"])
        alike: dict[tuple[int, int], list[int]] = {}
        for index, p in enumerate(parameters):
            alike.setdefault((p.shape[0], p.numel() // p.shape[0]), []).append(index)
        stacks = [torch.stack([ahead[i].reshape(shape) for i in members]) for shape, members in alike.items()]
        found = orthogonalised(stacks, self.iterations)
        for (shape, members), steps in zip(alike.items(), found, strict=True):
            size = -group["lr"] * SIZE * max(shape) ** 0.5
            for i, step in zip(members, steps, strict=True):
                parameters[i].add_(step.view(parameters[i].shape), alpha=size)

    def _adam(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        gradients = [p.grad for p in parameters if p.grad is not None]
        first, second = self._moments("first", parameters), self._moments("second", parameters)
        for moments, values, beta in (
            (first, gradients, group["betas"][0]),
            (second, torch._foreach_mul(gradients, gradients), group["betas"][1]),
        ):
            torch._foreach_lerp_(moments, values, 1.0 - beta)
        corrections = [1.0 - beta ** group["steps"] for beta in group["betas"]]
        sizes = torch._foreach_div(second, corrections[1])
        torch._foreach_sqrt_(sizes)
        torch._foreach_add_(sizes, group["eps"])
        torch._foreach_addcdiv_(parameters, first, sizes, -group["lr"] / corrections[0])
