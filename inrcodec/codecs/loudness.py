"""The level of sounds: recordings differ in loudness by 40 dB, models know one. Values are divided by 2^(level / 4)
before a model sees them; the level is a byte of the file."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from inrcodec.codecs.base import Prior, Source
from inrcodec.codecs.planes import PlaneMap

LEVELS_PER_OCTAVE = 4


def has_level(prior: Prior) -> bool:
    """Whether files made under a prior carry a level."""
    return prior.kind == "audio"


def level_of(sources: Sequence[Source], prior: Prior, spread: float, learned: tuple[int, int] = (0, 0)) -> int:
    """Loudness of all sources together about the prior's root mean square ``spread``, in quarters of an octave.

    ``learned``: levels that the prior has seen; sounds within are left as they are.
    """
    if not has_level(prior):
        return 0
    total, count = 0.0, 0
    for source in sources:
        planes = PlaneMap.make(source.header, prior).to_planes(source.values)
        total += float(np.square(planes, dtype=np.float64).sum())
        count += planes.size
    ratio = max(math.sqrt(total / count), 1e-9) / spread
    level = round(LEVELS_PER_OCTAVE * math.log2(ratio))
    return int(np.clip(level - np.clip(level, *learned), -128, 127))


def gain_of(level: int) -> float:
    """Factor that a level stands for."""
    return float(2.0 ** (level / LEVELS_PER_OCTAVE))
