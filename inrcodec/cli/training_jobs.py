"""What ``priors train`` trains: for every codec its trainer, data, settings and measure, made from the options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from inrcodec.ground.errors import UsageError
from inrcodec.ground.work import Workers

if TYPE_CHECKING:
    from inrcodec.encoders.data_parallel import Peers

Earlier = TypeVar("Earlier")

PARTS = 8
"""Batches whose posteriors are fitted at once where there are workers: a part of the training's outcome, so it does not
follow their number."""


@dataclass(frozen=True)
class Job:
    """A training: its trainer, data and settings for the card, how to read a log entry, how to measure the result."""

    trainer: Any
    source: Any
    settings: dict[str, Any]
    reading: Callable[[dict[str, float]], str]
    evaluate: Callable[[Any], Sequence[Any]]


def _earlier(name: str, kind: type[Earlier], words: str) -> Earlier:
    """A prior to go on from; UsageError when it is not of this kind."""
    from inrcodec.models import prior_store

    found = prior_store.find(name)
    if not isinstance(found, kind):
        raise UsageError(f"prior {name!r} is not {words}")
    return found


def combiner_job(
    data: Sequence[Path], recipe: str, name: str, tile: int | None, variable: str | None, changes: dict[str, Any],
    minutes: float, patches: int | None, seed: int, device: str, workers: Workers | None = None,
) -> Job:  # fmt: skip
    """Learning a prior of the combiner codec; ``changes`` to the recipe's network. ``workers`` fit the posteriors."""
    from inrcodec.encoders.presets import EFFORTS
    from inrcodec.encoders.prior_evaluation import evaluate_prior
    from inrcodec.encoders.prior_learning import PriorTrainer
    from inrcodec.encoders.training_presets import adapted, read_training_data, recipe_named
    from inrcodec.encoders.training_state import TrainingConfig, config_summary

    chosen = adapted(recipe_named(recipe), name=name, tile=tile)
    source = read_training_data(chosen.wanted, data, variable=variable)
    network = replace(chosen.network, **changes)
    config = TrainingConfig(network, chosen.name, chosen.kind, chosen.betas, minutes, chosen.n_classes, seed=seed)
    if patches:
        config = replace(config, patches=patches)
    if workers is not None:
        config = replace(config, parts=PARTS)
    middle = len(config.betas) // 2

    def reading(entry: dict[str, float]) -> str:
        return f"{entry[f'bits_per_point_{middle}']:.3f} bits/point {entry[f'db_{middle}']:.2f} dB"

    return Job(
        PriorTrainer(config, source.training, device, workers), source, config_summary(config), reading,
        lambda prior: evaluate_prior(prior, source.held_out, EFFORTS["default"]),
    )  # fmt: skip


def hierarchical_job(
    data: Sequence[Path], recipe: str, name: str, tile: int | None, variable: str | None, start_from: str | None,
    minutes: float, rate_power: float | None, scales: tuple[float, float] | None, seed: int, device: str,
    peers: Peers | None = None,
) -> Job:  # fmt: skip
    """Training a hierarchical model, from ``start_from`` on where it is given, in its network where the recipe's cannot
    grow from it; together with ``peers``."""
    from inrcodec.encoders.growth import network_to_go_on_in
    from inrcodec.encoders.hierarchy_evaluation import evaluate_hierarchy
    from inrcodec.encoders.hierarchy_recipes import adapted_hierarchy, hierarchy_recipe_named
    from inrcodec.encoders.hierarchy_training import HierarchyTrainer
    from inrcodec.encoders.training_presets import read_training_data
    from inrcodec.models.hierarchy_prior import HierarchyPrior

    chosen = adapted_hierarchy(hierarchy_recipe_named(recipe), name=name, tile=tile)
    begin = None
    if start_from:
        earlier = _earlier(start_from, HierarchyPrior, "of the hierarchical codec")
        chosen, begin = replace(chosen, network=network_to_go_on_in(earlier.config, chosen.network)), earlier.model
    if scales and (chosen.kind != "image" or chosen.tile):
        raise UsageError("--scales is for photographs that crops are taken from")
    chosen = replace(chosen, scales=scales) if scales else chosen
    source = read_training_data(chosen.wanted, data, variable=variable)
    config = chosen.training(minutes, seed)
    config = replace(config, rate_power=rate_power) if rate_power else config
    config = config.going_on() if begin is not None else config
    return Job(
        HierarchyTrainer(config, source.training, device, begin, peers), source,
        {
            **config.summary(), "start_from": earlier.id.hex() if start_from else None,
            "processes": peers.count if peers else 1, "scales": chosen.scales,
        },
        lambda entry: f"{entry['bits_per_point']:.3f} bits/point {entry['db']:.2f} dB",
        lambda prior: evaluate_hierarchy(prior, source.held_out),
    )  # fmt: skip


