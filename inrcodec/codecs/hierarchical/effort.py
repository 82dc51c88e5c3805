"""Effort presets of the hierarchical encoder: how many gradient steps it spends on a signal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inrcodec.codecs.hierarchical.prior import HierarchicalPrior

SMALL_POINTS = 1 << 14
"""A signal of at most this many points is small."""
ADAPTED_POINTS = 768 * 512
"""Points of the image that ``HierarchicalEffort.adapting_steps`` refers to."""
TRIALS_RATIO, ADAPTING_RATIO, ANNEALING_RATIO = 1.035, 1.005, 1.06
"""Approximate bits of the unrefined proposals divided by the bits after refinement, at equal quality."""


@dataclass(frozen=True)
class HierarchicalEffort:
    """One effort preset.

    Attributes:
        name: name of the preset.
        steps: trial steps of refinement per signal; with depthwise blocks, also annealing steps for each block of the
            finest level.
        weight_steps: gradient steps on the weights of the head.
        small_steps: trial steps for a small signal, which gains more from them; by default ``steps``.
        adapting_steps: gradient steps that adapt the encoder to an image of ``ADAPTED_POINTS`` points, in place of
            trial steps. They grow with the square root of the number of points, up to twice as many.
    """

    name: str
    steps: int
    weight_steps: int = 0
    small_steps: int | None = None
    adapting_steps: int = 0

    def steps_for(self, prior: HierarchicalPrior, points: int) -> tuple[int, int]:
        """Return the adaptation steps and the refinement steps for a signal of ``points`` points under a prior."""
        if points <= SMALL_POINTS:
            return 0, self.steps if self.small_steps is None else self.small_steps
        # On audio and fields, and with depthwise blocks, trial steps gain more and adaptation takes longer.
        if self.adapting_steps == 0 or prior.kind != "image" or prior.config.pointwise:
            return 0, self.steps
        return math.ceil(self.adapting_steps * min(2.0, math.sqrt(points / ADAPTED_POINTS))), 0

    def proposal_ratio(self, prior: HierarchicalPrior, points: int) -> float:
        """Return the approximate bits of unrefined proposals divided by the bits after refinement."""
        adapting, trials = self.steps_for(prior, points)
        if trials and prior.config.pointwise:
            return ANNEALING_RATIO
        return ADAPTING_RATIO if adapting else TRIALS_RATIO if trials else 1.0


HIERARCHICAL_EFFORTS = {
    effort.name: effort
    for effort in (
        HierarchicalEffort("fast", 0),
        HierarchicalEffort("default", 12, small_steps=48, adapting_steps=110),
        HierarchicalEffort("best", 120, 100, small_steps=300, adapting_steps=400),
    )
}
