"""Setting up a training of a prior of latent grids, and measuring a prior on files."""

from __future__ import annotations

from pathlib import Path

from inrcodec.codecs.grids.config import GridsConfig
from inrcodec.codecs.grids.evaluation import BetaResult, evaluate_grids
from inrcodec.codecs.grids.prior import GridsPrior
from inrcodec.codecs.grids.recipes import CROP, RECIPE, SCALES
from inrcodec.codecs.grids.training import GridsTrainer, GridsTraining
from inrcodec.errors import UsageError
from inrcodec.training.folders import DataSpec, read_training_data
from inrcodec.training.job import TrainingJob, TrainingOptions, rate_and_db, reject_options

EVALUATED_CROPS, EVALUATED_STEPS = 2, 60
"""Held-out crops that a new prior is measured on, and the steps of each fit."""


def make_job(options: TrainingOptions) -> TrainingJob:
    """Return a training of a prior of latent grids.

    Raises:
        UsageError: an option does not apply.
    """
    reject_options(options, "scales")
    if options.recipe not in (None, RECIPE) or options.device not in (None, "cpu"):
        raise UsageError(f"codec grids learns from recipe {RECIPE}, on the CPU: leave --recipe and --device out")
    config = GridsTraining(GridsConfig(), options.name, options.minutes, CROP, seed=options.seed)
    scales = options.scales or SCALES
    source = read_training_data(DataSpec("image", (CROP, CROP), scales=scales), options.data)
    return TrainingJob(
        codec="grids",
        recipe=RECIPE,
        kind="image",
        trainer=GridsTrainer(config, source.training),
        data=source.summary,
        settings={**config.summary(), "scales": scales},
        describe_entry=rate_and_db,
        evaluate=lambda prior: evaluate_grids(prior, source.held_out, count=EVALUATED_CROPS, steps=EVALUATED_STEPS),
    )


def measure_prior(prior: GridsPrior, recipe: str | None, folder: Path) -> list[BetaResult]:
    """Measure a prior on the images of a folder, at every anchor; see ``Family.measure_prior``."""
    if recipe not in (None, RECIPE):
        raise UsageError(f"recipe must be {RECIPE}, got {recipe!r}")
    spec = DataSpec("image", (CROP, CROP), scales=SCALES)
    return evaluate_grids(prior, read_training_data(spec, [folder]).training)
