"""A learned prior of latent grids: Gaussians over the weights of their two networks, by log(lambda), in integers.

What a file sends of a weight is a whole number of steps from the prior's mean. Steps are powers of two, one for each
tensor, all finer or coarser by the file's *fineness*. Everything is in units of 2^-16, so that sender and receiver
have the same integers, and with them the same context network, on every machine.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec.codecs.grids.config import WEIGHT_BITS, GridsConfig
from inrcodec.codecs.prior_file import check_known_answer, read_prior_bytes, telling_what_is_missing, write_prior_bytes
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
class GridsPrior:
    """See the module's text.

    ``mean`` (A, n) in units of 2^-16. ``spread`` (A, n): the places, in units of 2^-10, of standard deviations of one
    unit of 2^-16 times what they are, among the scales of ``coding.gaussian``; ``step_bits`` by tensor: log2 of
    the step in units of 2^-16. ``bits``, ``proposed_bits`` (A,): bits per point that crops took in
    training, fitted and proposed. ``proposals``: parameters of ``GridProposal``, (A, ...) each, for the sender alone.
    """

    name: str
    config: GridsConfig
    mean: Tensor
    spread: Tensor
    step_bits: dict[str, int]
    bits: tuple[float, ...]
    proposed_bits: tuple[float, ...]
    proposals: dict[str, Tensor]
    known_answer: str
    card: dict[str, Any] = field(default_factory=dict)
    id: bytes = b"\0" * 8

    kind = "image"
    format: ClassVar[str] = FORMAT
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
        """From real means and standard deviations (A, n), as its file will be read back."""
        whole = (mean.double() * (1 << WEIGHT_BITS)).round().to(torch.int64)
        scales = scale_values()
        per_place = (np.log(scales[-1]) - np.log(scales[0])) / (N_SCALES - 1)
        place = (deviation.double() * (1 << WEIGHT_BITS)).log().sub(float(np.log(scales[0]))) / per_place
        spread = (place * (1 << SPREAD_BITS)).round().to(torch.int64)
        answer = _answer(config, whole)
        made = cls(name, config, whole, spread, step_bits, bits, proposed_bits, proposals, answer, card)
        return cls.from_bytes(made.to_bytes(), name)

    @property
    def channels(self) -> int:
        """Channels of the signals that it describes."""
        return self.config.channels

    @property
    def max_quality(self) -> int:
        """Qualities are 0 to this."""
        return (self.config.anchors - 1) << QUALITY_BITS

    def quality_of(self, log_lambda: float) -> int:
        """The nearest quality."""
        low, high = self.config.log_lambdas
        return int(np.clip(round((log_lambda - low) / (high - low) * self.max_quality), 0, self.max_quality))

    def log_lambda_of(self, quality: int) -> float:
        """Inverse of ``quality_of``."""
        low, high = self.config.log_lambdas
        return low + (high - low) * quality / self.max_quality

    def mean_at(self, quality: int) -> IntArray:
        """Means (n,) at a quality, in units of 2^-16."""
        return between_anchors(self.mean, quality, QUALITY_BITS).numpy()

    def deviation_at(self, quality: int) -> Tensor:
        """Standard deviations (n,) at a quality."""
        place = between_anchors(self.spread, quality, QUALITY_BITS).double().numpy() / (1 << SPREAD_BITS)
        scales = np.log(scale_values())
        deviation = np.exp(scales[0] + place * (scales[-1] - scales[0]) / (N_SCALES - 1)) / (1 << WEIGHT_BITS)
        return torch.from_numpy(deviation).float()

    def steps(self, fineness: int) -> IntArray:
        """Log2 of the steps (n,) in units of 2^-16 at a fineness."""
        return np.maximum(self._step_bits - fineness, 0)

    @cached_property
    def _step_bits(self) -> IntArray:
        out = np.zeros(self.config.n_weights, np.int64)
        for name, place in self.config.places.items():
            out[place] = self.step_bits[name]
        return out

    def scale_indices(self, quality: int, fineness: int) -> IntArray:
        """Of every weight's number of steps (n,), the scale among those of ``coding.gaussian``."""
        place = between_anchors(self.spread, quality, QUALITY_BITS).numpy()
        # An octave is log(2) / log(256 / 0.05) * 63 = 5.11286 scales.
        shifted = place - self.steps(fineness) * 5236
        return np.clip((shifted + (1 << (SPREAD_BITS - 1))) >> SPREAD_BITS, 0, N_SCALES - 1)

    def weights(self, quality: int, fineness: int, numbers: IntArray) -> IntArray:
        """Weights (n,) in units of 2^-16 that lie ``numbers`` of steps from the mean; FormatError when too large."""
        found = self.mean_at(quality) + (numbers << self.steps(fineness))
        if int(np.abs(found).max()) >= MAX_WEIGHT:
            raise FormatError("a weight of a latent grid's networks is out of range")
        return found

    def proposal_at(self, quality: int) -> GridProposal:
        """The network that proposes latents at a quality."""
        anchor = min(quality >> QUALITY_BITS, self.config.anchors - 2)
        part = quality / (1 << QUALITY_BITS) - anchor
        found = {key: torch.lerp(value[anchor], value[anchor + 1], part) for key, value in self.proposals.items()}
        network = GridProposal(self.config.grids, self.config.channels)
        network.load_state_dict(found)
        return network.requires_grad_(False)

    def context_network(self, weights: IntArray) -> ContextNetwork:
        """The context network of these weights; FormatError when its sums would not be exact."""
        return _network(self.config, weights)

    def to_bytes(self) -> bytes:
        """The file."""
        head = {
            "format": FORMAT,
            "name": self.name,
            "config": self.config.to_dict(),
            "step_bits": self.step_bits,
            "bits": list(self.bits),
            "proposed_bits": list(self.proposed_bits),
            "known_answer": self.known_answer,
            "card": self.card,
        }
        tensors = {"mean": self.mean.to(torch.int32), "spread": self.spread.to(torch.int32)}
        tensors.update({f"proposal.{key}": value.half().contiguous() for key, value in self.proposals.items()})
        return write_prior_bytes(head, tensors)

    @classmethod
    def from_bytes(cls, data: bytes, source: str = "prior") -> GridsPrior:
        """Read a prior.

        Raises:
            FormatError: damaged, incomplete, or made of values that cannot be.
            PriorError: this machine computes the integer network otherwise than the one that wrote the file.
        """
        head, tensors = read_prior_bytes(data, source, FORMAT)
        with telling_what_is_missing(source):
            config = GridsConfig.from_dict(head["config"])
            name, card, answer = str(head["name"]), dict(head["card"]), str(head["known_answer"])
            mean, spread = tensors["mean"].to(torch.int64), tensors["spread"].to(torch.int64)
            steps = {key: head["step_bits"][key] for key in config.shapes}
            bits, proposed = (tuple(map(float, head[key])) for key in ("bits", "proposed_bits"))
        proposals = {k.removeprefix("proposal."): v.float() for k, v in tensors.items() if k.startswith("proposal.")}
        with torch.device("meta"):
            expected = GridProposal(config.grids, config.channels).state_dict()
        if {k: tuple(v.shape) for k, v in proposals.items()} != {
            k: (config.anchors, *v.shape) for k, v in expected.items()
        } or not all(torch.isfinite(value).all() for value in proposals.values()):
            raise FormatError(f"{source}: the proposals do not fit their description")
        shape = (config.anchors, config.n_weights)
        if tuple(mean.shape) != shape or tuple(spread.shape) != shape or {len(bits), len(proposed)} != {config.anchors}:
            raise FormatError(f"{source}: the tables do not fit their description")
        fine = all(isinstance(step, int) and 0 <= step <= MAX_STEP_BITS for step in steps.values())
        rising = all(0.0 < a < b < 1e3 for row in (bits, proposed) for a, b in itertools.pairwise(row))
        if not fine or not rising or mean.abs().max() >= MAX_WEIGHT or spread.abs().max() >= 1 << 20:
            raise FormatError(f"{source}: means, spreads, steps or bits are out of range")
        check_known_answer(_answer(config, mean), answer, source)
        return cls(
            name,
            config,
            mean,
            spread,
            steps,
            bits,
            proposed,
            proposals,
            answer,
            card,
            hashlib.sha256(data).digest()[:8],
        )


def _network(config: GridsConfig, weights: IntArray) -> ContextNetwork:
    from inrcodec.codecs.grids.coder import ContextNetwork

    names = [name for name in config.shapes if name.startswith("context.")]
    return ContextNetwork(*(weights[config.places[name]].reshape(config.shapes[name]) for name in names))


def _answer(config: GridsConfig, mean: Tensor) -> str:
    """Hash of the message of made-up grids under the means of every anchor."""
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
    """Latents (one value per place of every grid) for values (C, H, W), sizes multiples of the coarsest stride."""

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
        """The grids, finest first, in steps."""
        here, out = values[None] - self.centre, []
        for number, network in enumerate(self.networks):
            last = number == len(self.networks) - 1
            coarser = functional.avg_pool2d(here, 2) if not last else torch.zeros_like(here[:, :, :1, :1])
            above = functional.interpolate(coarser, size=here.shape[2:], mode="bilinear", align_corners=False)
            out.append(network(torch.cat([here, here - above], dim=1))[0, 0] * 8.0)
            here = coarser
        return out
