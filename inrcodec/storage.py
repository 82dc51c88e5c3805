"""Atomic writes and bounded reads: a file is written whole or not at all.

A file is written under a temporary name in its folder, synced, then moved to its path. Without ``force`` the move is a
hard link, which fails if a file has appeared at the path in the meantime.

A process that is killed while writing leaves a temporary file behind. Temporary files are hidden, have a recognisable
name, and are locked while their writer is alive. The next process that writes to the folder removes the unlocked ones.

Pipes, devices and names of open files, such as /dev/stdout, are never replaced: the content is built first and then
written into them.
"""

from __future__ import annotations

import contextlib
import io
import mmap
import os
import re
import secrets
import stat
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from inrcodec.errors import DataError, LimitError
from inrcodec.limits import DEFAULT_LIMITS, Limits

Writer = Callable[[IO[bytes]], None]

TEMPORARY_START, TEMPORARY_END = ".inrcodec-", ".tmp"
_DESCRIPTORS = re.compile(r"/dev/fd|/proc/([^/]+)(/task/[^/]+)?/fd")
"""Folders of open files on Unix."""


def write_whole(path: Path, content: bytes | Writer, *, force: bool = False) -> None:
    """Write a file whole or not at all.

    Args:
        path: the file.
        content: its bytes, or a function that writes them to an open binary file.
        force: whether an existing file is replaced.

    Raises:
        DataError: the file exists and ``force`` is not set, or it cannot be written. An existing file is unchanged and
            no temporary file remains.
        BrokenPipeError: the reader of a pipe has gone.
    """
    path = Path(path)
    check_writable(path, force=force)
    if is_special(path):
        _write_into(path, content)
        return
    _sweep_once(path.parent.absolute())
    # The name exists before the file does, so that an interruption at any point removes the file.
    temporary = path.parent / f"{TEMPORARY_START}{secrets.token_hex(8)}{TEMPORARY_END}"
    lock_descriptor = -1
    try:
        handle, lock_descriptor = _create_locked(temporary)
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
        if lock_descriptor >= 0:
            os.close(lock_descriptor)


