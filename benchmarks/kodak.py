"""Kodak photographs: file rate, PSNR, seconds, peak memory; other codecs run on the same images; BD-rates.

python benchmarks/kodak.py --bpp 0.1 0.2 0.4 0.8
python benchmarks/kodak.py --images 1 2 3 --bpp 0.3 0.8 --codec combiner --baselines jpeg webp
python benchmarks/kodak.py --effort fast --means --workers 2

A BD-rate is the mean difference of bits at equal PSNR (below 0: this codec takes fewer), of mean rates and mean PSNRs
over the images. Published curves are means of all 24 Kodak images; those of codecs that are run are of the images
asked for. Needs two rates at least; four or more give it a meaning. Seconds are of one image at a time by each worker.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from common import data_folder, peak_gib, run_codec, table

from inrcodec.codecs.operations import Settings
from inrcodec.evaluate.baselines import BASELINES, baseline_at_size, baseline_named, run_baseline
from inrcodec.evaluate.bd_rate import Curve, bd_rate
from inrcodec.evaluate.published import psnr_at, read_curves
from inrcodec.ground.metrics import signal_psnr
from inrcodec.ground.signal import Signal
from inrcodec.maths.files import read_signal

PUBLISHED = ("BPG444", "RECOMBINER", "COIN++", "JPEG2000", "VTM", "C3")
IMAGE_BASELINES = tuple(name for name, baseline in BASELINES.items() if baseline.kind == "image")


@dataclass(frozen=True)
class Task:
    """One image at one rate, or one other codec's curve over it."""

    image: int
    settings: Settings
    bpp: float = 0.0
    baselines: tuple[str, ...] = ()
    curve: str = ""


def main() -> None:
    """Compress, decode, measure, print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=list(range(1, 17)))
    parser.add_argument("--bpp", type=float, nargs="+", default=[0.1, 0.2, 0.4, 0.8])
    parser.add_argument("--effort", default="default")
    parser.add_argument("--codec", default="auto")
    parser.add_argument("--prior")
    parser.add_argument("--baselines", nargs="*", default=list(IMAGE_BASELINES), choices=IMAGE_BASELINES)
    parser.add_argument("--means", action="store_true", help="print means alone")
    parser.add_argument("--workers", type=int, default=1, help="processes of one thread each; 1: all in this one")
    options = parser.parse_args()
    names = tuple(options.baselines)
    tasks = [
        Task(image, Settings(options.codec, options.prior, options.effort, target_bpp=bpp), bpp, names)
        for bpp in options.bpp
        for image in options.images
    ]
    curves = [Task(image, Settings(), curve=name) for name in names for image in options.images]
    results = _all(tasks, curves if len(options.bpp) > 1 else [], options.workers)
    measured = dict(zip(tasks, results, strict=False))
    rows, ours = [], []
    published = read_curves(data_folder() / "published" / "kodak_rd.csv")
    for bpp in options.bpp:
        here = [(task, figures) for task, figures in measured.items() if task.bpp == bpp]
        if not options.means:
            rows += [[f"kodim{task.image:02d}", *_cells(figures), ""] for task, figures in here]
        mean = tuple(np.mean([figures for _, figures in here], axis=0))
        ours.append((mean[1], mean[2]))
        rows.append(["mean", *_cells(mean), _published_at(published, mean[1])])
    threads = 1 if options.workers > 1 else torch.get_num_threads()
    print(f"effort {options.effort}, {options.workers} workers of {threads} threads; dB of others at our size or below")
    print(table(("image", "bytes", "bpp", "PSNR dB", "encode s", "decode s", *names, "published, mean of 24"), rows))
    if len(options.bpp) > 1:
        run = _mean_curves(curves, results[len(tasks) :])
        print(table(("against", "BD-rate", "overlap"), _bd_rows(published, run, ours)))
    print(f"peak memory {peak_gib():.2f} GiB")


def _all(tasks: list[Task], curves: list[Task], workers: int) -> list[tuple[float, ...]]:
    """Figures of all tasks, in order."""
    if workers == 1:
        return [_figures(task) for task in [*tasks, *curves]]
    with ProcessPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(pool.map(_figures, [*tasks, *curves]))


def _figures(task: Task) -> tuple[float, ...]:
    """Bytes, bpp, PSNR, seconds and the PSNRs of others; of a curve its rates and PSNRs."""
    name = f"kodim{task.image:02d}"
    signal = read_signal(data_folder() / "kodak" / f"{name}.png")
    if task.curve:
        return tuple(_curve(task.curve, signal))
    found = run_codec([signal], task.settings, f"{name}_{task.bpp:g}_{task.settings.effort}.inr")
    rate, psnr = 8 * found.size / signal.header.n_points, signal_psnr(signal, found.decoded[0])
    beside = [baseline_at_size(baseline_named(other), signal, found.size) for other in task.baselines]
    others = [float("nan") if point is None else point.psnr for point in beside]
    return found.size, rate, psnr, found.encode_seconds, found.decode_seconds, *others


def _curve(name: str, signal: Signal) -> list[float]:
    baseline, out = baseline_named(name), []
    for setting in baseline.curve():
        point = run_baseline(baseline, signal, setting)
        out += [8 * point.file_bytes / signal.header.n_points, point.psnr]
    return out


def _mean_curves(curves: list[Task], results: list[tuple[float, ...]]) -> dict[str, Curve]:
    out: dict[str, Curve] = {}
    for name in dict.fromkeys(task.curve for task in curves):
        of_images = [figures for task, figures in zip(curves, results, strict=True) if task.curve == name]
        out[name] = [(float(r), float(q)) for r, q in np.mean(of_images, axis=0).reshape(-1, 2)]
    return out


def _bd_rows(published: dict[str, list[tuple[float, float]]], run: dict[str, Curve], ours: Curve) -> list[list[str]]:
    rows = []
    named = [(f"{name}, published", published[name]) for name in PUBLISHED if name in published]
    for name, curve in [*named, *((f"{name}, run", curve) for name, curve in run.items())]:
        found = bd_rate(curve, ours)
        rows.append(
            [name, "no common quality" if found is None else str(found), f"{found.overlap:.2f}" if found else ""]
        )
    return rows


def _published_at(curves: dict[str, list[tuple[float, float]]], rate: float) -> str:
    found = ((name, psnr_at(curves[name], rate)) for name in PUBLISHED[:3])
    return ", ".join(f"{name} {'-' if value is None else f'{value:.2f}'}" for name, value in found)


def _cells(figures: tuple[float, ...]) -> list[str]:
    digits = (0, 3, 2, 1, 2, *(2 for _ in figures[5:]))
    return [f"{value:,.{n}f}" for value, n in zip(figures, digits, strict=True)]


if __name__ == "__main__":
    main()
