"""``compress``: files to ``.inr`` files, or to one ``.inrs`` archive."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

import inrcodec
from inrcodec.cli import common
from inrcodec.errors import UsageError
from inrcodec.parallel.base import keep_memory
from inrcodec.storage import check_writable, write_whole


@click.command()
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="FILE.inr, a folder, or FILE.inrs for an archive of all inputs. Default: the input's name with .inr; for a "
    "folder, its name with .inrs.",
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
    output: Path | None,
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
) -> None:
    """Compress images, audio or gridded fields.

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
    """
    keep_memory()
    settings = inrcodec.Settings(coder=coder, optimise=optimise, **choices)
    files = common.expand(inputs)
    read = common.signal_reader(variable, select, frame, convert)
    if (output is not None and output.suffix.lower() == ".inrs") or (output is None and inputs[0].is_dir()):
        target = output or Path(f"{inputs[0]}.inrs")
        _compress_archive(files, target, read, settings, force, quiet, as_json)
        return
    if len(files) > 1 and output is not None and not output.is_dir():
        raise UsageError(f"{len(files)} inputs need a folder or an archive (.inrs) as output, got {output}")
    reports = []
    for file in files:
        target = file.with_suffix(".inr") if output is None else output
        if output is not None and output.is_dir():
            target = output / f"{file.stem}.inr"
        reports.append(_compress_one(file, target, read, settings, force, quiet))
        common.show(reports[-1], as_json, quiet)
    if len(reports) > 1:
        common.show(common.summary(reports), as_json, quiet)


def _compress_one(
    file: Path, target: Path, read: common.Reader, settings: inrcodec.Settings, force: bool, quiet: bool
) -> dict[str, Any]:
    check_writable(target, force=force)
    signal = read(file)
    with common.progress(quiet, file.name) as bar:
        begun = time.perf_counter()
        encoded = inrcodec.encode(signal, settings, progress=bar.tick, plan=bar.plan)
        seconds = time.perf_counter() - begun
    write_whole(target, encoded.data, force=force)
    # A lossless encoder has compared already.
    decoded = signal if encoded.lossless else inrcodec.decompress(encoded.data, prior=settings.prior)
    return {
        "input": str(file),
        "output": str(target),
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
    files: Sequence[Path],
    target: Path,
    read: common.Reader,
    settings: inrcodec.Settings,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    check_writable(target, force=force)
    signals = [read(file) for file in files]
    with common.progress(quiet, target.name) as bar:
        begun = time.perf_counter()
        encoded = inrcodec.encode(signals, settings, names=_entry_names(files), progress=bar.tick, plan=bar.plan)
        seconds = (time.perf_counter() - begun) / len(files)
    write_whole(target, encoded.data, force=force)
    opened = inrcodec.open(encoded.data, prior=settings.prior)
    reports = []
    for index, (file, signal) in enumerate(zip(files, signals, strict=True)):
        n_bytes = opened.entry_bytes(index)
        decoded = signal if encoded.lossless else opened.render(entry=index)
        reports.append(
            {
                "input": str(file),
                "output": str(target),
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
            common.show(reports[-1], as_json)
    common.show(common.archive_summary(reports, opened, target), as_json, quiet)


def _entry_names(files: Sequence[Path]) -> list[str]:
    """Return file names; where two are equal, with the folder before them."""
    names = [file.name for file in files]
    if len(set(names)) == len(names):
        return names
    return [f"{file.absolute().parent.name}/{file.name}" for file in files]
