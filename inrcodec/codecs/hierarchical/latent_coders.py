"""Two ways to send residuals of latents, behind one interface: quantisation and relative entropy coding in blocks.

A residual is a latent less its prior mean, in posterior steps. The prior is a Gaussian with one of the 64 scales of
``coding.gaussian``, the posterior has the variance of a uniform step, 1/12; both sides know both.

- ``round``: residuals are rounded and coded by ANS under integer tables. (This is dithered quantisation with a dither
  of zero, which the models are trained for.)
- ``rec``: relative entropy coding. The latents of a block are sent as the index of one of 2^K shared candidates drawn
  from the prior (``coding.relative_entropy``). A shared seed permutes the latents; a block ends where the KL predicted
  from the scales reaches the budget, and K follows the prediction, so block boundaries are not sent. Candidates are
  rounded to 2^-8, so the last bits of floating-point arithmetic do not matter.
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
"""In the order of their numbers in files."""

KL_UNITS_PER_BIT = 64
BLOCK_BITS = 14
TARGET_UNITS = (BLOCK_BITS - 2) * KL_UNITS_PER_BIT
MAX_BLOCK_LATENTS = 64
PRUNE_UNITS = 2
SEED = 0x1AE5
POSTERIOR_SCALE = math.sqrt(1.0 / 12.0)


class LatentWriter(Protocol):
    """Collects the message of one signal."""

    def send(self, residual: FloatArray, scales: IntArray) -> IntArray:
        """Residuals (n,) in steps under scale indices (n,): what the receiver will have, in units of 2^-8 steps."""
        ...

    def to_bytes(self) -> bytes:
        """The message."""
        ...


class LatentReader(Protocol):
    """Reads a message in the order in which it was written."""

    def receive(self, scales: IntArray) -> IntArray:
        """The next residuals (n,) in units of 2^-8 steps."""
        ...

    def finish(self) -> None:
        """FormatError unless everything has been read."""
        ...


def make_writer(coder: str) -> LatentWriter:
    """A writer; UsageError for an unknown coder."""
    check_coder(coder)
    return RoundingWriter() if coder == "round" else BlockWriter()


def make_reader(coder: str, data: bytes, n_parts: int) -> LatentReader:
    """A reader of what a writer of ``make_writer`` wrote when it was given ``n_parts`` parts."""
    return RoundingReader(data, n_parts) if coder == "round" else BlockReader(data)


def check_coder(coder: str) -> None:
    """Raise UsageError unless there is such a coder."""
    if coder not in CODERS:
        raise UsageError(f"coder must be one of {', '.join(CODERS)}, got {coder!r}")


class RoundingWriter:
    """Write latents with coder ``round``."""

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
    """Mean KL of a latent whose residual follows the prior, by scale index, in 1/64 bit."""
    ratio = np.maximum(scale_values() / POSTERIOR_SCALE, 1.0)
    return np.rint(KL_UNITS_PER_BIT * np.log2(ratio)).astype(np.int64)


@cache
def _scale_units() -> IntArray:
    return np.rint(scale_values() * (1 << RESIDUAL_BITS)).astype(np.int64)


class Blocks:
    """Which latents travel together, and in how many bits: a function of the scales alone.

    ``slots`` (B, W): places of latents, -1 where a block has fewer; ``bits`` (B,).
    """

    def __init__(self, scales: IntArray) -> None:
        units = _kl_units()[scales]
        mixed = permutation(SEED, 0, len(scales))
        kept = mixed[units[mixed] >= PRUNE_UNITS]
        weight = np.maximum(units[kept], TARGET_UNITS // MAX_BLOCK_LATENTS)
        block = (np.cumsum(weight) - weight) // TARGET_UNITS
        _, block, counts = np.unique(block, return_inverse=True, return_counts=True)
        first = np.cumsum(counts) - counts
        self.slots = np.full((len(counts), int(counts.max(initial=1))), -1, np.int64)
        self.slots[block, np.arange(len(kept)) - first[block]] = kept
        total = np.bincount(block, units[kept], len(counts)).astype(np.int64)
        self.bits = np.minimum(-(-total // KL_UNITS_PER_BIT), BLOCK_BITS)

    def groups(self) -> list[tuple[int, IntArray]]:
        """Blocks by number of bits."""
        return [(bits, np.flatnonzero(self.bits == bits)) for bits in np.unique(self.bits).tolist()]

    def place(self, chosen: IntArray, values: FloatArray, scales: IntArray, out: IntArray) -> None:
        """Write candidates (b, W) in prior units of some blocks to residuals in units of 2^-8 steps."""
        slots = self.slots[chosen]
        filled = slots >= 0
        where = slots[filled]
        fixed = np.rint(values[filled].astype(np.float64) * (1 << RESIDUAL_BITS)).astype(np.int64)
        half = 1 << (RESIDUAL_BITS - 1)
        out[where] = (fixed * _scale_units()[scales[where]] + half) >> RESIDUAL_BITS


class BlockWriter:
    """Write latents with coder ``rec``.

    The default selection is the best one at a fixed budget (``ratio``, see ``coding.relative_entropy``).
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
