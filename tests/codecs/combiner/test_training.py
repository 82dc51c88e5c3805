"""Prior learning: the closed form, classes, time box, checkpoints, and that training buys something."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inrcodec.codecs.combiner.effort import COMBINER_EFFORTS
from inrcodec.codecs.combiner.evaluation import evaluate_combiner
from inrcodec.codecs.combiner.model import Reparameterisation
from inrcodec.codecs.combiner.prior import class_cost_bits
from inrcodec.codecs.combiner.training import CombinerTrainer
from inrcodec.codecs.combiner.training_state import TrainingState, save_state
from inrcodec.errors import DataError, FormatError, UsageError
from inrcodec.parallel.local import LocalWorkers
from inrcodec.training.checkpoint import SHARD_BYTES
from inrcodec.training.sources import AudioSource, FieldSource, ImageSource, TileSource, cut_tiles, split_held_out
from tests.support.tiny import NETWORK, counted_clock, smooth_tiles, spread_training, tiny_config, tiny_prior, train


def test_closed_form_is_the_moments_of_the_posteriors() -> None:
    trainer, state = train(tiny_config(n_classes=1, shrinkage=0.0))
    _, anchor = trainer.training_set()
    assert state.posteriors is not None and state.class_prior is not None
    trainer._closed_form(state, anchor, reassign=False)
    members = anchor == 1
    mean, variance = state.posteriors.mean[members], (2 * state.posteriors.log_scale[members]).exp()
    expected = ((mean - mean.mean(dim=0)).square() + variance).mean(dim=0)
    assert torch.allclose(state.class_prior.mean[1, 0], mean.mean(dim=0), atol=1e-5)
    assert torch.allclose((2 * state.class_prior.log_scale[1, 0]).exp(), expected, rtol=1e-3)


def test_a_trained_prior_beats_an_untrained_one() -> None:
    source = TileSource(smooth_tiles(64, seed=9), mirror=False)
    trainer = CombinerTrainer(tiny_config(), source)
    untrained = trainer.finish(trainer.start(), {})
    before = evaluate_combiner(untrained, source, COMBINER_EFFORTS["default"], count=32)[1]
    after = evaluate_combiner(tiny_prior(), source, COMBINER_EFFORTS["default"], count=32)[1]

    def loss(result: Any) -> float:
        return float(10 ** (-result.sample_db / 10) / result.beta + result.kl_bits_per_point)

    assert loss(after) < 0.7 * loss(before)


@pytest.mark.parametrize("kind", [Reparameterisation.NONE, Reparameterisation.LAYER])
def test_published_scheme_without_proposal(kind: Reparameterisation) -> None:
    """COMBINER as published: every fit starts at the prior, the iterative stage is all there is."""
    network = replace(NETWORK, reparameterisation=kind, proposal_hidden=0)
    _, state = train(tiny_config(network=network, minutes=0.05))
    first, last = state.log[0], state.log[-1]
    assert all(entry["iterative"] for entry in state.log)
    assert last["db_1"] > first["db_1"] + 1.0


def test_parts_fitted_by_any_number_of_workers_give_the_same_bits() -> None:
    with LocalWorkers(1) as one, LocalWorkers(2) as two:
        results = [spread_training(workers) for workers in (one, two)]
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_parts_learn() -> None:
    """What is shared takes a step where posteriors take several; priors in closed form and networks still learn."""
    config = tiny_config(network=replace(NETWORK, proposal_hidden=0), parts=2)
    trainer = CombinerTrainer(config, TileSource(smooth_tiles(256), mirror=True), workers=LocalWorkers(1))
    state = trainer.start()
    first, *_, last = [trainer._iterative_pass(state, number / 30, float("inf")) for number in range(30)]
    assert (state.steps, state.passes) == (30, 30)
    assert last["db_1"] > first["db_1"] + 3.0 and last["db_0"] > first["db_0"] + 1.0
    trainer.finish(state, {})


def test_parts_ask_for_workers() -> None:
    source = TileSource(smooth_tiles(8), mirror=False)
    with pytest.raises(UsageError, match="workers"):
        CombinerTrainer(tiny_config(parts=2), source)
    with pytest.raises(UsageError, match="parts"):
        tiny_config(parts=-1)


def test_rates_rise_from_anchor_to_anchor() -> None:
    prior = tiny_prior()
    assert prior.anchor_kl_bits[1] > prior.anchor_kl_bits[0] > 0
    assert prior.class_counts.sum(axis=1).tolist() == [1 << 16, 1 << 16]


def test_training_stops_on_time_and_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    config = tiny_config(minutes=0.05)
    trainer = CombinerTrainer(config, TileSource(smooth_tiles(256), mirror=True))
    state = trainer.start()
    trainer.clock = counted_clock()
    trainer.run(state, until_seconds=1.0, checkpoint=tmp_path, progress=lambda s, stage: None)
    assert 1.0 <= state.seconds < 1.1
    again = CombinerTrainer(config, TileSource(smooth_tiles(256), mirror=True)).resume(tmp_path)
    assert (again.steps, again.passes) == (state.steps, state.passes)
    for a, b in zip(state.model.state_dict().values(), again.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    trainer.clock = counted_clock()
    trainer.run(again, until_seconds=60, checkpoint=tmp_path, progress=lambda s, stage: None)
    assert again.seconds >= 3.0
    trainer.finish(again, {})


def test_checkpoint_files_stay_below_16_mb(tmp_path: Path) -> None:
    network = replace(NETWORK, latent_dims=2048, hidden=64, features=64, proposal_hidden=512)
    trainer = CombinerTrainer(tiny_config(network=network), TileSource(smooth_tiles(8), mirror=True))
    save_state(trainer.start(), tmp_path)
    files = list(tmp_path.glob("*.safetensors"))
    assert len(files) > 2
    assert max(f.stat().st_size for f in files) < 16e6 and SHARD_BYTES < 16e6
    save_state(trainer.start(), tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) == len(files)


def test_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    trainer = CombinerTrainer(tiny_config(), TileSource(smooth_tiles(8), mirror=True))
    with pytest.raises(FormatError):
        trainer.resume(tmp_path)
    save_state(trainer.start(), tmp_path)
    head = json.loads((tmp_path / "state.json").read_text())
    (tmp_path / head["files"][0]).write_bytes(b"short")
    with pytest.raises(FormatError):
        trainer.resume(tmp_path)


def test_class_cost_prefers_the_class_whose_budget_fits() -> None:
    kl = torch.tensor([[100.0, 100.0]])
    assert class_cost_bits(kl, torch.tensor([100.0, 300.0])).argmin() == 0
    assert class_cost_bits(kl, torch.tensor([20.0, 90.0])).argmin() == 1
    assert class_cost_bits(kl, torch.tensor([100.0, 100.0]))[0, 0] == 100.0


def test_wrong_settings_are_refused() -> None:
    for change in ({"betas": ()}, {"minutes": 0.0}, {"batch": 0}, {"patches": 3}, {"n_classes": 0}):
        with pytest.raises(UsageError):
            tiny_config(**change)


def test_sources_draw_what_they_hold() -> None:
    rng = np.random.default_rng(0)
    images = [np.full((20, 30, 3), 100, np.uint8), np.full((9, 9, 3), 100, np.uint8)]
    drawn = ImageSource(images, (8, 8)).draw(5, rng)
    assert drawn.shape == (5, 8, 8, 3) and np.allclose(drawn, 100 / 255)
    slope = np.repeat(np.arange(0, 240, 4, dtype=np.uint8)[None, :, None], 60, axis=0).repeat(3, axis=2)
    scaled = ImageSource([slope], (16, 16), scales=(0.5, 2.0)).draw(60, rng)
    inside = np.abs(np.diff(scaled, axis=2))[:, :, 4:-4].mean(axis=(1, 2, 3)) * 255.0
    assert scaled.shape == (60, 16, 16, 3) and 1.9 < inside.min() < 2.6 and 6.0 < inside.max() < 8.2
    assert 8 <= np.isclose(inside, 4.0).sum() <= 25  # a quarter as they are
    small = ImageSource([images[1]], (16, 16), scales=(0.5, 2.0))  # 9x9 points, made large enough
    assert np.allclose(small.draw(3, rng), 100 / 255)
    ramp = (np.arange(5000) / 10000).astype(np.float32)
    recording = AudioSource([ramp], (64,)).draw(200, rng)
    steps = np.diff(recording[..., 0], axis=1)
    assert recording.shape == (200, 64, 1) and (steps > 0).all()
    assert steps.max() < 1e-4 * 1.13 * 1.66 and steps.min() > 1e-4 * 0.88 * 0.33  # speed and loudness in their ranges
    field = np.arange(200, dtype=np.float32).reshape(10, 20, 1)
    patch = FieldSource([field], (4, 4)).draw(50, rng)
    assert set(np.abs(np.diff(patch[..., 0], axis=2)).ravel()) == {1.0}
    with pytest.raises(DataError):
        ImageSource([images[1]], (16, 16))
    with pytest.raises(DataError):
        AudioSource([ramp[:100]], (64,))


def test_mosaics_and_held_out_files() -> None:
    mosaic = np.arange(4 * 6 * 1, dtype=np.uint8).reshape(4, 6, 1)
    tiles = cut_tiles(mosaic, 2)
    assert tiles.shape == (6, 2, 2, 1) and tiles[1, :, :, 0].tolist() == [[2, 3], [8, 9]]
    with pytest.raises(UsageError):
        cut_tiles(mosaic, 4)
    paths = [Path(f"{i:03d}") for i in range(100)]
    train_part, held = split_held_out(paths)
    assert len(held) == 5 and not set(held) & set(train_part) and len(train_part) == 95


def test_stages_get_their_shares_of_the_time_though_passes_are_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proposal steps take half a second here and passes fifteen; every stage ends in time for the next."""
    trainer = CombinerTrainer(tiny_config(minutes=4.0), TileSource(smooth_tiles(64), mirror=True))
    now, stages = [0.0], list[tuple[str, float, float]]()
    monkeypatch.setattr(trainer, "clock", lambda: now[0])
    step = trainer._step

    def timed_step(state: TrainingState, done: float) -> dict[str, float]:
        entry = step(state, done)
        now[0] += 15.0 if state.stage == "iterative" else 0.5
        stages.append((state.stage, done, now[0]))
        return entry

    monkeypatch.setattr(trainer, "_step", timed_step)
    monkeypatch.setattr(trainer, "_proposal_steps", lambda *_, **__: {})
    monkeypatch.setattr(trainer, "_iterative_pass", lambda *_: {})
    trainer.run(trainer.start(), until_seconds=float("inf"), checkpoint=None, progress=lambda *_: None)
    names = [name for name, _, _ in stages]
    assert names == sorted(names, key=["proposal", "iterative", "closing"].index)
    seconds = {name: sum(15.0 if name == "iterative" else 0.5 for n in names if n == name) for name in set(names)}
    assert 31.0 <= seconds["proposal"] <= 32.0 and 165.0 <= seconds["iterative"] <= 195.0 and seconds["closing"] >= 20.0
    shares = [done for _, done, _ in stages]
    assert shares == sorted(shares) and shares[-1] == 1.0 and 240.0 <= now[0] <= 241.0
