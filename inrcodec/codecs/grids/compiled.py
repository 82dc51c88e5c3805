"""Compile functions over arrays with numba: cached on disk, and run without Python's global interpreter lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(fastmath: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that compiles a function; ``fastmath`` allows floating-point sums in any order."""

    def compile_it(function: Callable[..., Any]) -> Callable[..., Any]:
        made: Callable[..., Any]
        try:
            made = njit(function, nogil=True, fastmath=fastmath, cache=True)
        except RuntimeError:
            # There is no writable cache folder, neither beside the source nor in the user's home: every process
            # compiles the function again.
            made = njit(function, nogil=True, fastmath=fastmath)
        return made

    return compile_it
