"""Recipes for the priors of codec combiner, as data."""

from __future__ import annotations

from dataclasses import dataclass, replace

from inrcodec.codecs.combiner.model import CombinerConfig
from inrcodec.training.folders import DataSpec


@dataclass(frozen=True)
class CombinerRecipe:
    """What a prior is for.

    The gain of speech varies so widely between patches that proposals trained from a pooled prior diverge: its
    recipe has none, and more classes.

    Attributes:
        name: name of the recipe.
        kind: kind of signal.
        network: shape of the network.
        betas: one per rate anchor, squared value units per bit per point (images in [0, 1], audio in [-1, 1]).
        tile: training images are mosaics of tiles of this size, each a signal of its own; 0 for whole images.
        n_classes: classes of patches at every anchor.
    """

    name: str
    kind: str
    network: CombinerConfig
    betas: tuple[float, ...]
    tile: int = 0
    n_classes: int = 6

    @property
    def wanted(self) -> DataSpec:
        """Return the training data that the recipe reads."""
        return DataSpec(self.kind, self.network.patch_shape, self.tile)


COMBINER_RECIPES = {
    recipe.name: recipe
    for recipe in (
        CombinerRecipe(
            "images32", "image", CombinerConfig((32, 32), 3), (1.2e-2, 5e-3, 2.4e-3, 1.2e-3, 6e-4, 3e-4), tile=32
        ),
        CombinerRecipe("photographs", "image", CombinerConfig((32, 32), 3), (1.6e-2, 6e-3, 2.4e-3, 1e-3, 4e-4, 1.6e-4)),
        CombinerRecipe(
            "speech16k",
            "audio",
            CombinerConfig((512,), 1, features=96, latent_dims=512, proposal_hidden=0),
            (4e-4, 1.6e-4, 6.4e-5, 2.5e-5, 1e-5, 4e-6),
            n_classes=12,
        ),
        CombinerRecipe(
            "fields", "field", CombinerConfig((32, 32), 1, latent_dims=384), (6e-3, 1.5e-3, 4e-4, 1e-4, 2.5e-5, 6e-6)
        ),
    )
}


def adapted_combiner_recipe(
    recipe: CombinerRecipe, *, name: str | None = None, tile: int | None = None
) -> CombinerRecipe:
    """Return a recipe under another name or for mosaics of another tile size, which is that of the patches then."""
    if tile:
        network = replace(recipe.network, patch_shape=(tile, tile))
        recipe = replace(recipe, tile=tile, network=network)
    return replace(recipe, name=name or recipe.name)
