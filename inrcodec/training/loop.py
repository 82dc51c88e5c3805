"""The loop that every training runs in: it counts time, follows the schedule, logs and writes checkpoints.

A schedule is a function of the *share* of a training that is done, from 0 to 1. Where a number of steps is planned, the
share is that of the steps. Everywhere else it is elapsed time over allowed time, evaluated before every step, and it
reaches 1 while there is still time for ``LAST_STEPS`` steps. A run never ends before a step was taken at share 1, so
that the learning rate has reached its floor whatever the length of a step, also after an interruption.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from inrcodec.errors import FormatError
from inrcodec.training.checkpoint import read_checkpoint, write_checkpoint

LOG_SECONDS = 10.0
"""Time between two entries of the log."""
SAVE_SECONDS = 120.0
"""Time between two checkpoints."""
LAST_STEPS = 2.0
"""How many steps before the allowed time is up the schedule ends."""
LR_FLOOR = 0.02
"""The learning rate at the end of a training, relative to its peak."""
STEP_SECONDS_DECAY = 0.9
"""A step's time is estimated by that of the slowest of late, which is forgotten by this factor a step."""


@dataclass(kw_only=True)
class RunState:
    """What the loop keeps count of; trainers add what they train.

    Attributes:
        seconds: time spent on steps so far, over all pieces of the training.
        steps: optimiser steps taken.
        step_seconds: estimated time of one call of a trainer's step.
        annealed: whether the last step was taken at the end of the schedule.
        log: figures of steps, one entry every ``LOG_SECONDS``.
    """

    seconds: float = 0.0
    steps: int = 0
    step_seconds: float = 0.0
    annealed: bool = False
    log: list[dict[str, float]] = field(default_factory=list)

    def counters(self) -> dict[str, Any]:
        """Return the counters as plain values, for the head of a checkpoint."""
        return {
            "seconds": self.seconds,
            "steps": self.steps,
            "step_seconds": self.step_seconds,
            "annealed": self.annealed,
            "log": self.log,
        }

    def restore_counters(self, head: dict[str, Any]) -> None:
        """Set the counters to those of a checkpoint's head.

        Raises:
            KeyError, TypeError, ValueError: the head lacks or misstates one.
        """
        self.seconds, self.steps = float(head["seconds"]), int(head["steps"])
        self.step_seconds, self.annealed = float(head["step_seconds"]), bool(head["annealed"])
        self.log = list(head["log"])


State = TypeVar("State", bound=RunState)


def share_done(minutes: float, planned_steps: int, state: RunState) -> float:
    """Return how much of a training is done, at most 1.

    Args:
        minutes: allowed time.
        planned_steps: number of steps; 0 where the time decides.
        state: the training's counters.
    """
    if planned_steps:
        return min(1.0, state.steps / planned_steps)
    available = 60.0 * minutes - LAST_STEPS * state.step_seconds
    return min(1.0, state.seconds / available) if available > 0.0 else 1.0


def is_over(minutes: float, planned_steps: int, state: RunState) -> bool:
    """Return whether a training has reached its end: all steps taken, or time up and the schedule at its end."""
    if planned_steps:
        return state.steps >= planned_steps
    return state.seconds >= 60.0 * minutes and state.annealed


def run_timed(
    state: State,
    step: Callable[[float], dict[str, float]],
    *,
    share: Callable[[], float],
    over: Callable[[], bool],
    until_seconds: float,
    save: Callable[[], Any] | None,
    progress: Callable[[State, str], None],
    stage: Callable[[float], str],
    agreed: Callable[[float, float, float], Sequence[float]] = lambda *numbers: numbers,
    clock: Callable[[], float] = time.monotonic,
    log_seconds: float = LOG_SECONDS,
) -> None:
    """Call ``step`` with the share done until the training is ``over`` or ``until_seconds`` have gone by in this call.

    Args:
        state: the training's counters, which the loop keeps.
        step: takes a step at a share and returns figures for the log.
        share: returns how much of the training is done.
        over: returns whether the training has reached its end.
        until_seconds: wall time of this call; the training can be resumed after it.
        save: writes a checkpoint, every ``SAVE_SECONDS`` and at the end; None for no checkpoints.
        progress: called with the state and the name of the stage after every entry of the log.
        stage: returns the name of the stage at a share.
        agreed: what the processes of one training agree on of: continue (1 or 0), seconds, share.
        clock: returns seconds.
        log_seconds: time between two entries of the log.
    """
    begun = last_save = last_log = clock()
    before = state.seconds
    while True:
        wants_more = not over() and clock() - begun < until_seconds
        goes_on, state.seconds, done = agreed(wants_more, state.seconds, share())
        if not goes_on:
            break
        name, started = stage(done), clock()
        entry = step(done)
        now = clock()
        state.seconds = before + now - begun
        state.step_seconds = max(now - started, STEP_SECONDS_DECAY * state.step_seconds)
        state.annealed = done >= 1.0
        if now - last_log > log_seconds or not state.log:
            state.log.append({**entry, "seconds": state.seconds})
            progress(state, name)
            last_log = now
        if save is not None and now - last_save > SAVE_SECONDS:
            save()
            last_save = now
    if save is not None:
        save()


