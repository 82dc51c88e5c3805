"""The COIN++ codec: files, rates, sizes, refusals, the same image whatever the machine's settings."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import inrcodec
from inrcodec.cli import main
from inrcodec.codecs import prior_store
from inrcodec.encoding import encode_signals
from inrcodec.errors import InrcodecError, UsageError
from inrcodec.settings import Settings
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.metrics import signal_psnr
from inrcodec.signals.signal import Signal
from tests.support.tiny import smooth_tiles
from tests.support.tiny_coinpp import tiny_coinpp_prior


@pytest.fixture(autouse=True)
def _priors(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("priors")
    (folder / "tiny-coinpp.safetensors").write_bytes(tiny_coinpp_prior().to_bytes())
    monkeypatch.setenv(prior_store.ENVIRONMENT, str(folder))
    yield


def photograph(height: int = 20, width: int = 27, layout: str = "rgb", seed: int = 4) -> Signal:
    """A smooth image whose sides are no multiples of the patch's."""
    channels = {"gray": 1, "rgb": 3, "rgba": 4}[layout]
    tile = smooth_tiles(1, seed, size=32)[0, :height, :width].astype(np.float32) / 255
    values = np.concatenate([tile, tile[..., :1]], axis=-1)[..., :channels]
    return Signal(np.ascontiguousarray(values), SignalHeader("image", layout, "u8", (height, width), channels))


