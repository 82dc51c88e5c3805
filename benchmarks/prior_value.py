"""Measure what learned priors buy: bits spent on weights, and PSNR after some gradient steps, with and without a prior.

python benchmarks/prior_value.py
python benchmarks/prior_value.py --images 3 --steps 0 50 --codecs hierarchical

Inputs are crops of 256x256 points of Kodak photographs, all at one rate. *hierarchical* uses its prior: its steps
adapt the encoder to the crop, and as many more fit the weights of the head, which are sent if that lowers the cost.
*combiner* uses a prior over the weights of its SIRENs, with the rounds of effort fast. *coin* uses no learned prior:
its network is fitted from random weights by Adam and sent whole.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from unittest.mock import patch

import numpy as np
from common import combiner_prior, hierarchical_prior, image_signal, photograph, table

from inrcodec.codecs.base import Codec, CodedEntry, DecodeRequest, EncodeOptions, Rate, Source
from inrcodec.codecs.coin.codec import CoinCodec
from inrcodec.codecs.coin.effort import COIN_EFFORTS, CoinEffort
from inrcodec.codecs.combiner.codec import CombinerCodec
from inrcodec.codecs.combiner.effort import COMBINER_EFFORTS
from inrcodec.codecs.hierarchical.codec import HierarchicalCodec
from inrcodec.codecs.hierarchical.effort import HIERARCHICAL_EFFORTS, HierarchicalEffort
from inrcodec.codecs.hierarchical.parameters import read_parameters
from inrcodec.codecs.messages import split_messages
from inrcodec.signals.metrics import image_psnr

SIDE = 256
"""Side of the crops in pixels."""
CODECS = ("hierarchical", "combiner", "coin")
Row = tuple[float, float, float, float]
"""Bytes, bytes of weights, PSNR in dB, seconds."""


def main() -> None:
    """Fit, code and decode, and print a table of means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[3, 5, 8], help="numbers of Kodak photographs")
    parser.add_argument("--steps", type=int, nargs="+", default=[0, 50, 200, 1000], help="gradient steps")
    parser.add_argument("--codecs", nargs="+", choices=CODECS, default=list(CODECS))
    parser.add_argument("--bpp", type=float, default=0.4, help="target rate")
    options = parser.parse_args()
    crops = [image_signal(photograph(number)[128 : 128 + SIDE, 256 : 256 + SIDE]) for number in options.images]
    sources = [Source(crop.values, crop.header) for crop in crops]
    bits = options.bpp * SIDE * SIDE
    rows = []
    for name in options.codecs:
        for steps in options.steps:
            means = np.mean([_run(name, source, bits, steps) for source in sources], axis=0)
            size, weights, psnr, seconds = (float(x) for x in means)
            share = f"{100 * weights / size:.0f} %"
            rows.append([name, steps, f"{size:,.0f}", share, f"{psnr:.2f}", f"{seconds:.1f}"])
    print(table(("codec", "steps", "bytes", "share of weights", "PSNR dB", "encode s"), rows))


def _run(name: str, source: Source, bits: float, steps: int) -> Row:
    """Encode with a number of gradient steps, in place of the preset "default", and decode."""
    codec: Codec
    presets: Mapping[str, object]
    effort: object
    if name == "hierarchical":
        codec, presets = HierarchicalCodec(hierarchical_prior("photographs-high")), HIERARCHICAL_EFFORTS
        effort = HierarchicalEffort("steps", steps, weight_steps=steps, adapting_steps=steps)
    elif name == "combiner":
        codec, presets = CombinerCodec(combiner_prior("combiner-photographs")), COMBINER_EFFORTS
        effort = replace(COMBINER_EFFORTS["fast"], fit_steps=steps)
    else:
        codec, presets, effort = CoinCodec(), COIN_EFFORTS, CoinEffort("steps", steps)
    begun = time.perf_counter()
    with patch.dict(presets, {"default": effort}):
        coded = codec.encoding([source], EncodeOptions()).at(Rate(bits=bits))
    seconds = time.perf_counter() - begun
    decoded = codec.decode(CodedEntry(source.header, coded.parameters, coded.bodies[0]), DecodeRequest())
    size = len(coded.bodies[0])
    weights = _head_weights(codec, coded.parameters, coded.bodies[0]) if isinstance(codec, HierarchicalCodec) else size
    return size, weights, image_psnr(source.values, decoded), seconds


def _head_weights(codec: HierarchicalCodec, parameters: bytes, body: bytes) -> int:
    """Return the bytes of head weights in the body of an image of one plane."""
    has_weights = read_parameters(codec.prior, parameters)[0].weights
    return len(split_messages(body, 2)[0]) if has_weights else 0


if __name__ == "__main__":
    main()
