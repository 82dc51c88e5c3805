"""``info`` and ``verify``: what a file holds, and how close it is to its original."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import click

import inrcodec
from inrcodec.cli import common, places
from inrcodec.errors import DataError, UsageError
from inrcodec.limits import DEFAULT_LIMITS
from inrcodec.signals.signal import Signal

_ORIENTATIONS = {
    2: "shown mirrored left to right",
    3: "shown rotated by 180 degrees",
    4: "shown mirrored top to bottom",
    5: "shown transposed",
    6: "shown rotated by 90 degrees clockwise",
    7: "shown transposed along the other diagonal",
    8: "shown rotated by 90 degrees counter-clockwise",
}
"""What each EXIF orientation but the first does to the stored pixels."""


@click.command()
@click.argument("file", type=places.INPUT)
@common.JSON
def info(file: Path, as_json: bool) -> None:
    """Show what FILE holds, without decoding it.

    \b
    Examples:
      inrcodec info photo.inr
      inrcodec info set.inrs --json
    """
    described = places.open_coded(file).info
    if as_json:
        click.echo(json.dumps({"input": places.shown(file), **described}))
        return
    entries = described.pop("entries", None)
    for key, value in {"input": places.shown(file), **described}.items():
        if isinstance(value, list):
            separator = "x" if key == "shape" else ", "
            value = separator.join(map(str, value))
        if key == "orientation":
            value = f"{value} ({_ORIENTATIONS[value]})"
        shown = common.printable(str(value))
        click.echo(f"{key + ':':15} {shown}")
    for entry in entries or []:
        shape = "x".join(map(str, entry["shape"]))
        click.echo(f"  {entry['name']}  {entry['kind']} {entry['layout']} {shape}  {entry['payload_bytes']} bytes")


@click.command()
@click.argument("file", type=places.INPUT)
@click.argument("original", type=click.Path(path_type=Path))
@common.PRIOR
@common.signal_options
@common.QUIET
@common.JSON
def verify(
    file: Path,
    original: Path,
    prior: str | None,
    variable: str | None,
    select: tuple[str, ...],
    quiet: bool,
    as_json: bool,
) -> None:
    """Decode FILE and measure it against ORIGINAL (for an archive, the folder of the originals).

    \b
    Examples:
      inrcodec verify photo.inr photo.png
      inrcodec verify set.inrs thumbnails/ --json
    """
    opened = places.open_coded(file, prior)
    if opened.is_archive and not original.is_dir():
        raise UsageError(f"{original}: an archive is verified against the folder of its originals")
    read = common.signal_reader(variable, select)
    reports = []
    for index, name in enumerate(opened.names):
        header = opened.container(index).header
        path = original / name if opened.is_archive else original
        signal = _in_file_units(read(path), opened, index)
        if signal.header.shape != header.shape or signal.header.channels != header.channels:
            raise DataError(
                f"{path}: is not the original: it has {signal.header.shape} points, the file has {header.shape}"
            )
        begun = time.perf_counter()
        decoded = opened.render(entry=index)
        seconds = time.perf_counter() - begun
        reports.append(
            {
                "input": places.shown(file),
                "output": str(path),
                **common.file_figures(opened, index),
                **common.rate(header, opened.entry_bytes(index)),
                **common.quality(signal, decoded),
                "decode_seconds": round(seconds, 4),
                **common.size_key(header),
            }
        )
        if as_json or not opened.is_archive:
            common.show(reports[-1], as_json, quiet)
    if len(reports) > 1:
        common.show(common.archive_summary(reports, opened, places.shown(file)), as_json, quiet)


def _in_file_units(signal: Signal, opened: inrcodec.InrFile, index: int) -> Signal:
    """Return a field normalised as the file's values are; other signals as they are."""
    if signal.header.kind != "field":
        return signal
    meta = opened.container(index).meta(DEFAULT_LIMITS)
    physical = signal.meta.offset + signal.meta.scale * signal.values.astype("f8")
    values = ((physical - meta.offset) / meta.scale).astype("f4")
    return dataclasses.replace(
        signal, values=values, meta=dataclasses.replace(signal.meta, offset=meta.offset, scale=meta.scale)
    )
