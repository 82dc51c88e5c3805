"""Kills ``compress`` and ``batch`` at random moments, and looks at what is left.

    python tools/kills.py --kills 200
    python tools/kills.py --kills 100 --signal INT

A process that has everything loaded forks one child for every kill, so that moments fall into the work and not into
imports; every tenth is a process of its own, from its first instruction on. Of the moments one half lies anywhere
between start and end, the other half within a write: the child says when it begins one. After every kill:

- an output is absent, what it was, or whole: byte for byte what an undisturbed run makes;
- beside outputs there are only temporary files that are named as such;
- the same command run again does all that was not done, finds nothing in its way, and sweeps those temporary files.

Ends with exit code 1 where any of this does not hold. SIGINT must also end with code 130, one line, nothing left.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
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
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from inrcodec import storage as atomic
from inrcodec.cli import main as command_line
from inrcodec.evaluate import batch_jobs
from inrcodec.evaluate.json_log import JsonLog

OPTIONS = ("--effort", "fast", "--beta", "0.003", "-q")
OLD_OPTIONS = ("--effort", "fast", "--beta", "0.05", "-q")
OWN_PROCESS_EVERY = 10
ORPHANS_END_SECONDS = 20.0
INTERRUPTED = 130


class Broken(AssertionError):
    """What must hold does not."""


@dataclass
class Child:
    """A forked command line: ``told`` is readable once for every write that it begins."""

    pid: int
    told: int
    said: Path

    def wait(self) -> int:
        """Exit code, or the signal as a negative number; waits for its workers too."""
        _, status = os.waitpid(self.pid, 0)
        os.close(self.told)
        until = time.perf_counter() + ORPHANS_END_SECONDS
        while time.perf_counter() < until:
            try:
                os.killpg(self.pid, 0)
            except ProcessLookupError:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        raise Broken(f"workers of {self.pid} live on {ORPHANS_END_SECONDS:.0f} s after its end")

    def seen(self, writes: int, seconds: float) -> None:
        """Wait until so many writes have begun, at most so long."""
        import select

        until = time.perf_counter() + seconds
        while writes > 0 and select.select([self.told], [], [], max(0.0, until - time.perf_counter()))[0]:
            got = os.read(self.told, writes)
            writes -= len(got)
            if not got:
                return

    def send(self, number: signal.Signals, *, group: bool = False) -> None:
        """A signal to the process, or as a terminal sends it to all of its group; none where it has ended."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)


def forked(arguments: Sequence[str], said: Path, first: Callable[[], None] = lambda: None) -> Child:
    """The command line in a child of this process, in a group of its own, after ``first()``; what it says goes to the
    file ``said``."""
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
        # A shell starts what runs in the background without ears for it; and tqdm's lock is one for all children of a
        # process: who is killed while he has it would have it for ever.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        tqdm.set_lock(threading.RLock())
        telling(lambda: os.write(writing, b"w") and None)
        first()
        code = command_line(list(arguments))
    finally:
        os._exit(code)


def telling(tell: Callable[[], None]) -> None:
    """From now on ``tell`` is called whenever an output or a line of a manifest is about to be written."""
    write, add = atomic.write_whole, JsonLog.add

    def write_told(*args: Any, **named: Any) -> None:
        tell()
        write(*args, **named)

    def add_told(log: Any, entry: Any) -> None:
        tell()
        add(log, entry)

    atomic.write_whole = batch_jobs.write_whole = write_told  # type: ignore[attr-defined]
    JsonLog.add = add_told  # type: ignore[method-assign]


