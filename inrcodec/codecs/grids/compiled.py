"""Functions over arrays, compiled by numba, kept on disk from the first use on, that run without Python's lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(fastmath: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator. ``fastmath``: floating-point sums in any order."""

    def compile_it(function: Callable[..., Any]) -> Callable[..., Any]:
        made: Callable[..., Any]
        try:
            made = njit(function, nogil=True, fastmath=fastmath, cache=True)
        except RuntimeError:
            # There is no folder for the cache, neither beside the source nor the user's: every process compiles.
            made = njit(function, nogil=True, fastmath=fastmath)
        return made

    return compile_it
