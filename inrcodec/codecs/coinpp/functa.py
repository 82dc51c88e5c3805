"""Modulations as a data set (Functa, arXiv 2201.12204): export them, learn from them, and sample new signals.

    prior + patches -> export_modulations -> Modulations (a file)
    prior + Modulations -> learn_predictor, learn_flow -> a new prior that contains the predictor or the flow
    prior with a flow -> sample_signal -> Signal

Shapes: N patches, P points, C channels, D latent dimensions.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from inrcodec.codecs.base import Progress, no_progress
from inrcodec.codecs.coinpp.flow import ModulationFlow, cell_nats
from inrcodec.codecs.coinpp.inner_loop import fit_latents, squared_errors
from inrcodec.codecs.coinpp.latents import choose_gains, coded_nats
from inrcodec.codecs.coinpp.predictor import ModulationPredictor
from inrcodec.codecs.coinpp.prior import CoinPPPrior
from inrcodec.errors import FormatError, UsageError
from inrcodec.signals.coordinates import grid_coordinates
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.signal import Signal
from inrcodec.training.sources import PatchSource

HELD_OUT = 10
"""Every n-th patch is held out from training."""
BATCH = 64
"""Patches of a training step."""
PREDICTOR_RATE, FLOW_RATE, WEIGHT_DECAY = 3e-4, 1e-3, 0.05
"""Max learning rates of AdamW, and its weight decay."""

LearningProgress = Callable[[float, float], None]
"""Called with the share of the training that is done and the loss."""


@dataclass(frozen=True)
class Prediction:
    """The mean PSNR, in dB at peak 1, of held-out patches before quantisation.

    Attributes:
        exported_db: with the latents as exported.
        linear_db: with the latents that the linear map predicts.
        predicted_db: with the latents that the whole network predicts.
    """

    exported_db: float
    linear_db: float
    predicted_db: float


def learn_predictor(
    prior: CoinPPPrior,
    data: Modulations,
    minutes: float,
    *,
    steps: int = 0,
    seed: int = 0,
    progress: LearningProgress | None = None,
) -> tuple[CoinPPPrior, Prediction]:
    """Train a network that predicts the modulations of a prior.

    The loss is the squared error of the latents, which equals that of the values to first order.

    Args:
        prior: the prior.
        data: modulations exported with it.
        minutes: training time.
        steps: training steps; replaces ``minutes`` if not 0.
        seed: seed of the initial weights and of the batches.
        progress: called with the share done and the loss.

    Returns:
        The prior with the network, and a measurement on held-out patches.

    Raises:
        UsageError: the data belong to another prior or are too few.
    """
    _check_belongs(prior, data)
    held = _held_out(data)
    values, latents = data.values[~held], data.latents[~held]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        predictor = ModulationPredictor(values[0].numel(), prior.config.latent_dims)
    predictor.begin_at(values, latents)
    linear = predictor.linear(data.values[held].flatten(1)).detach()
    rng = np.random.default_rng(seed)

    def error() -> Tensor:
        chosen = torch.from_numpy(rng.integers(len(values), size=BATCH))
        result: Tensor = (predictor(values[chosen]) - latents[chosen]).square().sum(dim=1).mean()
        return result

    number = _learn(predictor, error, PREDICTOR_RATE, minutes, steps, progress)
    extended = replace(
        prior,
        predictor={k: v.detach() for k, v in predictor.state_dict().items()},
        card={**prior.card, "predictor": {"patches": len(values), "data": data.summary, "steps": number}},
    )
    extended = CoinPPPrior.from_bytes(extended.to_bytes(), prior.name)
    with torch.no_grad():
        candidates = data.latents[held], linear, extended.predicted(data.values[held])
        decibels = [_mean_psnr(extended, z, data.values[held]) for z in candidates]
    return extended, Prediction(*decibels)


@torch.no_grad()
def _mean_psnr(prior: CoinPPPrior, latents: Tensor, values: Tensor) -> float:
    coordinates = _coordinates(prior)
    config = prior.config
    errors = [
        squared_errors((prior.values(z, coordinates) - config.centre) / config.spread, v) / v[0].numel()
        for z, v in zip(latents.split(64), values.split(64), strict=True)
    ]
    mean = torch.cat(errors) * prior.config.spread**2
    return float(-10.0 * mean.clamp_min(1e-12).log10().mean())


@dataclass(frozen=True)
class EntropyComparison:
    """Bits per point of the quantised latents of held-out patches under three entropy models.

    Attributes:
        step: quantisation step size.
        histogram_bits: under a histogram of every dimension, from the training patches, with 1 added to every cell.
        tables_bits: under the Gaussian tables of the file format, with a gain for every patch (gains not counted).
        flow_bits: under the flow.
    """

    step: float
    histogram_bits: float
    tables_bits: float
    flow_bits: float


def learn_flow(
    prior: CoinPPPrior,
    data: Modulations,
    minutes: float,
    *,
    steps: int = 0,
    seed: int = 0,
    progress: LearningProgress | None = None,
) -> tuple[CoinPPPrior, list[EntropyComparison]]:
    """Train a normalising flow over the modulations of a prior.

    The loss is the code length of quantised latents, at random quantisation step sizes.

    Args:
        prior: the prior.
        data: modulations exported with it.
        minutes: training time.
        steps: training steps; replaces ``minutes`` if not 0.
        seed: seed of the initial weights and of the batches.
        progress: called with the share done and the loss.

    Returns:
        The prior with the flow, and comparisons on held-out patches at several step sizes.

    Raises:
        UsageError: the data belong to another prior or are too few.
    """
    _check_belongs(prior, data)
    held = _held_out(data)
    latents = data.latents[~held]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        flow = ModulationFlow(prior.config.latent_dims)
    flow.scales.copy_(latents.square().mean(dim=0).sqrt().clamp_min(1e-4))
    rng = np.random.default_rng(seed)
    low, high = (math.log(s) for s in prior.steps)

    def nats() -> Tensor:
        chosen = torch.from_numpy(rng.integers(len(latents), size=BATCH))
        step = torch.from_numpy(np.exp(rng.uniform(low, high, BATCH)).astype(np.float32))
        # Quantising with a random phase gives latents between those of the data.
        shift = torch.from_numpy(rng.random((BATCH, 1), dtype=np.float32) - 0.5) * step[:, None]
        quantised = torch.round((latents[chosen] + shift) / step[:, None]) * step[:, None]
        return cell_nats(flow, quantised, step).sum(dim=1).mean()

    number = _learn(flow, nats, FLOW_RATE, minutes, steps, progress)
    extended = replace(
        prior,
        flow={k: v.detach() for k, v in flow.state_dict().items()},
        card={**prior.card, "flow": {"patches": len(latents), "data": data.summary, "steps": number}},
    )
    extended = CoinPPPrior.from_bytes(extended.to_bytes(), prior.name)
    comparisons = [
        compare_entropy(extended, latents, data.latents[held], step)
        for step in np.geomspace(prior.steps[1], prior.steps[0], 4).tolist()
    ]
    return extended, comparisons


@torch.no_grad()
def compare_entropy(prior: CoinPPPrior, learned: Tensor, held: Tensor, step: float) -> EntropyComparison:
    """Compare three entropy models on held-out latents at a quantisation step size.

    Args:
        prior: a prior with a flow.
        learned: latents (M, D) that the histogram is counted on.
        held: held-out latents (N, D).
        step: quantisation step size.
    """
    to_bits = 1.0 / (math.log(2.0) * prior.config.n_points * len(held))
    numbers = torch.round(held / step)
    steps = torch.full((len(held),), step)
    gains = choose_gains(prior, held, step)
    tables = coded_nats(numbers * step, prior.log_scales(gains), steps).sum()
    flow = torch.stack([cell_nats(prior.flow_model, n * step, s).sum() for n, s in _batches(numbers, steps)]).sum()
    return EntropyComparison(
        step,
        float(histogram_nats(torch.round(learned / step), numbers)) * to_bits,
        float(tables) * to_bits,
        float(flow) * to_bits,
    )


def histogram_nats(learned: Tensor, held: Tensor) -> Tensor:
    """Return the code length in nats of integers under histograms, one per dimension.

    Args:
        learned: integers (M, D) that the histograms count; 1 is added to every cell from the min to the max of both.
        held: integers (N, D) to encode.
    """
    total = torch.zeros(())
    for counted, encoded in zip(learned.T.long(), held.T.long(), strict=True):
        low = int(min(counted.min(), encoded.min()))
        size = int(max(counted.max(), encoded.max())) - low + 1
        counts = torch.bincount(counted - low, minlength=size).double() + 1.0
        total = total - (counts / counts.sum()).log()[encoded - low].sum()
    return total


def _batches(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    return list(zip(*(t.split(BATCH) for t in tensors), strict=True))


def _check_belongs(prior: CoinPPPrior, data: Modulations) -> None:
    # A predictor or a flow changes the id of the prior but not its base network.
    if data.prior_id not in (prior.id, prior.base_id):
        raise UsageError(
            f"the modulations were exported with prior {data.prior_id.hex()}, but {prior.name!r} is {prior.id.hex()}: "
            "export them again"
        )


def _held_out(data: Modulations) -> Tensor:
    """Return which patches are held out, (N,); raise UsageError if the others are too few."""
    held = torch.zeros(len(data.latents), dtype=torch.bool)
    held[::HELD_OUT] = True
    if int((~held).sum()) < 2 * BATCH:
        raise UsageError(f"{len(held)} patches are too few to learn from: export at least {3 * BATCH}")
    return held


def _learn(
    model: nn.Module,
    loss: Callable[[], Tensor],
    rate: float,
    minutes: float,
    steps: int,
    progress: LearningProgress | None,
) -> int:
    """Train by AdamW, with a half-cosine learning rate, for ``steps`` or else ``minutes``; return the steps taken."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=WEIGHT_DECAY)
    begun, number, done = time.monotonic(), 0, 0.0
    while done < 1.0:
        for group in optimiser.param_groups:
            group["lr"] = rate * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * done)))
        value = loss()
        optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 100.0)
        optimiser.step()
        number += 1
        done = min(1.0, number / steps if steps else (time.monotonic() - begun) / (60.0 * minutes))
        if progress is not None and number % 50 == 0:
            progress(done, float(value.detach()))
    return number


