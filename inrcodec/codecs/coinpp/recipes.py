"""Recipes for the base networks of the COIN++ line, as data."""

from __future__ import annotations

from dataclasses import dataclass, replace

from inrcodec.codecs.coinpp.model import CoinPPConfig
from inrcodec.codecs.coinpp.training import CoinPPTraining
from inrcodec.training.folders import DataSpec


@dataclass(frozen=True)
class CoinPPRecipe:
    """What a base network is for.

    Attributes:
        name: name of the recipe.
        kind: kind of signal.
        network: shape of the base network.
        quantiser_steps: min and max quantisation step that it is trained for.
        batch: patches of an outer step.
        tile: training images are mosaics of tiles of this size, each a signal of its own; 0 for whole images.
    """

    name: str
    kind: str
    network: CoinPPConfig
    quantiser_steps: tuple[float, float]
    batch: int = 8
    tile: int = 0

    @property
    def wanted(self) -> DataSpec:
        """Return the training data that the recipe reads."""
        return DataSpec(self.kind, self.network.patch_shape, self.tile, normalised=self.kind != "image")

    def training(self, minutes: float, seed: int = 0) -> CoinPPTraining:
        """Return the settings of a training of this length."""
        return CoinPPTraining(
            self.network, self.name, self.kind, minutes, self.batch, quantiser_steps=self.quantiser_steps, seed=seed
        )


_IMAGE = CoinPPConfig((32, 32), 3, (1280, 64, 64), 768)

MODULATION_RECIPES = {
    recipe.name: recipe
    for recipe in (
        CoinPPRecipe("images32", "image", _IMAGE, (0.4, 4.0), tile=32),
        CoinPPRecipe("photographs", "image", _IMAGE, (0.5, 8.0)),
        CoinPPRecipe("speech16k", "audio", CoinPPConfig((512,), 1, (512, 64, 64), 448, 0.0, 1.0), (0.1, 8.0), batch=32),
        CoinPPRecipe("fields", "field", CoinPPConfig((32, 32), 1, (768, 64, 64), 512), (0.02, 4.0), batch=16),
    )
}


def adapted_coinpp_recipe(recipe: CoinPPRecipe, *, name: str | None = None, tile: int | None = None) -> CoinPPRecipe:
    """Return a recipe under another name or for mosaics of another tile size."""
    if tile:
        shape = (tile, tile)
        dims = min(recipe.network.latent_dims, tile * tile * recipe.network.channels)
        recipe = replace(recipe, tile=tile, network=replace(recipe.network, patch_shape=shape, latent_dims=dims))
    return replace(recipe, name=name or recipe.name)
