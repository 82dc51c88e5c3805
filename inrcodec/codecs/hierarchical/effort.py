"""Presets of the hierarchical encoder: how many gradient steps a signal is worth."""

from __future__ import annotations

import math
from dataclasses import dataclass

from inrcodec.errors import UsageError

SMALL_POINTS = 1 << 14
ADAPTED_POINTS = 768 * 512
SAVED_BY_TRIALS, SAVED_BY_ADAPTING = 1.035, 1.005
"""How much longer proposals are than what is made of them at one quality, about."""


@dataclass(frozen=True)
class HierarchicalEffort:
    """``steps``: trial steps of refinement per signal, ``small_steps`` for one of at most ``SMALL_POINTS`` (``steps``
    by default), which gains more by them; ``weight_steps``: gradient steps on the head's weights. ``adapting_steps``:
    those of the encoder's adaptation to an image of ``ADAPTED_POINTS``, which takes the place of trial steps; they grow
    with the root of its points, to twice as many."""

    name: str
    steps: int
    weight_steps: int = 0
    small_steps: int | None = None
    adapting_steps: int = 0

    def steps_for(self, kind: str, points: int) -> tuple[int, int]:
        """Steps of adaptation and trial steps for a signal of a prior's kind and so many points."""
        if points <= SMALL_POINTS:
            return 0, self.steps if self.small_steps is None else self.small_steps
        # Of sounds and fields trial steps find more, and adaptation takes longer.
        if self.adapting_steps == 0 or kind != "image":
            return 0, self.steps
        return math.ceil(self.adapting_steps * min(2.0, math.sqrt(points / ADAPTED_POINTS))), 0

    def saved(self, kind: str, points: int) -> float:
        """How much longer proposals for such signals are than what is made of them, about."""
        adapting, trials = self.steps_for(kind, points)
        return SAVED_BY_ADAPTING if adapting else SAVED_BY_TRIALS if trials else 1.0


HIERARCHICAL_EFFORTS = {
    effort.name: effort
    for effort in (
        HierarchicalEffort("fast", 0),
        HierarchicalEffort("default", 12, small_steps=48, adapting_steps=110),
        HierarchicalEffort("best", 120, 100, small_steps=300, adapting_steps=400),
    )
}


def hierarchical_effort_named(name: str) -> HierarchicalEffort:
    """The preset of this name; UsageError when there is none."""
    try:
        return HIERARCHICAL_EFFORTS[name]
    except KeyError:
        raise UsageError(f"effort must be one of {', '.join(HIERARCHICAL_EFFORTS)}, got {name!r}") from None
