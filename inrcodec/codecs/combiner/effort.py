"""Effort levels: how long to fit and how finely to interleave sending and refitting."""

from __future__ import annotations

from dataclasses import dataclass

from inrcodec.codecs.combiner.posterior import Rates
from inrcodec.coding.relative_entropy import Selection
from inrcodec.errors import UsageError


@dataclass(frozen=True)
class CombinerEffort:
    """One level.

    ``fit_steps`` without budgets, ``budget_steps`` towards the budgets, then ``rounds`` of sending with
    ``refine_steps`` between them. ``budget_bits`` K per block; ``slack_bits``: how far below K a block's KL is pressed;
    ``pressure``: exponent of the weight update. Rates run from the first to the second of a pair, per phase.
    """

    name: str
    fit_steps: int
    budget_steps: int
    rounds: int
    refine_steps: int
    budget_bits: int = 14
    slack_bits: float = 0.0
    pressure: float = 0.1
    selection: Selection = Selection.RATIO
    first_rates: tuple[Rates, Rates] = (Rates(0.2, 0.06), Rates(0.05, 0.03))
    later_rates: tuple[Rates, Rates] = (Rates(0.1, 0.03), Rates(0.05, 0.02))

    @property
    def total_steps(self) -> int:
        """Gradient steps in all."""
        return self.fit_steps + self.budget_steps + (self.rounds - 1) * self.refine_steps


COMBINER_EFFORTS = {
    effort.name: effort
    for effort in (
        CombinerEffort("fast", 30, 20, 4, 5),
        CombinerEffort("default", 90, 40, 12, 12),
        CombinerEffort("best", 240, 100, 32, 20),
    )
}


def combiner_effort_named(name: str) -> CombinerEffort:
    """The preset of this name; UsageError when there is none."""
    try:
        return COMBINER_EFFORTS[name]
    except KeyError:
        raise UsageError(f"effort must be one of {', '.join(COMBINER_EFFORTS)}, got {name!r}") from None
