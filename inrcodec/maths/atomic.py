"""Files are written whole or not at all, and read with a bound.

A file is written beside its place under a temporary name, synced, then moved there. Without ``force`` the move is a
hard link, which fails if something has appeared at the place meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from inrcodec.ground.errors import DataError, LimitError
from inrcodec.ground.limits import DEFAULT_LIMITS, Limits

Writer = Callable[[IO[bytes]], None]


def write_whole(path: Path, content: bytes | Writer, *, force: bool = False) -> None:
    """Write bytes, or what ``content(file)`` writes, to ``path``.

    Raises DataError when the file exists and ``force`` is not set, or when it cannot be written; nothing is left
    behind then, and what was there stays.
    """
    path = Path(path)
    check_writable(path, force=force)
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:64]}.", suffix=".tmp", dir=path.parent)
        with os.fdopen(handle, "w+b") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                content(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        if force:
            os.replace(temporary, path)
        else:
            _place_new(temporary, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            if temporary:
                os.unlink(temporary)


def check_writable(path: Path, *, force: bool = False) -> None:
    """DataError when ``path`` is a folder, lies in no folder, or exists and ``force`` is not set."""
    if path.is_dir():
        raise DataError(f"{path}: is a folder")
    if not path.parent.is_dir():
        raise DataError(f"{path}: cannot be written: there is no folder {path.parent}")
    if path.exists() and not force:
        raise DataError(f"{path}: exists already: use --force to replace it")
    if not os.access(path.parent, os.W_OK):
        raise DataError(f"{path}: cannot be written: the folder is read-only")


def _place_new(temporary: str, path: Path) -> None:
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
        os.replace(temporary, path)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def read_whole(path: Path, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """All bytes of a file; DataError when it cannot be read, LimitError when it is larger than ``max_file_bytes``."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > limits.max_file_bytes:
                raise LimitError(f"{path}: {size} bytes, the limit is {limits.max_file_bytes}")
            data = file.read(limits.max_file_bytes + 1)
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(data) > limits.max_file_bytes:
        raise LimitError(f"{path}: more than {limits.max_file_bytes} bytes")
    return data
