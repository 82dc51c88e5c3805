"""Rate-distortion sweeps: many signals at many rates by many codecs, resumed where they were left.

    result = sweep(["kodim01.png", "kodim02.png"], rates=[0.1, 0.2, 0.4], compare=["jpeg", "webp"], out="rd")
    result.bd_rate("jpeg", "hierarchical"), result.plot(), result.to_csv("rd.csv")

In the folder: ``points.jsonl`` (see ``points``), ``files/`` with every file made. A point is known by its signal,
settings, prior and this package's version, and never made twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from inrcodec.codecs.choice import default_prior
from inrcodec.codecs.operations import Settings, rival
from inrcodec.evaluate.baselines import baseline_named
from inrcodec.evaluate.bd_rate import BDRate, Curve, bd_rate
from inrcodec.evaluate.jobs import UNITS, Job, point_or_error, read_source, settings_for_workers, versions
from inrcodec.evaluate.json_log import JsonLog
from inrcodec.evaluate.points import Point, mean_curve, open_log, to_csv
from inrcodec.evaluate.published import published_curves
from inrcodec.evaluate.workers import open_workers
from inrcodec.ground.errors import DataError, UsageError
from inrcodec.ground.signal import Signal
from inrcodec.ground.version import VERSION
from inrcodec.ground.work import Workers
from inrcodec.maths.atomic import write_whole
from inrcodec.methods.bitsback import SCHEMES
from inrcodec.models import prior_store

if TYPE_CHECKING:
    from matplotlib.axes import Axes

USUAL_RATES = {"image": (0.1, 0.2, 0.4, 0.8), "audio": (6.0, 12.0, 24.0, 48.0), "field": (0.05, 0.1, 0.2, 0.4)}
"""Bits per point, of sounds kbit/s."""

Input = str | Path | Signal


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
            "unit": self.unit, "points": [asdict(point) for point in self.points], "mean_curves": curves,
            "published": self.published, "bd_rates": rates, "failed": self.failed, "versions": versions(),
        }  # fmt: skip
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


def sweep(
    inputs: Iterable[Input], *, codecs: Sequence[str] = ("hierarchical",), betas: Sequence[float] = (),
    rates: Sequence[float] = (), compare: Sequence[str] = (), published: str | Path | None = None,
    out: str | Path = "sweep", effort: str = "default", prior: str | None = None, workers: int | None = None,
    scheduler: str | None = None, progress: bool = True,
) -> Sweep:  # fmt: skip
    """Make all points that are missing in the folder ``out``; returns all.

    Args:
        inputs: paths or Signals of one kind.
        codecs: codecs of this package with loss, and "auto": what ``compress`` chooses.
        betas, rates: what each is asked for: weights of a bit, file bits per point (kbit/s of sounds); by default
            four usual rates.
        compare: baselines, each at eight of its settings.
        published: "kodak", "cifar10", "librispeech", "era5" (tables in the folder that INRCODEC_DATA names) or a CSV
            file with columns codec, bpp or kbps, psnr.
        effort, prior: as for ``compress``.
        workers, scheduler: processes of one thread each, or a dask cluster, see ``workers.open_workers``; by default
            all is done in this process.
        progress: a bar with the time that is left.

    Raises:
        UsageError: options. DataError: an input, or no point could be made.
    """
    sources = _named(inputs)
    kinds = {read_source(source).header.kind for source in sources.values()}
    if len(kinds) != 1:
        raise UsageError(f"a sweep takes signals of one kind, got {' and '.join(sorted(kinds)) or 'none'}")
    kind = kinds.pop()
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    curves = published_curves(published) if published is not None else {}
    jobs = list(
        _jobs(sources, kind, codecs, betas, rates or (() if betas else USUAL_RATES[kind]), compare, effort, prior)
    )
    (folder / "files").mkdir(parents=True, exist_ok=True)
    with open_log(folder / "points.jsonl") as log:
        missing = [job for job in jobs if job.key not in log.entries]
        with open_workers(workers, scheduler) as spread:
            failed = _make(missing, log, folder.absolute() / "files", spread, len(jobs), progress)
    points = [log.entries[job.key] for job in jobs if job.key in log.entries]
    if not points:
        raise DataError(f"no point of the sweep could be made: {failed[0]}")
    return Sweep(folder, UNITS[kind], points, curves, failed, sources)


def _named(inputs: Iterable[Input]) -> dict[str, Path | Signal]:
    """Sources by names that tell them apart."""
    items = [item if isinstance(item, Signal) else Path(item) for item in inputs]
    out: dict[str, Path | Signal] = {}
    for number, item in enumerate(items):
        name = item.stem if isinstance(item, Path) else f"signal{number:03d}"
        if name in out and isinstance(item, Path):
            name = str(item)
        if name in out:
            raise UsageError(f"{name} is given twice")
        out[name] = item
    return out


def _jobs(
    sources: dict[str, Path | Signal], kind: str, codecs: Sequence[str], betas: Sequence[float],
    rates: Sequence[float], compare: Sequence[str], effort: str, prior: str | None,
) -> Iterator[Job]:  # fmt: skip
    audio = kind == "audio"
    for codec in codecs:
        if codec in SCHEMES:
            raise UsageError(f"a sweep takes the names of codecs with loss, got {codec}")
    asked = [Settings(codec, prior, effort, beta=beta) for codec in codecs for beta in betas]
    for codec in codecs:
        plain = Settings(codec, prior, effort)
        asked += [replace(plain, target_kbps=rate) if audio else replace(plain, target_bpp=rate) for rate in rates]
    baselines = [baseline_named(name) for name in compare]
    for baseline in baselines:
        if baseline.kind != kind:
            raise UsageError(f"{baseline.name} is no codec for signals of kind {kind}")
    for name, source in sources.items():
        signal = read_source(source)
        where = source.absolute() if isinstance(source, Path) else source
        digest = hashlib.sha256(signal.values.tobytes() + repr(signal.header).encode()).hexdigest()
        for settings in asked:
            setting = (
                f"beta={settings.beta:g}"
                if settings.beta
                else f"{UNITS[kind]}={settings.target_kbps or settings.target_bpp:g}"
            )
            identity = _prior_id(signal, settings)
            if (other := rival(signal, settings)) is not None:
                identity += _prior_id(signal, other)
            key = _key(digest, settings.codec, setting, asdict(settings), identity, VERSION)
            yield Job(key, name, where, settings.codec, setting, settings_for_workers(settings))
        for baseline in baselines:
            for value in baseline.curve():
                key = _key(digest, baseline.name, baseline.about, value)
                yield Job(key, name, where, baseline.name, f"setting={value:g}", None, baseline.name, value)


def _key(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]


def _prior_id(signal: Signal, settings: Settings) -> str:
    if settings.codec == "coin":
        return ""
    name = settings.prior or default_prior(signal, settings.codec)
    path = prior_store.prior_files().get(name, Path(name))
    return prior_store.file_id(path).hex() if path.is_file() else prior_store.find(name).id.hex()


def _make(
    jobs: Sequence[Job], log: JsonLog[Point], files: Path, workers: Workers, total: int, progress: bool
) -> list[str]:
    """Make points and log them as they come; returns what failed."""
    failed = []
    with tqdm(
        total=total, initial=total - len(jobs), desc="sweep", unit="point", disable=None if progress else True,
        smoothing=0.1,
    ) as bar:  # fmt: skip
        for job, outcome in workers.outcomes(partial(point_or_error, files=files), jobs, _lost):
            if isinstance(outcome, Point):
                log.add(outcome)
            else:
                failed.append(f"{job.name}, {job.series}, {job.setting}: {outcome}")
            bar.set_postfix_str(f"{job.name} {job.series} {job.setting}", refresh=False)
            bar.update(1)
    return failed


def _lost(job: Job) -> str:
    return "its worker died (killed, or out of memory)"
