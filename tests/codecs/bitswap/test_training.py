"""Training of lossless models: it learns, it goes on where it stopped, its data are split and free of traces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from inrcodec.cli import main
from inrcodec.codecs.bitswap.data import LevelSource, in_channels, read_level_data, reduced, softened
from inrcodec.codecs.bitswap.evaluation import evaluate_bitswap
from inrcodec.codecs.bitswap.recipes import RECIPES
from inrcodec.codecs.bitswap.training import BitSwapTrainer, BitSwapTraining
from inrcodec.errors import DataError, FormatError, UsageError, look_up
from tests.support.tiny import smooth_tiles
from tests.support.tiny_bitswap import COLOUR


def source(count: int = 40) -> LevelSource:
    return LevelSource([smooth_tiles(count, 3, size=16)], [], 16, mirror=True, binary=False)


def trainer(steps: int) -> BitSwapTrainer:
    return BitSwapTrainer(BitSwapTraining(COLOUR, "tiny", 1.0, 8 * 256, lr=3e-3, steps=steps), source())


def silent(state: object, stage: str) -> None:
    del state, stage


def test_it_learns_and_the_integers_keep_it() -> None:
    made = trainer(150)
    state = made.start()
    before = evaluate_bitswap(made.finish(state, {}), source(), points=2048)[0]
    made.run(state, until_seconds=1e9, checkpoint=None, progress=silent)
    after = evaluate_bitswap(made.finish(state, {"seconds": 1}), source(), points=2048)[0]
    assert state.steps == 150 and after.net < before.net - 0.5
    assert abs(after.net - after.elbo) < 0.03


def test_a_stopped_training_goes_on_as_if_it_had_not(tmp_path: Path) -> None:
    whole, made = trainer(12), trainer(12)
    one = whole.start()
    whole.run(one, until_seconds=1e9, checkpoint=None, progress=silent)
    two = made.start()
    for _ in range(5):
        made._step(two, made.share_done(two))
    made.save(two, tmp_path)
    three = made.resume(tmp_path)
    made.run(three, until_seconds=1e9, checkpoint=None, progress=silent)
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), three.model.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(one.average, three.average, strict=True))


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    made = trainer(3)
    made.save(made.start(), tmp_path)
    other = BitSwapTrainer(BitSwapTraining(RECIPES["gray"].network, "tiny", 1.0, 512), source())
    with pytest.raises(FormatError):
        other.resume(tmp_path)


def test_jpeg_is_averaged_down_and_lossless_files_are_not(tmp_path: Path) -> None:
    photograph = Image.fromarray(smooth_tiles(1, 3, size=96)[0])
    photograph.save(tmp_path / "a.jpg")
    photograph.save(tmp_path / "b.png")
    found = read_level_data([tmp_path], 3, 32)
    sides = sorted(p.shape[0] for p in found.training.photographs)
    assert sides == [32, 48, 96]


def test_every_twentieth_tile_is_held_out(tmp_path: Path) -> None:
    tiles = np.arange(40, dtype=np.uint8)[:, None, None, None].repeat(8, 1).repeat(8, 2).repeat(3, 3)
    mosaic = tiles.reshape(5, 8, 8, 8, 3).swapaxes(1, 2).reshape(40, 64, 3)
    Image.fromarray(mosaic).save(tmp_path / "m.png")
    found = read_level_data([tmp_path], 3, 8, tile=8)
    assert found.training.tiles is not None and found.held_out.tiles is not None
    assert found.held_out.tiles[:, 0, 0, 0].tolist() == [0, 20] and len(found.training.tiles) == 38
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError):
        read_level_data([tmp_path / "none"], 3, 8)


def test_drawings() -> None:
    rng = np.random.default_rng(0)
    tiles = smooth_tiles(10, 1, size=16)
    drawn = LevelSource([tiles], [], 16, mirror=False, binary=False).draw(3 * 256, rng)
    assert drawn.shape == (3, 3, 16, 16)
    assert {d.tobytes() for d in drawn.astype(np.uint8)} <= {t.transpose(2, 0, 1).tobytes() for t in tiles}
    half = LevelSource([np.full((4, 16, 16, 1), 64, np.uint8)], [], 16, mirror=False, binary=True).draw(1 << 16, rng)
    assert set(np.unique(half)) == {0.0, 1.0} and abs(half.mean() - 64 / 255) < 0.01
    soft = softened(tiles[0], rng)
    assert soft.shape == tiles[0].shape and np.abs(soft.astype(int) - tiles[0]).mean() < 8


def test_gray_is_the_luma() -> None:
    colour = np.array([[[255, 0, 0], [10, 20, 30], [7, 7, 7]]], np.uint8)
    assert in_channels(colour, 1)[0, :, 0].tolist() == [76, 18, 7]
    assert in_channels(in_channels(colour, 1), 3).shape == (1, 3, 3)
    assert reduced(np.arange(16, dtype=np.uint8).reshape(4, 4, 1), 2)[..., 0].tolist() == [[2, 4], [10, 12]]


def test_recipes() -> None:
    for layers in (1, 8):
        network = RECIPES["colour"].with_layers(layers).network
        assert len(network.latents) == layers and network.splits == 0 and not network.phases
    with pytest.raises(UsageError):
        RECIPES["colour"].with_layers(0)
    with pytest.raises(UsageError, match="colour"):
        look_up(RECIPES, "photographs", "recipe")


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiles = smooth_tiles(40, 3, size=28)
    mosaic = tiles.reshape(5, 8, 28, 28, 3).swapaxes(1, 2).reshape(140, 224, 3)
    Image.fromarray(mosaic).save(tmp_path / "m.png")
    output = tmp_path / "mine.safetensors"
    options = ["--recipe", "digits", "--latent-layers", "2", "--minutes", "0.02", "--threads", "1", "-q"]
    assert main(["priors", "train", str(tmp_path / "m.png"), "--codec", "bitswap", "-o", str(output), *options]) == 0
    assert main(["priors", "verify", str(output)]) == 0
    assert "is whole" in capsys.readouterr().out
    more = ["priors", "train", str(tmp_path / "m.png"), "--codec", "bitswap", "-o", str(tmp_path / "more.safetensors")]
    assert main([*more, *options, "--start-from", str(output)]) == 0
    assert main([*more, *options, "-f", "--start-from", "photographs"]) == 2
    assert "not for codec bitswap" in capsys.readouterr().err
    assert main(["priors", "train", str(tmp_path / "m.png"), "-o", str(output), "-f", "--latent-layers", "2"]) == 2


def test_a_training_goes_on_from_a_learned_model() -> None:
    made = trainer(60)
    state = made.start()
    made.run(state, until_seconds=1e9, checkpoint=None, progress=silent)
    learned = made.finish(state, {})
    further = BitSwapTrainer(made.config.fine_tuning(), source(), begin=learned.model)
    first = further.finish(further.start(), {})
    assert all(torch.equal(a, learned.tables.weights[name]) for name, a in first.tables.weights.items())
    assert further.config.lr < made.config.lr and further.config.warm_share == 0.0


def test_going_on_from_another_shape_is_refused() -> None:
    made = trainer(1)
    other = BitSwapTraining(RECIPES["gray"].network, "other", 1.0, 512)
    with pytest.raises(UsageError, match="shape"):
        BitSwapTrainer(other, source(), begin=made.start().model)
