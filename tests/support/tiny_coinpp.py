"""A tiny prior of the COIN++ line, meta-learned in seconds on smooth random tiles."""

from __future__ import annotations

from functools import lru_cache

import torch

from inrcodec.codecs.coinpp.model import CoinPPConfig
from inrcodec.codecs.coinpp.prior import CoinPPPrior
from inrcodec.codecs.coinpp.training import CoinPPTrainer, CoinPPTraining, ModulationState
from inrcodec.training.sources import TileSource
from tests.support.tiny import smooth_tiles

CONFIG = CoinPPConfig((8, 8), 3, (96, 12), 48)


def tiny_coinpp_training(**changes: object) -> CoinPPTraining:
    """Forty outer steps on 8x8 tiles."""
    settings = {
        "network": CONFIG,
        "name": "tiny",
        "kind": "image",
        "minutes": 10.0,
        "steps": 40,
        "components_from": 400,
        "quantiser_steps": (0.2, 2.0),
    }
    return CoinPPTraining(**{**settings, **changes})  # type: ignore[arg-type]


def meta_learn(config: CoinPPTraining) -> tuple[CoinPPTrainer, ModulationState]:
    """Run the whole training of a configuration."""
    torch.set_num_threads(1)
    trainer = CoinPPTrainer(config, TileSource(smooth_tiles(256), mirror=True))
    state = trainer.start()
    trainer.run(state, until_seconds=60, checkpoint=None, progress=lambda state, stage: None)
    return trainer, state


@lru_cache(maxsize=1)
def tiny_coinpp_prior() -> CoinPPPrior:
    """The learned tiny prior; the same object for all tests."""
    trainer, state = meta_learn(tiny_coinpp_training())
    return trainer.finish(state, {"data": "smooth tiles"})
