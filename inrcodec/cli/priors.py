"""``priors list``, ``priors train`` and ``priors verify``."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from inrcodec.cli import training_jobs
from inrcodec.cli.common import worker_options
from inrcodec.cli.training_jobs import Job
from inrcodec.errors import UsageError
from inrcodec.parallel.base import keep_memory

_JSON = click.option("--json", "as_json", is_flag=True, help="JSON, one object per prior.")


@click.group()
def priors() -> None:
    """List, train and check priors: what sender and receiver know in advance."""


@priors.command("list")
@_JSON
def list_priors(as_json: bool) -> None:
    """List the priors that are found.

    \b
    Example:
      inrcodec priors list
    """
    from inrcodec.codecs import prior_store
    from inrcodec.codecs.registry import family_of_prior, provided

    for name, path in prior_store.prior_files().items():
        prior = prior_store.load(path)
        family = family_of_prior(prior)
        described = provided(family, family.describe_prior, "no priors to describe")(prior)
        about = described.pop("about")
        report: dict[str, Any] = {
            "name": name,
            "codec": family.names[0],
            "id": prior.id.hex(),
            "kind": prior.kind,
            "bytes": path.stat().st_size,
            "file": str(path),
            "channels": prior.channels,
            **described,
        }
        if as_json:
            click.echo(json.dumps(report))
        else:
            click.echo(
                f"{name:22} {prior.id.hex()}  {report['codec']}, {prior.kind}, {about}, {report['bytes']:,} bytes"
            )


@priors.command()
@click.argument("data", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--recipe",
    help="photographs (default), images32, speech16k or fields; with --codec hierarchical also globe; with --codec "
    "bitswap colour (default), gray, digits or binary.",
)
@click.option(
    "--codec",
    default="hierarchical",
    show_default=True,
    help="Codec the prior is for: hierarchical, grids, combiner, coin++, bitswap.",
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Prior file, NAME.safetensors.")
@click.option("--minutes", type=float, default=60.0, show_default=True, help="Length of the whole training.")
@click.option(
    "--resume", "checkpoint", type=click.Path(path_type=Path), help="Checkpoint folder: gone on with if it is there."
)
@click.option("--piece-minutes", type=float, help="Stop after this long; the same command goes on from the checkpoint.")
@click.option("--tile", type=int, help="Training images are mosaics of tiles of this size.")
@click.option("--variable", help="Variable of NetCDF files.")
@click.option("--reparameterisation", help="none (COMBINER as published), layer or joint.")
@click.option("--latent-dims", type=int, help="Length of a patch's latent vector (joint).")
@click.option("--no-proposal", is_flag=True, help="Start every fit at the prior: the published iterative scheme alone.")
@click.option("--patches", type=int, help="Training patches of the iterative stage.")
@click.option(
    "--start-from",
    help="Go on from this prior (hierarchical or bitswap; a name or a file); the former grows where it is smaller.",
)
@click.option(
    "--rate-power", type=float, help="Above 1, low rates are drawn more often (hierarchical); default: the recipe's."
)
@click.option(
    "--scales",
    type=click.FloatRange(0.05, 20.0),
    nargs=2,
    metavar="LOW HIGH",
    help="Resample photographs by factors between these, three crops of four; default: full and half resolution, with "
    "--codec grids 1 to 1.6.",
)
@click.option(
    "--latent-layers", type=int, help="The lossless model of the papers, with so many layers of latents (bitswap)."
)
@click.option("--threads", type=int, help="Threads of torch (default: its own).")
@worker_options
@click.option("--device", help="cpu or cuda; by default cuda when there is one, cpu with workers.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("-f", "--force", is_flag=True, help="Replace the output.")
@click.option("-q", "--quiet", is_flag=True)
def train(
    data: tuple[Path, ...],
    recipe: str | None,
    codec: str,
    output: Path,
    minutes: float,
    checkpoint: Path | None,
    piece_minutes: float | None,
    tile: int | None,
    variable: str | None,
    reparameterisation: str | None,
    latent_dims: int | None,
    no_proposal: bool,
    patches: int | None,
    start_from: str | None,
    rate_power: float | None,
    scales: tuple[float, float] | None,
    latent_layers: int | None,
    threads: int | None,
    workers: int | None,
    scheduler: str | None,
    device: str | None,
    seed: int,
    force: bool,
    quiet: bool,
) -> None:
    """Learn a prior from folders of signals; it stops, goes on and ends on time.

    With --workers the hierarchical codec learns from a batch in each process at every step; the posteriors of the
    combiner codec's training patches are fitted in parts, by processes or, with --scheduler, on a cluster.

    \b
    Examples:
      inrcodec priors train pictures/ -o mine.safetensors --minutes 60 --workers 2
      inrcodec priors train pictures/ --start-from photographs -o mine.safetensors --minutes 20
      inrcodec priors train pictures/ --codec bitswap -o exact.safetensors --minutes 90
      inrcodec priors train speech/ --recipe speech16k -o speech.safetensors --resume ckpt --piece-minutes 10
    """
    import torch

    from inrcodec.storage import check_writable

    if piece_minutes is not None and checkpoint is None:
        raise UsageError("--piece-minutes needs a checkpoint folder: --resume FOLDER")
    check_writable(output, force=force)
    keep_memory()
    if threads:
        torch.set_num_threads(threads)
    spread = _workers_for(codec, workers, scheduler)
    together = (workers or 1) if codec == "hierarchical" else 1
    resumes = checkpoint is not None and (checkpoint / "state.json").exists()
    chosen = device or ("cuda" if torch.cuda.is_available() and workers is None and scheduler is None else "cpu")
    if latent_layers is not None and codec != "bitswap":
        raise UsageError("--latent-layers is for --codec bitswap")
    if scales is not None and (codec not in ("hierarchical", "grids") or scales[0] >= scales[1]):
        raise UsageError("--scales is for --codec hierarchical and grids, the lower factor first")
    recipe = recipe or ("colour" if codec == "bitswap" else "photographs")
    if codec == "combiner":
        if start_from or rate_power:
            raise UsageError("--start-from and --rate-power are not for --codec combiner")
        changes: dict[str, Any] = {} if not no_proposal else {"proposal_hidden": 0}
        if reparameterisation:
            changes["reparameterisation"] = reparameterisation
        if latent_dims:
            changes["latent_dims"] = latent_dims
        job = training_jobs.combiner_job(
            data, recipe, output.stem, tile, variable, changes, minutes, patches, seed, chosen, spread
        )
    elif codec == "hierarchical":
        if reparameterisation or latent_dims or no_proposal or patches:
            raise UsageError(
                "--reparameterisation, --latent-dims, --no-proposal and --patches are for --codec combiner"
            )
        if together > 1 and chosen != "cpu":
            raise UsageError("--workers are processes on the CPU")
        if together > 1 and threads:
            raise UsageError("--workers have one thread each: leave --threads out")
        arguments: dict[str, Any] = {
            "data": data,
            "recipe": recipe,
            "name": output.stem,
            "tile": tile,
            "variable": variable,
            "start_from": start_from,
            "minutes": minutes,
            "rate_power": rate_power,
            "scales": scales,
            "seed": seed,
            "device": chosen,
        }
        from inrcodec.parallel.all_reduce import peers

        others = peers(together, training_jobs.train_beside, checkpoint if resumes else None, arguments)
        job = training_jobs.hierarchical_job(**arguments, peers=click.get_current_context().with_resource(others))
    elif codec == "coin++":
        if reparameterisation or latent_dims or no_proposal or patches or start_from or rate_power:
            raise UsageError("--codec coin++ takes none of the options that name another codec")
        job = training_jobs.modulation_job(data, recipe, output.stem, tile, variable, minutes, seed, chosen)
    elif codec == "bitswap":
        if reparameterisation or latent_dims or no_proposal or patches or rate_power or variable:
            raise UsageError("--codec bitswap takes none of the options that name another codec")
        job = training_jobs.bitsback_job(
            data, recipe, output.stem, tile, latent_layers, start_from, minutes, seed, chosen
        )
    elif codec == "grids":
        if reparameterisation or latent_dims or no_proposal or patches or rate_power or variable or start_from or tile:
            raise UsageError("--codec grids takes none of the options that name another codec, and no mosaics")
        if recipe != "photographs" or device not in (None, "cpu"):
            raise UsageError("--codec grids learns from photographs, on the CPU")
        job = training_jobs.grids_job(data, output.stem, minutes, scales, seed)
    else:
        raise UsageError(f"codec must be hierarchical, grids, combiner, coin++ or bitswap, got {codec!r}")
    state = job.trainer.resume(checkpoint) if resumes and checkpoint is not None else job.trainer.start()
    limit = float("inf") if piece_minutes is None else piece_minutes * 60.0
    with _training_bar(minutes * 60.0, state.seconds, quiet, job.reading) as show:
        job.trainer.run(state, until_seconds=limit, checkpoint=checkpoint, progress=show)
    if state.seconds < minutes * 60.0:
        click.echo(f"{state.seconds / 60:.1f} of {minutes:g} minutes done; the same command goes on", err=True)
        return
    _finish(job, state, output, force, quiet)


def _workers_for(codec: str, workers: int | None, scheduler: str | None) -> Any:
    """Workers that end with the command, None where they are not asked for."""
    if workers is None and scheduler is None:
        return None
    if codec == "hierarchical" and scheduler is None:
        return None  # these workers are peers
    if codec != "combiner":
        raise UsageError("--workers is for --codec hierarchical and combiner, --scheduler for combiner")
    from inrcodec.parallel.local import open_workers

    return click.get_current_context().with_resource(open_workers(workers, scheduler))


class _training_bar:  # noqa: N801
    """A bar of training seconds with what the last log entry says."""

    def __init__(self, total: float, done: float, quiet: bool, reading: Callable[[dict[str, float]], str]) -> None:
        import sys

        from tqdm import tqdm

        form = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining} {postfix}"
        self.bar = tqdm(total=total, initial=min(done, total), disable=quiet, bar_format=form, file=sys.stderr)
        self.reading = reading

    def __enter__(self) -> Any:
        return self.show

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def show(self, state: Any, stage: str) -> None:
        """Called by the trainer after every stretch of steps."""
        self.bar.set_description(stage, refresh=False)
        self.bar.set_postfix_str(self.reading(state.log[-1]), refresh=False)
        self.bar.update(max(0.0, min(state.seconds, self.bar.total) - self.bar.n))


def _finish(job: Job, state: Any, output: Path, force: bool, quiet: bool) -> None:
    from inrcodec.storage import write_whole

    card = {
        "data": job.source.summary,
        "training": job.settings,
        "seconds": round(state.seconds),
        "steps": state.steps,
        "device": str(job.trainer.device),
    }
    prior = job.trainer.finish(state, card)
    data = prior.to_bytes()
    write_whole(output, data, force=force)
    if not quiet:
        click.echo(f"{output}: prior {prior.id.hex()}, {len(data):,} bytes; held-out patches:", err=True)
        for result in job.evaluate(prior):
            click.echo(json.dumps({key: round(value, 6) for key, value in asdict(result).items()}))


@priors.command("verify")
@click.argument("names", nargs=-1)
@click.option("--data", type=click.Path(exists=True, path_type=Path), help="Folder of signals to measure the prior on.")
@click.option("--recipe", help="How to read the data; by default by the prior's name.")
@_JSON
def verify_prior(names: tuple[str, ...], data: Path | None, recipe: str | None, as_json: bool) -> None:
    """Check priors (all that are found by default): whole, consistent, finite; with --data measure ideal samples.

    \b
    Examples:
      inrcodec priors verify
      inrcodec priors verify speech16k --data recordings/
    """
    from inrcodec.codecs import prior_store

    if data is not None and len(names) != 1:
        raise UsageError("--data goes with the name of one prior")
    for name in names or tuple(prior_store.prior_files()):
        prior = prior_store.find(name)
        report: dict[str, Any] = {"name": prior.name, "id": prior.id.hex(), "ok": True}
        if data is not None:
            results = _measure(prior, recipe or prior.name, data)
            report["anchors"] = [{key: round(v, 6) for key, v in asdict(r).items()} for r in results]
        if as_json:
            click.echo(json.dumps(report))
        else:
            click.echo(f"{prior.name}: {prior.id.hex()} is whole")
            for result in report.get("anchors", []):
                click.echo("  " + ", ".join(f"{key} {value}" for key, value in result.items()))


def _measure(prior: Any, recipe: str, data: Path) -> Sequence[Any]:
    """What a prior reaches on signals of a folder."""
    from inrcodec.codecs.bitswap.data import read_level_data
    from inrcodec.codecs.bitswap.prior import BitSwapPrior
    from inrcodec.codecs.bitswap.recipes import bitswap_recipe_named
    from inrcodec.codecs.bitswap.training import evaluate_bitswap
    from inrcodec.codecs.coinpp.prior import CoinPPPrior
    from inrcodec.codecs.coinpp.recipes import coinpp_recipe_named
    from inrcodec.codecs.coinpp.training import evaluate_coinpp
    from inrcodec.codecs.combiner.effort import COMBINER_EFFORTS
    from inrcodec.codecs.combiner.prior import CombinerPrior
    from inrcodec.codecs.combiner.recipes import combiner_recipe_named
    from inrcodec.codecs.combiner.training import evaluate_combiner
    from inrcodec.codecs.grids.prior import GridsPrior
    from inrcodec.codecs.grids.training import evaluate_grids
    from inrcodec.codecs.hierarchical.recipes import hierarchical_recipe_named
    from inrcodec.codecs.hierarchical.training import evaluate_hierarchical
    from inrcodec.training.folders import DataSpec, read_training_data

    if isinstance(prior, CombinerPrior):
        source = read_training_data(combiner_recipe_named(recipe).wanted, [data])
        return evaluate_combiner(prior, source.training, COMBINER_EFFORTS["default"])
    if isinstance(prior, CoinPPPrior):
        wanted = coinpp_recipe_named(recipe.removeprefix("coinpp-")).wanted
        return evaluate_coinpp(prior, read_training_data(wanted, [data]).training)
    if isinstance(prior, GridsPrior):
        crops = DataSpec("image", (192, 192), scales=(1.0, 1.6))
        return evaluate_grids(prior, read_training_data(crops, [data]).training)
    if isinstance(prior, BitSwapPrior):
        exact = bitswap_recipe_named(recipe.removeprefix("bitswap-").split("-")[0])
        binary = prior.config.levels == 2
        pictures = read_level_data([data], prior.channels, exact.crop, tile=exact.tile, mirror=False, binary=binary)
        return evaluate_bitswap(prior, pictures.training)
    return evaluate_hierarchical(prior, read_training_data(hierarchical_recipe_named(recipe).wanted, [data]).training)
