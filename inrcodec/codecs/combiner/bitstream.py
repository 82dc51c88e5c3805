"""The bitstream of codec combiner, and the latents that it stands for.

The *parameters* of a file are the operating point and the bits per block (3 or 4 bytes), then for audio the gain (one
byte). A *body* holds the class of every patch, then the index of every block in ``budget_bits`` bits each. Nothing here
needs an optimiser or private randomness.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec.codecs.combiner.blocks import count_blocks, plan_blocks
from inrcodec.codecs.combiner.prior import KL_UNITS_PER_BIT, CombinerPrior, exact_exp
from inrcodec.codecs.loudness import gain_of, has_level
from inrcodec.coding.bits import BitReader, BitWriter, read_varint, write_varint
from inrcodec.coding.relative_entropy import check_budget, decode_blocks
from inrcodec.errors import FormatError, LimitError
from inrcodec.limits import Limits

IntArray = NDArray[np.int64]

CANDIDATE_SEED = 0x1A7E
"""Seed of the shared candidates; part of the file format."""
TARGET_STEPS_PER_BIT = 16
"""A file stores the mean KL divergence of a block in units of 1/16 bit."""


@dataclass(frozen=True)
class OperatingPoint:
    """A point on the rate-distortion curve.

    Attributes:
        anchor: the prior's rate anchor.
        beta: weight of a bit, in squared units of the values per bit per point.
        target: mean KL divergence of a block in units of 1/16 bit; smaller targets make more blocks and a larger file.
    """

    anchor: int
    beta: float
    target: int


@dataclass
class CodedSignal:
    """The content of one signal's body.

    Attributes:
        classes: class (N,) of each patch.
        indices: candidate index (B,) of each block, in the order of the block plan.
    """

    classes: IntArray
    indices: IntArray


def class_bits(prior: CombinerPrior, n_patches: int) -> int:
    """Return the bits that the classes of ``n_patches`` patches take."""
    return n_patches * (prior.n_classes - 1).bit_length()


def max_parameter_bytes(prior: CombinerPrior) -> int:
    """Return the max size of the parameters in bytes."""
    return 4 + has_level(prior)


def write_parameters(prior: CombinerPrior, point: OperatingPoint, budget_bits: int, level: int) -> bytes:
    """Return parameters as bytes, the inverse of ``read_parameters``."""
    parameters = bytes([point.anchor, budget_bits]) + write_varint(point.target)
    return parameters + level.to_bytes(1, "little", signed=True) if has_level(prior) else parameters


def read_parameters(prior: CombinerPrior, data: bytes) -> tuple[OperatingPoint, int, float, int]:
    """Return operating point, bits per block, gain, and the position of the first byte after the parameters.

    Raises:
        FormatError: the parameters are truncated or out of range.
        LimitError: the bits per block exceed the limit.
    """
    if len(data) < 3:
        raise FormatError("the codec parameters are truncated")
    anchor, budget_bits = data[0], data[1]
    target, position = read_varint(data, 2)
    if anchor >= prior.n_anchors or not 1 <= target <= 64 * TARGET_STEPS_PER_BIT:
        raise FormatError(f"anchor {anchor} or block target {target} is out of range for prior {prior.name!r}")
    check_budget(budget_bits)
    level = 0
    if has_level(prior):
        if position >= len(data):
            raise FormatError("the codec parameters are truncated")
        level = int.from_bytes(data[position : position + 1], "little", signed=True)
        position += 1
    return OperatingPoint(anchor, float(prior.betas[anchor]), target), budget_bits, gain_of(level), position


def write_body(prior: CombinerPrior, coded: CodedSignal, budget_bits: int) -> bytes:
    """Return classes and block indices as bytes, the inverse of ``read_body``."""
    writer = BitWriter()
    writer.write(coded.classes, class_bits(prior, 1))
    writer.write(coded.indices, budget_bits)
    return writer.to_bytes()


def read_body(
    prior: CombinerPrior, body: bytes, point: OperatingPoint, budget_bits: int, n_patches: int, limits: Limits
) -> CodedSignal:
    """Return the classes and block indices of a signal of ``n_patches`` patches.

    Raises:
        FormatError: the body is truncated or has trailing bytes, or a class is out of range.
        LimitError: the number of blocks exceeds the limit.
    """
    if 8 * len(body) < class_bits(prior, n_patches):
        raise FormatError(f"the body is truncated: {len(body)} bytes for {n_patches} patches")
    reader = BitReader(body)
    classes = reader.read(n_patches, class_bits(prior, 1))
    if classes.max() >= prior.n_classes:
        raise FormatError(f"patch class {classes.max()} is out of range, the prior has {prior.n_classes} classes")
    target_units = point.target * KL_UNITS_PER_BIT // TARGET_STEPS_PER_BIT
    n_blocks = count_blocks(prior.kl_units[point.anchor], classes, target_units)
    if n_blocks > limits.max_blocks:
        raise LimitError(f"{n_blocks} blocks exceed the limit of {limits.max_blocks}")
    indices = reader.read(n_blocks, budget_bits)
    reader.finish()
    return CodedSignal(classes, indices)


def decode_latents(prior: CombinerPrior, point: OperatingPoint, coded: CodedSignal, budget_bits: int) -> Tensor:
    """Return the latent vectors (N, D) of a signal's patches, float32."""
    target_units = point.target * KL_UNITS_PER_BIT // TARGET_STEPS_PER_BIT
    plan = plan_blocks(prior.kl_units[point.anchor], coded.classes, target_units)
    chosen = torch.from_numpy(coded.classes)
    latent = prior.mean[point.anchor, chosen].clone()
    scale = exact_exp(prior.log_scale[point.anchor, chosen])
    if plan.n_blocks:
        sample = decode_blocks(
            coded.indices,
            budget_bits=budget_bits,
            width=plan.patch.shape[1],
            seed=CANDIDATE_SEED,
            block_ids=np.arange(plan.n_blocks),
        )
        flat, _ = plan.slots(latent.shape[1])
        index = torch.from_numpy(flat)
        filled = torch.from_numpy(sample[plan.patch >= 0])
        latent.view(-1)[index] = latent.view(-1)[index] + scale.view(-1)[index] * filled
    return latent
