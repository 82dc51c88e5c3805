"""Models with patches and depthwise blocks: exact, coded like the others, begun as a block transform."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from inrcodec.codecs import prior_store
from inrcodec.codecs.base import CodedEntry, DecodeRequest, EncodeOptions, Rate, Source, no_progress
from inrcodec.codecs.hierarchical.batches import as_batch
from inrcodec.codecs.hierarchical.codec import HierarchicalCodec
from inrcodec.codecs.hierarchical.config import HierarchicalConfig
from inrcodec.codecs.hierarchical.elbo import elbo, noisy, rounded
from inrcodec.codecs.hierarchical.exact import log_lambda_of, place_latents
from inrcodec.codecs.hierarchical.growth import grown
from inrcodec.codecs.hierarchical.klt import start_as_klt
from inrcodec.codecs.hierarchical.model import HierarchicalINR, patch_values
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior, multiply_adds_per_point
from inrcodec.codecs.hierarchical.refinement import refine
from inrcodec.codecs.hierarchical.rounding import round_weights, rounded_in_turn
from inrcodec.codecs.hierarchical.top_down import top_down
from inrcodec.codecs.hierarchical.training_gpu import FlatTrainer
from inrcodec.codecs.packed_weights import row_units
from inrcodec.errors import FormatError, PriorError
from inrcodec.nn import strips
from inrcodec.nn.exact import ACTIVATION_BITS, ExactConv
from inrcodec.signals.header import SignalHeader
from tests.support.tiny import smooth_tiles
from tests.support.tiny_hierarchical import CONFIG, tiny_training, train
from tests.support.tiny_patches import PATCHES, tiny_patch_prior

NO_FOURIER = torch.zeros(0)


def crops(count: int, side: int = 16, seed: int = 0) -> torch.Tensor:
    """Smooth tiles (N, 3, side, side) in [0, 1]."""
    return torch.from_numpy(smooth_tiles(count, seed=seed, size=side)).permute(0, 3, 1, 2).float() / 255


def source(rows: int, columns: int) -> Source:
    """A smooth colour image."""
    values = smooth_tiles(1, size=max(rows, columns, 16))[0, :rows, :columns].astype(np.float32) / np.float32(255)
    return Source(values, SignalHeader("image", "rgb", "u8", (rows, columns), 3))


def test_configurations_of_the_first_release_are_written_as_before() -> None:
    written = CONFIG.to_dict()
    assert not {"block", "patch"} & set(written)
    assert not {"blocks_after", "narrowed"} & set(written["levels"][0])
    assert HierarchicalConfig.from_dict(written) == CONFIG
    assert HierarchicalConfig.from_dict(PATCHES.to_dict()) == PATCHES
    for wrong in ({"block": "other"}, {"patch": 2}, {"patch": 4, "head_width": 8}, {"patch": -4}):
        with pytest.raises(FormatError):
            HierarchicalConfig.from_dict({**PATCHES.to_dict(), **wrong})


def test_a_depthwise_convolution_in_integers() -> None:
    torch.manual_seed(0)
    weight, bias = torch.randint(-4000, 4000, (5, 3, 3)), torch.randint(-(1 << 24), 1 << 24, (5,))
    values = torch.randint(-(1 << 20), 1 << 20, (2, 5, 7, 6)).double()
    found = ExactConv.make(weight, bias)(values)
    summed = functional.conv2d(values, weight[:, None].double(), padding=1, groups=5) + bias[:, None, None]
    assert torch.equal(found.double(), ((summed + 2048) / 4096).floor().clamp(-(1 << 23), 1 << 23))


def test_integers_compute_what_the_floating_point_network_does() -> None:
    prior = tiny_patch_prior()
    quality = 300
    layers = prior.layers(quality)
    rate = prior.model.rates(torch.full((1,), log_lambda_of(prior.config, quality)))
    residuals = {f"{i}.{j}": torch.randint(-2, 3, (1, c, 4, 4)) for i, j, c in _blocks(prior.config)}

    def exact(name: str, h: torch.Tensor, mean_and_scale: torch.Tensor) -> torch.Tensor:
        residual = residuals[name][:, :, : mean_and_scale.shape[2], : mean_and_scale.shape[3]]
        return place_latents(layers, name, mean_and_scale, residual << 8)

    def floating(name: str, h: torch.Tensor, mean_and_scale: torch.Tensor) -> torch.Tensor:
        residual = residuals[name][:, :, : mean_and_scale.shape[2], : mean_and_scale.shape[3]]
        return mean_and_scale.chunk(2, dim=1)[0] + prior.model.steps(name, rate) * residual

    integers = top_down(layers, 1, 1, 2, exact)
    floats = top_down(prior.model.layers(rate), 1, 1, 2, floating)
    assert integers.shape == floats.shape == (1, 3, 16, 32)
    assert torch.equal(integers, integers.round())
    torch.testing.assert_close(integers.float() / (1 << ACTIVATION_BITS), floats, rtol=0, atol=0.01)


def _blocks(config: HierarchicalConfig) -> list[tuple[int, int, int]]:
    return [(i, j, c) for i, level in enumerate(config.levels) for j, c in enumerate(level.latents)]


def test_strips_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    codec, signal = HierarchicalCodec(tiny_patch_prior()), source(70, 45)
    coded = codec.encoding([signal], EncodeOptions(effort="fast")).at(Rate(beta=1e-3))
    entry = CodedEntry(signal.header, coded.parameters, coded.bodies[0])
    whole = codec.decode(entry, DecodeRequest())
    monkeypatch.setattr(strips, "STRIP_NUMBERS", 512)
    again = codec.encoding([signal], EncodeOptions(effort="fast")).at(Rate(beta=1e-3))
    assert again.bodies == coded.bodies
    assert np.array_equal(codec.decode(entry, DecodeRequest()), whole)


@pytest.mark.parametrize("shape", [(1, 1), (5, 33), (64, 48)])
@pytest.mark.parametrize("coder", ["round", "rec"])
def test_files_of_any_size(shape: tuple[int, int], coder: str) -> None:
    codec, signal = HierarchicalCodec(tiny_patch_prior()), source(*shape)
    coded = codec.encoding([signal], EncodeOptions(effort="fast", coder=coder)).at(Rate(beta=1e-3))
    entry = CodedEntry(signal.header, coded.parameters, coded.bodies[0])
    values = codec.decode(entry, DecodeRequest())
    assert values.shape == (*shape, 3)
    assert -10 * np.log10(np.square(values - signal.values).mean()) > 22
    with pytest.raises(FormatError):
        codec.decode(replace(entry, parameters=entry.parameters + b"\1"), DecodeRequest())
    larger = tuple(2 * n + 1 for n in shape)
    resized = codec.decode(entry, DecodeRequest(size=larger))
    assert resized.shape == (*larger, 3)
    window = (slice(0, larger[0] // 2 + 1), slice(larger[1] // 3, larger[1]))
    assert np.array_equal(codec.decode(entry, DecodeRequest(size=larger, window=window)), resized[window])


def test_trial_steps_lower_the_cost() -> None:
    prior, quality = tiny_patch_prior(), 300
    log_lambda = torch.full((1,), log_lambda_of(prior.config, quality))
    batch = as_batch(source(70, 45).values[None], prior.config)

    @torch.no_grad()
    def cost() -> float:
        found = elbo(
            prior.model, batch.values, log_lambda, NO_FOURIER, rounded, offsets=batch.offsets or None, mask=batch.mask
        )
        return float(found.bits / batch.points + log_lambda.exp() * found.mse)

    before = cost()
    refine(prior, [batch], [quality], 60, no_progress)
    assert cost() < before


@pytest.mark.parametrize(("effort", "shape"), [("best", (40, 40)), ("default", (136, 128))])
def test_efforts_with_search(effort: str, shape: tuple[int, int]) -> None:
    """Small images take trial steps, larger ones adapt the encoder."""
    codec, signal = HierarchicalCodec(tiny_patch_prior()), source(*shape)
    coded = codec.encoding([signal], EncodeOptions(effort=effort)).at(Rate(beta=1e-3))
    values = codec.decode(CodedEntry(signal.header, coded.parameters, coded.bodies[0]), DecodeRequest())
    assert -10 * np.log10(np.square(values - signal.values).mean()) > 24


def test_a_target_rate_is_met() -> None:
    codec, signal = HierarchicalCodec(tiny_patch_prior()), source(96, 96)
    bits = 0.6 * signal.header.n_points
    coded = codec.encoding([signal], EncodeOptions(effort="fast")).at(Rate(bits=bits))
    assert 0.97 * bits < 8 * len(coded.bodies[0]) <= bits


def test_prior_files_come_back_and_bad_ones_are_refused() -> None:
    prior = tiny_patch_prior()
    data = prior.to_bytes()
    again = HierarchicalPrior.from_bytes(data)
    assert again.to_bytes() == data and again.id == prior.id
    for name, value in prior.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value), name
    changed = {name: weight.clone() for name, weight in prior.tables.weights.items()}
    changed["out"][0, 0] += 1
    with pytest.raises(PriorError):
        replace(prior, tables=replace(prior.tables, weights=changed)).as_read_back()
    del changed["out"]
    with pytest.raises(FormatError):
        replace(prior, tables=replace(prior.tables, weights=changed)).as_read_back()


def test_a_file_in_the_place_of_another_has_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found by that id, and a file that states no id at all, or one that is none, is refused."""
    prior = tiny_patch_prior()
    other = replace(prior, name="other", card={"data": "none"}, stands_for=prior.id.hex()).as_read_back()
    assert other.id == prior.id and other.name == "other"
    assert other.with_card({}).id not in (prior.id, b"")
    monkeypatch.setenv(prior_store.ENVIRONMENT, str(tmp_path))
    (tmp_path / "other.safetensors").write_bytes(other.to_bytes())
    (tmp_path / "broken.safetensors").write_bytes(b"not a prior")
    assert prior_store.find_id(prior.id).name == "other"
    assert prior_store.path_of(prior.id.hex()) == tmp_path / "other.safetensors"
    for wrong in ("ab", "x" * 16):
        with pytest.raises(FormatError, match="no id"):
            replace(prior, stands_for=wrong).as_read_back()


