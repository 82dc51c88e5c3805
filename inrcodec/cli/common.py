"""What the commands share: options, progress bars, reports of results, parsing of sizes, regions and selections."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

import inrcodec
from inrcodec.cli import places
from inrcodec.errors import UsageError
from inrcodec.signals import metrics
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.signal import Signal

Command = Callable[..., Any]
Reader = Callable[[Path], Signal]

QUIET = click.option("-q", "--quiet", is_flag=True, help="No progress bar and no report.")
JSON = click.option("--json", "as_json", is_flag=True, help="Reports as JSON, one object per line.")
FORCE = click.option("-f", "--force", is_flag=True, help="Replace existing files.")
PRIOR = click.option(
    "--prior", metavar="NAME|ID|FILE", help="Prior to use. Default: the one for the signal, or named by the file."
)
_SIGNAL_OPTIONS = (
    click.option("--variable", help="Variable of a NetCDF file."),
    click.option(
        "--select",
        multiple=True,
        metavar="AXIS=I",
        help="Fix an axis of a NetCDF variable: time=0 selects by index, level=500.0 (with a decimal point) the "
        "nearest coordinate.",
    ),
)
_WORKER_OPTIONS = (
    click.option("--workers", metavar="N", type=click.IntRange(1), help="Processes of one thread each. Default: 1."),
    click.option(
        "--scheduler",
        metavar="ADDRESS",
        help="Address of a Dask scheduler, like tcp://host:8786, or local: a cluster of N workers on this machine. All "
        "nodes must share a file system.",
    ),
)
_CODEC_OPTIONS = (
    click.option(
        "--codec",
        default="auto",
        show_default=True,
        help="hierarchical, grids, combiner, coin++, coin, bitswap, bbans, or auto: hierarchical, or the codec "
        "of --prior.",
    ),
    click.option(
        "--lossless", is_flag=True, help="Keep images bit for bit, with codec bitswap, or bbans with --codec bbans."
    ),
    PRIOR,
    click.option("--effort", default="default", show_default=True, help="fast, default or best."),
    click.option("--beta", type=float, help="Weight of a bit: squared error per bit per point. Larger: smaller files."),
    click.option("--target-bpp", type=float, help="File bits per pixel or grid point, at most."),
    click.option("--target-kbps", type=float, help="File kilobits per second of audio."),
    click.option("--target-psnr", type=float, help="Quality in dB, met within 0.1 dB by encoding several times."),
)


_IMAGE_OPTIONS = (
    click.option("--frame", type=int, metavar="N", help="Frame of an animation, or page of a TIFF, to take; from 0."),
    click.option("--convert", is_flag=True, help="Convert CMYK images to sRGB, through their colour profile."),
)


def _with(options: Sequence[Command], command: Command) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


def signal_options(command: Command) -> Command:
    """Add ``--variable`` and ``--select``."""
    return _with(_SIGNAL_OPTIONS, command)


def worker_options(command: Command) -> Command:
    """Add ``--workers`` and ``--scheduler``."""
    return _with(_WORKER_OPTIONS, command)


def image_options(command: Command) -> Command:
    """Add ``--frame`` and ``--convert``."""
    return _with(_IMAGE_OPTIONS, command)


def codec_options(command: Command) -> Command:
    """Add the options of ``inrcodec.Settings`` that commands share: codec, prior, effort and rate."""
    return _with(_CODEC_OPTIONS, command)


def signal_reader(
    variable: str | None, select: Sequence[str], frame: int | None = None, convert: bool = False
) -> Reader:
    """Return a function that reads a signal, from a file or stdin, with these options of the command line."""
    chosen = parse_select(select)
    return lambda path: places.read_source(path, variable, chosen, frame, convert)


class Progress:
    """A progress bar on stderr: only on a terminal, not with --quiet, and not before two seconds."""

    def __init__(self, quiet: bool, label: str) -> None:
        from tqdm import tqdm

        hidden = quiet or not sys.stderr.isatty()
        self._bar = tqdm(desc=label, unit="step", disable=hidden, delay=2.0, leave=False, file=sys.stderr)

    def plan(self, steps: int) -> None:
        """Announce how many steps there will be."""
        self._bar.total = steps
        self._bar.refresh()

    def tick(self, steps: int) -> None:
        """Count steps that were done."""
        if self._bar.total is not None and self._bar.n + steps > self._bar.total:
            self._bar.total = self._bar.n + steps
        self._bar.update(steps)

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()


@contextlib.contextmanager
def progress(quiet: bool, label: str) -> Iterator[Progress]:
    """Show a bar that disappears when the work is done or has failed."""
    bar = Progress(quiet, label)
    try:
        yield bar
    finally:
        bar.close()


def rate(header: SignalHeader, n_bytes: int) -> dict[str, float]:
    """Return ``bpp``, or ``kbps`` for audio, of a number of bytes."""
    if header.kind == "audio":
        return {"kbps": round(metrics.kbps(n_bytes, header.n_points, header.sample_rate), 4)}
    return {"bpp": round(metrics.bpp(n_bytes, header.n_points), 5)}


def quality(original: Signal, decoded: Signal, optimise: str = "psnr") -> dict[str, Any]:
    """Return the quality of a decoded signal: ``psnr`` in dB, ``snr`` of audio, ``max_error`` of fields.

    ``max_error`` is the largest absolute error in physical units. Images have ``ms_ssim`` too where they were optimised
    for it.
    """
    out: dict[str, Any] = {"psnr": number(metrics.signal_psnr(original, decoded))}
    if original.header.kind == "audio":
        out["snr"] = number(metrics.snr(original.values, decoded.values))
    if optimise == "ms-ssim":
        from inrcodec.signals.ms_ssim import signal_ms_ssim

        found = signal_ms_ssim(original, decoded)
        out["ms_ssim"] = None if found is None else round(found, 5)
    if original.header.kind == "field":
        error = np.abs(original.values.astype(np.float64) - decoded.values).max() * original.meta.scale
        out["max_error"] = float(error)
    return out


def number(value: float) -> float | None:
    """Return a figure for JSON with three decimals; equal signals, whose PSNR is infinite, give null."""
    return round(value, 3) if math.isfinite(value) else None


def size_key(header: SignalHeader) -> dict[str, int]:
    """Return ``pixels`` of an image, ``samples`` of audio or ``points`` of a field."""
    return {{"image": "pixels", "audio": "samples", "field": "points"}[header.kind]: header.n_points}


def show(report: dict[str, Any], as_json: bool, quiet: bool = False, err: bool = False) -> None:
    """Print one report as a JSON line or a readable one; without --json, --quiet prints nothing.

    With ``err`` it goes to stderr, because stdout takes the data.
    """
    if as_json:
        click.echo(json.dumps(report), err=err)
    elif not quiet:
        click.echo(readable(report), err=err)


def readable(report: dict[str, Any]) -> str:
    """Return a report as one line for people."""
    where = printable(report.get("output") or report.get("input") or "")
    if report.get("summary"):
        where = f"mean of {report['files']}"
    parts = []
    if "bytes" in report:
        parts.append(f"{report['bytes']:,} bytes")
    for key, unit, digits in (
        ("bpp", "bpp", 3),
        ("kbps", "kbit/s", 2),
        ("psnr", "dB PSNR", 2),
        ("snr", "dB SNR", 2),
        ("ms_ssim", "MS-SSIM", 4),
        ("max_error", "max error", 4),
        ("encode_seconds", "s to encode", 1),
        ("decode_seconds", "s to decode", 2),
    ):
        if report.get(key) is not None:
            parts.append(f"{report[key]:.{digits}f} {unit}")
    return f"{where}: {', '.join(parts)}"


def printable(text: str) -> str:
    """Return text for one line of a terminal: characters that file names may hold but lines may not, as escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def summary(reports: Sequence[dict[str, Any]], total_bytes: int | None = None) -> dict[str, Any]:
    """Return the means of all figures over files, and the total of their bytes."""
    out: dict[str, Any] = {"summary": True, "files": len(reports)}
    if any("bytes" in report for report in reports):
        out["bytes"] = total_bytes if total_bytes is not None else sum(report["bytes"] for report in reports)
        out["payload_bytes"] = sum(report["payload_bytes"] for report in reports)
    for key in ("bpp", "kbps", "psnr", "snr", "max_error", "encode_seconds", "decode_seconds"):
        values = [report[key] for report in reports if report.get(key) is not None]
        if values:
            out[key] = round(float(np.mean(values)), 5)
    return out


