"""Setting up a meta-learning of a base network, and measuring a prior on files."""

from __future__ import annotations

from pathlib import Path

from inrcodec.codecs.coinpp.evaluation import StepResult, evaluate_coinpp
from inrcodec.codecs.coinpp.prior import CoinPPPrior
from inrcodec.codecs.coinpp.recipes import MODULATION_RECIPES, adapted_coinpp_recipe
from inrcodec.codecs.coinpp.training import CoinPPTrainer
from inrcodec.errors import look_up
from inrcodec.training.folders import read_training_data
from inrcodec.training.job import TrainingJob, TrainingOptions, rate_and_db, reject_options

DEFAULT_RECIPE = "photographs"


def make_job(options: TrainingOptions) -> TrainingJob:
    """Return a meta-learning of a base network.

    Raises:
        UsageError: an option does not apply.
    """
    reject_options(options, "tile", "variable")
    recipe_name = options.recipe or DEFAULT_RECIPE
    found = look_up(MODULATION_RECIPES, recipe_name, "recipe")
    recipe = adapted_coinpp_recipe(found, name=options.name, tile=options.tile)
    config = recipe.training(options.minutes, options.seed)
    source = read_training_data(recipe.wanted, options.data, variable=options.variable)
    return TrainingJob(
        codec="coin++",
        recipe=recipe_name,
        kind=recipe.kind,
        trainer=CoinPPTrainer(config, source.training, options.chosen_device()),
        data=source.summary,
        settings=config.summary(),
        describe_entry=rate_and_db,
        evaluate=lambda prior: evaluate_coinpp(prior, source.held_out),
    )


def measure_prior(prior: CoinPPPrior, recipe: str | None, folder: Path) -> list[StepResult]:
    """Measure a prior on the signals of a folder, at six quantisation steps; see ``Family.measure_prior``."""
    name = recipe or prior.recipe("coinpp-")
    wanted = look_up(MODULATION_RECIPES, name, "recipe").wanted
    return evaluate_coinpp(prior, read_training_data(wanted, [folder]).training)
