"""The properties that every signal has, small enough for a file header: ``SignalHeader``.

A header holds the kind of a signal, the layout of its channels, the sample type of its source file, and its grid.
Colour profiles, units and names are not part of it; they are ``SignalMeta``. Invariants, checked on construction:

- ``layout`` and ``sample_type`` belong to ``kind`` (see the tables below), and ``channels`` agrees with ``layout``.
- An image has 2 axes (rows, columns), audio 1 (samples), a field 1 to ``MAX_AXES``; no axis is empty.
- Only audio has a sample rate (Hz, at least 1); only a field may have periodic axes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from inrcodec.errors import DataError, LimitError
from inrcodec.limits import DEFAULT_LIMITS, Limits

MAX_AXES = 4
MAX_SAMPLE_RATE = 2**31 - 1

# The order in these tables is part of the file format (docs/format.md): only append, up to 4 layouts and 16 sample
# types for each kind.
Kind = Literal["image", "audio", "field"]
LAYOUTS: dict[Kind, tuple[str, ...]] = {
    "image": ("gray", "gray+alpha", "rgb", "rgba"),
    "audio": ("mono", "stereo", "multi"),
    "field": ("field",),
}
SAMPLE_TYPES: dict[Kind, tuple[str, ...]] = {
    "image": ("u8", "u16", "u1"),
    "audio": ("pcm_16", "pcm_24", "pcm_32", "pcm_u8", "pcm_s8", "float32", "float64"),
    "field": (
        "float32",
        "float64",
        "float16",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
    ),
}
KINDS: tuple[Kind, ...] = tuple(LAYOUTS)

FIXED_CHANNELS: dict[str, int] = {"gray": 1, "gray+alpha": 2, "rgb": 3, "rgba": 4, "mono": 1, "stereo": 2}
"""The layouts that imply the number of channels; with "multi" and "field" the header states it."""


@dataclass(frozen=True)
class SignalHeader:
    """Holds the kind, layout, sample type and grid of one signal.

    Attributes:
        kind: ``image``, ``audio`` or ``field``.
        layout: one of ``LAYOUTS[kind]``.
        sample_type: one of ``SAMPLE_TYPES[kind]``, the type of the samples in the source file.
        shape: the points along each axis, slowest first: (rows, columns), (samples,) or the axes of a field.
        channels: the values per point, at least 1.
        sample_rate: in Hz for audio, 0 for images and fields.
        periodic: one flag per axis, True where the axis is a circle; () means that none is.

    Raises:
        DataError: the attributes contradict each other.
    """

    kind: Kind
    layout: str
    sample_type: str
    shape: tuple[int, ...]
    channels: int
    sample_rate: int = 0
    periodic: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        if not self.periodic:
            object.__setattr__(self, "periodic", (False,) * len(self.shape))
        if self.kind not in LAYOUTS:
            raise DataError(f"the kind of a signal must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if self.layout not in LAYOUTS[self.kind]:
            known = ", ".join(LAYOUTS[self.kind])
            raise DataError(f"the layout of {self.kind} must be one of {known}, got {self.layout!r}")
        if self.sample_type not in SAMPLE_TYPES[self.kind]:
            known = ", ".join(SAMPLE_TYPES[self.kind])
            raise DataError(f"the sample type of {self.kind} must be one of {known}, got {self.sample_type!r}")
        self._check_grid()
        expected = FIXED_CHANNELS.get(self.layout)
        if self.channels < 1 or (expected is not None and self.channels != expected):
            raise DataError(f"layout {self.layout} has {expected or 'at least 1'} channels, got {self.channels}")
        if self.kind == "audio" and not 1 <= self.sample_rate <= MAX_SAMPLE_RATE:
            raise DataError(f"the sample rate of audio must be 1 to {MAX_SAMPLE_RATE} Hz, got {self.sample_rate}")
        if self.kind != "audio" and self.sample_rate != 0:
            raise DataError(f"a signal of kind {self.kind} has no sample rate, got {self.sample_rate} Hz")

    def _check_grid(self) -> None:
        axes = {"image": (2,), "audio": (1,), "field": tuple(range(1, MAX_AXES + 1))}[self.kind]
        if len(self.shape) not in axes:
            raise DataError(f"the grid of {self.kind} has {' or '.join(map(str, axes))} axes, got shape {self.shape}")
        if min(self.shape) < 1:
            raise DataError(f"every axis must have at least one point, got shape {self.shape}")
        if len(self.periodic) != len(self.shape):
            raise DataError(f"expected one periodic flag for each of {len(self.shape)} axes, got {len(self.periodic)}")
        if self.kind != "field" and any(self.periodic):
            raise DataError(f"only fields may have periodic axes, got {self.periodic} for {self.kind}")

    @property
    def n_points(self) -> int:
        """Return the number of grid points: pixels, samples per channel, or cells."""
        return math.prod(self.shape)

    def check_limits(self, limits: Limits = DEFAULT_LIMITS) -> None:
        """Check the size of the signal against limits.

        Raises:
            LimitError: an axis, the number of points or the number of channels exceeds ``limits``.
        """
        if max(self.shape) > limits.max_axis:
            raise LimitError(f"an axis has {max(self.shape)} points, which exceeds the limit of {limits.max_axis}")
        if self.n_points > limits.max_points:
            raise LimitError(f"the grid has {self.n_points} points, which exceeds the limit of {limits.max_points}")
        if self.channels > limits.max_channels:
            raise LimitError(
                f"the signal has {self.channels} channels, which exceeds the limit of {limits.max_channels}"
            )
