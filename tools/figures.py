"""Draw the figure levels.png of the docs: what every level of the default codec adds.

python tools/figures.py --out docs/images
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from skimage import data

import inrcodec
from inrcodec.codecs import prior_store
from inrcodec.codecs.base import CodedEntry
from inrcodec.codecs.hierarchical.codec import HierarchicalCodec
from inrcodec.codecs.hierarchical.config import block_names
from inrcodec.codecs.hierarchical.exact import log_lambda_of, place_latents, to_floats
from inrcodec.codecs.hierarchical.latent_coders import make_reader
from inrcodec.codecs.hierarchical.parameters import read_parameters
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
from inrcodec.codecs.hierarchical.render import render
from inrcodec.codecs.hierarchical.top_down import top_down
from inrcodec.codecs.tiles import padded_shape
from inrcodec.container.inr import unpack
from inrcodec.decoding import coded_entry
from inrcodec.nn.exact import scale_indices
from inrcodec.settings import Settings
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.signal import Signal

matplotlib.use("Agg")
from matplotlib import pyplot as plt


def main() -> None:
    """Draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder to write to")
    parser.add_argument("--bpp", type=float, default=0.6, help="target rate")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    prior = prior_store.find("photographs")
    assert isinstance(prior, HierarchicalPrior)
    sample = "astronaut"
    image: NDArray[np.uint8] = getattr(data, sample)()[:256, 96:352]
    values = (image / np.float32(255)).astype(np.float32)
    signal = Signal(values, SignalHeader("image", "rgb", "u8", (256, 256), 3))
    file = unpack(inrcodec.encode(signal, Settings(target_bpp=options.bpp, effort="fast")).data)
    entry = coded_entry(file, HierarchicalCodec(prior))
    levels = prior.config.levels
    figure, row = plt.subplots(1, len(levels) + 1, figsize=(2.5 * (len(levels) + 1), 2.8), layout="constrained")
    for count, axes in enumerate(row[:-1], start=1):
        axes.imshow(np.clip(_decode_levels(prior, entry, count), 0, 1))
        axes.set_title(f"{'' if count == 1 else '+ '}stride {levels[count - 1].stride}", fontsize=9)
    row[-1].imshow(image)
    row[-1].set_title("original", fontsize=9)
    for axes in row:
        axes.axis("off")
    figure.savefig(options.out / "levels.png", dpi=110)
    print(options.out / "levels.png")


@torch.no_grad()
def _decode_levels(prior: HierarchicalPrior, entry: CodedEntry, count: int) -> NDArray[np.float32]:
    """Decode the latents of the first ``count`` levels, with the others at their predicted mean."""
    parameters, _ = read_parameters(prior, entry.parameters)
    layers, config = prior.layers(parameters.quality), prior.config
    reader = make_reader(parameters.coder, entry.body, len(block_names(config)))

    def choose(name: str, h: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
        scales = scale_indices(predicted.chunk(2, dim=1)[1])
        residual = torch.zeros_like(scales)
        if int(name.split(".")[0]) < count:
            residual = torch.from_numpy(reader.receive(scales.flatten().numpy())).view(scales.shape)
        return place_latents(layers, name, predicted, residual)

    shape = entry.header.shape
    rows, columns = (n // config.coarsest for n in padded_shape(shape, config.coarsest))
    h = to_floats(top_down(layers, 1, rows, columns, choose))
    rate = prior.model.rates(torch.full((1,), log_lambda_of(config, parameters.quality)))
    return render(prior.model, h, rate, shape, shape, None)


if __name__ == "__main__":
    main()
