"""What is learned from modulations as a data set (``modulation_data``): a network that predicts them from a signal, and
a normalising flow that knows what natural ones look like. Both become parts of the prior, which is then a new one."""

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
"""Every n-th patch is kept from learning."""
BATCH = 64
PREDICTOR_RATE, FLOW_RATE, WEIGHT_DECAY = 3e-4, 1e-3, 0.05

Progress = Callable[[float, float], None]


@dataclass(frozen=True)
class Prediction:
    """Of patches that were kept from learning: mean PSNR in dB (peak 1) of latents as exported, of those predicted by
    the linear map and by the whole network, before any quantisation."""

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
    progress: Progress | None = None,
) -> tuple[CoinPPPrior, Prediction]:
    """The prior with a network that predicts its modulations; ``steps``, where given, instead of ``minutes``.

    What is minimised is the squared error of latents, which are in units of values. ``progress`` is told the share that
    is done and the error. Raises UsageError when the data belong to another prior.
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
        return (predictor(values[chosen]) - latents[chosen]).square().sum(dim=1).mean()

    number = _learn(predictor, error, PREDICTOR_RATE, minutes, steps, progress)
    made = replace(
        prior,
        predictor={k: v.detach() for k, v in predictor.state_dict().items()},
        card={**prior.card, "predictor": {"patches": len(values), "data": data.summary, "steps": number}},
    )
    made = CoinPPPrior.from_bytes(made.to_bytes(), prior.name)
    with torch.no_grad():
        found = [
            _decibels(made, z, data.values[held])
            for z in (data.latents[held], linear, made.predicted(data.values[held]))
        ]
    return made, Prediction(*found)


@torch.no_grad()
def _decibels(prior: CoinPPPrior, latents: Tensor, values: Tensor) -> float:
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
    """Bits per point of held-out patches, their latents rounded to whole steps: under a histogram of every dimension
    (counted over the patches that were learned from, one added to every cell), under the Gaussian tables with a gain
    for every patch, which files use (gains not counted), and under the flow."""

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
    progress: Progress | None = None,
) -> tuple[CoinPPPrior, list[EntropyComparison]]:
    """The prior with a flow over its modulations; ``steps``, where given, instead of ``minutes``.

    What is minimised is the length of rounded latents, at quantisation steps drawn anew. Raises UsageError when the
    data belong to another prior.
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
        # A random phase of the grid: latents between those that were seen.
        shift = torch.from_numpy(rng.random((BATCH, 1), dtype=np.float32) - 0.5) * step[:, None]
        quantised = torch.round((latents[chosen] + shift) / step[:, None]) * step[:, None]
        return cell_nats(flow, quantised, step).sum(dim=1).mean()

    number = _learn(flow, nats, FLOW_RATE, minutes, steps, progress)
    made = replace(
        prior,
        flow={k: v.detach() for k, v in flow.state_dict().items()},
        card={**prior.card, "flow": {"patches": len(latents), "data": data.summary, "steps": number}},
    )
    made = CoinPPPrior.from_bytes(made.to_bytes(), prior.name)
    compared = [
        compare_entropy(made, latents, data.latents[held], step)
        for step in np.geomspace(prior.steps[1], prior.steps[0], 4).tolist()
    ]
    return made, compared


@torch.no_grad()
def compare_entropy(prior: CoinPPPrior, learned: Tensor, held: Tensor, step: float) -> EntropyComparison:
    """What three models make of latents ``held`` at a step; the histogram is of ``learned``."""
    to_bits = 1.0 / (math.log(2.0) * prior.config.n_points * len(held))
    whole = torch.round(held / step)
    steps = torch.full((len(held),), step)
    gains = choose_gains(prior, held, step)
    tables = coded_nats(whole * step, prior.log_scales(gains), steps).sum()
    flow = torch.stack([cell_nats(prior.flow_model, w * step, s).sum() for w, s in _batches(whole, steps)]).sum()
    return EntropyComparison(
        step,
        float(histogram_nats(torch.round(learned / step), whole)) * to_bits,
        float(tables) * to_bits,
        float(flow) * to_bits,
    )


def histogram_nats(learned: Tensor, held: Tensor) -> Tensor:
    """Length in nats of whole numbers (N, D) under a histogram of every dimension of ``learned`` (M, D), one added to
    every cell from the smallest to the largest number of both."""
    total = torch.zeros(())
    for known, wanted in zip(learned.T.long(), held.T.long(), strict=True):
        low = int(min(known.min(), wanted.min()))
        size = int(max(known.max(), wanted.max())) - low + 1
        counts = torch.bincount(known - low, minlength=size).double() + 1.0
        total = total - (counts / counts.sum()).log()[wanted - low].sum()
    return total


