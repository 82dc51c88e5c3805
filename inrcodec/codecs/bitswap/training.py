"""Training lossless models: minibatches of the negative ELBO in bits per dimension.

The weight of the latents' part rises to 1 over the first ``warm_share`` of the time, so that they carry information
before they cost. Arithmetic is bfloat16 where the machine is fast with it, float32 at the end; the learning rate falls
as a half cosine; what is kept is a moving average of the parameters.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from inrcodec.codecs.bitswap.config import BitSwapConfig
from inrcodec.codecs.bitswap.data import LevelSource
from inrcodec.codecs.bitswap.model import BitSwapModel
from inrcodec.codecs.bitswap.prior import BitSwapPrior
from inrcodec.errors import UsageError
from inrcodec.training.loop import NetworkState, cosine_lr, faster_arithmetic, moved
from inrcodec.training.muon import Muon
from inrcodec.training.trainer import NetworkTrainer


@dataclass(frozen=True)
class BitSwapTraining:
    """What is trained and for how long.

    Attributes:
        network: shape of the networks.
        name: name of the prior.
        minutes: allowed time.
        points: points of a minibatch.
        lr: peak of the learning rate.
        warm_share: share of the training over which the weight of the latents' part rises to 1.
        fast_share: share of the training in bfloat16.
        clip: norm that gradients are clipped to.
        ema: what the moving average of the parameters keeps of itself at a step.
        seed: of all random numbers.
        steps: number of steps, for the same outcome every time; 0 where the time decides.
    """

    network: BitSwapConfig
    name: str
    minutes: float
    points: int
    lr: float = 4e-3
    warm_share: float = 0.1
    fast_share: float = 0.85
    clip: float = 1.0
    ema: float = 0.999
    seed: int = 0
    steps: int = 0

    def __post_init__(self) -> None:
        if self.minutes <= 0 or self.points < 1:
            raise UsageError("minutes must be positive, points at least 1")

    def fine_tuning(self) -> BitSwapTraining:
        """Return the settings for a learned model: latents at their full weight, half the learning rate."""
        return replace(self, lr=0.5 * self.lr, warm_share=0.0)

    def summary(self) -> dict[str, Any]:
        """Return the settings as plain values, for the card."""
        return {**asdict(self), "network": None}


BitsBackState = NetworkState[BitSwapModel]


class BitSwapTrainer(NetworkTrainer[BitSwapModel, BitSwapPrior]):
    """Trains a lossless model; random numbers come from the seed and the number of the step.

    Args:
        config: what is trained and for how long.
        source: training images.
        device: where to compute.
        begin: a model of the same shape to fine-tune.

    Raises:
        UsageError: ``begin`` has another shape.
    """

    def __init__(
        self, config: BitSwapTraining, source: LevelSource, device: str = "cpu", begin: BitSwapModel | None = None
    ) -> None:
        super().__init__(config.minutes, config.steps, device)
        self.config, self.source, self.begin = config, source, begin
        if begin is not None and begin.config != config.network:
            raise UsageError("the model to fine-tune has another shape than the recipe's: use the recipe it came from")

    def start(self) -> BitsBackState:
        """Return a fresh state."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            model = BitSwapModel(self.config.network)
        if self.begin is not None:
            model.load_state_dict(self.begin.state_dict())
        model = moved(model, self.device)
        return BitsBackState(model, Muon(model.parameters(), self.config.lr))

    def _stage(self, state: BitsBackState, done: float) -> str:
        return "warm" if done < self.config.warm_share else "full"

    def _step(self, state: BitsBackState, done: float) -> dict[str, float]:
        config = self.config
        rng = np.random.default_rng((config.seed, state.steps))
        torch.manual_seed(config.seed + 7919 * state.steps)
        levels = torch.from_numpy(self.source.draw(config.points, rng)).to(self.device)
        levels = levels.contiguous(memory_format=torch.channels_last)
        for group in state.optimiser.param_groups:
            group["lr"] = cosine_lr(config.lr, done, state.steps, floor=0.01, ramp=300)
        with faster_arithmetic(self.device, done < config.fast_share):
            nats = state.model.elbo(levels)
        weight = min(1.0, 0.1 + 0.9 * done / config.warm_share) if config.warm_share else 1.0
        scale = 1.0 / (math.log(2.0) * levels[0].numel())
        bits = {name: scale * part.mean() for name, part in nats.items()}
        loss = bits["phases"] + bits["base"] + weight * bits["kl"]
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(state.model.parameters(), config.clip)
        state.optimiser.step()
        state.count_step(config.ema, ramp=10)
        parts = {f"{name}_bits": float(part.detach()) for name, part in bits.items()}
        return {**parts, "bits_per_dimension": sum(parts.values())}

    def _bare_model(self) -> BitSwapModel:
        return BitSwapModel(self.config.network)

    def finish(self, state: BitsBackState, card: dict[str, Any]) -> BitSwapPrior:
        """Return the model that the training has reached, in integers."""
        return BitSwapPrior.from_model(self.averaged_model(state), self.config.name, card)
