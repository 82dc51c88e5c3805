"""``priors list``, ``priors show``, ``priors train`` and ``priors verify``."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inrcodec.cli.common import printable, worker_options
from inrcodec.errors import UsageError
from inrcodec.parallel.base import keep_memory

if TYPE_CHECKING:
    from inrcodec.prior_training import TrainingProgress

_JSON = click.option("--json", "as_json", is_flag=True, help="JSON, one object per prior.")


@click.group()
def priors() -> None:
    """List, show, train and check priors: what sender and receiver know in advance."""


@priors.command("list")
@_JSON
def list_priors(as_json: bool) -> None:
    """List the priors that can be used by name.

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
@click.argument("name")
@_JSON
def show(name: str, as_json: bool) -> None:
    """Show the card of a prior: what it was made from, how, and what it reaches.

    NAME is the name, the id or the file of a prior.

    \b
    Examples:
      inrcodec priors show photographs
      inrcodec priors show mine.safetensors --json
    """
    from inrcodec.codecs import prior_store
    from inrcodec.codecs.registry import codec_for
    from inrcodec.training.card import card_page

    path = prior_store.path_of(name)
    prior = prior_store.load(path)
    codec, size = codec_for(prior).name, path.stat().st_size
    page = path.with_suffix(".md")
    if page.is_file():
        text = page.read_text(encoding="utf-8", errors="replace")
    else:
        text = card_page(
            prior.card, name=prior.name, codec=codec, kind=prior.kind, prior_id=prior.id.hex(), n_bytes=size
        )
    if as_json:
        report = {"name": prior.name, "codec": codec, "kind": prior.kind, "id": prior.id.hex(), "bytes": size}
        click.echo(json.dumps({**report, "file": str(path), "card": prior.card, "page": text}))
    else:
        click.echo("\n".join(printable(line) for line in text.splitlines()))


@priors.command()
@click.argument("data", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--recipe",
    help="photographs (default), images32, speech16k or fields; with --codec hierarchical also photographs-large and "
    "globe; with --codec bitswap colour (default), gray, digits or binary.",
)
@click.option(
    "--codec",
    default="hierarchical",
    show_default=True,
    help="Codec the prior is for: hierarchical, grids, combiner, coin++, bitswap.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="Prior file, NAME.safetensors; its card goes to NAME.md.",
)
@click.option("--minutes", type=float, default=60.0, show_default=True, help="Length of the whole training.")
@click.option(
    "--licence",
    "--license",
    "licence",
    default="not stated",
    show_default=True,
    help="Licence of the training data, for the card.",
)
@click.option(
    "--resume", type=click.Path(path_type=Path), help="Checkpoint folder; resume from the checkpoint that is there."
)
@click.option("--piece-minutes", type=float, help="Stop after this long; the same command resumes the training.")
@click.option("--tile", type=int, help="Training images are mosaics of tiles of this size.")
@click.option("--variable", help="Variable of NetCDF files.")
@click.option("--reparameterisation", help="none (COMBINER as published), layer or joint.")
@click.option("--latent-dims", type=int, help="Length of a patch's latent vector (joint).")
@click.option("--no-proposal", is_flag=True, help="Start every fit at the prior: the published iterative scheme alone.")
@click.option("--patches", type=int, help="Training patches of the iterative stage.")
@click.option(
    "--start-from",
    help="Fine-tune this prior (hierarchical or bitswap; a name or a file); the former grows where it is smaller.",
)
@click.option(
    "--rate-power", type=float, help="Above 1, low rates are drawn more often (hierarchical); default: the recipe's."
)
@click.option(
    "--scales",
    type=float,
    nargs=2,
    metavar="LOW HIGH",
    help="Resample training images by factors between these, three crops of four; default: full and half resolution, "
    "with --codec grids 1 to 1.6, with cuda 0.5 to 2.",
)
@click.option("--latent-layers", type=int, help="The published lossless model with this many latent layers (bitswap).")
@click.option("--threads", type=int, help="Threads of torch (default: its own).")
@worker_options
@click.option("--device", help="cpu or cuda; by default cuda when there is one, cpu with workers.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all random numbers.")
@click.option("-f", "--force", is_flag=True, help="Replace the output.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress and no results.")
@click.pass_context
def train(context: click.Context, /, quiet: bool, data: tuple[Path, ...], no_proposal: bool, **options: Any) -> None:
    """Learn a prior from folders of signals, and write it with a card that says how it was made.

    Training stops after --minutes, with the learning rate at its end; with --resume it can be interrupted and resumed.
    With --workers the hierarchical codec learns from a batch in each process at every step; the posteriors of the
    combiner codec's training patches are fitted in parts, by processes or, with --scheduler, on a cluster. On a GPU
    the hierarchical codec trains on images held in its memory, with whole steps captured as a CUDA graph.

    \b
    Examples:
      inrcodec priors train photos/ -o mine.safetensors --minutes 60 --workers 2
      inrcodec priors train photos/ --start-from photographs -o mine.safetensors --minutes 20
      inrcodec priors train photos/ --codec bitswap -o exact.safetensors --minutes 90
      inrcodec priors train speech/ --recipe speech16k -o speech.safetensors --resume ckpt --piece-minutes 10
    """
    from inrcodec.prior_training import train_prior

    keep_memory()
    with _training_bar(quiet) as progress:
        outcome = train_prior(
            data, proposal=not no_proposal, command=_command_line(context), progress=progress, **options
        )
    if not outcome.finished:
        minutes = options["minutes"]
        click.echo(f"{outcome.seconds / 60:.1f} of {minutes:g} minutes done; the same command resumes", err=True)
    elif not quiet:
        where = "held-out data" if outcome.card["held_out_signals"] else "training data (nothing was held out)"
        click.echo(f"{outcome.output}: prior {outcome.id}, {outcome.n_bytes:,} bytes; {where}:", err=True)
        for result in outcome.card["results"]:
            click.echo(json.dumps(result))


