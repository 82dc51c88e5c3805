"""Fitting latent grids and their networks to signals, from a learned prior, to a beta or to a wanted number of bits.

    start at the prior's mean and at proposed latents -> descent on the beta-ELBO, samples ever nearer to rounding
    -> weights rounded as finely as pays -> latents rounded -> messages

Weights move in units of the prior's standard deviations, and what they take under the prior counts. Where bits are
wanted, lambda follows while the fit goes on, along the usual slope, and a few more steps correct what is left. What
they leave, a search on the coded length does: along the line between two states of the fit, one above and one below.
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
from inrcodec.codecs.grids.coder import encode_grids
from inrcodec.codecs.grids.config import MAX_LATENT, WEIGHT_BITS, GridsConfig
from inrcodec.codecs.grids.elbo import grid_bits, grid_errors, grid_features, sample
from inrcodec.codecs.grids.plane_messages import weights_message
from inrcodec.codecs.grids.prior import FINENESSES, GridsPrior
from inrcodec.errors import FormatError, LimitError

IntArray = NDArray[np.int64]

LATENT_RATE, LATENT_GAIN = 0.01, 16.0
"""Learning rate of latents, and their unit in steps."""
WEIGHT_RATE, PRIOR_WEIGHT_RATE = 0.01, 0.05
"""Learning rates of weights that are free, and of those under a prior, in its standard deviations."""
LAST_RATE = 0.02
"""The learning rate at the end, as a fraction of the first."""
TEMPERATURES, NOISES = (0.3, 0.1), (1.5, 1.001)
"""First and last temperature of soft rounding, first and last parameter of Kumaraswamy's distribution."""
MAX_GRADIENT = 0.1
"""Norm, of the mean squared error's gradient plus beta times that of bits per point, that steps are clipped to."""
CONTROL_AT = (0.25, 0.4, 0.55, 0.65, 0.75, 0.83, 0.9, 0.96)
"""Parts of a fit after which lambda is moved towards the wanted bits."""
STILL_TO_FALL = 0.3
"""Bits of a fit at one lambda are 1 + 0.3 (1 - progress)^2 times those at its end, about."""
CODED_FROM = 0.75
MAX_MOVE, FARTHEST = 0.5, 1.0
"""Largest single move of log(lambda) in a fit, and how far corrections after it may go."""
GUESSES, MIN_MOVE = 6, 0.03
"""How often proposals are asked for a first lambda."""
SLOPE = 0.62
"""d log(bits) / d log(lambda) of photographs, about."""
TOLERANCE = 0.01
MIN_CORRECTION = 0.002
"""Smallest correction of log(lambda); smaller ones do not change the bits reliably."""
MIN_SLOPE = 0.1
DEFAULT_CORRECTIONS, MAX_CORRECTIONS, CORRECTION_SHARE, CORRECTION_FROM = 4, 8, 0.08, 0.5
"""How often a fit goes on for a wanted rate, and at most while that is on one side of it; for which share of its steps,
and from where in its course."""
FAR = 0.1
"""Distance in log(bits) beyond which, after the usual corrections, a new fit is worth more than another correction."""
MAX_DIVISIONS = 16
"""How often the interval between two places of a fit is divided at most."""
MAX_FITS, MIN_RESTART = 4, 0.2
"""How many fits a wanted rate takes at most, and how far apart in log(lambda) they begin at least."""
WORD_BITS = 32
"""What the length of a message of latents is a multiple of."""
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
        # Approximate bits of weights at the prior's mean: a Gaussian's density at 0, times the step, as a probability.
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
        """Fit planes and code them, at a ``log_lambda`` or for ``bits`` of all messages together.

        The coded length is at most ``bits`` and within 2 % of them, or within about a word of a message where that is
        more. Where the prior's qualities do not reach so far, it is the nearest that a bounded number of steps reaches.

        Returns:
            The quality, and the messages of every plane.
        """
        if log_lambda is not None:
            search = _RateSearch(self, problems, self.prior.quality_of(log_lambda), None)
            search.fit(log_lambda)
            return search.quality, search.coded
        assert bits is not None
        low, high = self.prior.config.log_lambdas
        log_lambda, slope = self._log_lambda_for(problems, bits), SLOPE
        best: tuple[int, list[CodedGrids]] | None = None
        tried: list[int] = []
        move, before = 0.0, 0.0
        while len(tried) < MAX_FITS and (quality := self.prior.quality_of(log_lambda)) not in tried:
            tried.append(quality)
            search = _RateSearch(self, problems, quality, bits)
            search.fit(log_lambda)
            coded = search.corrected()
            if best is None or _miss(coded, bits) < _miss(best[1], bits):
                best = quality, coded
            if search.enclosed or _near(coded, bits):
                break
            # This fit began too far from the wanted bits for its steps: another one begins nearer to them, and ever
            # farther from it while that is not enough.
            excess = math.log(_bits(coded) / bits)
            if move:
                slope = min(max((excess - before) / move, 0.5 * SLOPE), 2.0 * SLOPE)
            least = max(MIN_RESTART, 2.0 * abs(move) if before * excess > 0.0 else 0.0)
            move, before = -math.copysign(max(abs(excess) / slope, least), excess), excess
            log_lambda = min(max(log_lambda + move, low), high)
        assert best is not None
        return best

    def fits(self, problems: Sequence[GridProblem], quality: int) -> list[GridFit]:
        """Return fits of planes that begin at what the prior proposes at a quality."""
        prior = self.prior
        start = torch.from_numpy(prior.mean_at(quality)).float() / (1 << WEIGHT_BITS)
        deviation, proposal = prior.deviation_at(quality), prior.proposal_at(quality)
        step = torch.from_numpy(2.0 ** (prior.steps(0) - WEIGHT_BITS)).float()
        with torch.no_grad():
            return [GridFit(prior.config, p, start, deviation, proposal(p.values), step) for p in problems]

    @torch.no_grad()
    def _log_lambda_for(self, problems: Sequence[GridProblem], bits: float) -> float:
        """Where what is proposed, rounded, takes about ``bits``; starts where training images took them."""
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

    def coded(self, fit: GridFit, quality: int, log_lambda: float, fineness: int | None = None) -> CodedGrids:
        """Round weights as finely as costs least, or to a ``fineness``, and code everything."""
        wanted = fit.weights.detach().double().numpy() * (1 << WEIGHT_BITS) - self.prior.mean_at(quality)
        found: dict[int, tuple[float, IntArray, bytes]] = {}

        def cost(fineness: int) -> float:
            if fineness not in FINENESSES:
                return math.inf
            if fineness not in found:
                numbers = np.rint(wanted / (1 << self.prior.steps(fineness))).astype(np.int64)
                message = weights_message(self.prior, quality, fineness, numbers)
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