def _batches(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    return list(zip(*(t.split(BATCH) for t in tensors), strict=True))


def _check_belongs(prior: CoinPPPrior, data: Modulations) -> None:
    # What is learned from data changes the prior's id; its base network stays.
    if data.prior_id not in (prior.id, prior.base_id):
        made_with = data.prior_id.hex()
        raise UsageError(f"the modulations were made with prior {made_with}, {prior.name!r} is {prior.id.hex()}")


def _held_out(data: Modulations) -> Tensor:
    """Which patches are kept from learning; UsageError when the rest are too few."""
    held = torch.zeros(len(data.latents), dtype=torch.bool)
    held[::HELD_OUT] = True
    if int((~held).sum()) < 2 * BATCH:
        raise UsageError(f"{len(held)} patches are too few to learn from")
    return held


def _learn(
    model: nn.Module, loss: Callable[[], Tensor], rate: float, minutes: float, steps: int, progress: Progress | None
) -> int:
    """AdamW for so many steps, or minutes, the rate falling as a half cosine; how many steps it took."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=WEIGHT_DECAY)
    begun, number, done = time.monotonic(), 0, 0.0
    while done < 1.0:
        for group in optimiser.param_groups:
            group["lr"] = rate * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * done)))
        found = loss()
        optimiser.zero_grad()
        found.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 100.0)
        optimiser.step()
        number += 1
        done = min(1.0, number / steps if steps else (time.monotonic() - begun) / (60.0 * minutes))
        if progress is not None and number % 50 == 0:
            progress(done, float(found.detach()))
    return number


def _coordinates(prior: CoinPPPrior) -> Tensor:
    return torch.from_numpy(grid_coordinates(prior.config.patch_shape).reshape(-1, prior.axes))


FORMAT = "inrcodec-modulations-1"
MAX_BYTES = 1 << 31


@dataclass(frozen=True)
class Modulations:
    """``values`` (N, P, C) in the model's units, ``latents`` (N, D), and the id of the prior that they belong to."""

    values: Tensor
    latents: Tensor
    prior_id: bytes
    summary: str

    def to_bytes(self) -> bytes:
        """A safetensors file; numbers as float16."""
        head = {"format": FORMAT, "prior": self.prior_id.hex(), "summary": self.summary}
        tensors = {"values": self.values.half().contiguous(), "latents": self.latents.half().contiguous()}
        return safetensors.torch.save(tensors, {"inrcodec": json.dumps(head, sort_keys=True)})

    @classmethod
    def from_file(cls, path: Path) -> Modulations:
        """Inverse of ``to_bytes``; FormatError when the file is none."""
        try:
            if path.stat().st_size > MAX_BYTES:
                raise FormatError(f"{path}: larger than the limit of {MAX_BYTES} bytes")
            with safetensors.safe_open(path, "pt") as file:
                head = json.loads((file.metadata() or {})["inrcodec"])
                values, latents = (file.get_tensor(name).float() for name in ("values", "latents"))
            if head["format"] != FORMAT or values.ndim != 3 or latents.ndim != 2 or len(values) != len(latents):
                raise FormatError(f"{path}: not a set of modulations")
            if not (torch.isfinite(values).all() and torch.isfinite(latents).all()):
                raise FormatError(f"{path}: holds values that are not finite")
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
    tick: Callable[[int], None] | None = None,
) -> Modulations:
    """Fit ``count`` patches of a source by ``steps`` inner steps; ``tick`` is told of patches times steps done.

    No steps: latents as the prior's predictor has them, in a moment; UsageError when the prior has none.
    """
    config = prior.config
    values = torch.from_numpy(source.draw(count, np.random.default_rng((seed, 1 << 42)))).flatten(1, -2)
    values = (values - config.centre) / config.spread
    coordinates = torch.from_numpy(grid_coordinates(config.patch_shape).reshape(-1, prior.axes))
    if steps:
        latents = fit_latents(prior.model, values, coordinates, steps, tick=tick)
    elif prior.predictor:
        with torch.no_grad():
            latents = prior.predicted(values)
    else:
        raise UsageError(f"prior {prior.name!r} has no predictor: take inner steps")
    return Modulations(values, latents, prior.id, summary)


SAMPLE_RATE, LOUDNESS = 16000, 0.1
"""Of sounds: the rate that the shipped prior was learned at, and a root mean square."""


@torch.no_grad()
def sample_signal(prior: CoinPPPrior, count: int, temperature: float = 0.8, scale: int = 1, seed: int = 0) -> Signal:
    """``count`` patches drawn from the flow, on a grid ``scale`` times finer: tiles of a picture or of a field, row by
    row, black where there are none; stretches of a sound. Raises UsageError when the prior has no flow."""
    if not prior.flow:
        raise UsageError(f"prior {prior.name!r} has no flow to draw from: see inrcodec modulations learn")
    config = prior.config
    latents = prior.flow_model.sample(count, prior.steps[0], torch.Generator().manual_seed(seed), temperature)
    shape = tuple(n * scale for n in config.patch_shape)
    coordinates = torch.from_numpy(grid_coordinates(shape).reshape(-1, prior.axes))
    values = prior.values(latents, coordinates).numpy().reshape(count, *shape, config.channels)
    if prior.kind == "audio":
        sound = np.clip(values.reshape(-1, 1) * np.float32(LOUDNESS / config.spread), -1.0, 1.0)
        return Signal(sound, SignalHeader("audio", "mono", "pcm_16", (len(sound),), 1, SAMPLE_RATE * scale))
    across = math.isqrt(count - 1) + 1
    down = -(-count // across)
    tiles = np.zeros((down * across, *shape, config.channels), np.float32)
    tiles[:count] = np.clip(values, 0.0, 1.0)
    grid = tiles.reshape(down, across, *shape, config.channels).swapaxes(1, 2)
    picture = np.ascontiguousarray(grid.reshape(down * shape[0], across * shape[1], config.channels))
    size = picture.shape[:2]
    if prior.kind == "image" and config.channels in (1, 3):
        layout = "rgb" if config.channels == 3 else "gray"
        return Signal(picture, SignalHeader("image", layout, "u8", size, config.channels))
    return Signal(picture, SignalHeader("field", "field", "float32", size, config.channels))
