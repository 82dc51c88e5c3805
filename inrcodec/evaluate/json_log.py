"""Keep a log of results as they come: one JSON object per line, each synced to disk before the next.

Whatever kills a run, only results in progress are lost; an incomplete last line is recognised and removed.
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
    """Keeps entries in a file, by key; of several entries with one key the last counts.

    Opening a log reads the entries of earlier runs and removes an incomplete last line. While a log is open, no other
    process can open it.

    Args:
        path: the file.
        read: makes an entry from a JSON object; raises KeyError, TypeError or ValueError if it is none.
        write: makes a JSON object from an entry.
        key: returns the key of an entry.

    Attributes:
        path: the file.
        entries: all entries by key.

    Raises:
        DataError: a line is not an entry, or the file cannot be written. UsageError: another process has it open.
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
        """Append an entry and sync it to disk; DataError when it cannot be written."""
        try:
            self._file.write(json.dumps(self._write(entry), sort_keys=True).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise DataError(f"{self.path}: cannot be written: {error.strerror}") from None
        self.entries[self._key(entry)] = entry

    def close(self) -> None:
        """Close the file, so that other processes can open it."""
        # Closing tries once more to write what did not fit on a full disk.
        with contextlib.suppress(OSError):
            self._file.close()

    def __enter__(self) -> JsonLog[Entry]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
