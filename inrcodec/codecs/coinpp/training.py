"""Meta-learning a base network: outer steps over minibatches of patches (COIN++, algorithm 1).

Inner steps minimise the squared error alone. What the outer step minimises is the rate-distortion cost of the latents
as they will be sent: quantised with a step of which every patch of a minibatch has its own (uniform noise stands for
rounding), under a Gaussian of learned scale per dimension. At the best trade a bit saves 2 ln 2 step^2 / 12 of squared
error per dimension, so cost = 6 error / step^2 + nats.

A part of the training may take outer steps of first order (a third of the time each). They do not see how latents
follow the weights, so that latents grow and with them the rate: half an hour of them on 32x32 images cost 0.4 dB.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from inrcodec.codecs.coinpp.inner_loop import fit_latents, inner_steps, squared_errors
from inrcodec.codecs.coinpp.latents import gaussian_nats
from inrcodec.codecs.coinpp.model import CoinPPConfig, ModulatedINR
from inrcodec.codecs.coinpp.prior import CoinPPPrior
from inrcodec.errors import UsageError
from inrcodec.signals.coordinates import grid_coordinates
from inrcodec.training.loop import LR_FLOOR, NetworkState, cosine_lr
from inrcodec.training.sources import PatchSource
from inrcodec.training.trainer import NetworkTrainer

STATISTICS_STEPS = 10
STATISTICS_PATCHES = 384
SCALE_ROUNDS = 6
PATCHES_AT_ONCE = 4
MAX_COST = 10.0
"""Cost per value beyond which a patch is left out of an outer step."""


@dataclass(frozen=True)
class CoinPPTraining:
    """What is meta-learned and for how long.

    Attributes:
        network: shape of the base network.
        name: name of the prior.
        kind: kind of signal.
        minutes: allowed time.
        batch: patches of an outer step.
        lr: of outer steps, relative to the size of each parameter.
        first_order_share: share of the training with outer steps of first order.
        inner: min and max number of inner steps, drawn at every outer step.
        quantiser_steps: min and max quantisation step, in units of latents.
        components_from: patches whose principal components the network starts at.
        ema: what the moving average of the parameters keeps of itself at a step.
        seed: of all random numbers.
        steps: number of steps, for the same outcome every time; 0 where the time decides.
    """

    network: CoinPPConfig
    name: str
    kind: str
    minutes: float
    batch: int = 8
    lr: float = 3e-4
    first_order_share: float = 0.0
    inner: tuple[int, int] = (1, 2)
    quantiser_steps: tuple[float, float] = (0.4, 4.0)
    components_from: int = 12000
    ema: float = 0.995
    seed: int = 0
    steps: int = 0

    def __post_init__(self) -> None:
        if self.minutes <= 0 or self.batch < 1 or not 1 <= self.inner[0] <= self.inner[1]:
            raise UsageError("minutes must be positive, batch and inner steps at least 1")

    def summary(self) -> dict[str, Any]:
        """Return the settings as plain values, for the card."""
        return {**asdict(self), "network": None}


ModulationState = NetworkState[ModulatedINR]


class CoinPPTrainer(NetworkTrainer[ModulatedINR, CoinPPPrior]):
    """Meta-learns a base network; random numbers come from the seed and the number of the step.

    Args:
        config: what is learned and for how long.
        source: training patches.
        device: where to compute.
    """

    def __init__(self, config: CoinPPTraining, source: PatchSource, device: str = "cpu") -> None:
        super().__init__(config.minutes, config.steps, device)
        self.config, self.source = config, source
        shape = config.network.patch_shape
        self.coordinates = torch.from_numpy(grid_coordinates(shape).reshape(-1, len(shape))).to(self.device)

    def start(self) -> ModulationState:
        """Return a fresh state, with the network at the principal components of training patches."""
        state = self._blank()
        values = self._draw(self.config.components_from, np.random.default_rng((self.config.seed, 1 << 40)))
        state.model.begin_at(values, self.coordinates)
        with torch.no_grad():
            fitted = fit_latents(state.model, values[:STATISTICS_PATCHES], self.coordinates, 1)
            state.model.log_scales.copy_(scales_of(fitted))
        state.optimiser = self._optimiser(state.model)
        state.average = [p.detach().clone() for p in state.model.parameters()]
        return state

    def _blank(self) -> ModulationState:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            model = ModulatedINR(self.config.network).to(self.device)
        return ModulationState(model, self._optimiser(model))

    def _optimiser(self, model: ModulatedINR) -> torch.optim.Adam:
        """Return an optimiser with learning rates in proportion to each parameter's size."""
        readout = float(model.readouts[0].detach().square().mean().sqrt())
        groups: list[dict[str, Any]] = []
        for name, parameter in model.named_parameters():
            size = float(parameter.detach().square().mean().sqrt())
            word = name.split(".")[0]
            if word == "readouts":
                size = readout
            elif word in ("log_rates", "log_scales"):
                size = 3.0
            groups.append({"params": [parameter], "size": min(max(size, 1e-3), 3.0), "lr": self.config.lr})
        return torch.optim.Adam(groups, betas=(0.9, 0.99))

    def _draw(self, count: int, rng: np.random.Generator) -> Tensor:
        """Return patches (count, P, C) in the model's units."""
        network = self.config.network
        values = torch.from_numpy(self.source.draw(count, rng)).to(self.device).flatten(1, -2)
        return (values - network.centre) / network.spread

    def _stage(self, state: ModulationState, done: float) -> str:
        return "first order" if done < self.config.first_order_share else "second order"

    def _step(self, state: ModulationState, done: float) -> dict[str, float]:
        config, model = self.config, state.model
        second_order = done >= config.first_order_share
        rng = np.random.default_rng((config.seed, state.steps))
        values = self._draw(config.batch, rng)
        steps = int(rng.integers(config.inner[0], config.inner[1] + 1))
        low, high = (math.log(s) for s in config.quantiser_steps)
        step = torch.from_numpy(np.exp(rng.uniform(low, high, len(values))).astype(np.float32)).to(self.device)
        noise = torch.from_numpy(rng.random((len(values), config.network.latent_dims), dtype=np.float32) - 0.5)
        noise = noise.to(self.device) * step[:, None]
        for group in state.optimiser.param_groups:
            group["lr"] = cosine_lr(config.lr * group["size"], done, state.steps, floor=LR_FLOOR, ramp=50)
        state.optimiser.zero_grad(set_to_none=True)
        parts = [_cost(model, *p, self.coordinates, steps, second_order) for p in _parts(values, step, noise)]
        cost, error, bits = (torch.cat(found) for found in zip(*parts, strict=True))
        norm = nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        if torch.isfinite(norm):
            state.optimiser.step()
        state.count_step(config.ema, ramp=20)
        mean = error / values[0].numel() * config.network.spread**2
        return {
            "cost": float(cost.mean()),
            "db": float(-10.0 * mean.clamp_min(1e-12).log10().mean()),
            "bits_per_point": float(bits.mean()) / config.network.n_points,
        }

    def _bare_model(self) -> ModulatedINR:
        return ModulatedINR(self.config.network)

    def averaged_model(self, state: ModulationState) -> ModulatedINR:
        """Return a network with the moving average of the parameters, on the CPU."""
        model = self._bare_model()
        model.load_state_dict(state.model.state_dict())
        return state.put_average_into(model)

    def finish(self, state: ModulationState, card: dict[str, Any]) -> CoinPPPrior:
        """Return the prior that the training has reached, with scales from the latents of fresh training patches."""
        model = self.averaged_model(state).requires_grad_(False)
        values = self._draw(STATISTICS_PATCHES, np.random.default_rng((self.config.seed, 1 << 41))).cpu()
        coordinates = self.coordinates.cpu()
        latents = fit_latents(model, values, coordinates, STATISTICS_STEPS)
        scales = scales_of(latents)
        steps = self.config.quantiser_steps
        return CoinPPPrior.from_model(model, self.config.name, self.config.kind, scales, steps, card)


