"""The weights of a signal's SIREN head, sent by relative entropy coding under the learned prior.

Their Gaussian posterior is fitted once the latents are coded. Weights are sent only if they lower the cost (bits +
lambda * squared error): the prior mean already does most of the work, and the gain (a few hundredths of a decibel) must
pay for the bits.

Message: number of blocks M, then the candidate index of every block. Weight d, in an order permuted by the shared seed,
is in block d mod M. The scale of the prior, one per weight, is learned from fits to training signals
(``weight_scales.learn_weight_scales``) by the closed form of COMBINER's prior learning (arXiv 2305.19185, section 3.3).
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
"""Every block is sent as a candidate index of this many bits."""
KL_BITS_PER_BLOCK = 12.0
"""The number of blocks is chosen so that a block holds about this KL divergence, in bits."""
SEED = 0x5E16
"""Seed of the order of the weights and of the shared candidates; part of the file format."""
POINTS_AT_ONCE = 1 << 14
"""Points of the signal that a gradient step sees."""
LEARNING_RATE = 0.05
"""Learning rate of the first step."""
FIRST_LOG_RATIO = -1.0
"""Posteriors start at this log scale, in units of the prior scale."""


@dataclass(frozen=True)
class HeadProblem:
    """The inputs and the target values of one signal's head at P points.

    Attributes:
        features: interpolated features (P, F).
        fourier: Fourier features (P, G).
        target: values (P, C) of the signal.
    """

    features: Tensor
    fourier: Tensor
    target: Tensor

    @classmethod
    def make(
        cls, model: HierarchicalINR, features: Tensor, values: Tensor, fourier: Tensor, mask: Tensor | None
    ) -> HeadProblem:
        """Return the problem of one signal.

        Args:
            model: the model.
            features: the decoder's features (1, F, H', W'), see ``HierarchicalINR.features``.
            values: the signal (1, C, H, W).
            fourier: Fourier features (H * W, G).
            mask: (H * W,), 1 where a point counts; None if all do.
        """
        points = interpolate(model.config, features, values.shape[2], values.shape[3])[0]
        target = values[0].permute(1, 2, 0).flatten(0, 1)
        if mask is None:
            return cls(points, fourier, target)
        inside = mask > 0
        return cls(points[inside], fourier[inside], target[inside])

    def squared_error(
        self, model: HierarchicalINR, weights: Tensor | None, chosen: Tensor | slice = slice(None)
    ) -> Tensor:
        """Return the mean squared error over channels and the ``chosen`` points, under ``weights`` (n,) or the prior
        mean."""
        rows = None if weights is None else weights[None]
        decoded = model.values(self.features[None, chosen], self.fourier[chosen], rows)[0]
        return (decoded - self.target[chosen]).square().mean()


def fit_weights(
    prior: HierarchicalPrior, problem: HeadProblem, error_weight: float, steps: int, points: int = POINTS_AT_ONCE
) -> tuple[Tensor, Tensor]:
    """Fit the posterior of a signal's weights by gradient steps on the beta-ELBO.

    Args:
        prior: the prior.
        problem: inputs and target of the head.
        error_weight: bits that a unit of mean squared error costs per point (lambda).
        steps: gradient steps.
        points: points of the signal that each step sees.

    Returns:
        Posterior mean and scale (n,), in units of the prior scale.
    """
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
    """Return the KL divergence in bits of each weight's posterior from the prior; both arguments in prior units."""
    return (0.5 * (mean.square() + (2.0 * log_scale).exp() - 1.0) - log_scale) / math.log(2.0)


@torch.no_grad()
def send_weights(
    prior: HierarchicalPrior, problem: HeadProblem, error_weight: float, mean: Tensor, scale: Tensor
) -> bytes | None:
    """Return the message of weights from a posterior, or None if sending them does not lower the cost."""
    blocks = round(float(kl_bits(mean, scale.log()).sum()) / KL_BITS_PER_BLOCK)
    if blocks < 1:
        return None
    slots = _slots(len(mean), blocks)
    filled = slots >= 0
    means = np.where(filled, mean.numpy()[slots], 0.0).astype(np.float32)
    scales = np.where(filled, scale.numpy().clip(1e-3, 1.0)[slots], 1.0).astype(np.float32)
    index = encode_blocks(means, scales, budget_bits=BLOCK_BITS, seed=SEED, block_ids=np.arange(blocks))
    writer = BitWriter()
    writer.write(index, BLOCK_BITS)
    message = write_varint(blocks) + writer.to_bytes()
    return message if gain_bits(prior, problem, error_weight, message) > 0 else None


@torch.no_grad()
def gain_bits(prior: HierarchicalPrior, problem: HeadProblem, error_weight: float, message: bytes) -> float:
    """Return by how many bits the cost of a signal falls if a message of weights is sent."""
    weights = receive_weights(prior, message)
    before, after = (float(problem.squared_error(prior.model, w)) for w in (None, weights))
    return error_weight * len(problem.target) * (before - after) - 8.0 * len(message)


def receive_weights(prior: HierarchicalPrior, message: bytes) -> Tensor | None:
    """Return the weights (n,) that a message stands for, or None if it is empty.

    Raises:
        FormatError: the message is corrupt.
    """
    if not message:
        return None
    count = len(prior.weight_log_scale)
    blocks, position = read_varint(message, 0)
    if not 1 <= blocks <= count:
        raise FormatError(f"a message has {blocks} blocks of head weights, expected 1 to {count}: the file is corrupt")
    reader = BitReader(message[position:])
    index = reader.read(blocks, BLOCK_BITS)
    reader.finish()
    slots = _slots(count, blocks)
    values = decode_blocks(index, budget_bits=BLOCK_BITS, width=slots.shape[1], seed=SEED, block_ids=np.arange(blocks))
    offsets = np.zeros(count, np.float32)
    offsets[slots[slots >= 0]] = values[slots >= 0]
    return prior.model.head + prior.weight_log_scale.exp() * torch.from_numpy(offsets)


def _slots(count: int, blocks: int) -> np.ndarray:
    """Return the indices of the weights of each block (B, W), -1 where a block has fewer than W."""
    width = -(-count // blocks)
    slots = np.full(width * blocks, -1, np.int64)
    slots[:count] = permutation(SEED, 0, count)
    return slots.reshape(width, blocks).T
