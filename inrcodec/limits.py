"""Limits that every file is held against before memory is taken."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What a file may ask for. Callers who trust their files pass larger ones.

    Grid points and axis lengths, channels, blocks of latents, bits per block, bytes of metadata once inflated, entries
    of an archive, multiply-adds of a decode, and bytes of a file.
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


DEFAULT_LIMITS = Limits()
