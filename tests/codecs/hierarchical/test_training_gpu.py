"""Training on a device's memory, on the CPU: equal to the ordinary step, resumable, and a prior at the end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from inrcodec.codecs.hierarchical import image_bank, training_gpu
from inrcodec.codecs.hierarchical.elbo import native_fourier, sampled_points
from inrcodec.codecs.hierarchical.evaluation import evaluate_hierarchical
from inrcodec.codecs.hierarchical.image_bank import ImageBank, resampled
from inrcodec.codecs.hierarchical.job import make_job
from inrcodec.codecs.hierarchical.model import HierarchicalINR
from inrcodec.codecs.hierarchical.training import HierarchicalTrainer, HierarchicalTraining
from inrcodec.codecs.hierarchical.training_gpu import FlatState, FlatTrainer, accelerated
from inrcodec.errors import FormatError
from inrcodec.training.captured import LateFigures, captured
from inrcodec.training.job import TrainingOptions
from inrcodec.training.sources import ImageSource, TileSource
from tests.support.tiny import smooth_tiles
from tests.support.tiny_hierarchical import CONFIG, tiny_training

IMAGES = list(smooth_tiles(6, seed=4, size=40))
CPU = torch.device("cpu")


def gpu_training(**changes: object) -> HierarchicalTraining:
    """Tiny settings in float32, the readings of features left out."""
    return tiny_training(**{"batch": 4, "fast_share": 0.0, "auxiliary_share": 0.0, "steps": 20, **changes})


def flat_trainer(config: HierarchicalTraining, begin: HierarchicalINR | None = None) -> FlatTrainer:
    return FlatTrainer(config, IMAGES, (0.8, 1.5), "cpu", begin)


def both(config: HierarchicalTraining) -> tuple[Any, Any, FlatTrainer, FlatState]:
    ordinary = HierarchicalTrainer(config, TileSource(smooth_tiles(8, size=16), mirror=False))
    flat = flat_trainer(config)
    return ordinary, ordinary.start(), flat, flat.start()


def take_steps(config: HierarchicalTraining, count: int) -> tuple[Any, FlatState, list[dict[str, float]]]:
    """Take the same steps in both trainers and return their states and the figures of all steps."""
    ordinary, a, flat, b = both(config)
    fourier, figures = native_fourier(CONFIG, 16, 16), []
    rng = np.random.default_rng(0)
    for number in range(count):
        values = torch.from_numpy(ordinary.source.draw(config.batch, rng)).permute(0, 3, 1, 2)
        values = values.contiguous(memory_format=torch.channels_last)
        log_lambda = torch.from_numpy(rng.uniform(3.0, 8.0, config.batch).astype(np.float32))
        points = sampled_points(256, config.point_share)
        done = number / count
        torch.manual_seed(number)
        figures.append(ordinary.descend(a, done, values, log_lambda, fourier, points))
        torch.manual_seed(number)
        figures.append(flat.descend(b, done, values, log_lambda, points))
    return a, b, figures


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_flat_steps_are_those_of_the_ordinary_trainer(share: float) -> None:
    """Noisy and rounded stages, clipped gradients, averages: float32 sums in another order, amplified over ten steps.

    The learning rate rises over 300 steps, so a parameter moves by about 1e-3 here; the tolerance is 2 % of that."""
    a, b, figures = take_steps(gpu_training(point_share=share, lr=2e-2), 10)
    for mine, theirs in zip(figures[::2], figures[1::2], strict=True):
        assert theirs == pytest.approx(mine, rel=1e-4)
    flat = dict(b.flat.cost.model.named_parameters())
    start = dict(flat_trainer(gpu_training()).start().flat.cost.model.named_parameters())
    moved = max(float((p - start[name]).detach().abs().max()) for name, p in flat.items())
    assert moved > 5e-4
    for name, parameter in a.model.named_parameters():
        torch.testing.assert_close(flat[name], parameter, rtol=0.0, atol=2e-5)
    averages = b.flat.averaged()
    for (name, _), average in zip(a.model.named_parameters(), a.average, strict=True):
        torch.testing.assert_close(averages[name], average, rtol=0.0, atol=2e-5)


def test_readings_of_features_move_the_model_alike() -> None:
    """Readings themselves go by Adam in the flat step, so only the first step is the same."""
    a, b, figures = take_steps(gpu_training(auxiliary_share=0.9, lr=2e-2), 1)
    assert figures[1] == pytest.approx(figures[0], rel=1e-5)
    flat = dict(b.flat.cost.model.named_parameters())
    for name, parameter in a.model.named_parameters():
        torch.testing.assert_close(flat[name], parameter, rtol=0.0, atol=1e-6)


def test_a_gradient_that_is_not_finite_moves_nothing() -> None:
    trainer = flat_trainer(gpu_training())
    state = trainer.start()
    before = state.flat.all.clone()
    values = torch.full((4, 3, 16, 16), float("nan"))
    trainer.descend(state, 0.5, values, torch.full((4,), 5.0), None)
    assert torch.equal(state.flat.all, before) and torch.isfinite(state.flat.momentum).all()


def test_bfloat16_steps_stay_close() -> None:
    """The weights that convolutions read are copies then; parameters stay in float32."""
    config = gpu_training()
    trainers = [FlatTrainer(config, IMAGES, (0.8, 1.5), "cpu", low=low) for low in (torch.float32, torch.bfloat16)]
    states = [trainer.start() for trainer in trainers]
    for _ in range(3):
        figures = [trainer._step(state, 0.5) for trainer, state in zip(trainers, states, strict=True)]
    assert (
        figures[1]["loss"] == pytest.approx(figures[0]["loss"], rel=0.05) and states[1].flat.all.dtype == torch.float32
    )


def test_a_training_resumes_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    config = gpu_training(auxiliary_share=0.4)
    whole, pieces = flat_trainer(config), flat_trainer(config)
    one = whole.start()
    whole.run(one, until_seconds=60.0, checkpoint=None, progress=lambda *_: None)
    two = pieces.start()
    for _ in range(7):
        pieces._step(two, pieces.share_done(two))
    pieces.save(two, tmp_path)
    three = flat_trainer(config).resume(tmp_path)
    pieces.run(three, until_seconds=60.0, checkpoint=tmp_path, progress=lambda *_: None)
    assert (one.steps, three.steps) == (20, 20)
    for name, tensor in one.flat.tensors().items():
        assert torch.equal(tensor, three.flat.tensors()[name]), name
    wider = flat_trainer(replace(config, network=replace(CONFIG, feature_width=12)))
    with pytest.raises(FormatError, match="another training"):
        wider.resume(tmp_path)
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(FormatError, match="checkpoint"):
        pieces.resume(tmp_path)


def test_training_buys_something_and_gives_a_prior() -> None:
    config = gpu_training(steps=150, lr=2e-2, batch=8, weight_signals=2, auxiliary_share=0.25)
    trainer, source = flat_trainer(config), ImageSource(IMAGES, (16, 16), (0.8, 1.5))
    state = trainer.start()
    before = evaluate_hierarchical(trainer.finish(state, {}), source, count=8)
    trainer.run(state, until_seconds=120.0, checkpoint=None, progress=lambda *_: None)
    prior = trainer.finish(state, {"data": "six images"})
    after = evaluate_hierarchical(prior, source, count=8)
    assert prior.card == {"data": "six images"} and prior.name == "tiny"
    costs = [[r.bits_per_point + 10 ** (-r.db / 10) / r.beta for r in results] for results in (before, after)]
    assert sum(costs[1]) < 0.7 * sum(costs[0])
    further = flat_trainer(config.fine_tuning(), begin=prior.model)
    first = dict(further.start().flat.cost.model.named_parameters())
    assert torch.equal(first["fourier"], prior.model.fourier)


def test_captured_steps_are_eager_without_a_gpu() -> None:
    def step() -> torch.Tensor:
        return torch.tensor([1.0, 2.0])

    assert captured(step, [], CPU) is step
    assert LateFigures(2, CPU).read(step()) == [1.0, 2.0]


def test_crops_come_from_the_images() -> None:
    bank = ImageBank([np.full((30, 40, 3), level, np.uint8) for level in (10, 200)], (0.5, 2.0), 16, CPU)
    torch.manual_seed(0)
    crops = bank.draw(200)
    assert crops.shape == (200, 3, 16, 16) and float(crops.min()) >= 0.0 and float(crops.max()) <= 1.0
    plain = (crops - crops[:, :1, :1, :1]).flatten(1).abs().amax(1) < 1e-6
    levels = {round(255.0 * float(level)) for level in crops[plain][:, 0, 0, 0]}
    assert levels.issuperset([10, 200]) and 80 < int(plain.sum()) < 160  # two in five have other colours
    ramp = np.repeat(np.arange(0, 240, 6, dtype=np.uint8)[:, None, None], 50, axis=1).repeat(3, axis=2)
    crops = ImageBank([ramp], (1.0, 1.0001), 16, CPU).draw(300)
    along = [float((crops.diff(dim=axis).abs().flatten(1).amax(1) > 1e-3).float().mean()) for axis in (2, 3)]
    assert along[0] > 0.8 and 0.04 < along[1] < 0.2  # one in ten is transposed


def test_resampled_versions_are_large_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = resampled(IMAGES[0], 4, (0.5, 2.0), 36, (0, 1))
    assert len(versions) == 5 and versions[0] is not None and np.array_equal(versions[0], IMAGES[0])
    assert all(min(v.shape[:2]) >= 36 and v.shape[2] == 3 for v in versions)
    assert all(
        np.array_equal(a, b) for a, b in zip(versions, resampled(IMAGES[0], 4, (0.5, 2.0), 36, (0, 1)), strict=True)
    )
    monkeypatch.setattr(image_bank, "BANK_BYTES", 3 * sum(image.size for image in IMAGES))
    assert image_bank._versions_that_fit(IMAGES, (0.5, 2.0)) == 1


def test_settings_for_a_gpu_keep_what_fine_tuning_leaves_out() -> None:
    config = accelerated(tiny_training(patch_shape=(16, 16)))
    assert config.patch_shape == (256, 256) and config.noisy_share == 0.35 and config.auxiliary_share == 0.25
    tuned = accelerated(tiny_training().fine_tuning())
    assert tuned.noisy_share == tuned.auxiliary_share == tuned.warm_share == 0.0


def test_priors_train_uses_it_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images without tiles train on the device, all else by the ordinary trainer."""
    for number, image in enumerate(smooth_tiles(3, size=288)):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    made: list[tuple[Any, ...]] = []

    def first_argument(*arguments: Any) -> Any:
        made.append(arguments)
        return arguments[0]

    monkeypatch.setattr(training_gpu, "FlatTrainer", first_argument)
    options = TrainingOptions(data=(tmp_path,), name="mine", device="cuda", minutes=2.0)
    job: Any = make_job(options)
    ((config, images, scales, device, begin),) = made
    assert job.trainer is config and config.patch_shape == (256, 256) and config.minutes == 2.0
    assert len(images) == 2 and scales == (0.5, 2.0) and device == "cuda" and begin is None
    assert job.settings["scales"] == (0.5, 2.0) and job.data.held_out == 1
    for other in (replace(options, device="cpu"), replace(options, recipe="images32", tile=32)):
        with make_job(other) as job:
            assert isinstance(job.trainer, HierarchicalTrainer)
    assert len(made) == 1
