"""``decompress``: files back to images, audio and fields, at any size, whole or in part."""

from __future__ import annotations

import time
from pathlib import Path

import click

import inrcodec
from inrcodec.cli import common
from inrcodec.errors import DataError, UsageError
from inrcodec.storage import check_writable


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Output file, or a folder for an archive.")
@click.option("--scale", type=float, help="Decode on a grid this much finer (0.0625 to 16).")
@click.option("--size", metavar="WxH", help="Decode an image at this size.")
@click.option(
    "--grid", metavar="NxN..", help="Decode a field on this grid: points along each axis, slowest axis first."
)
@click.option(
    "--region",
    metavar="X,Y,W,H",
    help="Decode only this part: left, top, width, height in points of the output; for a field first points along all "
    "axes, then counts.",
)
@click.option("--start", type=float, metavar="SECONDS", help="Decode audio from here on.")
@click.option("--duration", type=float, metavar="SECONDS", help="Decode only this much audio.")
@click.option("--rate", "sample_rate", type=int, metavar="HZ", help="Decode audio at this sample rate.")
@click.option("--entry", help="Decode only this entry of an archive, by name.")
@common.PRIOR
@common.FORCE
@common.QUIET
@common.JSON
def decompress(
    file: Path,
    output: Path | None,
    scale: float | None,
    size: str | None,
    grid: str | None,
    region: str | None,
    start: float | None,
    duration: float | None,
    sample_rate: int | None,
    entry: str | None,
    prior: str | None,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Decompress FILE, at its own size or any other.

    \b
    Examples:
      inrcodec decompress photo.inr                    writes photo.png
      inrcodec decompress photo.inr -o big.png --scale 2
      inrcodec decompress photo.inr -o wide.png --size 1536x1024
      inrcodec decompress photo.inr -o eye.png --scale 4 --region 1200,800,256,256
      inrcodec decompress voice.inr -o word.wav --start 1.2 --duration 0.5 --rate 8000
      inrcodec decompress wind.inr -o fine.nc --grid 482x960
      inrcodec decompress set.inrs -o folder/
      inrcodec decompress set.inrs -o one.png --entry cat.png
    """
    from inrcodec.signals.files import default_suffix, write_signal

    opened = inrcodec.open(file, prior=prior)
    if entry is not None and not opened.is_archive:
        raise UsageError(f"{file}: is a single signal, --entry is for archives")
    if entry is not None and entry not in opened.names:
        raise UsageError(f"{file}: no entry {entry!r}; the first is {opened.names[0]!r}")
    whole = opened.is_archive and entry is None
    indices = range(len(opened)) if whole else [opened.names.index(entry) if entry else 0]
    folder = _output_folder(output or file.with_suffix("")) if whole else None
    reports = []
    for index in indices:
        header = opened.container(index).header
        if not whole and output is not None and not output.is_dir():
            check_writable(output, force=force)
        with common.progress(quiet, file.name) as bar:
            bar.plan(header.n_points * header.channels)
            begun = time.perf_counter()
            signal = opened.render(
                scale=scale,
                size=common.parse_size(size, grid, header),
                region=common.parse_region(region, header),
                start=start,
                duration=duration,
                sample_rate=sample_rate,
                entry=index,
                progress=bar.tick,
            )
            seconds = time.perf_counter() - begun
        name = Path(opened.names[index] or file.name).with_suffix(default_suffix(signal))
        target = folder / name if folder is not None else output or file.with_name(name.name)
        if target.is_dir():
            target = target / name.name
        if folder is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
        write_signal(signal, target, force=force)
        reports.append(
            {
                "input": str(file),
                "output": str(target),
                **common.file_figures(opened, index),
                **common.rate(header, opened.entry_bytes(index)),
                "decode_seconds": round(seconds, 4),
                **common.size_key(signal.header),
            }
        )
        if as_json or not whole:
            common.show(reports[-1], as_json, quiet)
    if len(reports) > 1:
        common.show(common.archive_summary(reports, opened, file), as_json, quiet)


def _output_folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be created: {error.strerror}") from None
    return path
