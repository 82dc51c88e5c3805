"""Bits-back coding of images: BB-ANS (Townsend et al., ICLR 2019) and Bit-Swap (Kingma et al., ICML 2019).

A sender codes with latents that it chooses by popping them from its own message, under the posterior; the receiver
pushes them back. Two orders, for latents z_1 .. z_L over the base:

    bbans      pop z_1 .. z_L;  push base, z_1 .. z_L         (Bit-Swap, figure 2, left)
    bitswap    pop z_1;  push base;  pop z_2;  push z_1;  ..  push z_L    (algorithm 2)

Their net lengths are alike. Popping needs bits that are there: of all layers together, or of one layer at a time. Here
the phases of the finer scales are pushed before anything is popped, and what they leave is more than z_1 asks for, so
that even one small picture needs no bits from outside. When a message does run empty, a pop yields the mode, and what
follows is as exact as ever.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec.codecs.base import Progress
from inrcodec.codecs.bitswap.config import PHASE_PLACES
from inrcodec.codecs.bitswap.exact import ExactLayers, latent_numbers
from inrcodec.codecs.bitswap.model import PhaseNetwork, from_phases, posterior, prior, spread, to_phases
from inrcodec.codecs.bitswap.tables import Latents, Mixtures
from inrcodec.coding.ans import Stack
from inrcodec.errors import UsageError
from inrcodec.nn.exact import ACTIVATION_BITS

SCHEMES = ("bitswap", "bbans")
STRIP = 64
"""Rows of features that are computed at once."""


def _silent(values: int) -> None:
    del values


class BitsBack:
    """Pushes images of one size on a message and pops them from it. ``tick`` is told of values that are done."""

    def __init__(self, layers: ExactLayers, scheme: str = "bitswap", tick: Progress = _silent) -> None:
        if scheme not in SCHEMES:
            raise UsageError(f"scheme must be one of {', '.join(SCHEMES)}, got {scheme!r}")
        self.layers, self.config, self.scheme, self.tick = layers, layers.config, scheme, tick

    @torch.no_grad()
    def push(self, message: Stack, images: NDArray[np.uint8]) -> None:
        """Images (N, C, H, W) of levels."""
        picture = torch.from_numpy(images.astype(np.int64))
        for scale in range(self.config.splits):
            picture = self._push_scale(message, scale, picture)
        self._push_base(message, picture)

    @torch.no_grad()
    def pop(self, message: Stack, shape: Sequence[int]) -> NDArray[np.uint8]:
        """Images of a shape (N, C, H, W): inverse of ``push``."""
        count, channels, *size = shape
        sizes = [(size[0], size[1])]
        for _ in range(self.config.splits):
            sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
        picture = self._pop_base(message, (count, channels, *sizes[-1]))
        for scale in reversed(range(self.config.splits)):
            picture = self._pop_scale(message, scale, picture, sizes[scale])
        return picture.numpy().astype(np.uint8)

    # Scales above the base: phases 1 to 3 given those before.

    def _push_scale(self, message: Stack, scale: int, picture: Tensor) -> Tensor:
        """Push phases 1 to 3, return phase 0."""
        phases = to_phases(picture)
        network = PhaseNetwork(self.layers, self.config, f"scale{scale}", STRIP)
        found = [network.step(self.layers.of_levels(phase)) for phase in phases[:3]]
        for phase in (3, 2, 1):
            self._push_phase(message, phases[phase], found.pop(), phase, picture.shape[2:])
        return phases[0]

    def _pop_scale(self, message: Stack, scale: int, first: Tensor, size: tuple[int, int]) -> Tensor:
        """Inverse of ``_push_scale``."""
        network = PhaseNetwork(self.layers, self.config, f"scale{scale}", STRIP)
        phases = [first]
        for phase in (1, 2, 3):
            found = network.step(self.layers.of_levels(phases[-1]))
            phases.append(self._pop_phase(message, first, found, phase, torch.Size(size)))
        return from_phases(phases, size)

    # The base and its latents.

    def _push_base(self, message: Stack, picture: Tensor) -> None:
        phases = to_phases(picture)
        drawn: list[Tensor] = []
        n_layers = len(self.config.latents)
        swaps = self.scheme == "bitswap"
        for layer in range(n_layers):
            drawn.append(self._posterior(phases, drawn, layer).pop(message, self._shape(picture, layer)))
            if swaps:
                self._push_below(message, phases, picture, drawn, layer)
        for layer in range(n_layers if not swaps else 0):
            self._push_below(message, phases, picture, drawn, layer)
        self._prior(drawn, n_layers - 1, picture).push(message, drawn[-1])

    def _pop_base(self, message: Stack, shape: tuple[int, ...]) -> Tensor:
        """Inverse of ``_push_base``."""
        n_layers = len(self.config.latents)
        picture = torch.empty(shape, dtype=torch.int64)
        drawn = [torch.empty(0)] * n_layers
        drawn[-1] = self._prior(drawn, n_layers - 1, picture).pop(message, self._shape(picture, n_layers - 1))
        phases: list[Tensor] = []
        swaps = self.scheme == "bitswap"
        for layer in reversed(range(n_layers)):
            if layer:
                found = self._prior(drawn, layer - 1, picture)
                drawn[layer - 1] = found.pop(message, self._shape(picture, layer - 1))
            else:
                phases = self._pop_base_phases(message, picture, drawn[0])
            if swaps:
                self._posterior(phases, drawn, layer).push(message, drawn[layer])
        for layer in reversed(range(n_layers if not swaps else 0)):
            self._posterior(phases, drawn, layer).push(message, drawn[layer])
        return from_phases(phases, (shape[2], shape[3]))

    def _push_below(
        self, message: Stack, phases: list[Tensor], picture: Tensor, drawn: list[Tensor], layer: int
    ) -> None:
        """Push what latent ``layer`` generates: the base's phases, or the latents one layer down."""
        if layer:
            self._prior(drawn, layer - 1, picture).push(message, drawn[layer - 1])
            return
        found = self._base_parameters(phases, drawn[0])
        for phase in (3, 2, 1, 0):
            self._push_phase(message, phases[phase], found[phase], phase, picture.shape[2:])

    def _base_parameters(self, phases: list[Tensor], latents: Tensor) -> list[Tensor]:
        network = PhaseNetwork(self.layers, self.config, "base", STRIP)
        found = network.step(self._spread_latents(latents, phases[0].shape), is_values=False)
        if not self.config.phases:
            return list(found.chunk(4, dim=1))
        return [found, *(network.step(self.layers.of_levels(phase)) for phase in phases[:3])]

    def _pop_base_phases(self, message: Stack, picture: Tensor, latents: Tensor) -> list[Tensor]:
        count, channels, *size = picture.shape
        first = torch.empty(count, channels, -(-size[0] // 2), -(-size[1] // 2), dtype=torch.int64)
        network = PhaseNetwork(self.layers, self.config, "base", STRIP)
        found = network.step(self._spread_latents(latents, first.shape), is_values=False)
        together = list(found.chunk(4, dim=1)) if not self.config.phases else []
        phases: list[Tensor] = []
        for phase in range(4):
            if together:
                found = together[phase]
            elif phase:
                found = network.step(self.layers.of_levels(phases[-1]))
            phases.append(self._pop_phase(message, phases[0] if phases else first, found, phase, picture.shape[2:]))
        return phases

    def _spread_latents(self, latents: Tensor, shape: torch.Size) -> Tensor:
        return spread(self.layers.of_latents(latents), self.config.strides[0], (shape[2], shape[3]))

    def _shape(self, picture: Tensor, layer: int) -> tuple[int, ...]:
        """Shape of z_(layer + 1)."""
        height, width = -(-picture.shape[2] // 2), -(-picture.shape[3] // 2)
        for stride in self.config.strides[: layer + 1]:
            height, width = -(-height // stride), -(-width // stride)
        return len(picture), self.config.latents[layer], height, width

    def _posterior(self, phases: list[Tensor], drawn: list[Tensor], layer: int) -> _LatentCoder:
        """q(z_(layer + 1) | what lies below)."""
        if layer:
            below = self.layers.of_latents(drawn[layer - 1])
        else:
            below = torch.cat([self.layers.of_levels(phase) for phase in phases], dim=1)
        return _LatentCoder(posterior(self.layers, self.config, layer, below), of_posterior=True)

    def _prior(self, drawn: list[Tensor], layer: int, picture: Tensor) -> _LatentCoder:
        """p(z_(layer + 1) | the latents above), at the top that of the model."""
        count, channels, height, width = self._shape(picture, layer)
        if layer + 1 == len(self.config.latents):
            top = self.layers.top[None, :, None, None].expand(count, 2 * channels, height, width)
            return _LatentCoder(top, of_posterior=False)
        above = self.layers.of_latents(drawn[layer + 1])
        return _LatentCoder(prior(self.layers, self.config, layer, above, (height, width)), of_posterior=False)

    # One phase, channel after channel.

    def _push_phase(self, message: Stack, levels: Tensor, found: Tensor, phase: int, size: Sequence[int]) -> None:
        inside = _inside(found.shape, phase, size)
        values = levels[:, :, : inside[0], : inside[1]]
        numbers = _Parameters(found[:, :, : inside[0], : inside[1]], self.layers)
        for channel in reversed(range(self.config.channels)):
            mixtures = numbers.mixtures(channel, values)
            mixtures.push(message, values[:, channel].reshape(-1).numpy())
        self.tick(values.numel())

    def _pop_phase(self, message: Stack, first: Tensor, found: Tensor, phase: int, size: Sequence[int]) -> Tensor:
        """A phase (N, C, h, w); what lies outside of the image is filled with phase 0."""
        inside = _inside(found.shape, phase, size)
        numbers = _Parameters(found[:, :, : inside[0], : inside[1]], self.layers)
        values = torch.zeros(*first.shape[:2], *inside, dtype=torch.int64)
        for channel in range(self.config.channels):
            values[:, channel] = torch.from_numpy(numbers.mixtures(channel, values).pop(message)).view_as(values[:, 0])
        self.tick(values.numel())
        if values.shape == first.shape:
            return values
        out = first.clone()
        out[:, :, : inside[0], : inside[1]] = values
        return out


class _LatentCoder:
    """Latents under a network's output, points in the order of their tensor."""

    def __init__(self, found: Tensor, *, of_posterior: bool) -> None:
        mean, log_scale = latent_numbers(found, of_posterior=of_posterior)
        self._latents = Latents(mean.reshape(-1).numpy(), log_scale.reshape(-1).numpy())

    def push(self, message: Stack, latents: Tensor) -> None:
        """Code latents."""
        self._latents.push(message, latents.reshape(-1).numpy())

    def pop(self, message: Stack, shape: tuple[int, ...]) -> Tensor:
        """Latents of a shape."""
        return torch.from_numpy(self._latents.pop(message)).view(shape)


class _Parameters:
    """A phase's distributions, channel by channel."""

    def __init__(self, found: Tensor, layers: ExactLayers) -> None:
        self._found, self._layers = found, layers

    def mixtures(self, channel: int, values: Tensor) -> Mixtures:
        """Distributions of a channel's points, given ``values`` (N, C, h, w) of those before it."""
        config = self._layers.config
        k, all_k = config.components, config.components * config.channels
        parts = [
            self._found[:, start + channel * k : start + (channel + 1) * k].permute(0, 2, 3, 1).reshape(-1, k)
            for start in (0, all_k, 2 * all_k)
        ]
        weights, means, scales = (part.to(torch.int64) for part in parts)
        first = 3 * all_k + channel * (channel - 1) // 2
        for before in range(channel):
            coupling = self._found[:, first + before].reshape(-1).to(torch.int64)
            known = self._layers.of_levels(values[:, before]).reshape(-1).to(torch.int64)
            means = means + ((coupling * known) >> ACTIVATION_BITS)[:, None]
        return Mixtures(weights.numpy(), means.numpy(), scales.numpy(), config.levels)


def _inside(shape: Sequence[int], phase: int, size: Sequence[int]) -> tuple[int, int]:
    """Rows and columns of a phase (..., h, w) that lie in an image of ``size``."""
    row, column = PHASE_PLACES[phase]
    return min(shape[-2], (size[0] - row + 1) // 2), min(shape[-1], (size[1] - column + 1) // 2)
