"""Fitting latent grids and their networks to signals, from a learned prior, to a beta or to a wanted number of bits.

    start at the prior's mean and at proposed latents -> descent on the beta-ELBO, samples ever nearer to rounding
    -> weights rounded as finely as pays -> latents rounded -> messages

Weights move in units of the prior's standard deviations, and what they take under the prior counts. Where bits are
wanted, lambda follows while the fit goes on, along the usual slope, and a few more steps correct what is left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec.codecs.base import Progress
from inrcodec.codecs.grids.coder import decode_grids, encode_grids
from inrcodec.codecs.grids.config import MAX_LATENT, WEIGHT_BITS, GridsConfig
from inrcodec.codecs.grids.elbo import grid_bits, grid_errors, grid_features, sample
from inrcodec.codecs.grids.prior import FINENESSES, GridsPrior
from inrcodec.coding.gaussian import GaussianReader, GaussianWriter
from inrcodec.errors import FormatError, LimitError

IntArray = NDArray[np.int64]

LATENT_RATE, LATENT_GAIN = 0.01, 16.0
"""Learning rate of latents, and their unit in steps."""
WEIGHT_RATE, PRIOR_WEIGHT_RATE = 0.01, 0.05
"""Learning rates of weights that are free, and of those under a prior, in its standard deviations."""
LAST_RATE = 0.02
"""Of the first learning rate, at the end."""
TEMPERATURES, NOISES = (0.3, 0.1), (1.5, 1.001)
"""Of soft rounding and of Kumaraswamy's distribution, from the first step to the last."""
MAX_GRADIENT = 0.1
"""Norm, of the mean squared error's gradient plus beta times that of bits per point, that steps are clipped to."""
CONTROL_AT = (0.25, 0.4, 0.55, 0.65, 0.75, 0.83, 0.9, 0.96)
"""Parts of a fit after which lambda is moved towards the wanted bits."""
STILL_TO_FALL = 0.3
"""Bits of a fit at one lambda are 1 + 0.3 (1 - progress)^2 times those at its end, about."""
CODED_FROM = 0.75
MAX_MOVE, FARTHEST = 0.5, 1.0
"""Of log(lambda): the largest single move in a fit, and how far corrections after it may go."""
GUESSES, MIN_MOVE = 6, 0.03
"""How often proposals are asked for a first lambda."""
SLOPE = 0.62
"""d log(bits) / d log(lambda) of photographs, about."""
TOLERANCE = 0.01
MIN_CORRECTION = 0.002
"""Of log(lambda); smaller ones are out of reach of what they are for."""
MIN_SLOPE = 0.1
MAX_CORRECTIONS, CORRECTION_SHARE, CORRECTION_FROM = 4, 0.08, 0.5
"""How often a fit goes on for a wanted rate, for which share of its steps, and from where in its course."""
LOG2E = 1.0 / math.log(2.0)


@dataclass(frozen=True)
class GridProblem:
    """A plane to be fitted: ``values`` (C, H, W), sizes multiples of the coarsest stride, ``mask`` (H, W) of points
    that count."""

    values: Tensor
    mask: Tensor

    @property
    def points(self) -> int:
        """How many count."""
        return int(self.mask.sum())


