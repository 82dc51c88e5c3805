"""What ``priors train`` trains: for every codec its trainer, data, settings and measure, made from the options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from inrcodec.errors import UsageError
from inrcodec.parallel.base import Workers

if TYPE_CHECKING:
    from inrcodec.parallel.all_reduce import Peers

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
    from inrcodec.codecs import prior_store

    found = prior_store.find(name)
    if not isinstance(found, kind):
        raise UsageError(f"prior {name!r} is not {words}")
    return found


def combiner_job(
    data: Sequence[Path],
    recipe: str,
    name: str,
    tile: int | None,
    variable: str | None,
    changes: dict[str, Any],
    minutes: float,
    patches: int | None,
    seed: int,
    device: str,
    workers: Workers | None = None,
) -> Job:
    """Learning a prior of the combiner codec; ``changes`` to the recipe's network. ``workers`` fit the posteriors."""
    from inrcodec.codecs.combiner.effort import COMBINER_EFFORTS
    from inrcodec.codecs.combiner.recipes import adapted_combiner_recipe, combiner_recipe_named
    from inrcodec.codecs.combiner.training import CombinerTrainer, evaluate_combiner
    from inrcodec.codecs.combiner.training_state import TrainingConfig, config_summary
    from inrcodec.training.folders import read_training_data

    chosen = adapted_combiner_recipe(combiner_recipe_named(recipe), name=name, tile=tile)
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
        CombinerTrainer(config, source.training, device, workers),
        source,
        config_summary(config),
        reading,
        lambda prior: evaluate_combiner(prior, source.held_out, COMBINER_EFFORTS["default"]),
    )


def hierarchical_job(
    data: Sequence[Path],
    recipe: str,
    name: str,
    tile: int | None,
    variable: str | None,
    start_from: str | None,
    minutes: float,
    rate_power: float | None,
    scales: tuple[float, float] | None,
    seed: int,
    device: str,
    peers: Peers | None = None,
) -> Job:
    """Training a hierarchical model, from ``start_from`` on where it is given, in its network where the recipe's cannot
    grow from it; together with ``peers``."""
    from inrcodec.codecs.hierarchical.growth import network_to_go_on_in
    from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
    from inrcodec.codecs.hierarchical.recipes import adapted_hierarchical_recipe, hierarchical_recipe_named
    from inrcodec.codecs.hierarchical.training import HierarchicalTrainer, evaluate_hierarchical
    from inrcodec.training.folders import read_training_data

    chosen = adapted_hierarchical_recipe(hierarchical_recipe_named(recipe), name=name, tile=tile)
    begin = None
    if start_from:
        earlier = _earlier(start_from, HierarchicalPrior, "of the hierarchical codec")
        chosen, begin = replace(chosen, network=network_to_go_on_in(earlier.config, chosen.network)), earlier.model
    if scales and (chosen.kind != "image" or chosen.tile):
        raise UsageError("--scales is for photographs that crops are taken from")
    chosen = replace(chosen, scales=scales) if scales else chosen
    source = read_training_data(chosen.wanted, data, variable=variable)
    config = chosen.training(minutes, seed)
    config = replace(config, rate_power=rate_power) if rate_power else config
    config = config.going_on() if begin is not None else config
    return Job(
        HierarchicalTrainer(config, source.training, device, begin, peers),
        source,
        {
            **config.summary(),
            "start_from": earlier.id.hex() if start_from else None,
            "processes": peers.count if peers else 1,
            "scales": chosen.scales,
        },
        lambda entry: f"{entry['bits_per_point']:.3f} bits/point {entry['db']:.2f} dB",
        lambda prior: evaluate_hierarchical(prior, source.held_out),
    )


def train_beside(peers: Peers, checkpoint: Path | None, job_arguments: dict[str, Any]) -> None:
    """What the other processes of a hierarchical training do: the same, without a word or a file."""
    trainer = hierarchical_job(**job_arguments, peers=peers).trainer
    state = trainer.resume(checkpoint) if checkpoint is not None else trainer.start()
    trainer.run(state, until_seconds=float("inf"), checkpoint=None, progress=lambda *_: None)


def modulation_job(
    data: Sequence[Path],
    recipe: str,
    name: str,
    tile: int | None,
    variable: str | None,
    minutes: float,
    seed: int,
    device: str,
) -> Job:
    """Meta-learning a base network of codec coin++."""
    from inrcodec.codecs.coinpp.recipes import adapted_coinpp_recipe, coinpp_recipe_named
    from inrcodec.codecs.coinpp.training import CoinPPTrainer, evaluate_coinpp
    from inrcodec.training.folders import read_training_data

    chosen = adapted_coinpp_recipe(coinpp_recipe_named(recipe), name=name, tile=tile)
    source = read_training_data(chosen.wanted, data, variable=variable)
    config = chosen.training(minutes, seed)
    return Job(
        CoinPPTrainer(config, source.training, device),
        source,
        config.summary(),
        lambda entry: f"{entry['bits_per_point']:.3f} bits/point {entry['db']:.2f} dB",
        lambda prior: evaluate_coinpp(prior, source.held_out),
    )


def grids_job(data: Sequence[Path], name: str, minutes: float, scales: tuple[float, float] | None, seed: int) -> Job:
    """Learning a prior of codec grids."""
    from inrcodec.codecs.grids.config import GridsConfig
    from inrcodec.codecs.grids.training import GridsTrainer, GridsTraining, evaluate_grids
    from inrcodec.training.folders import DataSpec, read_training_data

    config = GridsTraining(GridsConfig(), name, minutes, seed=seed)
    scales = scales or (1.0, 1.6)
    source = read_training_data(DataSpec("image", (config.crop, config.crop), scales=scales), data)
    return Job(
        GridsTrainer(config, source.training),
        source,
        {**config.summary(), "scales": scales},
        lambda entry: f"{entry['bits_per_point']:.3f} bits/point {entry['db']:.2f} dB",
        lambda prior: evaluate_grids(prior, source.held_out),
    )


def bitsback_job(
    data: Sequence[Path],
    recipe: str,
    name: str,
    tile: int | None,
    latent_layers: int | None,
    start_from: str | None,
    minutes: float,
    seed: int,
    device: str,
) -> Job:
    """Training a lossless model; ``latent_layers``: that of the papers with so many; ``start_from``: a model of the
    same shape to go on from."""
    from inrcodec.codecs.bitswap.data import read_level_data
    from inrcodec.codecs.bitswap.prior import BitSwapPrior
    from inrcodec.codecs.bitswap.recipes import bitswap_recipe_named
    from inrcodec.codecs.bitswap.training import BitSwapTrainer, evaluate_bitswap

    chosen = bitswap_recipe_named(recipe)
    chosen = chosen.with_layers(latent_layers) if latent_layers else chosen
    source = read_level_data(
        data,
        chosen.network.channels,
        chosen.crop,
        tile=tile or chosen.tile,
        mirror=chosen.mirror,
        binary=chosen.network.levels == 2,
    )
    config, begin = replace(chosen.training(minutes, seed), name=name), None
    if start_from:
        earlier = _earlier(start_from, BitSwapPrior, "a lossless model")
        config, begin = config.going_on(), earlier.model
    return Job(
        BitSwapTrainer(config, source.training, device, begin),
        source,
        {**config.summary(), "start_from": earlier.id.hex() if start_from else None},
        lambda entry: f"{entry['bits_per_dimension']:.3f} bits/dimension",
        lambda prior: evaluate_bitswap(prior, source.held_out),
    )
