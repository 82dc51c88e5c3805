"""TODO-DOC."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from inrcodec.errors import DataError, UsageError
from inrcodec.evaluate.bd_rate import BDRate, Curve, bd_rate
from inrcodec.evaluate.points import Point, mean_curve, to_csv
from inrcodec.evaluate.sweep_jobs import versions
from inrcodec.signals.signal import Signal
from inrcodec.storage import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(repr=False)
class Sweep:
    """What a sweep has found. ``published``: curves as published; ``failed``: what could not be made, and why."""

    folder: Path
    unit: str
    points: list[Point]
    published: Mapping[str, Curve] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    sources: dict[str, Path | Signal] = field(default_factory=dict)

    def __repr__(self) -> str:
        signals = len({point.signal for point in self.points})
        return f"<Sweep of {len(self.points)} points: {signals} signals by {', '.join(self.series)}>"

    @property
    def series(self) -> list[str]:
        """Names of the curves that were run, this package's codecs first."""
        names = dict.fromkeys(point.series for point in self.points)
        return sorted(names, key=lambda name: name in self.baselines)

    @property
    def baselines(self) -> list[str]:
        """Those of them that are other codecs."""
        return list(dict.fromkeys(point.series for point in self.points if point.details.get("codec") is None))

    def curve(self, series: str, measure: str = "psnr") -> Curve:
        """Mean (rate, ``measure``) over the signals, of a curve that was run or of a published one.

        ``measure``: "psnr", "snr" or "ms_ssim". UsageError when there is no such curve.
        """
        if series in self.series:
            return mean_curve(self.points, series, lambda point: getattr(point, measure))
        if series in self.published and measure == "psnr":
            return self.published[series]
        raise UsageError(f"no curve {series!r}: there are {', '.join([*self.series, *self.published])}")

    def bd_rate(self, reference: str, series: str) -> BDRate | None:
        """Bits of ``series`` against ``reference`` at equal PSNR; None where they have no PSNR in common."""
        return bd_rate(self.curve(reference), self.curve(series))

    def plot(self, ax: Axes | None = None, *, measure: str = "psnr", signal: str | None = None) -> Axes:
        """Rate-distortion curves, of the mean or of one signal, on ``ax`` or on a new figure."""
        from inrcodec.evaluate.plots import plot_curves

        return plot_curves(self, ax, measure, signal)

    def to_csv(self, path: str | Path | None = None) -> str:
        """All points as a table, written to ``path`` where it is given."""
        text = to_csv(self.points)
        if path is not None:
            write_whole(Path(path), text.encode(), force=True)
        return text

    def to_json(self) -> str:
        """All points, mean curves and BD-rates."""
        curves = {name: self.curve(name) for name in self.series}
        rates = [
            {"reference": reference, "series": name, **({} if found is None else asdict(found))}
            for reference, name, found in self.bd_rates()
        ]
        content = {
            "unit": self.unit,
            "points": [asdict(point) for point in self.points],
            "mean_curves": curves,
            "published": self.published,
            "bd_rates": rates,
            "failed": self.failed,
            "versions": versions(),
        }
        return json.dumps(content, indent=1)

    def bd_rates(self) -> Iterator[tuple[str, str, BDRate | None]]:
        """(reference, series, BD-rate) of every codec of this package against all other curves."""
        own = [name for name in self.series if name not in self.baselines]
        for name in own:
            for reference in [*self.published, *self.baselines, *(other for other in own if other != name)]:
                try:
                    yield reference, name, self.bd_rate(reference, name)
                except DataError:
                    yield reference, name, None

    def report(self, path: str | Path | None = None) -> Path:
        """Write the report, one HTML file, by default ``report.html`` in the folder."""
        from inrcodec.evaluate.report import write_report

        return write_report(self, Path(path) if path is not None else self.folder / "report.html")

    def _repr_html_(self) -> str:
        from inrcodec.evaluate.report import summary_html

        return summary_html(self)
