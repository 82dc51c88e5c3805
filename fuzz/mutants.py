"""Run mutants of golden inputs through the fuzz targets. No fuzzer is needed: a mutant is reproduced by its number.

    python fuzz/mutants.py file --count 200000            # mutants with a correct checksum
    python fuzz/mutants.py file --seed 0 --first 4711 --count 1
    python fuzz/mutants.py exhaustive                     # every truncation, all values of every byte of 20 files
    python fuzz/mutants.py all --count 1000               # some of every target

The script prints one line of JSON per target. It exits with code 1 when there are findings, which it keeps in
``--findings``.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import harness
from running import Runner, bound_memory, save_findings

from inrcodec.coding.bits import write_varint

EXTREMES = (0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 63, 64, 100, 127, 128, 255)
VARINTS = (0, 1, 127, 128, 16383, 16384, 1 << 20, 1 << 28, (1 << 28) + 1, 1 << 31, 1 << 32, 1 << 46, (1 << 63) - 1)
NUMBERS = (
    b"0 -1 1 2 1.5 4096 65536 1000000 1e308 -1e308 1e999 1e-320 NaN -Infinity 9223372036854775807 18446744073709551616"
)
TOKENS = b'null true "" "a" [] {} [[]]'
TYPES = b"F64 F32 F16 BF16 I64 I32 U8 BOOL <f8 <i8 |u1 shape data / \\u0000 \xff"
WORDS = (*NUMBERS.split(), *TOKENS.split(), b"[" * 3000, *TYPES.split())
"""Replacements for the numbers and words of a text."""
TEXTS = ("metadata", "prior")
"""Targets whose input is, or begins with, JSON."""
EXHAUSTIVE_FILES = 20


def mutate(rng: random.Random, data: bytes, others: list[bytes], text: bool = False) -> bytes:
    """Return ``data`` with one to four changes; in input that begins with a ``text``, most of them change words."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        if text and out and rng.random() < 0.7:
            _change_word(rng, out, rng.randrange(out.find(b"\n") + 1 or len(out)))
            continue
        at = rng.randrange(len(out) + 1)
        match rng.randrange(10):
            case 0 | 1 if at < len(out):
                out[at] ^= 1 << rng.randrange(8)
            case 2 if at < len(out):
                out[at] = rng.randrange(256)
            case 3 if at < len(out):
                out[at] = rng.choice(EXTREMES)
            case 4:
                out[at:at] = rng.randbytes(rng.randrange(1, 5))
            case 5:
                del out[at : at + rng.choice((1, 1, 2, 8, 64))]
            case 6:
                other = rng.choice(others)
                start = rng.randrange(len(other) + 1)
                length = rng.choice((1, 4, 16, len(other)))
                out[at : at + length] = other[start : start + length]
            case 7:
                out[at : at + rng.choice((0, 1, 1, 2, 4))] = write_varint(rng.choice(VARINTS))
            case 8:
                out[at:at] = out[at : at + rng.choice((1, 4, 32))]
            case _:
                _change_word(rng, out, at)
    return bytes(out)


def _change_word(rng: random.Random, out: bytearray, at: int) -> None:
    """Replace the next number or word after ``at``, if there is one within 200 bytes."""
    start = next((i for i in range(at, min(at + 200, len(out))) if chr(out[i]).isalnum()), None)
    if start is None:
        return
    stop = start
    while stop < len(out) and (chr(out[stop]).isalnum() or out[stop] in b"._-+"):
        stop += 1
    out[start:stop] = rng.choice(WORDS)


def mutants(name: str, seed: int, first: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Yield mutants of a target's inputs with their labels; mutant i does not depend on those before it."""
    golden = harness.inputs(name)
    for number in range(first, first + count):
        rng = random.Random(f"{name}-{seed}-{number}")
        yield (
            f"{name} --seed {seed} --first {number} --count 1",
            mutate(rng, golden[number % len(golden)], golden, name in TEXTS),
        )


def exhaustive(files: int, step: int = 1) -> Iterator[tuple[str, bytes]]:
    """Yield every truncation, and every other value of each ``step``-th byte, of the shortest golden files."""
    for name, data in sorted(harness.read_corpus("files").items(), key=lambda item: len(item[1]))[:files]:
        for end in range(len(data)):
            yield f"{name}[:{end}]", data[:end]
        for place in range(0, len(data), step):
            for value in range(256):
                if value != data[place]:
                    yield f"{name}[{place}] = {value}", data[:place] + bytes([value]) + data[place + 1 :]


def run(runner: Runner, labelled: Iterator[tuple[str, bytes]]) -> float:
    """Run labelled inputs and return the seconds that they took."""
    begun = time.monotonic()
    for label, data in labelled:
        runner(data, label)
    return time.monotonic() - begun


def plans(options: argparse.Namespace) -> Iterator[tuple[Runner, Iterator[tuple[str, bytes]]]]:
    """Yield the runners that the command line asks for, and their inputs."""
    for target in options.targets:
        if target == "exhaustive":
            yield Runner("exhaustive", harness.opened), exhaustive(options.files, options.step)
            yield Runner("exhaustive, sealed", harness.file), exhaustive(options.files, options.step)
        else:
            for name in harness.TARGETS if target == "all" else (target,):
                yield Runner(name, harness.TARGETS[name]), mutants(name, options.seed, options.first, options.count)


def main() -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="+", choices=[*harness.TARGETS, "all", "exhaustive"])
    parser.add_argument("--count", type=int, default=1000, help="mutants of each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant")
    parser.add_argument("--files", type=int, default=EXHAUSTIVE_FILES, help="exhaustive: number of golden files")
    parser.add_argument("--step", type=int, default=1, help="exhaustive: change only every STEP-th byte")
    parser.add_argument("--findings", type=Path, default=Path("fuzz/findings"), help="folder for findings")
    options = parser.parse_args()
    faulthandler.enable()
    harness.prepare()
    planned = list(plans(options))
    for runner, _ in planned:
        warm = Runner(runner.name, runner.target)
        for data in harness.inputs(runner.name if runner.name in harness.TARGETS else "file"):
            warm(data)
    bound_memory()
    failed = False
    for runner, labelled in planned:
        seconds = run(runner, labelled)
        save_findings(list(runner.findings.values()), options.findings)
        kinds = [f"{f.kind} at {f.place}: {f.label}" for f in runner.findings.values()]
        line = {"target": runner.name, **vars(runner.tally), "seconds": round(seconds, 1), "findings": kinds}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        failed = failed or bool(kinds)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