def parse_size(
    size: str | None, grid: str | None, header: SignalHeader, orientation: int = 1
) -> tuple[int, ...] | None:
    """Return grid points per axis, in array order, from ``--size`` (WIDTHxHEIGHT) or ``--grid`` (array order).

    The size of an image is that of the image as shown, so an ``orientation`` that turns it swaps width and height.
    """
    if size is not None and grid is not None:
        raise UsageError("give either size or grid, not both")
    if grid is not None and header.kind != "field":
        raise UsageError(
            f"grid is for fields: use {'rate' if header.kind == 'audio' else 'size'} for this {header.kind}"
        )
    text = size if size is not None else grid
    if text is None:
        return None
    try:
        numbers = tuple(int(part) for part in text.lower().split("x"))
    except ValueError:
        raise UsageError(f"size must look like 1536x1024, got {text!r}") from None
    return numbers[::-1] if header.kind == "image" and orientation < TRANSPOSED else numbers


TRANSPOSED = 5
"""From this EXIF orientation on, rows of the stored image are shown as columns."""
_MIRRORED_COLUMNS, _MIRRORED_ROWS = (2, 3, 7, 8), (3, 4, 6, 7)
"""EXIF orientations that show the last stored column, or row, first."""


def parse_region(
    text: str | None, header: SignalHeader, orientation: int = 1, shape: Sequence[int] = ()
) -> tuple[int, ...] | None:
    """Return a region in array order from integers with commas between them.

    Regions of images are given as they are shown: left, top, width, height.

    Args:
        text: the region.
        header: the header of the signal.
        orientation: the EXIF orientation of an image.
        shape: the decoded grid that the region is a part of, in array order as stored; by default the signal's own.
    """
    if text is None:
        return None
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"region must look like 100,50,256,256, got {text!r}") from None
    if header.kind != "image" or len(numbers) != 4:
        return numbers
    left, top, width, height = numbers
    if orientation == 1:
        return top, left, height, width
    rows, columns = shape or header.shape
    shown = (rows, columns) if orientation >= TRANSPOSED else (columns, rows)
    if not (0 <= left < left + width <= shown[0] and 0 <= top < top + height <= shown[1]):
        raise UsageError(f"region out of range: the image is shown as {shown[0]}x{shown[1]}, got {text}")
    if orientation >= TRANSPOSED:
        left, top, width, height = top, left, height, width
    if orientation in _MIRRORED_COLUMNS:
        left = columns - left - width
    if orientation in _MIRRORED_ROWS:
        top = rows - top - height
    return top, left, height, width


