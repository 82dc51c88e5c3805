"""Workers in local processes of one thread each, and ``open_workers``, which opens any kind of workers.

The caller chooses where work runs: in this process, in other processes on this machine, or on a Dask cluster
(``parallel.dask``). Results do not depend on it. Local worker processes end when their parent ends, for any reason.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

import torch

from inrcodec.errors import UsageError, WorkersError
from inrcodec.parallel.base import Result, Task, Workers, begin_worker

LOCAL = "local"
"""Stands for a Dask cluster on this machine, in place of the address of a scheduler."""


@contextlib.contextmanager
def open_workers(count: int | None = None, scheduler: str | None = None) -> Iterator[Workers]:
    """Yield workers, which end with the context.

    Args:
        count: the number of processes; 1, the default, means this process.
        scheduler: the address of a Dask scheduler, such as tcp://host:8786, or ``LOCAL``, which starts a cluster of
            ``count`` workers on this machine.

    Raises:
        UsageError: ``count`` is below 1 or contradicts ``scheduler``, or Dask is not installed.
        WorkersError: the cluster cannot be reached.
    """
    if count is not None and count < 1:
        raise UsageError(f"workers must be at least 1, got {count}")
    if scheduler is None:
        with LocalWorkers(count or 1) as workers:
            yield workers
        return
    if scheduler != LOCAL and count is not None:
        raise UsageError("a cluster has its own workers: give either workers or the address of a scheduler, not both")
    from inrcodec.parallel.dask import connected, local_cluster

    with local_cluster(count or 1) if scheduler == LOCAL else connected(scheduler) as workers:
        yield workers


class LocalWorkers:
    """Runs tasks in processes on this machine; see ``parallel.base.Workers``.

    A single worker is this process itself. Otherwise the processes start when they are first needed and end with the
    context: immediately after an error or an interruption, else after the tasks in progress.

    Attributes:
        count: the number of processes.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool: ProcessPoolExecutor | None = None
        self._others: list[multiprocessing.process.BaseProcess] = []

    def __enter__(self) -> LocalWorkers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._end(at_once=kind is not None)

    def _end(self, *, at_once: bool = False) -> None:
        if self._pool is not None:
            if at_once:
                for process in multiprocessing.active_children():
                    if process not in self._others:
                        process.terminate()
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def outcomes(
        self, function: Callable[[Task], Result], tasks: Sequence[Task], lost: Callable[[Task], Result] | None = None
    ) -> Iterator[tuple[Task, Result]]:
        """Yield every task with its result; see ``Workers.outcomes``."""
        if self.count == 1:
            for task in tasks:
                yield task, function(task)
            return
        # When a worker dies, the pool does not say which task killed it. All tasks that may have been in progress are
        # suspects, and are retried one by one.
        left, suspects = dict(enumerate(tasks)), 0
        while left:
            alone, broken = suspects > 0, False
            if self._pool is None:
                processes = 1 if alone else self.count
                self._others = multiprocessing.active_children()
                self._pool = ProcessPoolExecutor(processes, initializer=_begin, initargs=(os.getpid(),))
            waiting = {}
            try:
                with _interruptions_deferred():
                    for number in list(left)[:1] if alone else left:
                        waiting[self._pool.submit(function, left[number])] = number
                while waiting:
                    done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in done:
                        number = waiting.pop(future)
                        try:
                            result = future.result()
                        except BrokenProcessPool:
                            broken = True
                            if not alone:
                                continue
                            if lost is None:
                                raise WorkersError("a worker died twice (killed, or out of memory)") from None
                            result = lost(left[number])
                        yield left.pop(number), result
            finally:
                if broken or alone or waiting:
                    self._end(at_once=bool(waiting))
            suspects = suspects - 1 if alone else 2 * self.count + 1 if broken else 0


@contextlib.contextmanager
def _interruptions_deferred() -> Iterator[None]:
    """Defer Ctrl-C to the end of the context; processes started inside inherit the block and never see it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(parent: int) -> None:
    torch.set_num_threads(1)
    begin_worker(parent)