Model = TypeVar("Model", bound=nn.Module)


@dataclass
class NetworkState(RunState, Generic[Model]):
    """All that changes while a network is trained.

    Attributes:
        model: the network.
        optimiser: the optimiser of its parameters.
        auxiliary: networks that serve the training alone.
        average: moving average of the model's parameters, in their order.
    """

    model: Model
    optimiser: torch.optim.Optimizer
    auxiliary: nn.Module = field(default_factory=nn.Module)
    average: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.average:
            self.average = [p.detach().clone() for p in self.model.parameters()]

    @torch.no_grad()
    def count_step(self, ema: float, ramp: float) -> None:
        """Count one more step, which the average follows; see ``kept_share``."""
        self.steps += 1
        keep = kept_share(self.steps, ema, ramp)
        torch._foreach_lerp_(self.average, list(self.model.parameters()), 1.0 - keep)

    @torch.no_grad()
    def put_average_into(self, model: Model) -> Model:
        """Return ``model`` with the averaged parameters."""
        for parameter, average in zip(model.parameters(), self.average, strict=True):
            parameter.copy_(average)
        return model

    def save(self, folder: Path) -> None:
        """Write a checkpoint, from which the training resumes as if it had never stopped."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors.update({f"auxiliary.{name}": value for name, value in self.auxiliary.state_dict().items()})
        names = [name for name, _ in self.model.named_parameters()]
        tensors.update({f"average.{name}": value for name, value in zip(names, self.average, strict=True)})
        for index, parameter in enumerate(self._optimised()):
            for key, value in self.optimiser.state.get(parameter, {}).items():
                tensors[f"optimiser.{index}.{key}"] = value
        groups = [{k: v for k, v in group.items() if k != "params"} for group in self.optimiser.param_groups]
        write_checkpoint(folder, tensors, {**self.counters(), "groups": groups}, self.steps)

    def load(self, folder: Path, device: torch.device) -> None:
        """Become the state of a checkpoint.

        Raises:
            FormatError: the checkpoint cannot be read or does not fit.
        """
        tensors, head = read_checkpoint(folder, device)
        try:
            for prefix, module in (("model.", self.model), ("auxiliary.", self.auxiliary)):
                module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
            self.average = [
                torch.empty_like(parameter).copy_(tensors[f"average.{name}"])
                for name, parameter in self.model.named_parameters()
            ]
            parameters = self._optimised()
            for name, value in tensors.items():
                if name.startswith("optimiser."):
                    index, key = name.removeprefix("optimiser.").split(".")
                    like = parameters[int(index)]
                    moment = torch.empty_like(like).copy_(value) if value.shape == like.shape else value
                    self.optimiser.state[like][key] = moment
            for group, saved in zip(self.optimiser.param_groups, head["groups"], strict=True):
                group.update({k: tuple(v) if isinstance(v, list) else v for k, v in saved.items() if k != "params"})
            self.restore_counters(head)
        except (KeyError, ValueError, IndexError, TypeError, AttributeError, RuntimeError) as error:
            raise FormatError(f"{folder}: checkpoint cannot be used: {error}") from None

    def _optimised(self) -> list[Tensor]:
        return [p for group in self.optimiser.param_groups for p in group["params"]]


def kept_share(steps: int, ema: float, ramp: float) -> float:
    """Return what a moving average keeps of itself at step number ``steps``: little in the first ``ramp`` steps, later
    ``ema``."""
    return min(ema, steps / (steps + ramp))


def cosine_lr(lr: float, done: float, steps: int, *, floor: float, ramp: int) -> float:
    """Return the learning rate at a share of the training.

    It rises over ``ramp`` steps to ``lr`` and falls as a half cosine to ``floor`` of it.
    """
    fall = floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))
    return lr * fall * min(1.0, (steps + 1) / ramp)


def moved(module: Any, device: torch.device) -> Any:
    """Return a network of convolutions on a device, channels last."""
    return module.to(device, memory_format=torch.channels_last)


def faster_arithmetic(device: torch.device, wanted: bool) -> torch.autocast:
    """Return a context of bfloat16 where it is ``wanted`` and the machine has instructions for it, else of float32.

    A processor without such instructions takes five times as long in bfloat16.
    """
    if device.type == "cuda":
        able = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        able = any(torch.cpu.get_capabilities().get(name, False) for name in ("amx_bf16", "avx512_bf16", "bf16"))
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted and able)
