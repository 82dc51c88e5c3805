"""Modulations as a data set: export, its file, a predictor learned from it, and effort fast that uses it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import inrcodec
from inrcodec.cli import main
from inrcodec.codecs import prior_store
from inrcodec.codecs.coinpp.flow import ModulationFlow, cell_nats
from inrcodec.codecs.coinpp.functa import (
    Modulations,
    export_modulations,
    histogram_nats,
    learn_flow,
    learn_predictor,
    sample_signal,
)
from inrcodec.codecs.coinpp.inner_loop import fit_latents
from inrcodec.codecs.coinpp.predictor import ModulationPredictor
from inrcodec.codecs.coinpp.prior import CoinPPPrior, coinpp_prior
from inrcodec.encoding import encode_signals
from inrcodec.errors import FormatError, UsageError
from inrcodec.settings import Settings
from inrcodec.signals.coordinates import grid_coordinates
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.signal import Signal
from inrcodec.training.sources import TileSource
from tests.support.tiny import smooth_tiles
from tests.support.tiny_coinpp import CONFIG, tiny_coinpp_prior


def exported(count: int = 600) -> Modulations:
    source = TileSource(smooth_tiles(400), mirror=True)
    return export_modulations(tiny_coinpp_prior(), source, "smooth tiles", count, 4)


@pytest.fixture(scope="module")
def learned() -> tuple[CoinPPPrior, object]:
    torch.set_num_threads(1)
    return learn_predictor(tiny_coinpp_prior(), exported(), 10.0, steps=300)


def test_an_export_holds_patches_and_their_latents() -> None:
    data = exported(30)
    prior = tiny_coinpp_prior()
    coordinates = torch.from_numpy(grid_coordinates((8, 8)).reshape(-1, 2))
    torch.testing.assert_close(data.latents, fit_latents(prior.model, data.values, coordinates, 4))
    assert data.values.shape == (30, 64, 3) and data.prior_id == prior.id


def test_file_of_modulations(tmp_path: Path) -> None:
    data = exported(20)
    path = tmp_path / "m.safetensors"
    path.write_bytes(data.to_bytes())
    back = Modulations.from_file(path)
    torch.testing.assert_close(back.latents, data.latents, rtol=1e-3, atol=1e-3)
    assert (back.prior_id, back.summary) == (data.prior_id, data.summary)
    path.write_bytes(data.to_bytes()[:-9])
    with pytest.raises(FormatError):
        Modulations.from_file(path)
    path.write_bytes(tiny_coinpp_prior().to_bytes())
    with pytest.raises(FormatError, match="not a set of modulations"):
        Modulations.from_file(path)
    path.write_bytes(dataclasses.replace(data, latents=data.latents * float("nan")).to_bytes())
    with pytest.raises(FormatError, match="finite"):
        Modulations.from_file(path)


def test_predictions_are_near_what_inner_steps_find(learned: tuple[CoinPPPrior, object]) -> None:
    _, found = learned
    assert found.predicted_db >= found.linear_db - 0.05  # type: ignore[attr-defined]
    assert found.predicted_db > found.exported_db - 3.0  # type: ignore[attr-defined]


def test_least_squares_finds_a_linear_map() -> None:
    generator = torch.Generator().manual_seed(0)
    values, true = torch.randn(300, 4, 3, generator=generator), torch.randn(12, 5, generator=generator)
    predictor = ModulationPredictor(12, 5, 8)
    predictor.begin_at(values, values.flatten(1) @ true + 2.0, ridge=1e-9)
    torch.testing.assert_close(predictor(values), values.flatten(1) @ true + 2.0, rtol=1e-3, atol=1e-3)


def test_a_prior_keeps_its_predictor(learned: tuple[CoinPPPrior, object]) -> None:
    prior, _ = learned
    assert prior.predictor and prior.id != tiny_coinpp_prior().id
    data = prior.to_bytes()
    assert CoinPPPrior.from_bytes(data).to_bytes() == data
    broken = dict(prior.predictor)
    broken["read.bias"] = torch.zeros(7)
    with pytest.raises(FormatError, match="predictor"):
        CoinPPPrior.from_bytes(dataclasses.replace(prior, predictor=broken).to_bytes())
    broken = {**prior.predictor, "scales": -prior.predictor["scales"]}
    with pytest.raises(FormatError, match="finite"):
        CoinPPPrior.from_bytes(dataclasses.replace(prior, predictor=broken).to_bytes())


def test_data_of_another_prior_or_too_few_are_refused(learned: tuple[CoinPPPrior, object]) -> None:
    with pytest.raises(UsageError, match="were exported with"):
        learn_predictor(learned[0], dataclasses.replace(exported(200), prior_id=b"another."), 1.0, steps=1)
    with pytest.raises(UsageError, match="too few"):
        learn_predictor(tiny_coinpp_prior(), exported(40), 1.0, steps=1)


def test_effort_fast_predicts(
    learned: tuple[CoinPPPrior, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No inner step is taken, and the file is one like any other."""
    (tmp_path / "quick.safetensors").write_bytes(learned[0].to_bytes())
    monkeypatch.setenv(prior_store.ENVIRONMENT, str(tmp_path))
    from inrcodec.codecs.coinpp import encoding

    def never(*_: object, **__: object) -> torch.Tensor:
        raise AssertionError("an inner step was taken")

    monkeypatch.setattr(encoding, "fit_latents", never)
    tile = smooth_tiles(1, 5, size=20)[0].astype(np.float32) / 255
    signal = Signal(tile, SignalHeader("image", "rgb", "u8", (20, 20), 3))
    data = encode_signals([signal], Settings(prior="quick", effort="fast", target_bpp=6.0)).data
    back = inrcodec.decompress(data)
    assert -10 * np.log10(np.square(back.values - signal.values).mean()) > 26
    with pytest.raises(AssertionError, match="inner step"):
        encode_signals([signal], Settings(prior="quick", target_bpp=6.0))


