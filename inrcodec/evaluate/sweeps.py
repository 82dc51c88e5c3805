"""Run rate-distortion sweeps: many signals at many rates by many codecs, resumed after an interruption.

    result = sweep(["kodim01.png", "kodim02.png"], rates=[0.1, 0.2, 0.4], compare=["jpeg", "webp"], out="rd")
    result.bd_rate("jpeg", "hierarchical"), result.plot(), result.to_csv("rd.csv")

The folder of a sweep holds ``points.jsonl`` (see ``points``) and, in ``files/``, every file. A point is identified by
its signal, settings, prior and this package's version, and is never computed twice. This module is not called
``sweep``, since a module of that name would hide the function in ``inrcodec.evaluate``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from inrcodec.codecs import prior_store
from inrcodec.codecs.registry import default_prior, family_named
from inrcodec.encoding import candidates
from inrcodec.errors import DataError, UsageError
from inrcodec.evaluate.baselines import baseline_named
from inrcodec.evaluate.json_log import JsonLog
from inrcodec.evaluate.points import Point, open_log
from inrcodec.evaluate.published import published_curves
from inrcodec.evaluate.sweep_jobs import UNITS, Job, point_or_error, read_source, settings_for_workers
from inrcodec.evaluate.sweep_result import Sweep
from inrcodec.parallel.base import Workers
from inrcodec.parallel.local import open_workers
from inrcodec.settings import Settings
from inrcodec.signals.signal import Signal
from inrcodec.version import VERSION

DEFAULT_RATES = {"image": (0.1, 0.2, 0.4, 0.8), "audio": (6.0, 12.0, 24.0, 48.0), "field": (0.05, 0.1, 0.2, 0.4)}
"""Default target rates by kind of signal: kbit/s for audio, bits per point for the others."""

Input = str | Path | Signal


def sweep(
    inputs: Iterable[Input],
    *,
    codecs: Sequence[str] = ("hierarchical",),
    betas: Sequence[float] = (),
    rates: Sequence[float] = (),
    compare: Sequence[str] = (),
    published: str | Path | None = None,
    out: str | Path = "sweep",
    effort: str = "default",
    prior: str | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: bool = True,
) -> Sweep:
    """Compute all points that are missing in the folder ``out``, and return all points.

    Args:
        inputs: paths or Signals of one kind.
        codecs: lossy codecs of this package; "auto" is what ``compress`` chooses.
        betas: weights of a bit to encode at, see ``Settings``.
        rates: target rates to encode at: file bits per point, or kbit/s for audio. Without betas and rates, four
            default rates.
        compare: names of baselines, each run at eight of its settings.
        published: "kodak", "cifar10", "librispeech", "era5" (tables in the folder that INRCODEC_DATA names) or a CSV
            file with columns codec, bpp or kbps, psnr.
        out: folder of the sweep.
        effort, prior: as for ``compress``.
        workers: number of single-threaded processes, see ``parallel.local.open_workers``; by default, everything runs
            in this process.
        scheduler: a Dask cluster to use instead.
        progress: show a progress bar on a terminal.

    Raises:
        UsageError: the options are wrong. DataError: an input cannot be read, or every point failed.
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
        _jobs(sources, kind, codecs, betas, rates or (() if betas else DEFAULT_RATES[kind]), compare, effort, prior)
    )
    (folder / "files").mkdir(parents=True, exist_ok=True)
    with open_log(folder / "points.jsonl") as log:
        missing = [job for job in jobs if job.key not in log.entries]
        with open_workers(workers, scheduler) as opened_workers:
            failed = _run(missing, log, folder.absolute() / "files", opened_workers, len(jobs), progress)
    points = [log.entries[job.key] for job in jobs if job.key in log.entries]
    if not points:
        raise DataError(f"every point of the sweep failed: {failed[0]}")
    return Sweep(folder, UNITS[kind], points, curves, failed, sources)


def _named(inputs: Iterable[Input]) -> dict[str, Path | Signal]:
    """Return the sources by unique names."""
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
    sources: dict[str, Path | Signal],
    kind: str,
    codecs: Sequence[str],
    betas: Sequence[float],
    rates: Sequence[float],
    compare: Sequence[str],
    effort: str,
    prior: str | None,
) -> Iterator[Job]:
    audio = kind == "audio"
    for codec in codecs:
        if family_named(codec).lossless:
            raise UsageError(f"a sweep compares lossy codecs, {codec} is lossless")
    operating_points = [
        Settings(codec=codec, prior=prior, effort=effort, beta=beta) for codec in codecs for beta in betas
    ]
    for codec in codecs:
        base = Settings(codec=codec, prior=prior, effort=effort)
        operating_points += [
            replace(base, target_kbps=rate) if audio else replace(base, target_bpp=rate) for rate in rates
        ]
    baselines = [baseline_named(name) for name in compare]
    for baseline in baselines:
        if baseline.kind != kind:
            raise UsageError(f"baseline {baseline.name} does not encode signals of kind {kind}")
    for name, source in sources.items():
        signal = read_source(source)
        where = source.absolute() if isinstance(source, Path) else source
        digest = hashlib.sha256(signal.values.tobytes() + repr(signal.header).encode()).hexdigest()
        for settings in operating_points:
            setting = (
                f"beta={settings.beta:g}"
                if settings.beta
                else f"{UNITS[kind]}={settings.target_kbps or settings.target_bpp:g}"
            )
            identity = "".join(_prior_id(signal, choice) for choice in candidates(signal, settings))
            key = _key(digest, settings.codec, setting, asdict(settings), identity, VERSION)
            yield Job(key, name, where, settings.codec, setting, settings_for_workers(settings))
        for baseline in baselines:
            for value in baseline.curve():
                key = _key(digest, baseline.name, baseline.about, value)
                yield Job(key, name, where, baseline.name, f"setting={value:g}", None, baseline.name, value)


def _key(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]


def _prior_id(signal: Signal, settings: Settings) -> str:
    if family_named(settings.codec).prior_format is None:
        return ""
    name = settings.prior or default_prior([signal], settings.codec)
    path = prior_store.prior_files().get(name, Path(name))
    return prior_store.file_id(path).hex() if path.is_file() else prior_store.find(name).id.hex()


def _run(
    jobs: Sequence[Job], log: JsonLog[Point], files: Path, workers: Workers, total: int, progress: bool
) -> list[str]:
    """Compute points and log them as they come; return a line for each that failed."""
    failed = []
    with tqdm(
        total=total,
        initial=total - len(jobs),
        desc="sweep",
        unit="point",
        disable=None if progress else True,
        smoothing=0.1,
    ) as bar:
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
