"""Setting up a training of a prior of codec combiner, and measuring a prior on files."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from inrcodec.codecs.combiner.effort import COMBINER_EFFORTS
from inrcodec.codecs.combiner.evaluation import AnchorResult, evaluate_combiner
from inrcodec.codecs.combiner.prior import CombinerPrior
from inrcodec.codecs.combiner.recipes import COMBINER_RECIPES, adapted_combiner_recipe
from inrcodec.codecs.combiner.training import CombinerTrainer
from inrcodec.codecs.combiner.training_state import TrainingConfig, config_summary
from inrcodec.errors import look_up
from inrcodec.parallel.local import open_workers
from inrcodec.training.folders import read_training_data
from inrcodec.training.job import TrainingJob, TrainingOptions, reject_options

DEFAULT_RECIPE = "photographs"
EVALUATED_PATCHES = 64
"""Held-out patches that a new prior is measured on."""
PARTS = 8
"""Batches whose posteriors are fitted at once where there are workers. The outcome depends on this number, not on that
of the workers."""


def make_job(options: TrainingOptions) -> TrainingJob:
    """Return a training of a prior of codec combiner; workers fit the posteriors where they are asked for.

    Raises:
        UsageError: an option does not apply.
    """
    reject_options(
        options, "tile", "variable", "reparameterisation", "latent_dims", "proposal", "patches", "workers", "scheduler"
    )
    recipe_name = options.recipe or DEFAULT_RECIPE
    found = look_up(COMBINER_RECIPES, recipe_name, "recipe")
    recipe = adapted_combiner_recipe(found, name=options.name, tile=options.tile)
    changes: dict[str, Any] = {
        "reparameterisation": options.reparameterisation or recipe.network.reparameterisation,
        "latent_dims": options.latent_dims or recipe.network.latent_dims,
        "proposal_hidden": recipe.network.proposal_hidden if options.proposal else 0,
    }
    network = replace(recipe.network, **changes)
    spread = options.workers is not None or options.scheduler is not None
    config = TrainingConfig(
        network,
        recipe.name,
        recipe.kind,
        recipe.betas,
        options.minutes,
        recipe.n_classes,
        patches=options.patches or TrainingConfig.patches,
        seed=options.seed,
        parts=PARTS if spread else 0,
    )
    middle = len(config.betas) // 2
    with ExitStack() as stack:
        workers = stack.enter_context(open_workers(options.workers, options.scheduler)) if spread else None
        source = read_training_data(recipe.wanted, options.data, variable=options.variable)
        return TrainingJob(
            codec="combiner",
            recipe=recipe_name,
            kind=recipe.kind,
            trainer=CombinerTrainer(config, source.training, options.chosen_device(), workers),
            data=source.summary,
            settings=config_summary(config),
            describe_entry=lambda e: f"{e[f'bits_per_point_{middle}']:.3f} bits/point {e[f'db_{middle}']:.2f} dB",
            evaluate=lambda prior: evaluate_combiner(
                prior, source.held_out, COMBINER_EFFORTS["default"], count=EVALUATED_PATCHES
            ),
            resources=stack.pop_all(),
        )


def measure_prior(prior: CombinerPrior, recipe: str | None, folder: Path) -> list[AnchorResult]:
    """Measure a prior on the signals of a folder, at every anchor; see ``Family.measure_prior``."""
    name = recipe or prior.recipe("combiner-")
    source = read_training_data(look_up(COMBINER_RECIPES, name, "recipe").wanted, [folder]).training
    return evaluate_combiner(prior, source, COMBINER_EFFORTS["default"])
