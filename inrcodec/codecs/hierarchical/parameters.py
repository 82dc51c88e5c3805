"""What a file of the hierarchical codec says beside its bodies, as bytes.

One varint: quality, coder and whether planes have head weights; for audio the level, for fields how often the grid is
halved, in one byte each.
"""

from __future__ import annotations

from dataclasses import dataclass

from inrcodec.codecs.hierarchical.exact import max_quality
from inrcodec.codecs.hierarchical.latent_coders import CODERS
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
from inrcodec.codecs.loudness import has_level
from inrcodec.coding.bits import read_varint, write_varint
from inrcodec.errors import FormatError

MAX_HALVINGS = 5


@dataclass(frozen=True)
class Parameters:
    """The shared part of a file.

    Attributes:
        quality: place in the prior's table of rates, in 1/256 anchor.
        coder: how latents are sent, one of ``CODERS``.
        weights: whether every plane has a message of head weights.
        level: gain of audio in quarters of an octave.
        halvings: how often the grid of a field is halved.
    """

    quality: int
    coder: str
    weights: bool
    level: int = 0
    halvings: int = 0


def has_halvings(prior: HierarchicalPrior) -> bool:
    """Return whether files under a prior say how coarse the grid is on which the signal is described."""
    return prior.kind == "field"


def max_parameter_bytes(prior: HierarchicalPrior) -> int:
    """Return the largest number of bytes that parameters take."""
    largest = (max_quality(prior.config) + 1) * 2 * len(CODERS)
    return len(write_varint(largest)) + has_level(prior) + has_halvings(prior)


def write_parameters(prior: HierarchicalPrior, parameters: Parameters) -> bytes:
    """Return parameters as bytes, the inverse of ``read_parameters``."""
    number = parameters.quality * len(CODERS) + CODERS.index(parameters.coder)
    out = write_varint(2 * number + parameters.weights)
    if has_level(prior):
        out += parameters.level.to_bytes(1, "little", signed=True)
    return out + bytes([parameters.halvings]) if has_halvings(prior) else out


def read_parameters(prior: HierarchicalPrior, data: bytes) -> tuple[Parameters, int]:
    """Return parameters and the position behind them.

    Raises:
        FormatError: the parameters are truncated or out of range.
    """
    number, position = read_varint(data, 0)
    quality, coder = divmod(number // 2, len(CODERS))
    if quality > max_quality(prior.config):
        raise FormatError(f"quality {quality} is out of range for prior {prior.name!r}")
    level = halvings = 0
    if has_level(prior) or has_halvings(prior):
        if position >= len(data):
            raise FormatError("the codec parameters are truncated")
        if has_level(prior):
            level = int.from_bytes(data[position : position + 1], "little", signed=True)
        else:
            halvings = data[position]
        position += 1
    if halvings > MAX_HALVINGS:
        raise FormatError(f"a grid halved {halvings} times is out of range, at most {MAX_HALVINGS} are possible")
    return Parameters(quality, CODERS[coder], bool(number % 2), level, halvings), position
