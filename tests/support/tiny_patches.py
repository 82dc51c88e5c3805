"""A tiny prior of the hierarchical codec with patches and depthwise blocks, trained in seconds."""

from __future__ import annotations

from functools import lru_cache

from inrcodec.codecs.hierarchical.config import HierarchicalConfig, LevelConfig
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
from tests.support.tiny_hierarchical import tiny_training, train

PATCHES = HierarchicalConfig(
    channels=3,
    axes=2,
    levels=(
        LevelConfig(16, 8, (4,), 0, 1, blocks_after=1, narrowed=6),
        LevelConfig(8, 24, (8, 8, 8, 8), 4, 1, phases=2, blocks_after=1),
        LevelConfig(4, 16, (8, 8), 2, 1, phases=2, blocks_after=1),
    ),
    feature_stride=4,
    feature_width=0,
    head_width=0,
    harmonics=0,
    n_anchors=3,
    log_lambdas=(3.0, 8.0),
    block="depthwise",
    patch=4,
)


@lru_cache(maxsize=1)
def tiny_patch_prior() -> HierarchicalPrior:
    """The trained prior; the same object for all tests."""
    trainer, state = train(tiny_training(network=PATCHES, name="patches", steps=150))
    return trainer.finish(state, {"data": "smooth tiles"})