class GridFit:
    """Descent for one plane. ``start`` (n,): weights; ``deviation`` (n,): the prior's, None for weights that are free;
    ``latents``: grids to start at, in steps, of 0 by default. ``rounding`` (n,): steps that weights are sent in.

    ``progress`` in [0, 1] everywhere is how far the whole fit has come.
    """

    def __init__(
        self,
        config: GridsConfig,
        problem: GridProblem,
        start: Tensor,
        deviation: Tensor | None,
        latents: Sequence[Tensor] | None = None,
        rounding: Tensor | None = None,
        seed: int = 0,
    ) -> None:
        self.config, self.problem, self.start, self.deviation = config, problem, start, deviation
        height, width = problem.mask.shape
        zeros = (torch.zeros(height >> i, width >> i) for i in range(config.grids))
        self.latents = [(grid.clone() / LATENT_GAIN).requires_grad_() for grid in latents or zeros]
        self.moved = torch.zeros_like(start, requires_grad=True)
        self.scale = torch.ones_like(start) if deviation is None else deviation
        # Of weights at the prior's mean, about: a Gaussian's density at 0, times the step, as a probability.
        self.least_bits = 0.0
        if deviation is not None and rounding is not None:
            self.least_bits = float(0.5 * torch.log2(1.0 + 2.0 * math.pi * (deviation / rounding).square()).sum())
        self.random = torch.Generator().manual_seed(seed)
        groups = [{"params": self.latents, "first": LATENT_RATE}, {"params": [self.moved], "first": WEIGHT_RATE}]
        if deviation is not None:
            groups[1]["first"] = PRIOR_WEIGHT_RATE
        self.descent = torch.optim.Adam(groups, lr=LATENT_RATE, betas=(0.9, 0.99), fused=True)

    @property
    def weights(self) -> Tensor:
        """The weights now, (n,)."""
        return self.start + self.scale * self.moved

    def step(self, progress: float, log_lambda: float) -> None:
        """One step of descent."""
        temperature, noise = (a + (b - a) * progress for a, b in (TEMPERATURES, NOISES))
        share = LAST_RATE + (1.0 - LAST_RATE) * 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
        for group in self.descent.param_groups:
            group["lr"] = group["first"] * share
        grids = [sample(grid * LATENT_GAIN, temperature, noise, self.random) for grid in self.latents]
        weights = self.config.parts(self.weights)
        bits = grid_bits(self.config, grids, weights)
        if self.deviation is not None:
            bits = bits + 0.5 * LOG2E * self.moved.square().sum()
        loss = (bits * math.exp(-log_lambda) + self._error(grids, weights)) / self.problem.points
        self.descent.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*self.latents, self.moved], MAX_GRADIENT)
        self.descent.step()

    def _error(self, grids: Sequence[Tensor], weights: dict[str, Tensor]) -> Tensor:
        return grid_errors(self.config, grid_features(grids), self.problem.values, self.problem.mask, weights)

    @torch.no_grad()
    def rounded(self) -> list[Tensor]:
        """The grids as they would be sent, finest first."""
        return [(grid * LATENT_GAIN).round() for grid in self.latents]

    @torch.no_grad()
    def cost(self, weights: Tensor, log_lambda: float) -> float:
        """Bits of rounded grids and lambda times squared errors under other weights."""
        grids, parts = self.rounded(), self.config.parts(weights)
        return float(grid_bits(self.config, grids, parts) + math.exp(log_lambda) * self._error(grids, parts))

    @torch.no_grad()
    def bits(self) -> float:
        """Bits of rounded grids, and of the weights about."""
        latents = float(grid_bits(self.config, self.rounded(), self.config.parts(self.weights)))
        if self.deviation is None:
            return latents
        return latents + float(0.5 * LOG2E * self.moved.square().sum()) + self.least_bits

    def reading(self) -> tuple[float, float]:
        """Bits per point and mean squared error of rounded grids."""
        return self.bits() / self.problem.points, self.error()

    @torch.no_grad()
    def error(self) -> float:
        """Mean squared error of rounded grids."""
        return float(self._error(self.rounded(), self.config.parts(self.weights))) / self.problem.points


@dataclass(frozen=True)
class CodedGrids:
    """The two messages of a plane, and the fineness of its weights."""

    fineness: int
    weights: bytes
    latents: bytes


