"""``priors list``, ``priors train`` and ``priors verify``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from inrcodec.cli import common
from inrcodec.ground.errors import UsageError

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
    from inrcodec.models import prior_store

    for name, path in prior_store.prior_files().items():
        prior = prior_store.load(path)
        report = {
            "name": name, "id": prior.id.hex(), "kind": prior.kind, "bytes": path.stat().st_size, "file": str(path),
            "patch": list(prior.config.patch_shape), "channels": prior.config.channels,
            "bits_per_point": [round(float(b) / prior.config.n_points, 3) for b in prior.anchor_kl_bits],
        }  # fmt: skip
        if as_json:
            click.echo(json.dumps(report))
        else:
            rates = f"{report['bits_per_point'][0]} to {report['bits_per_point'][-1]} bits/point"  # type: ignore[index]
            patch = "x".join(map(str, prior.config.patch_shape))
            click.echo(
                f"{name:14} {prior.id.hex()}  {prior.kind}, patches of {patch}, {rates}, {report['bytes']:,} bytes"
            )


@priors.command()
@click.argument("data", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--recipe", default="photographs", show_default=True, help="images32, photographs, speech16k or fields.")
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
@click.option("--threads", type=int, help="Threads of torch (default: its own).")
@click.option("--device", help="cpu or cuda; by default cuda when there is one.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("-f", "--force", is_flag=True, help="Replace the output.")
@click.option("-q", "--quiet", is_flag=True)
def train(
    data: tuple[Path, ...], recipe: str, output: Path, minutes: float, checkpoint: Path | None,
    piece_minutes: float | None,
    tile: int | None, variable: str | None, reparameterisation: str | None, latent_dims: int | None, no_proposal: bool,
    patches: int | None, threads: int | None, device: str | None, seed: int, force: bool, quiet: bool,
) -> None:  # fmt: skip
    """Learn a prior from folders of signals; it stops, goes on and ends on time.

    \b
    Examples:
      inrcodec priors train pictures/ -o mine.safetensors --minutes 60
      inrcodec priors train speech/ --recipe speech16k -o speech.safetensors --resume ckpt --piece-minutes 10
    """
    import torch

    from inrcodec.encoders.prior_learning import PriorTrainer
    from inrcodec.encoders.training_presets import adapted, read_training_data, recipe_named
    from inrcodec.maths.atomic import check_writable

    if piece_minutes is not None and checkpoint is None:
        raise UsageError("--piece-minutes needs a checkpoint folder: --resume FOLDER")
    check_writable(output, force=force)
    common.keep_memory()
    if threads:
        torch.set_num_threads(threads)
    chosen = adapted(recipe_named(recipe), name=output.stem, tile=tile)
    source = read_training_data(chosen, data, variable=variable)
    changes: dict[str, Any] = {} if not no_proposal else {"proposal_hidden": 0}
    if reparameterisation:
        changes["reparameterisation"] = reparameterisation
    if latent_dims:
        changes["latent_dims"] = latent_dims
    config = _training_config(chosen, changes, minutes, patches, seed)
    trainer = PriorTrainer(config, source.training, device or ("cuda" if torch.cuda.is_available() else "cpu"))
    resumes = checkpoint is not None and (checkpoint / "state.json").exists()
    state = trainer.resume(checkpoint) if resumes and checkpoint is not None else trainer.start()
    limit = float("inf") if piece_minutes is None else piece_minutes * 60.0
    with _training_bar(minutes * 60.0, state, quiet) as show:
        trainer.run(state, until_seconds=limit, checkpoint=checkpoint, progress=show)
    if state.seconds < minutes * 60.0:
        click.echo(f"{state.seconds / 60:.1f} of {minutes:g} minutes done; the same command goes on", err=True)
        return
    _finish(trainer, state, source, output, force, quiet)


def _training_config(recipe: Any, changes: dict[str, Any], minutes: float, patches: int | None, seed: int) -> Any:
    from dataclasses import replace

    from inrcodec.encoders.training_state import TrainingConfig

    network = replace(recipe.network, **changes)
    config = TrainingConfig(network, recipe.name, recipe.kind, recipe.betas, minutes, recipe.n_classes, seed=seed)
    return replace(config, patches=patches) if patches else config


class _training_bar:  # noqa: N801
    """A bar of training seconds with the latest rate and dB of the middle anchor."""

    def __init__(self, total: float, state: Any, quiet: bool) -> None:
        import sys

        from tqdm import tqdm

        form = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining} {postfix}"
        self.bar = tqdm(total=total, initial=min(state.seconds, total), disable=quiet, bar_format=form, file=sys.stderr)

    def __enter__(self) -> Any:
        return self.show

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def show(self, state: Any, stage: str) -> None:
        """Called by the trainer after every stretch of steps."""
        entry, anchor = state.log[-1], len(state.prior_mean) // 2
        self.bar.set_description(stage, refresh=False)
        rate, quality = entry[f"bits_per_point_{anchor}"], entry[f"db_{anchor}"]
        self.bar.set_postfix_str(f"{rate:.3f} bits/point {quality:.2f} dB", refresh=False)
        self.bar.update(max(0.0, min(state.seconds, self.bar.total) - self.bar.n))


def _finish(trainer: Any, state: Any, source: Any, output: Path, force: bool, quiet: bool) -> None:
    from inrcodec.encoders.presets import EFFORTS
    from inrcodec.encoders.prior_evaluation import evaluate_prior
    from inrcodec.encoders.training_state import config_summary
    from inrcodec.maths.atomic import write_whole

    card = {
        "data": source.summary, "training": config_summary(trainer.config), "seconds": round(state.seconds),
        "steps": state.steps, "device": str(trainer.device),
    }  # fmt: skip
    prior = trainer.finish(state, card)
    write_whole(output, prior.to_bytes(), force=force)
    if not quiet:
        click.echo(f"{output}: prior {prior.id.hex()}, {output.stat().st_size:,} bytes; held-out patches:", err=True)
        for result in evaluate_prior(prior, source.held_out, EFFORTS["default"]):
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
    from inrcodec.encoders.presets import EFFORTS
    from inrcodec.encoders.prior_evaluation import evaluate_prior
    from inrcodec.encoders.training_presets import read_training_data, recipe_named
    from inrcodec.models import prior_store

    if data is not None and len(names) != 1:
        raise UsageError("--data goes with the name of one prior")
    for name in names or tuple(prior_store.prior_files()):
        prior = prior_store.find(name)
        report: dict[str, Any] = {"name": prior.name, "id": prior.id.hex(), "ok": True}
        if data is not None:
            source = read_training_data(recipe_named(recipe or prior.name), [data])
            results = evaluate_prior(prior, source.training, EFFORTS["default"])
            report["anchors"] = [{key: round(v, 6) for key, v in asdict(r).items()} for r in results]
        if as_json:
            click.echo(json.dumps(report))
        else:
            click.echo(f"{prior.name}: {prior.id.hex()} is whole")
            for result in report.get("anchors", []):
                click.echo("  " + ", ".join(f"{key} {value}" for key, value in result.items()))
