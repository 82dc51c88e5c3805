"""Kill ``compress`` and ``batch`` at random moments, and check what is left.

    python tools/kills.py --kills 200
    python tools/kills.py --kills 100 --signal INT

A process that has everything loaded forks one child for every kill, so that kills hit the work and not the imports;
every tenth kill hits a new process, from its first instruction on. Half of the moments lie anywhere between start and
end, the other half during a write, which the child announces. After every kill:

- an output is absent, unchanged, or complete: byte for byte what an undisturbed run writes;
- apart from outputs there are only temporary files that are named as such;
- the same command, run again, does all that was not done, succeeds, and removes those temporary files.

The script exits with code 1 if any of this does not hold. After SIGINT, the command must also exit with code 130,
print one line and leave no temporary file.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from inrcodec import storage
from inrcodec.cli import main as command_line
from inrcodec.evaluate import batch_jobs
from inrcodec.evaluate.json_log import JsonLog

OPTIONS = ("--effort", "fast", "--beta", "0.003", "-q")
OLD_OPTIONS = ("--effort", "fast", "--beta", "0.05", "-q")
OWN_PROCESS_EVERY = 10
ORPHANS_END_SECONDS = 20.0
INTERRUPTED = 130


class Broken(AssertionError):
    """Signals that a command left something that it must not leave, or failed when it was run again."""


@dataclass
class Child:
    """Holds a forked command line.

    Attributes:
        pid: its process id, which is also that of its process group.
        announcements: file descriptor from which one byte can be read for every write that the child begins.
        said: file of its output.
    """

    pid: int
    announcements: int
    said: Path

    def wait(self) -> int:
        """Wait for the child and its workers, and return its exit code, or the signal as a negative number."""
        _, status = os.waitpid(self.pid, 0)
        os.close(self.announcements)
        until = time.perf_counter() + ORPHANS_END_SECONDS
        while time.perf_counter() < until:
            try:
                os.killpg(self.pid, 0)
            except ProcessLookupError:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        raise Broken(f"workers of {self.pid} still run {ORPHANS_END_SECONDS:.0f} s after it ended")

    def wait_for_writes(self, count: int, seconds: float) -> None:
        """Wait until ``count`` writes have begun, but no longer than ``seconds``."""
        until = time.perf_counter() + seconds
        while count > 0 and select.select([self.announcements], [], [], max(0.0, until - time.perf_counter()))[0]:
            received = os.read(self.announcements, count)
            count -= len(received)
            if not received:
                return

    def send(self, number: signal.Signals, *, group: bool = False) -> None:
        """Send a signal to the process, or to its group as a terminal does; do nothing if it has ended."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)


def forked(arguments: Sequence[str], said: Path, first: Callable[[], None] = lambda: None) -> Child:
    """Call ``first()`` and run the command line in a child process with its own group; its output goes to ``said``."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.setpgid(pid, pid)
        return Child(pid, reading, said)
    code = 99
    try:
        with contextlib.suppress(PermissionError):
            os.setpgid(0, 0)
        os.close(reading)
        output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        # A shell starts background jobs with SIGINT ignored. And all children of a process share tqdm's lock, which a
        # child that is killed while holding it would never release.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        tqdm.set_lock(threading.RLock())
        announce_writes(writing)
        first()
        code = command_line(list(arguments))
    finally:
        os._exit(code)


def announce_writes(descriptor: int) -> None:
    """Write a byte to a pipe, from now on, whenever this process begins to write an output or a manifest line."""
    write, add = storage.write_whole, JsonLog.add

    def announced_write(path: Path, content: bytes | storage.Writer, *, force: bool = False) -> None:
        os.write(descriptor, b"w")
        write(path, content, force=force)

    def announced_add(log: JsonLog[object], entry: object) -> None:
        os.write(descriptor, b"w")
        add(log, entry)

    for module in (storage, batch_jobs):
        mock.patch.object(module, "write_whole", announced_write).start()
    mock.patch.object(JsonLog, "add", announced_add).start()


@dataclass
class Trial:
    """Holds a command and what it should leave.

    Attributes:
        name: what the command does.
        arguments: the command line.
        folder: folder of its outputs.
        outputs: what an undisturbed run writes, by path.
        before: what lies in the folder before the command runs, by path.
    """

    name: str
    arguments: list[str]
    folder: Path
    outputs: dict[Path, bytes]
    before: dict[Path, bytes] = field(default_factory=dict)

    def reset(self) -> None:
        """Restore the folder to what it is before the command runs."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        for path, data in self.before.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def look(self) -> Counter[str]:
        """Count absent, old and new outputs and temporary files; raise Broken for anything else in the folder."""
        counts: Counter[str] = Counter()
        for path, data in self.outputs.items():
            content = path.read_bytes() if path.exists() else None
            if content is not None and content not in (data, self.before.get(path)):
                message = f"{path.name} is neither old nor complete: {len(content)} of {len(data)} bytes"
                raise Broken(f"{self.name}: {message}")
            counts["absent" if content is None else "new" if content == data else "old"] += 1
        for path in self.folder.rglob("*"):
            if path.is_dir() or path in self.outputs:
                continue
            if path.name.startswith(storage.TEMPORARY_START) and path.name.endswith(storage.TEMPORARY_END):
                counts["temporary"] += 1
            elif path.name != "manifest.jsonl":
                raise Broken(f"{self.name}: {path.name!r} is left")
        manifest = self.folder / "manifest.jsonl"
        if manifest.exists():
            *lines, rest = manifest.read_bytes().split(b"\n")
            for line in lines:
                json.loads(line)
            counts["half line"] += bool(rest)
        return counts

    def again(self, said: Path) -> None:
        """Run the command once more, undisturbed, and expect all outputs and nothing else."""
        forced = [] if self.name.startswith("batch") else ["--force"]
        code = forked([*self.arguments, *forced], said).wait()
        counts = self.look()
        if code or counts != Counter(new=len(self.outputs)):
            raise Broken(f"{self.name}: run again, it ends with {code} and {dict(counts)}: {said.read_text()}")


