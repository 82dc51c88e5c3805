"""A prior of photographs in minutes of an accelerator: pictures in its memory, whole steps captured as a CUDA graph.

python benchmarks/accelerated_training.py shared/data/natural/train -o photographs.safetensors --seconds 580
python benchmarks/accelerated_training.py pictures/ -o mine.safetensors --seconds 3600 --recipe photographs-large
python benchmarks/accelerated_training.py pictures/ -o better.safetensors --start-from photographs --seconds 800 \
    --checkpoint out/state --call-seconds 560

What is learned is what `inrcodec priors train` learns: the model, its cost and the optimiser are the package's. Faster
are the pictures, which lie resampled in the device's memory, crops cut there; and the step (`flat_step.py`), of few
kernels over flat arrays, replayed as a CUDA graph. On an H200 it learns from 92 million points a second by the recipe
photographs-large, with no wait for a compiler; on one core of a server from 0.08 million. The learning rate falls until
``--seconds`` are full, and what is cut off before has not settled: plan seconds that one call surely holds.

With ``--start-from`` it goes on from a prior. With ``--checkpoint`` its state is kept in a folder, in files of at most
15 MiB, and a call with the same options goes on from there until ``--seconds`` are full.
"""

from __future__ import annotations

import argparse
import math
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from flat_step import Cost, FlatParameters, Inputs, captured
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from inrcodec.codecs import prior_store
from inrcodec.codecs.hierarchical.elbo import sampled_points
from inrcodec.codecs.hierarchical.growth import grown, fine_tuning_network
from inrcodec.codecs.hierarchical.model import HierarchicalINR
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
from inrcodec.codecs.hierarchical.recipes import hierarchical_recipe_named
from inrcodec.codecs.hierarchical.training import UNLEARNED_LOG_SCALE, learn_weight_scales
from inrcodec.errors import UsageError
from inrcodec.storage import check_writable, write_whole
from inrcodec.training.checkpoint import HEAD, read_checkpoint, write_checkpoint
from inrcodec.training.loop import cosine_lr

MIN_SIDE = 264
SHARE_NOISY, SHARE_AUXILIARY, SHARE_WARM, AUXILIARY = 0.35, 0.25, 0.04, 0.3
"""As in ``codecs.hierarchical.training``."""
AVERAGE = 0.9995
POINT_SHARE = 0.25
RATE_POWER = 1.15
FIXED_SECONDS = 25.0
"""Kept of the time for the end."""
CHECKPOINT_SECONDS = 100.0
"""How often the state is kept."""


def versions(count: int, scales: tuple[float, float], path: Path) -> list[NDArray[np.uint8]]:
    """A picture as it is and ``count`` times resampled, its sides at least ``MIN_SIDE``."""
    image = Image.open(path).convert("RGB")
    rng = np.random.default_rng(list(path.name.encode()))
    least = MIN_SIDE / min(image.size)
    drawn = np.exp(rng.uniform(math.log(max(scales[0], least)), math.log(max(scales[1], least)), count))
    out = []
    for scale in [max(1.0, least), *drawn]:
        size = tuple(max(MIN_SIDE, round(n * scale)) for n in image.size)
        kind = Image.Resampling.BICUBIC if scale > 1.0 else Image.Resampling.LANCZOS
        out.append(np.asarray(image if size == image.size else image.resize((size[0], size[1]), kind)))
    return out


