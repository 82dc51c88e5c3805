"""Setting up a training of the hierarchical model, on the CPU or a GPU, and measuring a prior on files."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from inrcodec.codecs.hierarchical import training_gpu
from inrcodec.codecs.hierarchical.evaluation import RateResult, evaluate_hierarchical
from inrcodec.codecs.hierarchical.growth import fine_tuning_network
from inrcodec.codecs.hierarchical.image_bank import SCALES
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
from inrcodec.codecs.hierarchical.recipes import HIERARCHY_RECIPES, adapted_hierarchical_recipe
from inrcodec.codecs.hierarchical.training import HierarchicalTrainer
from inrcodec.codecs.prior_file import read_prior_to_fine_tune
from inrcodec.errors import UsageError, look_up
from inrcodec.parallel.all_reduce import Peers, peers
from inrcodec.training.folders import read_training_data
from inrcodec.training.job import TrainingJob, TrainingOptions, rate_and_db, reject_options
from inrcodec.training.sources import ImageSource
from inrcodec.training.trainer import Trainer

DEFAULT_RECIPE = "photographs"
EVALUATED_CROPS = 32
"""Held-out crops that a new prior is measured on."""


def make_job(options: TrainingOptions) -> TrainingJob:
    """Return a training of the hierarchical model, on several processes where workers are asked for.

    Raises:
        UsageError: an option does not apply.
    """
    reject_options(options, "tile", "variable", "start_from", "rate_power", "scales", "workers")
    processes = options.workers or 1
    if processes > 1 and options.chosen_device() != "cpu":
        raise UsageError("--workers are processes on the CPU: leave --device out")
    if processes > 1 and options.threads:
        raise UsageError("--workers have one thread each: leave --threads out")
    with ExitStack() as stack:
        shared = stack.enter_context(peers(processes, train_beside, options))
        return replace(_job(options, shared), resources=stack.pop_all())


def train_beside(shared: Peers, options: TrainingOptions) -> None:
    """Train as the first process does, without showing or writing anything: what the other processes run."""
    trainer = _job(options, shared).trainer
    state = trainer.start() if options.resume_from is None else trainer.resume(options.resume_from)
    trainer.run(state, until_seconds=float("inf"), checkpoint=None, progress=lambda *_: None)


def _job(options: TrainingOptions, shared: Peers) -> TrainingJob:
    recipe_name = options.recipe or DEFAULT_RECIPE
    found = look_up(HIERARCHY_RECIPES, recipe_name, "recipe")
    recipe = adapted_hierarchical_recipe(found, name=options.name, tile=options.tile)
    learned = None
    if options.start_from is not None:
        learned = read_prior_to_fine_tune(options.start_from, HierarchicalPrior, "hierarchical")
        recipe = replace(recipe, network=fine_tuning_network(learned.config, recipe.network))
    if options.scales and (recipe.kind != "image" or recipe.tile):
        raise UsageError("--scales is for images that crops are taken from, not for tiles, audio or fields")
    device = options.chosen_device()
    on_gpu = device.startswith("cuda") and recipe.kind == "image" and not recipe.tile and recipe.network.channels == 3
    recipe = replace(recipe, scales=options.scales or recipe.scales)
    config = recipe.training(options.minutes, options.seed)
    config = replace(config, rate_power=options.rate_power or config.rate_power)
    begin = None if learned is None else learned.model
    config = config if learned is None else config.fine_tuning()
    trainer: Trainer[Any, HierarchicalPrior]
    if on_gpu:
        recipe, config = replace(recipe, scales=recipe.scales or SCALES), training_gpu.accelerated(config)
        source = read_training_data(recipe.wanted, options.data, variable=options.variable)
        assert isinstance(source.training, ImageSource)
        trainer = training_gpu.FlatTrainer(config, source.training.images, recipe.scales or SCALES, device, begin)
    else:
        source = read_training_data(recipe.wanted, options.data, variable=options.variable)
        trainer = HierarchicalTrainer(config, source.training, device, begin, shared)
    return TrainingJob(
        codec="hierarchical",
        recipe=recipe_name,
        kind=recipe.kind,
        trainer=trainer,
        data=source.summary,
        settings={
            **config.summary(),
            "start_from": None if learned is None else learned.id.hex(),
            "processes": shared.count,
            "scales": recipe.scales,
        },
        describe_entry=rate_and_db,
        evaluate=lambda prior: evaluate_hierarchical(prior, source.held_out, count=EVALUATED_CROPS),
    )


def measure_prior(prior: HierarchicalPrior, recipe: str | None, folder: Path) -> list[RateResult]:
    """Measure a prior on the signals of a folder, at six rates; see ``Family.measure_prior``."""
    wanted = look_up(HIERARCHY_RECIPES, recipe or prior.recipe(), "recipe").wanted
    return evaluate_hierarchical(prior, read_training_data(wanted, [folder]).training)
