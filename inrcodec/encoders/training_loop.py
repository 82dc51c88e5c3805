"""The loop of a training that stops, goes on and ends on time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

LOG_SECONDS = 10.0
SAVE_SECONDS = 120.0


class TimedState(Protocol):
    """What the loop keeps count of in a trainer's state: seconds of training so far, all calls together, and a log."""

    seconds: float
    log: list[dict[str, float]]


State = TypeVar("State", bound=TimedState)


def run_timed(
    state: State,
    step: Callable[[], dict[str, float]],
    *,
    done: Callable[[], bool],
    until_seconds: float,
    save: Callable[[], Any] | None,
    progress: Callable[[State, str], None],
    stage: Callable[[], str],
    agreed: Callable[[float, float], Sequence[float]] = lambda go_on, seconds: (go_on, seconds),
) -> None:
    """Call ``step`` until ``done``, or until ``until_seconds`` of wall time have gone by in this call.

    What a step returns is logged and shown every ``LOG_SECONDS``; ``save`` writes a checkpoint every ``SAVE_SECONDS``
    and at the end. ``agreed``: of whether to go on (1 or 0) and the seconds, what processes of one training agree on.
    """
    begun = last_save = last_log = time.monotonic()
    before = state.seconds
    while True:
        going_on, state.seconds = agreed(not done() and time.monotonic() - begun < until_seconds, state.seconds)
        if not going_on:
            break
        name = stage()
        entry = step()
        now = time.monotonic()
        state.seconds = before + now - begun
        if now - last_log > LOG_SECONDS or not state.log:
            state.log.append({**entry, "seconds": state.seconds})
            progress(state, name)
            last_log = now
        if save is not None and now - last_save > SAVE_SECONDS:
            save()
            last_save = now
    if save is not None:
        save()