class Bank:
    """Pictures in the memory of a device, crops of them."""

    def __init__(self, folder: Path, count: int, scales: tuple[float, float], device: torch.device) -> None:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
        with ProcessPoolExecutor() as pool:
            arrays = [a for some in pool.map(partial(versions, count, scales), paths, chunksize=4) for a in some]
        self.device, self.pictures = device, len(paths)
        self.height = torch.tensor([a.shape[0] for a in arrays], device=device)
        self.width = torch.tensor([a.shape[1] for a in arrays], device=device)
        sizes = np.array([a.size for a in arrays], np.int64)
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        self.start = torch.from_numpy(starts).to(device)
        self.data = torch.empty(int(sizes.sum()), dtype=torch.uint8, device=device)
        for array, start in zip(arrays, starts.tolist(), strict=True):
            self.data[start : start + array.size] = torch.from_numpy(array.reshape(-1).copy()).to(device)
        share = np.sqrt(sizes / 3.0)
        share[:: count + 1] *= 1.5
        self.share = torch.from_numpy(share / share.sum()).float().to(device)

    def draw(self, count: int, side: int) -> Tensor:
        """Crops (N, 3, side, side) in [0, 1]: mirrored, one in ten turned, two in five of other contrast and colour."""
        k = torch.multinomial(self.share, count, replacement=True)
        u = torch.rand(6, count, device=self.device)
        top, left = ((u[i] * (n[k] - side + 1)).long() for i, n in ((0, self.height), (1, self.width)))
        line = torch.arange(side, device=self.device)
        columns = torch.where(u[2, :, None] < 0.5, line, side - 1 - line)
        place = (top[:, None] + line)[:, :, None] * self.width[k][:, None, None] + (left[:, None] + columns)[:, None, :]
        place = torch.where((u[3] < 0.1)[:, None, None], place.transpose(1, 2), place)
        flat = (self.start[k][:, None, None] + place * 3)[..., None] + torch.arange(3, device=self.device)
        values = self.data[flat].float() / 255.0
        gain = torch.empty(count, 3, device=self.device).uniform_(-0.12, 0.08)
        gain = torch.exp(gain + torch.empty(count, 1, device=self.device).uniform_(-0.35, 0.15))[:, None, None]
        other = ((values - 0.45) * gain + 0.45 + (0.2 * u[5] - 0.1)[:, None, None, None]).clamp(0.0, 1.0)
        changed = (u[4] < 0.4)[:, None, None, None]
        return torch.where(changed, (other * 255.0).round() / 255.0, values).permute(0, 3, 1, 2)


def drawn_rates(count: int, bounds: tuple[float, float], focus: list[float] | None, device: torch.device) -> Tensor:
    """Log lambdas of ``count`` crops, more of the lower; three in four between those of ``focus``."""
    low, high = torch.tensor(bounds, device=device).expand(count, 2).unbind(1)
    if focus:
        there = torch.rand(count, device=device) < 0.75
        low, high = torch.where(there, focus[0], low), torch.where(there, focus[1], high)
    return low + (high - low) * torch.rand(count, device=device) ** RATE_POWER


def beginning(recipe: str, prior: str | None) -> HierarchicalINR:
    """A fresh model of a recipe, or one that computes what a prior does."""
    config = hierarchical_recipe_named(recipe).network
    if prior is None:
        return HierarchicalINR(config)
    known = prior_store.find(prior)
    if not isinstance(known, HierarchicalPrior):
        raise UsageError(f"prior {prior!r} is none of the hierarchical codec")
    return grown(known.model, fine_tuning_network(known.config, config)).requires_grad_(True)