def test_a_flow_looks_at_earlier_dimensions_alone() -> None:
    torch.manual_seed(0)
    flow = ModulationFlow(7, 24)
    with torch.no_grad():
        flow.write.weight.normal_()
    latents = torch.randn(1, 7, requires_grad=True)
    for dim in range(7):
        mean, log_scale = flow(latents, torch.ones(1))
        (slope,) = torch.autograd.grad(mean[0, dim] + log_scale[0, dim], latents)
        assert not slope[0, dim:].any()
        assert dim == 0 or slope[0, :dim].any()


def test_cells_of_a_flow_sum_to_one() -> None:
    flow = ModulationFlow(1, 4)
    numbers = torch.arange(-300.0, 301.0)[:, None] * 0.05
    total = (-cell_nats(flow, numbers, torch.full((601,), 0.05))).exp().sum()
    assert abs(float(total.detach()) - 1.0) < 1e-3


def test_a_flow_learns_what_histograms_cannot() -> None:
    """Dimensions that follow from one another: shorter under the flow, and its samples are alike."""
    prior = tiny_coinpp_prior()
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(2000, CONFIG.latent_dims, generator=generator)
    latents[:, 1::2] = latents[:, ::2] + 0.1 * latents[:, 1::2]
    data = Modulations(torch.zeros(2000, 64, 3), latents, prior.id, "made up")
    made, compared = learn_flow(prior, data, 10.0, steps=500)
    assert compared[-1].flow_bits < 0.8 * compared[-1].histogram_bits
    drawn = made.flow_model.sample(800, prior.steps[0], torch.Generator().manual_seed(1))
    assert 0.8 < float((drawn[:, 0] * drawn[:, 1]).mean() / drawn[:, 0].square().mean()) < 1.2
    assert made.base_id == prior.id


def test_nats_of_a_histogram() -> None:
    learned = torch.tensor([[0.0], [0.0], [1.0]])
    # Counts 0, 2, 1 of the numbers -1, 0, 1, one added to each.
    found = histogram_nats(learned, torch.tensor([[-1.0], [0.0]]))
    assert float(found) == pytest.approx(-np.log(1 / 6) - np.log(3 / 6))


def test_samples_are_signals() -> None:
    prior = tiny_coinpp_prior()
    data = exported(300)
    made, _ = learn_flow(prior, data, 10.0, steps=60)
    signal = sample_signal(made, 5, scale=2)
    assert signal.values.shape == (32, 48, 3) and signal.header.kind == "image"
    assert not signal.values[16:, 32:].any() and signal.values[16:, :32].std() > 0
    again = sample_signal(made, 5, scale=2)
    assert np.array_equal(signal.values, again.values)
    with pytest.raises(UsageError, match="no flow"):
        sample_signal(prior, 1)


def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    (tmp_path / "base.safetensors").write_bytes(tiny_coinpp_prior().to_bytes())
    monkeypatch.setenv(prior_store.ENVIRONMENT, str(tmp_path))
    mosaic = smooth_tiles(100).reshape(10, 10, 8, 8, 3).swapaxes(1, 2).reshape(80, 80, 3)
    Image.fromarray(mosaic).save(tmp_path / "tiles.png")
    out = tmp_path / "m.safetensors"
    command = [
        "modulations",
        "export",
        str(tmp_path / "tiles.png"),
        "--prior",
        "base",
        "--recipe",
        "images32",
        "--tile",
        "8",
        "--count",
        "200",
        "-o",
        str(out),
    ]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["latent_dims"] == CONFIG.latent_dims
    assert main(command) != 0
    mine = tmp_path / "mine.safetensors"
    assert main(["modulations", "learn", str(out), "--prior", "base", "--minutes", "0.01", "-o", str(mine), "-q"]) == 0
    assert coinpp_prior(prior_store.load(mine)).predictor
    photograph = tmp_path / "new.png"
    assert main(["priors", "sample", str(mine), "-o", str(photograph), "--count", "4"]) == 0
    assert Image.open(photograph).size == (16, 16)
    assert main(["priors", "sample", "base", "-o", str(photograph), "-f"]) == 2
    quick = [*command[:4], str(mine), *command[5:], "--inner-steps", "0", "-f"]
    assert main(quick) == 0
    only = ["modulations", "learn", str(out), "--prior", str(mine), "--minutes", "0.01", "--only", "flow", "-q", "-f"]
    assert main([*only, "-o", str(tmp_path / "other.safetensors")]) == 0
    assert main([*command, "--inner-steps", "0", "-f"]) == 2
    assert main(["modulations", "export", str(tmp_path / "tiles.png"), "--prior", "nothing", "-o", str(out), "-f"]) == 1
