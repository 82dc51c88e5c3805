"""Two coders for the residuals of latents behind one interface: rounding, and relative entropy coding in blocks.

A residual is a latent minus its prior mean, in posterior step sizes. Its prior is a Gaussian with mean 0 and one of the
64 scales of ``coding.gaussian``; its posterior has the variance of a uniform distribution over one step, 1/12. Both
sides know both.

- ``round``: residuals are rounded and coded by ANS under integer tables. (This is dithered quantisation with a dither
  of zero, which the models are trained for.)
- ``rec``: relative entropy coding. The latents of a block are sent as the index of one of 2^K shared candidates drawn
  from the prior (``coding.relative_entropy``). A shared seed permutes the latents. A block ends where the KL divergence
  predicted from the scales reaches the budget, and K follows from the prediction, so block boundaries are not sent.
  Candidates are rounded to 2^-8, so the last bits of floating-point arithmetic do not matter.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inrcodec.codecs.hierarchical.exact import RESIDUAL_BITS
from inrcodec.coding.bits import BitReader, BitWriter
from inrcodec.coding.gaussian import GaussianReader, GaussianWriter, scale_values
from inrcodec.coding.randomness import permutation
from inrcodec.coding.relative_entropy import Selection, decode_blocks, encode_blocks
from inrcodec.errors import UsageError

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float32]

CODERS = ("round", "rec")
"""The coders, in the order of their numbers in files."""

KL_UNITS_PER_BIT = 64
"""Predicted KL divergences are integers in units of 1/64 bit."""
BLOCK_BITS = 14
"""A block's candidate index has at most this many bits."""
TARGET_UNITS = (BLOCK_BITS - 2) * KL_UNITS_PER_BIT
"""A block is full at this predicted KL divergence."""
MAX_BLOCK_LATENTS = 64
"""A block holds at most about this many latents."""
PRUNE_UNITS = 2
"""Latents of a smaller predicted KL divergence are not sent: their residual is 0."""
SEED = 0x1AE5
"""Seed of the permutation and of the candidates; part of the file format."""
POSTERIOR_SCALE = math.sqrt(1.0 / 12.0)
"""Standard deviation of a posterior, in step sizes."""


class LatentWriter(Protocol):
    """Collects the message of one signal."""

    def send(self, residual: FloatArray, scales: IntArray) -> IntArray:
        """Append residuals to the message.

        Args:
            residual: (n,), in step sizes.
            scales: indices (n,) of the prior scales.

        Returns:
            The residuals (n,) that the receiver will decode, in units of 2^-8 step sizes.
        """
        ...

    def to_bytes(self) -> bytes:
        """Return the message."""
        ...


class LatentReader(Protocol):
    """Reads a message in the order in which it was written."""

    def receive(self, scales: IntArray) -> IntArray:
        """Return the next residuals (n,), in units of 2^-8 step sizes, under scale indices (n,)."""
        ...

    def finish(self) -> None:
        """Check that the whole message has been read.

        Raises:
            FormatError: the message has trailing bytes or is truncated.
        """
        ...


def make_writer(coder: str) -> LatentWriter:
    """Return a new writer.

    Raises:
        UsageError: ``coder`` is unknown.
    """
    check_coder(coder)
    return RoundingWriter() if coder == "round" else BlockWriter()


def make_reader(coder: str, data: bytes, n_parts: int) -> LatentReader:
    """Return a reader of a message that took ``n_parts`` calls of ``LatentWriter.send`` to write."""
    return RoundingReader(data, n_parts) if coder == "round" else BlockReader(data)


def check_coder(coder: str) -> None:
    """Check that a coder exists.

    Raises:
        UsageError: it does not.
    """
    if coder not in CODERS:
        raise UsageError(f"coder must be one of {', '.join(CODERS)}, got {coder!r}")


class RoundingWriter:
    """Writes latents with coder ``round``."""

    def __init__(self) -> None:
        self._coder = GaussianWriter()

    def send(self, residual: FloatArray, scales: IntArray) -> IntArray:
        """See ``LatentWriter``."""
        symbols = np.rint(residual).astype(np.int64)
        self._coder.write(symbols, scales)
        return symbols << RESIDUAL_BITS

    def to_bytes(self) -> bytes:
        """See ``LatentWriter``."""
        return self._coder.to_bytes()


class RoundingReader:
    """Reads what ``RoundingWriter`` wrote."""

    def __init__(self, data: bytes, n_parts: int) -> None:
        self._coder = GaussianReader(data, n_parts)

    def receive(self, scales: IntArray) -> IntArray:
        """See ``LatentReader``."""
        return self._coder.read(scales) << RESIDUAL_BITS

    def finish(self) -> None:
        """See ``LatentReader``."""
        self._coder.finish()


