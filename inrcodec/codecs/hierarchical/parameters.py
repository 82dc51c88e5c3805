"""The codec parameters of a hierarchical file, and their bytes.

One varint holds the quality, the coder and whether planes have head weights. One byte follows for audio (the gain) and
for fields (how often the grid is halved).
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
"""Grids are halved at most this often."""


@dataclass(frozen=True)
class Parameters:
    """The codec parameters, shared by all signals of a file.

    Attributes:
        quality: position in the prior's table of rate anchors, in units of 1/256 anchor.
        coder: how latents are sent, one of ``CODERS``.
        weights: whether every plane has a message of head weights.
        level: gain of audio, in quarters of an octave.
        halvings: how often the grid of a field is halved.
    """

    quality: int
    coder: str
    weights: bool
    level: int = 0
    halvings: int = 0


def has_halvings(prior: HierarchicalPrior) -> bool:
    """Return whether files under a prior store how often the grid is halved."""
    return prior.kind == "field"


def max_parameter_bytes(prior: HierarchicalPrior) -> int:
    """Return the max size of the parameters in bytes."""
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
    """Return the parameters and the position of the first byte after them.

    Raises:
        FormatError: the parameters are truncated or out of range.
    """
    number, position = read_varint(data, 0)
    quality, coder = divmod(number // 2, len(CODERS))
    if quality > max_quality(prior.config):
        raise FormatError(
            f"quality {quality} is out of range for prior {prior.name!r}, expected at most {max_quality(prior.config)}"
        )
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
        raise FormatError(f"the grid is halved {halvings} times, expected at most {MAX_HALVINGS} times")
    return Parameters(quality, CODERS[coder], bool(number % 2), level, halvings), position
