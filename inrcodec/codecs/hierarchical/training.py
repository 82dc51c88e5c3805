"""Training the hierarchical model: minibatches of the beta-ELBO over all rates at once.

Every signal of a minibatch has a log(lambda) of its own. Over the training:

- rates weigh little at first, and a linear reading of the features before each level is compared with the signal
  averaged over their stride:
  without both, coarse levels never carry information and all bits go to the finest (posterior collapse);
- latents are noisy samples of their posteriors first, then rounded with the gradient passed on;
- crops are small at first;
- arithmetic is bfloat16 where the machine has it, float32 at the end; the learning rate falls as a half cosine; what
  is kept is a moving average of the parameters.

The priors are part of the network and are learned by the same gradients; the prior over the head's weights is learned
at the end (``learn_weight_scales``). A learned model can be fine-tuned, grown where the network is larger (``growth``).

On a GPU, ``training_gpu`` learns the same from images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from inrcodec.codecs.hierarchical.config import HierarchicalConfig
from inrcodec.codecs.hierarchical.elbo import (
    elbo,
    latents_and_bits,
    mixed,
    native_fourier,
    noisy,
    rounded,
    sampled_points,
)
from inrcodec.codecs.hierarchical.growth import grown
from inrcodec.codecs.hierarchical.klt import start_as_klt
from inrcodec.codecs.hierarchical.model import HierarchicalINR
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
from inrcodec.codecs.hierarchical.rounding import round_weights
from inrcodec.codecs.hierarchical.top_down import shuffle_up
from inrcodec.codecs.hierarchical.weight_scales import learn_weight_scales
from inrcodec.errors import UsageError
from inrcodec.parallel.all_reduce import Peers
from inrcodec.training.field_sources import GlobeSource
from inrcodec.training.loop import LR_FLOOR, NetworkState, cosine_lr, faster_arithmetic, moved
from inrcodec.training.muon import Muon
from inrcodec.training.sources import PatchSource
from inrcodec.training.trainer import NetworkTrainer

UNLEARNED_LOG_SCALE = -6.0
BALANCE = 0.4
"""Costs grow about as lambda to this power."""
CALIBRATION_SIDE = 128
"""Maximum side of the crops that the rounding of weights is calibrated on."""
KLT_POINTS = 1 << 23
"""Points of the crops from which the first transform of a model with patches is computed."""
LR_RAMP, EMA_RAMP = 300, 50
"""Steps over which the learning rate rises, and over which the moving average follows the parameters closely."""


@dataclass(frozen=True)
class HierarchicalTraining:
    """What is trained and for how long; shares are of the whole training.

    Attributes:
        network: shape of the network.
        name: name of the prior.
        kind: kind of signal.
        minutes: allowed time.
        patch_shape: points of a crop along every axis.
        batch: crops of a minibatch.
        lr: peak of the learning rate.
        small_share: share with crops of half the size, twice as many.
        noisy_share: share with noisy latents, before they are rounded.
        auxiliary_share: share over which the weight of the averaged signal's error falls to 0.
        auxiliary: that weight at the start.
        fast_share: share in bfloat16.
        warm_share: share over which the weight of rates rises to 1.
        balance: the loss at lambda is weighted by lambda^-balance, so that all rates matter alike.
        rate_power: log(lambda) is drawn as u^rate_power of its range, u uniform; above 1, low rates come more often.
        ema: what the moving average of the parameters keeps of itself at a step.
        seed: of all random numbers.
        steps: number of steps, for the same outcome every time; 0 where the time decides.
        weight_signals: crops from which the scales of the head's weights are learned at the end. A model with patches
            has no head; four times as many crops calibrate the rounding of its weights.
        point_share: share of a crop's points, drawn in every step, at which errors are measured; the head, which works
            at every point, takes half the time of a step otherwise.
    """

    network: HierarchicalConfig
    name: str
    kind: str
    minutes: float
    patch_shape: tuple[int, ...]
    batch: int
    lr: float = 1e-3
    small_share: float = 0.45
    noisy_share: float = 0.4
    auxiliary_share: float = 0.4
    auxiliary: float = 0.3
    fast_share: float = 0.8
    warm_share: float = 0.04
    balance: float = BALANCE
    rate_power: float = 1.0
    ema: float = 0.999
    seed: int = 0
    steps: int = 0
    weight_signals: int = 16
    point_share: float = 1.0

    def __post_init__(self) -> None:
        if self.minutes <= 0 or self.batch < 1 or not 0.1 <= self.rate_power <= 10.0:
            raise UsageError("minutes must be positive, batch at least 1, rate power from 0.1 to 10")
        if not 0.0 < self.point_share <= 1.0:
            raise UsageError("the share of points must be above 0 and at most 1")
        sizes = [*self.patch_shape, *(n // 2 for n in self.patch_shape if self.small_share > 0)]
        if len(self.patch_shape) != self.network.axes or any(n % self.network.coarsest for n in sizes):
            raise UsageError(f"crops of {self.patch_shape} do not fit a coarsest stride of {self.network.coarsest}")

    def fine_tuning(self) -> HierarchicalTraining:
        """Return the settings for a learned model: nothing of the first stages, 0.15 of the learning rate.

        At half of it, an hour (15,000 steps) on 32x32 images ended 4 % above the cost that it had started from.
        """
        return replace(
            self,
            lr=0.15 * self.lr,
            noisy_share=0.0,
            auxiliary_share=0.0,
            warm_share=0.0,
            small_share=min(self.small_share, 0.3),
        )

    def auxiliary_weight(self, done: float) -> float:
        """Return the weight of the averaged signal's error at a share of the training."""
        return self.auxiliary * (1.0 - _part_of(done, self.auxiliary_share))

    def rate_weight(self, done: float) -> float:
        """Return the weight of rates at a share of the training."""
        return 0.1 + 0.9 * _part_of(done, self.warm_share)

    def summary(self) -> dict[str, Any]:
        """Return the settings as plain values, for the card."""
        return {**asdict(self), "network": None}


