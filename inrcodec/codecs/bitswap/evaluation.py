"""Measuring a lossless model: the ELBO in floating point, and the net bits of coding with it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from inrcodec.codecs.bitswap.bits_back import BitsBack
from inrcodec.codecs.bitswap.data import LevelSource
from inrcodec.codecs.bitswap.prior import BitSwapPrior
from inrcodec.coding.ans import Message


@dataclass(frozen=True)
class BitSwapResult:
    """Bits per dimension.

    Attributes:
        elbo: negative ELBO in floating point.
        net: what bits-back coding in integers adds to a message that holds enough.
    """

    elbo: float
    net: float


def evaluate_bitswap(
    prior: BitSwapPrior, source: LevelSource, *, points: int = 1 << 16, seed: int = 0
) -> list[BitSwapResult]:
    """Return results of images of about ``points`` points."""
    levels = source.draw(points, np.random.default_rng(seed))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        nats = prior.model.elbo(torch.from_numpy(levels))
    elbo = float(sum(part.sum() for part in nats.values())) / math.log(2.0) / levels.size
    message = Message(np.random.default_rng(seed).integers(1, 256, 4 * levels.size + 64).astype(np.uint8).tobytes())
    before = message.n_bits
    BitsBack(prior.layers).push(message, levels.astype(np.uint8))
    return [BitSwapResult(elbo, (message.n_bits - before) / levels.size)]
