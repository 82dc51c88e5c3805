"""The two ways to send residuals of latents: round trips, laws of the blocks, code lengths against KL."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from inrcodec.codecs.hierarchical.exact import RESIDUAL_BITS
from inrcodec.codecs.hierarchical.latent_coders import (
    BLOCK_BITS,
    CODERS,
    MAX_BLOCK_LATENTS,
    POSTERIOR_SCALE,
    Blocks,
    make_reader,
    make_writer,
)
from inrcodec.coding.gaussian import scale_values
from inrcodec.errors import FormatError, UsageError


def drawn(count: int, seed: int, low: int = 0, high: int = 44) -> tuple[np.ndarray, np.ndarray]:
    """Residuals that follow their priors."""
    rng = np.random.default_rng(seed)
    scales = rng.integers(low, high, count)
    return (rng.normal(size=count) * scale_values()[scales]).astype(np.float32), scales


@pytest.mark.parametrize("coder", CODERS)
def test_the_receiver_has_what_the_sender_thinks(coder: str) -> None:
    writer, sent = make_writer(coder), []
    for part in range(3):
        residual, scales = drawn(200 * part + 1, part)
        sent.append((writer.send(residual, scales), scales))
    reader = make_reader(coder, writer.to_bytes(), len(sent))
    for values, scales in sent:
        assert np.array_equal(reader.receive(scales), values)
    reader.finish()


def test_rounding_is_within_half_a_step() -> None:
    residual, scales = drawn(500, 1)
    sent = make_writer("round").send(residual, scales) / (1 << RESIDUAL_BITS)
    assert np.abs(sent - residual).max() <= 0.5


def test_blocks_hold_every_informative_latent_once() -> None:
    _, scales = drawn(5000, 2)
    blocks = Blocks(scales)
    held = blocks.slots[blocks.slots >= 0]
    assert len(np.unique(held)) == len(held)
    left = np.setdiff1d(np.arange(5000), held)
    assert (scale_values()[scales[left]] < 1.03 * POSTERIOR_SCALE).all() and (blocks.bits <= BLOCK_BITS).all()
    assert blocks.slots.shape[1] <= MAX_BLOCK_LATENTS + 1


def test_relative_entropy_coding_costs_the_kl_and_samples_are_near_the_posterior() -> None:
    residual, scales = drawn(6000, 3, 20, 36)
    writer = make_writer("rec")
    received = writer.send(residual, scales) / (1 << RESIDUAL_BITS)
    bits = 8 * len(writer.to_bytes())
    kl = float(np.log2(np.maximum(scale_values()[scales] / POSTERIOR_SCALE, 1)).sum())
    assert kl <= bits < 1.08 * kl
    error = np.mean(np.square(received - residual))
    assert error < 0.5 * np.mean(np.square(residual)) and error < 4 * POSTERIOR_SCALE**2


@pytest.mark.parametrize("coder", CODERS)
def test_damaged_messages_are_errors(coder: str) -> None:
    residual, scales = drawn(300, 4, 25, 40)
    writer = make_writer(coder)
    sent = writer.send(residual, scales)
    data = writer.to_bytes()
    with pytest.raises(FormatError):
        reader = make_reader(coder, data + b"\1\1\1\1\1", 1)
        reader.receive(scales)
        reader.finish()
    with contextlib.suppress(FormatError):
        assert not np.array_equal(make_reader(coder, data[: len(data) // 2], 1).receive(scales), sent)
    with pytest.raises(UsageError):
        make_writer("zip")


@pytest.mark.parametrize("coder", CODERS)
def test_no_latents_no_bytes(coder: str) -> None:
    writer = make_writer(coder)
    assert len(writer.send(np.zeros(0, np.float32), np.zeros(0, np.int64))) == 0
    assert writer.to_bytes() == b""
    reader = make_reader(coder, b"", 1)
    assert len(reader.receive(np.zeros(0, np.int64))) == 0
    reader.finish()
