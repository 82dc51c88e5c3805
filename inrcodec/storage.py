"""Files are written whole or not at all, and read with a bound.

A file is written beside its place under a temporary name, synced, then moved there. Without ``force`` the move is a
hard link, which fails if something has appeared at the place meanwhile.

Who is killed while writing leaves a temporary file. Its name is hidden and says whose it is; while its writer lives it
is locked, and the next process that writes to the folder removes those that are not.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import IO

from inrcodec.errors import DataError, LimitError
from inrcodec.limits import DEFAULT_LIMITS, Limits

Writer = Callable[[IO[bytes]], None]

TEMPORARY_START, TEMPORARY_END = ".inrcodec-", ".tmp"


def write_whole(path: Path, content: bytes | Writer, *, force: bool = False) -> None:
    """Write bytes, or what ``content(file)`` writes, to ``path``.

    Raises DataError when the file exists and ``force`` is not set, or when it cannot be written; nothing is left
    behind then, and what was there stays.
    """
    path = Path(path)
    check_writable(path, force=force)
    _sweep_once(path.parent.absolute())
    # Named before it is made, so that it is removed wherever an interruption falls.
    temporary = path.parent / f"{TEMPORARY_START}{secrets.token_hex(8)}{TEMPORARY_END}"
    held = -1
    try:
        handle, held = _created(temporary)
        with os.fdopen(handle, "w+b") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                content(file)
            file.flush()
            os.fsync(file.fileno())
        if force:
            os.replace(temporary, path)
        else:
            _place_new(temporary, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if held >= 0:
            os.close(held)


def _created(temporary: Path) -> tuple[int, int]:
    """A new file: its descriptor, and a second one, that keeps it locked until it is closed too, -1 where the system
    has no locks."""
    while True:
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        if not lock(handle, wait=True):
            return handle, -1
        if temporary.exists():
            return handle, os.dup(handle)
        # Another process has swept it before it was locked.
        os.close(handle)


def check_writable(path: Path, *, force: bool = False) -> None:
    """DataError when ``path`` is a folder, lies in no folder, or exists and ``force`` is not set."""
    try:
        if path.is_dir():
            raise DataError(f"{path}: is a folder")
        if not path.parent.is_dir():
            raise DataError(f"{path}: cannot be written: there is no folder {path.parent}")
        if os.path.lexists(path) and not force:
            raise DataError(f"{path}: exists already: use --force to replace it")
        if not os.access(path.parent, os.W_OK):
            raise DataError(f"{path}: cannot be written: the folder is read-only")
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from None


def _place_new(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise DataError(f"{path}: exists already: use --force to replace it") from None
    except OSError:
        # A file system without hard links: an exclusive create guards the place instead.
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            raise DataError(f"{path}: exists already: use --force to replace it") from None
        try:
            os.replace(temporary, path)
        except BaseException:
            os.unlink(path)
            raise


def sweep(folder: Path) -> None:
    """Remove temporary files of ``write_whole`` from a folder whose writers have died; those of living ones stay."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(TEMPORARY_START) and entry.name.endswith(TEMPORARY_END):
                _sweep_one(entry.path)


@lru_cache(maxsize=1024)
def _sweep_once(folder: Path) -> None:
    sweep(folder)


def _sweep_one(path: str) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
        try:
            if lock(descriptor):
                os.unlink(path)
        finally:
            os.close(descriptor)


def lock(descriptor: int, *, wait: bool = False) -> bool | None:
    """Lock an open file against other processes: True when that is done, False when another one has it, None where the
    system has no such locks. It is held until the file and all its duplicates are closed."""
    try:
        import fcntl
    except ImportError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def read_whole(path: Path, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """All bytes of a file; DataError when it cannot be read or changes meanwhile, LimitError when it is larger than
    ``max_file_bytes``."""
    try:
        with open(path, "rb") as file:
            before = os.fstat(file.fileno())
            if before.st_size > limits.max_file_bytes:
                raise LimitError(f"{path}: {before.st_size} bytes, the limit is {limits.max_file_bytes}")
            data = file.read(limits.max_file_bytes + 1)
            after = os.fstat(file.fileno())
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(data) > limits.max_file_bytes:
        raise LimitError(f"{path}: more than {limits.max_file_bytes} bytes")
    same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    if stat.S_ISREG(before.st_mode) and not (same and len(data) == after.st_size):
        raise DataError(f"{path}: changed while it was read")
    return data
