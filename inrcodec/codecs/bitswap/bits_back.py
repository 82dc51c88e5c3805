"""Bits-back coding of images: BB-ANS (arXiv 1901.04866) and Bit-Swap (arXiv 1905.06845).

The sender chooses the latents by popping them from its own message under the posterior; the receiver pushes them back.
There are two orders for latents z_1 .. z_L over the base:

    bbans      pop z_1 .. z_L;  push base, z_1 .. z_L                     (Bit-Swap, figure 2, left)
    bitswap    pop z_1;  push base;  pop z_2;  push z_1;  ..  push z_L    (Bit-Swap, algorithm 2)

Their net lengths are equal. Popping needs initial bits: for all layers all_phases (bbans) or for one layer at a time
(bitswap). Here the phases of the finer scales are pushed before anything is popped, and they leave more bits than z_1
needs, so even a single small image needs no other initial bits. If a message does run empty, a pop yields the mode, and
decoding remains exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec.codecs.base import Progress, no_progress
from inrcodec.codecs.bitswap.config import PHASE_PLACES
from inrcodec.codecs.bitswap.exact import ExactLayers, latent_numbers
from inrcodec.codecs.bitswap.model import PhaseNetwork, from_phases, posterior, prior, spread, to_phases
from inrcodec.codecs.bitswap.tables import Latents, Mixtures
from inrcodec.coding.ans import Stack
from inrcodec.errors import UsageError
from inrcodec.nn.exact import ACTIVATION_BITS

SCHEMES = ("bitswap", "bbans")
"""The orders of coding, by their numbers in files."""
STRIP = 64
"""Rows of features that are computed at once."""


class BitsBack:
    """Pushes images of one size on a message, and pops them from it.

    Attributes:
        layers: the arithmetic of the model.
        config: the configuration of the model.
        scheme: the order of coding, one of ``SCHEMES``.
        progress: called with the number of values done.
    """

    def __init__(self, layers: ExactLayers, scheme: str = "bitswap", progress: Progress = no_progress) -> None:
        if scheme not in SCHEMES:
            raise UsageError(f"scheme must be one of {', '.join(SCHEMES)}, got {scheme!r}")
        self.layers, self.config, self.scheme, self.progress = layers, layers.config, scheme, progress

    @torch.no_grad()
    def push(self, message: Stack, images: NDArray[np.uint8]) -> None:
        """Push images (N, C, H, W) of levels."""
        image = torch.from_numpy(images.astype(np.int64))
        for scale in range(self.config.splits):
            image = self._push_scale(message, scale, image)
        self._push_base(message, image)

    @torch.no_grad()
    def pop(self, message: Stack, shape: Sequence[int]) -> NDArray[np.uint8]:
        """Pop images of a shape (N, C, H, W), the inverse of ``push``."""
        count, channels, *size = shape
        sizes = [(size[0], size[1])]
        for _ in range(self.config.splits):
            sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
        image = self._pop_base(message, (count, channels, *sizes[-1]))
        for scale in reversed(range(self.config.splits)):
            image = self._pop_scale(message, scale, image, sizes[scale])
        return image.numpy().astype(np.uint8)

    # Scales above the base: phases 1 to 3 given those before.

    def _push_scale(self, message: Stack, scale: int, image: Tensor) -> Tensor:
        """Push phases 1 to 3 and return phase 0."""
        phases = to_phases(image)
        network = PhaseNetwork(self.layers, self.config, f"scale{scale}", STRIP)
        parameters = [network.step(self.layers.of_levels(phase)) for phase in phases[:3]]
        for phase in (3, 2, 1):
            self._push_phase(message, phases[phase], parameters.pop(), phase, image.shape[2:])
        return phases[0]

    def _pop_scale(self, message: Stack, scale: int, first: Tensor, size: tuple[int, int]) -> Tensor:
        """Pop phases 1 to 3 and return the image, the inverse of ``_push_scale``."""
        network = PhaseNetwork(self.layers, self.config, f"scale{scale}", STRIP)
        phases = [first]
        for phase in (1, 2, 3):
            parameters = network.step(self.layers.of_levels(phases[-1]))
            phases.append(self._pop_phase(message, first, parameters, phase, torch.Size(size)))
        return from_phases(phases, size)

    # The base and its latents.

    def _push_base(self, message: Stack, image: Tensor) -> None:
        phases = to_phases(image)
        z: list[Tensor] = []
        n_layers = len(self.config.latents)
        swaps = self.scheme == "bitswap"
        for layer in range(n_layers):
            z.append(self._posterior(phases, z, layer).pop(message, self._shape(image, layer)))
            if swaps:
                self._push_below(message, phases, image, z, layer)
        for layer in range(n_layers if not swaps else 0):
            self._push_below(message, phases, image, z, layer)
        self._prior(z, n_layers - 1, image).push(message, z[-1])

    def _pop_base(self, message: Stack, shape: tuple[int, ...]) -> Tensor:
        """Pop the base, the inverse of ``_push_base``."""
        n_layers = len(self.config.latents)
        image = torch.empty(shape, dtype=torch.int64)
        z = [torch.empty(0)] * n_layers
        z[-1] = self._prior(z, n_layers - 1, image).pop(message, self._shape(image, n_layers - 1))
        phases: list[Tensor] = []
        swaps = self.scheme == "bitswap"
        for layer in reversed(range(n_layers)):
            if layer:
                coder = self._prior(z, layer - 1, image)
                z[layer - 1] = coder.pop(message, self._shape(image, layer - 1))
            else:
                phases = self._pop_base_phases(message, image, z[0])
            if swaps:
                self._posterior(phases, z, layer).push(message, z[layer])
        for layer in reversed(range(n_layers if not swaps else 0)):
            self._posterior(phases, z, layer).push(message, z[layer])
        return from_phases(phases, (shape[2], shape[3]))

    def _push_below(self, message: Stack, phases: list[Tensor], image: Tensor, z: list[Tensor], layer: int) -> None:
        """Push what the latents of a layer generate: the phases of the base, or the latents one layer down."""
        if layer:
            self._prior(z, layer - 1, image).push(message, z[layer - 1])
            return
        parameters = self._base_parameters(phases, z[0])
        for phase in (3, 2, 1, 0):
            self._push_phase(message, phases[phase], parameters[phase], phase, image.shape[2:])

    def _base_parameters(self, phases: list[Tensor], latents: Tensor) -> list[Tensor]:
        network = PhaseNetwork(self.layers, self.config, "base", STRIP)
        parameters = network.step(self._spread_latents(latents, phases[0].shape), is_values=False)
        if not self.config.phases:
            return list(parameters.chunk(4, dim=1))
        return [parameters, *(network.step(self.layers.of_levels(phase)) for phase in phases[:3])]

    def _pop_base_phases(self, message: Stack, image: Tensor, latents: Tensor) -> list[Tensor]:
        count, channels, *size = image.shape
        first = torch.empty(count, channels, -(-size[0] // 2), -(-size[1] // 2), dtype=torch.int64)
        network = PhaseNetwork(self.layers, self.config, "base", STRIP)
        parameters = network.step(self._spread_latents(latents, first.shape), is_values=False)
        all_phases = list(parameters.chunk(4, dim=1)) if not self.config.phases else []
        phases: list[Tensor] = []
        for phase in range(4):
            if all_phases:
                parameters = all_phases[phase]
            elif phase:
                parameters = network.step(self.layers.of_levels(phases[-1]))
            phases.append(self._pop_phase(message, phases[0] if phases else first, parameters, phase, image.shape[2:]))
        return phases

    def _spread_latents(self, latents: Tensor, shape: torch.Size) -> Tensor:
        return spread(self.layers.of_latents(latents), self.config.strides[0], (shape[2], shape[3]))

    def _shape(self, image: Tensor, layer: int) -> tuple[int, ...]:
        """Return the shape of z_(layer + 1)."""
        height, width = -(-image.shape[2] // 2), -(-image.shape[3] // 2)
        for stride in self.config.strides[: layer + 1]:
            height, width = -(-height // stride), -(-width // stride)
        return len(image), self.config.latents[layer], height, width

    def _posterior(self, phases: list[Tensor], z: list[Tensor], layer: int) -> _LatentCoder:
        """Return the coder of q(z_(layer + 1) | the layer below)."""
        if layer:
            below = self.layers.of_latents(z[layer - 1])
        else:
            below = torch.cat([self.layers.of_levels(phase) for phase in phases], dim=1)
        return _LatentCoder(posterior(self.layers, self.config, layer, below), of_posterior=True)

    def _prior(self, z: list[Tensor], layer: int, image: Tensor) -> _LatentCoder:
        """Return the coder of p(z_(layer + 1) | the layer above), or of the top prior for the last layer."""
        count, channels, height, width = self._shape(image, layer)
        if layer + 1 == len(self.config.latents):
            top = self.layers.top[None, :, None, None].expand(count, 2 * channels, height, width)
            return _LatentCoder(top, of_posterior=False)
        above = self.layers.of_latents(z[layer + 1])
        return _LatentCoder(prior(self.layers, self.config, layer, above, (height, width)), of_posterior=False)

    # One phase, channel after channel.

    def _push_phase(self, message: Stack, levels: Tensor, parameters: Tensor, phase: int, size: Sequence[int]) -> None:
        inside = _inside(parameters.shape, phase, size)
        values = levels[:, :, : inside[0], : inside[1]]
        numbers = _Parameters(parameters[:, :, : inside[0], : inside[1]], self.layers)
        for channel in reversed(range(self.config.channels)):
            mixtures = numbers.mixtures(channel, values)
            mixtures.push(message, values[:, channel].reshape(-1).numpy())
        self.progress(values.numel())

    def _pop_phase(self, message: Stack, first: Tensor, parameters: Tensor, phase: int, size: Sequence[int]) -> Tensor:
        """Pop a phase (N, C, h, w); points outside the image are filled with phase 0."""
        inside = _inside(parameters.shape, phase, size)
        numbers = _Parameters(parameters[:, :, : inside[0], : inside[1]], self.layers)
        values = torch.zeros(*first.shape[:2], *inside, dtype=torch.int64)
        for channel in range(self.config.channels):
            values[:, channel] = torch.from_numpy(numbers.mixtures(channel, values).pop(message)).view_as(values[:, 0])
        self.progress(values.numel())
        if values.shape == first.shape:
            return values
        out = first.clone()
        out[:, :, : inside[0], : inside[1]] = values
        return out


class _LatentCoder:
    """Codes latents under the output of a network, in the order of their tensor."""

    def __init__(self, parameters: Tensor, *, of_posterior: bool) -> None:
        mean, log_scale = latent_numbers(parameters, of_posterior=of_posterior)
        self._latents = Latents(mean.reshape(-1).numpy(), log_scale.reshape(-1).numpy())

    def push(self, message: Stack, latents: Tensor) -> None:
        """Push latents."""
        self._latents.push(message, latents.reshape(-1).numpy())

    def pop(self, message: Stack, shape: tuple[int, ...]) -> Tensor:
        """Pop latents of a shape."""
        return torch.from_numpy(self._latents.pop(message)).view(shape)


class _Parameters:
    """The distributions of a phase, channel by channel."""

    def __init__(self, parameters: Tensor, layers: ExactLayers) -> None:
        self._parameters, self._layers = parameters, layers

    def mixtures(self, channel: int, values: Tensor) -> Mixtures:
        """Return the distributions of a channel, given the ``values`` (N, C, h, w) of the channels before it."""
        config = self._layers.config
        k, all_k = config.components, config.components * config.channels
        columns = [
            self._parameters[:, start + channel * k : start + (channel + 1) * k].permute(0, 2, 3, 1).reshape(-1, k)
            for start in (0, all_k, 2 * all_k)
        ]
        weights, means, scales = (column.to(torch.int64) for column in columns)
        first = 3 * all_k + channel * (channel - 1) // 2
        for before in range(channel):
            coupling = self._parameters[:, first + before].reshape(-1).to(torch.int64)
            known = self._layers.of_levels(values[:, before]).reshape(-1).to(torch.int64)
            means = means + ((coupling * known) >> ACTIVATION_BITS)[:, None]
        return Mixtures(weights.numpy(), means.numpy(), scales.numpy(), config.levels)


def _inside(shape: Sequence[int], phase: int, size: Sequence[int]) -> tuple[int, int]:
    """Return how many rows and columns of a phase (..., h, w) lie inside an image of ``size``."""
    row, column = PHASE_PLACES[phase]
    return min(shape[-2], (size[0] - row + 1) // 2), min(shape[-1], (size[1] - column + 1) // 2)
