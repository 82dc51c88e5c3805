"""``sweep``: rate-distortion curves in one command."""

from __future__ import annotations

from pathlib import Path

import click

from inrcodec.cli import places
from inrcodec.cli.common import worker_options
from inrcodec.errors import UsageError
from inrcodec.parallel.base import keep_memory


def _list(text: str | None) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()] if text else []


def _numbers(text: str | None, name: str) -> list[float]:
    try:
        return [float(part) for part in _list(text)]
    except ValueError:
        raise UsageError(f"{name} must be numbers separated by commas, got {text!r}") from None


@click.command()
@click.argument("inputs", nargs=-1, required=True, type=places.INPUT)
@click.option(
    "--codecs",
    default="hierarchical",
    show_default=True,
    help="Lossy codecs, separated by commas: "
    "hierarchical, grids, combiner, coin++, coin, or auto, which is what compress chooses.",
)
@click.option("--rates", help="File bits per pixel or grid point, kbit/s for audio. Default: four rates.")
@click.option("--betas", help="Weights of a bit, instead of rates or in addition.")
@click.option("--compare", help="Other codecs to run: jpeg, webp, jpeg2000, avif, avif-slow, jxl; mp3, opus, vorbis.")
@click.option(
    "--published",
    metavar="NAME|FILE",
    help="Published curves to draw: kodak, cifar10, librispeech, era5 "
    "(from the folder that INRCODEC_DATA names), or a CSV file (codec, bpp or kbps, psnr).",
)
@click.option("--effort", default="default", show_default=True, help="fast, default or best.")
@click.option("--prior", metavar="NAME|ID|FILE", help="Prior to use; by default the one for the kind of signal.")
@worker_options
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Folder of the results.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar and no table.")
def sweep(
    inputs: tuple[Path, ...],
    codecs: str,
    rates: str | None,
    betas: str | None,
    compare: str | None,
    published: str | None,
    effort: str,
    prior: str | None,
    workers: int | None,
    scheduler: str | None,
    out: Path,
    quiet: bool,
) -> None:
    """Measure rate-distortion curves of files or folders, with BD-rates and a report.

    Writes results.json, results.csv and report.html to the folder. Points that exist already are not computed again:
    after an interruption, or with more rates, run the same command again.

    \b
    Examples:
      inrcodec sweep kodak/ --rates 0.1,0.2,0.4,0.8 --compare jpeg,webp,avif -o rd
      inrcodec sweep a.png b.png --codecs hierarchical,coin++ --effort fast -o rd --workers 2
      inrcodec sweep speech/ --rates 6,12,24 --compare mp3,opus -o rd
    """
    from inrcodec.evaluate.sweeps import sweep as run
    from inrcodec.storage import write_whole

    keep_memory()
    result = run(
        [source.path for source in places.find_sources(inputs)],
        codecs=_list(codecs),
        rates=_numbers(rates, "rates"),
        betas=_numbers(betas, "betas"),
        compare=_list(compare),
        published=published,
        out=out,
        effort=effort,
        prior=prior,
        workers=workers,
        scheduler=scheduler,
        progress=not quiet,
    )
    result.to_csv(out / "results.csv")
    write_whole(out / "results.json", result.to_json().encode(), force=True)
    report = result.report()
    for text in result.failed:
        click.echo(f"failed: {text}", err=True)
    if not quiet:
        for name in result.series:
            shown = ", ".join(f"{rate:.3g} {result.unit} {psnr:.2f} dB" for rate, psnr in result.curve(name))
            click.echo(f"{name}: {shown}")
        for reference, name, found in result.bd_rates():
            click.echo(f"{name} against {reference}: {found or 'no PSNR in common'}")
        click.echo(str(report))