def test_multiply_adds_count_every_map_of_the_way_down() -> None:
    config = replace(PATCHES, levels=(replace(PATCHES.levels[0], blocks_after=0), *PATCHES.levels[1:]))
    fewer = multiply_adds_per_point(config)
    block = 8 * 9 + 2 * 8 * 16
    assert multiply_adds_per_point(PATCHES) - fewer == pytest.approx(block / 16**2, abs=1)


def test_a_new_model_is_a_block_transform() -> None:
    """Before the first step it codes twice as well as zeros would, and a model from random numbers does not."""
    torch.manual_seed(0)
    values = crops(64)
    begun, random = HierarchicalINR(PATCHES), HierarchicalINR(PATCHES)
    start_as_klt(begun, values)

    def error(model: HierarchicalINR, log_lambda: float) -> float:
        with torch.no_grad():
            return float(elbo(model, crops(16, seed=5), torch.full((16,), log_lambda), NO_FOURIER, rounded).mse.mean())

    assert error(begun, 8.0) < 2e-4 < 0.01 < error(random, 8.0)
    assert error(begun, 8.0) < error(begun, 3.0)


def test_a_new_model_of_one_axis_is_a_block_transform() -> None:
    config = replace(PATCHES, axes=1, channels=1, centre=0.0, spread=1.0)
    time = torch.arange(256) / 256
    waves = [torch.sin(6.28 * (k % 9 + 1) * time + k) * (0.5 + k / 60) for k in range(60)]
    values = torch.stack(waves)[:, None, None]
    torch.manual_seed(0)
    model = HierarchicalINR(config)
    start_as_klt(model, values)
    with torch.no_grad():
        found = elbo(model, values, torch.full((60,), 8.0), NO_FOURIER, rounded)
    assert float(found.mse.mean()) < 0.01 * float(values.square().mean())


