"""Test data-parallel training in several processes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from inrcodec.cli import main
from inrcodec.codecs import prior_store
from inrcodec.codecs.hierarchical.training import HierarchicalTrainer
from inrcodec.errors import UsageError, WorkersError
from inrcodec.parallel.all_reduce import Peers, peers
from inrcodec.training.sources import TileSource
from tests.support.tiny import smooth_tiles
from tests.support.tiny_hierarchical import tiny_training


def _parameters(shared: Peers) -> torch.Tensor:
    source = TileSource(smooth_tiles(32, size=16), mirror=True)
    trainer = HierarchicalTrainer(tiny_training(steps=5, batch=4), source, peers=shared)
    state = trainer.start()
    trainer.run(state, until_seconds=60, checkpoint=None, progress=lambda *_: None)
    assert state.steps == 5
    return torch.cat([p.detach().reshape(-1) for p in state.model.parameters()])


def _other(shared: Peers, folder: str) -> None:
    parameter = torch.zeros(3, 2, requires_grad=True)
    parameter.grad = torch.full((3, 2), 4.0)
    shared.average_gradients([parameter])
    assert shared.agreed(5.0) == [1.0]
    np.save(Path(folder) / "other.npy", _parameters(shared).numpy())
    shared.agreed(0.0)


def test_processes_take_the_same_steps_along_mean_gradients(tmp_path: Path) -> None:
    with peers(2, _other, str(tmp_path)) as shared:
        parameter, without = torch.zeros(3, 2, requires_grad=True), torch.zeros(1, requires_grad=True)
        parameter.grad = torch.arange(6.0).view(3, 2)
        shared.average_gradients([parameter, without])
        assert torch.equal(parameter.grad, (torch.arange(6.0).view(3, 2) + 4.0) / 2) and without.grad is None
        assert shared.agreed(1.0) == [1.0]
        first = _parameters(shared)
        shared.agreed(0.0)
    other = torch.from_numpy(np.load(tmp_path / "other.npy"))
    assert torch.equal(first, other)
    assert not torch.equal(first, _parameters(Peers()))  # the crops of the other process matter


def _dies(shared: Peers) -> None:
    shared.agreed(1.0)
    os._exit(3)


def test_a_dead_process_is_a_named_error() -> None:
    with pytest.raises(WorkersError, match="a training process has died"), peers(2, _dies) as shared:
        for _ in range(100):
            shared.agreed(1.0)
    with pytest.raises(UsageError), peers(0, _dies):
        pass


def test_a_single_process_exchanges_nothing() -> None:
    with peers(1, _dies) as shared:
        assert (shared.rank, shared.count, shared.agreed(2.0, 3.0)) == (0, 1, [2.0, 3.0])


def test_the_command_trains_in_two_processes_and_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiles = smooth_tiles(16, size=32)
    Image.fromarray(tiles.reshape(4, 4, 32, 32, 3).swapaxes(1, 2).reshape(128, 128, 3)).save(tmp_path / "mosaic.png")
    out = tmp_path / "made.safetensors"
    command = [
        "priors",
        "train",
        str(tmp_path / "mosaic.png"),
        "--recipe",
        "images32",
        "-o",
        str(out),
        "--workers",
        "2",
        "--resume",
        str(tmp_path / "checkpoint"),
        "-q",
    ]
    assert main([*command, "--minutes", "1000", "--piece-minutes", "0.01"]) == 0
    assert "the same command resumes" in capsys.readouterr().err and not out.exists()
    assert main([*command, "--minutes", "0.001"]) == 0  # done by what the checkpoint has
    assert prior_store.find(str(out)).card["training"]["processes"] == 2
    assert main([*command, "-f", "--codec", "coin++"]) == 2 and "does not take --workers" in capsys.readouterr().err
    assert main([*command, "-f", "--threads", "2"]) == 2 and "one thread each" in capsys.readouterr().err
    for wrong, message in ((["0.5", "2"], "--scales is for"), (["2", "0.5"], "lower one first")):  # tiles stay whole
        assert main([*command, "-f", "--scales", *wrong]) == 2 and message in capsys.readouterr().err
