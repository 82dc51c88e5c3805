"""Run the fuzz targets under atheris, which keeps inputs that reach new code and mutates them further.

    python fuzz/run.py --minutes 12                       # 12 minutes, divided among all targets
    python fuzz/run.py header --runs 20000000             # one target, 20 million executions

Each target runs in its own process, which may use ``running.MEMORY_BYTES`` more memory than it has at the start. A
finding is kept and counted, and the target continues. The script prints a table and exits with code 1 when there are
findings.

This needs atheris (``pip install 'inrcodec[fuzz]'``); ``mutants.py`` does not.
"""

from __future__ import annotations

import argparse
import importlib.util
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
    "bitswap",
    "file",
    "pillow",
    "source",
)
STARTUP_SECONDS = 120
MAX_INPUT_BYTES = 4096
CHECKED_EVERY = 64
"""Number of executions between checks of the clock."""


def fuzz(name: str, seconds: float, runs: int, seed: int, kept: Path, report: Path) -> None:
    """Fuzz one target in this process until its time is up or it has run often enough; does not return."""
    import atheris

    with atheris.instrument_imports(include=["inrcodec"]):
        import harness
    from running import Runner, bound_memory, save_findings

    harness.prepare()
    corpus = kept / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(harness.inputs(name)):
        (corpus / f"seed-{number:03d}").write_bytes(data)
        # Load what is loaded at first use now, so that it does not count as memory of later inputs.
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
            # The fuzzer ends the process without running exit handlers; so does this.
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
    """Return the maximum length of an input in bytes: at least twice that of the longest seed."""
    return max(MAX_INPUT_BYTES, *(2 * len(data) for data in inputs))


def run_target(name: str, seconds: float, runs: int, seed: int, kept: Path) -> dict[str, Any]:
    """Fuzz one target in its own process and return its report, or one that says how the process died."""
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
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], help="default: all")
    parser.add_argument("--minutes", type=float, default=12.0, help="time for all targets together")
    parser.add_argument("--seconds", type=float, help="time for each target; replaces --minutes")
    parser.add_argument("--runs", type=int, default=1 << 62, help="max executions of each target")
    parser.add_argument("--seed", type=int, default=0, help="seed of the fuzzer; 0 draws a new one every time")
    parser.add_argument("--findings", type=Path, default=Path("fuzz/findings"), help="folder for findings")
    parser.add_argument("--report", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        parser.error("atheris is not installed: pip install 'inrcodec[fuzz]', or use fuzz/mutants.py")
    options.findings.mkdir(parents=True, exist_ok=True)
    names = options.targets or list(TARGETS)
    seconds = options.seconds or 60.0 * options.minutes / len(names)
    if options.report:
        fuzz(names[0], seconds, options.runs, options.seed, options.findings, options.report)
    sys.stdout.write(f"{'target':<13} {'executions':>11} {'accepted':>10} {'slowest':>8} {'seconds':>8}  findings\n")
    failed = False
    for name in names:
        report = run_target(name, seconds, options.runs, options.seed, options.findings)
        failed = failed or bool(report["findings"])
        counts = (
            f"{report['runs']:>11,} {report['accepted']:>10,} {report['slowest']:>6.2f} s {report['seconds']:>8.0f}"
        )
        sys.stdout.write(f"{name:<13} {counts}  {len(report['findings'])}\n")
        for text in report["findings"]:
            sys.stdout.write(f"    {text}\n")
        sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
