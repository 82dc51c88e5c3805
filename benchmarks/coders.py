"""Compare the latent coders (quantisation, relative entropy coding) with the KL of Gaussian posteriors at equal PSNR.

python benchmarks/coders.py --count 100

Images are CIFAR-10 test images; the KL is that of the encoder network's proposals, without trial steps. An ideal coder
would send an exact sample of every Gaussian posterior in as many bits as its KL. The posterior of a latent is the prior
times a Gaussian likelihood around the proposal, whose scale (in step sizes) is set so that its samples have the PSNR of
the coder.
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np
import torch
from common import hierarchical_prior, mosaic, table

from inrcodec.codecs.base import CodedEntry, DecodeRequest, EncodeOptions, Rate, Source
from inrcodec.codecs.hierarchical.codec import HierarchicalCodec
from inrcodec.codecs.hierarchical.elbo import MAX_LOG_SCALE, MIN_LOG_SCALE, native_fourier
from inrcodec.codecs.hierarchical.latent_coders import CODERS
from inrcodec.codecs.hierarchical.model import HierarchicalINR
from inrcodec.codecs.hierarchical.render import interpolate
from inrcodec.codecs.hierarchical.top_down import top_down
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.metrics import image_psnr

BETAS = (8e-3, 1.5e-3, 3e-4)
SIZE = 32


def main() -> None:
    """Measure both coders at three betas and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="number of images")
    options = parser.parse_args()
    tiles = mosaic("cifar10/test_*.webp", SIZE)[: options.count].astype(np.float32) / np.float32(255)
    header = SignalHeader("image", "rgb", "u8", (SIZE, SIZE), 3)
    sources = [Source(tile, header) for tile in tiles]
    codec = HierarchicalCodec(hierarchical_prior("images32"))
    values = torch.from_numpy(tiles).permute(0, 3, 1, 2)
    rows = []
    for coder, effort in ((CODERS[0], "fast"), (CODERS[0], "default"), (CODERS[1], "fast")):
        for beta in BETAS:
            begun = time.perf_counter()
            coded = codec.encoding(sources, EncodeOptions(effort=effort, coder=coder)).at(Rate(beta=beta))
            seconds = (time.perf_counter() - begun) / len(sources)
            decoded = [codec.decode(CodedEntry(header, coded.parameters, b), DecodeRequest()) for b in coded.bodies]
            psnr = float(np.mean([image_psnr(s.values, d) for s, d in zip(sources, decoded, strict=True)]))
            bits = 8 * sum(len(body) for body in coded.bodies) / values[:, 0].numel()
            scale, kl = _kl_at(codec.prior.model, values, -math.log(beta), psnr)
            over = f"{100 * (bits / kl - 1):+.1f} %"
            rows.append(
                [
                    f"{coder}, {effort}",
                    f"{beta:.2g}",
                    f"{bits:.3f}",
                    f"{psnr:.2f}",
                    f"{kl:.3f}",
                    f"{scale:.2f}",
                    over,
                    f"{seconds:.3f}",
                ]
            )
    head = (
        "coder",
        "beta",
        "coded bpp",
        "PSNR dB",
        "KL bpp at this PSNR",
        "posterior scale",
        "over KL",
        "encode s/image",
    )
    print(f"{len(sources)} images, {torch.get_num_threads()} threads")
    print(table(head, rows))


def _kl_at(model: HierarchicalINR, values: torch.Tensor, log_lambda: float, target_psnr: float) -> tuple[float, float]:
    """Return the posterior scale at which samples have a mean PSNR, and the KL in bits per pixel there."""
    low, high = 0.02, 1.5
    for _ in range(14):
        middle = math.sqrt(low * high)
        _, psnr = _ideal(model, values, log_lambda, middle)
        low, high = (low, middle) if psnr < target_psnr else (middle, high)
    return middle, _ideal(model, values, log_lambda, middle)[0]


@torch.no_grad()
def _ideal(model: HierarchicalINR, values: torch.Tensor, log_lambda: float, scale: float) -> tuple[float, float]:
    """Return KL in bits per pixel and mean PSNR of samples of Gaussian posteriors; ``scale`` is in step sizes."""
    torch.manual_seed(0)
    rate = model.rates(torch.full((len(values),), log_lambda))
    risen = model.bottom_up(values, rate)
    total = 0.0

    def choose(name: str, h: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
        nonlocal total
        mean, log_scale = prior.chunk(2, dim=1)
        step = model.steps(name, rate)
        variance = (2.0 * log_scale.clamp(MIN_LOG_SCALE, MAX_LOG_SCALE)).exp()
        share = variance / (variance + scale**2)
        centre, posterior_variance = share * model.propose(name, h, prior, risen, rate) / step, share * scale**2
        kl_nats = 0.5 * (
            (centre.square() + posterior_variance) / variance - 1.0 - (posterior_variance / variance).log()
        )
        total += float(kl_nats.sum()) / math.log(2.0)
        return mean + step * (centre + posterior_variance.sqrt() * torch.randn_like(centre))

    cells = SIZE // model.config.coarsest
    h = top_down(model.layers(rate), len(values), cells, cells, choose)
    points = interpolate(model.config, model.features(h, rate), SIZE, SIZE)
    decoded = model.values(points, native_fourier(model.config, SIZE, SIZE)).clamp(0, 1)
    error = (decoded - values.permute(0, 2, 3, 1).flatten(1, 2)).square().mean(dim=(1, 2))
    return total / values[:, 0].numel(), float(-10.0 * error.log10().mean())


if __name__ == "__main__":
    main()
