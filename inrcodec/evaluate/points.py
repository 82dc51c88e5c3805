"""Points of rate-distortion curves, and the file that keeps them while a sweep runs.

A log is one JSON object per line, each written and synced before the next point is begun: whatever kills a sweep, at
most the points in work are lost, and half a line at the end is taken for what it is.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from inrcodec.ground.errors import DataError


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


class PointLog:
    """The points of a sweep in ``path``; opening it reads what an earlier run has left."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.points: dict[str, Point] = {}
        known = {part.name for part in fields(Point)}
        whole = 0
        if path.exists():
            data = path.read_bytes()
            for line in data.splitlines(keepends=True):
                try:
                    found = json.loads(line) if line.endswith(b"\n") else None
                    point = Point(**{k: v for k, v in found.items() if k in known}) if found else None
                except (ValueError, TypeError, AttributeError):
                    raise DataError(f"{path}: line {len(self.points) + 1} is not a point of a sweep") from None
                if point is None:
                    break
                self.points[point.key] = point
                whole += len(line)
            if whole < len(data):
                os.truncate(path, whole)

    def add(self, point: Point) -> None:
        """Keep a point for good."""
        with open(self.path, "ab") as file:
            file.write(json.dumps(asdict(point), sort_keys=True).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.points[point.key] = point


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