def test_a_larger_model_starts_as_the_smaller_one() -> None:
    small, values = tiny_patch_prior().model, crops(2)
    levels = [replace(level, width=level.width + 8, blocks_after=level.blocks_after + 1) for level in PATCHES.levels]
    large = grown(small, replace(PATCHES, levels=tuple(levels)))
    with torch.no_grad():
        before, after = (elbo(m, values, torch.full((2,), 5.0), NO_FOURIER, rounded) for m in (small, large))
    torch.testing.assert_close(after.mse, before.mse, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(after.bits, before.bits, rtol=1e-3, atol=0.5)


def test_rounding_in_turn_changes_less_than_rounding_to_the_nearest() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(4000, 24).double() @ torch.randn(24, 24).double()
    weight = torch.randn(10, 24).double()
    unit = torch.full((10,), 0.25).double()
    covariance = inputs.T @ inputs / len(inputs)
    in_turn = rounded_in_turn(weight, covariance, unit)
    nearest = (weight / 0.25).round() * 0.25
    assert torch.equal((in_turn / 0.25).round() * 0.25, in_turn)
    errors = [(inputs @ (w - weight).T).square().mean() for w in (in_turn, nearest)]
    assert errors[0] < 0.7 * errors[1]


def test_a_rounded_model_is_what_its_file_holds() -> None:
    torch.manual_seed(0)
    model = HierarchicalINR(PATCHES)
    start_as_klt(model, crops(64))
    values = crops(8, seed=3)

    @torch.no_grad()
    def run() -> None:
        elbo(model, values, torch.linspace(3.0, 8.0, 8), NO_FOURIER, noisy)

    round_weights(model, run)
    prior = HierarchicalPrior.from_model(model, "rounded", "image", torch.zeros(0), {})
    units = {name: row_units(conv.weight) for name, conv in model.named_convs() if conv.groups == 1}
    for name, conv in prior.model.named_convs():
        if conv.groups == 1:
            moved = (conv.weight - model.conv(name).weight).abs().flatten(1).amax(dim=1)
            assert (moved <= 0.5 * units[name]).all(), name
            assert (moved > 0).float().mean() < 0.2, name


def test_an_ordinary_training_calibrates_the_rounding() -> None:
    """Two trainings that end alike but for it."""
    errors = []
    for weight_signals in (0, 4):
        trainer, state = train(tiny_training(network=PATCHES, steps=30, weight_signals=weight_signals))
        prior, model = trainer.finish(state, {}), trainer.averaged_model(state)
        with torch.no_grad():
            costs = [
                elbo(m, crops(32, seed=9), torch.full((32,), 6.0), NO_FOURIER, rounded) for m in (prior.model, model)
            ]
        errors.append(float((costs[0].mse - costs[1].mse).abs().mean()))
    assert errors[1] != errors[0] and max(errors) < 2e-5


@pytest.mark.parametrize("weight_signals", [0, 4])
def test_the_training_on_a_device_takes_the_same_model(weight_signals: int) -> None:
    """At its end, the rounding of the weights is calibrated where there are crops for it."""
    config = tiny_training(
        network=PATCHES, batch=4, fast_share=0.0, auxiliary_share=0.0, steps=4, weight_signals=weight_signals
    )
    trainer = FlatTrainer(config, list(smooth_tiles(6, seed=4, size=40)), (0.8, 1.5), "cpu")
    state = trainer.start()
    trainer.run(state, until_seconds=60, checkpoint=None, progress=lambda state, stage: None)
    prior = trainer.finish(state, {"data": "smooth tiles"})
    with torch.no_grad():
        error = elbo(prior.model, crops(8), torch.full((8,), 8.0), NO_FOURIER, rounded).mse.mean()
    assert float(error) < 1e-3
    assert patch_values(PATCHES, torch.zeros(1)).item() == PATCHES.centre
