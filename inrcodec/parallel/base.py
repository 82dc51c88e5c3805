"""The interface of workers, which spread work over processes or machines, and what every worker process does first."""

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
"""The interval at which a worker checks that its parent is alive."""


class Workers(Protocol):
    """Runs functions on tasks, in workers of one thread each.

    Functions must be top-level functions of importable modules, tasks and results plain data that can be pickled.
    """

    @property
    def count(self) -> int:
        """Return the number of tasks in progress at once, as far as it is known."""

    def outcomes(
        self, function: Callable[[Task], Result], tasks: Sequence[Task], lost: Callable[[Task], Result] | None = None
    ) -> Iterator[tuple[Task, Result]]:
        """Yield every task once with its result, in order of completion.

        Args:
            function: called with each task; its errors are raised here.
            tasks: the tasks.
            lost: returns the result of a task that killed its worker twice.

        Raises:
            WorkersError: a worker died (killed, or out of memory), died again when its task was retried alone, and
                there is no ``lost``; or the workers cannot be reached any more.
        """


def keep_memory() -> None:
    """Make glibc keep freed blocks of up to 32 MiB for reuse, which makes training steps 25 % faster.

    Larger blocks, such as those of images of many megapixels, go back to the system. The setting is global, so call
    this only in processes that belong to this package.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        if os.name == "posix" and hasattr(libc, "mallopt"):
            m_trim_threshold, m_mmap_threshold = -1, -3
            libc.mallopt(m_mmap_threshold, 1 << 25)
            libc.mallopt(m_trim_threshold, 1 << 28)


def begin_worker(parent: int) -> None:
    """Turn this process into a worker that ends when its parent ends, for whatever reason, and ignores Ctrl-C.

    Args:
        parent: the process id of the parent.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_memory()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
