"""What learned priors buy: bits spent on weights, and PSNR after some steps on a picture, with and without them.

python benchmarks/prior_value.py
python benchmarks/prior_value.py --images 3 --steps 0 50 --codecs hierarchical

Crops of 256x256 points of Kodak photographs, all at one rate. *hierarchical* knows its prior: its steps adapt the
encoder to the crop, then as many are taken on the weights of the head, which are sent where they lower the cost.
*combiner* knows a prior over the weights of its SIRENs, with effort fast's rounds. *coin* knows nothing: its network is
fitted from random weights by Adam and sent whole.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
from common import photograph, table

from inrcodec.codecs import prior_store
from inrcodec.codecs.base import CodedEntry, DecodeRequest, Rate, Source
from inrcodec.codecs.coin.codec import CoinCodec, CoinEffort, CoinEncoding
from inrcodec.codecs.combiner.codec import CombinerCodec
from inrcodec.codecs.combiner.effort import COMBINER_EFFORTS
from inrcodec.codecs.combiner.prior import CombinerPrior
from inrcodec.codecs.hierarchical.batches import split_messages
from inrcodec.codecs.hierarchical.codec import HierarchicalCodec, HierarchicalEncoding
from inrcodec.codecs.hierarchical.effort import HierarchicalEffort
from inrcodec.codecs.hierarchical.encoder import LatentEncoder
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.metrics import image_psnr

SIDE = 256
Row = tuple[float, float, float, float]
"""Bytes, bytes of weights, PSNR, seconds."""


def main() -> None:
    """Fit, code, decode, print a table of means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[3, 5, 8])
    parser.add_argument("--steps", type=int, nargs="+", default=[0, 50, 200, 1000])
    parser.add_argument("--codecs", nargs="+", choices=RUNS, default=list(RUNS))
    parser.add_argument("--bpp", type=float, default=0.4)
    options = parser.parse_args()
    header = SignalHeader("image", "rgb", "u8", (SIDE, SIDE), 3)
    sources = [
        Source(np.ascontiguousarray(photograph(n)[128 : 128 + SIDE, 256 : 256 + SIDE], np.float32) / 255, header)
        for n in options.images
    ]
    bits = options.bpp * SIDE * SIDE
    rows = []
    for name in options.codecs:
        for steps in options.steps:
            found = np.mean([RUNS[name](source, bits, steps) for source in sources], axis=0)
            size, weights, psnr, seconds = (float(x) for x in found)
            share = f"{100 * weights / size:.0f} %"
            rows.append([name, steps, f"{size:,.0f}", share, f"{psnr:.2f}", f"{seconds:.1f}"])
    print(table(("codec", "steps", "bytes", "of them weights", "PSNR dB", "encode s"), rows))


def _hierarchical(source: Source, bits: float, steps: int) -> Row:
    prior = prior_store.find("photographs")
    assert isinstance(prior, HierarchicalPrior)
    codec = HierarchicalCodec(prior)
    effort = HierarchicalEffort("steps", steps, weight_steps=steps, adapting_steps=steps)
    encoder = LatentEncoder(prior, effort, keep_features=steps > 0)
    begun = time.perf_counter()
    coded = HierarchicalEncoding(codec, [source], encoder).at(Rate(bits=bits))
    seconds = time.perf_counter() - begun
    told, _ = codec.read_parameters(coded.parameters)
    weights = len(split_messages(coded.bodies[0], 2)[0]) if told.weights else 0
    decoded = codec.decode(CodedEntry(source.header, coded.parameters, coded.bodies[0]), DecodeRequest())
    return len(coded.bodies[0]), weights, image_psnr(source.values, decoded), seconds


def _combiner(source: Source, bits: float, steps: int) -> Row:
    prior = prior_store.find("combiner-photographs")
    assert isinstance(prior, CombinerPrior)
    codec, effort = CombinerCodec(prior), replace(COMBINER_EFFORTS["fast"], fit_steps=steps)
    begun = time.perf_counter()
    coded = codec.encode([source], Rate(bits=bits), effort)
    seconds = time.perf_counter() - begun
    decoded = codec.decode(CodedEntry(source.header, coded.parameters, coded.bodies[0]), DecodeRequest())
    return len(coded.bodies[0]), len(coded.bodies[0]), image_psnr(source.values, decoded), seconds


def _coin(source: Source, bits: float, steps: int) -> Row:
    codec = CoinCodec()
    begun = time.perf_counter()
    coded = CoinEncoding(codec, [source], CoinEffort("steps", steps), lambda n: None, False).at(Rate(bits=bits))
    seconds = time.perf_counter() - begun
    decoded = codec.decode(CodedEntry(source.header, coded.parameters, coded.bodies[0]), DecodeRequest())
    return len(coded.bodies[0]), len(coded.bodies[0]), image_psnr(source.values, decoded), seconds


RUNS = {"hierarchical": _hierarchical, "combiner": _combiner, "coin": _coin}

if __name__ == "__main__":
    main()
