"""Points of a sweep: one job makes one file of one signal, here or in a worker process."""

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
    """A point to be made: ``settings`` of this package's codecs, or a ``baseline`` at ``value``."""

    key: str
    name: str
    source: Path | Signal
    series: str
    setting: str
    settings: Settings | None = None
    baseline: str = ""
    value: float = 0.0


def point_or_error(job: Job, files: Path) -> Point | str:
    """A job's point, or in one line why there is none."""
    try:
        return make_point(job, files)
    except InrcodecError as error:
        return " ".join(str(error).split())


def make_point(job: Job, files: Path) -> Point:
    """Encode, decode and measure; the file goes to ``files``."""
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
        made = {"made_by": encoded.codec, "prior_id": encoded.prior_id.hex(), "threads": torch.get_num_threads()}
        details = {**chosen, **made, **versions()}
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
    """The signal itself, or in a file."""
    return _read(source) if isinstance(source, Path) else source


def settings_for_workers(settings: Settings) -> Settings:
    """Settings that mean the same in another folder: a prior that is given as a file gets its whole path."""
    name = settings.prior
    if name is None or name in prior_store.prior_files() or not Path(name).is_file():
        return settings
    return replace(settings, prior=str(Path(name).absolute()))


def versions() -> dict[str, str]:
    """Versions that results depend on."""
    return {"inrcodec": VERSION, "torch": torch.__version__, "python": platform.python_version()}