def _command_line(context: click.Context) -> str:
    """Return the command for the card: what was given, paths by their last component, without -f and -q."""
    from inrcodec.training.card import last_component

    words: list[str] = []
    for parameter in context.command.params:
        assert parameter.name is not None
        given = context.get_parameter_source(parameter.name) is click.core.ParameterSource.COMMANDLINE
        if not given or parameter.name in ("force", "quiet"):
            continue
        value = context.params[parameter.name]
        if isinstance(parameter, click.Option):
            words.append(next(word for word in parameter.opts if word.startswith("--")))
            if parameter.is_flag:
                continue
        values = value if isinstance(value, tuple) else (value,)
        is_path = isinstance(parameter.type, click.Path) or parameter.name == "start_from"
        words += [last_component(Path(v)) if is_path else str(v) for v in values]
    return shlex.join(["inrcodec", "priors", "train", *words])


@contextlib.contextmanager
def _training_bar(quiet: bool) -> Iterator[Callable[[TrainingProgress], None]]:
    """Show a bar of training seconds with figures of the last steps."""
    from tqdm import tqdm

    form = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining} {postfix}"
    with tqdm(total=0.0, disable=quiet, bar_format=form, file=sys.stderr) as bar:

        def show(progress: TrainingProgress) -> None:
            bar.total = progress.total_seconds
            bar.set_description(progress.stage, refresh=False)
            bar.set_postfix_str(progress.text, refresh=False)
            bar.update(max(0.0, min(progress.seconds, bar.total) - bar.n))

        yield show


@priors.command("verify")
@click.argument("names", nargs=-1)
@click.option("--data", type=click.Path(exists=True, path_type=Path), help="Folder of signals to measure the prior on.")
@click.option("--recipe", help="How to read the data; by default the recipe that the prior was made from.")
@_JSON
def verify_prior(names: tuple[str, ...], data: Path | None, recipe: str | None, as_json: bool) -> None:
    """Check that priors, by default all that are found, are complete and valid; with --data, measure one.

    \b
    Examples:
      inrcodec priors verify
      inrcodec priors verify speech16k --data recordings/
    """
    from inrcodec.codecs import prior_store
    from inrcodec.prior_training import measure_prior

    if data is not None and len(names) != 1:
        raise UsageError("--data measures one prior: give one name")
    for name in names or tuple(prior_store.prior_files()):
        prior = prior_store.find(name)
        report: dict[str, Any] = {"name": prior.name, "id": prior.id.hex(), "ok": True}
        if data is not None:
            report["anchors"] = measure_prior(prior, data, recipe)
        if as_json:
            click.echo(json.dumps(report))
        else:
            click.echo(f"{prior.name}: {prior.id.hex()} is whole")
            for result in report.get("anchors", []):
                click.echo("  " + ", ".join(f"{key} {value}" for key, value in result.items()))
