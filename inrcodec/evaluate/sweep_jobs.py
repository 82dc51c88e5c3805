"""Compute the points of a sweep: each job makes one file of one signal, in this process or in a worker."""

from __future__ import annotations

import platform
import time
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from inrcodec.codecs import prior_store
from inrcodec.container.inr import unpack
from inrcodec.decoding import decompress_container
from inrcodec.encoding import encode_signals
from inrcodec.errors import InrcodecError
from inrcodec.evaluate.baselines import baseline_named, run_baseline
from inrcodec.evaluate.points import Point
from inrcodec.settings import Settings
from inrcodec.signals import metrics
from inrcodec.signals.files import read_signal
from inrcodec.signals.ms_ssim import signal_ms_ssim
from inrcodec.signals.signal import Signal
from inrcodec.storage import write_whole
from inrcodec.version import VERSION

UNITS = {"image": "bpp", "audio": "kbps", "field": "bpp"}


@dataclass(frozen=True)
class Job:
    """Holds a point to compute.

    Attributes:
        key, series, setting: see ``Point``.
        name: name of the signal.
        source: the signal, or its file.
        settings: settings of this package's codecs; None for a baseline.
        baseline: name of the baseline, or "".
        value: the baseline's setting.
    """

    key: str
    name: str
    source: Path | Signal
    series: str
    setting: str
    settings: Settings | None = None
    baseline: str = ""
    value: float = 0.0


def point_or_error(job: Job, files: Path) -> Point | str:
    """Return a job's point, or one line that says why there is none."""
    try:
        return make_point(job, files)
    except InrcodecError as error:
        return " ".join(str(error).split())


def make_point(job: Job, files: Path) -> Point:
    """Encode a signal to a file in the folder ``files``, decode it, and return its rate and metrics."""
    signal = read_source(job.source)
    details: dict[str, Any]
    if job.settings is not None:
        begun = time.perf_counter()
        encoded = encode_signals([signal], job.settings)
        middle = time.perf_counter()
        decoded = decompress_container(unpack(encoded.data), prior=job.settings.prior)
        seconds = middle - begun, time.perf_counter() - middle
        data, payload, suffix = encoded.data, encoded.payload_bytes, "inr"
        chosen = {k: v for k, v in asdict(job.settings).items() if v is not None}
        facts = {"made_by": encoded.codec, "prior_id": encoded.prior_id.hex(), "threads": torch.get_num_threads()}
        details = {**chosen, **facts, **versions()}
    else:
        point = run_baseline(baseline_named(job.baseline), signal, job.value)
        decoded, data, payload, suffix = point.decoded, point.data, len(point.data), job.baseline
        seconds = point.encode_seconds, point.decode_seconds
        details = {"setting": job.value, "about": baseline_named(job.baseline).about, **versions()}
    path = files / f"{job.key}.{suffix}"
    write_whole(path, data, force=True)
    header, audio = signal.header, signal.header.kind == "audio"
    rate = (
        metrics.kbps(len(data), header.n_points, header.sample_rate)
        if audio
        else metrics.bpp(len(data), header.n_points)
    )
    return Point(
        job.key,
        job.name,
        job.series,
        job.setting,
        UNITS[header.kind],
        len(data),
        payload,
        rate,
        min(metrics.signal_psnr(signal, decoded), 200.0),
        *seconds,
        snr=min(metrics.snr(signal.values, decoded.values), 200.0) if audio else None,
        ms_ssim=signal_ms_ssim(signal, decoded),
        file=f"files/{path.name}",
        details=details,
    )


@lru_cache(maxsize=4)
def _read(path: Path) -> Signal:
    return read_signal(path)


def read_source(source: Path | Signal) -> Signal:
    """Return a signal, read from its file if a path is given; the last four files are kept."""
    return _read(source) if isinstance(source, Path) else source


def settings_for_workers(settings: Settings) -> Settings:
    """Return settings that mean the same in another folder: the path of a prior file is made absolute."""
    name = settings.prior
    if name is None or name in prior_store.prior_files() or not Path(name).is_file():
        return settings
    return replace(settings, prior=str(Path(name).absolute()))


def versions() -> dict[str, str]:
    """Return the versions that results depend on."""
    return {"inrcodec": VERSION, "torch": torch.__version__, "python": platform.python_version()}
