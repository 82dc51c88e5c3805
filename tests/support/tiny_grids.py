"""A tiny prior of latent grids, trained in seconds on smooth random tiles."""

from __future__ import annotations

from functools import lru_cache

import torch

from inrcodec.codecs.grids.config import GridsConfig
from inrcodec.codecs.grids.prior import GridsPrior
from inrcodec.codecs.grids.training import GridState, GridsTrainer, GridsTraining
from inrcodec.training.sources import TileSource
from tests.support.tiny import smooth_tiles

CONFIG = GridsConfig(4, context_width=8, synthesis_width=8, log_lambdas=(3.0, 9.0), anchors=3)


def tiny_training(**changes: object) -> GridsTraining:
    """A few hundred steps on tiles of 32x32."""
    settings = {
        "network": CONFIG,
        "name": "tiny",
        "minutes": 10.0,
        "crop": 32,
        "mosaic": (2, 2),
        "singles": 3,
        "steps": 900,
    }
    return GridsTraining(**{**settings, **changes})  # type: ignore[arg-type]


def train(config: GridsTraining) -> tuple[GridsTrainer, GridState]:
    """Run the whole training of a configuration."""
    torch.set_num_threads(1)
    trainer = GridsTrainer(config, TileSource(smooth_tiles(64, size=config.crop), mirror=True))
    state = trainer.start()
    trainer.run(state, until_seconds=120, checkpoint=None, progress=lambda state, stage: None)
    return trainer, state


@lru_cache(maxsize=1)
def tiny_prior() -> GridsPrior:
    """The trained tiny prior; the same object for all tests."""
    trainer, state = train(tiny_training())
    return trainer.finish(state, {"data": "smooth tiles"})
