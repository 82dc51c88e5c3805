"""Batches of CIFAR-sized and Kodak-sized pictures by one and two workers: pictures/s, core-seconds, cost of a million.

python benchmarks/throughput.py --effort fast
python benchmarks/throughput.py --small 500 --large 20 --workers 1 2 --effort default
python benchmarks/throughput.py --large 0 --alone --workers 1           small ones, each by itself
python benchmarks/throughput.py --workers 2 --scheduler local           by a dask cluster of this machine

Wall time is of the whole batch, workers' start and files included. Two kinds of core-seconds: *held*, wall time times
workers, which is what cores cost that are yours alone; and *used*, processor time of all processes, which a machine
that does other things besides hardly lengthens. Core-hours of a million pictures are those used.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from common import mosaic, photograph, table
from numpy.typing import NDArray
from PIL import Image

from inrcodec.evaluate import batch as batch_module
from inrcodec.evaluate.batch import batch
from inrcodec.parallel.base import keep_memory
from inrcodec.settings import Settings

PHOTOGRAPHS = 16


def large(number: int) -> NDArray[np.uint8]:
    """A Kodak photograph; when they have all been, mirrored."""
    picture = photograph(1 + number % PHOTOGRAPHS)
    return picture[:, ::-1] if number // PHOTOGRAPHS % 2 else picture


def write_pictures(folder: Path, small: int, n_large: int) -> None:
    """Folders ``small`` and ``large`` of PNG files."""
    for name, pictures in (
        ("small", mosaic("cifar10/test_*.webp", 32)[:small]),
        ("large", [large(i) for i in range(n_large)]),
    ):
        (folder / name).mkdir()
        for number, picture in enumerate(pictures):
            Image.fromarray(picture).save(folder / name / f"{number:04d}.png")


def used_seconds() -> float:
    """Processor time of this process and of children that have ended."""
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in found)


def run(folder: Path, settings: Settings, workers: int, scheduler: str | None) -> list[object]:
    """A row of the table."""
    out = folder.parent / "out"
    begun, used = time.perf_counter(), used_seconds()
    result = batch(folder, out, settings, workers=workers, scheduler=scheduler)
    wall, used = time.perf_counter() - begun, used_seconds() - used
    shutil.rmtree(out)
    summary = result.summary()
    n = summary["done"]
    assert n and not result.failed
    return [
        n,
        f"{summary['bpp']:.3f}",
        workers,
        f"{wall:.1f}",
        f"{n / wall:.3g}",
        f"{wall * workers / n:.3g}",
        f"{used / n:.3g}",
        f"{used / n * 1e6 / 3600:.4g}",
    ]


def main() -> None:
    """Write the pictures, run the batches, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", type=int, default=500, help="CIFAR-10 test pictures, 32 x 32")
    parser.add_argument("--large", type=int, default=20, help="Kodak photographs, 768 x 512")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--effort", default="default")
    parser.add_argument("--bpp", type=float, help="file bits per pixel; default: the prior's usual beta")
    parser.add_argument("--alone", action="store_true", help="small pictures are not fitted together")
    parser.add_argument("--scheduler", help="local: by dask")
    options = parser.parse_args()
    # As in worker processes, so that one and two workers are comparable.
    torch.set_num_threads(1)
    keep_memory()
    if options.alone:
        batch_module.SMALL_BYTES = 0
    settings = Settings(effort=options.effort, target_bpp=options.bpp)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        write_pictures(Path(name), options.small, options.large)
        for kind in ("small", "large"):
            if getattr(options, kind):
                for workers in options.workers:
                    rows.append([kind, *run(Path(name) / kind, settings, workers, options.scheduler)])
                    print(*rows[-1], flush=True)
    head = [
        "pictures",
        "count",
        "bpp",
        "workers",
        "wall s",
        "pictures/s",
        "held core-s each",
        "used core-s each",
        "core-h per million",
    ]
    print(table(head, rows))


if __name__ == "__main__":
    main()
