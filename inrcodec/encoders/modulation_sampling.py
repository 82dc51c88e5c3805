"""New signals from a prior whose flow knows what modulations look like (Functa, arXiv 2201.12204, section 4.1)."""

from __future__ import annotations

import math

import numpy as np
import torch

from inrcodec.ground.errors import UsageError
from inrcodec.ground.grid import grid_coordinates
from inrcodec.ground.plain import PlainHeader
from inrcodec.ground.signal import Signal
from inrcodec.models.modulation_prior import ModulationPrior

SAMPLE_RATE, LOUDNESS = 16000, 0.1
"""Of sounds: the rate that the shipped prior was learned at, and a root mean square."""


@torch.no_grad()
def sample_signal(
    prior: ModulationPrior, count: int, temperature: float = 0.8, scale: int = 1, seed: int = 0
) -> Signal:  # fmt: skip
    """``count`` patches drawn from the flow, on a grid ``scale`` times finer: tiles of a picture or of a field, row by
    row, black where there are none; stretches of a sound. Raises UsageError when the prior has no flow."""
    if not prior.flow:
        raise UsageError(f"prior {prior.name!r} has no flow to draw from: see inrcodec modulations learn")
    config = prior.config
    latents = prior.flow_model.sample(count, prior.steps[0], torch.Generator().manual_seed(seed), temperature)
    shape = tuple(n * scale for n in config.patch_shape)
    coordinates = torch.from_numpy(grid_coordinates(shape).reshape(-1, prior.axes))
    values = prior.values(latents, coordinates).numpy().reshape(count, *shape, config.channels)
    if prior.kind == "audio":
        sound = np.clip(values.reshape(-1, 1) * np.float32(LOUDNESS / config.spread), -1.0, 1.0)
        return Signal(sound, PlainHeader("audio", "mono", "pcm_16", (len(sound),), 1, SAMPLE_RATE * scale))
    across = math.isqrt(count - 1) + 1
    down = -(-count // across)
    tiles = np.zeros((down * across, *shape, config.channels), np.float32)
    tiles[:count] = np.clip(values, 0.0, 1.0)
    grid = tiles.reshape(down, across, *shape, config.channels).swapaxes(1, 2)
    picture = np.ascontiguousarray(grid.reshape(down * shape[0], across * shape[1], config.channels))
    size = picture.shape[:2]
    if prior.kind == "image" and config.channels in (1, 3):
        layout = "rgb" if config.channels == 3 else "gray"
        return Signal(picture, PlainHeader("image", layout, "u8", size, config.channels))
    return Signal(picture, PlainHeader("field", "field", "float32", size, config.channels))
