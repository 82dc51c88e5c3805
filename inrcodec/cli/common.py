"""What the commands share: progress bars, reports of results, parsing of sizes and selections."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click
import numpy as np

from inrcodec.errors import UsageError
from inrcodec.signals import metrics
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.signal import Signal

Tick = Callable[[int], None]
Command = Callable[..., Any]


def worker_options(command: Command) -> Command:
    """``--workers`` and ``--scheduler`` of commands whose work is spread."""
    for option in (
        click.option(
            "--scheduler",
            metavar="ADDRESS",
            help="Dask cluster that works, like tcp://host:8786; local: "
            "one of N workers on this machine. Nodes share a file system.",
        ),
        click.option(
            "--workers", metavar="N", type=click.IntRange(1), help="Processes of one thread each. Default: 1."
        ),
    ):
        command = option(command)
    return command


class Progress:
    """A bar of gradient steps on stderr: only on a terminal, not with --quiet, and not before two seconds."""

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
    """A bar that is gone when the work is done or has failed."""
    bar = Progress(quiet, label)
    try:
        yield bar
    finally:
        bar.close()


def rate(header: SignalHeader, n_bytes: int) -> dict[str, float]:
    """``bpp``, or ``kbps`` of a sound, of a number of bytes."""
    if header.kind == "audio":
        return {"kbps": round(metrics.kbps(n_bytes, header.n_points, header.sample_rate), 4)}
    return {"bpp": round(metrics.bpp(n_bytes, header.n_points), 5)}


def quality(original: Signal, decoded: Signal, measure: str = "psnr") -> dict[str, Any]:
    """``psnr`` in dB, of a sound ``snr``, of a field the largest absolute error in physical units, of an image
    ``ms_ssim`` where it is the ``measure``."""
    out: dict[str, Any] = {"psnr": number(metrics.signal_psnr(original, decoded))}
    if original.header.kind == "audio":
        out["snr"] = number(metrics.snr(original.values, decoded.values))
    if measure == "ms-ssim":
        from inrcodec.signals.ms_ssim import signal_ms_ssim

        found = signal_ms_ssim(original, decoded)
        out["ms_ssim"] = None if found is None else round(found, 5)
    if original.header.kind == "field":
        error = np.abs(original.values.astype(np.float64) - decoded.values).max() * original.meta.scale
        out["max_error"] = float(error)
    return out


def number(value: float) -> float | None:
    """A figure for JSON: three decimals; equal signals, whose PSNR is infinite, give null."""
    return round(value, 3) if math.isfinite(value) else None


def size_key(header: SignalHeader) -> dict[str, int]:
    """``pixels`` of an image, ``samples`` of a sound, ``points`` of a field."""
    return {{"image": "pixels", "audio": "samples", "field": "points"}[header.kind]: header.n_points}


def show(report: dict[str, Any], as_json: bool, quiet: bool = False) -> None:
    """One report: a JSON line, or a readable line; without --json, --quiet prints nothing."""
    if as_json:
        click.echo(json.dumps(report))
    elif not quiet:
        click.echo(readable(report))


def readable(report: dict[str, Any]) -> str:
    """A report as one line for people."""
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
        ("max_error", "largest error", 4),
        ("encode_seconds", "s to encode", 1),
        ("decode_seconds", "s to decode", 2),
    ):
        if report.get(key) is not None:
            parts.append(f"{report[key]:.{digits}f} {unit}")
    return f"{where}: {', '.join(parts)}"


def printable(text: str) -> str:
    """Text for a terminal's line: line ends, other control characters and bytes that are no text, which names of files
    may hold, as escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def summary(reports: Sequence[dict[str, Any]], total_bytes: int | None = None) -> dict[str, Any]:
    """Means of all figures over the files, and their total of bytes."""
    out: dict[str, Any] = {"summary": True, "files": len(reports)}
    if any("bytes" in report for report in reports):
        out["bytes"] = total_bytes if total_bytes is not None else sum(report["bytes"] for report in reports)
        out["payload_bytes"] = sum(report["payload_bytes"] for report in reports)
    for key in ("bpp", "kbps", "psnr", "snr", "max_error", "encode_seconds", "decode_seconds"):
        values = [report[key] for report in reports if report.get(key) is not None]
        if values:
            out[key] = round(float(np.mean(values)), 5)
    return out


def parse_size(size: str | None, grid: str | None, header: SignalHeader) -> tuple[int, ...] | None:
    """``size``, WIDTHxHEIGHT of an image, or ``grid``, the points along each axis of a field in order, as grid points
    per axis."""
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
    return numbers[::-1] if header.kind == "image" else numbers


def parse_region(text: str | None) -> tuple[int, ...] | None:
    """Whole numbers with commas between them."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"region must look like 100,50,256,256, got {text!r}") from None


def parse_select(items: Sequence[str]) -> dict[str, float]:
    """axis=index (a whole number) or axis=value (with a decimal point) of --select."""
    out: dict[str, float] = {}
    for item in items:
        name, _, text = item.partition("=")
        try:
            out[name] = int(text) if text.lstrip("-").isdigit() else float(text)
        except ValueError:
            raise UsageError(f"select must look like level=0 or level=500.0, got {item!r}") from None
    return out