def parse_select(items: Sequence[str]) -> dict[str, float]:
    """Return the axes that ``--select`` fixes: axis=index (an integer) or axis=value (with a decimal point)."""
    out: dict[str, float] = {}
    for item in items:
        name, _, text = item.partition("=")
        try:
            out[name] = int(text) if text.lstrip("-").isdigit() else float(text)
        except ValueError:
            raise UsageError(f"select must look like level=0 or level=500.0, got {item!r}") from None
    return out


def file_figures(opened: inrcodec.InrFile, index: int) -> dict[str, Any]:
    """Return codec, prior and bytes of an entry."""
    info, container = opened.info, opened.container(index)
    return {
        "codec": info["codec"],
        "prior": info["prior"],
        "bytes": opened.entry_bytes(index),
        "payload_bytes": len(container.payload),
    }


def archive_summary(reports: list[dict[str, Any]], opened: inrcodec.InrFile, target: str) -> dict[str, Any]:
    """Return the means over an archive; ``bytes`` and the rate are those of the whole file."""
    headers = [opened.container(index).header for index in range(len(opened))]
    out = summary(reports, len(opened.data))
    if "bpp" in out:
        out["bpp"] = round(8 * len(opened.data) / sum(header.n_points for header in headers), 5)
    if "kbps" in out:
        seconds = sum(header.n_points / header.sample_rate for header in headers)
        out["kbps"] = round(8 * len(opened.data) / seconds / 1000, 4)
    return {**out, "payload_bytes": opened.payload_bytes, "output": target}
