"""``compress``, ``decompress``, ``info`` and ``verify``."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from inrcodec.cli import common
from inrcodec.errors import DataError, UsageError
from inrcodec.parallel.base import keep_memory
from inrcodec.signals.signal import Signal

Command = Callable[..., Any]

_QUIET = click.option("-q", "--quiet", is_flag=True, help="No progress bar and no report.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Reports as JSON, one object per line.")
_FORCE = click.option("-f", "--force", is_flag=True, help="Replace files that exist.")
_PRIOR = click.option(
    "--prior", metavar="NAME|ID|FILE", help="Prior to use; by default the one for the kind of signal."
)
_SIGNAL = (
    click.option("--variable", help="Variable of a NetCDF file."),
    click.option(
        "--select",
        "select",
        multiple=True,
        metavar="AXIS=I",
        help="Fix an axis of a NetCDF variable: a whole number is an index, 500.0 the nearest coordinate.",
    ),
)


def _signal_options(command: Command) -> Command:
    for option in reversed(_SIGNAL):
        command = option(command)
    return command


@click.command()
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Output: FILE.inr, a folder, or FILE.inrs for an "
    "archive of all inputs. Default: the input's name with .inr, for a folder .inrs.",
)
@click.option(
    "--codec",
    default="auto",
    show_default=True,
    help="hierarchical, grids, combiner, coin++, coin, bitswap, bbans, or auto: that of the prior.",
)
@click.option("--lossless", is_flag=True, help="Pictures bit for bit: codec bitswap, or bbans where it is named.")
@_PRIOR
@click.option("--effort", default="default", show_default=True, help="fast, default or best.")
@click.option(
    "--coder",
    help="How latents are sent: round (quantised; default) or rec (relative entropy coding); "
    "weights of coin: round or float16.",
)
@click.option("--beta", type=float, help="Weight of a bit: squared error per bit per point. Larger is smaller files.")
@click.option("--target-bpp", type=float, help="File bits per pixel or grid point.")
@click.option("--target-kbps", type=float, help="File kilobits per second of a sound.")
@click.option("--target-psnr", type=float, help="Quality in dB, met within 0.1 dB.")
@click.option(
    "--optimise",
    "measure",
    default="psnr",
    show_default=True,
    help="psnr or ms-ssim: what is raised at the rate asked for (images, codec hierarchical).",
)
@_signal_options
@_FORCE
@_QUIET
@_JSON
def compress(
    inputs: tuple[Path, ...],
    output: Path | None,
    codec: str,
    prior: str | None,
    effort: str,
    coder: str | None,
    beta: float | None,
    target_bpp: float | None,
    target_kbps: float | None,
    target_psnr: float | None,
    measure: str,
    variable: str | None,
    lossless: bool,
    select: tuple[str, ...],
    force: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Compress images, sounds or fields.

    \b
    Examples:
      inrcodec compress photo.png
      inrcodec compress photo.png -o small.inr --target-bpp 0.3 --effort best
      inrcodec compress speech.wav --target-kbps 11
      inrcodec compress t2m.nc --variable t2m --select time=0
      inrcodec compress a.png b.png c.png -o set.inrs
      inrcodec compress thumbnails/ -o set.inrs --target-bpp 0.9
      inrcodec compress photo.png --target-bpp 0.3 --optimise ms-ssim
      inrcodec compress scan.png --lossless
    """
    from inrcodec.codecs.registry import lossless_codec
    from inrcodec.encoding import Settings

    keep_memory()
    codec = lossless_codec(codec) if lossless else codec
    settings = Settings(codec, prior, effort, beta, target_bpp, target_kbps, target_psnr, coder, measure)
    files = expand(inputs)
    archive = (output is not None and output.suffix.lower() == ".inrs") or (output is None and inputs[0].is_dir())
    read = _reader(variable, select)
    if archive:
        target = output or Path(f"{inputs[0]}.inrs")
        _compress_archive(files, target, read, settings, force, quiet, as_json)
        return
    if len(files) > 1 and output is not None and not output.is_dir():
        raise UsageError(f"{len(files)} inputs need a folder or an archive (.inrs) as output, got {output}")
    reports = []
    for file in files:
        target = (
            file.with_suffix(".inr") if output is None else output / f"{file.stem}.inr" if output.is_dir() else output
        )
        reports.append(_compress_one(file, target, read, settings, force, quiet))
        common.show(reports[-1], as_json, quiet)
    if len(reports) > 1:
        common.show(common.summary(reports), as_json, quiet)


def expand(inputs: Sequence[Path]) -> list[Path]:
    """Files as they are, folders as the sorted files in them (hidden ones left out)."""
    files: list[Path] = []
    for path in inputs:
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
            if not found:
                raise DataError(f"{path}: the folder holds no files")
            files += found
        else:
            files.append(path)
    return files


