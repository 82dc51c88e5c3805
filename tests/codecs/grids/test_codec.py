"""Latent grids: gradients against torch's, exact coding against integers, the codec on all kinds of images."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional

import inrcodec
from inrcodec.cli import main
from inrcodec.codecs import prior_store
from inrcodec.codecs import tiles as tiles_module
from inrcodec.codecs.base import Coded, CodedEntry, DecodeRequest, EncodeOptions, Rate, Source, Window
from inrcodec.codecs.grids import coder as grid_coder
from inrcodec.codecs.grids import fit as grid_fitting
from inrcodec.codecs.grids.codec import GridsCodec
from inrcodec.codecs.grids.coder import ContextNetwork, decode_grids, encode_grids
from inrcodec.codecs.grids.config import (
    COARSER,
    LOG_LARGEST_SCALE,
    LOG_SCALE_STEP,
    LOG_SMALLEST_SCALE,
    MAX_LATENT,
    N_INPUTS,
    N_SCALES,
    NEIGHBOURS,
    WEIGHT_BITS,
    GridsConfig,
)
from inrcodec.codecs.grids.effort import GRID_STEPS
from inrcodec.codecs.grids.elbo import grid_bits, grid_errors, grid_features, grid_values, interpolated
from inrcodec.codecs.grids.encoding import plane_problems
from inrcodec.codecs.grids.evaluation import evaluate_grids
from inrcodec.codecs.grids.prior import GridsPrior
from inrcodec.codecs.grids.training import GridsTrainer
from inrcodec.coding.gaussian import scale_values
from inrcodec.errors import FormatError, LimitError, PriorError, UsageError
from inrcodec.limits import Limits
from inrcodec.signals.header import SignalHeader
from inrcodec.training.sources import TileSource
from tests.support.tiny import smooth_tiles
from tests.support.tiny_grids import CONFIG, tiny_prior, tiny_training, train

SHAPES = [(4, 6), (8, 12), (16, 24), (32, 48)]


def weights_of(config: GridsConfig, seed: int = 0, size: float = 0.3) -> torch.Tensor:
    """First weights, with output layers that are not zero."""
    random = torch.Generator().manual_seed(seed)
    weights = config.first_weights(random)
    for name in ("context.w3", "synthesis.k1", "synthesis.k2"):
        part = weights[config.places[name]]
        part += size * torch.randn(part.shape, generator=random)
    return weights


def made_grids(seed: int = 0, spread: float = 1.0) -> list[np.ndarray]:
    """Grids of ``SHAPES``, coarser ones livelier."""
    rng = np.random.default_rng(seed)
    return [np.rint(rng.laplace(0, spread * 2.0 ** (3 - i), shape)).astype(np.int64) for i, shape in enumerate(SHAPES)]


def network_of(config: GridsConfig, weights: torch.Tensor) -> ContextNetwork:
    whole = (weights.double() * (1 << WEIGHT_BITS)).round().numpy()
    names = [name for name in config.shapes if name.startswith("context.")]
    return ContextNetwork(*(whole[config.places[name]].reshape(config.shapes[name]) for name in names))


# Gradients.


def plain_bits(config: GridsConfig, grids: list[torch.Tensor], weights: dict[str, torch.Tensor]) -> torch.Tensor:
    """Bits by the formulas, with torch's own gradients."""
    total = torch.zeros(())
    for number, grid in enumerate(grids):
        height, width = grid.shape
        wide = functional.pad(grid, (3, 3, 3, 0))
        inputs = [wide[3 + dy : 3 + dy + height, 3 + dx : 3 + dx + width] for dy, dx in NEIGHBOURS]
        if number + 1 < len(grids):
            above = functional.pad(interpolated(grids[number + 1])[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
            inputs += [above[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width] for dy, dx in COARSER]
        x = torch.stack(inputs).flatten(1)
        h = torch.relu(weights["context.w1"][:, : len(x)] @ x + weights["context.b1"][:, None])
        h = torch.relu(weights["context.w2"] @ h + weights["context.b2"][:, None] + h)
        mean, scale = weights["context.w3"] @ h + weights["context.b3"][:, None]
        inverse = torch.exp(-scale.clamp(LOG_SMALLEST_SCALE, LOG_LARGEST_SCALE))
        size = (grid.flatten() - mean).abs()
        near, far = torch.exp(-(size - 0.5).abs() * inverse), torch.exp(-(size + 0.5) * inverse)
        probability = torch.where(size <= 0.5, 1.0 - 0.5 * near - 0.5 * far, 0.5 * (near - far))
        total = total - probability.log2().sum()
    return total


def test_bits_and_their_gradients_are_those_of_the_formulas() -> None:
    weights = weights_of(CONFIG, size=0.05)
    grids = [torch.from_numpy(grid).float() * 0.3 for grid in reversed(made_grids(spread=0.3))]
    found: list[tuple[float, list[Any], Any]] = []
    for function in (plain_bits, grid_bits):
        own = [grid.clone().requires_grad_() for grid in grids]
        vector = weights.clone().requires_grad_()
        bits = function(CONFIG, own, CONFIG.parts(vector))
        bits.backward()
        assert vector.grad is not None
        found.append((bits.item(), [grid.grad for grid in own], vector.grad))
    (plain, by_grid, by_weight), (own_bits, own_by_grid, own_by_weight) = found
    assert own_bits == pytest.approx(plain, rel=1e-4)
    for a, b in zip(by_grid, own_by_grid, strict=True):
        assert torch.allclose(a, b, atol=2e-3 * float(a.abs().max()))
    assert torch.allclose(by_weight, own_by_weight, atol=2e-3 * float(by_weight.abs().max()))
    assert float(by_weight[CONFIG.places["context.w1"]].abs().max()) > 0


def test_errors_and_their_gradients_are_those_of_the_formulas() -> None:
    random = torch.Generator().manual_seed(1)
    weights = weights_of(CONFIG)
    features, wanted = torch.randn(4, 21, 33, generator=random), torch.rand(3, 21, 33, generator=random)
    mask = (torch.rand(21, 33, generator=random) < 0.7).float()
    first, vector = features.clone().requires_grad_(), weights.clone().requires_grad_()
    part = CONFIG.parts(vector)
    h = torch.relu(torch.einsum("jk,kyx->jyx", part["synthesis.w1"], first) + part["synthesis.b1"][:, None, None])
    y = torch.einsum("cj,jyx->cyx", part["synthesis.w2"], h) + part["synthesis.b2"][:, None, None]
    edges: dict[str, Any] = {"pad": (1, 1, 1, 1), "mode": "replicate"}
    y = y + functional.conv2d(functional.pad(y[None], **edges), part["synthesis.k1"], part["synthesis.c1"])[0]
    active = functional.pad(torch.relu(y)[None], **edges)
    y = y + functional.conv2d(active, part["synthesis.k2"], part["synthesis.c2"])[0]
    plain = ((y - wanted).square() * mask).sum() / 3
    plain.backward()
    second, own = features.clone().requires_grad_(), weights.clone().requires_grad_()
    found = grid_errors(CONFIG, second, wanted, mask, CONFIG.parts(own))
    found.backward()
    assert found.item() == pytest.approx(plain.item(), rel=1e-4)
    assert first.grad is not None and second.grad is not None and vector.grad is not None and own.grad is not None
    assert torch.allclose(first.grad, second.grad, atol=1e-4 * float(first.grad.abs().max()))
    assert torch.allclose(vector.grad, own.grad, atol=1e-3 * float(vector.grad.abs().max()))
    assert torch.allclose(grid_values(CONFIG, features, CONFIG.parts(weights)), y.detach(), atol=1e-4)


def test_threads_do_not_change_a_bit() -> None:
    weights, found = weights_of(CONFIG), []
    grids = [torch.from_numpy(grid).float() for grid in reversed(made_grids())]
    for threads in (1, 2):
        torch.set_num_threads(threads)
        own, vector = [grid.clone().requires_grad_() for grid in grids], weights.clone().requires_grad_()
        part = CONFIG.parts(vector)
        cost = grid_bits(CONFIG, own, part)
        cost = cost + grid_errors(CONFIG, grid_features(own), torch.zeros(3, 32, 48), torch.ones(32, 48), part)
        cost.backward()
        assert vector.grad is not None and own[0].grad is not None
        found.append(hashlib.sha256(vector.grad.numpy().tobytes() + own[0].grad.numpy().tobytes()).hexdigest())
    torch.set_num_threads(1)
    assert found[0] == found[1]


# Exact coding.


def test_tables_are_those_of_the_formula() -> None:
    low, half, counts = grid_coder.make_tables()
    with np.load(grid_coder.TABLES_FILE, allow_pickle=False) as shipped:
        assert np.array_equal(shipped["low"], low) and np.array_equal(shipped["half"], half)
        # Another machine's exponential may differ in its last bit.
        assert np.abs(shipped["counts"].astype(np.int64) - counts.astype(np.int64)).max() <= 1
    _, _, starts, edges = grid_coder._tables()
    assert len(starts) == 16 * N_SCALES
    for start, following in zip(starts, [*starts[1:], len(edges)], strict=True):
        row = edges[start:following]
        assert row[0] == 0 and row[-1] == 1 << 16 and (np.diff(row) > 0).all()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32), st.floats(0.0, 6.0), st.floats(0.0, 3.0))
