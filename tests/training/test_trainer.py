"""The base of all trainers: runs that the clock ends are annealed, whatever a step takes and wherever they are cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from inrcodec.codecs.bitswap.data import LevelSource
from inrcodec.codecs.bitswap.training import BitSwapTrainer, BitSwapTraining
from inrcodec.codecs.coinpp.training import CoinPPTrainer
from inrcodec.codecs.combiner.training import CombinerTrainer
from inrcodec.codecs.hierarchical.training import HierarchicalTrainer
from inrcodec.training.loop import LR_FLOOR, NetworkState, cosine_lr
from inrcodec.training.sources import TileSource
from inrcodec.training.trainer import NetworkTrainer, Trainer
from tests.support.tiny import smooth_tiles, tiny_config
from tests.support.tiny_bitswap import COLOUR
from tests.support.tiny_coinpp import tiny_coinpp_training
from tests.support.tiny_hierarchical import tiny_training

PEAK = 0.5


class FakeClock:
    """A clock that stands still until it is told how much time has passed."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Line(NetworkTrainer[nn.Linear, nn.Linear]):
    """Trains one layer; every step takes the time that ``times`` gives next."""

    def __init__(self, minutes: float, times: Iterator[float], planned_steps: int = 0) -> None:
        super().__init__(minutes, planned_steps)
        self.clock, self.times = FakeClock(), times
        self.rates: list[float] = []

    def start(self) -> NetworkState[nn.Linear]:
        model = self._bare_model()
        return NetworkState(model, torch.optim.SGD(model.parameters(), PEAK))

    def _bare_model(self) -> nn.Linear:
        return nn.Linear(1, 1)

    def _stage(self, state: NetworkState[nn.Linear], done: float) -> str:
        return "only"

    def _step(self, state: NetworkState[nn.Linear], done: float) -> dict[str, float]:
        self.rates.append(cosine_lr(PEAK, done, state.steps, floor=LR_FLOOR, ramp=1))
        state.count_step(0.9, 1.0)
        assert isinstance(self.clock, FakeClock)
        self.clock.now += next(self.times)
        return {"done": done}

    def finish(self, state: NetworkState[nn.Linear], card: dict[str, Any]) -> nn.Linear:
        return self.averaged_model(state)


def silent(state: object, stage: str) -> None:
    del state, stage


def times_of(kind: str) -> Iterator[float]:
    """Endless times of steps, in seconds."""
    values: dict[str, Callable[[int], float]] = {
        "quick": lambda i: 0.02,
        "a second": lambda i: 1.0,
        "ten": lambda i: 10.3,
        "half of the time": lambda i: 35.0,
        "longer than the time": lambda i: 200.0,
        "ever slower": lambda i: 0.5 * 1.2**i,
        "sometimes slow": lambda i: 15.0 if i % 7 == 6 else 0.5,
        "suddenly slow": lambda i: 0.1 if i < 550 else 30.0,
    }
    return (values[kind](i) for i in count())


KINDS = (
    "quick",
    "a second",
    "ten",
    "half of the time",
    "longer than the time",
    "ever slower",
    "sometimes slow",
    "suddenly slow",
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_stopped_by_the_clock_ends_annealed(kind: str) -> None:
    trainer = Line(1.0, times_of(kind))
    state = trainer.start()
    trainer.run(state, until_seconds=float("inf"), checkpoint=None, progress=silent)
    assert trainer.is_over(state) and state.seconds >= 60.0
    assert trainer.rates[-1] <= 0.021 * PEAK
    assert trainer.rates[0] == pytest.approx(PEAK)
    assert all(a >= b for a, b in zip(trainer.rates, trainer.rates[1:], strict=False)) or "slow" in kind
    if kind in ("quick", "a second"):  # no time is given away
        assert state.seconds < 61.0 and sum(rate <= 0.021 * PEAK for rate in trainer.rates) < 0.1 * len(trainer.rates)


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_of_a_run_end_annealed_too(kind: str, tmp_path: Path) -> None:
    times, rates, seconds = times_of(kind), [], 0.0
    for _ in range(1000):
        trainer = Line(1.0, times)
        state = trainer.resume(tmp_path) if (tmp_path / "state.json").exists() else trainer.start()
        assert state.seconds == seconds
        trainer.run(state, until_seconds=13.0, checkpoint=tmp_path, progress=silent)
        rates += trainer.rates
        seconds = state.seconds
        if trainer.is_over(state):
            break
    assert rates[-1] <= 0.021 * PEAK and rates[0] == pytest.approx(PEAK) and state.seconds >= 60.0
    again = Line(1.0, times)
    state = again.resume(tmp_path)
    again.run(state, until_seconds=13.0, checkpoint=tmp_path, progress=silent)
    assert not again.rates  # nothing is left to do


def test_planned_steps_do_not_look_at_the_clock() -> None:
    trainer = Line(1.0, times_of("longer than the time"), planned_steps=50)
    state = trainer.start()
    trainer.run(state, until_seconds=float("inf"), checkpoint=None, progress=silent)
    assert len(trainer.rates) == 50
    assert trainer.rates == [cosine_lr(PEAK, i / 50, i, floor=LR_FLOOR, ramp=1) for i in range(50)]


def tiny_trainers() -> dict[str, Trainer[Any, Any]]:
    """Trainers of tiny networks that the clock stops after a minute."""
    tiles = TileSource(smooth_tiles(32, size=16), mirror=True)
    small = TileSource(smooth_tiles(64), mirror=True)
    levels = LevelSource([smooth_tiles(8, 3, size=16)], [], 16, mirror=True, binary=False)
    return {
        "hierarchical": HierarchicalTrainer(tiny_training(minutes=1.0, steps=0, batch=2), tiles),
        "coin++": CoinPPTrainer(tiny_coinpp_training(minutes=1.0, steps=0), small),
        "bitswap": BitSwapTrainer(BitSwapTraining(COLOUR, "tiny", 1.0, 256), levels),
        "combiner": CombinerTrainer(tiny_config(minutes=1.0), small),
    }


@pytest.mark.parametrize("codec", ["hierarchical", "coin++", "bitswap", "combiner"])
@pytest.mark.parametrize("seconds", [3.0, 45.0])
def test_every_trainer_of_networks_ends_annealed(codec: str, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, clock = tiny_trainers()[codec], FakeClock()
    monkeypatch.setattr(trainer, "clock", clock)
    step = trainer._step

    def slow_step(state: Any, done: float) -> dict[str, float]:
        entry = step(state, done)
        clock.now += seconds
        return entry

    monkeypatch.setattr(trainer, "_step", slow_step)
    state = trainer.start()
    peaks = [group.get("base_lr", group["lr"]) * group.get("size", 1.0) for group in state.optimiser.param_groups]
    trainer.run(state, until_seconds=float("inf"), checkpoint=None, progress=silent)
    rates = [group["lr"] for group in state.optimiser.param_groups]
    assert all(rate <= 0.021 * peak for rate, peak in zip(rates, peaks, strict=True))
    assert 60.0 <= state.seconds <= 60.0 + 2 * seconds