@cache
def _kl_units() -> IntArray:
    """Return, by scale index, the mean KL divergence of a latent whose residual follows the prior, in 1/64 bit."""
    ratio = np.maximum(scale_values() / POSTERIOR_SCALE, 1.0)
    result: IntArray = np.rint(KL_UNITS_PER_BIT * np.log2(ratio)).astype(np.int64)
    return result


@cache
def _scale_units() -> IntArray:
    return np.rint(scale_values() * (1 << RESIDUAL_BITS)).astype(np.int64)


class Blocks:
    """The division of latents into blocks, a function of the scales alone.

    Attributes:
        slots: indices (B, W) of the latents of each block, -1 where a block has fewer than W.
        bits: bits (B,) of each block's candidate index.
    """

    def __init__(self, scales: IntArray) -> None:
        units = _kl_units()[scales]
        order = permutation(SEED, 0, len(scales))
        kept = order[units[order] >= PRUNE_UNITS]
        weight = np.maximum(units[kept], TARGET_UNITS // MAX_BLOCK_LATENTS)
        block = (np.cumsum(weight) - weight) // TARGET_UNITS
        _, block, counts = np.unique(block, return_inverse=True, return_counts=True)
        first = np.cumsum(counts) - counts
        self.slots = np.full((len(counts), int(counts.max(initial=1))), -1, np.int64)
        self.slots[block, np.arange(len(kept)) - first[block]] = kept
        total = np.bincount(block, units[kept], len(counts)).astype(np.int64)
        self.bits = np.minimum(-(-total // KL_UNITS_PER_BIT), BLOCK_BITS)

    def groups(self) -> list[tuple[int, IntArray]]:
        """Return the indices of the blocks of each number of bits, as pairs of bits and indices."""
        return [(bits, np.flatnonzero(self.bits == bits)) for bits in np.unique(self.bits).tolist()]

    def place(self, chosen: IntArray, values: FloatArray, scales: IntArray, out: IntArray) -> None:
        """Write the candidates of the chosen blocks to ``out``.

        Args:
            chosen: indices (b,) of blocks.
            values: their candidates (b, W), in units of the prior scale.
            scales: scale indices (n,) of all latents.
            out: residuals (n,) in units of 2^-8 step sizes.
        """
        slots = self.slots[chosen]
        filled = slots >= 0
        places = slots[filled]
        fixed = np.rint(values[filled].astype(np.float64) * (1 << RESIDUAL_BITS)).astype(np.int64)
        half = 1 << (RESIDUAL_BITS - 1)
        out[places] = (fixed * _scale_units()[scales[places]] + half) >> RESIDUAL_BITS


class BlockWriter:
    """Writes latents with coder ``rec``.

    The default selection, ``ratio``, is the best one at a fixed budget (see ``coding.relative_entropy``).
    """

    def __init__(self, selection: Selection = Selection.RATIO) -> None:
        self._bits = BitWriter()
        self._sent = 0
        self._selection = selection

    def send(self, residual: FloatArray, scales: IntArray) -> IntArray:
        """See ``LatentWriter``."""
        blocks = Blocks(scales)
        spread = scale_values().astype(np.float32)[scales]
        out = np.zeros(len(scales), np.int64)
        filled = blocks.slots >= 0
        mean = np.where(filled, (residual / spread)[blocks.slots], np.float32(0))
        scale = np.where(filled, np.minimum(POSTERIOR_SCALE / spread, 1.0)[blocks.slots], 1.0).astype(np.float32)
        for bits, chosen in blocks.groups():
            ids = self._sent + chosen
            index = encode_blocks(
                mean[chosen], scale[chosen], budget_bits=bits, seed=SEED, block_ids=ids, selection=self._selection
            )
            self._bits.write(index, bits)
            width = blocks.slots.shape[1]
            values = decode_blocks(index, budget_bits=bits, width=width, seed=SEED, block_ids=ids)
            blocks.place(chosen, values, scales, out)
        self._sent += len(blocks.bits)
        return out

    def to_bytes(self) -> bytes:
        """See ``LatentWriter``."""
        return self._bits.to_bytes()


class BlockReader:
    """Reads what ``BlockWriter`` wrote."""

    def __init__(self, data: bytes) -> None:
        self._bits = BitReader(data)
        self._received = 0

    def receive(self, scales: IntArray) -> IntArray:
        """See ``LatentReader``."""
        blocks = Blocks(scales)
        out = np.zeros(len(scales), np.int64)
        for bits, chosen in blocks.groups():
            index = self._bits.read(len(chosen), bits)
            width = blocks.slots.shape[1]
            values = decode_blocks(index, budget_bits=bits, width=width, seed=SEED, block_ids=self._received + chosen)
            blocks.place(chosen, values, scales, out)
        self._received += len(blocks.bits)
        return out

    def finish(self) -> None:
        """See ``LatentReader``."""
        self._bits.finish()
