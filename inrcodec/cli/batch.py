"""``batch``: whole folders."""

from __future__ import annotations

import json
from pathlib import Path

import click

from inrcodec.cli.common import printable, worker_options
from inrcodec.errors import UsageError
from inrcodec.parallel.base import keep_memory


def _parse_shard(text: str | None) -> tuple[int, int]:
    if text is None:
        return 0, 1
    try:
        part, parts = (int(n) for n in text.split("/"))
    except ValueError:
        raise UsageError(f"shard must look like 0/4, got {text!r}") from None
    return part, parts


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@worker_options
@click.option("--shard", metavar="I/N", help="Only part I (from 0) of N: the same files on every machine.")
@click.option("--resume/--no-resume", default=True, show_default=True, help="Leave what an earlier run has done.")
@click.option("--verify", is_flag=True, help="Decode every file again and note its PSNR.")
@click.option("--keep-going", is_flag=True, help="Exit code 0 even where files failed.")
@click.option("--codec", default="auto", show_default=True, help="As for compress.")
@click.option("--lossless", is_flag=True, help="Pictures bit for bit.")
@click.option("--prior", metavar="NAME|ID|FILE", help="Prior to use; by default the one for each kind of signal.")
@click.option("--effort", default="default", show_default=True, help="fast, default or best.")
@click.option("--beta", type=float, help="Weight of a bit.")
@click.option("--target-bpp", type=float, help="File bits per pixel or grid point.")
@click.option("--target-kbps", type=float, help="File kilobits per second of sounds.")
@click.option("--target-psnr", type=float, help="Quality in dB.")
@click.option("--json", "as_json", is_flag=True, help="Summary as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar and no summary.")
def batch(
    source: Path,
    out: Path,
    workers: int | None,
    scheduler: str | None,
    shard: str | None,
    resume: bool,
    verify: bool,
    keep_going: bool,
    codec: str,
    lossless: bool,
    prior: str | None,
    effort: str,
    beta: float | None,
    target_bpp: float | None,
    target_kbps: float | None,
    target_psnr: float | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Compress every file of the folder SOURCE, or of a list of paths, to OUT.

    OUT gets NAME.inr for every file NAME, in the same folders, and manifest.jsonl: a line per file with settings,
    bytes, quality, seconds or what went wrong. One bad file never stops the rest; the exit code is 1 when there was
    one.

    \b
    Examples:
      inrcodec batch photos/ packed/ --workers 2 --target-bpp 0.4
      inrcodec batch photos/ packed/ --shard 3/16 --effort fast
      inrcodec batch photos/ packed/ --scheduler tcp://head:8786
      inrcodec batch scans.txt packed/ --lossless --verify
    """
    from inrcodec.codecs.registry import lossless_codec
    from inrcodec.encoding import Settings
    from inrcodec.evaluate.batch import batch as run

    keep_memory()
    codec = lossless_codec(codec) if lossless else codec
    settings = Settings(codec, prior, effort, beta, target_bpp, target_kbps, target_psnr)
    result = run(
        source,
        out,
        settings,
        workers=workers,
        scheduler=scheduler,
        shard=_parse_shard(shard),
        verify=verify,
        resume=resume,
        progress=not quiet,
    )
    for entry in result.failed:
        click.echo(f"failed: {printable(entry.error)}", err=True)
    summary = result.summary()
    if as_json:
        click.echo(json.dumps(summary))
    elif not quiet:
        for name, value in summary.items():
            shown = f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
            click.echo(f"{name.replace('_', ' '):16}{shown:>16}")
    return 1 if result.failed and not keep_going else 0
