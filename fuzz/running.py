"""Running one input of a fuzzed target: what counts as a finding, how long and with how much memory it may run."""

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
MEMORY_BYTES = 1 << 30
"""Over what the loaded process has."""

Target = Callable[[bytes], bool]


class Hang(BaseException):
    """A target has taken longer than it may."""


@dataclass
class Finding:
    """What went wrong: ``kind`` and ``place`` tell findings apart."""

    target: str
    kind: str
    place: str
    text: str
    data: bytes
    label: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """Equal for inputs that fail alike."""
        return self.target, self.kind, self.place


@dataclass
class Tally:
    """Counts of one target; ``slowest`` in seconds."""

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
        """Run one input."""
        begun = time.perf_counter()
        _WATCHED[:] = [begun]
        try:
            self.tally.accepted += self.target(data)
        except InrcodecError:
            pass
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # Panics of Rust and hangs are no Exceptions.
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
"""When the input in work was begun; empty in between."""


def watch() -> None:
    """From now on, ``Hang`` is raised in whatever input takes longer than ``SECONDS``, looked at twice a second."""

    def look(number: int, frame: FrameType | None) -> None:
        if _WATCHED and time.perf_counter() - _WATCHED[-1] > SECONDS:
            raise Hang(f"over {SECONDS} s")

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 0.5, 0.5)
    atexit.register(signal.setitimer, signal.ITIMER_REAL, 0.0)


def bound_memory(extra: int = MEMORY_BYTES) -> None:
    """Let this process have so much address space more than it has now; without effect where /proc is missing."""
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + extra, resource.RLIM_INFINITY))


def save_findings(findings: list[Finding], folder: Path) -> None:
    """Inputs and what they led to, for a debugger and for a test."""
    folder.mkdir(parents=True, exist_ok=True)
    for finding in findings:
        name = f"{finding.target}-{finding.kind}-{hashlib.sha256(finding.data).hexdigest()[:10]}"
        (folder / name).write_bytes(finding.data)
        (folder / f"{name}.txt").write_text(f"{finding.label}\n{finding.text}")
