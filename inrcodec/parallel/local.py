"""Work spread over processes of one thread each, that end with their parent however it ends; the door to all workers.

Where work is done is the caller's choice alone: in this process, in processes of this machine, on a dask cluster
(``cluster``). Results are the same.
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
"""Instead of a scheduler's address: a dask cluster of this machine alone."""


@contextlib.contextmanager
def open_workers(count: int | None = None, scheduler: str | None = None) -> Iterator[Workers]:
    """``count`` processes (one: this one), or the dask cluster of the scheduler at an address, or LOCAL, which starts
    one of ``count`` workers on this machine.

    Raises UsageError for options that contradict each other, WorkersError when there is no cluster.
    """
    if count is not None and count < 1:
        raise UsageError(f"workers must be at least 1, got {count}")
    if scheduler is None:
        with LocalWorkers(count or 1) as workers:
            yield workers
        return
    if scheduler != LOCAL and count is not None:
        raise UsageError("a cluster has the workers it has: give either workers or the address of a scheduler")
    from inrcodec.parallel.dask import connected, local_cluster

    with local_cluster(count or 1) if scheduler == LOCAL else connected(scheduler) as workers:
        yield workers


class LocalWorkers:
    """Processes that are started when they are first needed and end with the context, at once where that is left by
    an error or an interruption; one worker is this process."""

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
        """See ``Workers``. Whose task killed a worker is not known at once, so those that may have been in work are
        tried again one by one."""
        if self.count == 1:
            for task in tasks:
                yield task, function(task)
            return
        left, suspects = dict(enumerate(tasks)), 0
        while left:
            alone, broken = suspects > 0, False
            if self._pool is None:
                processes = 1 if alone else self.count
                self._others = multiprocessing.active_children()
                self._pool = ProcessPoolExecutor(processes, initializer=_begin, initargs=(os.getpid(),))
            waiting = {}
            try:
                with _interruptions_later():
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
def _interruptions_later() -> Iterator[None]:
    """Ctrl-C waits until the end; processes that are started meanwhile never see one: it is for their parent."""
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
