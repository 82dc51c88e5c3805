"""Coded against ideal posterior samples at the same KL: dB and bits lost, for ways of cutting and choosing blocks.

python benchmarks/coding_gap.py --signals images32 --count 64
python benchmarks/coding_gap.py --signals photograph
"""

from __future__ import annotations

import argparse
import zlib
from dataclasses import replace

import numpy as np
import torch
from common import data_folder, mosaic, table
from PIL import Image
from tqdm import tqdm

from inrcodec.encoders.presets import EFFORTS
from inrcodec.encoders.progressive import Patches
from inrcodec.evaluate.coding_gap import Point, coded_point, ideal_curve, one_pass, place
from inrcodec.methods.rec import Selection
from inrcodec.models import prior_store
from inrcodec.models.patching import PatchLayout
from inrcodec.models.prior import Prior

CROP = 256


def main() -> None:
    """Fit the ideal curve, code in every way, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--signals", choices=("images32", "photograph"), default="images32")
    parser.add_argument("--count", type=int, default=64, help="CIFAR-10 images, of the part held out of training")
    parser.add_argument("--anchor", type=int, default=2, help="rate anchor of the prior")
    options = parser.parse_args()
    small = options.signals == "images32"
    prior = prior_store.find("combiner-images32" if small else "combiner-photographs")
    patches = _images(prior, options.count) if small else _photograph(prior)
    default, best = EFFORTS["default"], EFFORTS["best"]
    curve = ideal_curve(prior, patches, best, options.anchor, (2.0, 1.4, 1.0, 0.7, 0.5))
    ways = [
        ("one pass, K = 14, ratio", one_pass(default)),
        *((f"rounds, K = {k}, ratio", replace(default, budget_bits=k)) for k in (8, 10, 12, 14, 16)),
        ("rounds, K = 14, astar", replace(default, selection=Selection.ASTAR)),
        ("rounds, K = 14, nearest", replace(default, selection=Selection.NEAREST)),
        ("rounds, K = 14, weights of blocks fixed", replace(default, pressure=0.0)),
        ("rounds, K = 14, KL pressed to 11 bits", replace(default, slack_bits=3.0)),
        ("rounds, K = 14, KL pressed to 16 bits", replace(default, slack_bits=-2.0)),
        ("effort fast", EFFORTS["fast"]),
        ("effort default", default),
        ("effort best", best),
    ]
    rows = [_row("ideal samples", point, curve) for point in curve]
    for name, effort in tqdm(ways, disable=None):
        rows.append(_row(name, coded_point(prior, patches, effort, options.anchor), curve))
    print(
        f"{options.signals}: {len(patches.values)} patches, anchor {options.anchor}, {torch.get_num_threads()} threads"
    )
    print(table(("coding", "bits/point", "PSNR dB", "dB below ideal", "bits above ideal", "seconds"), rows))


def _row(name: str, point: Point, curve: list[Point]) -> list[str]:
    decibels, bits = place(point, curve)
    return [
        name,
        f"{point.bits_per_point:.3f}",
        f"{point.psnr:.2f}",
        f"{decibels:+.2f}",
        f"{bits:+.1%}",
        f"{point.seconds:.1f}",
    ]


def _images(prior: Prior, count: int) -> Patches:
    """CIFAR-10 training images that are held out of training: every 20th."""
    tiles = mosaic("cifar10/train_000.webp", 32)[::20][:count]
    values = tiles.reshape(len(tiles), -1, 3).astype(np.float32) / 255.0
    return Patches(_normalised(values, prior), None, np.arange(len(tiles)))


def _photograph(prior: Prior) -> Patches:
    """The middle of a photograph of natural/val, chosen by a hash so that nobody chose it by its looks."""
    files = sorted((data_folder() / "natural" / "val").iterdir(), key=lambda path: zlib.crc32(path.name.encode()))
    image = np.asarray(Image.open(files[0]).convert("RGB"))
    top, left = (image.shape[0] - CROP) // 2, (image.shape[1] - CROP) // 2
    crop = image[top : top + CROP, left : left + CROP].astype(np.float32) / 255.0
    values, _ = PatchLayout((CROP, CROP), prior.config.patch_shape).cut(crop)
    return Patches(_normalised(values, prior), None, np.zeros(len(values), np.int64))


def _normalised(values: np.ndarray, prior: Prior) -> torch.Tensor:
    return torch.from_numpy((values - np.float32(prior.centre)) / np.float32(prior.spread))


if __name__ == "__main__":
    main()
