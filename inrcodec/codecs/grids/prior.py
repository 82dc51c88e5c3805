"""A learned prior of latent grids: Gaussians over the weights of their two networks, by log(lambda), in integers.

A file sends each weight as an integer number of steps from the prior's mean. Steps are powers of two, one for each
tensor, all finer or coarser by the file's *fineness*. Everything is in units of 2^-16, so that sender and receiver
have the same integers, and so the same context network, on every machine.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec.codecs.grids.config import WEIGHT_BITS, GridsConfig
from inrcodec.codecs.prior_file import ExactPriorFile
from inrcodec.coding.gaussian import N_SCALES, scale_values
from inrcodec.errors import FormatError
from inrcodec.nn.exact import between_anchors

if TYPE_CHECKING:
    from inrcodec.codecs.grids.coder import ContextNetwork
from torch import nn
from torch.nn import functional

FORMAT = "inrcodec-grids-1"
QUALITY_BITS = 8
"""Qualities are places in the tables in units of 2^-8 anchors."""
SPREAD_BITS = 10
FINENESSES = range(-4, 5)
"""Powers of two that a file's steps may be finer than the prior's."""
MAX_WEIGHT = 1 << 26
MAX_STEP_BITS = WEIGHT_BITS + 4

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class GridsPrior(ExactPriorFile):
    """A prior of latent grids; see the module's text. A is the number of anchors, n that of weights.

    Attributes:
        config: shapes of grids and networks.
        mean: means of the weights, (A, n), in units of 2^-16.
        spread: standard deviations, (A, n), each as its place, in units of 2^-10, among the scales of
            ``coding.gaussian`` where a scale of 1 is 2^-16.
        step_bits: log2 of the step of every tensor, in units of 2^-16.
        bits: bits per point that crops took in training, fitted, (A,).
        proposed_bits: bits per point that crops took in training, proposed, (A,).
        proposals: parameters of ``GridProposal``, (A, ...) each, for the encoder alone.
    """

    config: GridsConfig
    mean: Tensor
    spread: Tensor
    step_bits: dict[str, int]
    bits: tuple[float, ...]
    proposed_bits: tuple[float, ...]
    proposals: dict[str, Tensor]

    format = FORMAT
    kind = "image"
    axes: ClassVar[int] = 2

    @classmethod
    def make(
        cls,
        name: str,
        config: GridsConfig,
        mean: Tensor,
        deviation: Tensor,
        step_bits: dict[str, int],
        bits: tuple[float, ...],
        proposed_bits: tuple[float, ...],
        proposals: dict[str, Tensor],
        card: dict[str, Any],
    ) -> GridsPrior:
        """Return the prior of real means and standard deviations (A, n), as its file gives it."""
        integers = (mean.double() * (1 << WEIGHT_BITS)).round().to(torch.int64)
        scales = scale_values()
        per_place = (np.log(scales[-1]) - np.log(scales[0])) / (N_SCALES - 1)
        place = (deviation.double() * (1 << WEIGHT_BITS)).log().sub(float(np.log(scales[0]))) / per_place
        spread = (place * (1 << SPREAD_BITS)).round().to(torch.int64)
        prior = cls(name, config, integers, spread, step_bits, bits, proposed_bits, proposals, card=card)
        return prior.with_answer()

    @property
    def channels(self) -> int:
        """Return the number of channels that the prior models together."""
        return self.config.channels

    @property
    def max_quality(self) -> int:
        """Return the highest quality; the lowest is 0."""
        return (self.config.anchors - 1) << QUALITY_BITS

    def quality_of(self, log_lambda: float) -> int:
        """Return the quality nearest to ``log_lambda``."""
        low, high = self.config.log_lambdas
        return int(np.clip(round((log_lambda - low) / (high - low) * self.max_quality), 0, self.max_quality))

    def log_lambda_of(self, quality: int) -> float:
        """Return the log(lambda) of a quality."""
        low, high = self.config.log_lambdas
        return low + (high - low) * quality / self.max_quality

    def mean_at(self, quality: int) -> IntArray:
        """Return the means (n,) at a quality, in units of 2^-16."""
        return between_anchors(self.mean, quality, QUALITY_BITS).numpy()

    def deviation_at(self, quality: int) -> Tensor:
        """Return the standard deviations (n,) at a quality."""
        place = between_anchors(self.spread, quality, QUALITY_BITS).double().numpy() / (1 << SPREAD_BITS)
        scales = np.log(scale_values())
        deviation = np.exp(scales[0] + place * (scales[-1] - scales[0]) / (N_SCALES - 1)) / (1 << WEIGHT_BITS)
        return torch.from_numpy(deviation).float()

    def steps(self, fineness: int) -> IntArray:
        """Return log2 of the steps (n,), in units of 2^-16, at a fineness."""
        return np.maximum(self._step_bits - fineness, 0)

    @cached_property
    def _step_bits(self) -> IntArray:
        out = np.zeros(self.config.n_weights, np.int64)
        for name, place in self.config.places.items():
            out[place] = self.step_bits[name]
        return out

    def scale_indices(self, quality: int, fineness: int) -> IntArray:
        """Return the scale of every weight's number of steps (n,), among the scales of ``coding.gaussian``."""
        place = between_anchors(self.spread, quality, QUALITY_BITS).numpy()
        # An octave is log(2) / log(256 / 0.05) * 63 = 5.11286 scales.
        shifted = place - self.steps(fineness) * 5236
        result: IntArray = np.clip((shifted + (1 << (SPREAD_BITS - 1))) >> SPREAD_BITS, 0, N_SCALES - 1)
        return result

    def weights(self, quality: int, fineness: int, numbers: IntArray) -> IntArray:
        """Return weights (n,), in units of 2^-16, that lie ``numbers`` of steps from the mean.

        Raises:
            FormatError: a weight is out of range.
        """
        found = self.mean_at(quality) + (numbers << self.steps(fineness))
        if int(np.abs(found).max()) >= MAX_WEIGHT:
            raise FormatError("a weight of a latent grid's networks is out of range")
        return found

    def proposal_at(self, quality: int) -> GridProposal:
        """Return the network that proposes latents at a quality."""
        anchor = min(quality >> QUALITY_BITS, self.config.anchors - 2)
        part = quality / (1 << QUALITY_BITS) - anchor
        found = {key: torch.lerp(value[anchor], value[anchor + 1], part) for key, value in self.proposals.items()}
        network = GridProposal(self.config.grids, self.config.channels)
        network.load_state_dict(found)
        return network.requires_grad_(False)

    def context_network(self, weights: IntArray) -> ContextNetwork:
        """Return the context network of these weights.

        Raises:
            FormatError: its sums would not be exact.
        """
        return _network(self.config, weights)

    def _head(self) -> dict[str, Any]:
        return {
            "config": self.config.to_dict(),
            "step_bits": self.step_bits,
            "bits": list(self.bits),
            "proposed_bits": list(self.proposed_bits),
        }

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {"mean": self.mean.to(torch.int32), "spread": self.spread.to(torch.int32)}
        tensors.update({f"proposal.{key}": value.half() for key, value in self.proposals.items()})
        return tensors

    @classmethod
    def _read(cls, head: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
        config = GridsConfig.from_dict(head["config"])
        return {
            "config": config,
            "mean": tensors["mean"].to(torch.int64),
            "spread": tensors["spread"].to(torch.int64),
            "step_bits": {key: head["step_bits"][key] for key in config.shapes},
            "bits": tuple(map(float, head["bits"])),
            "proposed_bits": tuple(map(float, head["proposed_bits"])),
            "proposals": {
                k.removeprefix("proposal."): v.float() for k, v in tensors.items() if k.startswith("proposal.")
            },
        }

    def _check(self, source: str) -> None:
        anchors = self.config.anchors
        with torch.device("meta"):
            proposal = GridProposal(self.config.grids, self.config.channels).state_dict()
        expected = {k: (anchors, *v.shape) for k, v in proposal.items()}
        shapes = {k: tuple(v.shape) for k, v in self.proposals.items()}
        if shapes != expected or not all(torch.isfinite(value).all() for value in self.proposals.values()):
            raise FormatError(f"{source}: the proposals do not fit their description")
        shape = (anchors, self.config.n_weights)
        tables_fit = tuple(self.mean.shape) == shape and tuple(self.spread.shape) == shape
        if not tables_fit or {len(self.bits), len(self.proposed_bits)} != {anchors}:
            raise FormatError(f"{source}: the tables do not fit their description")
        fine = all(isinstance(step, int) and 0 <= step <= MAX_STEP_BITS for step in self.step_bits.values())
        rising = all(0.0 < a < b < 1e3 for row in (self.bits, self.proposed_bits) for a, b in itertools.pairwise(row))
        if not fine or not rising or self.mean.abs().max() >= MAX_WEIGHT or self.spread.abs().max() >= 1 << 20:
            raise FormatError(f"{source}: means, spreads, steps or bits are out of range")

    def _computed_answer(self) -> str:
        return _answer(self.config, self.mean)


def _network(config: GridsConfig, weights: IntArray) -> ContextNetwork:
    from inrcodec.codecs.grids.coder import ContextNetwork

    names = [name for name in config.shapes if name.startswith("context.")]
    return ContextNetwork(*(weights[config.places[name]].reshape(config.shapes[name]) for name in names))


def _answer(config: GridsConfig, mean: Tensor) -> str:
    """Return a hash of the message of made-up grids under the means of every anchor."""
    from inrcodec.codecs.grids.coder import encode_grids

    seen = hashlib.sha256()
    for row in mean.numpy():
        grids = []
        for number in range(3):
            size = 4 << number
            made = (np.arange(size * size, dtype=np.int64) * 2654435761 >> 7) % 7 - 3
            grids.append(made.reshape(size, size))
        seen.update(encode_grids(grids, _network(config, row)))
    return seen.hexdigest()


PROPOSAL_WIDTH = 24


class GridProposal(nn.Module):
    """Proposes latents, one per place of every grid, for values (C, H, W) of sizes divisible by the coarsest stride."""

    def __init__(self, grids: int, channels: int) -> None:
        super().__init__()
        self.centre = 0.5
        self.networks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(2 * channels, PROPOSAL_WIDTH, 3, padding=1, padding_mode="replicate"),
                nn.ReLU(),
                nn.Conv2d(PROPOSAL_WIDTH, PROPOSAL_WIDTH, 3, padding=1, padding_mode="replicate"),
                nn.ReLU(),
                nn.Conv2d(PROPOSAL_WIDTH, 1, 1),
            )
            for _ in range(grids)
        )

    def forward(self, values: Tensor) -> list[Tensor]:
        """Return the grids, finest first, in steps."""
        here, out = values[None] - self.centre, []
        for number, network in enumerate(self.networks):
            last = number == len(self.networks) - 1
            coarser = functional.avg_pool2d(here, 2) if not last else torch.zeros_like(here[:, :, :1, :1])
            above = functional.interpolate(coarser, size=here.shape[2:], mode="bilinear", align_corners=False)
            out.append(network(torch.cat([here, here - above], dim=1))[0, 0] * 8.0)
            here = coarser
        return out
