"""TODO-DOC."""

from __future__ import annotations

from dataclasses import dataclass, replace

from inrcodec.codecs.combiner.model import NetworkConfig
from inrcodec.errors import UsageError
from inrcodec.training.folders import Wanted


@dataclass(frozen=True)
class Recipe:
    """What a prior is for. ``tile``: training images are mosaics of tiles of this size, each a signal of its own.

    Loudness of speech varies so widely between patches that a proposal learned from a pooled prior diverges: its recipe
    has none, and more classes.
    """

    name: str
    kind: str
    network: NetworkConfig
    betas: tuple[float, ...]
    tile: int = 0
    n_classes: int = 6

    @property
    def wanted(self) -> Wanted:
        """The training data that it reads."""
        return Wanted(self.kind, self.network.patch_shape, self.tile)


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("images32", "image", NetworkConfig((32, 32), 3), (1.2e-2, 5e-3, 2.4e-3, 1.2e-3, 6e-4, 3e-4), tile=32),
        Recipe("photographs", "image", NetworkConfig((32, 32), 3), (1.6e-2, 6e-3, 2.4e-3, 1e-3, 4e-4, 1.6e-4)),
        Recipe(
            "speech16k", "audio",
            NetworkConfig((512,), 1, features=96, latent_dims=512, proposal_hidden=0),
            (4e-4, 1.6e-4, 6.4e-5, 2.5e-5, 1e-5, 4e-6), n_classes=12,
        ),
        Recipe(
            "fields", "field", NetworkConfig((32, 32), 1, latent_dims=384), (6e-3, 1.5e-3, 4e-4, 1e-4, 2.5e-5, 6e-6),
        ),
    )
}  # fmt: skip


def recipe_named(name: str) -> Recipe:
    """The recipe; UsageError when there is none."""
    if name not in RECIPES:
        raise UsageError(f"recipe must be one of {', '.join(RECIPES)}, got {name!r}")
    return RECIPES[name]


def adapted(recipe: Recipe, *, name: str | None = None, tile: int | None = None) -> Recipe:
    """A recipe under another name or for mosaics of another tile size (a square patch of that size)."""
    if tile:
        network = replace(recipe.network, patch_shape=(tile, tile))
        recipe = replace(recipe, tile=tile, network=network)
    return replace(recipe, name=name or recipe.name)
