"""How the values of a signal are laid before a model that knows patches of a given shape and channel count.

A *plane* is what one model function describes: an array (*plane shape, model channels). Colour goes to a colour model
as it is; anything else goes channel by channel, each repeated over the model's channels and averaged on the way back.
Axes that the model has no coordinates for (the slices of a volume) are stacked as planes. Alpha is not a plane: it is
kept exactly, see ``alpha.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from inrcodec.codecs.base import FloatArray, Prior, Window
from inrcodec.errors import UnsupportedError
from inrcodec.signals.header import SignalHeader


@dataclass(frozen=True)
class PlaneMap:
    """Signal to planes and back.

    ``lead``: leading axes of the signal that are stacked; ``shape``: the plane's axes; ``channels`` of the signal
    without alpha; ``together``: the model sees all channels at once; ``signed``: the model's range is [-1, 1] and the
    signal's [0, 1].
    """

    lead: tuple[int, ...]
    shape: tuple[int, ...]
    channels: int
    model_channels: int
    together: bool
    signed: bool

    @classmethod
    def make(cls, header: SignalHeader, prior: Prior) -> PlaneMap:
        """The map for a signal under a prior; UnsupportedError when the prior cannot carry such a signal."""
        n_axes = prior.axes
        foreign = prior.kind != "audio" if header.kind == "audio" else prior.kind == "audio" and header.kind == "image"
        if len(header.shape) < n_axes or foreign:
            raise UnsupportedError(
                f"prior {prior.name!r} is for {prior.kind} signals of {n_axes} axes; "
                f"this {header.kind} has {len(header.shape)}: choose another with --prior"
            )
        split = len(header.shape) - n_axes
        channels = header.channels - (1 if has_alpha(header) else 0)
        return cls(
            header.shape[:split],
            header.shape[split:],
            channels,
            prior.channels,
            channels == prior.channels,
            prior.kind == "audio" and header.kind != "audio",
        )

    @property
    def n_planes(self) -> int:
        """Planes of one signal."""
        return math.prod(self.lead) * (1 if self.together else self.channels)

    def to_planes(self, values: FloatArray) -> FloatArray:
        """(*signal shape, C) to (n_planes, *plane shape, model channels); an alpha channel at the end is left out."""
        stacked = values[..., : self.channels].reshape(-1, *self.shape, self.channels)
        if not self.together:
            alone = np.moveaxis(stacked, -1, 1).reshape(-1, *self.shape, 1)
            stacked = np.repeat(alone, self.model_channels, axis=-1)
        return np.ascontiguousarray(stacked * 2.0 - 1.0 if self.signed else stacked, np.float32)

    def from_planes(self, planes: FloatArray) -> FloatArray:
        """(n_planes, *size, model channels) to (*lead, *size, C without alpha)."""
        values = planes * np.float32(0.5) + np.float32(0.5) if self.signed else planes
        size = values.shape[1:-1]
        if not self.together:
            alone = values.mean(axis=-1, dtype=np.float32).reshape(-1, self.channels, *size)
            values = np.moveaxis(alone, 1, -1)
        return np.ascontiguousarray(values.reshape(*self.lead, *size, self.channels))

    def part(self, window: Window) -> tuple[PlaneMap, list[int], Window]:
        """Of a window of the signal's output grid: the map of what it covers, the planes that this takes, the window of
        each of them."""
        split = len(self.lead)
        lead = np.arange(math.prod(self.lead)).reshape(self.lead)[window[:split]]
        each = 1 if self.together else self.channels
        numbers = [int(place) * each + channel for place in lead.reshape(-1) for channel in range(each)]
        return replace(self, lead=lead.shape), numbers, window[split:]

    def plane_size(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """The plane's part of an output size; UnsupportedError when a stacked axis is to be resampled."""
        split = len(self.lead)
        if len(size) != split + len(self.shape) or tuple(size[:split]) != self.lead:
            raise UnsupportedError(f"only the last {len(self.shape)} axes can be resized: the others stay {self.lead}")
        return tuple(size[split:])


def has_alpha(header: SignalHeader) -> bool:
    """Whether the last channel is an alpha channel."""
    return header.layout in ("gray+alpha", "rgba")
