"""Read, compress and write files of a batch, in this process or in a worker; every file has its own error.

Small signals are fitted together, which changes no byte of their files. At default effort, images of 32 x 32 pixels
then take a quarter of the time; larger ones gain less, and from about 40,000 points on nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
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
"""Number of points of signals that are held and fitted together: 64 images of 32 x 32."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class BatchJob:
    """Holds a file to compress.

    Attributes:
        name: path of the file relative to its tree.
        source: absolute path of the file.
        target: absolute path of the output.
        output: the target as the manifest names it.
        input_bytes: size of the file, 0 if it does not exist.
        key: hash of all that the outcome depends on.
        settings: codec, prior, effort and rate.
        verify: whether to decode the output again.
    """

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
    """Holds a line of the manifest.

    Attributes:
        name, key, output: see ``BatchJob``.
        error: why there is no output, or "".
        figures: bytes, rate, quality, seconds.
        settings: the settings that are not None.
    """

    name: str
    key: str
    output: str
    error: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _EncodedFile:
    """Holds a file in memory, the seconds that it took, and how many files were encoded together with it."""

    encoded: Encoded
    seconds: float
    together: int


def compress_files(jobs: Sequence[BatchJob]) -> list[BatchEntry]:
    """Read, compress and write a group of files; return an entry for each, in no order."""
    entries: list[BatchEntry] = []
    held: list[tuple[BatchJob, Signal]] = []
    for job in jobs:
        signal = _attempt(job, partial(read_signal, job.source))
        if isinstance(signal, BatchEntry):
            entries.append(signal)
            continue
        held.append((job, signal))
        if sum(signal.header.n_points for _, signal in held) >= POINTS_TOGETHER:
            entries += _compressed(held)
            held = []
    return entries + _compressed(held)


def lost(job: BatchJob) -> BatchEntry:
    """Return the entry of a file whose worker died."""
    return _entry(job, error=f"{job.name}: its worker died (killed, or out of memory)")


def _attempt(job: BatchJob, work: Callable[[], Result]) -> Result | BatchEntry:
    try:
        return work()
    except InrcodecError as error:
        return _entry(job, error=" ".join(str(error).split()))
    except OSError as error:
        return _entry(job, error=f"{job.name}: {error.strerror or error}")
    except MemoryError:
        return _entry(job, error=f"{job.name}: not enough memory")
    except Exception as error:
        # A bug, but one file must not cost the others.
        reason = " ".join(str(error).split())
        return _entry(job, error=f"{job.name}: unexpected {type(error).__name__}: {reason}")


def _compressed(held: Sequence[tuple[BatchJob, Signal]]) -> list[BatchEntry]:
    if len(held) > 1:
        signals, begun = [signal for _, signal in held], time.perf_counter()
        try:
            encoded = encode_each(signals, held[0][0].settings)
        except Exception:
            # The error may be that of one signal or of all together: encode each by itself.
            return [entry for pair in held for entry in _compressed([pair])]
        seconds_per_point = (time.perf_counter() - begun) / sum(signal.header.n_points for signal in signals)
        return [
            _written(job, signal, _EncodedFile(file, seconds_per_point * signal.header.n_points, len(held)))
            for (job, signal), file in zip(held, encoded, strict=True)
        ]
    entries = []
    for job, signal in held:
        single = _attempt(job, partial(_encode_single, job, signal))
        entries.append(_written(job, signal, single) if isinstance(single, _EncodedFile) else single)
    return entries


def _encode_single(job: BatchJob, signal: Signal) -> _EncodedFile:
    begun = time.perf_counter()
    return _EncodedFile(encode_signals([signal], job.settings), time.perf_counter() - begun, 1)


def _written(job: BatchJob, signal: Signal, file: _EncodedFile) -> BatchEntry:
    figures = _attempt(job, partial(_write, job, signal, file))
    return figures if isinstance(figures, BatchEntry) else _entry(job, figures=figures)


def _write(job: BatchJob, signal: Signal, file: _EncodedFile) -> dict[str, Any]:
    """Verify the file if the job asks for it, write it, and return its figures."""
    data, header = file.encoded.data, signal.header
    out: dict[str, Any] = {
        "input_bytes": job.input_bytes,
        "bytes": len(data),
        "seconds": round(file.seconds, 4),
        "together": file.together,
        "prior": file.encoded.prior_id.hex(),
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
        if file.encoded.lossless and not (decoded.to_native() == signal.to_native()).all():
            raise DataError(f"{job.name}: lossless decoding did not reproduce the input")
    job.target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(job.target, data, force=True)
    return out


def _entry(job: BatchJob, *, error: str = "", figures: dict[str, Any] | None = None) -> BatchEntry:
    chosen = {name: value for name, value in asdict(job.settings).items() if value is not None}
    return BatchEntry(job.name, job.key, "" if error else job.output, error, figures or {}, chosen)
