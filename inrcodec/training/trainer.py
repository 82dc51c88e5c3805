"""What all trainers share: a training is started or resumed, run for a while, saved, and finished as a prior.

    start() or resume(folder) -> state -> run(state) ... -> finish(state, card) -> prior

A trainer states what one step does, what its stages are called and what it makes of a state in the end; ``run`` is the
same for all.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from inrcodec.training.loop import LOG_SECONDS, NetworkState, RunState, is_over, run_timed, share_done

State = TypeVar("State", bound=RunState)
TrainedPrior = TypeVar("TrainedPrior")
Model = TypeVar("Model", bound=nn.Module)

Show = Callable[[State, str], None]
"""Called with a training's state and the name of its stage after every entry of the log."""


class Trainer(ABC, Generic[State, TrainedPrior]):
    """Base of all trainers.

    Attributes:
        minutes: allowed time of the whole training.
        planned_steps: number of steps; 0 where the time decides.
        device: where the training computes.
        clock: returns seconds; tests put one of their own in its place.
        log_seconds: time between two entries of the log.
    """

    clock: Callable[[], float] = staticmethod(time.monotonic)
    log_seconds = LOG_SECONDS

    def __init__(self, minutes: float, planned_steps: int = 0, device: str | torch.device = "cpu") -> None:
        self.minutes, self.planned_steps, self.device = minutes, planned_steps, torch.device(device)

    @property
    def device_name(self) -> str:
        """Return the name of the device, for people."""
        if self.device.type == "cuda":
            return str(torch.cuda.get_device_name(self.device))
        return str(self.device)

    @abstractmethod
    def start(self) -> State:
        """Return a fresh state."""

    @abstractmethod
    def resume(self, folder: Path) -> State:
        """Return the state of a checkpoint.

        Raises:
            FormatError: the checkpoint cannot be read or does not fit.
        """

    @abstractmethod
    def save(self, state: State, folder: Path) -> None:
        """Write a checkpoint; the one before it stays whole until the new one is complete."""

    @abstractmethod
    def finish(self, state: State, card: dict[str, Any]) -> TrainedPrior:
        """Return the prior that the training has reached, with a card in its file."""

    @abstractmethod
    def _step(self, state: State, done: float) -> dict[str, float]:
        """Take a step at a share of the training and return figures for the log."""

    @abstractmethod
    def _stage(self, state: State, done: float) -> str:
        """Return the name of the stage at a share of the training."""

    def share_done(self, state: State) -> float:
        """Return how much of the training is done, at most 1."""
        return share_done(self.minutes, self.planned_steps, state)

    def is_over(self, state: State) -> bool:
        """Return whether the training has reached its end."""
        return is_over(self.minutes, self.planned_steps, state)

    def agreed(self, *numbers: float) -> Sequence[float]:
        """Return what all processes of the training take these numbers to be."""
        return numbers

    def run(self, state: State, *, until_seconds: float, checkpoint: Path | None, progress: Show[State]) -> None:
        """Train until the end or until ``until_seconds`` of wall time have gone by in this call.

        Args:
            state: what is trained; changed in place.
            until_seconds: wall time of this call.
            checkpoint: folder in which checkpoints are written, if any.
            progress: called after every entry of the log.
        """
        run_timed(
            state,
            lambda done: self._step(state, done),
            share=lambda: self.share_done(state),
            over=lambda: self.is_over(state),
            until_seconds=until_seconds,
            save=None if checkpoint is None else lambda: self.save(state, checkpoint),
            progress=progress,
            stage=lambda done: self._stage(state, done),
            agreed=self.agreed,
            clock=self.clock,
            log_seconds=self.log_seconds,
        )


class NetworkTrainer(Trainer[NetworkState[Model], TrainedPrior], Generic[Model, TrainedPrior]):
    """Base of trainers of one network by one optimiser, whose state is a ``NetworkState``."""

    def save(self, state: NetworkState[Model], folder: Path) -> None:
        """Write a checkpoint; the one before it stays whole until the new one is complete."""
        state.save(folder)

    def resume(self, folder: Path) -> NetworkState[Model]:
        """Return the state of a checkpoint.

        Raises:
            FormatError: the checkpoint cannot be read or does not fit.
        """
        state = self._blank()
        state.load(folder, self.device)
        return state

    def _blank(self) -> NetworkState[Model]:
        """Return a state for a checkpoint to be loaded into."""
        return self.start()

    @abstractmethod
    def _bare_model(self) -> Model:
        """Return a network of the trained shape on the CPU."""

    def averaged_model(self, state: NetworkState[Model]) -> Model:
        """Return a network with the moving average of the parameters, on the CPU."""
        return state.put_average_into(self._bare_model())
