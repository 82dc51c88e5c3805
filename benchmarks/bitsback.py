"""Compare BB-ANS with Bit-Swap by number of latent layers: negative ELBO, net rate, initial bits, totals.

python benchmarks/bitsback.py bitswap-digits-1 bitswap-digits-2 bitswap-digits-4 bitswap-digits-8
python benchmarks/bitsback.py bitswap-colour-1 bitswap-colour-2 bitswap-colour-4 bitswap-colour-8
python benchmarks/bitsback.py bitswap-binary-1 bitswap-binary-2 bitswap-binary-4 bitswap-binary-8

Test images are pushed one after the other on a message of random bits.

Initial bits: the largest amount by which the message is ever shorter than at its start.
Totals: initial bits plus net bits of the first 1, 10 and 100 images, per dimension (Bit-Swap, arXiv 1905.06845,
section 4.2).
Chain: bits per dimension of this package's chain of all images, which starts from an empty message.

The script also draws a figure.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from common import OUT, mosaic, table
from numpy.typing import NDArray

from inrcodec.codecs import prior_store
from inrcodec.codecs.bitswap.bits_back import SCHEMES, BitsBack
from inrcodec.codecs.bitswap.messages import ImageStreams
from inrcodec.codecs.bitswap.prior import BitSwapPrior
from inrcodec.coding.ans import WatchedMessage

IntArray = NDArray[np.int64]


def test_images(prior: BitSwapPrior, count: int) -> NDArray[np.uint8]:
    """Return levels, (N, C, H, W), of the test set that the model is for."""
    if prior.channels == 3:
        return mosaic("cifar10/test_*.webp", 32)[:count].transpose(0, 3, 1, 2)
    digits = mosaic("mnist/test_*.webp", 28)[:count, ..., :1].transpose(0, 3, 1, 2)
    if prior.config.levels == 2:
        return (np.random.default_rng(0).random(digits.shape, np.float32) * 255 < digits).astype(np.uint8)
    return digits


def negative_elbo(prior: BitSwapPrior, images: NDArray[np.uint8]) -> float:
    """Return the negative ELBO in bits per dimension, in floating point, for one sample of the latents."""
    torch.manual_seed(0)
    nats = prior.model.elbo(torch.from_numpy(np.ascontiguousarray(images)).float())
    return float(sum(term.sum() for term in nats.values())) / math.log(2.0) / images.size


def lengths(prior: BitSwapPrior, scheme: str, images: NDArray[np.uint8]) -> tuple[int, IntArray]:
    """Return the initial bits, and the net bits after each image."""
    noise = np.random.default_rng(1).integers(1, 256, 1 << 16).astype(np.uint8)
    message = WatchedMessage(noise.tobytes())
    coder, start, net = BitsBack(prior.layers, scheme), message.n_bits, []
    for image in images:
        coder.push(message, image[None])
        net.append(message.n_bits - start)
    return start - message.least, np.array(net)


def main() -> None:
    """Code the images, print the table and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("priors", nargs="+", help="names or files of Bit-Swap priors")
    parser.add_argument("--count", type=int, default=100, help="number of test images")
    parser.add_argument("--figure", type=Path, default=OUT / "bitsback.png")
    options = parser.parse_args()
    rows, curves = [], []
    for name in options.priors:
        prior = prior_store.find(name)
        assert isinstance(prior, BitSwapPrior)
        images = test_images(prior, options.count)
        dims, elbo, layers = images[0].size, negative_elbo(prior, images), len(prior.config.latents)
        for scheme in SCHEMES:
            initial, net = lengths(prior, scheme, images)
            totals = [(initial + net[n - 1]) / (n * dims) for n in (1, 10, 100) if n <= len(net)]
            chain = ImageStreams(prior, scheme).push_chain([image[None] for image in images], lambda values: None)
            rows.append(
                [
                    prior.name,
                    layers,
                    scheme,
                    f"{elbo:.3f}",
                    f"{net[-1] / images.size:.3f}",
                    f"{initial:,}",
                    *(f"{total:.3f}" for total in totals),
                    f"{8 * len(chain) / images.size:.3f}",
                ]
            )
            curves.append((prior.name, layers, scheme, (initial + net) / (np.arange(1, len(net) + 1) * dims)))
            print(*rows[-1], flush=True)
    totals_head = ("1 image", "10 images", "100 images")[: len(rows[0]) - 7]
    head = ("model", "layers", "scheme", "-ELBO", "net", "initial bits", *totals_head, "chain")
    print(table(head, rows))
    draw(curves, options.figure)
    print(f"figure {options.figure}")


def draw(curves: list[tuple[str, int, str, NDArray[np.float64]]], path: Path) -> None:
    """Draw bits per dimension, initial bits included, over the number of images."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.0, 4.2), layout="constrained")
    numbers = sorted({layers for _, layers, _, _ in curves})
    for _, layers, scheme, values in curves:
        colour = pyplot.get_cmap("viridis")(numbers.index(layers) / max(1, len(numbers)))
        style = "-" if scheme == "bitswap" else "--"
        axes.plot(range(1, len(values) + 1), values, style, color=colour, label=f"{scheme}, {layers} layers")
    axes.set(xscale="log", xlabel="images in the message", ylabel="bits per dimension, initial bits included")
    axes.legend(fontsize=8, ncols=2)
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