def _coordinates(prior: CoinPPPrior) -> Tensor:
    return torch.from_numpy(grid_coordinates(prior.config.patch_shape).reshape(-1, prior.axes))


FORMAT = "inrcodec-modulations-1"
"""Format of a file of modulations."""
MAX_BYTES = 1 << 31
"""Larger files of modulations are rejected."""


@dataclass(frozen=True)
class Modulations:
    """A data set of patches and their latents.

    Attributes:
        values: patches (N, P, C) in the model's units.
        latents: latents (N, D).
        prior_id: id of the prior that they were exported with.
        summary: description of the source of the patches.
    """

    values: Tensor
    latents: Tensor
    prior_id: bytes
    summary: str

    def to_bytes(self) -> bytes:
        """Return the data set as a safetensors file with float16 numbers."""
        head = {"format": FORMAT, "prior": self.prior_id.hex(), "summary": self.summary}
        tensors = {"values": self.values.half().contiguous(), "latents": self.latents.half().contiguous()}
        return safetensors.torch.save(tensors, {"inrcodec": json.dumps(head, sort_keys=True)})

    @classmethod
    def from_file(cls, path: Path) -> Modulations:
        """Read a file of ``to_bytes``.

        Raises:
            FormatError: the file cannot be read, is too large, or is not a data set of modulations.
        """
        try:
            if path.stat().st_size > MAX_BYTES:
                raise FormatError(f"{path}: the size exceeds the limit of {MAX_BYTES} bytes")
            with safetensors.safe_open(path, "pt") as file:
                head = json.loads((file.metadata() or {})["inrcodec"])
                values, latents = (file.get_tensor(name).float() for name in ("values", "latents"))
            if head["format"] != FORMAT or values.ndim != 3 or latents.ndim != 2 or len(values) != len(latents):
                raise FormatError(f"{path}: not a set of modulations")
            if not (torch.isfinite(values).all() and torch.isfinite(latents).all()):
                raise FormatError(f"{path}: a value is not finite")
            return cls(values, latents, bytes.fromhex(head["prior"]), str(head["summary"]))
        except OSError as error:
            raise FormatError(f"{path}: cannot be read: {error.strerror}") from None
        except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
            raise FormatError(f"{path}: not a set of modulations ({type(error).__name__})") from None


