"""Measure what each part of the default codec contributes: bits, PSNR, and dB relative to the full codec at equal bits.

python benchmarks/ablation.py --count 200
python benchmarks/ablation.py --photograph 3

Images are CIFAR-10 test images, or one Kodak photograph. The full codec is measured at several betas. Every other row
is measured at one of them; the last column but one is its distance in dB from the curve of the full codec. Levels that
are switched off send the prior's mean, which the model has not been trained for.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from unittest.mock import patch

import numpy as np
import torch
from common import hierarchical_prior, kodak_path, mosaic, table

from inrcodec.codecs.base import CodedEntry, DecodeRequest, EncodeOptions, Rate, Source
from inrcodec.codecs.hierarchical.codec import HierarchicalCodec
from inrcodec.codecs.hierarchical.effort import HIERARCHICAL_EFFORTS, HierarchicalEffort
from inrcodec.codecs.hierarchical.model import HierarchicalINR
from inrcodec.signals.files import read_signal
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.metrics import image_psnr

BETAS = (3e-2, 1.1e-2, 4.5e-3, 1.5e-3, 5e-4)
"""Betas of the full codec's curve."""
VARIANT_BETA = BETAS[3]
"""Beta of every other row."""
FULL_EFFORT = HierarchicalEffort("full", 40)


def main() -> None:
    """Measure every row and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="number of CIFAR-10 test images")
    parser.add_argument("--photograph", type=int, help="number of a Kodak photograph to use instead")
    options = parser.parse_args()
    if options.photograph:
        signal = read_signal(kodak_path(options.photograph))
        sources, name = [Source(signal.values, signal.header)], "photographs-high"
    else:
        header = SignalHeader("image", "rgb", "u8", (32, 32), 3)
        tiles = mosaic("cifar10/test_*.webp", 32)[: options.count]
        sources, name = [Source(tile.astype(np.float32) / np.float32(255), header) for tile in tiles], "images32"
    codec = HierarchicalCodec(hierarchical_prior(name))
    curve = sorted(_measure(codec, sources, beta, FULL_EFFORT)[:2] for beta in BETAS)
    rows = []
    for label, effort, coder, change in _variants(codec):
        with change():
            bpp, psnr, seconds = _measure(codec, sources, VARIANT_BETA, effort, coder)
        full = float(np.interp(np.log(bpp), np.log([p[0] for p in curve]), [p[1] for p in curve]))
        rows.append([label, f"{bpp:.3f}", f"{psnr:.2f}", f"{psnr - full:+.2f}", f"{seconds / len(sources):.3f}"])
    print(f"{len(sources)} images, prior {name}, {torch.get_num_threads()} threads")
    print(table(("variant", "payload bpp", "PSNR dB", "dB vs. full codec", "encode s/image"), rows))


Variant = tuple[str, HierarchicalEffort, str, Callable[[], AbstractContextManager[object]]]


def _variants(codec: HierarchicalCodec) -> list[Variant]:
    no_encoder = partial(_without_proposals, "")
    rows: list[Variant] = [
        ("all, 40 trial steps", FULL_EFFORT, "round", nullcontext),
        ("no trial steps", HierarchicalEffort("x", 0), "round", nullcontext),
        ("10 trial steps", HierarchicalEffort("x", 10), "round", nullcontext),
        ("200 trial steps", HierarchicalEffort("x", 200), "round", nullcontext),
        ("with head weights", HierarchicalEffort("x", 40, 100), "round", nullcontext),
        ("no learned encoder, 40 trial steps", FULL_EFFORT, "round", no_encoder),
        ("no learned encoder, 200 trial steps", HierarchicalEffort("x", 200), "round", no_encoder),
        ("relative entropy coding", FULL_EFFORT, "rec", nullcontext),
    ]
    for index, level in enumerate(codec.prior.config.levels):
        label = f"no level of stride {level.stride}, no trial steps"
        rows.append((label, HierarchicalEffort("x", 0), "round", partial(_without_proposals, f"{index}.")))
    return rows


def _without_proposals(prefix: str) -> AbstractContextManager[object]:
    """Make the encoder network propose the prior's mean for latent blocks whose names start with ``prefix``."""
    propose = HierarchicalINR.propose

    def quiet(
        self: HierarchicalINR,
        name: str,
        h: torch.Tensor,
        prior: torch.Tensor,
        risen: list[torch.Tensor],
        rate: torch.Tensor,
        unit: float = 1.0,
    ) -> torch.Tensor:
        proposed = propose(self, name, h, prior, risen, rate, unit)
        return proposed * 0.0 if name.startswith(prefix) else proposed

    return patch.object(HierarchicalINR, "propose", quiet)


def _measure(
    codec: HierarchicalCodec, sources: list[Source], beta: float, effort: HierarchicalEffort, coder: str = "round"
) -> tuple[float, float, float]:
    """Return payload bits per pixel, mean PSNR in dB, and the seconds of encoding."""
    begun = time.perf_counter()
    with patch.dict(HIERARCHICAL_EFFORTS, {"default": effort}):
        coded = codec.encoding(sources, EncodeOptions(effort="default", coder=coder)).at(Rate(beta=beta))
    seconds = time.perf_counter() - begun
    decoded = [
        codec.decode(CodedEntry(s.header, coded.parameters, b), DecodeRequest())
        for b, s in zip(coded.bodies, sources, strict=True)
    ]
    quality = [image_psnr(s.values, d) for s, d in zip(sources, decoded, strict=True)]
    points = sum(source.header.n_points for source in sources)
    bits = 8 * (len(coded.parameters) + sum(len(body) for body in coded.bodies))
    return bits / points, float(np.mean(quality)), seconds


if __name__ == "__main__":
    main()
