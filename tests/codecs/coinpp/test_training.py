"""Meta-learning: better than the start, resumable, and a prior file that refuses what cannot be."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from inrcodec.codecs.coinpp.evaluation import evaluate_coinpp
from inrcodec.codecs.coinpp.inner_loop import fit_latents, squared_errors
from inrcodec.codecs.coinpp.model import CoinPPConfig
from inrcodec.codecs.coinpp.prior import CoinPPPrior
from inrcodec.codecs.coinpp.recipes import MODULATION_RECIPES, adapted_coinpp_recipe
from inrcodec.codecs.coinpp.training import CoinPPTrainer, scales_of
from inrcodec.errors import FormatError, UsageError, look_up
from inrcodec.training.sources import TileSource
from tests.support.tiny import smooth_tiles
from tests.support.tiny_coinpp import CONFIG, meta_learn, tiny_coinpp_prior, tiny_coinpp_training


def test_outer_steps_mend_a_network() -> None:
    """One whose readouts have been halved: latents no longer move values by their own size."""
    config = tiny_coinpp_training(steps=120, lr=5e-3, inner=(2, 2))
    trainer = CoinPPTrainer(config, TileSource(smooth_tiles(256), mirror=True))
    state = trainer.start()
    with torch.no_grad():
        state.model.readouts[0] *= 0.5
    values = trainer._draw(64, np.random.default_rng(99))

    @torch.no_grad()
    def error() -> float:
        latents = fit_latents(state.model, values, trainer.coordinates, 2)
        return float(squared_errors(state.model(latents, trainer.coordinates), values).mean())

    before = error()
    trainer.run(state, until_seconds=60, checkpoint=None, progress=lambda state, stage: None)
    assert error() < 0.7 * before


def test_only_outer_steps_of_second_order_move_the_step_sizes() -> None:
    moved = []
    for share in (0.0, 1.0):
        trainer, state = meta_learn(tiny_coinpp_training(steps=5, first_order_share=share))
        moved.append(float((state.model.log_rates.detach() - trainer.start().model.log_rates.detach()).abs().max()))
    assert moved[0] > 0.0 and moved[1] == 0.0


def test_equal_settings_give_equal_networks() -> None:
    results = [meta_learn(tiny_coinpp_training(steps=6))[1] for _ in range(2)]
    for a, b in zip(results[0].model.parameters(), results[1].model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_training_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    trainer = CoinPPTrainer(tiny_coinpp_training(steps=8), TileSource(smooth_tiles(256), mirror=True))
    state = trainer.start()
    for _ in range(3):
        trainer._step(state, trainer.share_done(state))
    trainer.save(state, tmp_path)
    back = trainer.resume(tmp_path)
    assert (back.steps, back.seconds) == (state.steps, state.seconds)
    for one in (state, back):
        trainer.run(one, until_seconds=60, checkpoint=None, progress=lambda state, stage: None)
    # Moments are kept in bfloat16: nearly the same steps.
    for a, b in zip(state.model.parameters(), back.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0.02, atol=2e-3)
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(FormatError, match="checkpoint"):
        trainer.resume(tmp_path)


def test_finer_steps_are_better_and_longer() -> None:
    results = evaluate_coinpp(tiny_coinpp_prior(), TileSource(smooth_tiles(40, 9), mirror=False), count=16)
    assert [r.step for r in results] == sorted((r.step for r in results), reverse=True)
    assert all(b.bits_per_point > a.bits_per_point and b.db > a.db for a, b in itertools.pairwise(results))


def test_scales_are_those_of_patches_of_gain_one() -> None:
    generator = torch.Generator().manual_seed(0)
    scale = torch.linspace(-2, 2, 200)
    gain = torch.randn(500, 1, generator=generator)
    found = scales_of(torch.randn(500, 200, generator=generator) * (scale + gain - gain.mean()).exp())
    torch.testing.assert_close(found, scale, rtol=0.0, atol=0.2)


def test_file_of_a_prior() -> None:
    prior = tiny_coinpp_prior()
    data = prior.to_bytes()
    again = CoinPPPrior.from_bytes(data)
    assert again.to_bytes() == data and again.id == prior.id and again.steps == prior.steps
    for cut in (0, 7, len(data) // 2, len(data) - 1):
        with pytest.raises(FormatError):
            CoinPPPrior.from_bytes(data[:cut])
    bad = dict(prior.parameters)
    bad["phase"] = bad["phase"] * float("nan")
    with pytest.raises(FormatError, match="finite"):
        CoinPPPrior.from_bytes(dataclasses.replace(prior, parameters=bad).to_bytes())
    with pytest.raises(FormatError, match="steps"):
        CoinPPPrior.from_bytes(dataclasses.replace(prior, steps=(2.0, 1.0)).to_bytes())
    wider = dataclasses.replace(CONFIG, widths=(96, 13))
    with pytest.raises(FormatError, match="description"):
        CoinPPPrior.from_bytes(dataclasses.replace(prior, config=wider).to_bytes())


def test_table_indices_are_integers_of_the_scale_over_the_step() -> None:
    prior = tiny_coinpp_prior()
    for fineness in (0, 77, 300):
        gains = torch.tensor([-3, 0, 8])
        scales = prior.log_scales(gains).exp() / (16.0 * 2.0 ** (-fineness / 32))
        wanted = (torch.log(scales / 0.05) / np.log(256 / 0.05) * 63).clamp(0, 63)
        assert (prior.table_indices(fineness, gains) - wanted).abs().max() < 0.51


def test_recipes() -> None:
    assert {"images32", "photographs", "speech16k", "fields"} <= set(MODULATION_RECIPES)
    small = adapted_coinpp_recipe(MODULATION_RECIPES["images32"], name="mine", tile=8)
    assert small.network.patch_shape == (8, 8) and small.network.latent_dims == 192 and small.name == "mine"
    with pytest.raises(UsageError, match="recipe"):
        look_up(MODULATION_RECIPES, "images", "recipe")
    with pytest.raises(UsageError, match="latent"):
        CoinPPConfig((8, 8), 3, (96, 12), 200)