HierarchyState = NetworkState[HierarchicalINR]


class HierarchicalTrainer(NetworkTrainer[HierarchicalINR, HierarchicalPrior]):
    """Trains the hierarchical model on a processor or a device.

    Random numbers come from the seed and the number of the step.

    Args:
        config: what is trained and for how long.
        source: training signals.
        device: where to compute.
        begin: a learned model to fine-tune.
        peers: processes that train together, each with a minibatch of its own.
    """

    def __init__(
        self,
        config: HierarchicalTraining,
        source: PatchSource,
        device: str = "cpu",
        begin: HierarchicalINR | None = None,
        peers: Peers | None = None,
    ) -> None:
        super().__init__(config.minutes, config.steps, device)
        self.config, self.source, self.begin, self.peers = config, source, begin, peers or Peers()
        self._fourier: dict[tuple[int, int], Tensor] = {}

    def start(self) -> HierarchyState:
        """Return a fresh state.

        Raises:
            UsageError: the model to fine-tune does not fit.
        """
        # Crops have ends; a whole circle, where the shipped model joins them, has none.
        network = replace(self.config.network, periodic=False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            model = self._fresh(network) if self.begin is None else grown(self.begin, network)
            levels = enumerate(network.levels)
            auxiliary = nn.ModuleDict(
                {str(i): nn.Conv2d(level.width, self._asked_channels(i), 1) for i, level in levels if i}
            )
        model, auxiliary = moved(model, self.device), auxiliary.to(self.device)
        optimiser = Muon([*model.parameters(), *auxiliary.parameters()], self.config.lr)
        return HierarchyState(model, optimiser, auxiliary)

    def _fresh(self, network: HierarchicalConfig) -> HierarchicalINR:
        model = HierarchicalINR(network)
        if network.patch:
            rng = np.random.default_rng((self.config.seed, 1 << 41))
            values, _ = self._draw(max(1, KLT_POINTS // math.prod(self.config.patch_shape)), rng, False)
            start_as_klt(model, values.cpu())
        return model

    def agreed(self, *numbers: float) -> Sequence[float]:
        """Return the first process's numbers."""
        return self.peers.agreed(*numbers)

    def _stage(self, state: HierarchyState, done: float) -> str:
        return "noisy" if done < self.config.noisy_share else "rounded"

    def _step(self, state: HierarchyState, done: float) -> dict[str, float]:
        config = self.config
        small = done < config.small_share
        rank = self.peers.rank
        rng = np.random.default_rng((config.seed, state.steps, *([rank] if rank else [])))
        torch.manual_seed(config.seed + 7919 * state.steps + 104729 * rank)
        values, fourier = self._draw(2 * config.batch if small else config.batch, rng, small)
        log_lambda = torch.from_numpy(drawn_log_lambdas(config, len(values), rng)).to(self.device)
        n_points = values.shape[2] * values.shape[3]
        points = sampled_points(n_points, config.point_share, device=self.device)
        return self.descend(state, done, values, log_lambda, fourier, points)

    def descend(
        self,
        state: HierarchyState,
        done: float,
        values: Tensor,
        log_lambda: Tensor,
        fourier: Tensor,
        points: Tensor | None,
    ) -> dict[str, float]:
        """Take a step on a minibatch and return figures for the log.

        Noise comes from torch's global generator.

        Args:
            state: what is trained; changed in place.
            done: share of the training that is done.
            values: crops, (N, C, H, W).
            log_lambda: (N,), one rate per crop.
            fourier: Fourier features of the points, (H * W, F).
            points: numbers of the points at which errors are measured, (P,); None for all.
        """
        config, network = self.config, self.config.network
        for group in state.optimiser.param_groups:
            group["lr"] = cosine_lr(config.lr, done, state.steps, floor=LR_FLOOR, ramp=LR_RAMP)
        readings: list[Tensor] = []
        weight = config.auxiliary_weight(done)

        def watch(name: str, h: Tensor) -> None:
            level, block = name.split(".")
            if weight > 0.0 and level != "0" and block == "0":
                readings.append(self._averaged_error(state, int(level), h, values))

        n_points = values.shape[2] * values.shape[3]
        quantise = noisy if done < config.noisy_share else mixed
        with faster_arithmetic(self.device, done < config.fast_share):
            terms = elbo(state.model, values, log_lambda, fourier, quantise, watch=watch, points=points)
        error = terms.mse + weight * sum(readings) if readings else terms.mse
        rate = config.rate_weight(done) * terms.bits / n_points
        loss = balanced(error * log_lambda.exp() + rate, log_lambda, network, config.balance)
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.peers.average_gradients([*state.model.parameters(), *state.auxiliary.parameters()])
        norm = nn.utils.clip_grad_norm_(state.model.parameters(), 1.0)
        if torch.isfinite(norm):
            state.optimiser.step()
        state.count_step(config.ema, ramp=EMA_RAMP)
        return {
            "loss": float(loss.detach()),
            "bits_per_point": float(terms.bits.detach().mean()) / n_points,
            "db": float(-10.0 * terms.mse.detach().clamp_min(1e-12).log10().mean()),
        }

    def _draw(self, count: int, rng: np.random.Generator, small: bool) -> tuple[Tensor, Tensor]:
        """Return crops (N, C, H, W) and the Fourier features of their points."""
        if isinstance(self.source, GlobeSource):
            band = self.source.draw_band(count, rng)
            values = torch.from_numpy(band.values)
            fourier = native_fourier(self.config.network, *values.shape[1:3], origin=(band.top, 0), extent=band.extent)
        else:
            values = torch.from_numpy(self.source.draw(count, rng))
            if small:
                values = values[(slice(None), *(slice(n // 2) for n in self.config.patch_shape))]
            if self.config.network.axes == 1:
                values = values[:, None]
            fourier = self._native_fourier(values.shape[1], values.shape[2])
        values = values.permute(0, 3, 1, 2).to(self.device)
        return values.contiguous(memory_format=torch.channels_last), fourier.to(self.device)

    def _native_fourier(self, rows: int, columns: int) -> Tensor:
        if (rows, columns) not in self._fourier:
            self._fourier[rows, columns] = native_fourier(self.config.network, rows, columns).to(self.device)
        return self._fourier[rows, columns]

    def _asked_channels(self, level: int) -> int:
        network = self.config.network
        return network.channels * (network.levels[level].stride if network.axes == 1 else 1)

    def _averaged_error(self, state: HierarchyState, level: int, h: Tensor, values: Tensor) -> Tensor:
        """Return squared errors (N,) of a linear reading of features against the signal averaged over their stride.

        With one axis, whose signals swing about a mean, the reading is compared with every point of the signal.
        """
        network = self.config.network
        stride = network.levels[level].stride
        read = state.auxiliary.get_submodule(str(level))(h).float() * network.spread + network.centre
        if network.axes == 1:
            return (shuffle_up(read, stride, 1) - values).square().mean(dim=(1, 2, 3))
        result: Tensor = (read - functional.avg_pool2d(values, stride)).square().mean(dim=(1, 2, 3))
        return result

    def _bare_model(self) -> HierarchicalINR:
        return HierarchicalINR(self.config.network)

    def finish(self, state: HierarchyState, card: dict[str, Any]) -> HierarchicalPrior:
        """Return the prior that the training has reached, the scales of its head's weights learned from fits."""
        config = self.config
        values = None
        if config.weight_signals:
            count = config.weight_signals * (4 if config.network.patch else 1)
            values, _ = self._draw(count, np.random.default_rng((config.seed, 1 << 40)), False)
        return finished_prior(self.averaged_model(state), config, values, card)


def finished_prior(
    model: HierarchicalINR, config: HierarchicalTraining, values: Tensor | None, card: dict[str, Any]
) -> HierarchicalPrior:
    """Return the prior of a trained model on the CPU.

    Args:
        model: the network.
        config: how it was trained.
        values: crops (N, C, H, W) from which the scales of the head's weights are learned, or to which the rounding of
            a model with patches is calibrated; None to leave that out.
        card: what the prior's file says about the training.
    """
    if model.config.patch:
        if values is not None:
            _calibrate(model, values.cpu())
        return HierarchicalPrior.from_model(model, config.name, config.kind, torch.zeros(0), card)
    scale = torch.full(model.head.shape, UNLEARNED_LOG_SCALE)
    prior = HierarchicalPrior.from_model(model, config.name, config.kind, scale, card)
    return prior if values is None else prior.with_weight_scales(learn_weight_scales(prior, values.cpu()))


def _calibrate(model: HierarchicalINR, values: Tensor) -> None:
    """Round the weights of a model with patches, calibrated on crops at all rates."""
    crops = values[:, :, :CALIBRATION_SIDE, :CALIBRATION_SIDE].float()
    log_lambdas = torch.linspace(*model.config.log_lambdas, len(crops))

    def run() -> None:
        for some, at in zip(crops.split(8), log_lambdas.split(8), strict=True):
            latents_and_bits(model, some.contiguous(memory_format=torch.channels_last), at, rounded)

    round_weights(model, run)


def drawn_log_lambdas(config: HierarchicalTraining, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return log(lambda) of ``count`` crops, low rates more often where ``rate_power`` is above 1."""
    low, high = config.network.log_lambdas
    places = rng.uniform(0.0, 1.0, count) ** config.rate_power
    return (low + (high - low) * places).astype(np.float32)


def balanced(costs: Tensor, log_lambda: Tensor, network: HierarchicalConfig, balance: float = BALANCE) -> Tensor:
    """Return the mean of costs (N,), each times e^(-balance (log lambda - middle of the range)).

    Costs grow with lambda, so that high rates alone would be learned otherwise.
    """
    middle = 0.5 * sum(network.log_lambdas)
    return (costs * torch.exp(-balance * (log_lambda - middle))).mean()


def _part_of(done: float, share: float) -> float:
    """Return how far through a stage of this share a training is, at most 1."""
    return min(1.0, done / share) if share > 0 else 1.0
