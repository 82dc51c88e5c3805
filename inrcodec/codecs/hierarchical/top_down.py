"""The top-down path of the hierarchical model, from the coarsest latents to features or values, for any arithmetic.

``top_down`` calls the convolutions of a ``Layers`` object: ``model.FloatLayers`` is the trained network,
``exact.ExactLayers`` its exact integer form.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from inrcodec.codecs.hierarchical.checkerboard import scatter_color, take_color
from inrcodec.codecs.hierarchical.config import HierarchicalConfig, LevelConfig, block_phase


class Layers(Protocol):
    """The arithmetic of the top-down path; tensors are (N, C, H, W)."""

    config: HierarchicalConfig

    def start(self, count: int, height: int, width: int) -> Tensor:
        """Return the features at the coarsest stride before anything is decoded."""
        ...

    def conv(self, name: str, values: Tensor) -> Tensor:
        """Return the values after a convolution with bias."""
        ...

    def conv_relu_conv(self, first: str, second: str, values: Tensor) -> Tensor:
        """Return the values after two convolutions with max(0, .) between them."""
        ...

    def local(self, function: Callable[..., Tensor], values: Tensor, *others: Tensor, halo: int) -> Tensor:
        """Return ``function`` of arrays of equal height.

        Each row of the result may depend only on rows at most ``halo`` away. The first array may be overwritten.
        """
        ...


Choose = Callable[[str, Tensor, Tensor], Tensor]
"""Chooses the latents of one block: (block name, features, prior parameters) -> latents (N, c, h, w).

The features are those of the whole grid; (h, w) are the places of the block on it (``checkerboard.take_color``). The
prior parameters (N, 2c, h, w) are the means, then the log scales."""


Start = tuple[str, Tensor]
"""A latent block and the features before it, as ``Choose`` gets them."""


def top_down(layers: Layers, count: int, height: int, width: int, choose: Choose, start: Start | None = None) -> Tensor:
    """Return the features after ``choose`` has supplied the latents of every block.

    Args:
        layers: the arithmetic.
        count: number N of signals.
        height: rows of the coarsest grid.
        width: columns of the coarsest grid.
        choose: supplies the latents of each block; called in coding order.
        start: the latent block to begin with; by default the first. The features may be overwritten.

    Returns:
        Features (N, C', H', W') at the stride of the finest level. With patches, the values (N, C, H, W) in standard
        deviations from the mean.
    """
    config = layers.config
    h = layers.start(count, height, width) if start is None else start[1]
    skipping = start is not None
    for i, level in enumerate(config.levels):
        if i and not skipping:
            h = layers.local(_upsample(layers, i), h, halo=0)
        for j, n_blocks in enumerate(blocks_before(level)):
            for k in range(0 if skipping else n_blocks):
                h = layers.local(_residual(layers, f"down.{i}.{j}.{k}"), h, halo=1)
            if j == len(level.latents):
                break
            name = f"{i}.{j}"
            skipping = skipping and start is not None and name != start[0]
            if skipping:
                continue
            phase = block_phase(config, name)
            prior = layers.local(_prior(layers, name), take_color(h, phase), halo=0)
            latents = choose(name, h, prior)
            if config.pointwise:
                shift = scatter_color(layers.local(_from_latents(layers, name), latents, halo=0), phase)
                h = layers.local(torch.add, h, shift, halo=0)
            else:
                h = layers.local(_add_latents(layers, name), h, scatter_color(latents, phase), halo=1)
    return layers.local(_patch_values(layers), h, halo=0) if config.patch else h


def _upsample(layers: Layers, level: int) -> Callable[[Tensor], Tensor]:
    config = layers.config
    factor = config.levels[level - 1].stride // config.levels[level].stride
    return lambda h: shuffle_up(layers.conv(f"up.{level}", h), factor, config.axes)


def _prior(layers: Layers, name: str) -> Callable[[Tensor], Tensor]:
    return lambda h: layers.conv_relu_conv(f"prior_in.{name}", f"prior_out.{name}", h)


def _from_latents(layers: Layers, name: str) -> Callable[[Tensor], Tensor]:
    return lambda latents: layers.conv(f"latent_in.{name}", latents)


def _patch_values(layers: Layers) -> Callable[[Tensor], Tensor]:
    return lambda h: shuffle_up(layers.conv("out", h), layers.config.patch, layers.config.axes)


def _add_latents(layers: Layers, name: str) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda h, latents: h + layers.conv(f"latent_in.{name}", latents)


def blocks_before(level: LevelConfig) -> list[int]:
    """Return the number of a level's residual blocks before each of its latent blocks, then the number after the last.

    The first latent blocks get more.
    """
    each, remainder = divmod(level.blocks_down, len(level.latents))
    return [*(each + (1 if j < remainder else 0) for j in range(len(level.latents))), level.blocks_after]


def _residual(layers: Layers, name: str) -> Callable[[Tensor], Tensor]:
    def block(h: Tensor) -> Tensor:
        if layers.config.pointwise:
            h = layers.conv(f"{name}.mix", h)
        return h + layers.conv_relu_conv(f"{name}.in", f"{name}.out", h)

    return block


def shuffle_up(values: Tensor, factor: int, axes: int) -> Tensor:
    """Move channels to points: (N, C f^axes, H, W) to (N, C, H f, W f), or (N, C, H, W f) for one axis."""
    if axes == 2:
        return functional.pixel_shuffle(values, factor)
    count, channels, height, width = values.shape
    split = values.view(count, channels // factor, factor, height, width)
    return split.permute(0, 1, 3, 4, 2).reshape(count, channels // factor, height, width * factor)


def shuffle_down(values: Tensor, factor: int, axes: int) -> Tensor:
    """Move points to channels, the inverse of ``shuffle_up``."""
    if axes == 2:
        return functional.pixel_unshuffle(values, factor)
    count, channels, height, width = values.shape
    split = values.view(count, channels, height, width // factor, factor)
    return split.permute(0, 1, 4, 2, 3).reshape(count, channels * factor, height, width // factor)
