"""Bits-back coding: exact both ways, as long as the ELBO says, initial bits as in the papers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from inrcodec.codecs.bitswap.bits_back import SCHEMES, BitsBack
from inrcodec.codecs.bitswap.config import BitSwapConfig
from inrcodec.codecs.bitswap.model import PhaseNetwork, from_phases, to_phases
from inrcodec.coding.ans import Message
from inrcodec.errors import FormatError, UsageError
from tests.support.tiny_bitswap import BINARY, COLOUR, GRAY, LAYERED, tiny_bitswap, tiny_model

SHAPES = [(1, 1), (1, 5), (6, 1), (2, 2), (7, 9), (16, 12)]


def photographs(config: BitSwapConfig, count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Soft random levels (N, C, H, W)."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width] / 7.0
    waves = np.sin(rows * rng.uniform(0.3, 2.0, (count, config.channels, 1, 1)) + columns + rng.uniform(0, 6))
    levels = (0.5 + 0.4 * waves) * config.levels + rng.normal(0, 0.02 * config.levels, waves.shape)
    result: np.ndarray = levels.clip(0, config.levels - 1).astype(np.uint8)
    return result


def random_message(n_bytes: int) -> Message:
    return Message(np.random.default_rng(9).integers(1, 256, n_bytes).astype(np.uint8).tobytes())


@pytest.mark.parametrize("size", SHAPES)
def test_phases_are_a_partition(size: tuple[int, int]) -> None:
    photograph = torch.arange(2 * size[0] * size[1]).view(1, 2, *size)
    assert torch.equal(from_phases(to_phases(photograph), size), photograph)


def test_places_of_phases() -> None:
    phases = to_phases(torch.arange(16).view(1, 1, 4, 4))
    assert [phase.flatten().tolist() for phase in phases] == [
        [0, 2, 8, 10],
        [5, 7, 13, 15],
        [1, 3, 9, 11],
        [4, 6, 12, 14],
    ]


def test_phases_outside_of_the_image_are_filled_with_phase_0() -> None:
    phases = to_phases(torch.arange(9).view(1, 1, 3, 3))
    assert phases[1].flatten().tolist() == [4, 2, 6, 8]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("config", [COLOUR, GRAY, LAYERED, BINARY])
@pytest.mark.parametrize("size", SHAPES)
def test_images_come_back(config: BitSwapConfig, scheme: str, size: tuple[int, int]) -> None:
    coder = BitsBack(tiny_bitswap(config).layers, scheme)
    images = photographs(config, 2, *size)
    for start in (b"", b"some bits that are there before"):
        message = Message(start)
        coder.push(message, images)
        message = Message(message.to_bytes())
        assert np.array_equal(coder.pop(message, images.shape), images)
        assert message.to_bytes() == start


def test_images_that_no_model_expects_come_back() -> None:
    coder = BitsBack(tiny_bitswap().layers)
    rng = np.random.default_rng(0)
    for images in (rng.integers(0, 256, (1, 3, 9, 8)), np.zeros((1, 3, 9, 8)), np.full((1, 3, 9, 8), 255)):
        message = Message()
        coder.push(message, images.astype(np.uint8))
        assert np.array_equal(coder.pop(message, images.shape), images) and message.is_empty


@pytest.mark.parametrize("config", [COLOUR, LAYERED, BINARY])
def test_net_length_is_the_negative_elbo(config: BitSwapConfig) -> None:
    images = photographs(config, 12, 16, 16)
    with torch.no_grad():
        terms = [list(tiny_model(config).elbo(torch.from_numpy(images).float()).values()) for _ in range(12)]
        nats = [torch.stack(parts).sum(0) for parts in terms]
    wanted = float(torch.stack(nats).mean(0).sum()) / math.log(2.0)
    for scheme in SCHEMES:
        message = random_message(1 << 16)
        before = message.n_bits
        BitsBack(tiny_bitswap(config).layers, scheme).push(message, images)
        assert abs(message.n_bits - before - wanted) / wanted < 0.02


def lowest(scheme: str, config: BitSwapConfig, images: np.ndarray) -> int:
    """How far below its start the message falls, bits."""
    message = random_message(1 << 14)
    start, least = message.n_bits, message.n_bits
    take = message.pop

    def watched(tables: np.ndarray) -> np.ndarray:
        nonlocal least
        found = take(tables)
        least = min(least, message.n_bits)
        return found

    message.pop = watched  # type: ignore[method-assign]
    BitsBack(tiny_bitswap(config).layers, scheme).push(message, images)
    return start - least


def test_bitswap_asks_for_one_layer_of_initial_bits_bbans_for_all() -> None:
    images = photographs(LAYERED, 1, 16, 16)
    one, three = lowest("bitswap", LAYERED, images), lowest("bbans", LAYERED, images)
    assert one > 0 and 2.5 * one < three < 3.5 * one


def test_finer_scales_pay_for_the_latents() -> None:
    assert lowest("bitswap", COLOUR, photographs(COLOUR, 1, 32, 32)) == 0


def test_strips_give_what_the_whole_gives() -> None:
    layers = tiny_bitswap().layers
    inputs = [layers.of_levels(torch.from_numpy(photographs(COLOUR, 1, 23, 9, seed)).long()) for seed in range(3)]
    whole = PhaseNetwork(layers, COLOUR, "scale0")
    for strip in (1, 4, 64):
        cut = PhaseNetwork(layers, COLOUR, "scale0", strip)
        whole = PhaseNetwork(layers, COLOUR, "scale0")
        for phase in inputs:
            assert torch.equal(cut.step(phase), whole.step(phase))


def test_integers_follow_floating_point() -> None:
    model, layers = tiny_model(COLOUR), tiny_bitswap().layers
    levels = torch.from_numpy(photographs(COLOUR, 1, 8, 8)).long()
    exact = PhaseNetwork(layers, COLOUR, "scale0").step(layers.of_levels(levels)) / 8192.0
    with torch.no_grad():
        real = PhaseNetwork(model, COLOUR, "scale0").step(model.normalised(levels.float()))
    assert (exact - real).abs().max() < 0.02


def test_configs_and_schemes_that_cannot_be_are_refused() -> None:
    with pytest.raises(FormatError):
        BitSwapConfig(2)
    with pytest.raises(FormatError):
        BitSwapConfig(3, latents=(4, 4), strides=(1,))
    with pytest.raises(UsageError, match="bitswap, bbans"):
        BitsBack(tiny_bitswap().layers, "swap")


@pytest.mark.parametrize("config", [COLOUR, GRAY, LAYERED])
def test_every_value_is_counted_once(config: BitSwapConfig) -> None:
    told: list[int] = []
    images = photographs(config, 2, 9, 7)
    coder, message = BitsBack(tiny_bitswap(config).layers, progress=told.append), Message()
    coder.push(message, images)
    assert sum(told) == images.size
    coder.pop(message, images.shape)
    assert sum(told) == 2 * images.size
