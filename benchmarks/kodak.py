"""Measure Kodak photographs: rate, PSNR, seconds, peak memory, and BD-rates against other codecs on the same images.

python benchmarks/kodak.py --bpp 0.1 0.2 0.4 0.8 --workers 2
python benchmarks/kodak.py --images 1 2 3 --bpp 0.3 0.8 --codec combiner --baselines jpeg webp
python benchmarks/kodak.py --effort fast --means --beta 3e-2 1.1e-2 4.1e-3 1.5e-3 5.5e-4 2e-4 --baselines
python benchmarks/kodak.py --effort best --codec auto --bpp 0.316 --workers 2

This is a sweep (`inrcodec sweep`) that prints tables. Files are kept in the output folder, so that an interrupted run
can be resumed. A BD-rate is the mean difference of bits at equal PSNR, computed from rates and PSNRs that are averaged
over the images; below 0, this codec takes fewer bits. Published curves are means over all 24 Kodak images. Codecs that
are run here are averaged over the chosen images, and so is Cool-Chic 5, whose results are published image by image; the
last line uses it to say how much harder the chosen images are than all 24.

Published means average images that were coded with equal settings, so compare with them at equal beta (`--beta`). At
equal rates (`--bpp`) the rich images get fewer bits than that, and the mean PSNR at the mean rate is higher by 0.4 dB.

Encoding and decoding are timed one image at a time, in each single-threaded worker. The mean curves are drawn into
curves.png in the output folder.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

import numpy as np
from common import OUT, data_folder, kodak_path, peak_gib, table
from matplotlib.figure import Figure

from inrcodec.evaluate import Sweep, sweep
from inrcodec.evaluate.baselines import BASELINES
from inrcodec.evaluate.bd_rate import Curve, bd_rate
from inrcodec.evaluate.points import Point
from inrcodec.evaluate.published import psnr_at

IMAGE_BASELINES = tuple(name for name, baseline in BASELINES.items() if baseline.kind == "image")


def main() -> None:
    """Run the sweep and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=list(range(1, 17)), help="numbers of photographs")
    wanted = parser.add_mutually_exclusive_group()
    wanted.add_argument("--bpp", type=float, nargs="+", default=[], help="target rates; default: 0.1 0.2 0.4 0.8")
    wanted.add_argument("--beta", type=float, nargs="+", default=[], help="weights of a bit")
    parser.add_argument("--effort", default="default")
    parser.add_argument("--codec", default="hierarchical")
    parser.add_argument("--prior")
    # The slow one takes ten seconds per image and setting.
    quick = [name for name in IMAGE_BASELINES if name != "avif-slow"]
    parser.add_argument("--baselines", nargs="*", default=quick, choices=IMAGE_BASELINES)
    parser.add_argument("--means", action="store_true", help="print only means")
    parser.add_argument("--workers", type=int, help="number of single-threaded processes; default: run in this one")
    parser.add_argument("--out", type=Path, default=OUT / "kodak", help="folder of the sweep")
    options = parser.parse_args()
    if not options.beta and not options.bpp:
        options.bpp = [0.1, 0.2, 0.4, 0.8]
    os.environ["INRCODEC_DATA"] = str(data_folder())
    files = [kodak_path(number) for number in options.images]
    chosen_images, all_images = cool_chic_curve(options.images), cool_chic_curve(range(1, 25))
    result = sweep(
        files,
        codecs=[options.codec],
        rates=options.bpp,
        betas=options.beta,
        compare=options.baselines,
        published="kodak",
        out=options.out,
        effort=options.effort,
        prior=options.prior,
        workers=options.workers,
    )
    print(f"effort {options.effort}; others: PSNR in dB of mean curves at this codec's rate")
    print(table(("image", "bytes", "bpp", "PSNR dB", "encode s", "decode s", "others"), _rows(result, options)))
    rows = [
        [reference, "no common PSNR" if rate is None else str(rate), f"{rate.overlap:.2f}" if rate else ""]
        for reference, series, rate in result.bd_rates()
        if series == options.codec
    ]
    if len([*options.bpp, *options.beta]) > 1:
        against_cool_chic = bd_rate(chosen_images, result.curve(options.codec))
        rows.append(["Cool-Chic 5 on these images", str(against_cool_chic or "no common PSNR"), ""])
        print(table(("reference", "BD-rate", "overlap"), rows))
        by_structure = [[name, str(result.bd_rate(name, options.codec, "ms_ssim"))] for name in result.baselines]
        print(table(("reference", "BD-rate by MS-SSIM"), by_structure) if by_structure else "")
        print(_plot(result, options.out))
    print(f"bits for these images relative to all 24, by Cool-Chic 5: {bd_rate(all_images, chosen_images)}")
    for failure in result.failed:
        print("failed:", failure)
    print(f"peak memory of this process {peak_gib():.2f} GiB")


def cool_chic_curve(images: Collection[int]) -> Curve:
    """Return Cool-Chic 5's published (bpp, PSNR in dB), averaged over Kodak images, at every lambda of its table."""
    points = defaultdict(list)
    with open(data_folder() / "published" / "kodak_coolchic5.csv", newline="") as file:
        for row in csv.DictReader(file):
            if int(row["image"].removeprefix("kodim")) in images:
                points[row["lambda"]].append((float(row["bpp"]), float(row["psnr"])))
    means = [np.mean(of_lambda, axis=0) for of_lambda in points.values()]
    return sorted((float(rate), float(psnr)) for rate, psnr in means)


def _plot(result: Sweep, folder: Path) -> Path:
    """Draw the mean curves by PSNR and by MS-SSIM, and return the path of the image."""
    figure = Figure(figsize=(14, 6), layout="constrained")
    for ax, metric in zip(figure.subplots(1, 2), ("psnr", "ms_ssim"), strict=True):
        result.plot(ax, metric=metric)
    path = folder / "curves.png"
    figure.savefig(path, dpi=110)
    return path


def _rows(result: Sweep, options: argparse.Namespace) -> list[list[str]]:
    codec_points = [point for point in result.points if point.series == options.codec]
    others = {**result.published, **{name: result.curve(name) for name in result.baselines}}
    rows = []
    for setting in dict.fromkeys(point.setting for point in codec_points):
        points = [point for point in codec_points if point.setting == setting]
        if not options.means:
            rows += [[point.signal, *_cells([point]), f"by {point.details['made_by']}"] for point in points]
        rate = float(np.mean([point.rate for point in points]))
        psnrs = ((name, psnr_at(curve, rate)) for name, curve in others.items())
        rows.append(["mean", *_cells(points), ", ".join(f"{name} {psnr:.2f}" for name, psnr in psnrs if psnr)])
    return rows


def _cells(points: list[Point]) -> list[str]:
    figures = (("file_bytes", 0), ("rate", 3), ("psnr", 2), ("encode_seconds", 1), ("decode_seconds", 1))
    return [f"{np.mean([getattr(point, name) for point in points]):,.{digits}f}" for name, digits in figures]


if __name__ == "__main__":
    main()
