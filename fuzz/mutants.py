"""Mutants of golden inputs through the fuzz targets, without a fuzzer: every one can be made again from its number.

    python fuzz/mutants.py file --count 200000            # mutants, checksum sealed again
    python fuzz/mutants.py file --seed 0 --first 4711 --count 1
    python fuzz/mutants.py exhaustive                     # every truncation, all values of every byte of 20 files
    python fuzz/mutants.py all --count 1000               # some of every target

Prints a line of JSON for every target; ends with 1 when there are findings, which are kept in ``--findings``.
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
WORDS = (
    b"0", b"-1", b"1", b"2", b"1.5", b"4096", b"65536", b"1000000", b"1e308", b"-1e308", b"1e999", b"1e-320", b"NaN",
    b"-Infinity", b"9223372036854775807", b"18446744073709551616", b"null", b"true", b'""', b'"a"', b"[]", b"{}",
    b"[[]]", b"[" * 3000, b"F64", b"F32", b"F16", b"BF16", b"I64", b"I32", b"U8", b"BOOL", b"<f8", b"<i8", b"|u1",
    b"shape", b"data", b"/", b"\\u0000", b"\xff",
)  # fmt: skip
"""What numbers and words of a text are replaced by."""
TEXTS = ("metadata", "prior")
EXHAUSTIVE_FILES = 20


def mutate(rng: random.Random, data: bytes, others: list[bytes], text: bool = False) -> bytes:
    """One to four changes; of what begins with a ``text``, mostly to its words."""
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
    """Replace the next number or word of a text, if it looks like one."""
    start = next((i for i in range(at, min(at + 200, len(out))) if chr(out[i]).isalnum()), None)
    if start is None:
        return
    stop = start
    while stop < len(out) and (chr(out[stop]).isalnum() or out[stop] in b"._-+"):
        stop += 1
    out[start:stop] = rng.choice(WORDS)


def mutants(name: str, seed: int, first: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Mutants of a target's inputs with their labels; number i is the same whatever is made before it."""
    golden = harness.inputs(name)
    for number in range(first, first + count):
        rng = random.Random(f"{name}-{seed}-{number}")
        yield (
            f"{name} --seed {seed} --first {number} --count 1",
            mutate(rng, golden[number % len(golden)], golden, name in TEXTS),
        )


def exhaustive(files: int, step: int = 1) -> Iterator[tuple[str, bytes]]:
    """Every truncation and every other value of every byte (of every ``step``-th) of the shortest golden files."""
    for name, data in sorted(harness.read_corpus("files").items(), key=lambda item: len(item[1]))[:files]:
        for end in range(len(data)):
            yield f"{name}[:{end}]", data[:end]
        for place in range(0, len(data), step):
            for value in range(256):
                if value != data[place]:
                    yield f"{name}[{place}] = {value}", data[:place] + bytes([value]) + data[place + 1 :]


def run(runner: Runner, made: Iterator[tuple[str, bytes]]) -> float:
    """Run what is made; seconds."""
    begun = time.monotonic()
    for label, data in made:
        runner(data, label)
    return time.monotonic() - begun


def plans(asked: argparse.Namespace) -> Iterator[tuple[Runner, Iterator[tuple[str, bytes]]]]:
    """What is asked for: runners and what they are to be given."""
    for target in asked.targets:
        if target == "exhaustive":
            yield Runner("exhaustive", harness.opened), exhaustive(asked.files, asked.step)
            yield Runner("exhaustive, sealed", harness.file), exhaustive(asked.files, asked.step)
        else:
            for name in harness.TARGETS if target == "all" else (target,):
                yield Runner(name, harness.TARGETS[name]), mutants(name, asked.seed, asked.first, asked.count)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="+", choices=[*harness.TARGETS, "all", "exhaustive"])
    parser.add_argument("--count", type=int, default=1000, help="mutants of each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant")
    parser.add_argument("--files", type=int, default=EXHAUSTIVE_FILES, help="golden files of exhaustive")
    parser.add_argument("--step", type=int, default=1, help="of exhaustive: change every so many bytes only")
    parser.add_argument("--findings", type=Path, default=Path("fuzz/findings"))
    asked = parser.parse_args()
    faulthandler.enable()
    harness.prepare()
    planned = list(plans(asked))
    for runner, _ in planned:
        warm = Runner(runner.name, runner.target)
        for data in harness.inputs(runner.name if runner.name in harness.TARGETS else "file"):
            warm(data)
    bound_memory()
    failed = False
    for runner, made in planned:
        seconds = run(runner, made)
        save_findings(list(runner.findings.values()), asked.findings)
        kinds = [f"{f.kind} at {f.place}: {f.label}" for f in runner.findings.values()]
        line = {"target": runner.name, **vars(runner.tally), "seconds": round(seconds, 1), "findings": kinds}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        failed = failed or bool(kinds)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
