"""Kodak photographs: file rate, PSNR, seconds, peak memory; other codecs run on the same images; BD-rates.

python benchmarks/kodak.py --bpp 0.1 0.2 0.4 0.8 --workers 2
python benchmarks/kodak.py --images 1 2 3 --bpp 0.3 0.8 --codec combiner --baselines jpeg webp
python benchmarks/kodak.py --effort fast --means
python benchmarks/kodak.py --effort best --codec auto --bpp 0.316 --workers 2

It is a sweep (`inrcodec sweep`) that prints tables; what was made is kept in the output folder, so that a run which was
cut off goes on. A BD-rate is the mean difference of bits at equal PSNR (below 0: this codec takes fewer), of mean rates
and mean PSNRs over the images. Published curves are means of all 24 Kodak images; those of codecs that are run are of
the images asked for, and so is Cool-Chic 5's, which is published image by image: by it the tables end with how much
harder these images are than all 24. Seconds are of one image at a time by each worker of one thread.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

import numpy as np
from common import OUT, data_folder, peak_gib, table

from inrcodec.evaluate import Sweep, sweep
from inrcodec.evaluate.baselines import BASELINES
from inrcodec.evaluate.bd_rate import Curve, bd_rate
from inrcodec.evaluate.points import Point
from inrcodec.evaluate.published import psnr_at

IMAGE_BASELINES = tuple(name for name, baseline in BASELINES.items() if baseline.kind == "image")


def main() -> None:
    """Compress, decode, measure, print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=list(range(1, 17)))
    parser.add_argument("--bpp", type=float, nargs="+", default=[0.1, 0.2, 0.4, 0.8])
    parser.add_argument("--effort", default="default")
    parser.add_argument("--codec", default="hierarchical")
    parser.add_argument("--prior")
    parser.add_argument("--baselines", nargs="*", default=list(IMAGE_BASELINES), choices=IMAGE_BASELINES)
    parser.add_argument("--means", action="store_true", help="print means alone")
    parser.add_argument("--workers", type=int, help="processes of one thread each; default: all in this one")
    parser.add_argument("--out", type=Path, default=OUT / "kodak", help="folder of the sweep")
    options = parser.parse_args()
    os.environ["INRCODEC_DATA"] = str(data_folder())
    files = [data_folder() / "kodak" / f"kodim{image:02d}.png" for image in options.images]
    here, every = by_image(options.images), by_image(range(1, 25))
    found = sweep(
        files,
        codecs=[options.codec],
        rates=options.bpp,
        compare=options.baselines,
        published="kodak",
        out=options.out,
        effort=options.effort,
        prior=options.prior,
        workers=options.workers,
    )
    print(f"effort {options.effort}; dB of others at our rate, of mean curves")
    print(table(("image", "bytes", "bpp", "PSNR dB", "encode s", "decode s", "others"), _rows(found, options)))
    rows = [
        [reference, "no common quality" if rate is None else str(rate), f"{rate.overlap:.2f}" if rate else ""]
        for reference, series, rate in found.bd_rates()
        if series == options.codec
    ]
    if len(options.bpp) > 1:
        found_there = bd_rate(here, found.curve(options.codec))
        rows.append(["Cool-Chic 5 on these images", str(found_there or "no common quality"), ""])
        print(table(("against", "BD-rate", "overlap"), rows))
    print(f"these images against all 24, by Cool-Chic 5: {bd_rate(every, here)}")
    for failure in found.failed:
        print("failed:", failure)
    print(f"peak memory of this process {peak_gib():.2f} GiB")


def by_image(images: Collection[int]) -> Curve:
    """Cool-Chic 5's published mean (bpp, dB) over Kodak images, at every lambda of its table."""
    points = defaultdict(list)
    with open(data_folder() / "published" / "kodak_coolchic5.csv", newline="") as file:
        for row in csv.DictReader(file):
            if int(row["image"].removeprefix("kodim")) in images:
                points[row["lambda"]].append((float(row["bpp"]), float(row["psnr"])))
    means = [np.mean(some, axis=0) for some in points.values()]
    return sorted((float(rate), float(psnr)) for rate, psnr in means)


def _rows(found: Sweep, options: argparse.Namespace) -> list[list[str]]:
    own = [point for point in found.points if point.series == options.codec]
    others = {**found.published, **{name: found.curve(name) for name in found.baselines}}
    rows = []
    for setting in dict.fromkeys(point.setting for point in own):
        here = [point for point in own if point.setting == setting]
        if not options.means:
            rows += [[point.signal, *_cells([point]), f"by {point.details['made_by']}"] for point in here]
        rate = float(np.mean([point.rate for point in here]))
        beside = ((name, psnr_at(curve, rate)) for name, curve in others.items())
        rows.append(["mean", *_cells(here), ", ".join(f"{name} {value:.2f}" for name, value in beside if value)])
    return rows


def _cells(points: list[Point]) -> list[str]:
    figures = (("file_bytes", 0), ("rate", 3), ("psnr", 2), ("encode_seconds", 1), ("decode_seconds", 1))
    return [f"{np.mean([getattr(point, name) for point in points]):,.{digits}f}" for name, digits in figures]


if __name__ == "__main__":
    main()