def train_beside(peers: Peers, checkpoint: Path | None, job_arguments: dict[str, Any]) -> None:
    """What the other processes of a hierarchical training do: the same, without a word or a file."""
    trainer = hierarchical_job(**job_arguments, peers=peers).trainer
    state = trainer.resume(checkpoint) if checkpoint is not None else trainer.start()
    trainer.run(state, until_seconds=float("inf"), checkpoint=None, progress=lambda *_: None)


def modulation_job(
    data: Sequence[Path], recipe: str, name: str, tile: int | None, variable: str | None, minutes: float, seed: int,
    device: str,
) -> Job:  # fmt: skip
    """Meta-learning a base network of codec coin++."""
    from inrcodec.encoders.modulation_evaluation import evaluate_modulation
    from inrcodec.encoders.modulation_recipes import adapted_modulation, modulation_recipe_named
    from inrcodec.encoders.modulation_training import ModulationTrainer
    from inrcodec.encoders.training_presets import read_training_data

    chosen = adapted_modulation(modulation_recipe_named(recipe), name=name, tile=tile)
    source = read_training_data(chosen.wanted, data, variable=variable)
    config = chosen.training(minutes, seed)
    return Job(
        ModulationTrainer(config, source.training, device), source, config.summary(),
        lambda entry: f"{entry['bits_per_point']:.3f} bits/point {entry['db']:.2f} dB",
        lambda prior: evaluate_modulation(prior, source.held_out),
    )  # fmt: skip


def grids_job(
    data: Sequence[Path], name: str, minutes: float, scales: tuple[float, float] | None, seed: int
) -> Job:  # fmt: skip
    """Learning a prior of codec grids."""
    from inrcodec.encoders.grid_evaluation import evaluate_grids
    from inrcodec.encoders.grid_training import GridTrainer, GridTraining
    from inrcodec.encoders.training_presets import Wanted, read_training_data
    from inrcodec.models.grid_shape import GridsConfig

    config = GridTraining(GridsConfig(), name, minutes, seed=seed)
    scales = scales or (1.0, 1.6)
    source = read_training_data(Wanted("image", (config.crop, config.crop), scales=scales), data)
    return Job(
        GridTrainer(config, source.training), source, {**config.summary(), "scales": scales},
        lambda entry: f"{entry['bits_per_point']:.3f} bits/point {entry['db']:.2f} dB",
        lambda prior: evaluate_grids(prior, source.held_out),
    )  # fmt: skip


def bitsback_job(
    data: Sequence[Path], recipe: str, name: str, tile: int | None, latent_layers: int | None, start_from: str | None,
    minutes: float, seed: int, device: str,
) -> Job:  # fmt: skip
    """Training a lossless model; ``latent_layers``: that of the papers with so many; ``start_from``: a model of the
    same shape to go on from."""
    from inrcodec.encoders.bitsback_data import read_level_data
    from inrcodec.encoders.bitsback_evaluation import evaluate_bitsback
    from inrcodec.encoders.bitsback_recipes import bitsback_recipe_named
    from inrcodec.encoders.bitsback_training import BitsBackTrainer
    from inrcodec.models.bitsback_prior import BitsBackPrior

    chosen = bitsback_recipe_named(recipe)
    chosen = chosen.with_layers(latent_layers) if latent_layers else chosen
    source = read_level_data(
        data, chosen.network.channels, chosen.crop, tile=tile or chosen.tile, mirror=chosen.mirror,
        binary=chosen.network.levels == 2,
    )  # fmt: skip
    config, begin = replace(chosen.training(minutes, seed), name=name), None
    if start_from:
        earlier = _earlier(start_from, BitsBackPrior, "a lossless model")
        config, begin = config.going_on(), earlier.model
    return Job(
        BitsBackTrainer(config, source.training, device, begin), source,
        {**config.summary(), "start_from": earlier.id.hex() if start_from else None},
        lambda entry: f"{entry['bits_per_dimension']:.3f} bits/dimension",
        lambda prior: evaluate_bitsback(prior, source.held_out),
    )  # fmt: skip