def _parts(values: Tensor, step: Tensor, noise: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return a minibatch in pieces of a few patches on a CPU, whose cache they fit, and in one piece elsewhere."""
    at_once = PATCHES_AT_ONCE if values.device.type == "cpu" else len(values)
    return list(zip(values.split(at_once), step.split(at_once), noise.split(at_once), strict=True))


def _cost(
    model: ModulatedINR,
    values: Tensor,
    step: Tensor,
    noise: Tensor,
    coordinates: Tensor,
    steps: int,
    second_order: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return cost, squared error and bits of patches, (N,) each; leave gradients in the model."""
    if second_order:
        latent = inner_steps(model, values, coordinates, steps)
    else:
        latent = fit_latents(model, values, coordinates, steps)
    received = latent + noise
    nats = gaussian_nats(received, model.log_scales + log_gains(received, model.log_scales, step), step).sum(dim=1)
    error = squared_errors(model(received, coordinates), values)
    cost = 6.0 * error / step.square() + nats
    # A patch whose inner steps diverged says nothing about the others.
    sane = cost.detach() < MAX_COST * values[0].numel()
    (torch.where(sane, cost, 0.0).sum() / values.numel()).backward()
    return cost.detach(), error.detach(), nats.detach() / math.log(2)


@torch.no_grad()
def log_gains(latents: Tensor, log_scales: Tensor, step: Tensor) -> Tensor:
    """Return about the log gains that a file would give patches, (N, 1).

    They are the power of the dimensions that are not rounded to zero at the step.
    """
    heard = ((log_scales > step.log()[:, None]) | (latents.abs() > 0.5 * step[:, None])).float()
    count = heard.sum(dim=1)
    power = (latents.square() * (-2.0 * log_scales).exp() * heard).sum(dim=1) / count.clamp_min(1.0)
    power = torch.where(count > 0, power, 1.0)
    return 0.5 * power.clamp_min(1e-8).log()[:, None]


def scales_of(latents: Tensor) -> Tensor:
    """Return log standard deviations (D,) of latents (N, D) whose patches each have a gain of their own.

    Gains and scales are estimated in turn; the geometric mean of the gains is 1.
    """
    power = latents.square() + 1e-6
    log_gain = torch.zeros(len(latents), 1, device=latents.device)
    for _ in range(SCALE_ROUNDS):
        log_scale = 0.5 * (power * (-2.0 * log_gain).exp()).mean(dim=0).log()
        log_gain = 0.5 * (power * (-2.0 * log_scale).exp()).mean(dim=1, keepdim=True).log()
        log_gain -= log_gain.mean()
    return log_scale
