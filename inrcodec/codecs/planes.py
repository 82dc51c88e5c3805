"""Map the values of a signal to the planes that a model with a given number of axes and channels can encode.

A *plane* is the array (*plane shape, model channels) that one model function describes. A colour image is one plane of
a colour model. Otherwise every channel is a plane, repeated over the channels of the model and averaged after decoding.
Axes that the model has no coordinates for (such as the slices of a volume) are stacked as planes. An alpha channel is
not part of any plane: it is stored exactly, see ``container/alpha.py``.
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
    """Converts the values of a signal to planes and back.

    Attributes:
        lead: leading axes of the signal, which are stacked.
        shape: axes of a plane.
        channels: channels of the signal without alpha.
        model_channels: channels of the model.
        together: whether the model sees all channels at once.
        signed: whether the values of the model are in [-1, 1] while those of the signal are in [0, 1].
    """

    lead: tuple[int, ...]
    shape: tuple[int, ...]
    channels: int
    model_channels: int
    together: bool
    signed: bool

    @classmethod
    def make(cls, header: SignalHeader, prior: Prior) -> PlaneMap:
        """Return the map for a signal under a prior.

        Raises:
            UnsupportedError: the prior cannot carry such a signal.
        """
        n_axes = prior.axes
        wrong_kind = (
            prior.kind != "audio" if header.kind == "audio" else prior.kind == "audio" and header.kind == "image"
        )
        if len(header.shape) < n_axes or wrong_kind:
            raise UnsupportedError(
                f"prior {prior.name!r} is for {prior.kind} signals of {n_axes} axes, "
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
        """Return the number of planes of one signal."""
        return math.prod(self.lead) * (1 if self.together else self.channels)

    def to_planes(self, values: FloatArray) -> FloatArray:
        """Return the planes of a signal.

        Args:
            values: (*signal shape, C); a trailing alpha channel is ignored.

        Returns:
            (n_planes, *plane shape, model channels), float32.
        """
        stacked = values[..., : self.channels].reshape(-1, *self.shape, self.channels)
        if not self.together:
            by_channel = np.moveaxis(stacked, -1, 1).reshape(-1, *self.shape, 1)
            stacked = np.repeat(by_channel, self.model_channels, axis=-1)
        return np.ascontiguousarray(stacked * 2.0 - 1.0 if self.signed else stacked, np.float32)

    def from_planes(self, planes: FloatArray) -> FloatArray:
        """Return values (*lead, *size, C without alpha) from decoded planes (n_planes, *size, model channels)."""
        values = planes * np.float32(0.5) + np.float32(0.5) if self.signed else planes
        size = values.shape[1:-1]
        if not self.together:
            by_channel = values.mean(axis=-1, dtype=np.float32).reshape(-1, self.channels, *size)
            values = np.moveaxis(by_channel, 1, -1)
        return np.ascontiguousarray(values.reshape(*self.lead, *size, self.channels))

    def part(self, window: Window) -> tuple[PlaneMap, list[int], Window]:
        """Return what a window of the signal's output grid needs.

        Returns:
            The map of the part in the window, the numbers of the planes that it needs, and the window of each plane.
        """
        split = len(self.lead)
        lead = np.arange(math.prod(self.lead)).reshape(self.lead)[window[:split]]
        n_channels = 1 if self.together else self.channels
        numbers = [int(place) * n_channels + channel for place in lead.reshape(-1) for channel in range(n_channels)]
        return replace(self, lead=lead.shape), numbers, window[split:]

    def plane_size(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Return the part of an output size that belongs to a plane.

        Raises:
            UnsupportedError: a stacked axis would be resampled.
        """
        split = len(self.lead)
        if len(size) != split + len(self.shape) or tuple(size[:split]) != self.lead:
            raise UnsupportedError(
                f"only the last {len(self.shape)} axes can be resized, got size {tuple(size)}: keep the others at "
                f"{self.lead}"
            )
        return tuple(size[split:])


def has_alpha(header: SignalHeader) -> bool:
    """Return whether the last channel is an alpha channel."""
    return header.layout in ("gray+alpha", "rgba")
