"""The progressive loop: the receiver gets what the sender fixed; rate control counts before it sends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from inrcodec.codecs.base import EncodeOptions
from inrcodec.codecs.combiner.bitstream import OperatingPoint, decode_latents
from inrcodec.codecs.combiner.blocks import count_blocks
from inrcodec.codecs.combiner.codec import CombinerCodec
from inrcodec.codecs.combiner.effort import COMBINER_EFFORTS
from inrcodec.codecs.combiner.posterior import kl_bits
from inrcodec.codecs.combiner.progressive import Patches, ProgressiveEncoder
from inrcodec.codecs.combiner.rate_control import (
    beta_at_bits,
    better_anchor,
    bits_at_beta,
    nearest_anchor,
    point_for_beta,
    target_for_blocks,
)
from inrcodec.coding.relative_entropy import Selection
from inrcodec.errors import UsageError
from inrcodec.signals.coordinates import grid_coordinates
from tests.support.tiny import smooth_tiles, tiny_prior

FAST = COMBINER_EFFORTS["fast"]


def patches(n: int, signal: list[int] | None = None) -> Patches:
    prior = tiny_prior()
    values = torch.from_numpy(smooth_tiles(n, seed=5).reshape(n, 64, 3) / 255.0).float()
    return Patches((values - prior.centre) / prior.spread, None, np.array(signal or range(n)))


def features() -> torch.Tensor:
    return tiny_prior().model.features(torch.from_numpy(grid_coordinates((8, 8)).reshape(-1, 2)))


def encode(p: Patches, point: OperatingPoint, effort=FAST):  # type: ignore[no-untyped-def]
    encoder = ProgressiveEncoder(tiny_prior(), effort)
    fit = encoder.fit_posteriors(p, features(), point)
    return encoder.encode(p, features(), point, fit), fit


@pytest.mark.parametrize("selection", list(Selection))
def test_receiver_holds_the_very_latents_that_the_sender_fixed(selection: Selection) -> None:
    p = patches(7, [0, 0, 0, 1, 2, 2, 2])
    point = OperatingPoint(1, float(tiny_prior().betas[1]), 12 * 16)
    effort = replace(FAST, selection=selection, budget_bits=12)
    coded, fit = encode(p, point, effort)
    assert len(coded) == 3
    received = torch.cat([decode_latents(tiny_prior(), point, c, 12) for c in coded])
    assert torch.equal(received, fit.posterior.mean)
    assert fit.open_dims.sum() == 0


def test_one_signal_alone_or_among_others_has_the_same_blocks() -> None:
    """Blocks never reach over signals, so any entry of an archive decodes alone."""
    point = OperatingPoint(1, float(tiny_prior().betas[1]), 8 * 16)
    coded, _ = encode(patches(5), point)
    units = point.target * 1024 // 16
    for c in coded:
        assert len(c.indices) == count_blocks(tiny_prior().kl_units[1], c.classes, units)
        assert c.indices.max(initial=0) < 1 << FAST.budget_bits


def test_same_input_gives_the_same_indices() -> None:
    point = OperatingPoint(0, float(tiny_prior().betas[0]), 14 * 16)
    first, second = (encode(patches(4), point)[0] for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a.indices, b.indices) and np.array_equal(a.classes, b.classes)


def test_more_blocks_bring_more_quality() -> None:
    prior, p = tiny_prior(), patches(24)
    errors = []
    for target in (20 * 16, 8 * 16, 3 * 16):
        point = OperatingPoint(1, float(prior.betas[1]), target)
        coded, _ = encode(p, point)
        latent = torch.cat([decode_latents(prior, point, c, FAST.budget_bits) for c in coded])
        errors.append(float((prior.model.values(latent, features()) - p.values).square().mean()))
    assert errors[0] > errors[1] > errors[2]


def test_weights_of_blocks_press_kl_towards_the_target() -> None:
    """A beta five times too large leaves blocks too poor; the published control of beta per block mends it."""
    point = OperatingPoint(1, 5.0 * float(tiny_prior().betas[1]), 10 * 16)
    spread = []
    for pressure in (0.0, 0.3):
        effort = replace(FAST, budget_bits=10, rounds=1, budget_steps=80, pressure=pressure)
        encoder = ProgressiveEncoder(tiny_prior(), effort)
        p = patches(32)
        fit = encoder.fit_posteriors(p, features(), point)
        seen: list[float] = []

        def note(fit_now, blocks, chosen, seen=seen):  # type: ignore[no-untyped-def]
            kl = kl_bits(fit_now.posterior, fit_now.prior).reshape(-1)[blocks.latent]
            total = torch.zeros(blocks.n_blocks).index_add_(0, blocks.block, kl)
            seen.append(float((total / 10).log().abs().mean()))
            return np.zeros(len(chosen), np.int64)

        encoder._send = note  # type: ignore[method-assign]
        encoder.encode(p, features(), point, fit)
        spread.append(seen[0])
    assert spread[1] < 0.6 * spread[0]


def test_rate_control_inverts_itself() -> None:
    prior = tiny_prior()
    for beta in (5e-3, 1e-2):
        assert beta_at_bits(prior, bits_at_beta(prior, beta)) == pytest.approx(beta, rel=1e-3)
    assert [nearest_anchor(prior, float(b)) for b in prior.betas] == [0, 1]
    assert point_for_beta(prior, FAST, float(prior.betas[1])).target == FAST.budget_bits * 16
    for beta in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError):
            point_for_beta(prior, FAST, beta)


def test_blocks_are_counted_to_the_wanted_number() -> None:
    prior, classes = tiny_prior(), np.array([0, 1, 1, 0, 1] * 8)
    for wanted in (40, 120, 333):
        target = target_for_blocks(prior, 1, classes, wanted)
        n = count_blocks(prior.kl_units[1], classes, target * 1024 // 16)
        tighter = count_blocks(prior.kl_units[1], classes, max(target - 1, 1) * 1024 // 16)
        assert n <= wanted and (tighter > wanted or target == 16)
    assert better_anchor(prior, FAST, 1, 40 * 16) == 0
    assert better_anchor(prior, FAST, 0, 5 * 16) == 1
    assert better_anchor(prior, FAST, 0, 14 * 16) == 0


def test_unknown_effort_is_refused() -> None:
    with pytest.raises(UsageError, match="fast, default, best"):
        CombinerCodec(tiny_prior()).encoding([], EncodeOptions(effort="extreme"))
