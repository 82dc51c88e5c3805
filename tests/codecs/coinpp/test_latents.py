"""Messages of modulations: round trips, lengths near the information, what quantising trades, refusals."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inrcodec.codecs.coinpp.latents import choose_gains, gaussian_nats, quantise, read_latents, write_latents
from inrcodec.codecs.coinpp.prior import MAX_FINENESS, MAX_GAIN, fineness_of, step_of
from inrcodec.errors import FormatError
from tests.support.tiny_coinpp import CONFIG, tiny_coinpp_prior

GOLDEN = "827fa8eea2d030b6825866793de2802ebe705147be67ff84dfddff805dfdff4d98d6916c3ee0ffff19ffff4665741571df9dff52730c"


def samples(count: int, gains: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Latents drawn from the prior with gains."""
    prior = tiny_coinpp_prior()
    noise = torch.randn(count, CONFIG.latent_dims, generator=torch.Generator().manual_seed(seed))
    return noise * prior.log_scales(gains).exp()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(0, MAX_FINENESS), st.integers(0, 1000))
def test_round_trip(count: int, fineness: int, seed: int) -> None:
    prior = tiny_coinpp_prior()
    generator = torch.Generator().manual_seed(seed)
    gains = torch.randint(-MAX_GAIN, MAX_GAIN + 1, (count,), generator=generator)
    numbers = torch.randint(-40, 41, (count, CONFIG.latent_dims), generator=generator)
    message = write_latents(prior, numbers, gains, fineness)
    torch.testing.assert_close(read_latents(prior, message, count, fineness), numbers.float() * step_of(fineness))


def test_length_is_near_the_information() -> None:
    prior, gains = tiny_coinpp_prior(), torch.tensor([0, 0, 1, 1, 0, -1, -1, 0] * 8)
    latents = samples(64, gains)
    for step in (2.0, 0.3):
        fineness = fineness_of(step)
        numbers = torch.round(latents / step_of(fineness)).long()
        bits = 8 * len(write_latents(prior, numbers, gains, fineness))
        ideal = float(
            gaussian_nats(
                numbers * step_of(fineness), prior.log_scales(gains), torch.full((64,), step_of(fineness))
            ).sum()
        ) / math.log(2)
        assert ideal < bits < 1.03 * ideal + 64 * 3 + 16


def test_gains_are_found() -> None:
    gains = torch.tensor([-5, -2, 0, 3, 6])
    found = choose_gains(tiny_coinpp_prior(), samples(5, gains), step_of(fineness_of(0.02)))
    assert (found - gains).abs().max() <= 1


def test_quantising_trades_error_for_bits() -> None:
    """Check that the sum of both costs never exceeds that of rounding; fewer bits, more error."""
    prior, gains, step = tiny_coinpp_prior(), torch.zeros(32, dtype=torch.int64), 1.0
    latents = samples(32, gains)
    cost = {}
    for name, numbers in (("nearest", torch.round(latents)), ("traded", quantise(prior, latents, gains, step).float())):
        nats = float(gaussian_nats(numbers, prior.log_scales(gains), torch.ones(32)).sum())
        error = float((latents - numbers).square().sum())
        cost[name] = nats, error, 6.0 * error + nats
    assert cost["traded"][0] < cost["nearest"][0]
    assert cost["traded"][1] > cost["nearest"][1]
    assert cost["traded"][2] < cost["nearest"][2]


def test_nats_of_all_cells_make_one() -> None:
    numbers = torch.arange(-60.0, 61.0)[:, None] * 0.5
    for log_scale in (-1.5, 0.0, 1.2):
        nats = gaussian_nats(numbers, torch.tensor([log_scale]), torch.full((121,), 0.5))
        assert abs(float((-nats).exp().sum()) - 1.0) < 2e-3


def test_step_of_a_fineness() -> None:
    assert step_of(0) == 16.0 and step_of(32) == 8.0
    for fineness in range(MAX_FINENESS + 1):
        assert fineness_of(step_of(fineness)) == fineness


def test_a_damaged_message_is_refused_or_read_whole() -> None:
    prior, gains = tiny_coinpp_prior(), torch.zeros(3, dtype=torch.int64)
    numbers = torch.round(samples(3, gains)).long()
    message = write_latents(prior, numbers, gains, 128)
    refused = 0
    for place in range(len(message)):
        for change in (1, 128, 255):
            spoilt = bytearray(message)
            spoilt[place] ^= change
            try:
                found = read_latents(prior, bytes(spoilt), 3, 128)
                assert found.shape == (3, CONFIG.latent_dims)
            except FormatError:
                refused += 1
    assert refused > 0
    with pytest.raises(FormatError):
        read_latents(prior, message + b"\0", 3, 128)


def test_golden_bytes() -> None:
    """Part of the format: scales, gains and numbers made by hand."""
    prior = dataclasses.replace(tiny_coinpp_prior(), log_scale=torch.arange(48) * 400 - 9000)
    numbers = (torch.arange(96).reshape(2, 48) * 7919 % 13 - 6) // 3
    message = write_latents(prior, numbers, torch.tensor([1, -2]), 130)
    assert message.hex() == GOLDEN
    assert torch.equal(read_latents(prior, bytes.fromhex(GOLDEN), 2, 130), numbers.float() * step_of(130))
