"""``compress``: files to ``.inr`` files, or to one ``.inrs`` archive."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

import inrcodec
from inrcodec.cli import common, places
from inrcodec.errors import DataError, UsageError
from inrcodec.parallel.base import keep_memory
from inrcodec.signals.signal import Signal
from inrcodec.storage import check_writable, is_special


@click.command()
@click.argument("inputs", nargs=-1, required=True, type=places.INPUT)
@click.option(
    "-o",
    "--output",
    type=places.OUTPUT,
    help="FILE.inr, a folder (FOLDER/ is created), FILE.inrs for an archive of all inputs, or - for stdout. Default: "
    "the input's name with .inr; for a folder, its name with .inrs; for stdin, stdout.",
)
@common.codec_options
@click.option(
    "--coder",
    metavar="round|rec",
    help="How latents are sent: round (quantisation, the default) or rec (relative entropy coding). Weights of coin: "
    "round or float16.",
)
@click.option(
    "--optimise",
    metavar="psnr|ms-ssim",
    default="psnr",
    show_default=True,
    help="What to maximise at the rate (images, codec hierarchical).",
)
@common.signal_options
@common.image_options
@common.FORCE
@common.QUIET
@common.JSON
def compress(
    inputs: tuple[Path, ...],
    output: places.Output | None,
    coder: str | None,
    optimise: str,
    variable: str | None,
    select: tuple[str, ...],
    frame: int | None,
    convert: bool,
    force: bool,
    quiet: bool,
    as_json: bool,
    **choices: Any,
) -> int:
    """Compress images, audio or gridded fields.

    INPUTS are files, folders, which are searched recursively, or - for stdin.

    \b
    Examples:
      inrcodec compress photo.png
      inrcodec compress photo.png -o small.inr --target-bpp 0.3 --effort best
      inrcodec compress voice.wav --target-kbps 11
      inrcodec compress wind.nc --variable u --select time=0
      inrcodec compress a.png b.png c.png -o set.inrs
      inrcodec compress thumbnails/ -o set.inrs --target-bpp 0.9
      inrcodec compress photo.png --target-bpp 0.3 --optimise ms-ssim
      inrcodec compress scan.png --lossless
      curl URL | inrcodec compress - -o photo.inr
    """
    keep_memory()
    settings = inrcodec.Settings(coder=coder, optimise=optimise, **choices)
    sources = places.find_sources(inputs)
    read = common.signal_reader(variable, select, frame, convert)
    if (output is None or output.is_stream) and inputs[0].is_dir():
        target = output.path if output is not None else _archive_of(inputs[0])
        return _compress_archive(sources, target, read, settings, force, quiet, as_json)
    if output is not None and not output.is_folder and output.path.suffix.lower() == ".inrs":
        return _compress_archive(sources, output.path, read, settings, force, quiet, as_json)
    if len(sources) > 1 and output is not None and not output.is_folder:
        raise UsageError(
            f"{len(sources)} inputs need a folder (NAME/) or an archive (NAME.inrs) as output, got {output.path}"
        )
    pairs = [(source, _target(source, output)) for source in sources]
    places.check_outputs([(source.path, target) for source, target in pairs], force=force)
    reports, unreadable = [], []
    err = len(pairs) == 1 and places.is_stdout(pairs[0][1])
    for source, target in pairs:
        try:
            signal = read(source.path)
        except DataError as error:
            if not source.is_from_folder:
                raise
            unreadable.append((source, error))
            continue
        reports.append(_compress_one(source.path, signal, target, settings, force, quiet))
        common.show(reports[-1], as_json, quiet, err)
    if len(reports) > 1:
        common.show(common.summary(reports), as_json, quiet, err)
    return _say_unreadable(unreadable)


def _archive_of(folder: Path) -> Path:
    """Return the default archive of a folder: beside it, with its name."""
    return Path(f"{folder if folder.name not in ('', '..') else folder.resolve().name}.inrs")


def _target(source: places.Source, output: places.Output | None) -> Path:
    """Return where an input is compressed to; sub-folders of a folder are kept."""
    if output is not None and not output.is_folder:
        if output.is_stream:
            places.check_stdout("an .inr file")
        places.check_suffix(output.path)
        if not output.path.parent.is_dir():
            raise DataError(f"{output.path}: cannot be written: no folder {output.path.parent}")
        return output.path
    if output is not None:
        inside = Path(source.entry) if source.is_from_folder else Path(source.path.name)
        return output.path / (inside.with_suffix(".inr") if source.path != places.STREAM else "stdin.inr")
    if source.path == places.STREAM:
        places.check_stdout("an .inr file")
        return places.STREAM
    if is_special(source.path):
        raise UsageError(f"{source.path}: is no ordinary file: name the output with -o")
    return source.path.with_suffix(".inr")


def _say_unreadable(unreadable: Sequence[tuple[places.Source, DataError]]) -> int:
    """Say which files of folders could not be read, the first with its reason, and return the exit code."""
    if not unreadable:
        return 0
    reason = " ".join(str(unreadable[0][1]).split()).removeprefix(f"{unreadable[0][0].path}: ")
    places.say_skipped([source.path for source, _ in unreadable], f"which cannot be compressed ({reason})")
    return 1


def _compress_one(
    file: Path, signal: Signal, target: Path, settings: inrcodec.Settings, force: bool, quiet: bool
) -> dict[str, Any]:
    with common.progress(quiet, places.shown(file)) as bar:
        begun = time.perf_counter()
        encoded = inrcodec.encode(signal, settings, progress=bar.tick, plan=bar.plan)
        seconds = time.perf_counter() - begun
    places.write_output(target, encoded.data, force=force)
    # A lossless encoder has compared already.
    decoded = signal if encoded.lossless else inrcodec.decompress(encoded.data, prior=settings.prior)
    return {
        "input": places.shown(file),
        "output": "stdout" if target == places.STREAM else str(target),
        "codec": encoded.codec,
        "prior": encoded.prior_id.hex(),
        "bytes": len(encoded.data),
        "payload_bytes": encoded.payload_bytes,
        **common.rate(signal.header, len(encoded.data)),
        **common.quality(signal, decoded, settings.optimise),
        "encode_seconds": round(seconds, 3),
        **common.size_key(signal.header),
    }


def _compress_archive(
    sources: Sequence[places.Source],
    target: Path,
    read: common.Reader,
    settings: inrcodec.Settings,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    if target == places.STREAM:
        places.check_stdout("an .inrs file")
    else:
        check_writable(target, force=force)
    readable, signals, unreadable = [], [], []
    for source in sources:
        try:
            signals.append(read(source.path))
            readable.append(source)
        except DataError as error:
            if not source.is_from_folder:
                raise
            unreadable.append((source, error))
    if not signals:
        raise unreadable[0][1]
    others = _other_kinds(readable, signals)
    if others:
        kept = [pair for pair in zip(readable, signals, strict=True) if pair[0] not in others]
        readable, signals = [source for source, _ in kept], [signal for _, signal in kept]
        unreadable += [
            (source, DataError(f"an archive holds one kind of signal, here {signals[0].header.kind}"))
            for source in others
        ]
    output = "stdout" if target == places.STREAM else str(target)
    err = places.is_stdout(target)
    with common.progress(quiet, target.name) as bar:
        begun = time.perf_counter()
        encoded = inrcodec.encode(signals, settings, names=_entry_names(readable), progress=bar.tick, plan=bar.plan)
        seconds = (time.perf_counter() - begun) / len(signals)
    places.write_output(target, encoded.data, force=force)
    opened = inrcodec.open(encoded.data, prior=settings.prior)
    reports = []
    for index, (source, signal) in enumerate(zip(readable, signals, strict=True)):
        n_bytes = opened.entry_bytes(index)
        decoded = signal if encoded.lossless else opened.render(entry=index)
        reports.append(
            {
                "input": places.shown(source.path),
                "output": output,
                "codec": encoded.codec,
                "prior": encoded.prior_id.hex(),
                "bytes": n_bytes,
                "payload_bytes": n_bytes,
                **common.rate(signal.header, n_bytes),
                **common.quality(signal, decoded, settings.optimise),
                "encode_seconds": round(seconds, 3),
                **common.size_key(signal.header),
            }
        )
        if as_json:
            common.show(reports[-1], as_json, err=err)
    common.show(common.archive_summary(reports, opened, output), as_json, quiet, err)
    return _say_unreadable(unreadable)


def _other_kinds(sources: Sequence[places.Source], signals: Sequence[Signal]) -> list[places.Source]:
    """Return the files of folders whose kind is not the most frequent one; an archive holds a single kind."""
    kind = Counter(signal.header.kind for signal in signals).most_common(1)[0][0]
    return [
        source
        for source, signal in zip(sources, signals, strict=True)
        if source.is_from_folder and signal.header.kind != kind
    ]


def _entry_names(sources: Sequence[places.Source]) -> list[str]:
    """Return the names of entries: as short as they can be without two that are equal."""
    for names in (
        [source.entry for source in sources],
        [f"{source.path.absolute().parent.name}/{source.path.name}" for source in sources],
        [source.path.resolve().relative_to(source.path.resolve().anchor).as_posix() for source in sources],
    ):
        if len(set(names)) == len(names):
            return names
    raise UsageError("two inputs are links to one file: name every input once")
