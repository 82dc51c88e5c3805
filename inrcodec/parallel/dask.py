"""Workers on a Dask cluster.

The scheduler assigns tasks to workers, and reassigns those of a worker that has died. Dask nodes execute what they
receive, so run a cluster in a trusted network only; Dask's TLS settings restrict access to holders of its certificates.
Files are not transferred: workers read and write them at the paths in their tasks, so all nodes must share one file
system.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import Any

import torch

from inrcodec.errors import UsageError, WorkersError
from inrcodec.parallel.base import Result, Task, keep_memory
from inrcodec.version import VERSION

CONNECT_SECONDS = 20.0
"""How long to wait for the scheduler to answer."""
LONELY_SECONDS = 300.0
"""How long a cluster may have no worker at all."""
LOOK_SECONDS = 5.0
"""The interval at which workers are counted."""
AHEAD = 4
"""The tasks submitted per worker thread: enough to keep all threads busy."""


def _dask() -> Any:
    try:
        import distributed
    except ImportError:
        raise UsageError("a cluster needs Dask's distributed: pip install 'inrcodec[cluster]'") from None
    return distributed


@contextlib.contextmanager
def connected(address: str) -> Iterator[ClusterWorkers]:
    """Yield the workers of the cluster whose scheduler listens at ``address``.

    Args:
        address: such as tcp://host:8786, or tls://host:8786 with the certificates in Dask's settings.

    Raises:
        WorkersError: no scheduler answers.
        UsageError: distributed is not installed.
    """
    distributed = _dask()
    try:
        # A client that fails to connect hangs when it is garbage-collected, so first check that a node answers. The
        # check runs in a thread, because this one may have an event loop.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, _knock(address)).result()
        client = distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False, name="inrcodec")
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise WorkersError(f"no scheduler at {address}: {' '.join(str(error).split()) or 'no answer'}") from None
    with client, _quiet():
        yield ClusterWorkers(client)


async def _knock(address: str) -> None:
    """Raise OSError, ValueError, TypeError or RuntimeError unless a Dask node answers at ``address``."""
    distributed = _dask()
    settings = distributed.Security().get_connection_args("client")
    connection = await distributed.core.connect(address, timeout=CONNECT_SECONDS, **settings)
    await connection.close()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the tracebacks that Dask's client logs for errors that this module raises as one line."""
    logger = logging.getLogger("distributed.client")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextlib.contextmanager
def local_cluster(count: int) -> Iterator[ClusterWorkers]:
    """Yield the workers of a new cluster of ``count`` processes, reachable from this machine only.

    The cluster ends with the context.

    Raises:
        UsageError: distributed is not installed.
    """
    distributed = _dask()
    with (
        distributed.LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.ERROR,
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield ClusterWorkers(client)


class ClusterWorkers:
    """Runs tasks on a Dask cluster; see ``parallel.base.Workers``.

    Args:
        client: a client of ``distributed``.
    """

    def __init__(self, client: Any) -> None:
        self.client = client

    @property
    def count(self) -> int:
        """Return the number of threads of all workers connected now, at least 1."""
        return max(1, self._threads())

    def outcomes(
        self, function: Callable[[Task], Result], tasks: Sequence[Task], lost: Callable[[Task], Result] | None = None
    ) -> Iterator[tuple[Task, Result]]:
        """Yield every task with its result; see ``Workers.outcomes``.

        Dask retries the tasks of a dead worker on others, and gives a task up after a number of deaths (its setting
        ``allowed-failures``). Such tasks are retried one by one at the end.
        """
        given_up: list[Task] = []
        yield from self._all(function, list(tasks), given_up.append)
        for task in given_up:
            again: list[Task] = []
            yield from self._all(function, [task], again.append)
            if again:
                if lost is None:
                    raise WorkersError("a task killed every worker that ran it")
                yield task, lost(task)

    def _all(
        self, function: Callable[[Task], Result], tasks: list[Task], give_up: Callable[[Task], None]
    ) -> Iterator[tuple[Task, Result]]:
        distributed = _dask()
        left = iter(tasks)
        waiting: dict[Any, Task] = {}
        ahead, looked, seen = 1, -math.inf, time.monotonic()
        try:
            while True:
                now = time.monotonic()
                if now - looked >= LOOK_SECONDS:
                    # Workers come and go.
                    n_threads, looked = self._threads(), now
                    ahead, seen = AHEAD * max(1, n_threads), now if n_threads else seen
                    if now - seen >= LONELY_SECONDS:
                        raise WorkersError(f"the cluster has had no worker for {LONELY_SECONDS:.0f} s")
                for task in itertools.islice(left, max(0, ahead - len(waiting))):
                    # Not pure, or Dask would merge equal tasks of two runs.
                    waiting[self.client.submit(_on_worker, function, task, VERSION, pure=False)] = task
                if not waiting:
                    return
                with contextlib.suppress(TimeoutError), self.client.as_current():
                    distributed.wait(list(waiting), timeout=LOOK_SECONDS, return_when="FIRST_COMPLETED")
                for future in [future for future in waiting if future.done()]:
                    status = future.status
                    if status == "cancelled":
                        raise _gone()
                    if status not in ("finished", "error"):
                        # The worker died before its result was fetched; Dask runs the task again.
                        continue
                    task = waiting.pop(future)
                    try:
                        result = future.result()
                    except distributed.KilledWorker:
                        give_up(task)
                    else:
                        yield task, result
        except (CancelledError, distributed.comm.CommClosedError, distributed.client.ClosedClientError):
            raise _gone() from None
        finally:
            # A run that ends early must not start more tasks.
            if waiting:
                with contextlib.suppress(OSError, CancelledError, TimeoutError):
                    self.client.cancel(list(waiting))

    def _threads(self) -> int:
        try:
            return sum(self.client.nthreads().values())
        except (OSError, CancelledError):
            raise _gone() from None


def _gone() -> WorkersError:
    return WorkersError("lost the scheduler of the cluster: finished work is kept, run the same command to resume")


def _on_worker(function: Callable[[Task], Result], task: Task, version: str) -> Result:
    if version != VERSION:
        raise WorkersError(f"expected inrcodec {version} on every worker, got {VERSION}: install the same version")
    torch.set_num_threads(1)
    keep_memory()
    return function(task)
