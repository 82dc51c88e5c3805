"""``modulations export`` and ``modulations learn``, and ``priors sample``: modulations as a data set."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from inrcodec.cli import common
from inrcodec.cli.common import FORCE, QUIET
from inrcodec.errors import UsageError, look_up
from inrcodec.parallel.base import keep_memory


@click.group()
def modulations() -> None:
    """Modulations of codec coin++ as a data set."""


def _prior(name: str) -> Any:
    from inrcodec.codecs import prior_store
    from inrcodec.codecs.coinpp.prior import coinpp_prior

    return coinpp_prior(prior_store.find(name))


@modulations.command()
@click.argument("data", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--prior", required=True, metavar="NAME|ID|FILE", help="Prior of codec coin++.")
@click.option("--recipe", help="How to read the data; by default by the prior's name.")
@click.option("--tile", type=int, help="Images are mosaics of tiles of this size.")
@click.option("--count", type=click.IntRange(1, 1 << 20), default=4000, show_default=True, help="Number of patches.")
@click.option(
    "--inner-steps",
    type=click.IntRange(0, 1000),
    default=10,
    show_default=True,
    help="Steps of the inner loop; 0 uses the prior's predictor.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all random numbers.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="NAME.safetensors.")
@FORCE
@QUIET
def export(
    data: tuple[Path, ...],
    prior: str,
    recipe: str | None,
    tile: int | None,
    count: int,
    inner_steps: int,
    seed: int,
    output: Path,
    force: bool,
    quiet: bool,
) -> None:
    """Fit patches of DATA and write them with their modulations (safetensors: values, latents).

    \b
    Example:
      inrcodec modulations export cifar10/train_*.webp --prior coinpp-images32 -o modulations.safetensors
    """
    from inrcodec.codecs.coinpp.functa import export_modulations
    from inrcodec.codecs.coinpp.recipes import MODULATION_RECIPES, adapted_coinpp_recipe
    from inrcodec.storage import check_writable, write_whole
    from inrcodec.training.folders import read_training_data

    check_writable(output, force=force)
    keep_memory()
    known = _prior(prior)
    name = (recipe or known.name).removeprefix("coinpp-")
    chosen = adapted_coinpp_recipe(look_up(MODULATION_RECIPES, name, "recipe"), tile=tile)
    if chosen.network.patch_shape != known.config.patch_shape:
        raise UsageError(f"recipe {chosen.name} cuts patches of another shape than prior {known.name!r} has")
    source = read_training_data(chosen.wanted, data)
    with common.progress(quiet, output.name) as bar:
        bar.plan(count * inner_steps)
        made = export_modulations(
            known, source.training, source.summary.words, count, inner_steps, seed=seed, progress=bar.tick
        )
    write_whole(output, made.to_bytes(), force=force)
    if not quiet:
        click.echo(
            json.dumps(
                {
                    "output": str(output),
                    "patches": count,
                    "latent_dims": known.config.latent_dims,
                    "prior": known.id.hex(),
                    "bytes": output.stat().st_size,
                }
            )
        )


@modulations.command()
@click.argument("file", type=click.Path(exists=True, path_type=Path))
@click.option("--prior", required=True, metavar="NAME|ID|FILE", help="Prior that the modulations were made with.")
@click.option(
    "--minutes", type=float, default=6.0, show_default=True, help="Length of the training, all networks together."
)
@click.option("--only", type=click.Choice(["predictor", "flow"]), help="Train only one of the networks.")
@click.option("--threads", type=int, help="Threads of torch (default: its own).")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all random numbers.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Prior file, NAME.safetensors.")
@FORCE
@QUIET
def learn(
    file: Path,
    prior: str,
    minutes: float,
    only: str | None,
    threads: int | None,
    seed: int,
    output: Path,
    force: bool,
    quiet: bool,
) -> None:
    """Learn from modulations; writes the prior with what was learned in it, a new prior.

    Half of the time goes to a network that predicts modulations straight from a signal (effort fast then takes no inner
    steps), half to a normalising flow (``priors sample`` draws new signals from it). The report compares its bits with
    those of histograms and of the tables that files use.

    \b
    Example:
      inrcodec modulations learn modulations.safetensors --prior coinpp-images32 -o mine.safetensors
    """
    import torch

    from inrcodec.codecs.coinpp.functa import Modulations, learn_flow, learn_predictor
    from inrcodec.storage import check_writable, write_whole

    if minutes <= 0:
        raise UsageError("minutes must be positive")
    check_writable(output, force=force)
    if threads:
        torch.set_num_threads(threads)
    made, data = _prior(prior), Modulations.from_file(file)
    reports: list[dict[str, Any]] = []
    if only != "flow":
        with _bar("predictor", quiet) as show:
            made, prediction = learn_predictor(made, data, minutes if only else 0.5 * minutes, seed=seed, progress=show)
        reports.append(asdict(prediction))
    if only != "predictor":
        with _bar("flow", quiet) as show:
            made, compared = learn_flow(made, data, minutes if only else 0.5 * minutes, seed=seed, progress=show)
        reports += map(asdict, compared)
    written = made.to_bytes()
    write_whole(output, written, force=force)
    if quiet:
        return
    for report in [{"output": str(output), "prior": made.id.hex(), "bytes": len(written)}, *reports]:
        click.echo(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in report.items()}))


@contextlib.contextmanager
def _bar(label: str, quiet: bool) -> Iterator[Callable[[float, float], None]]:
    """A bar that is told the share done and the loss."""
    import sys

    from tqdm import tqdm

    form = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining} {postfix}"
    with tqdm(total=100, disable=quiet, bar_format=form, desc=label, file=sys.stderr) as bar:

        def show(done: float, loss: float) -> None:
            bar.set_postfix_str(f"{loss:.3f}", refresh=False)
            bar.update(100 * done - bar.n)

        yield show


@click.command()
@click.argument("name")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Output: an image, audio or .npy file."
)
@click.option("--count", type=click.IntRange(1, 4096), default=16, show_default=True, help="Number of patches to draw.")
@click.option(
    "--temperature",
    type=click.FloatRange(0.0, 4.0),
    default=0.8,
    show_default=True,
    help="Below 1, samples are closer to the typical.",
)
@click.option(
    "--scale", type=click.IntRange(1, 16), default=1, show_default=True, help="Decode on a grid this much finer."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all random numbers.")
@FORCE
def sample(name: str, output: Path, count: int, temperature: float, scale: int, seed: int, force: bool) -> None:
    """Draw new signals from prior NAME of codec coin++: patches side by side, for audio one after the other.

    \b
    Examples:
      inrcodec priors sample coinpp-images32 -o new.png --count 64
      inrcodec priors sample coinpp-images32 -o large.png --count 4 --scale 8
    """
    from inrcodec.codecs.coinpp.functa import sample_signal
    from inrcodec.signals.files import write_signal
    from inrcodec.storage import check_writable

    check_writable(output, force=force)
    write_signal(sample_signal(_prior(name), count, temperature, scale, seed), output, force=force)
