"""Recipes for the priors of the hierarchical codec, as data.

A level is (stride, width, channels of its latent blocks, residual blocks down, up).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from inrcodec.codecs.hierarchical.config import DEPTHWISE, HierarchicalConfig
from inrcodec.codecs.hierarchical.config import LevelConfig as Level
from inrcodec.codecs.hierarchical.training import HierarchicalTraining
from inrcodec.training.folders import DataSpec


@dataclass(frozen=True)
class HierarchicalRecipe:
    """What a prior is for.

    Attributes:
        name: name of the recipe.
        kind: kind of signal.
        network: shape of the network.
        patch_shape: points of a crop along every axis.
        batch: crops of a minibatch.
        tile: training images are mosaics of tiles of this size, each a signal of its own; 0 for whole images.
        lr: peak of the learning rate.
        rate_power: see ``HierarchicalTraining``.
        scales: training images are resampled by factors between these two.
        point_share: see ``HierarchicalTraining``.
    """

    name: str
    kind: str
    network: HierarchicalConfig
    patch_shape: tuple[int, ...]
    batch: int
    tile: int = 0
    lr: float = 1e-3
    rate_power: float = 1.0
    scales: tuple[float, float] | None = None
    point_share: float = 1.0

    @property
    def wanted(self) -> DataSpec:
        """Return the training data that the recipe reads."""
        return DataSpec(
            self.kind, self.patch_shape, self.tile, normalised=True, globe=self.network.sphere, scales=self.scales
        )

    def training(self, minutes: float, seed: int = 0) -> HierarchicalTraining:
        """Return the settings of a training of this length."""
        small = 0.0 if self.tile or self.kind == "field" else 0.45
        # Smooth fields are asked for to a precision that bfloat16 does not have.
        fast = 0.0 if self.kind == "field" else 0.8
        # A model that starts as a block transform needs no help to use its coarse levels.
        begun: dict[str, Any] = {}
        if self.network.patch:
            small, begun = min(small, 0.15), {"noisy_share": 0.15, "auxiliary_share": 0.0}
        return HierarchicalTraining(
            self.network,
            self.name,
            self.kind,
            minutes,
            self.patch_shape,
            self.batch,
            lr=self.lr,
            rate_power=self.rate_power,
            small_share=small,
            fast_share=fast,
            point_share=self.point_share,
            seed=seed,
            **begun,
        )


_IMAGES32 = HierarchicalConfig(
    channels=3,
    axes=2,
    feature_stride=2,
    feature_width=32,
    log_lambdas=(2.375, 10.5),
    n_anchors=11,
    levels=(
        Level(16, 128, (8, 8), 2, 1),
        Level(8, 128, (8, 8), 3, 2),
        Level(4, 96, (6, 6), 3, 2),
        Level(2, 48, (3, 3), 2, 1),
    ),
)
_PHOTOGRAPHS = HierarchicalConfig(
    channels=3,
    axes=2,
    feature_stride=8,
    feature_width=0,
    head_width=0,
    harmonics=0,
    log_lambdas=(2.0, 10.5),
    n_anchors=12,
    centre=0.45,
    block=DEPTHWISE,
    patch=8,
    levels=(
        Level(64, 160, (64,), 0, 1, blocks_after=1, narrowed=96),
        Level(16, 320, (96, 96, 96, 96), 4, 3, phases=2, blocks_after=2),
        Level(8, 192, (96, 96), 2, 2, phases=2, blocks_after=2),
    ),
)
_PHOTOGRAPHS_LARGE = replace(
    _PHOTOGRAPHS,
    levels=(
        Level(64, 160, (64,), 0, 1, blocks_after=1, narrowed=96),
        Level(16, 448, (128, 128, 128, 128), 4, 4, phases=2, blocks_after=3),
        Level(8, 256, (144, 144), 3, 3, phases=2, blocks_after=3),
    ),
)
_SPEECH = HierarchicalConfig(
    channels=1,
    axes=1,
    feature_stride=2,
    feature_width=32,
    log_lambdas=(-0.5, 9.5),
    centre=0.0,
    spread=1.0,
    levels=(
        Level(256, 192, (24,), 1, 1),
        Level(64, 192, (24, 24), 3, 3),
        Level(16, 128, (12, 12), 3, 2),
        Level(4, 64, (5, 5), 2, 1),
    ),
)
_FIELDS = HierarchicalConfig(
    channels=1,
    axes=2,
    feature_stride=2,
    feature_width=24,
    log_lambdas=(4.0, 16.0),
    levels=(
        Level(32, 128, (12,), 1, 1),
        Level(16, 128, (8, 8), 3, 2),
        Level(8, 96, (6, 6), 3, 2),
        Level(4, 48, (3, 3), 2, 1),
        Level(2, 24, (2,), 1, 1),
    ),
)

HIERARCHY_RECIPES = {
    recipe.name: recipe
    for recipe in (
        HierarchicalRecipe("images32", "image", _IMAGES32, (32, 32), 32, tile=32),
        HierarchicalRecipe("photographs", "image", _PHOTOGRAPHS, (128, 128), 8, lr=2.5e-3, rate_power=1.25),
        HierarchicalRecipe("photographs-large", "image", _PHOTOGRAPHS_LARGE, (128, 128), 8, lr=2.5e-3, rate_power=1.25),
        HierarchicalRecipe("fields", "field", _FIELDS, (64, 64), 16),
        HierarchicalRecipe("globe", "field", replace(_FIELDS, sphere=True, periodic=True), (64, 64), 16),
        HierarchicalRecipe("speech16k", "audio", _SPEECH, (8192,), 8),
    )
}


def adapted_hierarchical_recipe(
    recipe: HierarchicalRecipe, *, name: str | None = None, tile: int | None = None
) -> HierarchicalRecipe:
    """Return a recipe under another name or for mosaics of another tile size."""
    if tile:
        recipe = replace(recipe, tile=tile, patch_shape=(tile, tile))
    return replace(recipe, name=name or recipe.name)
