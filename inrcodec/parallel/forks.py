"""Forked processes: torch's threads do not survive a fork, and a child that starts new ones waits for ever.

GNU OpenMP, which torch computes with, keeps its thread pool across a fork as if it still existed. A child that stays on
one thread never asks for the pool.
"""

from __future__ import annotations

import os
import sys

_state = {"process": os.getpid()}


def settle_in_fork() -> None:
    """Keep torch on one thread in a process that was forked from one that had loaded this package.

    Call it before computing with torch; it does nothing in other processes, spawned ones among them.
    """
    process = os.getpid()
    if process == _state["process"]:
        return
    _state["process"] = process
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(1)
