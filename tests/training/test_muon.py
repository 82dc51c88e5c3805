"""Muon: matrices are orthogonalised, all else moves as Adam would move it, and both learn."""

from __future__ import annotations

import torch
from torch import nn

from inrcodec.training.muon import Muon, orthogonalised


def test_singular_values_come_near_one() -> None:
    torch.manual_seed(0)
    stacks = [torch.randn(shape) * 1e-3 for shape in ((1, 12, 40), (2, 40, 12), (3, 16, 16), (1, 12, 12))]
    for stack, found in zip(stacks, orthogonalised(stacks), strict=True):
        assert found.shape == stack.shape
        left, values, right = torch.linalg.svd(stack, full_matrices=False)
        kept = left.mT @ found @ right.mT
        diagonal = kept.diagonal(dim1=-2, dim2=-1)
        large = diagonal[values > 0.1 * values.max()]
        assert large.min() > 0.5 and large.max() < 1.4
        assert (kept - torch.diag_embed(diagonal)).abs().max() < 1e-3


def test_zero_stays_zero() -> None:
    assert torch.equal(orthogonalised([torch.zeros(1, 4, 6)])[0], torch.zeros(1, 4, 6))


def test_vectors_move_as_with_adam() -> None:
    torch.manual_seed(1)
    mine, theirs = (nn.Parameter(torch.ones(5)) for _ in range(2))
    ours, adam = Muon([mine], 0.1), torch.optim.Adam([theirs], lr=0.1, betas=(0.9, 0.99))
    for _ in range(6):
        gradient = torch.randn(5)
        mine.grad, theirs.grad = gradient, gradient.clone()
        ours.step()
        adam.step()
    assert torch.allclose(mine, theirs, atol=1e-5)


def test_a_step_of_a_convolution_has_the_size_of_the_learning_rate() -> None:
    torch.manual_seed(2)
    weight = nn.Parameter(torch.zeros(16, 24, 3, 3))
    weight.grad = torch.randn(16, 24, 3, 3)
    Muon([weight], 0.01).step()
    assert 0.1 * 0.01 < float(weight.detach().square().mean().sqrt()) < 0.4 * 0.01
