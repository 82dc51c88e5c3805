"""Functions over arrays, compiled by numba, kept on disk from the first use on, that run without Python's lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(fastmath: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator. ``fastmath``: floating-point sums in any order."""

    def compile_it(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return njit(function, nogil=True, fastmath=fastmath, cache=True)
        except RuntimeError:
            # No folder to keep it in, neither beside the source nor in the user's: compiled by every process.
            return njit(function, nogil=True, fastmath=fastmath)

    return compile_it
