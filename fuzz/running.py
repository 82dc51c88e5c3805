"""Run inputs through a fuzz target: what counts as a finding, and the bounds on time and memory."""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import resource
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from inrcodec.errors import InrcodecError

SECONDS = 5.0
"""Time that one input may take."""
MEMORY_BYTES = 1 << 30
"""Memory that inputs may use on top of what the process has after loading."""

Target = Callable[[bytes], bool]


class Hang(BaseException):
    """Signals that a target exceeded its time limit."""


@dataclass
class Finding:
    """Describes one failure of a target.

    Attributes:
        target: name of the target.
        kind: name of the exception's class.
        place: file and line of this project where it was raised; ``kind`` and ``place`` tell findings apart.
        text: end of the traceback.
        data: the input.
        label: how to reproduce the input, or "".
    """

    target: str
    kind: str
    place: str
    text: str
    data: bytes
    label: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """Return a key that is equal for inputs that fail alike."""
        return self.target, self.kind, self.place


@dataclass
class Tally:
    """Counts the runs of one target.

    Attributes:
        runs: number of inputs.
        accepted: number of inputs for which the target returned True.
        slowest: longest time of one input in seconds.
    """

    runs: int = 0
    accepted: int = 0
    slowest: float = 0.0


class Runner:
    """Runs inputs of one target, counts them and keeps one finding of each kind."""

    def __init__(self, name: str, target: Target) -> None:
        self.name, self.target = name, target
        self.tally = Tally()
        self.findings: dict[tuple[str, str, str], Finding] = {}

    def __call__(self, data: bytes, label: str = "") -> None:
        """Run one input; ``label`` says how to reproduce it."""
        begun = time.perf_counter()
        _WATCHED[:] = [begun]
        try:
            self.tally.accepted += self.target(data)
        except InrcodecError:
            pass
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # Rust panics and Hang do not derive from Exception.
            self._note(error, data, label)
        _WATCHED.clear()
        seconds = time.perf_counter() - begun
        self.tally.runs += 1
        self.tally.slowest = max(self.tally.slowest, seconds)

    def _note(self, error: BaseException, data: bytes, label: str) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        frames = traceback.StackSummary([f for f in frames if "inrcodec" in f.filename or "fuzz" in f.filename])
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
        text = "".join(traceback.format_exception(error))[-3000:]
        finding = Finding(self.name, type(error).__name__, place, text, data, label)
        self.findings.setdefault(finding.key, finding)


_WATCHED: list[float] = []
"""Start time of the current input; empty between inputs."""


def watch() -> None:
    """Raise ``Hang`` in any input that takes longer than ``SECONDS``, from now on; checked twice a second."""

    def look(number: int, frame: FrameType | None) -> None:
        if _WATCHED and time.perf_counter() - _WATCHED[-1] > SECONDS:
            raise Hang(f"over {SECONDS} s")

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 0.5, 0.5)
    atexit.register(signal.setitimer, signal.ITIMER_REAL, 0.0)


def bound_memory(extra: int = MEMORY_BYTES) -> None:
    """Limit address space to ``extra`` bytes more than this process has now; does nothing without /proc."""
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + extra, resource.RLIM_INFINITY))


def save_findings(findings: list[Finding], folder: Path) -> None:
    """Write each finding's input and traceback to files in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for finding in findings:
        name = f"{finding.target}-{finding.kind}-{hashlib.sha256(finding.data).hexdigest()[:10]}"
        (folder / name).write_bytes(finding.data)
        (folder / f"{name}.txt").write_text(f"{finding.label}\n{finding.text}")