def export_modulations(
    prior: CoinPPPrior,
    source: PatchSource,
    summary: str,
    count: int,
    steps: int,
    *,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Modulations:
    """Draw patches from a source and find their latents.

    Args:
        prior: the prior.
        source: the source of patches.
        summary: description of the source.
        count: number of patches.
        steps: inner steps; with 0, the prior's predictor gives the latents, which is much faster.
        seed: seed of the draw.
        progress: called with patches times steps done.

    Raises:
        UsageError: ``steps`` is 0 and the prior has no predictor.
    """
    config = prior.config
    values = torch.from_numpy(source.draw(count, np.random.default_rng((seed, 1 << 42)))).flatten(1, -2)
    values = (values - config.centre) / config.spread
    coordinates = torch.from_numpy(grid_coordinates(config.patch_shape).reshape(-1, prior.axes))
    if steps:
        latents = fit_latents(prior.model, values, coordinates, steps, progress=progress)
    elif prior.predictor:
        with torch.no_grad():
            latents = prior.predicted(values)
    else:
        raise UsageError(f"prior {prior.name!r} has no predictor: use at least one inner step")
    return Modulations(values, latents, prior.id, summary)


SAMPLE_RATE, LOUDNESS = 16000, 0.1
"""Sample rate of the training data of the shipped audio prior, in Hz, and root mean square of sampled audio."""


@torch.no_grad()
def sample_signal(prior: CoinPPPrior, count: int, temperature: float = 0.8, scale: int = 1, seed: int = 0) -> Signal:
    """Sample patches from the flow and arrange them in one signal.

    Images and fields show the patches as tiles in row-major order, the rest of the last row black; audio plays them one
    after the other.

    Args:
        prior: a prior with a flow.
        count: number of patches.
        temperature: factor of the standard deviations of the flow.
        scale: factor of the number of points along each axis.
        seed: seed of the samples.

    Raises:
        UsageError: the prior has no flow.
    """
    if not prior.flow:
        raise UsageError(f"prior {prior.name!r} has no flow to sample from: see inrcodec modulations learn")
    config = prior.config
    latents = prior.flow_model.sample(count, prior.steps[0], torch.Generator().manual_seed(seed), temperature)
    shape = tuple(n * scale for n in config.patch_shape)
    coordinates = torch.from_numpy(grid_coordinates(shape).reshape(-1, prior.axes))
    values = prior.values(latents, coordinates).numpy().reshape(count, *shape, config.channels)
    if prior.kind == "audio":
        audio = np.clip(values.reshape(-1, 1) * np.float32(LOUDNESS / config.spread), -1.0, 1.0)
        return Signal(audio, SignalHeader("audio", "mono", "pcm_16", (len(audio),), 1, SAMPLE_RATE * scale))
    columns = math.isqrt(count - 1) + 1
    rows = -(-count // columns)
    tiles = np.zeros((rows * columns, *shape, config.channels), np.float32)
    tiles[:count] = np.clip(values, 0.0, 1.0)
    grid = tiles.reshape(rows, columns, *shape, config.channels).swapaxes(1, 2)
    image = np.ascontiguousarray(grid.reshape(rows * shape[0], columns * shape[1], config.channels))
    size = image.shape[:2]
    if prior.kind == "image" and config.channels in (1, 3):
        layout = "rgb" if config.channels == 3 else "gray"
        return Signal(image, SignalHeader("image", layout, "u8", size, config.channels))
    return Signal(image, SignalHeader("field", "field", "float32", size, config.channels))
