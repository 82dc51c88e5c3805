"""``batch``: compress a whole tree of files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

import inrcodec
from inrcodec.cli.common import codec_options, printable, worker_options
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
@click.option("--shard", metavar="I/N", help="Only part I (counted from 0) of N; every machine takes the same files.")
@click.option(
    "--resume/--no-resume", default=True, show_default=True, help="Skip files that an earlier run has finished."
)
@click.option("--verify", is_flag=True, help="Decode every file and record its PSNR.")
@click.option("--keep-going", is_flag=True, help="Exit with code 0 even where files failed.")
@codec_options
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
    as_json: bool,
    quiet: bool,
    **choices: Any,
) -> int:
    """Compress every file of the folder SOURCE, or of a list of paths, to OUT.

    OUT gets NAME.inr for every file NAME, in the same folders, and manifest.jsonl: one line per file with settings,
    bytes, quality and seconds, or the error. A file that fails never stops the rest; the exit code is then 1.

    \b
    Examples:
      inrcodec batch photos/ packed/ --workers 2 --target-bpp 0.4
      inrcodec batch photos/ packed/ --shard 3/16 --effort fast
      inrcodec batch photos/ packed/ --scheduler tcp://head:8786
      inrcodec batch scans.txt packed/ --lossless --verify
    """
    from inrcodec.evaluate.batch import batch as run

    keep_memory()
    settings = inrcodec.Settings(**choices)
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
