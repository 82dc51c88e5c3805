"""Files of a batch: some read, compressed and written, here or in a worker process; each has its own errors.

Small signals are fitted together, which changes no byte of their files: at default effort pictures of 32 x 32 take a
quarter of the time that they take by themselves, larger ones gain less, and from some 40,000 points on nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from inrcodec.container.inr import unpack
from inrcodec.decoding import decompress_container
from inrcodec.encoding import encode_each, encode_signals
from inrcodec.errors import DataError, InrcodecError
from inrcodec.settings import Encoded, Settings
from inrcodec.signals import metrics
from inrcodec.signals.files import read_signal
from inrcodec.signals.signal import Signal
from inrcodec.storage import write_whole

POINTS_TOGETHER = 1 << 16
"""Points of signals that are held and fitted together: 64 pictures of 32 x 32."""

Found = TypeVar("Found")


@dataclass(frozen=True)
class BatchJob:
    """A file to be compressed: ``name`` its place in the tree, ``key`` what its outcome depends on, ``source`` and
    ``target`` whole paths, ``output`` the target as the manifest names it, ``input_bytes`` its size, 0 where there is
    no such file."""

    name: str
    source: Path
    target: Path
    output: str
    input_bytes: int
    key: str
    settings: Settings
    verify: bool


@dataclass(frozen=True)
class BatchEntry:
    """A line of the manifest. ``error``: why there is no output, or "". ``figures``: bytes, rate, quality, seconds."""

    name: str
    key: str
    output: str
    error: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Made:
    """A file in memory, the seconds that it took, and with how many others it took them."""

    encoded: Encoded
    seconds: float
    together: int


def compress_files(jobs: Sequence[BatchJob]) -> list[BatchEntry]:
    """Read, compress and write files of one batch; an entry for each, in no order."""
    entries: list[BatchEntry] = []
    held: list[tuple[BatchJob, Signal]] = []
    for job in jobs:
        read = _attempt(job, lambda job=job: read_signal(job.source))  # type: ignore[misc]
        if isinstance(read, BatchEntry):
            entries.append(read)
            continue
        held.append((job, read))
        if sum(signal.header.n_points for _, signal in held) >= POINTS_TOGETHER:
            entries += _compressed(held)
            held = []
    return entries + _compressed(held)


def lost(job: BatchJob) -> BatchEntry:
    """The entry of a file whose worker died."""
    return _entry(job, error=f"{job.name}: its worker died (killed, or out of memory)")


def _attempt(job: BatchJob, work: Callable[[], Found]) -> Found | BatchEntry:
    try:
        return work()
    except InrcodecError as error:
        return _entry(job, error=" ".join(str(error).split()))
    except OSError as error:
        return _entry(job, error=f"{job.name}: {error.strerror or error}")
    except MemoryError:
        return _entry(job, error=f"{job.name}: not enough memory")


def _compressed(held: Sequence[tuple[BatchJob, Signal]]) -> list[BatchEntry]:
    if len(held) > 1:
        signals, begun = [signal for _, signal in held], time.perf_counter()
        try:
            made = encode_each(signals, held[0][0].settings)
        except (InrcodecError, MemoryError):
            # Of one of them, or of all together: by itself each has its own error, or none.
            return [entry for one in held for entry in _compressed([one])]
        each = (time.perf_counter() - begun) / sum(signal.header.n_points for signal in signals)
        return [
            _written(job, signal, _Made(one, each * signal.header.n_points, len(held)))
            for (job, signal), one in zip(held, made, strict=True)
        ]
    entries = []
    for job, signal in held:
        alone = _attempt(job, lambda job=job, signal=signal: _alone(job, signal))  # type: ignore[misc]
        entries.append(_written(job, signal, alone) if isinstance(alone, _Made) else alone)
    return entries


def _alone(job: BatchJob, signal: Signal) -> _Made:
    begun = time.perf_counter()
    return _Made(encode_signals([signal], job.settings), time.perf_counter() - begun, 1)


def _written(job: BatchJob, signal: Signal, made: _Made) -> BatchEntry:
    figures = _attempt(job, lambda: _write(job, signal, made))
    return figures if isinstance(figures, BatchEntry) else _entry(job, figures=figures)


def _write(job: BatchJob, signal: Signal, made: _Made) -> dict[str, Any]:
    """Verify where that is wanted, write, and return the figures."""
    data, header = made.encoded.data, signal.header
    out: dict[str, Any] = {
        "input_bytes": job.input_bytes,
        "bytes": len(data),
        "seconds": round(made.seconds, 4),
        "together": made.together,
        "prior": made.encoded.prior_id.hex(),
        "points": header.n_points,
    }
    if header.kind == "audio":
        out["kbps"] = round(metrics.kbps(len(data), header.n_points, header.sample_rate), 4)
    else:
        out["bpp"] = round(metrics.bpp(len(data), header.n_points), 5)
    if job.verify:
        decoded = decompress_container(unpack(data), prior=job.settings.prior)
        psnr = metrics.signal_psnr(signal, decoded)
        out["psnr"] = round(min(psnr, 200.0), 3)
        if made.encoded.lossless and not (decoded.to_native() == signal.to_native()).all():
            raise DataError(f"{job.name}: did not come back as it was")
    job.target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(job.target, data, force=True)
    return out


def _entry(job: BatchJob, *, error: str = "", figures: dict[str, Any] | None = None) -> BatchEntry:
    chosen = {name: value for name, value in asdict(job.settings).items() if value is not None}
    return BatchEntry(job.name, job.key, "" if error else job.output, error, figures or {}, chosen)