class GridEncoder:
    """Fits and codes planes, all at one quality, in ``steps`` steps each and some more where bits are wanted."""

    def __init__(self, prior: GridsPrior, steps: int, tick: Progress = lambda steps: None) -> None:
        self.prior, self.steps, self.tick = prior, steps, tick

    def encode(
        self, problems: Sequence[GridProblem], *, log_lambda: float | None = None, bits: float | None = None
    ) -> tuple[int, list[CodedGrids]]:
        """Quality and messages: at a ``log_lambda``, or nearest below ``bits`` of all messages together."""
        if log_lambda is None:
            assert bits is not None
            log_lambda = self._log_lambda_for(problems, bits)
        quality = self.prior.quality_of(log_lambda)
        fits = self._fits(problems, quality)
        excess, looks = None, [round(self.steps * part) for part in CONTROL_AT]
        for step in range(self.steps):
            if bits is not None and step in looks:
                found = sum(fit.bits() for fit in fits) / (1.0 + STILL_TO_FALL * (1.0 - step / self.steps) ** 2)
                if step >= CODED_FROM * self.steps:
                    # What messages take beyond the estimate, rounding of weights above all, is learned once.
                    if excess is None:
                        excess = _bits([self._coded(fit, quality, log_lambda) for fit in fits]) / found
                    found *= excess
                move = math.log(bits * (1.0 - TOLERANCE) / found) / SLOPE
                log_lambda += min(max(move, -MAX_MOVE), MAX_MOVE)
            self._step(fits, step / self.steps, log_lambda)
        coded = [self._coded(fit, quality, log_lambda) for fit in fits]
        if bits is not None:
            coded = self._corrected(fits, coded, quality, log_lambda, bits)
        return quality, coded

    def _fits(self, problems: Sequence[GridProblem], quality: int) -> list[GridFit]:
        prior = self.prior
        start = torch.from_numpy(prior.mean_at(quality)).float() / (1 << WEIGHT_BITS)
        deviation, proposal = prior.deviation_at(quality), prior.proposal_at(quality)
        step = torch.from_numpy(2.0 ** (prior.steps(0) - WEIGHT_BITS)).float()
        with torch.no_grad():
            return [GridFit(prior.config, p, start, deviation, proposal(p.values), step) for p in problems]

    def _step(self, fits: Sequence[GridFit], part: float, log_lambda: float) -> None:
        for fit in fits:
            fit.step(part, log_lambda)
            self.tick(1)

    def _corrected(
        self, fits: Sequence[GridFit], coded: list[CodedGrids], quality: int, log_lambda: float, bits: float
    ) -> list[CodedGrids]:
        """Messages nearest below ``bits``: fits go on at other lambdas while they are not near enough."""
        best, slope, reached = coded, SLOPE, log_lambda
        count = max(8, round(self.steps * CORRECTION_SHARE))
        again = np.linspace(CORRECTION_FROM, 1.0, count).tolist()
        for _ in range(MAX_CORRECTIONS):
            if 1.0 - 2 * TOLERANCE <= _bits(best) / bits <= 1.0:
                break
            wanted = log_lambda + math.log(bits * (1.0 - TOLERANCE) / _bits(coded)) / slope
            move = min(max(wanted, reached - FARTHEST), reached + FARTHEST) - log_lambda
            if abs(move) < MIN_CORRECTION:
                break
            log_lambda += move
            for part in again:
                self._step(fits, part, log_lambda)
            before, kept = _bits(coded), [plane.fineness for plane in coded]
            coded = [self._coded(fit, quality, log_lambda, at) for fit, at in zip(fits, kept, strict=True)]
            slope = min(max(math.log(_bits(coded) / before) / move, MIN_SLOPE), 2 * SLOPE)
            best = min(best, coded, key=lambda found: (_bits(found) > bits, abs(_bits(found) - bits)))
        return best

    @torch.no_grad()
    def _log_lambda_for(self, problems: Sequence[GridProblem], bits: float) -> float:
        """Where what is proposed, rounded, takes about ``bits``; begins where training pictures took them."""
        config, points = self.prior.config, sum(problem.points for problem in problems)
        places = np.linspace(*config.log_lambdas, config.anchors)
        log_lambda = float(np.interp(math.log(bits / points), np.log(self.prior.bits), places))
        for _ in range(GUESSES):
            quality = self.prior.quality_of(log_lambda)
            proposal = self.prior.proposal_at(quality)
            weights = config.parts(torch.from_numpy(self.prior.mean_at(quality)).float() / (1 << WEIGHT_BITS))
            excess = np.interp(log_lambda, places, np.log(self.prior.bits) - np.log(self.prior.proposed_bits))
            found = 1.0
            for problem in problems:
                found += float(grid_bits(config, [grid.round() for grid in proposal(problem.values)], weights))
            move = (math.log(bits / found) - float(excess)) / SLOPE
            log_lambda = min(max(log_lambda + move, config.log_lambdas[0]), config.log_lambdas[1])
            if abs(move) < MIN_MOVE:
                break
        return log_lambda

    def _coded(self, fit: GridFit, quality: int, log_lambda: float, fineness: int | None = None) -> CodedGrids:
        """Weights rounded as finely as costs least, or to a ``fineness``, and everything coded."""
        wanted = fit.weights.detach().double().numpy() * (1 << WEIGHT_BITS) - self.prior.mean_at(quality)
        found: dict[int, tuple[float, IntArray, bytes]] = {}

        def cost(fineness: int) -> float:
            if fineness not in FINENESSES:
                return math.inf
            if fineness not in found:
                numbers = np.rint(wanted / (1 << self.prior.steps(fineness))).astype(np.int64)
                message = _weights_message(self.prior, quality, fineness, numbers)
                try:
                    weights = self.prior.weights(quality, fineness, numbers)
                    self.prior.context_network(weights)
                except FormatError:
                    return math.inf
                total = fit.cost(torch.from_numpy(weights).float() / (1 << WEIGHT_BITS), log_lambda)
                found[fineness] = total + 8 * len(message), weights, message
            return found[fineness][0]

        place = fineness or 0
        while fineness is None and min(cost(place - 1), cost(place + 1)) < cost(place):
            place += -1 if cost(place - 1) < cost(place + 1) else 1
        if cost(place) == math.inf:
            raise LimitError("the signal is far from what the prior knows: its networks are out of range")
        _, weights, message = found[place]
        grids = [grid.to(torch.int64).numpy() for grid in reversed(fit.rounded())]
        if max(int(np.abs(grid).max()) for grid in grids) >= MAX_LATENT:
            raise LimitError("a latent is out of the range of its code: the signal is far from what the prior knows")
        return CodedGrids(place, message, encode_grids(grids, self.prior.context_network(weights)))


