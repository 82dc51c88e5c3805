"""A log of results as they come: one JSON object per line, each synced before the next is begun.

Whatever kills a run, at most the results in work are lost, and half a line at the end is taken for what it is.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from inrcodec.errors import DataError, UsageError
from inrcodec.storage import lock

Entry = TypeVar("Entry")


class JsonLog(Generic[Entry]):
    """Entries of ``path`` by key; opening it reads what an earlier run has left and cuts half a line off.

    ``read`` turns an object to an entry (KeyError, TypeError or ValueError where it is none), ``write`` back, ``key``
    names it; of entries of one key the last counts. While it is open no other process can open it.

    Raises:
        DataError: a line is no entry, or the file cannot be written. UsageError: another process has it open.
    """

    def __init__(
        self,
        path: Path,
        read: Callable[[dict[str, Any]], Entry],
        write: Callable[[Entry], dict[str, Any]],
        key: Callable[[Entry], str],
    ) -> None:
        self.path, self._write, self._key = path, write, key
        self.entries: dict[str, Entry] = {}
        try:
            self._file = open(path, "a+b")  # noqa: SIM115
        except OSError as error:
            raise DataError(f"{path}: cannot be written: {error.strerror}") from None
        if lock(self._file.fileno()) is False:
            self._file.close()
            raise UsageError(f"{path}: another run is writing here")
        self._file.seek(0)
        whole = 0
        for number, line in enumerate(self._file, start=1):
            if not line.endswith(b"\n"):
                break
            try:
                entry = read(json.loads(line))
            except (ValueError, TypeError, KeyError, AttributeError):
                self._file.close()
                raise DataError(f"{path}: line {number} is not an entry of this log") from None
            self.entries[key(entry)] = entry
            whole += len(line)
        self._file.truncate(whole)

    def add(self, entry: Entry) -> None:
        """Keep an entry for good; DataError when the disk is full."""
        try:
            self._file.write(json.dumps(self._write(entry), sort_keys=True).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise DataError(f"{self.path}: cannot be written: {error.strerror}") from None
        self.entries[self._key(entry)] = entry

    def close(self) -> None:
        """Let others open it."""
        # What a full disk did not take is tried once more here.
        with contextlib.suppress(OSError):
            self._file.close()

    def __enter__(self) -> JsonLog[Entry]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
