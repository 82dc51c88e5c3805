"""Measure what coding loses against ideal posterior samples, in dB and bits, for several ways to form and send blocks.

python benchmarks/coding_gap.py --signals images32 --count 64
python benchmarks/coding_gap.py --signals photograph

The codec is combiner. Ideal samples are drawn from the fitted posteriors and counted as their KL; what is coded is
counted as its classes and block indices.
"""

from __future__ import annotations

import argparse
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from common import combiner_prior, data_folder, mosaic, table
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from inrcodec.codecs.combiner.bitstream import OperatingPoint, decode_latents
from inrcodec.codecs.combiner.effort import COMBINER_EFFORTS, CombinerEffort
from inrcodec.codecs.combiner.posterior import kl_bits
from inrcodec.codecs.combiner.prior import CombinerPrior
from inrcodec.codecs.combiner.progressive import Patches, ProgressiveEncoder
from inrcodec.codecs.patches import PatchLayout
from inrcodec.coding.relative_entropy import Selection
from inrcodec.signals.coordinates import grid_coordinates

CROP = 256
"""Side, in pixels, of the crop of a photograph."""


def main() -> None:
    """Fit the ideal curve, code in every way, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--signals", choices=("images32", "photograph"), default="images32")
    parser.add_argument("--count", type=int, default=64, help="number of CIFAR-10 images held out of training")
    parser.add_argument("--anchor", type=int, default=2, help="rate anchor of the prior")
    parser.add_argument("--fast", action="store_true", help="only effort fast, to try the script")
    options = parser.parse_args()
    small = options.signals == "images32"
    prior = combiner_prior("combiner-images32" if small else "combiner-photographs")
    patches = _images(prior, options.count) if small else _photograph(prior)
    fast, default, best = (COMBINER_EFFORTS[name] for name in ("fast", "default", "best"))
    factors = (2.0, 1.4, 1.0, 0.7, 0.5)
    curve = ideal_curve(prior, patches, fast if options.fast else best, options.anchor, factors)
    variants = [
        ("one pass, K = 14, ratio", one_pass(default)),
        *((f"rounds, K = {k}, ratio", replace(default, budget_bits=k)) for k in (8, 10, 12, 14, 16)),
        ("rounds, K = 14, astar", replace(default, selection=Selection.ASTAR)),
        ("rounds, K = 14, nearest", replace(default, selection=Selection.NEAREST)),
        ("rounds, K = 14, fixed KL weights", replace(default, pressure=0.0)),
        ("rounds, K = 14, target KL 11 bits", replace(default, slack_bits=3.0)),
        ("rounds, K = 14, target KL 16 bits", replace(default, slack_bits=-2.0)),
        ("effort fast", fast),
        ("effort default", default),
        ("effort best", best),
    ]
    if options.fast:
        variants = [("effort fast", fast)]
    rows = [_row("ideal samples", point, curve) for point in curve]
    for name, effort in tqdm(variants, disable=None):
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


def _images(prior: CombinerPrior, count: int) -> Patches:
    """Return patches of CIFAR-10 training images that are held out of training: every 20th."""
    tiles = mosaic("cifar10/train_000.webp", 32)[::20][:count]
    values = tiles.reshape(len(tiles), -1, 3).astype(np.float32) / 255.0
    return Patches(_normalised(values, prior), None, np.arange(len(tiles)))


def _photograph(prior: CombinerPrior) -> Patches:
    """Return patches of the centre of a photograph in natural/val, which a hash of its name chooses."""
    files = sorted((data_folder() / "natural" / "val").iterdir(), key=lambda path: zlib.crc32(path.name.encode()))
    image = np.asarray(Image.open(files[0]).convert("RGB"))
    top, left = (image.shape[0] - CROP) // 2, (image.shape[1] - CROP) // 2
    crop = image[top : top + CROP, left : left + CROP].astype(np.float32) / 255.0
    values, _ = PatchLayout((CROP, CROP), prior.config.patch_shape).cut(crop)
    return Patches(_normalised(values, prior), None, np.zeros(len(values), np.int64))


def _normalised(values: NDArray[np.float32], prior: CombinerPrior) -> torch.Tensor:
    return torch.from_numpy((values - np.float32(prior.centre)) / np.float32(prior.spread))


@dataclass(frozen=True)
class Point:
    """Holds means over signals.

    Attributes:
        bits_per_point: bits per grid point.
        psnr: PSNR in dB of values with peak 1, not rounded to levels.
        seconds: time to encode.
    """

    bits_per_point: float
    psnr: float
    seconds: float


def ideal_curve(
    prior: CombinerPrior, patches: Patches, effort: CombinerEffort, anchor: int, factors: Sequence[float]
) -> list[Point]:
    """Return points of ideal posterior samples at betas around an anchor's, by rising rate."""
    encoder, features = ProgressiveEncoder(prior, effort), _features(prior)
    points = []
    for factor in sorted(factors, reverse=True):
        begun = time.perf_counter()
        point = OperatingPoint(anchor, float(prior.betas[anchor]) * factor, 1)
        fit = encoder.fit_posteriors(patches, features, point)
        bits = float(kl_bits(fit.posterior, fit.prior).sum()) / _n_points(prior, patches)
        draws = [encoder.mean_distortion(fit, patches, features, sample=True) for _ in range(4)]
        psnr = float(np.mean([_mean_psnr(d, patches) for d in draws]))
        points.append(Point(bits, psnr, time.perf_counter() - begun))
    return points