def settings(**changes: object) -> Settings:
    return Settings(prior="tiny-coinpp", **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", ["gray", "rgb", "rgba"])
def test_round_trip_of_odd_sizes(layout: str) -> None:
    signal = photograph(layout=layout)
    data = encode_signals([signal], settings(target_bpp=8.0)).data
    back = inrcodec.decompress(data)
    assert back.values.shape == signal.values.shape
    assert signal_psnr(signal, back) > 30


def test_equal_input_gives_equal_bytes() -> None:
    assert len({encode_signals([photograph()], settings(beta=1e-3)).data for _ in range(2)}) == 1


@pytest.mark.parametrize("effort", ["fast", "default", "best"])
def test_a_wanted_rate_is_met_from_below(effort: str) -> None:
    signals = [photograph(8, 8, seed=seed) for seed in range(60)]
    data = encode_signals(signals, settings(target_bpp=4.0, effort=effort), [str(i) for i in range(60)]).data
    assert 0.97 < 8 * len(data) / (60 * 64 * 4.0) <= 1.005


def test_smaller_beta_is_better_and_larger() -> None:
    signal = photograph()
    found = [encode_signals([signal], settings(beta=beta)).data for beta in (1e-2, 1e-3, 1e-4)]
    sizes = [len(data) for data in found]
    quality = [signal_psnr(signal, inrcodec.decompress(data)) for data in found]
    assert sizes == sorted(sizes) and quality == sorted(quality) and sizes[0] < sizes[-1]


def test_a_wanted_quality_is_met() -> None:
    signal = photograph()
    back = inrcodec.decompress(encode_signals([signal], settings(target_psnr=32.0)).data)
    assert abs(signal_psnr(signal, back) - 32.0) < 0.3


def test_more_effort_is_no_worse() -> None:
    signal = photograph()
    cost = []
    for effort in ("fast", "best"):
        data = encode_signals([signal], settings(beta=2e-3, effort=effort)).data
        error = float(np.square(signal.values - inrcodec.decompress(data).values).mean())
        cost.append(error + 2e-3 * 8 * len(data) / signal.header.n_points)
    assert cost[1] < 1.02 * cost[0]


def test_any_size() -> None:
    signal = photograph(24, 24)
    data = encode_signals([signal], settings(target_bpp=8.0)).data
    assert inrcodec.decompress(data, size=(24, 24)).values.shape == (24, 24, 3)
    larger, smaller = inrcodec.decompress(data, scale=2.0), inrcodec.decompress(data, scale=0.5)
    assert larger.values.shape == (48, 48, 3) and smaller.values.shape == (12, 12, 3)
    native = inrcodec.decompress(data).values
    np.testing.assert_allclose(larger.values.reshape(24, 2, 24, 2, 3).mean(axis=(1, 3)), native, atol=0.06)
    np.testing.assert_allclose(native.reshape(12, 2, 12, 2, 3).mean(axis=(1, 3)), smaller.values, atol=0.06)


def test_options_of_other_codecs_are_refused() -> None:
    with pytest.raises(UsageError, match="no coder"):
        encode_signals([photograph()], settings(coder="rec"))
    with pytest.raises(UsageError, match="belongs to codec"):
        encode_signals([photograph()], settings(codec="combiner"))


def test_damaged_files_are_refused() -> None:
    data = encode_signals([photograph()], settings(target_bpp=4.0)).data
    for cut in range(0, len(data), 7):
        with pytest.raises(InrcodecError):
            inrcodec.decompress(data[:cut])


def test_limits_hold_before_memory_is_taken() -> None:
    data = encode_signals([photograph()], settings(target_bpp=4.0)).data
    limits = dataclasses.replace(inrcodec.open(data)._limits, max_multiply_adds=1000)
    with pytest.raises(InrcodecError, match="multiply-adds"):
        inrcodec.decompress(data, limits=limits)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    Image.fromarray(photograph().to_native()).save(tmp_path / "a.png")
    assert main(["compress", str(tmp_path / "a.png"), "--prior", "tiny-coinpp", "--target-bpp", "6", "-q"]) == 0
    assert main(["info", str(tmp_path / "a.inr")]) == 0
    assert "coin++" in capsys.readouterr().out
    assert main(["decompress", str(tmp_path / "a.inr"), "-o", str(tmp_path / "b.png"), "--scale", "2", "-q"]) == 0
    assert Image.open(tmp_path / "b.png").size == (54, 40)
    assert main(["priors", "list"]) == 0
    assert "48 modulations for patches of 8x8" in capsys.readouterr().out


def test_training_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    mosaic = smooth_tiles(100).reshape(10, 10, 8, 8, 3).swapaxes(1, 2).reshape(80, 80, 3)
    Image.fromarray(mosaic).save(tmp_path / "tiles.png")
    command = [
        "priors",
        "train",
        str(tmp_path / "tiles.png"),
        "--codec",
        "coin++",
        "--recipe",
        "images32",
        "--tile",
        "8",
        "--minutes",
        "0.02",
        "-o",
        str(tmp_path / "mine.safetensors"),
        "--resume",
        str(tmp_path / "ck"),
    ]
    assert main(command) == 0
    assert "bits_per_point" in capsys.readouterr().out
    assert prior_store.find(tmp_path / "mine.safetensors").kind == "image"
    assert main([*command, "-f", "--rate-power", "2"]) == 2


def test_the_same_image_under_other_instructions(tmp_path: Path) -> None:
    """What is decoded steers nothing: floats may differ in the last bits, levels of 8 bits by 1 at most."""
    file = tmp_path / "a.inr"
    file.write_bytes(encode_signals([photograph()], settings(target_bpp=6.0)).data)
    script = (
        "import sys, numpy, torch; torch.set_num_threads(int(sys.argv[2])); import inrcodec\n"
        "sys.stdout.buffer.write(inrcodec.decompress(sys.argv[1]).to_native().tobytes())"
    )
    import os

    seen = []
    for capability, threads in (("default", "1"), ("avx2", "2")):
        environment = {**os.environ, "ATEN_CPU_CAPABILITY": capability}
        done = subprocess.run(
            [sys.executable, "-c", script, str(file), threads], env=environment, capture_output=True, check=True
        )
        seen.append(np.frombuffer(done.stdout, np.uint8).astype(int))
    assert np.abs(seen[0] - seen[1]).max() <= 1


def test_shipped_networks_on_an_image_an_audio_clip_and_a_field() -> None:
    """Chosen by the kind of signal; dB of signal to noise, 2 to 6 below what was measured."""
    from skimage import data

    cat = data.cat()[100:196, 150:250].astype(np.float32) / 255
    time = np.arange(8000) / 16000
    voice = 0.1 * (np.sin(2 * np.pi * 220 * time) + 0.5 * np.sin(2 * np.pi * 660 * time)) * np.hanning(8000)
    y, x = np.mgrid[0:40, 0:50] / 50
    signals: dict[str, tuple[Signal, dict[str, Any], float]] = {
        "image": (Signal(cat, SignalHeader("image", "rgb", "u8", (96, 100), 3)), {"target_bpp": 1.0}, 14.0),
        "audio": (
            Signal(voice[:, None].astype(np.float32), SignalHeader("audio", "mono", "pcm_16", (8000,), 1, 16000)),
            {"target_kbps": 16.0},
            20.0,
        ),
        "field": (
            Signal(
                np.sin(4 * x + 3 * y)[..., None].astype(np.float32) / 2 + 0.5,
                SignalHeader("field", "field", "float32", (40, 50), 1),
            ),
            {"target_bpp": 0.5},
            17.0,
        ),
    }
    for signal, target, least in signals.values():
        back = inrcodec.decompress(encode_signals([signal], Settings(codec="coin++", effort="fast", **target)).data)
        spread = np.square(signal.values - signal.values.mean()).mean()
        assert 10 * np.log10(spread / np.square(signal.values - back.values).mean()) > least
