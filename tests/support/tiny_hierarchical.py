"""A tiny prior of the hierarchical codec, trained in seconds on smooth random tiles."""

from __future__ import annotations

from functools import lru_cache

import torch

from inrcodec.codecs.hierarchical.config import HierarchicalConfig, LevelConfig
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
from inrcodec.codecs.hierarchical.training import HierarchicalTrainer, HierarchicalTraining, HierarchyState
from inrcodec.training.sources import TileSource
from tests.support.tiny import smooth_tiles

CONFIG = HierarchicalConfig(
    channels=3,
    axes=2,
    feature_stride=2,
    feature_width=8,
    head_width=8,
    n_anchors=3,
    log_lambdas=(3.0, 8.0),
    levels=(LevelConfig(8, 16, (4,), 1, 1), LevelConfig(4, 16, (3, 3), 2, 1, phases=2)),
)


def tiny_training(**changes: object) -> HierarchicalTraining:
    """A few hundred steps on 16x16 tiles."""
    settings = {
        "network": CONFIG,
        "name": "tiny",
        "kind": "image",
        "minutes": 10.0,
        "steps": 350,
        "weight_signals": 0,
        "patch_shape": (16, 16),
        "batch": 16,
        "lr": 4e-3,
        "small_share": 0.0,
    }
    return HierarchicalTraining(**{**settings, **changes})  # type: ignore[arg-type]


def train(config: HierarchicalTraining) -> tuple[HierarchicalTrainer, HierarchyState]:
    """Run the whole training of a configuration."""
    torch.set_num_threads(1)
    trainer = HierarchicalTrainer(config, TileSource(smooth_tiles(256, size=16), mirror=True))
    state = trainer.start()
    trainer.run(state, until_seconds=60, checkpoint=None, progress=lambda state, stage: None)
    return trainer, state


@lru_cache(maxsize=1)
def tiny_prior() -> HierarchicalPrior:
    """The trained tiny prior; the same object for all tests."""
    trainer, state = train(tiny_training())
    return trainer.finish(state, {"data": "smooth tiles"})