def coded_point(
    prior: CombinerPrior,
    patches: Patches,
    effort: CombinerEffort,
    anchor: int,
    target: int | None = None,
    factor: float = 1.0,
) -> Point:
    """Return the point of a coded signal; bits are those of classes and block indices."""
    encoder, features = ProgressiveEncoder(prior, effort), _features(prior)
    point = OperatingPoint(anchor, float(prior.betas[anchor]) * factor, target or effort.budget_bits * 16)
    begun = time.perf_counter()
    coded = encoder.encode(patches, features, point)
    seconds = time.perf_counter() - begun
    class_bits = (prior.n_classes - 1).bit_length()
    bits = sum(len(c.indices) * effort.budget_bits + len(c.classes) * class_bits for c in coded)
    latent = torch.cat([decode_latents(prior, point, c, effort.budget_bits) for c in coded])
    squared = (prior.model.values(latent, features) - patches.values).square()
    return Point(
        bits / _n_points(prior, patches), _mean_psnr(squared.mean(dim=(1, 2)) * prior.spread**2, patches), seconds
    )


def place(point: Point, curve: Sequence[Point]) -> tuple[float, float]:
    """Return dB below the curve at the point's bits, and the share of bits above the curve at the point's PSNR."""
    rates = np.log([p.bits_per_point for p in curve])
    psnrs = np.array([p.psnr for p in curve])
    decibels = _extrapolated(float(np.log(point.bits_per_point)), rates, psnrs) - point.psnr
    bits = point.bits_per_point / float(np.exp(_extrapolated(point.psnr, psnrs, rates))) - 1.0
    return decibels, bits


def _extrapolated(x: float, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> float:
    """Interpolate linearly, and continue the outer pieces beyond the ends."""
    i = int(np.clip(np.searchsorted(xs, x) - 1, 0, len(xs) - 2))
    return float(ys[i] + (x - xs[i]) * (ys[i + 1] - ys[i]) / (xs[i + 1] - xs[i]))


def one_pass(effort: CombinerEffort) -> CombinerEffort:
    """Return an effort with the same number of gradient steps, all before a single round of sending."""
    spare = (effort.rounds - 1) * effort.refine_steps
    return replace(effort, rounds=1, budget_steps=effort.budget_steps + spare)


def _features(prior: CombinerPrior) -> torch.Tensor:
    shape = prior.config.patch_shape
    return prior.model.features(torch.from_numpy(grid_coordinates(shape).reshape(-1, len(shape))))


def _n_points(prior: CombinerPrior, patches: Patches) -> int:
    return len(patches.values) * prior.config.n_points


def _mean_psnr(mse: torch.Tensor, patches: Patches) -> float:
    """Return the mean over signals of the PSNR that the MSE of their patches gives."""
    signal = torch.from_numpy(patches.signal)
    total = torch.zeros(patches.n_signals).index_add_(0, signal, mse)
    count = torch.bincount(signal, minlength=patches.n_signals)
    return float((-10.0 * (total / count).clamp_min(1e-12).log10()).mean())


if __name__ == "__main__":
    main()
