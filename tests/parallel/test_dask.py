"""Test a real Dask scheduler and workers on loopback: the same results as locally, even if workers are killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.tiny import spread_training

pytest.importorskip("distributed", reason="no dask cluster: distributed is not installed (extra cluster)")

import inrcodec
from inrcodec.cli import main
from inrcodec.errors import UsageError
from inrcodec.evaluate import sweep
from inrcodec.evaluate.batch import batch
from inrcodec.parallel import dask as cluster_module
from inrcodec.parallel.local import LOCAL, open_workers
from inrcodec.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = Settings(beta=0.003, effort="fast")


class Cluster:
    """A scheduler and two workers of one thread, in three processes that can be killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.start()

    def start(self) -> None:
        """Start all processes, on a port that was free a moment ago."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{port}"
        self.scheduler = self._start(
            "scheduler",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--no-dashboard",
            "--dashboard-address",
            "127.0.0.1:0",
        )
        self.workers = [self.add_worker() for _ in range(2)]

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        # Workers import the task functions of these tests by name.
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
        }
        command = [sys.executable, "-m", "distributed.cli.dask_" + arguments[0], *arguments[1:]]
        return subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def add_worker(self) -> subprocess.Popen[bytes]:
        """Start a worker without a nanny, so that it stays dead once it is killed."""
        return self._start(
            "worker",
            self.address,
            "--nthreads",
            "1",
            "--no-nanny",
            "--no-dashboard",
            "--host",
            "127.0.0.1",
            "--local-directory",
            str(self.folder),
        )

    def replace_the_dead(self) -> None:
        """Start a new worker for each one that has ended."""
        for place, process in enumerate(self.workers):
            if process.poll() is not None:
                self.workers[place] = self.add_worker()

    def settle(self) -> None:
        """Wait until the scheduler has two workers; start all processes again where the scheduler has ended."""
        from distributed import Client

        end = time.monotonic() + 240
        while True:
            assert time.monotonic() < end, "two workers never came"
            if self.scheduler.poll() is not None:
                self.close()
                self.start()
            self.replace_the_dead()
            with contextlib.suppress(OSError), Client(self.address, timeout=10, set_as_default=False) as client:
                if len(client.nthreads()) == 2:
                    return
            time.sleep(0.1)

    def close(self) -> None:
        """End all processes."""
        for process in [*self.workers, self.scheduler]:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Yield one cluster for all tests of this file, since its processes take seconds to start."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def cluster(started: Cluster) -> Cluster:
    """Return the cluster with a scheduler and two workers, whatever an earlier test did to them."""
    started.settle()
    return started


@pytest.fixture
def tree(tmp_path: Path, photograph: np.ndarray) -> Path:
    """Return a folder of twelve images of 96x96 pixels and a text file."""
    root = tmp_path / "in"
    root.mkdir()
    for i in range(12):
        Image.fromarray(photograph[32 * i : 32 * i + 96, 100:196]).save(root / f"p{i:02d}.png")
    (root / "notes.txt").write_text("not a signal")
    return root


def _outputs(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*.inr")}


def _lines(out: Path) -> list[str]:
    return [json.loads(line)["name"] for line in (out / "manifest.jsonl").read_text().splitlines()]


def _wait_for(path: Path, lines: int) -> None:
    for _ in range(6000):
        if path.exists() and path.read_bytes().count(b"\n") >= lines:
            return
        time.sleep(0.02)
    raise AssertionError(f"{path} never had {lines} lines")


def test_a_killed_worker_costs_no_file(
    cluster: Cluster, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two workers is stopped with files in progress until all others are done, then killed.

    Paths are relative to a folder that is not the working directory of the workers.
    """
    batch(tree, tmp_path / "alone", SETTINGS, progress=False)
    monkeypatch.chdir(tmp_path)
    out, manifest = Path("out"), tmp_path / "out" / "manifest.jsonl"
    held: list[int] = []

    def kill() -> None:
        _wait_for(manifest, 2)
        cluster.workers[0].send_signal(signal.SIGSTOP)
        before, now = -1, 0
        while before != now:
            before = now
            time.sleep(1.5)
            now = manifest.read_bytes().count(b"\n")
        held.append(13 - now)
        cluster.workers[0].send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    result = batch(Path("in"), out, SETTINGS, scheduler=cluster.address, progress=False)
    killer.join()
    assert held[0] > 0
    assert cluster.workers[0].wait() == -signal.SIGKILL and cluster.workers[1].poll() is None
    assert sorted(_lines(out)) == sorted(p.name for p in tree.iterdir())
    assert [entry.name for entry in result.failed] == ["notes.txt"]
    assert _outputs(out) == _outputs(tmp_path / "alone")
    for data in _outputs(out).values():
        inrcodec.open(data)
    assert batch(Path("in"), out, SETTINGS, progress=False).skipped == 12


