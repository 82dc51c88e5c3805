"""Compress whole folders to one ``.inr`` file per signal, by many workers, with a manifest for resuming.

A file is done when the manifest has its entry and its output exists. It is compressed again if it or a setting has
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
"""Workers take files of at most ``SMALL_BYTES`` in groups of up to ``MAX_FILES``, but of fewer if there would be less
than ``PARTS_PER_WORKER`` groups for each worker. Work in progress when a run is killed has to be done again."""


@dataclass(frozen=True)
class BatchResult:
    """Holds the results of a run.

    Attributes:
        entries: manifest entries of all files.
        skipped: number of files that an earlier run had done.
    """

    entries: list[BatchEntry]
    skipped: int

    @property
    def failed(self) -> list[BatchEntry]:
        """Return the entries of files without output."""
        return [entry for entry in self.entries if entry.error]

    def summary(self) -> dict[str, Any]:
        """Return counts, total bytes and seconds, and mean rates and PSNR."""
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
    """Compress every file of a folder, or of a list, to ``out``.

    Args:
        source: a folder, which is searched recursively, or a text file with one path per line.
        out: folder of the outputs and the manifest.
        settings: codec, prior, effort and rate.
        workers: number of single-threaded processes, see ``parallel.local.open_workers``.
        scheduler: a Dask cluster to use instead.
        shard: (i, n): only compress part i of n of the files, which is the same on every machine.
        verify: decode every file again and record its PSNR.
        resume: skip files that are done; otherwise compress all files again.
        progress: show a progress bar on a terminal.

    Raises:
        UsageError: the options are wrong. DataError: the source cannot be read, ``out`` cannot be created or its
            manifest cannot be written. WorkersError: the cluster cannot be reached or is gone. In any case, finished
            outputs stay.
    """
    part, n_parts = shard
    if not 0 <= part < n_parts:
        raise UsageError(f"shard must be I/N with I from 0 to N - 1, got {part}/{n_parts}")
    jobs = [
        _job(name, path, out, settings, verify)
        for name, path in find_files(source, out)
        if _number(name) % n_parts == part
    ]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{out}: cannot be created: {error.strerror}") from None
    manifest = out / ("manifest.jsonl" if n_parts == 1 else f"manifest-{part}-of-{n_parts}.jsonl")
    with JsonLog(manifest, lambda entry: BatchEntry(**entry), asdict, lambda entry: entry.name) as log:
        remaining = [job for job in jobs if not (resume and _is_done(job, log.entries.get(job.name)))]
        n_done = len(jobs) - len(remaining)
        try:
            with (
                open_workers(workers, scheduler) as opened_workers,
                tqdm(total=len(jobs), initial=n_done, unit="file", disable=None if progress else True) as bar,
            ):
                for entry in _entries(remaining, opened_workers):
                    log.add(entry)
                    bar.update(1)
        finally:
            # Remove temporary files of workers that died or were interrupted.
            for folder in {job.target.parent for job in remaining}:
                sweep(folder)
        return BatchResult([log.entries[job.name] for job in jobs], n_done)


def find_files(source: Path, out: Path) -> Iterator[tuple[str, Path]]:
    """Yield (name, path) of the files of a tree, sorted, or of a list, in its order.

    Hidden files, links that lead out of the tree, and ``out`` if it lies inside are left out.

    Raises:
        UsageError: both are the same folder, or two paths of a list would have one output.
        DataError: the list cannot be read.
    """
    if source.is_dir():
        root, inside = source.resolve(), out.resolve()
        if root == inside:
            raise UsageError(f"{out}: the next run would read these outputs as inputs: name another folder")
        paths = []
        for folder, subfolders, names in os.walk(root):
            subfolders[:] = sorted(n for n in subfolders if not n.startswith(".") and Path(folder, n) != inside)
            paths += [Path(folder, n) for n in names if not n.startswith(".")]
        for path in sorted(paths):
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
                raise UsageError(f"{source}: paths in a list must not contain '..': {line}")
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
    """Yield an entry for every job, in no order; if a worker dies, the files of its group are tried one by one."""
    retried: list[BatchJob] = []
    for group, entries in workers.outcomes(compress_files, _groups(jobs, workers.count), _lost):
        yield from entries
        if not entries:
            retried += group
    for _, entries in workers.outcomes(compress_files, [(job,) for job in retried], _lost):
        yield from entries


def _groups(jobs: Sequence[BatchJob], workers: int) -> list[tuple[BatchJob, ...]]:
    """Return the jobs in groups: one file, or several small ones if those can be fitted together."""
    small = [job for job in jobs if 0 < job.input_bytes <= SMALL_BYTES and encodes_together(job.settings)]
    size = max(1, min(MAX_FILES, -(-len(small) // (PARTS_PER_WORKER * workers))))
    groups = [tuple(small[start : start + size]) for start in range(0, len(small), size)]
    single = set(jobs) - set(small)
    # What takes long comes first, so that workers end at about the same time.
    return [*((job,) for job in jobs if job in single), *groups]


def _lost(group: Sequence[BatchJob]) -> list[BatchEntry]:
    return [lost(group[0])] if len(group) == 1 else []
