"""Weights of the head: fitted posteriors lower the cost, messages round trip, the learned prior is one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from inrcodec.codecs.base import CodedEntry, DecodeRequest, EncodeOptions, Rate
from inrcodec.codecs.hierarchical import effort as presets
from inrcodec.codecs.hierarchical.codec import HierarchicalCodec
from inrcodec.codecs.hierarchical.config import fourier_count
from inrcodec.codecs.hierarchical.effort import HierarchicalEffort
from inrcodec.codecs.hierarchical.head_weights import (
    HeadProblem,
    fit_weights,
    gain_bits,
    kl_bits,
    receive_weights,
    send_weights,
)
from inrcodec.codecs.hierarchical.parameters import read_parameters
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
from inrcodec.codecs.hierarchical.weight_scales import learn_weight_scales
from inrcodec.errors import FormatError
from tests.codecs.hierarchical.test_codec import image, psnr
from tests.support.tiny_hierarchical import CONFIG, tiny_prior


def wide_prior() -> HierarchicalPrior:
    return tiny_prior().with_weight_scales(torch.full(tiny_prior().weight_log_scale.shape, -2.0))


def problem_of(prior: HierarchicalPrior, shift: float) -> HeadProblem:
    """Targets that the head says with its weights moved by ``shift`` prior scales."""
    random = torch.Generator().manual_seed(1)
    n_features = CONFIG.head_width + CONFIG.channels * (1 + fourier_count(CONFIG))
    features = torch.randn(4000, n_features, generator=random)
    fourier = torch.randn(4000, fourier_count(CONFIG), generator=random)
    moved = prior.model.head + shift * prior.weight_log_scale.exp() * torch.randn(
        len(prior.model.head), generator=random
    )
    return HeadProblem(features, fourier, prior.model.values(features[None], fourier, moved[None])[0])


def test_weights_that_pay_are_sent_and_come_back() -> None:
    prior = wide_prior()
    problem = problem_of(prior, 1.0)
    mean, scale = fit_weights(prior, problem, 1e4, 150)
    assert float(kl_bits(mean, scale.log()).min()) > -1e-4
    message = send_weights(prior, problem, 1e4, mean, scale)
    assert message is not None and gain_bits(prior, problem, 1e4, message) > 0
    weights = receive_weights(prior, message)
    assert weights is not None and weights.shape == prior.model.head.shape
    with torch.no_grad():
        assert problem.squared_error(prior.model, weights) < 0.8 * problem.squared_error(prior.model, None)
    for damaged in (message[:-1], message + b"\1", b"\0", b"\xff\xff\x7f"):
        with pytest.raises(FormatError):
            receive_weights(prior, damaged)


def test_weights_that_do_not_pay_are_not_sent() -> None:
    prior = wide_prior()
    problem = problem_of(prior, 0.0)
    assert send_weights(prior, problem, 10.0, *fit_weights(prior, problem, 10.0, 50)) is None
    assert receive_weights(prior, b"") is None


def test_files_with_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(presets.HIERARCHICAL_EFFORTS, "fast", HierarchicalEffort("fast", 0, 150))
    codec = HierarchicalCodec(wide_prior())
    source = image(192, 192, seed=4)
    coded = codec.encoding([source], EncodeOptions(effort="fast")).at(Rate(beta=float(np.exp(-8.0))))
    assert read_parameters(codec.prior, coded.parameters)[0].weights
    monkeypatch.setitem(presets.HIERARCHICAL_EFFORTS, "fast", HierarchicalEffort("fast", 0))
    plain = codec.encoding([source], EncodeOptions(effort="fast")).at(Rate(beta=float(np.exp(-8.0))))
    assert not read_parameters(codec.prior, plain.parameters)[0].weights and len(plain.bodies[0]) < len(coded.bodies[0])
    qualities = [
        psnr(codec.decode(CodedEntry(source.header, c.parameters, c.bodies[0]), DecodeRequest()), source.values)
        for c in (coded, plain)
    ]
    assert qualities[0] > qualities[1]


def test_the_learned_scales_are_moments_of_fits() -> None:
    prior = tiny_prior()
    signals = torch.from_numpy(np.stack([image(64, 64, seed).values for seed in range(3)])).permute(0, 3, 1, 2)
    log_scale = learn_weight_scales(prior, signals)
    assert log_scale.shape == prior.weight_log_scale.shape and torch.isfinite(log_scale).all()
    assert log_scale.std() > 0.01 and (log_scale < 0).all()