def _die_on_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * 10


def test_a_task_that_kills_its_workers_is_given_up_and_the_others_are_not(cluster: Cluster) -> None:
    done = threading.Event()

    def keep() -> None:
        while not done.wait(0.1):
            cluster.replace_the_dead()

    keeper = threading.Thread(target=keep)
    keeper.start()
    try:
        with open_workers(scheduler=cluster.address) as workers:
            outcomes = list(workers.outcomes(_die_on_three, list(range(6)), lambda task: -1))
    finally:
        done.set()
        keeper.join()
    assert sorted(outcomes) == [(n, -1 if n == 3 else 10 * n) for n in range(6)]


def _ten_times(number: int) -> int:
    return number * 10


def test_a_result_lost_with_its_worker_is_computed_again(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both workers are killed when all tasks are done and one result has been fetched."""
    distributed = pytest.importorskip("distributed")
    wait = distributed.wait
    monkeypatch.setattr(distributed, "wait", lambda futures, timeout, return_when: wait(futures))
    with cluster_module.connected(cluster.address) as workers:
        outcomes = workers.outcomes(_ten_times, [1, 2, 3, 4])
        found = [next(outcomes)]
        killed = list(cluster.workers)
        for process in killed:
            process.kill()
            process.wait()
        futures = list(workers.client.futures.values())
        end = time.monotonic() + 60
        while not any(future.status == "lost" for future in futures):
            assert time.monotonic() < end, "no result was ever lost"
            time.sleep(0.02)
        cluster.settle()
        found += outcomes
    assert sorted(found) == [(n, 10 * n) for n in [1, 2, 3, 4]]


def test_a_sweep_gives_the_same_points(cluster: Cluster, tree: Path, tmp_path: Path) -> None:
    images = sorted(tree.glob("*.png"))[:2]
    options = {"rates": [1.0], "compare": ["jpeg"], "effort": "fast", "progress": False}
    alone = sweep(images, out=tmp_path / "alone", **options)  # type: ignore[arg-type]
    spread = sweep(images, out=tmp_path / "spread", scheduler=cluster.address, **options)  # type: ignore[arg-type]
    assert [(p.key, p.file_bytes, p.psnr) for p in spread.points] == [
        (p.key, p.file_bytes, p.psnr) for p in alone.points
    ]
    assert len(spread.points) == 2 * (1 + 8) and not spread.failed


def test_a_prior_is_trained_to_the_same_bits(cluster: Cluster) -> None:
    with open_workers() as local, open_workers(scheduler=cluster.address) as remote:
        for a, b in zip(spread_training(local), spread_training(remote), strict=True):
            assert torch.equal(a, b)


@pytest.mark.slow
def test_a_cluster_on_this_machine() -> None:
    with open_workers(2, LOCAL) as workers:
        assert workers.count == 2
        assert sorted(workers.outcomes(_die_on_three, [1, 2])) == [(1, 10), (2, 20)]


def test_unreachable_clusters_and_contradictory_options_are_rejected(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "CONNECT_SECONDS", 0.5)
    arguments = ["batch", str(tree), str(tmp_path / "out"), "-q", "--scheduler"]
    assert main([*arguments, "tcp://127.0.0.1:1"]) == 1
    assert main([*arguments, "nowhere at all"]) == 1
    assert main([*arguments, "tls://127.0.0.1:1"]) == 1
    assert main([*arguments, "tcp://127.0.0.1:1", "--workers", "2"]) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 4 and "no scheduler at tls://127.0.0.1:1: TLS" in errors
    assert "no scheduler at tcp://127.0.0.1:1" in errors and "give either" in errors
    with pytest.raises(UsageError), open_workers(0):
        pass


def test_without_distributed_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"inrcodec\[cluster\]"), open_workers(scheduler="tcp://127.0.0.1:1"):
        pass


def test_a_lost_scheduler_is_one_line(
    cluster: Cluster, tree: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def kill() -> None:
        _wait_for(tmp_path / "out" / "manifest.jsonl", 1)
        cluster.scheduler.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    options = ["--beta", "0.003", "--effort", "fast", "-q", "--scheduler", cluster.address]
    assert main(["batch", str(tree), str(tmp_path / "out"), *options]) == 1
    killer.join()
    errors = capfd.readouterr().err
    message = "lost the scheduler of the cluster: finished work is kept, run the same command to resume"
    assert errors == f"inrcodec: {message}\n"
    assert 1 <= len(_lines(tmp_path / "out")) < 13
