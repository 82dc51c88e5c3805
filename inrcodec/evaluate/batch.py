"""Whole folders of signals: one ``.inr`` each, by many workers, with a manifest by which an interrupted run goes on.

A file is done when its line stands in the manifest and its output is there; it is done again when it, or a setting, has
changed since. Outputs are written whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from inrcodec.encoding import encodes_together
from inrcodec.errors import DataError, UsageError
from inrcodec.evaluate.batch_jobs import BatchEntry, BatchJob, compress_files, lost
from inrcodec.evaluate.json_log import JsonLog
from inrcodec.evaluate.sweep_jobs import settings_for_workers
from inrcodec.parallel.base import Workers
from inrcodec.parallel.local import open_workers
from inrcodec.settings import Settings
from inrcodec.storage import sweep
from inrcodec.version import VERSION

SUFFIX = ".inr"
SMALL_BYTES, MAX_FILES, PARTS_PER_WORKER = 1 << 14, 64, 4
"""Files of at most so many bytes are given to workers so many at a time, fewer where there would not be so many parts
for each worker: what is in work when a run is killed is done again."""


@dataclass(frozen=True)
class BatchResult:
    """All entries of this run's files, and how many of them an earlier run had done."""

    entries: list[BatchEntry]
    skipped: int

    @property
    def failed(self) -> list[BatchEntry]:
        """Those without output."""
        return [entry for entry in self.entries if entry.error]

    def summary(self) -> dict[str, Any]:
        """Counts, total bytes and seconds, means of quality."""
        good = [entry.figures for entry in self.entries if not entry.error]
        out: dict[str, Any] = {
            "files": len(self.entries),
            "done": len(good),
            "failed": len(self.failed),
            "done_before": self.skipped,
            "input_bytes": sum(f["input_bytes"] for f in good),
            "bytes": sum(f["bytes"] for f in good),
            "encode_seconds": round(sum(f["seconds"] for f in good), 2),
        }
        for name in ("bpp", "kbps", "psnr"):
            values = [f[name] for f in good if f.get(name) is not None]
            if values:
                out[name] = round(sum(values) / len(values), 4)
        return out


def batch(
    source: Path,
    out: Path,
    settings: Settings,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    shard: tuple[int, int] = (0, 1),
    verify: bool = False,
    resume: bool = True,
    progress: bool = True,
) -> BatchResult:
    """Compress every file of a folder, or those that a list names, to ``out``.

    Args:
        source: a folder, searched down to the bottom, or a text file with a path per line.
        shard: (i, n): only the files that fall to part i of n, the same ones on every machine.
        verify: decode every file again, and note its PSNR.
        resume: leave what the manifest says is done; else all is done anew.
        workers, scheduler: processes of one thread each, or a dask cluster, see ``workers.open_workers``.

    Raises:
        UsageError: options. DataError: the source cannot be read, ``out`` not be made or its manifest not be written.
            WorkersError: the cluster cannot be reached or has gone. In any case what is done stays.
    """
    part, parts = shard
    if not 0 <= part < parts:
        raise UsageError(f"shard must be I/N with I from 0 to N - 1, got {part}/{parts}")
    jobs = [
        _job(name, path, out, settings, verify)
        for name, path in find_files(source, out)
        if _number(name) % parts == part
    ]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{out}: cannot be made: {error.strerror}") from None
    manifest = out / ("manifest.jsonl" if parts == 1 else f"manifest-{part}-of-{parts}.jsonl")
    with JsonLog(manifest, lambda found: BatchEntry(**found), asdict, lambda entry: entry.name) as log:
        left = [job for job in jobs if not (resume and _is_done(job, log.entries.get(job.name)))]
        try:
            with (
                open_workers(workers, scheduler) as spread,
                tqdm(
                    total=len(jobs), initial=len(jobs) - len(left), unit="file", disable=None if progress else True
                ) as bar,
            ):
                for entry in _entries(left, spread):
                    log.add(entry)
                    bar.update(1)
        finally:
            # Of workers that died, or were ended by an interruption.
            for folder in {job.target.parent for job in left}:
                sweep(folder)
        return BatchResult([log.entries[job.name] for job in jobs], len(jobs) - len(left))


def find_files(source: Path, out: Path) -> Iterator[tuple[str, Path]]:
    """(name, path) of the files of a tree, sorted, or of a list in its order.

    Hidden files, links that lead out of the tree, and ``out`` itself where it lies inside are left out. UsageError when
    both are one folder, or two paths of a list would have one output.
    """
    if source.is_dir():
        root, inside = source.resolve(), out.resolve()
        if root == inside:
            raise UsageError(f"{out}: what is written would be read again by the next run: name another folder")
        found = []
        for folder, folders, names in os.walk(root):
            here = Path(folder)
            folders[:] = sorted(n for n in folders if not n.startswith(".") and here / n != inside)
            found += [here / n for n in names if not n.startswith(".")]
        for path in sorted(found):
            if path.is_file() and path.resolve().is_relative_to(root):
                yield str(path.relative_to(root)), path
        return
    try:
        lines = source.read_text("utf-8", errors="surrogateescape").splitlines()
    except OSError as error:
        raise DataError(f"{source}: cannot be read: {error.strerror}") from None
    seen: dict[str, Path] = {}
    for line in lines:
        if line.strip():
            path = Path(line)
            name = str(path.relative_to(path.anchor))
            if ".." in path.parts:
                raise UsageError(f"{source}: names of a list must not go up: {line}")
            if seen.setdefault(name, path) != path:
                raise UsageError(f"{source}: {seen[name]} and {path} would both be written to {out / name}")
            if seen[name] is path:
                yield name, path


def _job(name: str, path: Path, out: Path, settings: Settings, verify: bool) -> BatchJob:
    try:
        state = path.stat()
        size, content = state.st_size, [state.st_size, state.st_mtime_ns]
    except OSError:
        size, content = 0, None
    facts = [name, content, asdict(settings), verify, VERSION]
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode(errors="surrogateescape")).hexdigest()[:20]
    target = out / (name + SUFFIX)
    return BatchJob(
        name, path.absolute(), target.absolute(), str(target), size, key, settings_for_workers(settings), verify
    )


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode(errors="surrogateescape")).digest()[:8], "little")


def _is_done(job: BatchJob, entry: BatchEntry | None) -> bool:
    return entry is not None and entry.key == job.key and not entry.error and job.target.is_file()


def _entries(jobs: Sequence[BatchJob], workers: Workers) -> Iterator[BatchEntry]:
    """An entry of every job, as they come. Of files whose worker died together each is tried by itself."""
    again: list[BatchJob] = []
    for part, entries in workers.outcomes(compress_files, _parts(jobs, workers.count), _lost):
        yield from entries
        if not entries:
            again += part
    for _, entries in workers.outcomes(compress_files, [(job,) for job in again], _lost):
        yield from entries


def _parts(jobs: Sequence[BatchJob], workers: int) -> list[tuple[BatchJob, ...]]:
    """What workers are given at once: one file, or some small ones where those can be fitted together."""
    small = [job for job in jobs if 0 < job.input_bytes <= SMALL_BYTES and encodes_together(job.settings)]
    most = max(1, min(MAX_FILES, -(-len(small) // (PARTS_PER_WORKER * workers))))
    parts = [tuple(small[start : start + most]) for start in range(0, len(small), most)]
    alone = set(jobs) - set(small)
    # What takes long comes first, so that workers end at about the same time.
    return [*((job,) for job in jobs if job in alone), *parts]


def _lost(part: Sequence[BatchJob]) -> list[BatchEntry]:
    return [lost(part[0])] if len(part) == 1 else []