@dataclass
class Trial:
    """A command, the outputs it makes (path to bytes), what was at their places before, and what its inputs are."""

    name: str
    arguments: list[str]
    folder: Path
    made: dict[Path, bytes]
    before: dict[Path, bytes] = field(default_factory=dict)

    def reset(self) -> None:
        """The folder as it is before the command runs."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        for path, data in self.before.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def look(self) -> Counter[str]:
        """What is there: outputs absent, old, new, and temporary files; Broken where it is anything else."""
        found: Counter[str] = Counter()
        for path, data in self.made.items():
            there = path.read_bytes() if path.exists() else None
            if there is not None and there not in (data, self.before.get(path)):
                raise Broken(f"{self.name}: {path.name} is neither old nor whole: {len(there)} of {len(data)} bytes")
            found["absent" if there is None else "new" if there == data else "old"] += 1
        for path in self.folder.rglob("*"):
            if path.is_dir() or path in self.made:
                continue
            if path.name.startswith(atomic.TEMPORARY_START) and path.name.endswith(atomic.TEMPORARY_END):
                found["temporary"] += 1
            elif path.name != "manifest.jsonl":
                raise Broken(f"{self.name}: {path.name!r} is left")
        manifest = self.folder / "manifest.jsonl"
        if manifest.exists():
            *lines, rest = manifest.read_bytes().split(b"\n")
            for line in lines:
                json.loads(line)
            found["half line"] += bool(rest)
        return found

    def again(self, said: Path) -> None:
        """Run the command once more, undisturbed, and expect all outputs and nothing else."""
        forced = [] if self.name.startswith("batch") else ["--force"]
        code = forked([*self.arguments, *forced], said).wait()
        found = self.look()
        if code or found != Counter(new=len(self.made)):
            raise Broken(f"{self.name}: run again it ends with {code} and {dict(found)}: {said.read_text()}")


def make_trials(folder: Path, options: Sequence[str] = ()) -> list[Trial]:
    """Commands on made-up pictures: each of them to a new place, and over older outputs."""
    rng = np.random.default_rng(0)
    tree = folder / "tree"
    (tree / "sub").mkdir(parents=True)
    y, x = np.mgrid[0:40, 0:40]
    for i in range(6):
        waves = 128 + 50 * np.sin(x / rng.uniform(3, 12) + y / rng.uniform(5, 20))[..., None] * rng.uniform(0.5, 1, 3)
        pixels = np.clip(waves + rng.normal(0, 4, (40, 40, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tree / ("sub" if i % 2 else ".") / f"p{i}.png")
    one, said = tree / "p0.png", folder / "said"
    # What is loaded here once every child has: the prior is found, read and checked.
    if code := command_line(["compress", str(one), "-o", str(folder / "loaded.inr"), *OPTIONS, *options]):
        raise Broken(f"compress ends with {code}")
    trials = []
    for over in (False, True):
        place = folder / f"one{over}"
        output = place / "p0.inr"
        force = ["--force"] if over else []
        arguments = ["compress", str(one), "-o", str(output), *force, *options]
        trials.append(_trial("compress", place, arguments, [output], over, said))
        for workers in (1, 2):
            place = folder / f"all{over}{workers}"
            outputs = [place / f"{p.relative_to(tree)}.inr" for p in sorted(tree.rglob("*.png"))]
            arguments = ["batch", str(tree), str(place), "--workers", str(workers), *options]
            trials.append(_trial(f"batch {workers}", place, arguments, outputs, over, said))
    return trials


def _trial(name: str, place: Path, arguments: list[str], outputs: list[Path], over: bool, said: Path) -> Trial:
    """With what undisturbed runs make; ``over``: over the files of an earlier run with other options."""
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
    made = {path: states[1][path] for path in outputs}
    over_name = f"{name}, over old files" if over else name
    return Trial(over_name, [*arguments, *OPTIONS], place, made, states[0] if over else {})


def seconds_of(trial: Trial, said: Path) -> float:
    """How long the command takes, undisturbed: the median of three."""
    taken = []
    for _ in range(3):
        trial.reset()
        begun = time.perf_counter()
        forked(trial.arguments, said).wait()
        taken.append(time.perf_counter() - begun)
    return sorted(taken)[1]


def kill(trial: Trial, rng: random.Random, seconds: float, number: signal.Signals, said: Path) -> tuple[str, int]:
    """Start the command, send the signal at a random moment; how the moment was chosen, and the exit code."""
    writes = 0
    if rng.random() < 0.5:
        n = len(trial.made)
        writes = rng.randint(1, 1 if n == 1 else 2 * n)
    child = forked(trial.arguments, said)
    if writes:
        child.seen(writes, 4 * seconds + 5)
        wait(rng.uniform(0, rng.choice((0.002, 0.012))))
    else:
        wait(rng.uniform(0, 1.05 * seconds))
    child.send(number, group=number == signal.SIGINT)
    return "writing" if writes else "anywhere", child.wait()


def kill_own_process(trial: Trial, rng: random.Random, seconds: float, number: signal.Signals, said: Path) -> int:
    """The same of a process that is started from nothing."""
    with open(said, "wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "inrcodec", *trial.arguments],
            stdout=output,
            stderr=output,
            process_group=0,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        wait(rng.uniform(0, 1.05 * seconds))
        own = Child(child.pid, os.open(os.devnull, os.O_RDONLY), said)
        own.send(number, group=number == signal.SIGINT)
        child.returncode = own.wait()
        return child.returncode


def wait(seconds: float) -> None:
    """Sleep, to a fraction of a millisecond."""
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
) -> dict[str, Any]:
    """Kill so many commands; what was found, by command and moment. Raises Broken."""
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
        found = trial.look()
        text = said.read_text(errors="replace")
        if number == signal.SIGINT and how != "own process":
            # A terminal shows ^C, after which an empty line begins a new one.
            clean = (code, text.strip()) in ((0, ""), (INTERRUPTED, "inrcodec: interrupted"))
            if not clean or found["temporary"]:
                raise Broken(f"{trial.name}: SIGINT ends with {code} and {dict(found)}: {text}")
        row = table.setdefault(f"{trial.name} ({how})", Counter())
        row["signals"] += 1
        row["had ended"] += code == 0
        row["traceback"] += "Traceback" in text
        row.update(found)
        trial.again(said)
    return {name: dict(row) for name, row in sorted(table.items())}


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--signal", choices=("KILL", "INT"), default="KILL")
    parser.add_argument("--seed", type=int, default=0)
    told = parser.parse_args()
    torch.set_num_threads(1)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        table = run(told.kills, signal.Signals[f"SIG{told.signal}"], told.seed, Path(folder))
    columns = ("signals", "had ended", "absent", "old", "new", "temporary", "half line", "traceback")
    print(f"{'':44}" + "".join(f"{name:>11}" for name in columns))
    total: Counter[str] = Counter()
    for name, row in table.items():
        total.update(row)
        print(f"{name:44}" + "".join(f"{row.get(column, 0):11}" for column in columns))
    print(f"{'all':44}" + "".join(f"{total[column]:11}" for column in columns))
    print(f"{told.kills} signals in {time.perf_counter() - begun:.0f} s: no output is half, all runs go on")


if __name__ == "__main__":
    main()