def test_grids_come_back(seed: int, log_spread: float, size: float) -> None:
    grids = made_grids(seed, math.exp(log_spread) - 1.0)
    rng = np.random.default_rng(seed)
    for grid in grids:
        grid.flat[rng.integers(grid.size)] = rng.choice([MAX_LATENT - 1, 1 - MAX_LATENT, 0])
    network = network_of(CONFIG, weights_of(CONFIG, seed % 1000, size))
    message = encode_grids(grids, network)
    for grid, back in zip(grids, decode_grids(message, SHAPES, network), strict=True):
        assert np.array_equal(grid, back)


def test_a_message_takes_its_bits() -> None:
    weights = weights_of(CONFIG, size=0.02)
    weights[CONFIG.places["context.b3"]] = torch.tensor([0.0, 1.0])
    grids = made_grids(spread=0.5)
    ideal = float(grid_bits(CONFIG, [torch.from_numpy(g).float() for g in reversed(grids)], CONFIG.parts(weights)))
    bits = 8 * len(encode_grids(grids, network_of(CONFIG, weights)))
    assert ideal < bits < 1.01 * ideal + 64


def whole_prediction(grids: list[np.ndarray], level: int, y: int, x: int, network: list[np.ndarray]) -> tuple[int, int]:
    """Mean in sixteenths and scale index of one latent, in Python's integers."""
    w1, b1, w2, b2, w3, b3 = ([[int(v) for v in row] for row in np.atleast_2d(a)] for a in network)
    height, width = SHAPES[level]

    def at(grid: np.ndarray, row: int, column: int) -> int:
        inside = 0 <= row < grid.shape[0] and 0 <= column < grid.shape[1]
        return int(grid[row, column]) if inside else 0

    inputs = [16 * at(grids[level], y + dy, x + dx) for dy, dx in NEIGHBOURS]
    if level:
        above = grids[level - 1]
        for dy, dx in COARSER:
            row, column = min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)
            total = 0
            for r, i in ((3, row // 2), (1, row // 2 + (1 if row % 2 else -1))):
                for c, j in ((3, column // 2), (1, column // 2 + (1 if column % 2 else -1))):
                    total += r * c * int(above[min(max(i, 0), len(above) - 1), min(max(j, 0), above.shape[1] - 1)])
            inputs.append(total)
    limit = 1 << 26
    first = [sum(w * v for w, v in zip(row, inputs, strict=False)) + 16 * b for row, b in zip(w1, b1[0], strict=True)]
    hidden = [min(max((v + 128) >> 8, 0), limit) for v in first]
    second = [
        sum(w * v for w, v in zip(row, hidden, strict=True)) + (own << 16) + (b << 12)
        for row, b, own in zip(w2, b2[0], hidden, strict=True)
    ]
    hidden = [min(max((v + (1 << 15)) >> 16, 0), limit) for v in second]
    mean, scale = (
        sum(w * v for w, v in zip(row, hidden, strict=True)) + (b << 12) for row, b in zip(w3, b3[0], strict=True)
    )
    index = (scale + (7 << 27) + (1 << 24)) >> 25
    return min(max((mean + (1 << 23)) >> 24, -16 * MAX_LATENT), 16 * MAX_LATENT), min(max(index, 0), N_SCALES - 1)


def test_predictions_are_those_of_whole_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every symbol of a message has the range of the table that Python's integers choose."""
    weights = weights_of(CONFIG, 3)
    names = [name for name in CONFIG.shapes if name.startswith("context.")]
    whole = [
        (weights[CONFIG.places[n]].double() * (1 << WEIGHT_BITS)).round().numpy().reshape(CONFIG.shapes[n])
        for n in names
    ]
    grids = made_grids(5, 0.4)[:3]
    seen: list[np.ndarray] = []

    def push_all(symbols: np.ndarray, count: int, words: np.ndarray) -> tuple[int, int]:
        seen.append(symbols[:count])
        return 1 << 31, 0

    monkeypatch.setattr(grid_coder, "push_all", push_all)
    encode_grids(grids, ContextNetwork(*whole))
    low, half, starts, edges = grid_coder._tables()
    rows = iter(seen[0].tolist())
    for level, grid in enumerate(grids):
        for y, x in np.ndindex(*grid.shape):
            mean, index = whole_prediction(grids, level, y, x, whole)
            rounded = (mean + 8) >> 4
            start = starts[16 * index + mean - 16 * rounded + 8]
            symbol = (int(grid[y, x]) - rounded) >> low[index]
            place = start + symbol + half[index] if abs(symbol) <= half[index] else start + 2 * half[index] + 1
            assert next(rows) == [edges[place], edges[place + 1] - edges[place]]
            size = int(abs(symbol) - half[index]).bit_length() - 1 if abs(symbol) > half[index] else -1
            for _ in range(int(low[index] > 0) + (size >= 0) + (size > 0) + (size > 8)):
                next(rows)
    assert next(rows, None) is None
    assert LOG_SCALE_STEP == 0.125 and LOG_SMALLEST_SCALE == -3.5  # what the kernel has as numbers


def test_a_golden_message() -> None:
    message = encode_grids(made_grids(7), network_of(CONFIG, weights_of(CONFIG, 7)))
    assert (len(message), hashlib.sha256(message).hexdigest()[:16]) == GOLDEN


GOLDEN = (828, "bb62c2662b0820a1")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_messages_are_refused_or_are_other_grids(data: st.DataObject) -> None:
    grids, network = made_grids(1, 0.3), network_of(CONFIG, weights_of(CONFIG, 1))
    message = encode_grids(grids, network)
    kind = data.draw(st.sampled_from(["cut", "flip", "more", "noise"]))
    if kind == "cut":
        damaged = message[: data.draw(st.integers(0, len(message) - 1))]
    elif kind == "flip":
        place = data.draw(st.integers(0, len(message) - 1))
        damaged = message[:place] + bytes([message[place] ^ data.draw(st.integers(1, 255))]) + message[place + 1 :]
    elif kind == "more":
        damaged = message + data.draw(st.binary(min_size=1, max_size=9))
    else:
        damaged = data.draw(st.binary(max_size=300))
    try:
        back = decode_grids(damaged, SHAPES, network)
    except FormatError:
        return
    assert any(not np.array_equal(a, b) for a, b in zip(grids, back, strict=True))


def test_networks_whose_sums_are_not_exact_are_refused() -> None:
    weights = weights_of(CONFIG)
    weights[CONFIG.places["context.w2"]] *= 1e4
    with pytest.raises(FormatError, match="out of range"):
        network_of(CONFIG, weights)


# Prior.


def test_training_buys_something() -> None:
    source = TileSource(smooth_tiles(64, seed=9, size=32), mirror=False)
    trainer, state = train(tiny_training(steps=60))
    before = evaluate_grids(trainer.finish(state, {}), source, count=1, steps=20)
    after = evaluate_grids(tiny_prior(), source, count=1, steps=20)
    cost = [sum(10 ** (-r.db / 10) / r.beta + r.bits_per_point for r in found) for found in (before, after)]
    assert cost[1] < 0.7 * cost[0]
    assert after[-1].bits_per_point > after[0].bits_per_point and after[-1].db > after[0].db


def test_training_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    trainer = GridsTrainer(tiny_training(steps=400), TileSource(smooth_tiles(64, size=32), mirror=True))
    whole = trainer.start()
    trainer.run(whole, until_seconds=60, checkpoint=None, progress=lambda state, stage: None)
    state = trainer.start()
    for _ in range(1000):
        trainer.run(state, until_seconds=0.3, checkpoint=tmp_path, progress=lambda state, stage: None)
        if state.done == len(trainer.tasks):
            break
        if state.done >= 2:
            state = trainer.resume(tmp_path)
            trainer.run(state, until_seconds=60, checkpoint=tmp_path, progress=lambda state, stage: None)
    assert state.done == len(trainer.tasks)
    assert trainer.finish(state, {}).to_bytes() == trainer.finish(whole, {}).to_bytes()
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(FormatError, match="checkpoint"):
        trainer.resume(tmp_path)
    with pytest.raises(UsageError, match="coarsest"):
        tiny_training(crop=20)


def test_prior_file_round_trip_and_refusals() -> None:
    prior = tiny_prior()
    data = prior.to_bytes()
    again = GridsPrior.from_bytes(data)
    assert again.to_bytes() == data and again.id == hashlib.sha256(data).digest()[:8]
    for cut in (0, 7, 100, len(data) // 2, len(data) - 1):
        with pytest.raises(FormatError):
            GridsPrior.from_bytes(data[:cut])
    changes: list[dict[str, Any]] = [
        {"mean": prior.mean[:, 1:]},
        {"spread": prior.spread + (1 << 21)},
        {"bits": (1.0, 0.5, 2.0)},
        {"proposed_bits": (1.0, 2.0)},
        {"proposals": {}},
        {"step_bits": {**prior.step_bits, "context.w1": 99}},
        {"config": replace(CONFIG, context_width=12)},
    ]
    for change in changes:
        with pytest.raises(FormatError):
            GridsPrior.from_bytes(replace(prior, **change).to_bytes())
    with pytest.raises(PriorError, match="machine"):
        GridsPrior.from_bytes(replace(prior, known_answer="0").to_bytes())
    with pytest.raises(FormatError):
        GridsConfig(context_width=10)


def test_scales_follow_steps_by_octaves() -> None:
    """The number of scales in an octave, which the format has as an integer."""
    prior = tiny_prior()
    per_octave = math.log(2.0) / math.log(scale_values()[1] / scale_values()[0])
    assert round(1024 * per_octave) == 5236
    deviation = prior.deviation_at(300).double().numpy() * (1 << WEIGHT_BITS)
    for fineness in (-2, 0, 3):
        wanted = deviation / 2.0 ** prior.steps(fineness)
        found = scale_values()[prior.scale_indices(300, fineness)]
        inside = (wanted > 0.06) & (wanted < 200)
        assert inside.any() and (np.abs(np.log(found / wanted))[inside] < 0.08).all()


# Codec.


def image(rows: int, columns: int, layout: str = "rgb", seed: int = 0) -> Source:
    """A smooth image of any size."""
    side = max(rows, columns, 16)
    values = smooth_tiles(1, seed=seed, size=side)[0, :rows, :columns].astype(np.float32) / np.float32(255)
    channels = 1 if layout == "gray" else 3
    return Source(values[..., :channels], SignalHeader("image", layout, "u8", (rows, columns), channels))


def encode(source: Source, rate: Rate, effort: str = "fast") -> Coded:
    return GridsCodec(tiny_prior()).encoding([source], EncodeOptions(effort=effort)).at(rate)


def decode(
    coded: Coded, source: Source, size: tuple[int, ...] | None = None, window: Window | None = None
) -> np.ndarray:
    entry = CodedEntry(source.header, coded.parameters, coded.bodies[0])
    return GridsCodec(tiny_prior()).decode(entry, DecodeRequest(size=size, window=window))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean(np.square(a - b)) + 1e-12))


@pytest.mark.parametrize("shape", [(64, 64), (1, 1), (33, 70), (5, 96)])
@pytest.mark.parametrize("layout", ["rgb", "gray"])
def test_images_of_any_size(shape: tuple[int, int], layout: str) -> None:
    source = image(*shape, layout)
    coded = encode(source, Rate(beta=3e-4))
    back = decode(coded, source)
    assert back.shape == source.values.shape
    assert psnr(back, source.values) > 20
    assert coded == encode(source, Rate(beta=3e-4))


def test_more_steps_cost_less() -> None:
    source, costs = image(96, 96, seed=4), []
    for effort in ("fast", "default"):
        coded = encode(source, Rate(beta=1e-3), effort)
        error = float(np.square(decode(coded, source) - source.values).mean())
        costs.append(8 * len(coded.bodies[0]) / (96 * 96) + error / 1e-3)
    assert costs[1] < costs[0]


@pytest.mark.parametrize("bpp", [0.6, 1.5])
def test_rates_are_met(bpp: float, photograph: np.ndarray) -> None:
    values = photograph[100:260, 100:292].astype(np.float32) / np.float32(255)
    source = Source(values, SignalHeader("image", "rgb", "u8", (160, 192), 3))
    bits = bpp * 160 * 192
    coded = encode(source, Rate(bits=bits), "default")
    assert 0.98 * bits <= 8 * len(coded.bodies[0]) <= bits


@pytest.mark.parametrize("slope", [0.3, 1.3])
@pytest.mark.parametrize("start", [-1.0, 1.0])
def test_rates_are_met_however_a_fit_answers_to_lambda(
    slope: float, start: float, photograph: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begin elsewhere and expect other slopes: more than what fits on different processors differ by."""
    monkeypatch.setattr(grid_fitting, "SLOPE", slope)
    guess = grid_fitting.GridEncoder._log_lambda_for
    monkeypatch.setattr(grid_fitting.GridEncoder, "_log_lambda_for", lambda *asked: guess(*asked) + start)
    values = photograph[100:196, 100:228].astype(np.float32) / np.float32(255)
    source = Source(values, SignalHeader("image", "rgb", "u8", (96, 128), 3))
    bits = 1.2 * 96 * 128
    coded = encode(source, Rate(bits=bits))
    assert 0.98 * bits <= 8 * len(coded.bodies[0]) <= bits
    assert psnr(decode(coded, source), values) > 24


def test_windows_and_sizes() -> None:
    source = image(48, 80)
    coded = encode(source, Rate(beta=1e-3))
    whole = decode(coded, source)
    window = (slice(7, 30), slice(11, 64))
    assert np.allclose(decode(coded, source, window=window), whole[window], atol=1e-6)
    assert decode(coded, source, size=(96, 160)).shape == (96, 160, 3)
    small = decode(coded, source, size=(24, 40))
    assert np.allclose(small, whole.reshape(24, 2, 40, 2, 3).mean((1, 3)), atol=1e-5)


def test_tiles_without_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles_module, "TILED_FROM", 1 << 10)
    monkeypatch.setattr(tiles_module, "TILE", 96)
    source = image(100, 250)
    assert len(plane_problems(source, tiny_prior())) == 6
    coded = encode(source, Rate(beta=3e-4), "fast")
    whole = decode(coded, source)
    assert psnr(whole, source.values) > 22
    window = (slice(20, 60), slice(90, 180))
    assert np.allclose(decode(coded, source, window=window), whole[window], atol=1e-6)


def test_damaged_bodies_are_refused() -> None:
    source = image(40, 40)
    coded = encode(source, Rate(beta=1e-3))
    codec, header = GridsCodec(tiny_prior()), source.header
    for body in (b"", coded.bodies[0][:3], coded.bodies[0][:-2], coded.bodies[0] + b"x", b"\x01\x63" + coded.bodies[0]):
        with pytest.raises(FormatError):
            codec.decode(CodedEntry(header, coded.parameters, body), DecodeRequest())
    for parameters in (b"", b"\xff\xff\x7f", coded.parameters + b"\0"):
        with pytest.raises(FormatError):
            codec.decode(CodedEntry(header, parameters, coded.bodies[0]), DecodeRequest())
    with pytest.raises(LimitError):
        codec.decode(
            CodedEntry(header, coded.parameters, coded.bodies[0]), DecodeRequest(limits=Limits(max_points=100))
        )
    with pytest.raises(LimitError):
        codec.decode(
            CodedEntry(header, coded.parameters, coded.bodies[0]), DecodeRequest(limits=Limits(max_multiply_adds=1000))
        )


def test_what_it_cannot_do() -> None:
    codec = GridsCodec(tiny_prior())
    with pytest.raises(UsageError, match="rec"):
        codec.encoding([image(8, 8)], EncodeOptions(effort="fast", coder="rec"))
    assert codec.encoding([image(8, 8)], EncodeOptions(effort="fast", coder="round")) is not None


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of priors where the tiny one has the shipped one's name."""
    folder = tmp_path / "priors"
    folder.mkdir()
    (folder / "grids.safetensors").write_bytes(tiny_prior().to_bytes())
    monkeypatch.setenv(prior_store.ENVIRONMENT, str(folder))
    monkeypatch.setitem(GRID_STEPS, "default", 120)
    yield folder


def test_files_with_alpha_archives_and_the_command_line(
    named: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    colour = smooth_tiles(2, seed=3, size=40)
    alpha = np.arange(1600, dtype=np.uint8).reshape(40, 40, 1)
    Image.fromarray(np.concatenate([colour[0], alpha], -1)).save(tmp_path / "a.png")
    Image.fromarray(colour[1]).save(tmp_path / "b.png")
    data = inrcodec.compress(tmp_path / "a.png", codec="grids", target_psnr=27.0)
    back = np.asarray(inrcodec.decompress(data).values)
    assert np.array_equal(np.rint(back[..., 3:] * 255), alpha)
    assert abs(psnr(back[..., :3], colour[0] / 255.0) - 27.0) < 0.6
    archive = inrcodec.compress([tmp_path / "a.png", tmp_path / "b.png"], codec="grids", beta=1e-3)
    assert archive[:4] != data[:4] and len(archive) > 200
    out = tmp_path / "b.inr"
    assert main(["compress", str(tmp_path / "b.png"), "-o", str(out), "--codec", "grids", "--target-bpp", "2"]) == 0
    assert out.stat().st_size * 8 <= 2 * 1600
    assert main(["info", str(out)]) == 0 and "grids" in capsys.readouterr().out
    assert main(["decompress", str(out), "-o", str(tmp_path / "back.png")]) == 0
    assert Image.open(tmp_path / "back.png").size == (40, 40)
    assert (
        main(
            [
                "compress",
                str(tmp_path / "b.png"),
                "-o",
                str(tmp_path / "c.inr"),
                "--codec",
                "grids",
                "--optimise",
                "ms-ssim",
            ]
        )
        == 2
    )
    assert not (tmp_path / "c.inr").exists()
    assert main(["priors", "list"]) == 0 and "4 grids" in capsys.readouterr().out


@pytest.mark.slow
def test_a_prior_is_trained_by_the_command_line(
    tmp_path: Path, photograph: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inrcodec.codecs.grids.job.EVALUATED_CROPS", 1)
    monkeypatch.setattr("inrcodec.codecs.grids.job.EVALUATED_STEPS", 2)
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(2):
        Image.fromarray(photograph[: 256 + number, :300]).save(folder / f"{number}.png")
    out = tmp_path / "mine.safetensors"
    arguments = ["priors", "train", str(folder), "--codec", "grids", "--minutes", "0.001", "-q", "-o", str(out)]
    assert main([*arguments, "--start-from", "photographs"]) == 2 and not out.exists()
    assert main(arguments) == 0
    assert GridsPrior.from_bytes(out.read_bytes()).config.grids == 7


def test_the_network_has_as_many_inputs_as_its_context() -> None:
    assert len(NEIGHBOURS) + len(COARSER) == N_INPUTS
    assert all(dy < 0 or (dy == 0 and dx < 0) for dy, dx in NEIGHBOURS)
