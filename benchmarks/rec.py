"""Time relative entropy coding of all blocks at once against one block at a time.

The published method codes one block at a time: every block draws its own candidates and scores them with the two
densities. Here all blocks share one table of candidates, each with its own signs, and one matrix product.

    python benchmarks/rec.py --width 24 --selection ratio
"""

from __future__ import annotations

import argparse
import time
from functools import partial

import numpy as np
import torch
from common import table
from numpy.typing import NDArray
from torch.distributions import Normal

from inrcodec.coding.relative_entropy import Selection, decode_blocks, encode_blocks

FloatArray = NDArray[np.float32]
SEED = 7


def main() -> None:
    """Time both methods alternately and print a table of medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=24, help="dimensions of a block")
    parser.add_argument("--bits", type=int, nargs="+", default=[12, 14, 16], help="bits K of a block")
    parser.add_argument("--selection", type=Selection, choices=list(Selection), default=Selection.RATIO)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    for bits in options.bits:
        n_together, n_single = 1 << max(4, 22 - bits), max(4, 1 << (17 - bits))
        mean, scale = posteriors(n_together, options.width, bits)
        block_ids, noise = np.arange(n_together), torch.Generator().manual_seed(0)
        encode = partial(
            encode_blocks,
            mean,
            scale,
            budget_bits=bits,
            seed=SEED,
            block_ids=block_ids,
            selection=options.selection,
            noise=noise,
        )
        indices = encode()  # draws the shared table, as the first block of a file does
        single = np.zeros((0, options.width), np.float32)
        rates_together, rates_single = [], []
        for _ in range(options.repeats):
            begun = time.perf_counter()
            indices = encode()
            rates_together.append(n_together / (time.perf_counter() - begun))
            begun = time.perf_counter()
            single = np.stack([one_block(mean[i], scale[i], bits, i) for i in range(n_single)])
            rates_single.append(n_single / (time.perf_counter() - begun))
        sample = decode_blocks(indices, budget_bits=bits, width=options.width, seed=SEED, block_ids=block_ids)
        errors = [float(np.mean(((x - mean[: len(x)]) / scale[: len(x)]) ** 2)) for x in (sample, single)]
        rate, base = float(np.median(rates_together)), float(np.median(rates_single))
        rows.append([bits, f"{rate:,.0f}", f"{base:,.1f}", f"{rate / base:,.0f}", *(f"{e:.2f}" for e in errors)])
    head = ("K", "blocks/s at once", "blocks/s one by one", "ratio", "error at once", "error one by one")
    print(f"width {options.width}, KL about K bits, selection {options.selection}, {options.threads} threads")
    print("error: squared distance from the posterior mean, in posterior variances per dimension (1 for exact samples)")
    print(table(head, rows))


def posteriors(count: int, width: int, bits: int) -> tuple[FloatArray, FloatArray]:
    """Return means and scales of blocks whose KL is about ``bits``, spread unevenly over their dimensions."""
    rng = np.random.default_rng(0)
    kl = rng.gamma(0.5, 1.0, (count, width))
    kl *= bits * np.log(2.0) / kl.sum(axis=1, keepdims=True)
    scale = np.exp(-0.7 * kl)
    mean = np.sqrt(np.maximum(2 * kl + 1 - scale**2 + 2 * np.log(scale), 0)) * rng.choice([-1, 1], kl.shape)
    return mean.astype(np.float32), np.minimum(scale, 0.999).astype(np.float32)


def one_block(mean: FloatArray, scale: FloatArray, bits: int, block: int) -> FloatArray:
    """Code one block by the published method: its own candidates, both densities, argmax of the ratio."""
    generator = torch.Generator().manual_seed(block)
    candidates = torch.randn(1 << bits, len(mean), generator=generator)
    q = Normal(torch.from_numpy(mean), torch.from_numpy(scale))
    p = Normal(torch.zeros(len(mean)), torch.ones(len(mean)))
    score = (q.log_prob(candidates) - p.log_prob(candidates)).sum(dim=1)
    return np.asarray(candidates[int(score.argmax())].numpy(), np.float32)


if __name__ == "__main__":
    main()