def make_trials(folder: Path, options: Sequence[str] = ()) -> list[Trial]:
    """Return commands on synthetic images: each of them in a new folder, and over older outputs."""
    rng = np.random.default_rng(0)
    tree = folder / "tree"
    (tree / "sub").mkdir(parents=True)
    y, x = np.mgrid[0:40, 0:40]
    for i in range(6):
        waves = 128 + 50 * np.sin(x / rng.uniform(3, 12) + y / rng.uniform(5, 20))[..., None] * rng.uniform(0.5, 1, 3)
        pixels = np.clip(waves + rng.normal(0, 4, (40, 40, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tree / ("sub" if i % 2 else ".") / f"p{i}.png")
    image, said = tree / "p0.png", folder / "said"
    # Load here what every child then has: the prior is found, read and checked.
    if code := command_line(["compress", str(image), "-o", str(folder / "loaded.inr"), *OPTIONS, *options]):
        raise Broken(f"compress ends with {code}")
    trials = []
    for over in (False, True):
        place = folder / f"one{over}"
        output = place / "p0.inr"
        force = ["--force"] if over else []
        arguments = ["compress", str(image), "-o", str(output), *force, *options]
        trials.append(_trial("compress", place, arguments, [output], over, said))
        for workers in (1, 2):
            place = folder / f"all{over}{workers}"
            outputs = [place / f"{p.relative_to(tree)}.inr" for p in sorted(tree.rglob("*.png"))]
            arguments = ["batch", str(tree), str(place), "--workers", str(workers), *options]
            trials.append(_trial(f"batch {workers}", place, arguments, outputs, over, said))
    return trials


def _trial(name: str, place: Path, arguments: list[str], outputs: list[Path], over: bool, said: Path) -> Trial:
    """Return a trial with the outputs of undisturbed runs; ``over`` the files of an earlier run with other options."""
    states = []
    for options in (OLD_OPTIONS, OPTIONS):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        if code := forked([*arguments, *options], said).wait():
            raise Broken(f"{name} ends with {code}: {said.read_text()}")
        states.append({path: path.read_bytes() for path in outputs})
        manifest = place / "manifest.jsonl"
        if over and manifest.exists():
            states[-1][manifest] = manifest.read_bytes()
    new_outputs = {path: states[1][path] for path in outputs}
    over_name = f"{name}, over old files" if over else name
    return Trial(over_name, [*arguments, *OPTIONS], place, new_outputs, states[0] if over else {})


def seconds_of(trial: Trial, said: Path) -> float:
    """Return the seconds that the undisturbed command takes: the median of three runs."""
    times = []
    for _ in range(3):
        trial.reset()
        begun = time.perf_counter()
        forked(trial.arguments, said).wait()
        times.append(time.perf_counter() - begun)
    return sorted(times)[1]


def kill(trial: Trial, rng: random.Random, seconds: float, number: signal.Signals, said: Path) -> tuple[str, int]:
    """Start the command and send the signal at a random moment; return how it was chosen, and the exit code."""
    writes = 0
    if rng.random() < 0.5:
        n = len(trial.outputs)
        writes = rng.randint(1, 1 if n == 1 else 2 * n)
    child = forked(trial.arguments, said)
    if writes:
        child.wait_for_writes(writes, 4 * seconds + 5)
        wait(rng.uniform(0, rng.choice((0.002, 0.012))))
    else:
        wait(rng.uniform(0, 1.05 * seconds))
    child.send(number, group=number == signal.SIGINT)
    return "writing" if writes else "anywhere", child.wait()


def kill_own_process(trial: Trial, rng: random.Random, seconds: float, number: signal.Signals, said: Path) -> int:
    """Do the same with a new process, and return its exit code."""
    with open(said, "wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "inrcodec", *trial.arguments],
            stdout=output,
            stderr=output,
            process_group=0,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        wait(rng.uniform(0, 1.05 * seconds))
        started = Child(child.pid, os.open(os.devnull, os.O_RDONLY), said)
        started.send(number, group=number == signal.SIGINT)
        child.returncode = started.wait()
        return child.returncode


def wait(seconds: float) -> None:
    """Sleep, exact to a fraction of a millisecond."""
    until = time.perf_counter() + seconds
    if seconds > 0.003:
        time.sleep(seconds - 0.003)
    while time.perf_counter() < until:
        pass


def run(
    kills: int,
    number: signal.Signals,
    seed: int,
    folder: Path,
    *,
    own_processes: bool = True,
    options: Sequence[str] = (),
) -> dict[str, dict[str, int]]:
    """Kill commands and check what each leaves.

    Args:
        kills: number of commands.
        number: the signal.
        seed: seed of the random moments.
        folder: an empty folder to work in.
        own_processes: whether every tenth command is a new process.
        options: further options of every command.

    Returns:
        Counts by command and kind of moment.

    Raises:
        Broken: a command left something that it must not leave, or failed when it was run again.
    """
    rng, said = random.Random(seed), folder / "said"
    trials = make_trials(folder, options)
    seconds = [seconds_of(trial, said) for trial in trials]
    own_seconds = 0.0
    if own_processes:
        trials[0].reset()
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-m", "inrcodec", *trials[0].arguments], check=True)
        own_seconds = time.perf_counter() - begun
    table: dict[str, Counter[str]] = {}
    for count in range(kills):
        index = count % len(trials)
        trial = trials[index]
        trial.reset()
        if own_processes and count % OWN_PROCESS_EVERY == OWN_PROCESS_EVERY - 1:
            how, code = "own process", kill_own_process(trial, rng, own_seconds + seconds[index], number, said)
        else:
            how, code = kill(trial, rng, seconds[index], number, said)
        counts = trial.look()
        text = said.read_text(errors="replace")
        if number == signal.SIGINT and how != "own process":
            # The command prints an empty line first, since a terminal shows ^C.
            clean = (code, text.strip()) in ((0, ""), (INTERRUPTED, "inrcodec: interrupted"))
            if not clean or counts["temporary"]:
                raise Broken(f"{trial.name}: SIGINT ends with {code} and {dict(counts)}: {text}")
        row = table.setdefault(f"{trial.name} ({how})", Counter())
        row["signals"] += 1
        row["had ended"] += code == 0
        row["traceback"] += "Traceback" in text
        row.update(counts)
        trial.again(said)
    return {name: dict(row) for name, row in sorted(table.items())}


def main() -> None:
    """Run the command line and print a table of counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="number of commands to kill")
    parser.add_argument("--signal", choices=("KILL", "INT"), default="KILL")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random moments")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        table = run(arguments.kills, signal.Signals[f"SIG{arguments.signal}"], arguments.seed, Path(folder))
    columns = ("signals", "had ended", "absent", "old", "new", "temporary", "half line", "traceback")
    print(f"{'':44}" + "".join(f"{name:>11}" for name in columns))
    total: Counter[str] = Counter()
    for name, row in table.items():
        total.update(row)
        print(f"{name:44}" + "".join(f"{row.get(column, 0):11}" for column in columns))
    print(f"{'all':44}" + "".join(f"{total[column]:11}" for column in columns))
    print(
        f"{arguments.kills} signals in {time.perf_counter() - begun:.0f} s: no output is incomplete, "
        "every command could be run again"
    )


if __name__ == "__main__":
    main()
