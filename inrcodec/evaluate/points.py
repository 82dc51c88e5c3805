"""Points of rate-distortion curves, their mean curves and tables."""

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
    """Holds the results for one file of one signal.

    Attributes:
        key: hash of all that the point depends on.
        signal: name of the signal.
        series: the curve that the point belongs to, a codec's name.
        setting: what was asked for, such as "bpp=0.3".
        unit: unit of the rate, "bpp" or "kbps".
        file_bytes: length of the file.
        payload_bytes: bytes that the codec wrote.
        rate: rate of the whole file in ``unit``.
        psnr: PSNR in dB.
        encode_seconds, decode_seconds: times.
        snr: SNR of audio in dB.
        ms_ssim: MS-SSIM of images.
        file: path of the file relative to the log's folder.
        details: every setting and version.
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
    """Open the log of a sweep's points, which keeps them in ``path``; unknown fields are ignored."""
    known = {attribute.name for attribute in fields(Point)}
    return JsonLog(path, lambda entry: Point(**{k: v for k, v in entry.items() if k in known}), asdict, lambda p: p.key)


def mean_curve(
    points: Iterable[Point], series: str, value: Callable[[Point], float | None] | None = None
) -> list[tuple[float, float]]:
    """Return (rate, metric) of a series, averaged over its signals, by rising rate.

    Args:
        points: points of any series.
        series: the series.
        value: returns the metric of a point, PSNR by default. Settings at which it is missing for a signal, or which
            not all signals have, are left out.
    """
    metric = value or (lambda point: point.psnr)
    by_setting: dict[str, list[Point]] = defaultdict(list)
    signals = set()
    for point in points:
        if point.series == series:
            by_setting[point.setting].append(point)
            signals.add(point.signal)
    curve = []
    for of_setting in by_setting.values():
        values = [v for point in of_setting if (v := metric(point)) is not None and np.isfinite(v)]
        if {point.signal for point in of_setting} == signals and len(values) == len(of_setting):
            curve.append((float(np.mean([point.rate for point in of_setting])), float(np.mean(values))))
    return sorted(curve)


def to_csv(points: Sequence[Point]) -> str:
    """Return a CSV table of points with a column for every setting and version.

    A detail that has the name of a column of all points gets the prefix "detail_".
    """
    details = sorted({name for point in points for name in point.details})
    columns = [attribute.name for attribute in fields(Point) if attribute.name != "details"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*columns, *(f"detail_{name}" if name in columns else name for name in details)])
    for point in points:
        row = [getattr(point, name) for name in columns] + [point.details.get(name) for name in details]
        writer.writerow(["" if value is None else value for value in row])
    return out.getvalue()
