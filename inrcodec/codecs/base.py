"""What every codec takes and gives: signals as arrays with a header, a wanted rate, coded bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import UsageError
from inrcodec.signals.header import SignalHeader

Window = tuple[slice, ...]
"""A part of a grid: the points from start to stop of every axis."""


@dataclass(frozen=True)
class Rate:
    """What to aim for: ``beta``, or ``bits`` of all bodies together; neither: the codec's default."""

    beta: float | None = None
    bits: float | None = None

    def __post_init__(self) -> None:
        if self.beta is not None and self.bits is not None:
            raise UsageError("give either beta or a target rate, not both")
        if self.bits is not None and not (math.isfinite(self.bits) and self.bits > 0):
            raise UsageError(f"the target rate leaves {self.bits:.0f} bits for the signal: raise it")


@dataclass(frozen=True)
class Coded:
    """Output of an encoder: shared parameters and one body per signal; ``chain``: one message of all of them."""

    parameters: bytes
    bodies: list[bytes]
    chain: bytes = b""


@dataclass(frozen=True)
class Source:
    """One signal as a codec sees it; ``extra``: its other metadata, which codecs only compare."""

    values: NDArray[np.float32]
    header: SignalHeader
    extra: bytes = b""
