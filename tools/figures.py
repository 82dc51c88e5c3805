"""The pictures of docs/how.md: what every level of the default codec adds.

python tools/figures.py --out docs/images
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np
import torch
from common import OUT
from numpy.typing import NDArray
from skimage import data

from inrcodec.codecs import prior_store
from inrcodec.codecs.hierarchical.batches import padded_shape
from inrcodec.codecs.hierarchical.codec import HierarchicalCodec
from inrcodec.codecs.hierarchical.config import block_names
from inrcodec.codecs.hierarchical.exact import log_lambda_of, place_latents, to_floats
from inrcodec.codecs.hierarchical.latent_coders import make_reader
from inrcodec.codecs.hierarchical.model import top_down
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
from inrcodec.codecs.hierarchical.render import render
from inrcodec.container.inr import unpack
from inrcodec.encoding import encode_signals
from inrcodec.nn.exact import scale_indices
from inrcodec.settings import Settings
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.signal import Signal

matplotlib.use("Agg")
from matplotlib import pyplot as plt


def main() -> None:
    """Draw the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--bpp", type=float, default=0.6)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    prior = prior_store.find("photographs")
    assert isinstance(prior, HierarchicalPrior)
    picture = data.astronaut()[:256, 96:352]
    signal = Signal(np.ascontiguousarray(picture, np.float32) / 255, SignalHeader("image", "rgb", "u8", (256, 256), 3))
    file = unpack(encode_signals([signal], Settings(target_bpp=options.bpp, effort="fast")).data)
    levels = prior.config.levels
    figure, row = plt.subplots(1, len(levels) + 1, figsize=(2.5 * (len(levels) + 1), 2.8), layout="constrained")
    for count, axes in enumerate(row[:-1], start=1):
        axes.imshow(np.clip(_levels_alone(prior, file.section(3) + file.payload, count), 0, 1))
        axes.set_title("stride 32" if count == 1 else f"+ stride {levels[count - 1].stride}", fontsize=9)
    row[-1].imshow(picture)
    row[-1].set_title("original", fontsize=9)
    for axes in row:
        axes.axis("off")
    figure.savefig(options.out / "levels.png", dpi=110)
    print(options.out / "levels.png")


@torch.no_grad()
def _levels_alone(prior: HierarchicalPrior, payload: bytes, count: int) -> NDArray[np.float32]:
    """What the latents of the first ``count`` levels give, the others at their predicted mean."""
    told, position = HierarchicalCodec(prior).read_parameters(payload)
    layers, config = prior.layers(told.quality), prior.config
    reader = make_reader(told.coder, payload[position:], len(block_names(config)))

    def choose(name: str, h: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
        scales = scale_indices(predicted.chunk(2, dim=1)[1])
        sent = torch.zeros_like(scales)
        if int(name.split(".")[0]) < count:
            sent = torch.from_numpy(reader.receive(scales.flatten().numpy())).view(scales.shape)
        return place_latents(layers, name, predicted, sent)

    tall, wide = padded_shape(config, (256, 256))
    h = to_floats(top_down(layers, 1, tall // config.coarsest, wide // config.coarsest, choose))
    rate = prior.model.rates(torch.full((1,), log_lambda_of(config, told.quality)))
    return render(prior.model, h, rate, (256, 256), (256, 256), None)


if __name__ == "__main__":
    main()