def main() -> None:
    """Train and write the prior."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=580.0, help="of training, in all calls together")
    parser.add_argument("--call-seconds", type=float, default=math.inf, help="of this call, its start and all")
    parser.add_argument("--checkpoint", type=Path, help="folder of a state to keep and to go on from")
    parser.add_argument("--start-from", help="a prior to go on from: without the first stages")
    parser.add_argument("--recipe", default="photographs-large")
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--versions", type=int, default=5, help="resampled ones of every picture")
    parser.add_argument("--scales", type=float, nargs=2, default=(0.5, 2.0))
    parser.add_argument("--focus", type=float, nargs=2, help="log lambdas between which three in four are drawn")
    options = parser.parse_args()
    begun = time.time()
    check_writable(options.output)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = torch.backends.cuda.matmul.allow_tf32 = True
    torch.manual_seed(0)
    model = beginning(options.recipe, options.start_from)
    config = model.config
    first_stages = options.start_from is None
    cost = Cost(model, options.crop, asking=first_stages).to(device)
    flat = FlatParameters(cost, device, torch.bfloat16 if device.type == "cuda" else torch.float32)
    bank = Bank(options.pictures, options.versions, tuple(options.scales), device)
    n_points = options.crop**2

    def points() -> Tensor:
        drawn = sampled_points(n_points, POINT_SHARE, device=device)
        assert drawn is not None
        return drawn

    inputs = Inputs(
        torch.zeros(options.batch, 3, options.crop, options.crop, device=device).to(memory_format=torch.channels_last),
        torch.full((options.batch,), 6.0, device=device),
        points(),
        torch.zeros((), device=device),
        torch.ones((), device=device),
        torch.ones((), dtype=torch.bool, device=device),
    )

    def feed(done: float) -> None:
        inputs.values.copy_(bank.draw(options.batch, options.crop))
        inputs.log_lambda.copy_(drawn_rates(options.batch, config.log_lambdas, options.focus, device))
        inputs.points.copy_(points())
        inputs.auxiliary.fill_(AUXILIARY * max(0.0, 1.0 - done / SHARE_AUXILIARY) * first_stages)
        inputs.rate.fill_(0.1 + 0.9 * min(1.0, done / SHARE_WARM) if first_stages else 1.0)
        inputs.noisy.fill_(done < SHARE_NOISY and first_stages)

    before, steps = 0.0, 0
    if options.checkpoint and (options.checkpoint / HEAD).exists():
        tensors, figures = read_checkpoint(options.checkpoint, device)
        flat.load_state(tensors)
        before, steps = figures["seconds"], figures["steps"]
        torch.manual_seed(steps)
    feed(before / options.seconds)
    step = partial(flat.descend, inputs)
    take = captured(step, flat.kept) if device.type == "cuda" else step
    start = time.time()
    ends = begun + options.call_seconds - FIXED_SECONDS
    print(f"{bank.pictures} pictures, ready after {start - begun:.0f} s, {before:.0f} s trained before", flush=True)

    def trained() -> float:
        return before + time.time() - start

    kept = start
    while trained() < options.seconds and time.time() < ends:
        done = trained() / options.seconds
        feed(done)
        flat.lr.fill_(cosine_lr(options.lr, done, steps, floor=0.01, ramp=300))
        flat.share.fill_(1.0 - min(AVERAGE, steps / (steps + 25)))
        found = take()
        steps += 1
        if steps % 1000 == 0 or steps in (1, 100):
            print(
                f"{trained():.0f} s, {steps} steps: cost, bits per point, dB "
                + " ".join(f"{n:.3f}" for n in found.tolist()),
                flush=True,
            )
        if options.checkpoint and time.time() - kept > CHECKPOINT_SECONDS:
            write_checkpoint(options.checkpoint, flat.state(), {"seconds": trained(), "steps": steps}, steps)
            kept = time.time()
    planned = trained()
    if options.checkpoint:
        write_checkpoint(options.checkpoint, flat.state(), {"seconds": planned, "steps": steps}, steps)
        if planned < options.seconds:
            print(f"{planned:.0f} of {options.seconds:.0f} s, {steps} steps: the next call goes on from here")
            return
        print(f"{planned:.0f} s, {steps} steps, finished: state is kept", flush=True)
    values = bank.draw(16, 256).cpu().contiguous(memory_format=torch.channels_last)
    learned = HierarchicalINR(config)
    learned.load_state_dict(flat.averaged())
    scale = torch.full(learned.head.shape, UNLEARNED_LOG_SCALE)
    card = {
        "data": f"{bank.pictures} image signals, none held out",
        "seconds": round(planned),
        "steps": steps,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "training": {k: str(v) for k, v in vars(options).items() if k not in ("pictures", "output")},
    }
    prior = HierarchicalPrior.from_model(learned, options.output.stem, "image", scale, card)
    # Kept before what takes the processor a minute.
    write_whole(options.output, prior.to_bytes())
    prior = prior.with_weight_scales(learn_weight_scales(prior, values))
    write_whole(options.output, prior.to_bytes(), force=True)
    print(f"{options.output}: {len(prior.to_bytes()):,} bytes, id {prior.id.hex()}")


if __name__ == "__main__":
    main()
