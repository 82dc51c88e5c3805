"""The fuzz targets under atheris, which keeps what reaches new code and goes on from there.

    python fuzz/run.py --minutes 12                       # the minutes divided among all targets
    python fuzz/run.py header --runs 20000000             # one target, so many executions

Every target runs in a process of its own with ``running.MEMORY_BYTES`` over what it has when it begins. A finding is
kept and counted, and the target goes on. Prints a table; ends with 1 when there are findings.

Needs atheris: ``pip install 'inrcodec[fuzz]'``; ``mutants.py`` does without.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TARGETS = (
    "header",
    "container",
    "archive",
    "metadata",
    "prior",
    "combiner",
    "hierarchical",
    "coinpp",
    "coin",
    "grids",
    "lossless",
    "file",
    "pillow",
    "source",
)
STARTUP_SECONDS = 120
MAX_INPUT_BYTES = 4096
CHECKED_EVERY = 64
"""Executions between looks at the clock."""


def fuzz(name: str, seconds: float, runs: int, seed: int, kept: Path, report: Path) -> None:
    """Fuzz one target in this process until its time is over or its executions are done; does not return."""
    import atheris

    with atheris.instrument_imports(include=["inrcodec"]):
        import harness
    from running import Runner, bound_memory, save_findings

    harness.prepare()
    corpus = kept / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(harness.inputs(name)):
        (corpus / f"seed-{number:03d}").write_bytes(data)
        # What is loaded at its first use is no memory of the inputs to come.
        Runner(name, harness.TARGETS[name])(data)
    runner = Runner(name, harness.TARGETS[name])
    bound_memory()
    begun = time.monotonic()

    def one(data: bytes) -> None:
        runner(data)
        done = runner.tally.runs
        if done >= runs or (done % CHECKED_EVERY == 0 and time.monotonic() - begun >= seconds):
            save_findings(list(runner.findings.values()), kept)
            kinds = [f"{f.kind} at {f.place}" for f in runner.findings.values()]
            line = {**vars(runner.tally), "seconds": time.monotonic() - begun, "findings": kinds}
            report.write_text(json.dumps(line))
            # The fuzzer ends the process without Python's farewell; so does this.
            os._exit(0)

    options = [
        f"-artifact_prefix={kept}/{name}-",
        f"-max_len={longest(harness.inputs(name))}",
        f"-seed={seed}",
        "-timeout=0",
        "-rss_limit_mb=0",
        "-malloc_limit_mb=0",
        "-verbosity=0",
        "-print_final_stats=0",
        "-detect_leaks=0",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


def longest(inputs: Sequence[bytes]) -> int:
    """Most bytes of an input: some more than the seeds have."""
    return max(MAX_INPUT_BYTES, *(2 * len(data) for data in inputs))


def run_target(name: str, seconds: float, runs: int, seed: int, kept: Path) -> dict[str, Any]:
    """Fuzz one target in a process of its own; what it reports, or that it died."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [
            sys.executable,
            "-W",
            "ignore::UserWarning",
            __file__,
            name,
            "--seconds",
            str(seconds),
            "--runs",
            str(runs),
            "--seed",
            str(seed),
            "--findings",
            str(kept),
            "--report",
            str(report),
        ]
        begun = time.monotonic()
        try:
            ended = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=seconds + STARTUP_SECONDS
            )
            last = f"ended with {ended.returncode}: {ended.stderr[-300:]}"
        except subprocess.TimeoutExpired:
            last = "hung"
        if report.is_file():
            return dict(json.loads(report.read_text()))
        return {"runs": 0, "accepted": 0, "slowest": 0.0, "seconds": time.monotonic() - begun, "findings": [last]}


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], help="all by default")
    parser.add_argument("--minutes", type=float, default=12.0, help="of all targets together")
    parser.add_argument("--seconds", type=float, help="of each target, instead")
    parser.add_argument("--runs", type=int, default=1 << 62, help="executions of each target, at most")
    parser.add_argument("--seed", type=int, default=0, help="0: another one every time")
    parser.add_argument("--findings", type=Path, default=Path("fuzz/findings"))
    parser.add_argument("--report", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    asked.findings.mkdir(parents=True, exist_ok=True)
    names = asked.targets or list(TARGETS)
    seconds = asked.seconds or 60.0 * asked.minutes / len(names)
    if asked.report:
        fuzz(names[0], seconds, asked.runs, asked.seed, asked.findings, asked.report)
    sys.stdout.write(f"{'target':<13} {'executions':>11} {'accepted':>10} {'slowest':>8} {'seconds':>8}  findings\n")
    failed = False
    for name in names:
        found = run_target(name, seconds, asked.runs, asked.seed, asked.findings)
        failed = failed or bool(found["findings"])
        counts = f"{found['runs']:>11,} {found['accepted']:>10,} {found['slowest']:>6.2f} s {found['seconds']:>8.0f}"
        sys.stdout.write(f"{name:<13} {counts}  {len(found['findings'])}\n")
        for text in found["findings"]:
            sys.stdout.write(f"    {text}\n")
        sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
