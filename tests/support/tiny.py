"""A tiny prior for tests, trained in two seconds on smooth random tiles, and signals to go with it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from inrcodec.codecs.combiner.model import CombinerConfig
from inrcodec.codecs.combiner.prior import CombinerPrior
from inrcodec.codecs.combiner.training import CombinerTrainer
from inrcodec.codecs.combiner.training_state import TrainingConfig, TrainingState
from inrcodec.parallel.base import Workers
from inrcodec.training.sources import TileSource

NETWORK = CombinerConfig((8, 8), 3, features=12, hidden=8, hidden_layers=2, latent_dims=20, proposal_hidden=16)
BETAS = (2e-2, 2e-3)


def smooth_tiles(count: int, seed: int = 0, size: int = 8) -> NDArray[np.uint8]:
    """(count, size, size, 3) colour gradients with a wave on them."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    slope = rng.normal(0, 60, (count, 2, 1, 1, 3))
    wave = 40 * np.sin(
        2 * np.pi * (rng.random((count, 1, 1, 1)) + x[None, :, :, None] * rng.integers(1, 3, (count, 1, 1, 1)))
    )
    base = rng.uniform(60, 190, (count, 1, 1, 3))
    image = base + slope[:, 0] * (x - 0.5)[None, ..., None] + slope[:, 1] * (y - 0.5)[None, ..., None] + wave
    result: NDArray[np.uint8] = np.clip(image, 0, 255).astype(np.uint8)
    return result


def tiny_config(**changes: object) -> TrainingConfig:
    """Two anchors, two classes."""
    settings = {
        "network": NETWORK,
        "name": "tiny",
        "kind": "image",
        "betas": BETAS,
        "minutes": 0.09,
        "n_classes": 2,
        "patches": 64,
        "batch": 32,
        "shrinkage": 5.0,
    }
    return TrainingConfig(**{**settings, **changes})  # type: ignore[arg-type]


LOOK_SECONDS = 1 / 480
"""Time that passes between two looks at the clock: about as much as on an idle core."""


def counted_clock() -> Callable[[], float]:
    """Return a clock that counts how often it is read, so that a busy machine trains as long as an idle one.

    Trainings are planned in minutes. By the real clock a tiny prior would learn a sixth as much where six processes
    share a core, and whether a test of it passes would depend on the load of the machine.
    """
    looks = itertools.count()
    return lambda: LOOK_SECONDS * next(looks)


def train(config: TrainingConfig) -> tuple[CombinerTrainer, TrainingState]:
    """Run the whole training of a configuration, the same on every machine but for rounding."""
    torch.set_num_threads(1)
    trainer = CombinerTrainer(config, TileSource(smooth_tiles(256), mirror=True))
    state = trainer.start()
    trainer.clock = counted_clock()
    trainer.run(state, until_seconds=60, checkpoint=None, progress=lambda state, stage: None)
    return trainer, state


def spread_training(workers: Workers) -> list[torch.Tensor]:
    """All that three passes of the iterative stage leave behind, in five parts fitted by ``workers``."""
    torch.set_num_threads(1)
    config = tiny_config(batch=8, patches=60, parts=5)
    trainer = CombinerTrainer(config, TileSource(smooth_tiles(256), mirror=True), workers=workers)
    state = trainer.start()
    for number in range(3):
        trainer._iterative_pass(state, number / 3, float("inf"))
    assert state.posteriors is not None and state.class_prior is not None
    q, p = state.posteriors, state.class_prior
    return [q.mean, q.log_scale, p.mean, p.log_scale, state.loss_level, *state.model.state_dict().values()]


@lru_cache(maxsize=1)
def tiny_prior() -> CombinerPrior:
    """The trained tiny prior; the same object for all tests."""
    trainer, state = train(tiny_config())
    return trainer.finish(state, {"data": "smooth tiles"})
