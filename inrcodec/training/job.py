"""What a codec's training is asked for and what it hands back: ``TrainingOptions`` in, ``TrainingJob`` out.

Every codec that learns has a function ``make_job`` in its ``training`` module, which turns one into the other. Options
that a codec does not have are rejected there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from inrcodec.errors import UsageError
from inrcodec.training.folders import DataSummary
from inrcodec.training.trainer import Trainer

MIN_SCALE, MAX_SCALE = 0.05, 20.0
"""Range of the factors by which training images can be resampled."""


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What a training can be asked for, whatever the codec; codecs reject options that they do not have.

    Attributes:
        data: folders and files of training signals.
        name: name of the prior.
        codec: codec that the prior is for.
        recipe: name of the recipe; None for the codec's default.
        minutes: allowed time of the whole training.
        seed: of all random numbers.
        device: "cpu" or "cuda"; None for cuda where there is one and no workers are asked for.
        threads: threads of torch; None for its own number.
        resume_from: folder of a checkpoint to resume from.
        tile: training images are mosaics of tiles of this size.
        variable: variable of NetCDF files.
        start_from: file of a prior to fine-tune.
        rate_power: above 1, low rates are drawn more often.
        scales: training images are resampled by factors between these two.
        latent_layers: number of latent layers of the published lossless models.
        reparameterisation: of the combiner's network.
        latent_dims: length of the latent vector of the combiner's patches.
        proposal: whether the combiner learns a proposal network.
        patches: training patches of the combiner's iterative stage.
        workers: processes that train together.
        scheduler: address of a Dask cluster whose workers train.

    Raises:
        UsageError: a value is out of range.
    """

    data: tuple[Path, ...]
    name: str
    codec: str = "hierarchical"
    recipe: str | None = None
    minutes: float = 60.0
    seed: int = 0
    device: str | None = None
    threads: int | None = None
    resume_from: Path | None = None
    tile: int | None = None
    variable: str | None = None
    start_from: Path | None = None
    rate_power: float | None = None
    scales: tuple[float, float] | None = None
    latent_layers: int | None = None
    reparameterisation: str | None = None
    latent_dims: int | None = None
    proposal: bool = True
    patches: int | None = None
    workers: int | None = None
    scheduler: str | None = None

    def __post_init__(self) -> None:
        if not self.data:
            raise UsageError("a training needs at least one folder or file of signals")
        if not self.minutes > 0.0:
            raise UsageError(f"minutes must be positive, got {self.minutes:g}")
        if self.scales is not None and not MIN_SCALE <= self.scales[0] < self.scales[1] <= MAX_SCALE:
            low, high = self.scales
            raise UsageError(
                f"scales must be two factors from {MIN_SCALE} to {MAX_SCALE:g}, the lower one first, got {low} {high}"
            )

    def chosen_device(self) -> str:
        """Return the device to train on."""
        if self.device is not None:
            return self.device
        alone = self.workers is None and self.scheduler is None
        return "cuda" if alone and torch.cuda.is_available() else "cpu"


_FOR_ALL = ("data", "name", "codec", "recipe", "minutes", "seed", "device", "threads", "resume_from")
"""Options that every codec has."""


def reject_options(options: TrainingOptions, *accepted: str) -> None:
    """Raise UsageError where options are given that a codec does not have.

    Args:
        options: what is asked for.
        accepted: names of the options that the codec has besides those that all have.
    """
    given = [
        ("--no-" if option.name == "proposal" else "--") + option.name.replace("_", "-")
        for option in fields(options)
        if option.name not in (*_FOR_ALL, *accepted) and getattr(options, option.name) != option.default
    ]
    if given:
        raise UsageError(f"codec {options.codec} does not take {', '.join(given)}: leave it out or use another codec")


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """A training that is ready to run; a context, since workers may belong to it.

    Attributes:
        codec: codec that the prior is for.
        recipe: name of the recipe.
        kind: kind of signal: "image", "audio" or "field".
        trainer: what runs.
        data: summary of the training data.
        settings: what steers the training, as plain values for the card.
        describe_entry: puts an entry of the log into words.
        evaluate: measures a prior on held-out data; one dataclass of numbers per operating point.
        resources: what ends with the job.
    """

    codec: str
    recipe: str
    kind: str
    trainer: Trainer[Any, Any]
    data: DataSummary
    settings: dict[str, Any]
    describe_entry: Callable[[dict[str, float]], str]
    evaluate: Callable[[Any], Sequence[Any]]
    resources: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> TrainingJob:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.resources.__exit__(kind, error, trace)


def rate_and_db(entry: dict[str, float]) -> str:
    """Return the rate and the quality of an entry of the log in words."""
    return f"{entry['bits_per_point']:.3f} bits/point {entry['db']:.2f} dB"
