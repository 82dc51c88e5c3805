"""Limits that every file is checked against before memory is allocated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from inrcodec.errors import LimitError


@dataclass(frozen=True)
class Limits:
    """Sets the maximum sizes that a file may claim.

    Pass larger limits for files that you trust, tighter ones for files that you do not.

    Attributes:
        max_points: the points of a grid.
        max_axis: the points along one axis.
        max_channels: the channels of a signal.
        max_blocks: the blocks of latents.
        max_budget_bits: the bits of a block.
        max_metadata_bytes: the bytes of metadata after inflating.
        max_entries: the entries of an archive.
        max_multiply_adds: the multiply-adds of decoding.
        max_file_bytes: the bytes of a file.
    """

    max_points: int = 1 << 28
    max_axis: int = 1 << 28
    max_channels: int = 16
    max_blocks: int = 1 << 22
    max_budget_bits: int = 24
    max_metadata_bytes: int = 1 << 24
    max_entries: int = 1 << 22
    max_multiply_adds: int = 1 << 46
    max_file_bytes: int = 1 << 31

    def check_size(self, count: int, size: Sequence[int], what: str = "points") -> None:
        """Raise LimitError where decoding holds more than ``max_points`` numbers, or ``size`` has too long an axis.

        Args:
            count: points or other numbers that decoding holds at once.
            size: points along each axis of the output grid.
            what: what is counted, for the message.
        """
        if count > self.max_points:
            raise LimitError(f"decoding takes {count} {what}, the limit is {self.max_points}")
        if max(size) > self.max_axis:
            raise LimitError(f"decoding gives {max(size)} points along an axis, the limit is {self.max_axis}")

    def check_work(self, multiply_adds: float) -> None:
        """Raise LimitError where decoding takes more than ``max_multiply_adds``."""
        limit = self.max_multiply_adds
        if multiply_adds > limit:
            raise LimitError(f"decoding takes {multiply_adds:.2g} multiply-adds, the limit is {limit:.2g}")


DEFAULT_LIMITS = Limits()
"""The limits that apply when a caller passes none."""