def _bits(coded: Sequence[CodedGrids]) -> float:
    """With the byte of fineness and two of length that every plane has."""
    return 8.0 * sum(len(plane.weights) + len(plane.latents) + 3 for plane in coded)


def _weights_message(prior: GridsPrior, quality: int, fineness: int, numbers: IntArray) -> bytes:
    writer = GaussianWriter()
    writer.write(numbers, prior.scale_indices(quality, fineness))
    return writer.to_bytes()


def read_weights(prior: GridsPrior, quality: int, fineness: int, message: bytes) -> IntArray:
    """Weights (n,) in units of 2^-16; FormatError when the message is damaged."""
    reader = GaussianReader(message, 1)
    numbers = reader.read(prior.scale_indices(quality, fineness))
    reader.finish()
    return prior.weights(quality, fineness, numbers)


def read_grids(prior: GridsPrior, weights: IntArray, message: bytes, shape: tuple[int, int]) -> list[Tensor]:
    """Grids, finest first, of a plane of a padded shape; FormatError when the message is damaged."""
    shapes = [(shape[0] >> i, shape[1] >> i) for i in reversed(range(prior.config.grids))]
    grids = decode_grids(message, shapes, prior.context_network(weights))
    return [torch.from_numpy(grid).float() for grid in reversed(grids)]
