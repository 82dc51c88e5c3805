"""The codec parameters of a coin file and their bytes: size of the network, fineness of its weights, gain."""

from __future__ import annotations

from dataclasses import dataclass

from inrcodec.codecs.coin.weights import FLOAT16
from inrcodec.codecs.planes import has_alpha
from inrcodec.coding.bits import read_varint, write_varint
from inrcodec.errors import FormatError
from inrcodec.nn.siren import SirenShape
from inrcodec.signals.header import SignalHeader

MIN_WIDTH, MAX_WIDTH, MAX_LAYERS = 2, 512, 32
"""Limits on the width and the number of hidden layers."""


@dataclass(frozen=True)
class Parameters:
    """The codec parameters, shared by all signals of a file.

    Attributes:
        width: units of each hidden layer.
        layers: number of hidden layers.
        fineness: fineness of the quantised weights, see ``weights.py``.
        level: gain in quarters of an octave. Values are a centre plus 2^(level / 4) times the output of the network,
            see ``value_range``.
    """

    width: int
    layers: int
    fineness: int
    level: int

    def shape(self, header: SignalHeader) -> SirenShape:
        """Return the shape of the network of a signal."""
        return SirenShape((len(header.shape), *[self.width] * self.layers, signal_channels(header)))


def write_parameters(parameters: Parameters) -> bytes:
    """Return parameters as bytes, the inverse of ``read_parameters``."""
    return (
        write_varint(parameters.width)
        + bytes([parameters.layers])
        + write_varint(parameters.fineness)
        + parameters.level.to_bytes(1, "little", signed=True)
    )


def read_parameters(data: bytes) -> tuple[Parameters, int]:
    """Return the parameters and the position of the first byte after them.

    Raises:
        FormatError: the parameters are truncated or out of range.
    """
    width, position = read_varint(data, 0)
    if position >= len(data):
        raise FormatError("the codec parameters are truncated")
    layers = data[position]
    fineness, position = read_varint(data, position + 1)
    if position >= len(data):
        raise FormatError("the codec parameters are truncated")
    if not (MIN_WIDTH <= width <= MAX_WIDTH and 1 <= layers <= MAX_LAYERS and fineness <= FLOAT16):
        raise FormatError(f"network out of range: {layers} hidden layers of {width} units, fineness {fineness}")
    level = int.from_bytes(data[position : position + 1], "little", signed=True)
    return Parameters(width, layers, fineness, level), position + 1


def signal_channels(header: SignalHeader) -> int:
    """Return the number of channels without alpha."""
    return header.channels - has_alpha(header)


def value_range(header: SignalHeader, level: int) -> tuple[float, float]:
    """Return the centre of the values and the factor of the network's output."""
    return (0.0, float(2.0 ** (level / 4.0))) if header.kind == "audio" else (0.5, 0.5 * float(2.0 ** (level / 4.0)))
