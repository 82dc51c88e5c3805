"""The default codec: exactness, round trips of all kinds of signals, rates, sizes, refusals."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from inrcodec.codecs.base import Coded, CodedEntry, DecodeRequest, EncodeOptions, Rate, Source
from inrcodec.codecs.hierarchical import render as hierarchy_render
from inrcodec.codecs.hierarchical.codec import HierarchicalCodec
from inrcodec.codecs.hierarchical.elbo import elbo, native_fourier, rounded, sampled_points
from inrcodec.codecs.hierarchical.evaluation import evaluate_hierarchical
from inrcodec.codecs.hierarchical.exact import ExactTables, log_lambda_of, max_quality, quality_of
from inrcodec.codecs.hierarchical.latent_coders import CODERS
from inrcodec.codecs.hierarchical.model import HierarchicalINR
from inrcodec.codecs.hierarchical.parameters import read_parameters
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
from inrcodec.codecs.hierarchical.render import interpolate, render
from inrcodec.codecs.hierarchical.top_down import top_down
from inrcodec.codecs.hierarchical.training import HierarchicalTrainer
from inrcodec.errors import FormatError, InrcodecError, LimitError, PriorError, UsageError
from inrcodec.limits import Limits
from inrcodec.nn import strips
from inrcodec.signals.header import SignalHeader
from inrcodec.training.sources import TileSource
from tests.support.tiny import smooth_tiles
from tests.support.tiny_hierarchical import CONFIG, tiny_prior, tiny_training, train

ROOT = Path(__file__).resolve().parents[3]


def image(rows: int, columns: int, seed: int = 0) -> Source:
    """A smooth colour image of any size."""
    side = max(rows, columns, 16)
    values = smooth_tiles(1, seed=seed, size=side)[0, :rows, :columns].astype(np.float32) / np.float32(255)
    return Source(values, SignalHeader("image", "rgb", "u8", (rows, columns), 3))


def encode(source: Source, rate: Rate, effort: str = "fast") -> Coded:
    return HierarchicalCodec(tiny_prior()).encoding([source], EncodeOptions(effort=effort)).at(rate)


def decode(coded: Coded, source: Source, size: tuple[int, ...] | None = None) -> np.ndarray:
    entry = CodedEntry(source.header, coded.parameters, coded.bodies[0])
    return HierarchicalCodec(tiny_prior()).decode(entry, DecodeRequest(size=size))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean(np.square(a - b)) + 1e-12))


def test_training_buys_something() -> None:
    source = TileSource(smooth_tiles(64, seed=9, size=16), mirror=False)
    trainer = HierarchicalTrainer(tiny_training(), source)
    before = evaluate_hierarchical(trainer.finish(trainer.start(), {}), source)
    after = evaluate_hierarchical(tiny_prior(), source)
    for old, new in zip(before, after, strict=True):
        cost = [10 ** (-r.db / 10) / r.beta + r.bits_per_point for r in (old, new)]
        assert cost[1] < 0.8 * cost[0]
    assert after[-1].bits_per_point > after[0].bits_per_point and after[-1].db > after[0].db


def test_training_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    config = tiny_training(minutes=3 / 60, steps=0)
    trainer = HierarchicalTrainer(config, TileSource(smooth_tiles(64, size=16), mirror=True))
    state = trainer.start()
    trainer.run(state, until_seconds=1.0, checkpoint=tmp_path, progress=lambda state, stage: None)
    again = trainer.resume(tmp_path)
    assert again.steps == state.steps > 0 and again.seconds == state.seconds
    for mine, theirs in zip(again.average, state.average, strict=True):
        assert torch.equal(mine, theirs)
    trainer.run(again, until_seconds=60, checkpoint=tmp_path, progress=lambda state, stage: None)
    assert again.seconds >= 3.0 and again.steps > state.steps
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(FormatError, match="checkpoint"):
        trainer.resume(tmp_path)


def test_crops_must_fit_the_strides() -> None:
    with pytest.raises(UsageError, match="coarsest"):
        tiny_training(patch_shape=(20, 16))
    with pytest.raises(UsageError, match="coarsest"):
        tiny_training(patch_shape=(24, 24), small_share=0.5)


def test_errors_at_some_points_stand_for_all() -> None:
    prior = tiny_prior()
    source = TileSource(smooth_tiles(8, size=16), mirror=False)
    values = torch.from_numpy(source.draw(8, np.random.default_rng(0))).permute(0, 3, 1, 2)
    fourier, rates = native_fourier(prior.config, 16, 16), torch.full((8,), 6.0)
    whole = elbo(prior.model, values, rates, fourier, rounded)
    random = torch.Generator().manual_seed(0)
    drawn = [points for _ in range(200) if (points := sampled_points(256, 0.25, random)) is not None]
    assert len(drawn) == 200 and sampled_points(256, 1.0) is None
    assert all(torch.equal(points // 4, torch.arange(64)) for points in drawn)  # one of every four
    some = [elbo(prior.model, values, rates, fourier, rounded, points=points) for points in drawn]
    assert all(torch.equal(found.bits, whole.bits) for found in some)
    means = torch.stack([found.mse for found in some])
    spread = means.std(dim=0) / math.sqrt(len(some))
    assert ((means.mean(dim=0) - whole.mse).abs() < 4.5 * spread).all()
    with pytest.raises(UsageError):
        tiny_training(point_share=0.0)


def test_prior_file_round_trip_and_refusals() -> None:
    prior = tiny_prior()
    data = prior.to_bytes()
    again = HierarchicalPrior.from_bytes(data)
    assert again.to_bytes() == data and again.id == hashlib.sha256(data).digest()[:8]
    for cut in (0, 7, 100, len(data) // 2, len(data) - 1):
        with pytest.raises(FormatError):
            HierarchicalPrior.from_bytes(data[:cut])
    with pytest.raises(PriorError, match="this machine"):
        HierarchicalPrior.from_bytes(replace(prior, known_answer="0" * 64).to_bytes())
    weights = {name: value + (name == "prior_out.1.0") for name, value in prior.tables.weights.items()}
    tables = ExactTables(weights, prior.tables.biases, prior.tables.steps, prior.tables.first)
    with pytest.raises(PriorError, match="this machine"):
        HierarchicalPrior.from_bytes(replace(prior, tables=tables).to_bytes())
    wider = replace(prior, config=replace(CONFIG, feature_width=9))
    with pytest.raises(FormatError, match="do not fit"):
        HierarchicalPrior.from_bytes(wider.to_bytes())


def test_configurations_out_of_range_are_refused() -> None:
    with pytest.raises(FormatError, match="out of range"):
        replace(CONFIG, feature_width=1 << 20)
    with pytest.raises(FormatError, match="out of range"):
        replace(CONFIG, levels=CONFIG.levels[::-1])


def test_integers_and_floats_agree() -> None:
    """The coded length is the ELBO's bits of the float network, the features are its features."""
    prior, source = tiny_prior(), image(32, 48)
    quality = max_quality(prior.config) // 2
    values = torch.from_numpy(source.values).permute(2, 0, 1)[None]
    log_lambda = torch.tensor([log_lambda_of(prior.config, quality)])
    with torch.no_grad():
        found = elbo(prior.model, values, log_lambda, native_fourier(prior.config, 32, 48), rounded)
    coded = encode(source, Rate(beta=float(torch.exp(-log_lambda))))
    back = decode(coded, source)
    assert abs(8 * len(coded.bodies[0]) - float(found.bits)) < 0.03 * float(found.bits) + 32
    assert abs(psnr(back, source.values) + 10 * float(found.mse.log10())) < 0.1


