"""The two messages of a plane or tile: the weights of its networks, and its latents under the context network."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec.codecs.grids.coder import decode_grids
from inrcodec.codecs.grids.prior import GridsPrior
from inrcodec.coding.gaussian import GaussianReader, GaussianWriter

IntArray = NDArray[np.int64]


def weights_message(prior: GridsPrior, quality: int, fineness: int, numbers: IntArray) -> bytes:
    """Return the message of weights, (n,) in steps of their fineness; ``read_weights`` reads it."""
    writer = GaussianWriter()
    writer.write(numbers, prior.scale_indices(quality, fineness))
    return writer.to_bytes()


def read_weights(prior: GridsPrior, quality: int, fineness: int, message: bytes) -> IntArray:
    """Return weights (n,) in units of 2^-16; FormatError when the message is corrupt."""
    reader = GaussianReader(message, 1)
    numbers = reader.read(prior.scale_indices(quality, fineness))
    reader.finish()
    return prior.weights(quality, fineness, numbers)


def read_grids(prior: GridsPrior, weights: IntArray, message: bytes, shape: tuple[int, int]) -> list[Tensor]:
    """Return the grids of a plane of a padded shape, finest first; FormatError when the message is corrupt."""
    shapes = [(shape[0] >> i, shape[1] >> i) for i in reversed(range(prior.config.grids))]
    grids = decode_grids(message, shapes, prior.context_network(weights))
    return [torch.from_numpy(grid).float() for grid in reversed(grids)]
