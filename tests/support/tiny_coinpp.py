"""A tiny prior of the COIN++ line, meta-learned in seconds on smooth random tiles."""

from __future__ import annotations

from functools import lru_cache

import torch

from inrcodec.codecs.coinpp.model import ModulatedConfig
from inrcodec.codecs.coinpp.prior import ModulationPrior
from inrcodec.codecs.coinpp.training import ModulationState, ModulationTrainer, ModulationTraining
from inrcodec.training.sources import TileSource
from tests.support.tiny import smooth_tiles

CONFIG = ModulatedConfig((8, 8), 3, (96, 12), 48)


def tiny_modulation_training(**changes: object) -> ModulationTraining:
    """Forty outer steps on 8x8 tiles."""
    settings = {"network": CONFIG, "name": "tiny", "kind": "image", "minutes": 10.0, "steps": 40,
                "components_from": 400, "quantiser_steps": (0.2, 2.0)}  # fmt: skip
    return ModulationTraining(**{**settings, **changes})  # type: ignore[arg-type]


def meta_learn(config: ModulationTraining) -> tuple[ModulationTrainer, ModulationState]:
    """Run the whole training of a configuration."""
    torch.set_num_threads(1)
    trainer = ModulationTrainer(config, TileSource(smooth_tiles(256), mirror=True))
    state = trainer.start()
    trainer.run(state, until_seconds=60, checkpoint=None, progress=lambda state, stage: None)
    return trainer, state


@lru_cache(maxsize=1)
def tiny_modulation_prior() -> ModulationPrior:
    """The learned tiny prior; the same object for all tests."""
    trainer, state = meta_learn(tiny_modulation_training())
    return trainer.finish(state, {"data": "smooth tiles"})
