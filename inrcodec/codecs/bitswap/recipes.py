"""Recipes of lossless models, as data."""

from __future__ import annotations

from dataclasses import dataclass, replace

from inrcodec.codecs.bitswap.config import MAX_LATENT_LAYERS, BitSwapConfig
from inrcodec.codecs.bitswap.training import BitSwapTraining
from inrcodec.errors import UsageError


@dataclass(frozen=True)
class BitSwapRecipe:
    """What a lossless model is for.

    Attributes:
        name: name of the recipe.
        network: shape of the networks.
        crop: side of crops of larger images.
        points: points of a minibatch.
        tile: lossless files are mosaics of tiles of this size; 0 for whole images.
        mirror: whether training images are mirrored at random.
        layered: channels of each latent layer of the published model.
    """

    name: str
    network: BitSwapConfig
    crop: int
    points: int
    tile: int = 0
    mirror: bool = True
    layered: int = 8

    def training(self, minutes: float, seed: int) -> BitSwapTraining:
        """Return the settings of a training of this length."""
        return BitSwapTraining(self.network, self.name, minutes, self.points, seed=seed)

    def with_layers(self, layers: int) -> BitSwapRecipe:
        """Return the published model: ``layers`` latent layers of one size, all points of an image at once.

        Raises:
            UsageError: ``layers`` is out of range.
        """
        if not 1 <= layers <= MAX_LATENT_LAYERS:
            raise UsageError(f"latent layers must be 1 to {MAX_LATENT_LAYERS}, got {layers}")
        network = replace(
            self.network,
            splits=0,
            phases=False,
            latents=(self.layered,) * layers,
            strides=(1,) * layers,
            width=64,
            blocks=4,
            latent_width=64,
            latent_blocks=1,
        )
        return replace(self, name=f"{self.name}-{layers}", network=network)


_DIGITS = BitSwapConfig(
    1, splits=0, latents=(8, 8), strides=(2, 1), width=64, blocks=2, latent_width=64, latent_blocks=2
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        BitSwapRecipe(
            "colour",
            BitSwapConfig(3, width=96, blocks=2, latents=(8, 8), strides=(1, 2), latent_width=64),
            crop=64,
            points=1 << 14,
        ),
        BitSwapRecipe("gray", BitSwapConfig(1, width=64, blocks=2), crop=64, points=1 << 14),
        BitSwapRecipe("digits", _DIGITS, crop=28, points=64 * 28 * 28, tile=28, mirror=False, layered=2),
        BitSwapRecipe(
            "binary",
            replace(_DIGITS, levels=2, components=1),
            crop=28,
            points=64 * 28 * 28,
            tile=28,
            mirror=False,
            layered=2,
        ),
    )
}
