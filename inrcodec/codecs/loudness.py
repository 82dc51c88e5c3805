"""The gain of audio: recordings differ in loudness by 40 dB, but a model is trained for one loudness.

Values are divided by a gain of 2^(level / 4) before a model sees them. The *level*, the gain in quarters of an octave,
is one byte of the file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from inrcodec.codecs.base import Prior, Source
from inrcodec.codecs.planes import PlaneMap

LEVELS_PER_OCTAVE = 4
"""The gain doubles with every 4 levels."""


def has_level(prior: Prior) -> bool:
    """Return whether files under a prior store a level."""
    return prior.kind == "audio"


def level_of(sources: Sequence[Source], prior: Prior, spread: float, learned: tuple[int, int] = (0, 0)) -> int:
    """Return the level of all sources together, from -128 to 127; 0 unless the prior is for audio.

    Args:
        sources: the signals.
        prior: the prior.
        spread: root mean square that the prior was trained for.
        learned: range of levels that the prior was trained on; audio within it gets level 0.
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
    """Return the gain that a level stands for."""
    return float(2.0 ** (level / LEVELS_PER_OCTAVE))
