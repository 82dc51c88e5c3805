"""Annealed symbols of the finest level: cheaper than trial steps alone, the same alone and in company."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from inrcodec.codecs.base import EncodeOptions, Source, no_progress
from inrcodec.codecs.hierarchical import refinement
from inrcodec.codecs.hierarchical.annealing import anneal
from inrcodec.codecs.hierarchical.batches import as_batch
from inrcodec.codecs.hierarchical.codec import HierarchicalCodec
from inrcodec.codecs.hierarchical.elbo import Elbo, Errors, Quantise, elbo, rounded
from inrcodec.codecs.hierarchical.exact import log_lambda_of, quality_of
from inrcodec.codecs.hierarchical.refinement import (
    Batch,
    annealed_blocks,
    refine,
    step_count,
    trial_steps,
    zero_offsets,
)
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.ms_ssim import structure_errors
from tests.support.tiny import smooth_tiles
from tests.support.tiny_hierarchical import CONFIG
from tests.support.tiny_patches import PATCHES, tiny_patch_prior

QUALITY, STEPS = quality_of(PATCHES, 6.5), 8
NO_FOURIER = torch.zeros(0)


def batch(rows: int = 70, columns: int = 45, seed: int = 1) -> Batch:
    """A rough image whose sides are no multiples of the coarsest stride, so that a part of the grid is masked."""
    smooth = smooth_tiles(1, seed=seed, size=max(rows, columns))[:, :rows, :columns].astype("float32") / 255
    noise = np.random.default_rng(seed).normal(size=smooth.shape).astype("float32")
    return as_batch((0.8 * smooth + 0.1 + 0.05 * noise).clip(0.0, 1.0), PATCHES)


def terms(of: Batch, errors: Errors | None = None) -> Elbo:
    """The terms of the rounded latents."""
    prior = tiny_patch_prior()
    log_lambda = torch.tensor([log_lambda_of(prior.config, QUALITY)])
    offsets = of.offsets or None
    with torch.no_grad():
        return elbo(
            prior.model, of.values, log_lambda, NO_FOURIER, rounded, offsets=offsets, mask=of.mask, errors=errors
        )


def cost(of: Batch) -> float:
    """Bits + lambda * squared error."""
    found = terms(of)
    weight = torch.tensor(log_lambda_of(tiny_patch_prior().config, QUALITY)).exp()
    return float(found.bits + weight * found.mse * of.points)


def refined(of: Batch, steps: int = STEPS, errors: Errors | None = None) -> Batch:
    refine(tiny_patch_prior(), [of], [QUALITY], steps, no_progress, errors)
    return of


def test_a_top_down_pass_goes_on_from_any_block() -> None:
    prior, one = tiny_patch_prior(), batch()
    log_lambda = torch.full((1,), 5.0)
    features: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        whole = elbo(
            prior.model,
            one.values,
            log_lambda,
            NO_FOURIER,
            rounded,
            watch=lambda name, h: features.update({name: h.clone()}),
        )
        for index, (name, h) in enumerate(features.items()):
            part = elbo(prior.model, one.values, log_lambda, NO_FOURIER, rounded, start=(name, h.clone()))
            torch.testing.assert_close(part.mse, whole.mse)
            assert len(part.bit_maps) == len(features) - index
            for found, wanted in zip(part.bit_maps, whole.bit_maps[index:], strict=True):
                torch.testing.assert_close(found, wanted)


def test_symbols_of_a_quadratic_go_to_its_minimum() -> None:
    """Without interactions, every symbol ends at the cheaper of the integers near its target."""
    target = torch.tensor([0.1, 0.9, -1.2, 2.8]).view(1, 4, 1, 1).expand(1, 4, 8, 8).contiguous()
    curvature, generator = 200.0, torch.Generator().manual_seed(0)
    log_scale = torch.full_like(target, 1.0)

    def quadratic(quantise: Quantise, offset: torch.Tensor) -> torch.Tensor:
        sent, coded = quantise(offset, log_scale)
        assert not coded.requires_grad
        return (0.5 * curvature * (sent - target).square()).flatten(1).sum(1)

    ticks: list[int] = []
    found = anneal(
        quadratic,
        torch.zeros_like(target),
        None,
        torch.full((1, 1, 1, 1), curvature),
        12,
        lambda shape: torch.rand((1, *shape), generator=generator),
        ticks.append,
    )
    assert torch.equal(found, target.round())
    assert ticks == [1] * 12


def test_it_lowers_the_cost_further_than_trials_on_coarse_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    before, both = cost(batch()), cost(refined(batch(), 24))
    monkeypatch.setattr(refinement._Descent, "anneal", lambda self, steps, progress: None)
    trials = cost(refined(batch(), 24))
    assert both < 0.98 * trials < 0.98 * before  # about 0.95 and 0.985 of the cost before


@pytest.mark.parametrize("tile_points", [1 << 19, 1 << 12])
def test_company_changes_nothing(monkeypatch: pytest.MonkeyPatch, tile_points: int) -> None:
    """Whole signals and tiles."""
    monkeypatch.setattr(refinement, "TILE_POINTS", tile_points)
    before = cost(batch(seed=2))
    alone, together, other = batch(seed=2), batch(seed=2), batch(seed=3)
    refined(alone)
    refine(tiny_patch_prior(), [other, together], [QUALITY - 40, QUALITY], STEPS, no_progress)
    assert cost(alone) < before
    assert cost(together) == pytest.approx(cost(alone), rel=5e-3)  # sums of another order may round otherwise
    assert refined(batch(seed=2)).offsets.keys() == alone.offsets.keys()
    for name, offsets in refined(batch(seed=2)).offsets.items():
        assert torch.equal(offsets, alone.offsets[name])


def test_another_measure_is_what_it_improves() -> None:
    by_error, by_structure = refined(batch(136, 128), 24), refined(batch(136, 128), 24, structure_errors)
    found = [float(terms(each, structure_errors).mse) for each in (by_error, by_structure)]
    assert found[1] < found[0]


def test_steps_are_reported_as_planned() -> None:
    assert annealed_blocks(CONFIG) == [] and step_count(CONFIG, 12) == trial_steps(CONFIG, 12) == 12
    assert annealed_blocks(PATCHES) == ["2.0", "2.1"]
    assert step_count(PATCHES, 12) == 36 and step_count(PATCHES, 120) == 280
    single = replace(PATCHES, levels=(replace(PATCHES.levels[2], phases=1),))
    assert trial_steps(single, 12) == 0 and step_count(single, 12) == 24
    ticks: list[int] = []
    refine(tiny_patch_prior(), [batch()], [QUALITY], STEPS, ticks.append)
    assert sum(ticks) == step_count(PATCHES, STEPS)
    values = smooth_tiles(1, size=136)[0].astype("float32") / 255
    signal = Source(values, SignalHeader("image", "rgb", "u8", (136, 136), 3))
    codec = HierarchicalCodec(tiny_patch_prior())
    assert codec.planned_steps([signal], EncodeOptions(effort="default").effort) == 36
    assert codec.planned_steps([signal], "fast") == 0


def test_no_steps_change_nothing() -> None:
    one = batch()
    refined(one, 0)
    assert not one.offsets
    zeros = replace(batch(), offsets=zero_offsets(PATCHES, 1, 80, 48))
    assert cost(zeros) == pytest.approx(cost(batch()))