@dataclass(frozen=True)
class _Place:
    """Messages, with the latents and weights of every plane that they are of."""

    coded: list[CodedGrids]
    values: list[list[Tensor]]


class _RateSearch:
    """A fit of planes at one quality, to a lambda or to ``bits``, that goes on once the length of messages is known.

    Attributes:
        coded: Messages of the planes as they are now.
        log_lambda: The last one that the fit went on at.
        enclosed: Whether messages on both sides of the wanted bits were found, so that nothing is left to be searched.
    """

    def __init__(self, encoder: GridEncoder, problems: Sequence[GridProblem], quality: int, bits: float | None) -> None:
        self.encoder, self.quality, self.bits = encoder, quality, bits
        self.fits = encoder.fits(problems, quality)
        self.coded: list[CodedGrids] = []
        self.log_lambda = 0.0
        self.enclosed = False

    def fit(self, log_lambda: float) -> None:
        """Take all steps of the fit and code its planes; lambda follows where bits are wanted."""
        steps, bits = self.encoder.steps, self.bits
        excess, looks = None, [round(steps * part) for part in CONTROL_AT]
        for step in range(steps):
            if bits is not None and step in looks:
                expected = sum(fit.bits() for fit in self.fits) / (1.0 + STILL_TO_FALL * (1.0 - step / steps) ** 2)
                if step >= CODED_FROM * steps:
                    # What messages take beyond the estimate, rounding of weights above all, is learned once.
                    if excess is None:
                        excess = _bits(self._code(log_lambda)) / expected
                    expected *= excess
                move = math.log(bits * (1.0 - TOLERANCE) / expected) / SLOPE
                log_lambda += min(max(move, -MAX_MOVE), MAX_MOVE)
            self._step(step / steps, log_lambda)
        self.log_lambda = log_lambda
        self.coded = self._code(log_lambda)

    def corrected(self) -> list[CodedGrids]:
        """Go on at other lambdas while messages are not near enough; return those nearest below the wanted bits.

        What a correction does to the length differs between signals and, in the last bits of floating point and all
        that follows from them, between processors. So nothing is left to it alone: when there are messages on both
        sides of the wanted bits, `_between` finds some that meet them.
        """
        assert self.bits is not None
        bits, slope, first = self.bits, SLOPE, self.log_lambda
        count = max(8, round(self.encoder.steps * CORRECTION_SHARE))
        below: _Place | None = None
        above: _Place | None = None
        for number in range(MAX_CORRECTIONS + 1):
            if _near(self.coded, bits):
                return self.coded
            before, old = _bits(self.coded), self.log_lambda
            if before > bits and (above is None or before < _bits(above.coded)):
                above = self._place()
            elif before <= bits and (below is None or before > _bits(below.coded)):
                below = self._place()
            enough = (below is not None and above is not None) or abs(math.log(before / bits)) > FAR
            if number == MAX_CORRECTIONS or (number >= DEFAULT_CORRECTIONS and enough):
                break
            wanted = old + math.log(bits * (1.0 - TOLERANCE) / before) / slope
            self.log_lambda = min(max(wanted, first - FARTHEST), first + FARTHEST)
            for part in np.linspace(CORRECTION_FROM, 1.0, count).tolist():
                self._step(part, self.log_lambda)
            self.coded = self._code(self.log_lambda, self.coded)
            # Where lambda is at its bound the fit still goes on, and its bits with it: not for lambda's sake.
            if abs(self.log_lambda - old) >= MIN_CORRECTION:
                slope = math.log(_bits(self.coded) / before) / (self.log_lambda - old)
                slope = min(max(slope, MIN_SLOPE), 2 * SLOPE)
        if below is not None and above is not None:
            self.enclosed = True
            return self._between(below, above)
        nearest = below or above
        assert nearest is not None
        return nearest.coded

    def _between(self, below: _Place, above: _Place) -> list[CodedGrids]:
        """Messages nearest below the wanted bits of latents and weights on the line between two places.

        The places are those of one fit, a few steps apart, so that what lies between them describes the planes as well.
        Along the line one number after the other is rounded to its neighbour, by which the length changes little: the
        interval about the wanted bits shrinks, by the rule of false position, until its lower end is near enough.
        """
        assert self.bits is not None
        for _ in range(MAX_DIVISIONS):
            least, most = _bits(below.coded), _bits(above.coded)
            if _near(below.coded, self.bits) or most - least < WORD_BITS:
                break
            # Away from both ends, so that the interval shrinks whatever lies between them.
            share = min(max((self.bits * (1.0 - TOLERANCE) - least) / (most - least), 0.1), 0.9)
            self._go_to(below, above, share)
            self.coded = self._code(self.log_lambda, below.coded)
            if _bits(self.coded) > self.bits:
                above = self._place()
            else:
                below = self._place()
        return below.coded

    @torch.no_grad()
    def _go_to(self, first: _Place, second: _Place, share: float) -> None:
        for fit, start, end in zip(self.fits, first.values, second.values, strict=True):
            for value, a, b in zip([*fit.latents, fit.moved], start, end, strict=True):
                value.copy_(torch.lerp(a, b, share))

    def _place(self) -> _Place:
        return _Place(self.coded, [[v.detach().clone() for v in (*fit.latents, fit.moved)] for fit in self.fits])

    def _step(self, part: float, log_lambda: float) -> None:
        for fit in self.fits:
            fit.step(part, log_lambda)
            self.encoder.tick(1)

    def _code(self, log_lambda: float, before: Sequence[CodedGrids] = ()) -> list[CodedGrids]:
        """Messages of the planes as they are now, their weights as fine as those of others of the same fit."""
        code = self.encoder.coded
        if not before:
            return [code(fit, self.quality, log_lambda) for fit in self.fits]
        return [code(f, self.quality, log_lambda, b.fineness) for f, b in zip(self.fits, before, strict=True)]


def _near(coded: Sequence[CodedGrids], bits: float) -> bool:
    """Return whether messages take at most ``bits``, and as nearly as is asked or as words of messages allow."""
    return 0.0 <= bits - _bits(coded) <= max(2 * TOLERANCE * bits, WORD_BITS)


def _miss(coded: Sequence[CodedGrids], bits: float) -> tuple[bool, float]:
    """Return what orders messages: those below ``bits`` before those above, then the nearer ones first."""
    return _bits(coded) > bits, abs(_bits(coded) - bits)


def _bits(coded: Sequence[CodedGrids]) -> float:
    """With the byte of fineness and two of length that every plane has."""
    return 8.0 * sum(len(plane.weights) + len(plane.latents) + 3 for plane in coded)
