"""What spreads work over processes or machines: an interface, so that any layer can be handed workers of any sort."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

LOOK_SECONDS = 0.1
"""How often a worker looks whether its parent is still there."""


class Workers(Protocol):
    """Workers of one thread each. Functions are top-level ones of importable modules; tasks and results plain data."""

    @property
    def count(self) -> int:
        """Tasks that are in work at once, as far as it is known."""

    def outcomes(
        self, function: Callable[[Task], Result], tasks: Sequence[Task], lost: Callable[[Task], Result] | None = None
    ) -> Iterator[tuple[Task, Result]]:
        """Every task with its result, once, in the order in which they end; an error of the function is raised.

        A task whose worker died (killed, out of memory) is tried again, by itself. When it dies again its result is
        ``lost(task)``; without ``lost`` a WorkersError is raised.
        """


def keep_memory() -> None:
    """Have glibc keep blocks of up to 32 MiB for the next step instead of returning them to the system (25 % faster
    steps); larger ones, which pictures of many megapixels ask for, go back. For processes that are this package's own.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        if os.name == "posix" and hasattr(libc, "mallopt"):
            m_trim_threshold, m_mmap_threshold = -1, -3
            libc.mallopt(m_mmap_threshold, 1 << 25)
            libc.mallopt(m_trim_threshold, 1 << 28)


def begin_worker(parent: int) -> None:
    """Make this process a worker that ends with its parent, however that ends; Ctrl-C is for the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_memory()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