def test_render_at_the_native_grid_is_what_was_fitted() -> None:
    prior = tiny_prior()
    h, rate = torch.randn(1, CONFIG.levels[-1].width, 3, 4), prior.model.rates(torch.tensor([5.0]))
    features = prior.model.features(h, rate)
    fourier = native_fourier(CONFIG, 12, 16)
    fitted = prior.model.values(interpolate(CONFIG, features, 12, 16), fourier)[0].reshape(12, 16, 3)
    assert np.allclose(render(prior.model, h, rate, (12, 16), (12, 16)), fitted.numpy(), atol=1e-4)


def test_bands_of_rows_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rendering and the integer network in strips of a few rows give what they give at once."""
    source = image(88, 40)
    coded = encode(source, Rate(beta=0.01))
    whole = decode(coded, source)
    monkeypatch.setattr(hierarchy_render, "POINTS_AT_ONCE", 120)
    monkeypatch.setattr(hierarchy_render, "FEATURES_AT_ONCE", 100)
    assert np.allclose(decode(coded, source), whole, atol=1e-5)
    monkeypatch.setattr(strips, "STRIP_NUMBERS", 400)
    assert np.allclose(decode(coded, source), whole, atol=1e-5)
    assert encode(source, Rate(beta=0.01)).bodies == coded.bodies


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (7, 9), (16, 16), (33, 50)])
def test_any_size_round_trips(size: tuple[int, int]) -> None:
    source = image(*size)
    back = decode(encode(source, Rate(beta=1e-3)), source)
    assert back.shape == source.values.shape and psnr(back, source.values) > 14


@pytest.mark.parametrize("blocks", [(0, 0), (0, 2), (1, 0)])
def test_levels_without_residual_blocks_round_trip(blocks: tuple[int, int]) -> None:
    levels = tuple(replace(level, blocks_down=n) for level, n in zip(CONFIG.levels, blocks, strict=True))
    trainer, state = train(tiny_training(network=replace(CONFIG, levels=levels), steps=60))
    codec, source = HierarchicalCodec(trainer.finish(state, {})), image(32, 48)
    coded = codec.encoding([source], EncodeOptions(effort="default")).at(Rate(beta=1e-3))
    back = codec.decode(CodedEntry(source.header, coded.parameters, coded.bodies[0]), DecodeRequest())
    assert back.shape == source.values.shape and psnr(back, source.values) > 10


def test_any_scale() -> None:
    source = image(32, 32)
    coded = encode(source, Rate(beta=5e-4))
    native = decode(coded, source)
    for scale in (0.5, 2, 4):
        size = (round(32 * scale), round(32 * scale))
        out = decode(coded, source, size)
        assert out.shape == (*size, 3)
        if scale > 1:
            factor = int(scale)
            small = out.reshape(32, factor, 32, factor, 3).mean(axis=(1, 3))
            assert psnr(small, native) > 25
        else:
            assert psnr(out, native.reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))) > 35


def test_steps_lower_the_cost() -> None:
    source = image(32, 32, seed=3)
    beta = 1e-3
    costs = []
    for effort in ("fast", "default"):
        coded = encode(source, Rate(beta=beta), effort)
        error = float(np.mean(np.square(decode(coded, source) - source.values)))
        costs.append(error / beta + 8 * len(coded.bodies[0]) / 1024)
    assert costs[1] < costs[0]


def test_wanted_bits_are_met() -> None:
    sources = [image(32, 32, seed) for seed in range(12)]
    for wanted in (4000.0, 9000.0):
        coded = HierarchicalCodec(tiny_prior()).encoding(sources, EncodeOptions(effort="fast")).at(Rate(bits=wanted))
        assert abs(8 * sum(map(len, coded.bodies)) / wanted - 1) < 0.02


def test_steps_help_at_wanted_bits_too() -> None:
    """What the steps gain lies in roundings at one quality; a search that moves the quality without them loses it."""
    sources = [image(32, 32, seed) for seed in range(12)]
    errors, bits = [], []
    for effort in ("fast", "default"):
        coded = HierarchicalCodec(tiny_prior()).encoding(sources, EncodeOptions(effort=effort)).at(Rate(bits=9000.0))
        back = [decode(Coded(coded.parameters, [body]), sources[0]) for body in coded.bodies]
        errors.append(np.mean([np.square(a - s.values).mean() for a, s in zip(back, sources, strict=True)]))
        bits.append(8 * sum(map(len, coded.bodies)))
    assert bits[1] <= 9000
    gain_by_steps = 10 * np.log10(errors[0] / errors[1])
    gain_by_bits = 6.0 * np.log2(bits[1] / bits[0])
    assert gain_by_steps > gain_by_bits + 0.1


def test_qualities_cover_the_range() -> None:
    low, high = CONFIG.log_lambdas
    assert quality_of(CONFIG, low - 1) == 0 and quality_of(CONFIG, high + 1) == max_quality(CONFIG)
    for quality in (0, 1, 100, max_quality(CONFIG)):
        assert quality_of(CONFIG, log_lambda_of(CONFIG, quality)) == quality


@pytest.mark.parametrize("coder", CODERS)
def test_both_coders_round_trip_and_are_named_in_the_file(coder: str) -> None:
    source = image(40, 24, seed=5)
    codec = HierarchicalCodec(tiny_prior())
    coded = codec.encoding([source], EncodeOptions(effort="fast", coder=coder)).at(Rate(beta=5e-4))
    assert read_parameters(codec.prior, coded.parameters)[0].coder == coder
    back = codec.decode(CodedEntry(source.header, coded.parameters, coded.bodies[0]), DecodeRequest())
    assert psnr(back, source.values) > 16
    with pytest.raises(FormatError):
        codec.decode(CodedEntry(source.header, coded.parameters, coded.bodies[0] + b"\1\2\3\4\5"), DecodeRequest())
    with contextlib.suppress(FormatError):
        cut = codec.decode(
            CodedEntry(source.header, coded.parameters, coded.bodies[0][: len(coded.bodies[0]) // 2]), DecodeRequest()
        )
        assert not np.array_equal(cut, back)
    with pytest.raises(UsageError, match="round or rec"):
        codec.encoding([source], EncodeOptions(effort="fast", coder="huffman"))


def test_gray_and_other_channels_go_plane_by_plane() -> None:
    values = image(24, 24).values[..., :2].copy()
    source = Source(values, SignalHeader("field", "field", "float32", (24, 24), 2))
    coded = encode(source, Rate(beta=5e-4))
    back = decode(coded, source)
    assert back.shape == values.shape and psnr(back, values) > 15
    with pytest.raises(InrcodecError):
        decode(Coded(coded.parameters, [coded.bodies[0][:2]]), source)


def test_damaged_bodies_are_errors_or_other_images() -> None:
    source = image(24, 24)
    coded = encode(source, Rate(beta=5e-4))
    body = coded.bodies[0]
    rng = np.random.default_rng(0)
    codec = HierarchicalCodec(tiny_prior())
    for _ in range(40):
        damaged = bytearray(body)
        damaged[rng.integers(len(body))] ^= 1 << rng.integers(8)
        with contextlib.suppress(InrcodecError):
            codec.decode(CodedEntry(source.header, coded.parameters, bytes(damaged)), DecodeRequest())
    with pytest.raises(FormatError):
        codec.decode(CodedEntry(source.header, b"\xff\xff\x7f", body), DecodeRequest())
    with pytest.raises(FormatError):
        codec.decode(CodedEntry(source.header, coded.parameters + b"\0", body), DecodeRequest())
    with pytest.raises(LimitError):
        codec.decode(CodedEntry(source.header, coded.parameters, body), DecodeRequest(limits=Limits(max_points=100)))
    with pytest.raises(LimitError):
        codec.decode(
            CodedEntry(source.header, coded.parameters, body), DecodeRequest(limits=Limits(max_multiply_adds=100))
        )


DECODER = """
import hashlib, json, sys
import numpy as np, torch
torch.set_num_threads(int(sys.argv[2]))
from pathlib import Path
from inrcodec.codecs.base import CodedEntry, DecodeRequest
from inrcodec.codecs.hierarchical.codec import HierarchicalCodec
from inrcodec.codecs.hierarchical.parameters import read_parameters
from inrcodec.signals.header import SignalHeader
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
folder = Path(sys.argv[1])
codec = HierarchicalCodec(HierarchicalPrior.from_bytes((folder / "prior").read_bytes()))
header = SignalHeader("image", "rgb", "u8", (72, 88), 3)
parameters, body = (folder / "parameters").read_bytes(), (folder / "body").read_bytes()
told, _ = read_parameters(codec.prior, parameters)
features = codec.latent_features(body, told.quality, told.coder, (72, 88))
values = codec.decode(CodedEntry(header, parameters, body), DecodeRequest())
np.save(folder / sys.argv[3], np.rint(np.clip(values, 0, 1) * 255))
print(json.dumps(hashlib.sha256(features.numpy().tobytes()).hexdigest()))
"""


def test_one_file_decodes_alike_on_other_instruction_sets_and_threads(tmp_path: Path) -> None:
    source = image(72, 88)
    coded = encode(source, Rate(beta=3e-4))
    (tmp_path / "prior").write_bytes(tiny_prior().to_bytes())
    (tmp_path / "parameters").write_bytes(coded.parameters)
    (tmp_path / "body").write_bytes(coded.bodies[0])
    seen, photographs = set(), []
    for capability in ("default", "avx2"):
        for threads in (1, 2):
            name = f"{capability}{threads}.npy"
            done = subprocess.run(
                [sys.executable, "-c", DECODER, str(tmp_path), str(threads), name],
                cwd=ROOT,
                check=True,
                text=True,
                capture_output=True,
                env={**os.environ, "ATEN_CPU_CAPABILITY": capability},
            )
            seen.add(json.loads(done.stdout))
            photographs.append(np.load(tmp_path / name))
    assert len(seen) == 1
    assert max(float(np.abs(photograph - photographs[0]).max()) for photograph in photographs) <= 1


def test_the_trained_state_is_the_same_for_equal_seeds() -> None:
    trainer, _ = train(tiny_training(steps=8))
    first, second = trainer.start(), trainer.start()
    for _ in range(3):
        assert trainer._step(first, 0.5)["loss"] == trainer._step(second, 0.5)["loss"]


def test_large_weights_before_a_relu_are_shared_with_what_reads_them() -> None:
    """Rows that 32-bit integers (the viewer's) would not hold are lessened, and the function stays what it was."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = HierarchicalINR(CONFIG)
        with torch.no_grad():
            for name, conv in model.named_convs():
                if name in ("down.0.0.0.in", "prior_in.1.0"):
                    conv.weight.mul_(30.0)
                    conv.bias.normal_()
    tables = ExactTables.from_model(model)
    assert max(float(w.abs().flatten(1).sum(1).max()) for w in tables.weights.values()) < 1 << 19
    lessened = HierarchicalINR(CONFIG)
    lessened.load_state_dict(model.state_dict())
    tables.put_into(lessened)
    rate = model.rates(torch.tensor([5.0]))

    def features(network: HierarchicalINR) -> torch.Tensor:
        def choose(name: str, h: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
            return prior.chunk(2, dim=1)[0]

        with torch.no_grad():
            return top_down(network.layers(rate), 1, 3, 4, choose)

    before, after = features(model), features(lessened)
    assert float((before - after).abs().max()) < 0.01 * float(before.abs().max())
