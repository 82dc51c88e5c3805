"""Relative entropy coding: blocks per second of all blocks at once against one block at a time, in one run.

One block at a time is the published way: every block draws candidates of its own and scores them with the two
densities. Here all blocks share one table of candidates (by signs of their own) and one matrix product.

    python benchmarks/rec.py --width 24 --selection ratio
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from common import table
from torch.distributions import Normal

from inrcodec.coding.relative_entropy import decode_blocks, encode_blocks

SEED = 7


def main() -> None:
    """Time both ways alternately, print a table of medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=24, help="dimensions of a block")
    parser.add_argument("--bits", type=int, nargs="+", default=[12, 14, 16])
    parser.add_argument("--selection", default="ratio")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    for bits in options.bits:
        n_ours, n_loop = 1 << max(4, 22 - bits), max(4, 1 << (17 - bits))
        mean, scale = posteriors(n_ours, options.width, bits)
        noise = torch.Generator().manual_seed(0)
        settings = {"budget_bits": bits, "seed": SEED, "block_ids": np.arange(n_ours), "selection": options.selection}
        encode_blocks(mean, scale, noise=noise, **settings)  # draws the shared table, as the first block of a file does
        ours, loop, found, plain = [], [], None, None
        for _ in range(options.repeats):
            begun = time.perf_counter()
            found = encode_blocks(mean, scale, noise=noise, **settings)
            ours.append(n_ours / (time.perf_counter() - begun))
            begun = time.perf_counter()
            plain = [one_block(mean[i], scale[i], bits, i) for i in range(n_loop)]
            loop.append(n_loop / (time.perf_counter() - begun))
        assert found is not None and plain is not None
        sample = decode_blocks(found, budget_bits=bits, width=options.width, seed=SEED, block_ids=np.arange(n_ours))
        errors = [float(np.mean(((x - mean[: len(x)]) / scale[: len(x)]) ** 2)) for x in (sample, np.stack(plain))]
        rate, base = float(np.median(ours)), float(np.median(loop))
        rows.append([bits, f"{rate:,.0f}", f"{base:,.1f}", f"{rate / base:,.0f}", *(f"{e:.2f}" for e in errors)])
    head = ("K", "blocks/s at once", "blocks/s one by one", "ratio", "error at once", "error one by one")
    print(
        f"width {options.width}, KL about K bits, {options.selection}, {options.threads} threads; "
        "error: squared distance"
    )
    print("from the posterior mean per dimension in posterior variances (a sample of the posterior has 1)")
    print(table(head, rows))


def posteriors(count: int, width: int, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Blocks whose KL is about ``bits``, spread unevenly over their dimensions."""
    rng = np.random.default_rng(0)
    kl = rng.gamma(0.5, 1.0, (count, width))
    kl *= bits * np.log(2.0) / kl.sum(axis=1, keepdims=True)
    scale = np.exp(-0.7 * kl)
    mean = np.sqrt(np.maximum(2 * kl + 1 - scale**2 + 2 * np.log(scale), 0)) * rng.choice([-1, 1], kl.shape)
    return mean.astype(np.float32), np.minimum(scale, 0.999).astype(np.float32)


def one_block(mean: np.ndarray, scale: np.ndarray, bits: int, block: int) -> np.ndarray:
    """The published way: candidates of this block's own, both densities, argmax of the ratio."""
    generator = torch.Generator().manual_seed(block)
    candidates = torch.randn(1 << bits, len(mean), generator=generator)
    q = Normal(torch.from_numpy(mean), torch.from_numpy(scale))
    p = Normal(torch.zeros(len(mean)), torch.ones(len(mean)))
    score = (q.log_prob(candidates) - p.log_prob(candidates)).sum(dim=1)
    return candidates[int(score.argmax())].numpy()


if __name__ == "__main__":
    main()
