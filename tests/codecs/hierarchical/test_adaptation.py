"""The encoder adapted to a signal: what it shares, what it changes, and that files get better by it."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import pytest
import torch

from inrcodec.codecs.hierarchical import adaptation as encoder_adaptation
from inrcodec.codecs.hierarchical.adaptation import adapted, offsets_to
from inrcodec.codecs.hierarchical.effort import HierarchicalEffort
from inrcodec.codecs.hierarchical.elbo import Errors, elbo, rounded
from inrcodec.codecs.hierarchical.encoder import LatentEncoder
from inrcodec.codecs.hierarchical.exact import log_lambda_of
from inrcodec.codecs.hierarchical.model import HierarchicalINR
from inrcodec.codecs.hierarchical.rate_search import quality_search, search_quality
from inrcodec.codecs.hierarchical.refinement import Batch, Offsets
from inrcodec.codecs.hierarchical.render import render
from inrcodec.signals.ms_ssim import structure_errors
from tests.support.tiny import smooth_tiles
from tests.support.tiny_hierarchical import tiny_prior
from tests.support.tiny_patches import tiny_patch_prior

QUALITY = 300
LOG_LAMBDA = log_lambda_of(tiny_prior().config, QUALITY)
STEPS = 40
SIDE = 136


def batch(seed: int = 1, rows: int = SIDE) -> Batch:
    """An image unlike those that the prior knows: rougher."""
    values = torch.from_numpy(smooth_tiles(1, seed=seed, size=SIDE)).permute(0, 3, 1, 2).float() / 255
    waves = 0.1 * torch.sin(torch.arange(SIDE) * 0.9)
    mixed = (0.7 * values + waves + waves[:, None]).clamp(0, 1)[:, :, :rows]
    mask = None
    if rows < SIDE:
        mixed = torch.nn.functional.pad(mixed, (0, 0, 0, SIDE - rows), mode="replicate")
        mask = torch.ones(SIDE, SIDE)
        mask[rows:] = 0
    return Batch(
        mixed.contiguous(memory_format=torch.channels_last),
        None if mask is None else mask.reshape(-1),
        rows * SIDE,
        (rows, SIDE),
    )


def cost(of: Batch, offsets: Offsets | None, errors: Errors | None = None) -> tuple[float, float]:
    """Bits + lambda * squared error, and the mean error, of rounded latents."""
    with torch.no_grad():
        found = elbo(
            tiny_prior().model,
            of.values,
            torch.tensor([LOG_LAMBDA]),
            of.fourier(tiny_prior().config),
            rounded,
            offsets=offsets,
            mask=of.mask,
            errors=errors,
        )
    return float(found.bits + math.exp(LOG_LAMBDA) * found.mse * of.points), float(found.mse)


@lru_cache(maxsize=2)
def own_encoder(measure: Errors | None = None) -> HierarchicalINR:
    """The tiny model, its encoder adapted to ``batch()``."""
    return adapted(tiny_prior().model, batch(), LOG_LAMBDA, STEPS, lambda steps: None, measure)


@pytest.mark.parametrize("rows", [SIDE, SIDE - 5])
def test_it_lowers_the_cost_and_leaves_the_prior_alone(rows: int) -> None:
    model = tiny_prior().model
    before = {name: p.clone() for name, p in model.named_parameters()}
    one = batch(rows=rows)
    ticks: list[int] = []
    own = adapted(model, one, LOG_LAMBDA, STEPS, ticks.append)
    offsets = offsets_to(model, own, one, LOG_LAMBDA)
    assert cost(one, offsets)[0] < 0.97 * cost(one, None)[0]
    assert sum(ticks) == STEPS
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) and not p.requires_grad
    shared = dict(model.named_parameters())
    changed = {n for n, p in own.named_parameters() if p is not shared[n]}
    assert {name.split(".")[1].split("-")[0] for name in changed} == {"shrink", "rise", "ask_in", "ask_out"}


def test_an_encoder_that_learned_nothing_moves_nothing() -> None:
    model, one = tiny_prior().model, batch()
    offsets = offsets_to(model, model.with_own_encoder(), one, LOG_LAMBDA)
    assert all(float(value.abs().max()) == 0.0 for value in offsets.values())


def test_offsets_lead_where_the_adapted_encoder_does() -> None:
    model, one = tiny_prior().model, batch()
    own = own_encoder()
    with torch.no_grad():
        alone = elbo(own, one.values, torch.tensor([LOG_LAMBDA]), one.fourier(model.config), rounded)
    by_itself = float(alone.bits + math.exp(LOG_LAMBDA) * alone.mse * one.points)
    assert cost(one, offsets_to(model, own, one, LOG_LAMBDA))[0] == pytest.approx(by_itself, rel=1e-3)


def test_another_measure_is_what_it_learns_for() -> None:
    model, one = tiny_prior().model, batch()
    errors = [
        cost(one, offsets_to(model, own_encoder(measure), one, LOG_LAMBDA), structure_errors)[1]
        for measure in (None, structure_errors)
    ]
    assert errors[1] < errors[0]


def test_files_are_better_at_a_wanted_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    one, bits = batch(), 9000.0
    found = {}
    for effort in (HierarchicalEffort("none", 0), HierarchicalEffort("adapting", 0, adapting_steps=2 * STEPS)):
        fresh = replace(one, offsets={}, refined_at=None)
        encoder = LatentEncoder(tiny_prior(), effort)
        calls: list[int] = []
        monkeypatch.setattr(
            "inrcodec.codecs.hierarchical.encoder.adapted",
            lambda *a, _calls=calls: _calls.append(1) or encoder_adaptation.adapted(*a),
        )
        quality, coded = search_quality(encoder, [fresh], bits)
        length = 8 * len(coded[0].messages[0])
        assert 0.97 * bits <= length <= bits
        assert len(calls) == (1 if effort.adapting_steps else 0)
        assert coded[0].features is not None
        model = tiny_prior().model
        rate = model.rates(torch.tensor([log_lambda_of(model.config, quality)]))
        with torch.no_grad():
            back = render(model, coded[0].features, rate, (SIDE, SIDE), (SIDE, SIDE))
        wanted = one.values[0].permute(1, 2, 0).numpy()
        found[effort.name] = float(((back - wanted) ** 2).mean())
    assert found["adapting"] < 0.95 * found["none"]


def test_steps_go_with_the_size_of_the_image() -> None:
    effort, image = HierarchicalEffort("x", 12, small_steps=48, adapting_steps=110), tiny_prior()
    assert effort.steps_for(image, 768 * 512) == (110, 0)
    assert effort.steps_for(image, 384 * 256) == (55, 0)
    assert effort.steps_for(image, 1 << 24) == (220, 0)
    assert effort.steps_for(image, 32 * 32) == (0, 48)
    assert effort.steps_for(replace(image, kind="audio"), 768 * 512) == (0, 12)
    assert effort.steps_for(tiny_patch_prior(), 768 * 512) == (0, 12)
    assert HierarchicalEffort("fast", 0).steps_for(image, 768 * 512) == (0, 0)


def test_many_at_once_come_out_as_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inrcodec.codecs.hierarchical.encoder.ADAPTED_KEPT", 1)
    effort = HierarchicalEffort("adapting", 0, adapting_steps=STEPS)
    alone = []
    for seed in (1, 2):
        one = batch(seed)
        alone.append(search_quality(LatentEncoder(tiny_prior(), effort), [one], 9000.0))
    together = LatentEncoder(tiny_prior(), effort)
    found = together.run_all([quality_search(together, [batch(seed)], 9000.0) for seed in (1, 2)])
    for (quality, coded), (other, also) in zip(alone, found, strict=True):
        assert quality == other and coded[0].messages == also[0].messages
