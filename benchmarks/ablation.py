"""What each part of the default codec is worth: bits, PSNR, and decibels against the whole at equal bits.

python benchmarks/ablation.py --count 200
python benchmarks/ablation.py --photograph 3

Images are CIFAR-10 test images, or one Kodak photograph. The whole codec is measured at several betas; every other row
at the middle one, and its loss is how far below the curve of the whole it lies. Levels that are off send the prior's
mean; the model has not been trained for that.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from unittest.mock import patch

import numpy as np
import torch
from common import data_folder, mosaic, table

from inrcodec.codecs import prior_store
from inrcodec.codecs.base import CodedEntry, DecodeRequest, EncodeOptions, Rate, Source
from inrcodec.codecs.hierarchical import encoder as latent_presets
from inrcodec.codecs.hierarchical.codec import HierarchicalCodec
from inrcodec.codecs.hierarchical.effort import HierarchicalEffort
from inrcodec.codecs.hierarchical.model import HierarchicalINR
from inrcodec.signals.files import read_signal
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.metrics import image_psnr

BETAS = (3e-2, 1.1e-2, 4.5e-3, 1.5e-3, 5e-4)
MIDDLE = 3


def main() -> None:
    """Measure every row, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--photograph", type=int, help="Number of a Kodak photograph.")
    options = parser.parse_args()
    if options.photograph:
        signal = read_signal(data_folder() / "kodak" / f"kodim{options.photograph:02d}.png")
        sources, name = [Source(signal.values, signal.header)], "photographs"
    else:
        header = SignalHeader("image", "rgb", "u8", (32, 32), 3)
        tiles = mosaic("cifar10/test_*.webp", 32)[: options.count]
        sources, name = [Source(tile.astype(np.float32) / np.float32(255), header) for tile in tiles], "images32"
    codec = HierarchicalCodec(prior_store.find(name))
    curve = sorted(_measure(codec, sources, beta, HierarchicalEffort("x", 40))[:2] for beta in BETAS)
    rows = []
    for label, effort, coder, change in _variants(codec):
        with change():
            bpp, psnr, seconds = _measure(codec, sources, BETAS[MIDDLE], effort, coder)
        whole = float(np.interp(np.log(bpp), np.log([p[0] for p in curve]), [p[1] for p in curve]))
        rows.append([label, f"{bpp:.3f}", f"{psnr:.2f}", f"{psnr - whole:+.2f}", f"{seconds / len(sources):.3f}"])
    print(f"{len(sources)} signals, prior {name}, {torch.get_num_threads()} threads")
    print(table(("variant", "payload bpp", "PSNR dB", "dB against the whole", "encode s each"), rows))


Variant = tuple[str, HierarchicalEffort, str, Callable[[], AbstractContextManager[object]]]


def _variants(codec: HierarchicalCodec) -> list[Variant]:
    whole = HierarchicalEffort("x", 40)
    rows: list[Variant] = [
        ("all, 40 trial steps", whole, "round", nullcontext),
        ("no trial steps", HierarchicalEffort("x", 0), "round", nullcontext),
        ("10 trial steps", HierarchicalEffort("x", 10), "round", nullcontext),
        ("200 trial steps", HierarchicalEffort("x", 200), "round", nullcontext),
        ("with weights of its own", HierarchicalEffort("x", 40, 100), "round", nullcontext),
        ("no learned encoder, 40 steps", whole, "round", lambda: _silenced(lambda block: True)),
        (
            "no learned encoder, 200 trial steps",
            HierarchicalEffort("x", 200),
            "round",
            lambda: _silenced(lambda block: True),
        ),
        ("relative entropy coding", whole, "rec", nullcontext),
    ]
    for index, level in enumerate(codec.prior.config.levels):
        prefix = f"{index}."
        rows.append(
            (
                f"no level of stride {level.stride}, no trial steps",
                HierarchicalEffort("x", 0),
                "round",
                lambda prefix=prefix: _silenced(lambda block: block.startswith(prefix)),
            )
        )
    return rows


def _silenced(off: Callable[[str], bool]) -> AbstractContextManager[object]:
    """The encoder network proposes the prior's mean for some latent blocks."""
    ask = HierarchicalINR.propose

    def quiet(self: HierarchicalINR, name: str, *others: object) -> torch.Tensor:
        proposed = ask(self, name, *others)  # type: ignore[arg-type]
        return proposed * 0.0 if off(name) else proposed

    return patch.object(HierarchicalINR, "ask", quiet)


def _measure(
    codec: HierarchicalCodec, sources: list[Source], beta: float, effort: HierarchicalEffort, coder: str = "round"
) -> tuple[float, float, float]:
    """Payload bits per pixel, mean PSNR, seconds of encoding."""
    begun = time.perf_counter()
    with patch.dict(latent_presets.HIERARCHICAL_EFFORTS, {"default": effort}):
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