def _reader(variable: str | None, select: tuple[str, ...]) -> Callable[[Path], Signal]:
    from inrcodec.signals.files import read_signal

    chosen = common.parse_select(select)
    return lambda path: read_signal(path, variable=variable, select=chosen)


def _compress_one(
    file: Path, target: Path, read: Callable[[Path], Signal], settings: Any, force: bool, quiet: bool
) -> dict[str, Any]:
    from inrcodec.api import InrFile
    from inrcodec.encoding import compress_signals
    from inrcodec.storage import check_writable, write_whole

    check_writable(target, force=force)
    signal = read(file)
    with common.progress(quiet, file.name) as bar:
        begun = time.perf_counter()
        encoded = compress_signals([signal], settings, None, bar.tick, bar.plan)
        seconds = time.perf_counter() - begun
    write_whole(target, encoded.data, force=force)
    # A lossless encoder has compared already.
    decoded = signal if encoded.lossless else InrFile(encoded.data, prior=settings.prior).render()
    return {
        "input": str(file),
        "output": str(target),
        "codec": encoded.codec,
        "prior": encoded.prior.id.hex(),
        "bytes": len(encoded.data),
        "payload_bytes": encoded.payload_bytes,
        **common.rate(signal.header, len(encoded.data)),
        **common.quality(signal, decoded, settings.measure),
        "encode_seconds": round(seconds, 3),
        **common.size_key(signal.header),
    }


