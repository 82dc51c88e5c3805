"""What a lossless model achieves on pictures that it was not trained on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from inrcodec.encoders.bitsback_data import LevelSource
from inrcodec.maths.ans_message import Message
from inrcodec.methods.bitsback import BitsBack
from inrcodec.models.bitsback_prior import BitsBackPrior


@dataclass(frozen=True)
class BitsBackResult:
    """Bits per dimension: of the negative ELBO in floating point, and what bits-back coding in integers adds to a
    message that holds enough."""

    elbo: float
    net: float


def evaluate_bitsback(
    prior: BitsBackPrior, source: LevelSource, *, points: int = 1 << 16, seed: int = 0
) -> list[BitsBackResult]:
    """Of pictures of about ``points`` points."""
    levels = source.draw(points, np.random.default_rng(seed))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        nats = prior.model.elbo(torch.from_numpy(levels))
    elbo = float(sum(part.sum() for part in nats.values())) / math.log(2.0) / levels.size
    message = Message(np.random.default_rng(seed).integers(1, 256, 4 * levels.size + 64).astype(np.uint8).tobytes())
    before = message.n_bits
    BitsBack(prior.layers).push(message, levels.astype(np.uint8))
    return [BitsBackResult(elbo, (message.n_bits - before) / levels.size)]