def is_special(path: Path) -> bool:
    """Return whether a path names a pipe, a device or an open file, which are written into instead of replaced."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    if not stat.S_ISREG(mode):
        return not stat.S_ISDIR(mode)
    return _descriptor(path) is not None


def _descriptor(path: Path) -> int | None:
    """Return the number of the open file that a path such as /dev/stdout names, -1 if another process has it open."""
    for _ in range(40):
        folder = _DESCRIPTORS.fullmatch(os.path.realpath(path.parent))
        if folder and path.name.isdigit():
            return int(path.name) if folder[1] in (None, str(os.getpid())) else -1
        if not path.is_symlink():
            return None
        path = path.parent / os.readlink(path)
    return None


def _write_into(path: Path, content: bytes | Writer) -> None:
    if not isinstance(content, bytes):
        buffer = io.BytesIO()
        content(buffer)
        content = buffer.getvalue()
    descriptor = _descriptor(path)
    try:
        # A duplicate shares the position in the file, so that what was written before it stays.
        own = descriptor is not None and descriptor >= 0
        handle = os.dup(descriptor) if own and descriptor is not None else os.open(path, os.O_WRONLY)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from None


def _create_locked(temporary: Path) -> tuple[int, int]:
    """Create a file; return its descriptor and a second one that holds the lock, -1 on systems without locks."""
    while True:
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        if not lock(handle, wait=True):
            return handle, -1
        if temporary.exists():
            return handle, os.dup(handle)
        # Another process removed the file before it was locked.
        os.close(handle)


def check_writable(path: Path, *, force: bool = False) -> None:
    """Check that a file could be written now.

    Raises:
        DataError: ``path`` is a folder, its folder is missing or read-only, or it exists and ``force`` is not set.
            Pipes and devices exist and are written into.
    """
    try:
        if path.is_dir():
            raise DataError(f"{path}: is a folder, expected a file")
        if is_special(path):
            if not os.access(path, os.W_OK):
                raise DataError(f"{path}: cannot be written: permission denied")
            return
        if not path.parent.is_dir():
            raise DataError(f"{path}: cannot be written: no folder {path.parent}")
        if os.path.lexists(path) and not force:
            raise DataError(f"{path}: already exists: use --force to replace it")
        if not os.access(path.parent, os.W_OK):
            raise DataError(f"{path}: cannot be written: the folder is read-only")
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from None


def _place_new(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise DataError(f"{path}: already exists: use --force to replace it") from None
    except OSError:
        # On a file system without hard links, creating the file exclusively reserves the path.
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            raise DataError(f"{path}: already exists: use --force to replace it") from None
        try:
            os.replace(temporary, path)
        except BaseException:
            os.unlink(path)
            raise


def sweep(folder: Path) -> None:
    """Remove the temporary files of dead writers from a folder; those of living writers stay."""
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
    """Lock an open file against other processes, until the descriptor and all its duplicates are closed.

    Args:
        descriptor: the open file.
        wait: whether to wait for a process that holds the lock.

    Returns:
        True if the file is locked now, False if another process holds the lock, None on systems without locks.
    """
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
    """Return all bytes of a file.

    Raises:
        DataError: the file cannot be read, or changes while it is read.
        LimitError: it exceeds ``limits.max_file_bytes``.
    """
    try:
        with open(path, "rb") as file:
            before = os.fstat(file.fileno())
            if before.st_size > limits.max_file_bytes:
                raise LimitError(f"{path}: {before.st_size} bytes, which exceeds the limit of {limits.max_file_bytes}")
            data = file.read(limits.max_file_bytes + 1)
            after = os.fstat(file.fileno())
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder, expected a file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(data) > limits.max_file_bytes:
        raise LimitError(f"{path}: exceeds the limit of {limits.max_file_bytes} bytes")
    unchanged = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    if stat.S_ISREG(before.st_mode) and not (unchanged and len(data) == after.st_size):
        raise DataError(f"{path}: changed while it was read")
    return data


def read_bytes(source: Any, limits: Limits = DEFAULT_LIMITS) -> bytes | None:
    """Return the content of bytes, of a binary file object from its position on, or of the file at a path.

    Args:
        source: bytes, bytearray, memoryview, mmap, a binary file object, or a path.
        limits: ``max_file_bytes`` applies to files and file objects.

    Returns:
        The content, or None where ``source`` is none of these.

    Raises:
        DataError: it cannot be read, or the file object is open in text mode.
        LimitError: it exceeds ``limits.max_file_bytes``.
    """
    if isinstance(source, bytes):
        return source
    if isinstance(source, str | os.PathLike):
        path = os.fsdecode(source)
        if "\0" in path:
            raise DataError(f"{path!r}: cannot be read: a path has no null character")
        return read_whole(Path(path), limits)
    if isinstance(source, bytearray | memoryview | mmap.mmap):
        return bytes(source)
    if not callable(getattr(source, "read", None)):
        return None
    try:
        data = source.read(limits.max_file_bytes + 1)
    except io.UnsupportedOperation:
        raise DataError(f"{source_name(source)}: a file object that cannot be read, expected mode 'rb'") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{source_name(source)}: cannot be read: {reason}") from None
    if isinstance(data, str):
        raise DataError(f"{source_name(source)}: a file object in text mode, expected one opened in mode 'rb'")
    if not isinstance(data, bytes | bytearray | memoryview):
        raise DataError(f"{source_name(source)}: cannot be read: read() returned {type(data).__name__}, expected bytes")
    if len(data) > limits.max_file_bytes:
        raise LimitError(f"{source_name(source)}: exceeds the limit of {limits.max_file_bytes} bytes")
    return bytes(data)


def source_name(source: Any) -> str:
    """Return what error messages call a source of bytes: its path, or its type."""
    if isinstance(source, str | os.PathLike):
        return os.fsdecode(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) and name else type(source).__name__
