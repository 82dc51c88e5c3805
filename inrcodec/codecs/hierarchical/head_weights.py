"""Weights of a signal's SIREN head: their Gaussian posterior, fitted after the latents are known, sent by relative
entropy coding under the learned prior.

The prior's mean does most of the work: what a signal gains by weights of its own (a few hundredths of a decibel) must
pay for their bits. So they are sent only where the cost (bits + lambda * squared error) falls.

Message: number of blocks M, then the index of every block's candidate. Weight d, in an order mixed by shared seed, is
in block d mod M. The scale of the prior, one per weight, is learned from fits to training signals
(``weight_prior.learn_weight_scales``) by the closed form of COMBINER's prior learning (arXiv 2305.19185, section 3.3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from inrcodec.codecs.hierarchical.model import HierarchicalINR
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
from inrcodec.codecs.hierarchical.render import interpolate
from inrcodec.coding.bits import BitReader, BitWriter, read_varint, write_varint
from inrcodec.coding.randomness import permutation
from inrcodec.coding.relative_entropy import decode_blocks, encode_blocks
from inrcodec.errors import FormatError

BLOCK_BITS = 14
KL_BITS_PER_BLOCK = 12.0
SEED = 0x5E16
POINTS_AT_ONCE = 1 << 14
LEARNING_RATE = 0.05
FIRST_LOG_RATIO = -1.0
"""Posteriors start at this log scale, in units of the prior's."""


@dataclass(frozen=True)
class HeadProblem:
    """What the head of one signal sees and should say: ``features`` (P, F), ``fourier`` (P, G), ``target`` (P, C)."""

    features: Tensor
    fourier: Tensor
    target: Tensor

    @classmethod
    def make(
        cls, model: HierarchicalINR, features: Tensor, values: Tensor, fourier: Tensor, mask: Tensor | None
    ) -> HeadProblem:
        """Of one signal: features (1, F, H', W') that the receiver will have, values (1, C, H, W)."""
        points = interpolate(model.config, features, values.shape[2], values.shape[3])[0]
        target = values[0].permute(1, 2, 0).flatten(0, 1)
        if mask is None:
            return cls(points, fourier, target)
        counts = mask > 0
        return cls(points[counts], fourier[counts], target[counts])

    def squared_error(
        self, model: HierarchicalINR, weights: Tensor | None, chosen: Tensor | slice = slice(None)
    ) -> Tensor:
        """Mean over points and channels; ``weights`` (n,)."""
        rows = None if weights is None else weights[None]
        found = model.values(self.features[None, chosen], self.fourier[chosen], rows)[0]
        return (found - self.target[chosen]).square().mean()


def fit_weights(
    prior: HierarchicalPrior, problem: HeadProblem, error_weight: float, steps: int, points: int = POINTS_AT_ONCE
) -> tuple[Tensor, Tensor]:
    """Posterior mean and scale (n,) of a signal's weights in units of the prior, by gradient steps on the beta-ELBO,
    each of so many points."""
    model, spread = prior.model, prior.weight_log_scale.exp()
    count, random = len(problem.target), torch.Generator().manual_seed(0)
    mean = torch.zeros_like(spread).requires_grad_(True)
    log_scale = torch.full_like(spread, FIRST_LOG_RATIO).requires_grad_(True)
    optimiser = torch.optim.Adam([mean, log_scale], lr=LEARNING_RATE, betas=(0.9, 0.98))
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * (0.55 + 0.45 * math.cos(math.pi * step / steps))
        chosen = torch.randint(count, (min(count, points),), generator=random)
        noise = torch.randn(spread.shape, generator=random)
        sample = model.head + spread * (mean + log_scale.exp() * noise)
        loss = error_weight * count * problem.squared_error(model, sample, chosen) + kl_bits(mean, log_scale).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    return mean.detach(), log_scale.detach().exp()


def kl_bits(mean: Tensor, log_scale: Tensor) -> Tensor:
    """KL in bits from a Gaussian in prior units to the prior, per weight."""
    return (0.5 * (mean.square() + (2.0 * log_scale).exp() - 1.0) - log_scale) / math.log(2.0)


@torch.no_grad()
def send_weights(
    prior: HierarchicalPrior, problem: HeadProblem, error_weight: float, mean: Tensor, scale: Tensor
) -> bytes | None:
    """The message of a posterior's weights; None where they do not pay."""
    blocks = round(float(kl_bits(mean, scale.log()).sum()) / KL_BITS_PER_BLOCK)
    if blocks < 1:
        return None
    slots = _slots(len(mean), blocks)
    held = slots >= 0
    means = np.where(held, mean.numpy()[slots], 0.0).astype(np.float32)
    scales = np.where(held, scale.numpy().clip(1e-3, 1.0)[slots], 1.0).astype(np.float32)
    index = encode_blocks(means, scales, budget_bits=BLOCK_BITS, seed=SEED, block_ids=np.arange(blocks))
    writer = BitWriter()
    writer.write(index, BLOCK_BITS)
    message = write_varint(blocks) + writer.to_bytes()
    return message if gain_bits(prior, problem, error_weight, message) > 0 else None


@torch.no_grad()
def gain_bits(prior: HierarchicalPrior, problem: HeadProblem, error_weight: float, message: bytes) -> float:
    """How much the cost of a signal falls when a message of weights is sent."""
    weights = receive_weights(prior, message)
    before, after = (float(problem.squared_error(prior.model, w)) for w in (None, weights))
    return error_weight * len(problem.target) * (before - after) - 8.0 * len(message)


def receive_weights(prior: HierarchicalPrior, message: bytes) -> Tensor | None:
    """Weights (n,) that a message stands for, None for an empty one; FormatError when it is damaged."""
    if not message:
        return None
    count = len(prior.weight_log_scale)
    blocks, position = read_varint(message, 0)
    if not 1 <= blocks <= count:
        raise FormatError(f"{blocks} blocks of weights, the head has {count} weights")
    reader = BitReader(message[position:])
    index = reader.read(blocks, BLOCK_BITS)
    reader.finish()
    slots = _slots(count, blocks)
    values = decode_blocks(index, budget_bits=BLOCK_BITS, width=slots.shape[1], seed=SEED, block_ids=np.arange(blocks))
    moved = np.zeros(count, np.float32)
    moved[slots[slots >= 0]] = values[slots >= 0]
    return prior.model.head + prior.weight_log_scale.exp() * torch.from_numpy(moved)


def _slots(count: int, blocks: int) -> np.ndarray:
    """Places of weights (B, W), -1 where a block has fewer."""
    width = -(-count // blocks)
    slots = np.full(width * blocks, -1, np.int64)
    slots[:count] = permutation(SEED, 0, count)
    return slots.reshape(width, blocks).T
