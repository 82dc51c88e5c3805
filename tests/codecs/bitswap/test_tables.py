"""Integer probabilities: those of the logistic distribution, complete, and invertible."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inrcodec.codecs.bitswap import tables as logistic_tables
from inrcodec.codecs.bitswap.tables import FIXED_BITS, Latents, Mixtures, counts_of, mixture_weights
from inrcodec.coding.ans import COUNT_BITS, Message

UNIT = 1 << FIXED_BITS


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.tanh(x / 2)


def random_message(seed: int, n_bytes: int) -> Message:
    return Message(np.random.default_rng(seed).integers(1, 256, n_bytes).astype(np.uint8).tobytes())


def random_mixtures(rng: np.random.Generator, count: int, levels: int) -> Mixtures:
    shape = (count, 3)
    return Mixtures(
        rng.integers(-3 * UNIT, 3 * UNIT, shape),
        rng.integers(-2 * UNIT, 2 * UNIT, shape),
        rng.integers(-UNIT, 4 * UNIT, shape),
        levels,
    )


def test_shipped_tables_are_those_that_are_made() -> None:
    stored = np.load(logistic_tables._FILE, allow_pickle=False)
    assert np.array_equal(stored, logistic_tables.make_tables())


def test_weights_are_a_softmax_and_sum_exactly() -> None:
    logs = np.random.default_rng(0).integers(-5 * UNIT, 5 * UNIT, (500, 4))
    weights = mixture_weights(logs)
    assert (weights.sum(1) == 1 << 14).all() and weights.min() >= 0
    wanted = np.exp(logs / UNIT)
    assert np.abs(weights / 2**14 - wanted / wanted.sum(1, keepdims=True)).max() < 0.003


@given(st.integers(0, 2**32), st.integers(2, 17), st.integers(0, 12))
def test_no_symbol_is_impossible(seed: int, symbols: int, flatness: int) -> None:
    steps = np.random.default_rng(seed).integers(0, 1 << 2 * flatness, (20, symbols))
    edges = counts_of(
        np.concatenate([np.zeros((20, 1), np.int64), np.cumsum(steps, axis=1)], axis=1) + 1 + np.arange(symbols + 1)
    )
    assert (edges[:, 0] == 0).all() and (edges[:, -1] == 1 << COUNT_BITS).all() and np.diff(edges).min() >= 1


@pytest.mark.parametrize("levels", [2, 16, 256])
def test_drawn_levels_cost_what_the_mixture_says(levels: int) -> None:
    mixtures = random_mixtures(np.random.default_rng(1), 20000, levels)
    message = random_message(2, 60000)
    before = message.n_bits
    values = mixtures.pop(message)
    weights = np.exp(mixtures.log_weights / UNIT)
    means = (levels - 1) / 2 + mixtures.means / UNIT * levels / 4
    scales = np.exp(mixtures.log_scales / UNIT)
    high = np.where(values[:, None] == levels - 1, 1.0, sigmoid((values[:, None] + 0.5 - means) / scales))
    low = np.where(values[:, None] == 0, 0.0, sigmoid((values[:, None] - 0.5 - means) / scales))
    ideal = -np.log2((weights * (high - low)).sum(1) / weights.sum(1)).sum()
    assert abs(before - message.n_bits - ideal) / ideal < 0.003
    mixtures.push(message, values)
    assert message.n_bits == before


def test_drawn_latents_are_logistic() -> None:
    rng = np.random.default_rng(3)
    count = 40000
    latents = Latents(rng.integers(-60 * UNIT, 60 * UNIT, count), np.full(count, UNIT // 2))
    drawn = latents.pop(random_message(4, 60000))
    standard = (drawn - latents.means / UNIT) / np.exp(0.5)
    # Variance of the logistic distribution, and of rounding.
    assert abs(standard.mean()) < 0.03
    assert abs(standard.var() - np.pi**2 / 3 - np.exp(-1.0) / 12) < 0.12
    assert np.abs(standard).max() < 20


@given(st.integers(0, 2**32), st.integers(0, 80), st.sampled_from([2, 8, 16, 32, 256]))
def test_levels_come_back(seed: int, count: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    mixtures, values = random_mixtures(rng, count, levels), rng.integers(0, levels, count)
    message = Message()
    mixtures.push(message, values)
    assert mixtures.pop(message).tolist() == values.tolist() and message.is_empty


@given(st.integers(0, 2**32), st.integers(0, 80))
def test_any_latent_comes_back_under_any_mean(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    latents = Latents(rng.integers(-130 * UNIT, 130 * UNIT, count), rng.integers(-3 * UNIT, 6 * UNIT, count))
    values = rng.integers(-128, 128, count)
    message = Message()
    latents.push(message, values)
    assert latents.pop(message).tolist() == values.tolist() and message.is_empty


def test_an_empty_message_yields_rounded_means() -> None:
    means = np.random.default_rng(5).integers(-100 * UNIT, 100 * UNIT, 1000)
    drawn = Latents(means, np.zeros(1000, np.int64)).pop(Message())
    assert np.array_equal(drawn, np.floor(means / UNIT + 0.5))
