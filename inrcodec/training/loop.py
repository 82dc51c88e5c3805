"""The loop of a training that stops, goes on and ends on time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from inrcodec.errors import FormatError
from inrcodec.training.checkpoint import read_checkpoint, write_checkpoint

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


Model = TypeVar("Model", bound=nn.Module)


@dataclass
class NetworkState(Generic[Model]):
    """All that changes during training. ``auxiliary``: networks that serve the training alone; ``average``: the moving
    average of the model's parameters, in their order."""

    model: Model
    optimiser: torch.optim.Optimizer
    auxiliary: nn.Module = field(default_factory=nn.Module)
    average: list[Tensor] = field(default_factory=list)
    seconds: float = 0.0
    steps: int = 0
    log: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.average:
            self.average = [p.detach().clone() for p in self.model.parameters()]

    @torch.no_grad()
    def count_step(self, ema: float, ramp: float) -> None:
        """One more step is done: the average follows the parameters, at first in about ``ramp`` steps, later at
        ``ema``."""
        self.steps += 1
        keep = min(ema, self.steps / (self.steps + ramp))
        torch._foreach_lerp_(self.average, list(self.model.parameters()), 1.0 - keep)

    @torch.no_grad()
    def put_average_into(self, model: Model) -> Model:
        """``model`` with the averaged parameters."""
        for parameter, average in zip(model.parameters(), self.average, strict=True):
            parameter.copy_(average)
        return model

    def save(self, folder: Path) -> None:
        """Write a checkpoint, from which the training goes on as if it had never stopped."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors.update({f"auxiliary.{name}": value for name, value in self.auxiliary.state_dict().items()})
        names = [name for name, _ in self.model.named_parameters()]
        tensors.update({f"average.{name}": value for name, value in zip(names, self.average, strict=True)})
        for index, parameter in enumerate(self._optimised()):
            for key, value in self.optimiser.state.get(parameter, {}).items():
                tensors[f"optimiser.{index}.{key}"] = value
        groups = [{k: v for k, v in group.items() if k != "params"} for group in self.optimiser.param_groups]
        head = {"seconds": self.seconds, "steps": self.steps, "log": self.log, "groups": groups}
        write_checkpoint(folder, tensors, head, self.steps)

    def load(self, folder: Path, device: torch.device) -> None:
        """Become the state of a checkpoint; FormatError when it does not fit."""
        tensors, head = read_checkpoint(folder, device)
        try:
            for part, module in (("model.", self.model), ("auxiliary.", self.auxiliary)):
                module.load_state_dict({k.removeprefix(part): v for k, v in tensors.items() if k.startswith(part)})
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
            for group, found in zip(self.optimiser.param_groups, head["groups"], strict=True):
                group.update({k: tuple(v) if isinstance(v, list) else v for k, v in found.items() if k != "params"})
            self.seconds, self.steps, self.log = float(head["seconds"]), int(head["steps"]), list(head["log"])
        except (KeyError, ValueError, IndexError, TypeError, AttributeError, RuntimeError) as error:
            raise FormatError(f"{folder}: checkpoint cannot be used: {error}") from None

    def _optimised(self) -> list[Tensor]:
        return [p for group in self.optimiser.param_groups for p in group["params"]]


def cosine_lr(lr: float, done: float, steps: int, *, floor: float, ramp: int) -> float:
    """The learning rate at a share of the training: it rises over ``ramp`` steps and falls as a half cosine to
    ``floor`` of itself."""
    fall = floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))
    return lr * fall * min(1.0, (steps + 1) / ramp)


def share_done(minutes: float, planned_steps: int, seconds: float, steps: int) -> float:
    """How much of a training is done, at most 1: of its ``planned_steps`` where there are any, else of its minutes."""
    return min(1.0, steps / planned_steps if planned_steps else seconds / (60.0 * minutes))


def moved(module: Any, device: torch.device) -> Any:
    """A network of convolutions on a device, channels last."""
    return module.to(device, memory_format=torch.channels_last)


def faster_arithmetic(device: torch.device, wanted: bool) -> torch.autocast:
    """A context of bfloat16 where it is ``wanted`` and the machine has instructions for it, of float32 otherwise: a
    processor without them takes five times as long over bfloat16."""
    if device.type == "cuda":
        able = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        able = any(torch.cpu.get_capabilities().get(name, False) for name in ("amx_bf16", "avx512_bf16", "bf16"))
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted and able)
