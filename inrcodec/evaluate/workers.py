"""Work spread over processes of one thread each, that end with their parent however it ends."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import torch

Task = TypeVar("Task")
Result = TypeVar("Result")


def outcomes(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    workers: int,
    lost: Callable[[Task], Result] | None = None,
) -> Iterator[tuple[Task, Result]]:
    """Every task with its result, in the order in which they end; with one worker in this process.

    ``lost``: the result of a task during which its worker died (killed, out of memory). Whose task it was is not known
    at once, so those that may have been in work are tried again one by one. Without ``lost`` the error is raised.
    """
    if workers == 1:
        for task in tasks:
            yield task, function(task)
        return
    left, suspects = list(tasks), 0
    while left:
        alone = suspects > 0
        broken = False
        pool = ProcessPoolExecutor(1 if alone else workers, initializer=_begin, initargs=(os.getpid(),))
        waiting = {pool.submit(function, task): task for task in (left[:1] if alone else left)}
        try:
            while waiting:
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    task = waiting.pop(future)
                    try:
                        result = future.result()
                    except BrokenProcessPool:
                        if lost is None:
                            raise
                        broken = True
                        if not alone:
                            continue
                        result = lost(task)
                    left.remove(task)
                    yield task, result
        finally:
            pool.shutdown(cancel_futures=True)
        suspects = suspects - 1 if alone else 2 * workers + 1 if broken else 0


def _begin(parent: int) -> None:
    torch.set_num_threads(1)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
