"""``decompress``: files back to images, audio and fields, at any size, whole or in part."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import click

import inrcodec
from inrcodec.cli import common, places
from inrcodec.errors import DataError, UsageError
from inrcodec.limits import DEFAULT_LIMITS
from inrcodec.signals.files import WRITABLE_SUFFIXES, signal_to_bytes, suffix_for, write_signal
from inrcodec.storage import is_special


@click.command()
@click.argument("file", type=places.INPUT)
@click.option(
    "-o",
    "--output",
    type=places.OUTPUT,
    help="Output file, a folder (FOLDER/ is created), or - for stdout. Default: the input's name; for stdin, stdout.",
)
@click.option(
    "--format",
    "format_name",
    metavar="SUFFIX",
    help="Format of the output, such as png, wav or nc, where its name does not say it. Default: one that keeps "
    "everything.",
)
@click.option("--scale", type=float, help="Decode on a grid this much finer (0.0625 to 16).")
@click.option("--size", metavar="WxH", help="Decode an image at this size, as it is shown.")
@click.option(
    "--grid", metavar="NxN..", help="Decode a field on this grid: points along each axis, slowest axis first."
)
@click.option(
    "--region",
    metavar="X,Y,W,H",
    help="Decode only this part: left, top, width, height in points of the output as it is shown; for a field first "
    "points along all axes, then counts.",
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
    output: places.Output | None,
    format_name: str | None,
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
    """Decompress FILE, or stdin where it is -, at its own size or any other.

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
      inrcodec decompress photo.inr -o - --format jpg | display
    """
    from inrcodec.decoding import output_size

    opened = places.open_coded(file, prior=prior)
    name = places.shown(file)
    if entry is not None and not opened.is_archive:
        raise UsageError(f"{name}: is a single signal, --entry is for archives")
    if entry is not None and entry not in opened.names:
        raise UsageError(f"{name}: no entry {entry!r}; the first is {opened.names[0]!r}")
    whole = opened.is_archive and entry is None
    indices = list(range(len(opened))) if whole else [opened.names.index(entry) if entry else 0]
    suffixes = [_suffix(opened, index, format_name) for index in indices]
    if whole:
        folder = _folder_of(file, output)
        targets = _archive_targets(opened, folder, suffixes)
    else:
        targets = [_target(file, output, opened.names[indices[0]], suffixes[0], format_name)]
    places.check_outputs([(file, target) for target in targets], force=force, one_input=True)
    reports = []
    err = not whole and places.is_stdout(targets[0])
    for index, suffix, target in zip(indices, suffixes, targets, strict=True):
        container = opened.container(index)
        header = container.header
        orientation = container.meta(DEFAULT_LIMITS).exif_orientation
        with common.progress(quiet, name) as bar:
            bar.plan(header.n_points * header.channels)
            begun = time.perf_counter()
            points = common.parse_size(size, grid, header, orientation)
            signal = opened.render(
                scale=scale,
                size=points,
                region=common.parse_region(
                    region, header, orientation, output_size(header, scale, points, sample_rate) or header.shape
                ),
                start=start,
                duration=duration,
                sample_rate=sample_rate,
                entry=index,
                progress=bar.tick,
            )
            seconds = time.perf_counter() - begun
        _write(signal, target, suffix, force, format_name is not None)
        reports.append(
            {
                "input": name,
                "output": "stdout" if target == places.STREAM else str(target),
                **common.file_figures(opened, index),
                **common.rate(header, opened.entry_bytes(index)),
                "decode_seconds": round(seconds, 4),
                **common.size_key(signal.header),
            }
        )
        if as_json or not whole:
            common.show(reports[-1], as_json, quiet, err)
    if len(reports) > 1:
        common.show(common.archive_summary(reports, opened, name), as_json, quiet)


def _suffix(opened: inrcodec.InrFile, index: int, format_name: str | None) -> str:
    """Return the suffix of an entry's output where its name does not say it."""
    if format_name is not None:
        return f".{format_name.lower().lstrip('.')}"
    container = opened.container(index)
    return suffix_for(container.header, container.meta(DEFAULT_LIMITS))


def _folder_of(file: Path, output: places.Output | None) -> Path:
    """Return the folder that a whole archive is written to."""
    if output is None:
        if file == places.STREAM:
            raise UsageError("stdin: an archive needs a folder as output: name one with -o, or one signal with --entry")
        return file.with_suffix("")
    if output.is_stream or is_special(output.path):
        raise UsageError(f"{file}: an archive needs a folder as output, or choose one signal with --entry")
    if output.path.exists() and not output.path.is_dir():
        raise UsageError(f"{output.path}: is a file, an archive needs a folder as output, or --entry for one signal")
    return output.path


def _archive_targets(opened: inrcodec.InrFile, folder: Path, suffixes: list[str]) -> list[Path]:
    """Return the output of every entry; entries whose names differ only by their suffix keep it before the new one."""
    targets = [folder / Path(name).with_suffix(suffix) for name, suffix in zip(opened.names, suffixes, strict=True)]
    counts = Counter(targets)
    return [
        target if counts[target] == 1 else folder / f"{name}{suffix}"
        for target, name, suffix in zip(targets, opened.names, suffixes, strict=True)
    ]


def _target(file: Path, output: places.Output | None, entry: str, suffix: str, format_name: str | None) -> Path:
    """Return the output of a single signal."""
    if output is None and file != places.STREAM and is_special(file):
        raise UsageError(f"{file}: is no ordinary file: name the output with -o")
    if (output is None and file == places.STREAM) or (output is not None and output.is_stream):
        places.check_stdout(f"a {suffix} file")
        return places.STREAM
    name = Path(entry or (file.name if file != places.STREAM else "stdin")).with_suffix(suffix).name
    if output is None:
        return file.with_name(name)
    if output.is_folder:
        return output.path / name
    if not output.path.parent.is_dir():
        raise DataError(f"{output.path}: cannot be written: no folder {output.path.parent}")
    own = output.path.suffix.lower()
    if format_name is not None and own in WRITABLE_SUFFIXES and own != suffix:
        raise UsageError(f"{output.path}: the output is named {own}, --format asks for {suffix}: give one of them")
    return output.path


def _write(signal: inrcodec.Signal, target: Path, suffix: str, force: bool, has_format: bool) -> None:
    """Write a signal in the format of its target's suffix; where that names none, in the format ``suffix``."""
    names_format = target.suffix.lower() in WRITABLE_SUFFIXES
    if target == places.STREAM or (not names_format and (has_format or is_special(target))):
        shown = "stdout" if target == places.STREAM else str(target)
        places.write_output(target, signal_to_bytes(signal, suffix, shown), force=force)
        return
    places.prepare_folder(target.parent)
    write_signal(signal, target, force=force)
