"""Time batches of CIFAR-sized and Kodak-sized images with one and two workers: images/s, core-seconds.

python benchmarks/throughput.py --effort fast
python benchmarks/throughput.py --small 500 --large 20 --workers 1 2 --effort default
python benchmarks/throughput.py --large 0 --alone --workers 1           small images, one by one
python benchmarks/throughput.py --workers 2 --scheduler local           on a local Dask cluster

Wall time is that of the whole batch, including the start of the workers, reading and writing. There are two kinds of
core-seconds: *held* is wall time times workers, which is the cost of dedicated cores; *used* is the processor time of
all processes, which other load on the machine hardly changes. The core-hours for a million images are used ones.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
from collections.abc import Iterable
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

N_PHOTOGRAPHS = 16


def large(number: int) -> NDArray[np.uint8]:
    """Return a Kodak photograph; every second round through them is mirrored."""
    image = photograph(1 + number % N_PHOTOGRAPHS)
    return image[:, ::-1] if number // N_PHOTOGRAPHS % 2 else image


def write_images(folder: Path, n_small: int, n_large: int) -> None:
    """Write PNG files to the folders ``small`` and ``large``."""
    images: dict[str, Iterable[NDArray[np.uint8]]] = {
        "small": mosaic("cifar10/test_*.webp", 32)[:n_small],
        "large": map(large, range(n_large)),
    }
    for name, of_size in images.items():
        (folder / name).mkdir()
        for number, image in enumerate(of_size):
            Image.fromarray(image).save(folder / name / f"{number:04d}.png")


def used_seconds() -> float:
    """Return the processor time of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def run(folder: Path, settings: Settings, workers: int, scheduler: str | None) -> list[object]:
    """Run a batch and return its row of the table."""
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
    """Write the images, run the batches, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", type=int, default=500, help="number of CIFAR-10 test images, 32 x 32")
    parser.add_argument("--large", type=int, default=20, help="number of Kodak photographs, 768 x 512")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="numbers of worker processes")
    parser.add_argument("--effort", default="default")
    parser.add_argument("--bpp", type=float, help="file bits per pixel; default: the prior's default beta")
    parser.add_argument("--alone", action="store_true", help="encode small images one by one")
    parser.add_argument("--scheduler", help='"local" for a Dask cluster on this machine')
    options = parser.parse_args()
    # One thread, as in worker processes, so that one and two workers are comparable.
    torch.set_num_threads(1)
    keep_memory()
    if options.alone:
        batch_module.SMALL_BYTES = 0
    settings = Settings(effort=options.effort, target_bpp=options.bpp)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        write_images(Path(name), options.small, options.large)
        for kind in ("small", "large"):
            if getattr(options, kind):
                for workers in options.workers:
                    rows.append([kind, *run(Path(name) / kind, settings, workers, options.scheduler)])
                    print(*rows[-1], flush=True)
    head = [
        "images",
        "count",
        "bpp",
        "workers",
        "wall s",
        "images/s",
        "held core-s/image",
        "used core-s/image",
        "core-h/million",
    ]
    print(table(head, rows))


if __name__ == "__main__":
    main()
