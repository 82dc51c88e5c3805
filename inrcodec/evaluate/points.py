"""Points of rate-distortion curves."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from inrcodec.evaluate.json_log import JsonLog


@dataclass(frozen=True)
class Point:
    """One file of one signal.

    ``series``: the curve that it is a point of, a codec's name; ``setting``: what was asked for, as "bpp=0.3". ``rate``
    is in ``unit``, "bpp" or "kbps", of the whole file. ``psnr`` in dB, ``snr`` (sounds) in dB, ``ms_ssim`` (images).
    ``file``: the file itself, beside the log. ``details``: every setting and version.
    """

    key: str
    signal: str
    series: str
    setting: str
    unit: str
    file_bytes: int
    payload_bytes: int
    rate: float
    psnr: float
    encode_seconds: float
    decode_seconds: float
    snr: float | None = None
    ms_ssim: float | None = None
    file: str = ""
    details: dict[str, Any] = field(default_factory=dict)


def open_log(path: Path) -> JsonLog[Point]:
    """The points of a sweep, kept in ``path`` while it runs."""
    known = {part.name for part in fields(Point)}
    return JsonLog(path, lambda found: Point(**{k: v for k, v in found.items() if k in known}), asdict, lambda p: p.key)


def mean_curve(
    points: Iterable[Point], series: str, value: Callable[[Point], float | None] | None = None
) -> list[tuple[float, float]]:
    """(rate, PSNR) of a series, the means over all its signals at each setting that all of them have; by rising rate.

    ``value``: another figure than PSNR; settings where it is missing are left out.
    """
    measure = value or (lambda point: point.psnr)
    by_setting: dict[str, list[Point]] = defaultdict(list)
    signals = set()
    for point in points:
        if point.series == series:
            by_setting[point.setting].append(point)
            signals.add(point.signal)
    curve = []
    for here in by_setting.values():
        values = [measure(point) for point in here]
        if {point.signal for point in here} == signals and all(v is not None and np.isfinite(v) for v in values):
            curve.append(
                (float(np.mean([point.rate for point in here])), float(np.mean([v for v in values if v is not None])))
            )
    return sorted(curve)


def to_csv(points: Sequence[Point]) -> str:
    """A table of all points, a column for every setting and version."""
    details = sorted({name for point in points for name in point.details})
    columns = [part.name for part in fields(Point) if part.name != "details"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*columns, *details])
    for point in points:
        row = [getattr(point, name) for name in columns] + [point.details.get(name) for name in details]
        writer.writerow(["" if value is None else value for value in row])
    return out.getvalue()