def _compress_archive(
    files: Sequence[Path],
    target: Path,
    read: Callable[[Path], Signal],
    settings: Any,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    from inrcodec.api import InrFile
    from inrcodec.encoding import compress_signals
    from inrcodec.storage import check_writable, write_whole

    check_writable(target, force=force)
    signals = [read(file) for file in files]
    with common.progress(quiet, target.name) as bar:
        begun = time.perf_counter()
        encoded = compress_signals(signals, settings, _entry_names(files), bar.tick, bar.plan)
        seconds = (time.perf_counter() - begun) / len(files)
    write_whole(target, encoded.data, force=force)
    opened = InrFile(encoded.data, prior=settings.prior)
    reports = []
    for index, (file, signal) in enumerate(zip(files, signals, strict=True)):
        own = opened.entry_bytes(index)
        reports.append(
            {
                "input": str(file),
                "output": str(target),
                "codec": encoded.codec,
                "prior": encoded.prior.id.hex(),
                "bytes": own,
                "payload_bytes": own,
                **common.rate(signal.header, own),
                **common.quality(signal, signal if encoded.lossless else opened.render(entry=index)),
                "encode_seconds": round(seconds, 3),
                **common.size_key(signal.header),
            }
        )
        if as_json:
            common.show(reports[-1], as_json)
    common.show(_archive_summary(reports, [s.header for s in signals], encoded.data, target), as_json, quiet)


def _archive_summary(
    reports: list[dict[str, Any]], headers: Sequence[Any], data: bytes, target: Path
) -> dict[str, Any]:
    """Means; ``bytes`` and the rate are those of the whole file."""
    out = common.summary(reports, len(data))
    points = sum(header.n_points for header in headers)
    if "bpp" in out:
        out["bpp"] = round(8 * len(data) / points, 5)
    if "kbps" in out:
        out["kbps"] = round(8 * len(data) / sum(h.n_points / h.sample_rate for h in headers) / 1000, 4)
    from inrcodec.api import InrFile

    return {**out, "payload_bytes": InrFile(data).payload_bytes, "output": str(target)}


def _entry_names(files: Sequence[Path]) -> list[str]:
    """File names; where two are equal, with the folder before them."""
    names = [file.name for file in files]
    if len(set(names)) == len(names):
        return names
    return [f"{file.absolute().parent.name}/{file.name}" for file in files]


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Output file, or a folder for an archive.")
@click.option("--scale", type=float, help="Evaluate the function on a grid this much finer (0.0625 to 16).")
@click.option("--size", metavar="WxH", help="Evaluate the function on a grid of this size.")
@click.option("--grid", metavar="NxN..", help="The same of a field: points along each axis, in order.")
@click.option(
    "--region",
    metavar="X,Y,W,H",
    help="Only this part: left, top, width and height in points of what is "
    "decoded; of a field first points along all axes, then counts.",
)
@click.option("--start", type=float, metavar="SECONDS", help="Only a sound from here on.")
@click.option("--duration", type=float, metavar="SECONDS", help="Only so much of a sound.")
@click.option("--rate", type=int, metavar="HZ", help="Evaluate a sound at this sample rate.")
@click.option("--entry", help="Only this entry of an archive, by name.")
@_PRIOR
@_FORCE
@_QUIET
@_JSON
def decompress(
    file: Path,
    output: Path | None,
    scale: float | None,
    size: str | None,
    grid: str | None,
    region: str | None,
    start: float | None,
    duration: float | None,
    rate: int | None,
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
      inrcodec decompress t2m.inr -o fine.nc --grid 482x960
      inrcodec decompress set.inrs -o folder/
      inrcodec decompress set.inrs -o one.png --entry cat.png
    """
    from inrcodec.api import InrFile
    from inrcodec.signals.files import default_suffix, write_signal
    from inrcodec.storage import check_writable

    opened = InrFile(file, prior=prior)
    if entry is not None and not opened.is_archive:
        raise UsageError(f"{file}: is a single signal, --entry is for archives")
    whole = opened.is_archive and entry is None
    indices = (
        range(len(opened)) if whole else [opened.names.index(entry) if entry in opened.names else -1] if entry else [0]
    )
    if entry is not None and indices[0] < 0:
        raise UsageError(f"{file}: no entry {entry!r}; the first is {opened.names[0]!r}")
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
                region=common.parse_region(region),
                start=start,
                duration=duration,
                sample_rate=rate,
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
                **_sizes(opened, index),
                **common.rate(header, opened.entry_bytes(index)),
                "decode_seconds": round(seconds, 4),
                **common.size_key(signal.header),
            }
        )
        if as_json or not whole:
            common.show(reports[-1], as_json, quiet)
    if len(reports) > 1:
        headers = [opened.container(i).header for i in range(len(opened))]
        common.show(_archive_summary(reports, headers, opened.data, file), as_json, quiet)


def _output_folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be made: {error.strerror}") from None
    return path


def _sizes(opened: Any, index: int) -> dict[str, Any]:
    from inrcodec.codecs.registry import codec_name

    container = opened.container(index)
    return {
        "codec": codec_name(container.codec_id),
        "prior": container.prior_id.hex(),
        "bytes": opened.entry_bytes(index),
        "payload_bytes": len(container.payload),
    }


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@_JSON
def info(file: Path, as_json: bool) -> None:
    """Say what FILE holds, without decoding it.

    \b
    Examples:
      inrcodec info photo.inr
      inrcodec info set.inrs --json
    """
    from inrcodec.api import InrFile

    found = InrFile(file).info
    if as_json:
        click.echo(json.dumps({"input": str(file), **found}))
        return
    entries = found.pop("entries", None)
    for key, value in {"input": str(file), **found}.items():
        shown = "x".join(map(str, value)) if isinstance(value, list) else common.printable(str(value))
        click.echo(f"{key + ':':15} {shown}")
    for entry in entries or []:
        shape = "x".join(map(str, entry["shape"]))
        click.echo(f"  {entry['name']}  {entry['kind']} {entry['layout']} {shape}  {entry['payload_bytes']} bytes")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("original", type=click.Path(path_type=Path))
@_PRIOR
@_signal_options
@_QUIET
@_JSON
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
    from inrcodec.api import InrFile

    opened = InrFile(file, prior=prior)
    if opened.is_archive and not original.is_dir():
        raise UsageError(f"{original}: an archive is verified against the folder of its originals")
    read = _reader(variable, select)
    reports = []
    for index, name in enumerate(opened.names):
        header = opened.container(index).header
        path = original / name if opened.is_archive else original
        signal = _same_scale(read(path), opened, index)
        if signal.header.shape != header.shape or signal.header.channels != header.channels:
            raise DataError(f"{path}: is not the original: {signal.header.shape} points, the file has {header.shape}")
        begun = time.perf_counter()
        decoded = opened.render(entry=index)
        seconds = time.perf_counter() - begun
        reports.append(
            {
                "input": str(file),
                "output": str(path),
                **_sizes(opened, index),
                **common.rate(header, opened.entry_bytes(index)),
                **common.quality(signal, decoded),
                "decode_seconds": round(seconds, 4),
                **common.size_key(header),
            }
        )
        if as_json or not opened.is_archive:
            common.show(reports[-1], as_json, quiet)
    if len(reports) > 1:
        headers = [opened.container(i).header for i in range(len(opened))]
        common.show(_archive_summary(reports, headers, opened.data, file), as_json, quiet)


def _same_scale(signal: Signal, opened: Any, index: int) -> Signal:
    """A field in the units that the file's values have; other signals as they are."""
    if signal.header.kind != "field":
        return signal
    from inrcodec.container.inr import EXTRA
    from inrcodec.signals.metadata import SignalMeta

    meta = SignalMeta.from_extra(opened.container(index).section(EXTRA), 8)
    physical = signal.meta.offset + signal.meta.scale * signal.values.astype("f8")
    values = ((physical - meta.offset) / meta.scale).astype("f4")
    return dataclasses.replace(
        signal, values=values, meta=dataclasses.replace(signal.meta, offset=meta.offset, scale=meta.scale)
    )
