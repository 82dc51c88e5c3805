"""Training of priors from Python: ``train_prior`` does what ``inrcodec priors train`` does.

Example:
    Learn a prior of the default codec from a folder of images in an hour, then compress with it::

        from inrcodec.prior_training import train_prior

        train_prior("photos", "mine.safetensors", minutes=60, licence="CC BY 4.0")
        inrcodec.compress("photo.png", prior="mine.safetensors")

    A long training can be cut into pieces: the same call resumes it until it is finished::

        while not train_prior("photos", "mine.safetensors", resume="state", piece_minutes=10).finished:
            pass
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from inrcodec.codecs import prior_store
from inrcodec.codecs.base import Prior
from inrcodec.codecs.registry import family_named, family_of_prior, provided
from inrcodec.errors import UsageError
from inrcodec.storage import check_writable, write_whole
from inrcodec.training.card import UNKNOWN_LICENCE, card_page, last_component, make_card, plain_results
from inrcodec.training.checkpoint import HEAD
from inrcodec.training.job import TrainingOptions

PathLike = str | Path


@dataclass(frozen=True)
class TrainingProgress:
    """How far a training has got.

    Attributes:
        seconds: time spent, over all pieces of the training.
        total_seconds: allowed time.
        stage: name of the stage.
        text: figures of the last steps in words.
    """

    seconds: float
    total_seconds: float
    stage: str
    text: str


@dataclass(frozen=True)
class TrainingOutcome:
    """Where a call of ``train_prior`` has ended.

    Attributes:
        finished: whether the prior is written; otherwise the same call resumes the training.
        seconds: time spent, over all pieces of the training.
        output: file of the prior.
        id: id of the prior in hexadecimal; empty when the training is not finished.
        n_bytes: size of the prior's file; 0 when the training is not finished.
        card: what the prior's file says about the training, held-out results under "results".
    """

    finished: bool
    seconds: float
    output: Path
    id: str
    n_bytes: int
    card: dict[str, Any]


def train_prior(
    data: PathLike | Sequence[PathLike],
    output: PathLike,
    *,
    codec: str = "hierarchical",
    recipe: str | None = None,
    minutes: float = 60.0,
    licence: str = UNKNOWN_LICENCE,
    resume: PathLike | None = None,
    piece_minutes: float | None = None,
    force: bool = False,
    seed: int = 0,
    device: str | None = None,
    threads: int | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    tile: int | None = None,
    variable: str | None = None,
    start_from: PathLike | None = None,
    rate_power: float | None = None,
    scales: tuple[float, float] | None = None,
    latent_layers: int | None = None,
    reparameterisation: str | None = None,
    latent_dims: int | None = None,
    proposal: bool = True,
    patches: int | None = None,
    command: str | None = None,
    progress: Callable[[TrainingProgress], None] | None = None,
) -> TrainingOutcome:
    """Learn a prior from folders of signals and write it, with a card beside it.

    The prior goes to ``output``, its card to a Markdown file of the same name; the card is in the prior's file too.
    The learning rate follows elapsed over allowed time, so a training always ends annealed.

    Args:
        data: folders and files of training signals.
        output: file of the prior, NAME.safetensors.
        codec: codec that the prior is for: hierarchical, grids, combiner, coin++ or bitswap.
        recipe: name of the codec's recipe; None for its default.
        minutes: allowed time of the whole training.
        licence: licence of the training data, for the card.
        resume: folder of checkpoints; the training resumes from the one that is there.
        piece_minutes: stop after this time; the same call resumes. Needs ``resume``.
        force: replace files that exist.
        seed: of all random numbers.
        device: "cpu" or "cuda"; None for cuda where there is one and no workers are asked for.
        threads: threads of torch during the training; None for its own number.
        workers: processes that train together (hierarchical, combiner).
        scheduler: address of a Dask cluster that fits posteriors (combiner).
        tile: training images are mosaics of tiles of this size.
        variable: variable of NetCDF files.
        start_from: name or file of a prior to fine-tune (hierarchical, bitswap).
        rate_power: above 1, low rates are drawn more often (hierarchical).
        scales: resample training images by factors between these two (hierarchical, grids).
        latent_layers: number of latent layers of the published lossless model (bitswap).
        reparameterisation: none, layer or joint (combiner).
        latent_dims: length of a patch's latent vector (combiner).
        proposal: whether a proposal network is learned (combiner).
        patches: training patches of the iterative stage (combiner).
        command: what the card gives as command; None for this call.
        progress: called about every ten seconds.

    Returns:
        Where the call has ended.

    Raises:
        UsageError: options that contradict each other or that the codec does not have.
        DataError: there are no training signals, or ``output`` cannot be written.
        FormatError: the checkpoint cannot be used.
    """
    output = Path(output)
    card_path = output.with_suffix(".md")
    if output.suffix == ".md":
        raise UsageError(f"{output}: the card goes to NAME.md, so the prior needs another name: use NAME.safetensors")
    if piece_minutes is not None and resume is None:
        raise UsageError("--piece-minutes needs a checkpoint folder: --resume FOLDER")
    for path in (output, card_path):
        check_writable(path, force=force)
    checkpoint = None if resume is None else Path(resume)
    folders = (data,) if isinstance(data, str | Path) else tuple(data)
    options = TrainingOptions(
        data=tuple(map(Path, folders)),
        name=output.stem,
        codec=codec,
        recipe=recipe,
        minutes=minutes,
        seed=seed,
        device=device,
        threads=threads,
        resume_from=checkpoint if checkpoint is not None and (checkpoint / HEAD).exists() else None,
        tile=tile,
        variable=variable,
        start_from=None if start_from is None else prior_store.path_of(start_from),
        rate_power=rate_power,
        scales=scales,
        latent_layers=latent_layers,
        reparameterisation=reparameterisation,
        latent_dims=latent_dims,
        proposal=proposal,
        patches=patches,
        workers=workers,
        scheduler=scheduler,
    )
    family = family_named(codec)
    make_job = provided(family, family.training, "nothing to train")
    with _threads(threads), make_job(options) as job:
        trainer = job.trainer
        state = trainer.start() if options.resume_from is None else trainer.resume(options.resume_from)

        def show(state: Any, stage: str) -> None:
            if progress is not None:
                progress(TrainingProgress(state.seconds, 60.0 * minutes, stage, job.describe_entry(state.log[-1])))

        limit = float("inf") if piece_minutes is None else 60.0 * piece_minutes
        trainer.run(state, until_seconds=limit, checkpoint=checkpoint, progress=show)
        if not trainer.is_over(state):
            return TrainingOutcome(False, state.seconds, output, "", 0, {})
        command = _call(options, output) if command is None else command
        card = make_card(job, state, name=options.name, data=options.data, command=command, licence=licence)
        prior = trainer.finish(state, card)
        prior = prior.with_card({**card, "results": plain_results(job.evaluate(prior))})
    content, card, prior_id = prior.to_bytes(), prior.card, prior.id.hex()
    page = card_page(card, name=prior.name, codec=codec, kind=prior.kind, prior_id=prior_id, n_bytes=len(content))
    write_whole(output, content, force=force)
    write_whole(card_path, page.encode(), force=force)
    return TrainingOutcome(True, state.seconds, output, prior_id, len(content), card)


def measure_prior(prior: Prior, folder: PathLike, recipe: str | None = None) -> list[dict[str, float]]:
    """Measure a prior on the signals of a folder.

    Args:
        prior: a prior, as ``prior_store.find`` gives it.
        folder: folder or file of signals.
        recipe: how the signals are read; None for the recipe that the prior was made from.

    Returns:
        One record of rounded numbers per operating point.

    Raises:
        UsageError: there is no such recipe. DataError: there are no signals.
    """
    family = family_of_prior(prior)
    measure = provided(family, family.measure_prior, "no measure of its priors")
    return plain_results(measure(prior, recipe, Path(folder)))


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Give torch this many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _call(options: TrainingOptions, output: Path) -> str:
    """Return the call of ``train_prior`` as text, without the folders of paths."""
    names = [last_component(path) for path in options.data]
    arguments = [repr(names[0] if len(names) == 1 else names), repr(output.name)]
    for option in fields(options):
        value = getattr(options, option.name)
        if option.name not in ("data", "name", "resume_from") and value != option.default:
            arguments.append(f"{option.name}={value.name if isinstance(value, Path) else value!r}")
    return f"train_prior({', '.join(arguments)})"
