"""Work spread over the workers of a dask cluster.

The scheduler gives tasks to workers, and those of a worker that has gone to others. Tasks and results go between the
cluster's own nodes in dask's way, which runs what it is sent: a cluster is for a network that is trusted (dask's TLS
settings narrow that to those who hold its certificates). Files do not travel: workers read and write them where the
tasks say, so all nodes see one file system.
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
LONELY_SECONDS = 300.0
"""How long a cluster may have no worker at all."""
LOOK_SECONDS = 5.0
AHEAD = 4
"""Tasks that the scheduler holds for every worker thread: enough to keep all at work."""


def _dask() -> Any:
    try:
        import distributed
    except ImportError:
        raise UsageError("clusters need dask's distributed: pip install 'inrcodec[cluster]'") from None
    return distributed


@contextlib.contextmanager
def connected(address: str) -> Iterator[ClusterWorkers]:
    """Workers of the cluster whose scheduler listens at ``address``, like tcp://host:8786 (tls:// with the certificates
    of dask's settings).

    Raises WorkersError when nobody answers there or no worker comes, UsageError without distributed.
    """
    distributed = _dask()
    try:
        # A client that fails to connect hangs when it is collected, so somebody must answer first. In a thread, since
        # this one may have an event loop.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, _knock(address)).result()
        client = distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False, name="inrcodec")
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise WorkersError(f"no scheduler at {address}: {' '.join(str(error).split()) or 'no answer'}") from None
    with client, _quiet():
        yield ClusterWorkers(client)


async def _knock(address: str) -> None:
    """OSError, ValueError, TypeError or RuntimeError when no node of dask answers at ``address``."""
    distributed = _dask()
    settings = distributed.Security().get_connection_args("client")
    connection = await distributed.core.connect(address, timeout=CONNECT_SECONDS, **settings)
    await connection.close()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Dask's client logs a traceback for what becomes an error of one line here."""
    logger = logging.getLogger("distributed.client")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextlib.contextmanager
def local_cluster(count: int) -> Iterator[ClusterWorkers]:
    """A cluster of ``count`` processes on this machine, that listens to nobody else and ends with the context."""
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
    """See ``parallel.base.Workers``; ``client`` is dask's."""

    def __init__(self, client: Any) -> None:
        self.client = client

    @property
    def count(self) -> int:
        """Threads of all workers that are there now."""
        return max(1, self._threads())

    def outcomes(
        self, function: Callable[[Task], Result], tasks: Sequence[Task], lost: Callable[[Task], Result] | None = None
    ) -> Iterator[tuple[Task, Result]]:
        """See ``Workers``. What a dead worker had in work, or had been given, dask tries on others, and gives it up
        after some deaths (its setting ``allowed-failures``); such tasks are tried one by one at the end."""
        given_up: list[Task] = []
        yield from self._all(function, list(tasks), given_up.append)
        for task in given_up:
            again: list[Task] = []
            yield from self._all(function, [task], again.append)
            if again:
                if lost is None:
                    raise WorkersError("a task has killed all workers that took it")
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
                    there, looked = self._threads(), now
                    ahead, seen = AHEAD * max(1, there), now if there else seen
                    if now - seen >= LONELY_SECONDS:
                        raise WorkersError(f"the cluster has had no worker for {LONELY_SECONDS:.0f} s")
                for task in itertools.islice(left, max(0, ahead - len(waiting))):
                    # Not pure: equal tasks of two runs are two tasks.
                    waiting[self.client.submit(_on_worker, function, task, VERSION, pure=False)] = task
                if not waiting:
                    return
                with contextlib.suppress(TimeoutError), self.client.as_current():
                    distributed.wait(list(waiting), timeout=LOOK_SECONDS, return_when="FIRST_COMPLETED")
                for future in [future for future in waiting if future.done()]:
                    task = waiting.pop(future)
                    if future.status not in ("finished", "error"):
                        raise _gone()
                    try:
                        result = future.result()
                    except distributed.KilledWorker:
                        give_up(task)
                    else:
                        yield task, result
        except (CancelledError, distributed.comm.CommClosedError, distributed.client.ClosedClientError):
            raise _gone() from None
        finally:
            # Of a run that ends early nothing more is begun.
            if waiting:
                with contextlib.suppress(OSError, CancelledError, TimeoutError):
                    self.client.cancel(list(waiting))

    def _threads(self) -> int:
        try:
            return sum(self.client.nthreads().values())
        except (OSError, CancelledError):
            raise _gone() from None


def _gone() -> WorkersError:
    return WorkersError("the cluster's scheduler has gone: what is done stays, the same command goes on")


def _on_worker(function: Callable[[Task], Result], task: Task, version: str) -> Result:
    if version != VERSION:
        raise WorkersError(f"a worker has inrcodec {VERSION} where {version} is wanted")
    torch.set_num_threads(1)
    keep_memory()
    return function(task)
