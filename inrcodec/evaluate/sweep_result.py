"""Hold the result of a sweep: points, curves, BD-rates, and ways to draw and write them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from inrcodec.errors import DataError, UsageError
from inrcodec.evaluate.bd_rate import BDRate, Curve, bd_rate, in_db
from inrcodec.evaluate.points import Point, mean_curve, to_csv
from inrcodec.evaluate.sweep_jobs import versions
from inrcodec.signals.signal import Signal
from inrcodec.storage import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(repr=False)
class Sweep:
    """Holds the points of a sweep and compares their curves.

    Attributes:
        folder: folder of the sweep.
        unit: unit of rates, "bpp" or "kbps".
        points: all points.
        published: published curves by codec.
        failed: one line for every point that failed, with the reason.
        sources: the signals, or their files, by name.
    """

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
        """Return the names of the curves that were run, this package's codecs first."""
        names = dict.fromkeys(point.series for point in self.points)
        return sorted(names, key=lambda name: name in self.baselines)

    @property
    def baselines(self) -> list[str]:
        """Return the names of the curves of other codecs that were run."""
        return list(dict.fromkeys(point.series for point in self.points if point.details.get("codec") is None))

    def curve(self, series: str, metric: str = "psnr") -> Curve:
        """Return mean (rate, metric) over the signals, for a curve that was run or a published one.

        Args:
            series: name of the curve.
            metric: "psnr", "snr" or "ms_ssim"; published curves only have "psnr".

        Raises:
            UsageError: there is no such curve.
        """
        if series in self.series:
            return mean_curve(self.points, series, lambda point: getattr(point, metric))
        if series in self.published and metric == "psnr":
            return self.published[series]
        raise UsageError(f"no curve {series!r}: there are {', '.join([*self.series, *self.published])}")

    def bd_rate(self, reference: str, series: str, metric: str = "psnr") -> BDRate | None:
        """Return the BD-rate of ``series`` against ``reference``; None if they have no quality in common.

        Args:
            reference: name of the curve to compare with.
            series: name of the curve.
            metric: "psnr", "snr" or "ms_ssim", which is compared in dB: -10 log10(1 - MS-SSIM).

        Raises:
            UsageError: there is no such curve.
            DataError: a curve has fewer than two points.
        """
        return bd_rate(in_db(self.curve(reference, metric), metric), in_db(self.curve(series, metric), metric))

    def plot(self, ax: Axes | None = None, *, metric: str = "psnr", signal: str | None = None) -> Axes:
        """Draw rate-distortion curves and return their axes.

        Args:
            ax: axes to draw on; a new figure by default.
            metric: "psnr", "snr" or "ms_ssim".
            signal: name of one signal; the mean over all by default.
        """
        from inrcodec.evaluate.plots import plot_curves

        return plot_curves(self, ax, metric, signal)

    def to_csv(self, path: str | Path | None = None) -> str:
        """Return all points as a CSV table, and write it to ``path`` if one is given."""
        text = to_csv(self.points)
        if path is not None:
            write_whole(Path(path), text.encode(), force=True)
        return text

    def to_json(self) -> str:
        """Return all points, mean curves and BD-rates as JSON."""
        curves = {name: self.curve(name) for name in self.series}
        rates = [
            {"reference": reference, "series": name, **({} if rate is None else asdict(rate))}
            for reference, name, rate in self.bd_rates()
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
        """Yield (reference, series, BD-rate) for every codec of this package against all other curves."""
        codecs = [name for name in self.series if name not in self.baselines]
        for name in codecs:
            for reference in [*self.published, *self.baselines, *(other for other in codecs if other != name)]:
                try:
                    yield reference, name, self.bd_rate(reference, name)
                except DataError:
                    yield reference, name, None

    def report(self, path: str | Path | None = None) -> Path:
        """Write the report, one HTML file, to ``path`` or ``report.html`` in the folder, and return its path."""
        from inrcodec.evaluate.report import write_report

        return write_report(self, Path(path) if path is not None else self.folder / "report.html")

    def _repr_html_(self) -> str:
        from inrcodec.evaluate.report import summary_html

        return summary_html(self)
