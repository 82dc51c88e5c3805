"""Setting up a training of a lossless model, and measuring one on files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from inrcodec.codecs.bitswap.data import read_level_data
from inrcodec.codecs.bitswap.evaluation import BitSwapResult, evaluate_bitswap
from inrcodec.codecs.bitswap.prior import BitSwapPrior
from inrcodec.codecs.bitswap.recipes import RECIPES
from inrcodec.codecs.bitswap.training import BitSwapTrainer
from inrcodec.codecs.prior_file import read_prior_to_fine_tune
from inrcodec.errors import look_up
from inrcodec.training.job import TrainingJob, TrainingOptions, reject_options

DEFAULT_RECIPE = "colour"


def make_job(options: TrainingOptions) -> TrainingJob:
    """Return a training of a lossless model.

    Raises:
        UsageError: an option does not apply.
    """
    reject_options(options, "tile", "latent_layers", "start_from")
    recipe_name = options.recipe or DEFAULT_RECIPE
    recipe = look_up(RECIPES, recipe_name, "recipe of codec bitswap")
    recipe = recipe.with_layers(options.latent_layers) if options.latent_layers is not None else recipe
    network = recipe.network
    source = read_level_data(
        options.data,
        network.channels,
        recipe.crop,
        tile=options.tile or recipe.tile,
        mirror=recipe.mirror,
        binary=network.levels == 2,
    )
    config = replace(recipe.training(options.minutes, options.seed), name=options.name)
    learned = None
    if options.start_from is not None:
        learned = read_prior_to_fine_tune(options.start_from, BitSwapPrior, "bitswap")
        config = config.fine_tuning()
    begin = None if learned is None else learned.model
    return TrainingJob(
        codec="bitswap",
        recipe=recipe_name,
        kind="image",
        trainer=BitSwapTrainer(config, source.training, options.chosen_device(), begin),
        data=source.summary,
        settings={**config.summary(), "start_from": None if learned is None else learned.id.hex()},
        describe_entry=lambda entry: f"{entry['bits_per_dimension']:.3f} bits/dimension",
        evaluate=lambda prior: evaluate_bitswap(prior, source.held_out),
    )


def measure_prior(prior: BitSwapPrior, recipe: str | None, folder: Path) -> list[BitSwapResult]:
    """Measure a model on the images of a folder; see ``Family.measure_prior``."""
    name = recipe or prior.recipe()
    spec = look_up(RECIPES, name.removeprefix("bitswap-").split("-")[0], "recipe of codec bitswap")
    binary = prior.config.levels == 2
    images = read_level_data([folder], prior.channels, spec.crop, tile=spec.tile, mirror=False, binary=binary)
    return evaluate_bitswap(prior, images.training)
