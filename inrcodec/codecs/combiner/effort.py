"""Effort presets of codec combiner: how long to fit, and how finely to interleave sending and refitting."""

from __future__ import annotations

from dataclasses import dataclass

from inrcodec.codecs.combiner.posterior import Rates
from inrcodec.coding.relative_entropy import Selection


@dataclass(frozen=True)
class CombinerEffort:
    """One effort preset.

    Attributes:
        name: name of the preset.
        fit_steps: gradient steps without budgets.
        budget_steps: gradient steps towards the budgets.
        rounds: rounds in which the blocks are sent.
        refine_steps: gradient steps between two rounds.
        budget_bits: K, the bits of a block.
        slack_bits: how far below K the target of a block's KL divergence is.
        pressure: exponent of the update of a block's weight.
        selection: how a candidate is selected.
        first_rates: learning rates at the start and the end of fitting and of budgeting.
        later_rates: learning rates at the start and the end of each refinement.
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
        """Return the total number of gradient steps."""
        return self.fit_steps + self.budget_steps + (self.rounds - 1) * self.refine_steps


COMBINER_EFFORTS = {
    effort.name: effort
    for effort in (
        CombinerEffort("fast", 30, 20, 4, 5),
        CombinerEffort("default", 90, 40, 12, 12),
        CombinerEffort("best", 240, 100, 32, 20),
    )
}
