"""Lossless models of made-up weights: what they say is poor, how they code is the real thing."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from inrcodec.codecs.bitswap.config import BitSwapConfig
from inrcodec.codecs.bitswap.model import BitSwapModel
from inrcodec.codecs.bitswap.prior import BitSwapPrior

COLOUR = BitSwapConfig(3, splits=1, latents=(3, 2), strides=(1, 2), width=8, blocks=1, latent_width=8, components=2)
GRAY = BitSwapConfig(1, splits=2, latents=(2,), strides=(2,), width=8, blocks=1, latent_width=8, components=1)
LAYERED = BitSwapConfig(
    1, splits=0, phases=False, latents=(2, 2, 2), strides=(1, 1, 1), width=8, blocks=1, latent_width=8, components=2
)
BINARY = BitSwapConfig(
    1, levels=2, splits=0, latents=(2, 2), strides=(2, 1), width=8, blocks=1, latent_width=8, components=1
)


@cache
def tiny_model(config: BitSwapConfig) -> BitSwapModel:
    """A model with made-up weights, the same under every version of torch."""
    model = BitSwapModel(config).requires_grad_(False)
    for number, name in enumerate(model.convs):
        conv = model.layer(name)
        count = conv.weight.numel()
        made = (np.arange(count, dtype=np.int64) * 2654435761 + 40503 * number >> 7) % 2001 - 1000
        scale = 0.4 / np.sqrt(conv.weight[0].numel())
        conv.weight.copy_(torch.from_numpy(made / 1000.0 * scale).view_as(conv.weight))
        assert conv.bias is not None
        conv.bias.zero_()
    model._begin()
    return model


@cache
def tiny_bitswap(config: BitSwapConfig = COLOUR) -> BitSwapPrior:
    """A prior with weights of a fixed seed."""
    name = {3: "bitswap-colour", 1: "bitswap-gray"}[config.channels]
    return BitSwapPrior.from_model(tiny_model(config), name, {})
