"""The COIN codec: weights to bytes and back, rates, sizes, audio clips and fields, refusals."""

from __future__ import annotations

import contextlib
import hashlib

import numpy as np
import pytest
import torch

import inrcodec
from inrcodec.cli import main
from inrcodec.codecs.coin.codec import CoinCodec
from inrcodec.codecs.coin.encoding import beta_for_bits, bits_for_beta
from inrcodec.codecs.coin.fit import fit_siren
from inrcodec.codecs.coin.parameters import Parameters, read_parameters, write_parameters
from inrcodec.codecs.coin.weights import FLOAT16, MAX_FINENESS, groups, read_weights, write_weights
from inrcodec.encoding import encode_signals
from inrcodec.errors import FormatError, InrcodecError, UsageError
from inrcodec.nn.siren import SirenShape, siren
from inrcodec.settings import Settings
from inrcodec.signals.coordinates import grid_coordinates
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.metrics import signal_psnr
from inrcodec.signals.signal import Signal
from tests.support.tiny import smooth_tiles

SHAPE = SirenShape((2, 9, 9, 3))

GOLDEN_SHA256, GOLDEN_ROOTS = "8293eb7e79e70328", "979697979795"


def weights(seed: int = 0) -> torch.Tensor:
    """Random ones whose groups differ in size."""
    generator = torch.Generator().manual_seed(seed)
    parts = [torch.randn(n, generator=generator) * 3.0 ** (i - 2) for i, n in enumerate(groups(SHAPE))]
    return torch.cat(parts)


def photograph(size: int = 32) -> Signal:
    tile = smooth_tiles(1, 5, size=size)[0].astype(np.float32) / 255
    return Signal(tile, SignalHeader("image", "rgb", "u8", (size, size), 3))


def test_finer_numbers_are_nearer_and_longer() -> None:
    own = weights()
    errors, lengths = [], []
    for fineness in (16, 48, 80, 112):
        body = write_weights(own, SHAPE, fineness)
        back = read_weights(body, SHAPE, fineness)
        errors.append(float((back - own).square().mean()))
        lengths.append(len(body))
        for a, b in zip(own.split(groups(SHAPE)), back.split(groups(SHAPE)), strict=True):
            # Half a step, and what the rounding of the root to an eighth of an octave adds.
            assert (a - b).abs().max() <= 0.55 * a.square().mean().sqrt() * 2.0 ** (-fineness / 16)
    assert errors == sorted(errors, reverse=True) and lengths == sorted(lengths)
    # Two octaves are two bits per weight.
    assert abs(8 * (lengths[1] - lengths[0]) / SHAPE.n_weights - 2.0) < 0.15


def test_float16_is_what_it_says() -> None:
    body = write_weights(weights(), SHAPE, FLOAT16)
    assert len(body) == 2 * SHAPE.n_weights
    assert torch.equal(read_weights(body, SHAPE, FLOAT16), weights().half().float())
    with pytest.raises(FormatError):
        read_weights(body[:-2], SHAPE, FLOAT16)
    with pytest.raises(FormatError, match="finite"):
        read_weights(b"\xff" * len(body), SHAPE, FLOAT16)


@pytest.mark.parametrize("fineness", [0, 60, MAX_FINENESS])
def test_a_damaged_body_is_refused_or_read_whole(fineness: int) -> None:
    body = write_weights(weights(), SHAPE, fineness)
    for place in range(0, len(body), 3):
        spoilt = bytes([*body[:place], body[place] ^ 64, *body[place + 1 :]])
        with contextlib.suppress(FormatError):
            assert torch.isfinite(read_weights(spoilt, SHAPE, fineness)).all()
    with pytest.raises(FormatError):
        read_weights(b"", SHAPE, fineness)


def test_a_fit_finds_a_function_that_a_network_can_be() -> None:
    coordinates = torch.from_numpy(grid_coordinates((24, 24)).reshape(-1, 2))
    values = torch.sin(3.0 * coordinates[:, :1] + coordinates[:, 1:])[None]
    shape = SirenShape((2, 12, 12, 1))
    found = fit_siren(values, (24, 24), shape, 400, 1 << 12, 0)
    assert found.error < 1e-3
    again = fit_siren(values, (24, 24), shape, 50, 1 << 12, 0, start=found.weights, rate=0.1)
    assert again.error < 2 * found.error


def test_signals_fitted_together_each_have_their_own() -> None:
    coordinates = torch.from_numpy(grid_coordinates((16, 16)).reshape(-1, 2))
    values = torch.stack([torch.sin(4 * coordinates), torch.cos(5 * coordinates)])
    shape = SirenShape((2, 16, 16, 2))
    found = fit_siren(values, (16, 16), shape, 600, 1 << 12, 1)
    assert found.weights.shape == (2, shape.n_weights)
    for own, wanted in zip(siren(coordinates, found.weights, shape), values, strict=True):
        assert (own - wanted).square().mean() < 0.1 * wanted.var()


@pytest.mark.parametrize("coder", [None, "float16"])
def test_a_wanted_rate_is_met_from_below(coder: str | None) -> None:
    signal = photograph()
    data = encode_signals([signal], Settings(codec="coin", target_bpp=6.0, effort="fast", coder=coder)).data
    assert 0.8 * 6.0 < 8 * len(data) / 1024 <= 6.0
    back = inrcodec.decompress(data)
    assert signal_psnr(signal, back) > 24
    assert inrcodec.decompress(data, scale=1.5).values.shape == (48, 48, 3)
    assert inrcodec.open(data).info["codec"] == "coin"


def test_audio_clips_and_fields() -> None:
    time = np.arange(2000, dtype=np.float32)[:, None] / 2000
    recording = Signal(
        (0.02 * np.sin(40 * time)).astype(np.float32), SignalHeader("audio", "mono", "pcm_16", (2000,), 1, 16000)
    )
    back = inrcodec.decompress(encode_signals([recording], Settings(codec="coin", target_kbps=48, effort="fast")).data)
    assert np.square(recording.values).mean() > 5 * np.square(recording.values - back.values).mean()
    z, y, x = np.mgrid[0:5, 0:8, 0:9].astype(np.float32) / 9
    field = Signal(
        np.sin(2 * x + y - z)[..., None].astype(np.float32) * 0.5 + 0.5,
        SignalHeader("field", "field", "float32", (5, 8, 9), 1),
    )
    back = inrcodec.decompress(encode_signals([field], Settings(codec="coin", target_bpp=10, effort="fast")).data)
    assert np.abs(field.values - back.values).mean() < 0.05


def test_archive_of_unequal_signals() -> None:
    signals = [photograph(16), photograph(24), photograph(16)]
    data = encode_signals(signals, Settings(codec="coin", target_bpp=8.0, effort="fast"), ["a", "b", "c"]).data
    for index, signal in enumerate(signals):
        assert inrcodec.decompress(data, entry=index).values.shape == signal.values.shape
    assert len(data) * 8 <= 8.0 * sum(s.header.n_points for s in signals)


def test_parameters() -> None:
    codec = CoinCodec()
    told = Parameters(300, 5, FLOAT16, -7)
    data = write_parameters(told)
    assert read_parameters(data) == (told, len(data))
    assert len(data) <= codec.max_parameter_bytes
    for bad in (b"", data[:-1], write_parameters(Parameters(1, 5, 3, 0)), write_parameters(Parameters(9, 0, 3, 0))):
        with pytest.raises(FormatError):
            read_parameters(bad)
    for bits in (0.1, 0.5, 3.0):
        assert bits_for_beta(beta_for_bits(bits)) == pytest.approx(bits)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="too few"):
        encode_signals([photograph()], Settings(codec="coin", target_bpp=0.26, effort="fast"))
    with pytest.raises(UsageError, match="no learned prior"):
        encode_signals([photograph()], Settings(codec="coin", prior="images32"))
    with pytest.raises(UsageError, match="float16"):
        encode_signals([photograph()], Settings(codec="coin", coder="rec"))
    data = encode_signals([photograph()], Settings(codec="coin", target_bpp=4.0, effort="fast")).data
    for cut in range(0, len(data), 11):
        with pytest.raises(InrcodecError):
            inrcodec.decompress(data[:cut])


def test_command_line(tmp_path, capsys) -> None:  # type: ignore[no-untyped-def]
    from PIL import Image

    Image.fromarray(photograph().to_native()).save(tmp_path / "a.png")
    arguments = ["compress", str(tmp_path / "a.png"), "--codec", "coin", "--target-bpp", "4", "--effort", "fast"]
    assert main(arguments) == 0
    assert "PSNR" in capsys.readouterr().out.replace("psnr", "PSNR")
    assert main(["decompress", str(tmp_path / "a.inr"), "-o", str(tmp_path / "b.png"), "--size", "50x40", "-q"]) == 0
    assert Image.open(tmp_path / "b.png").size == (50, 40)
    assert main(["compress", str(tmp_path / "a.png"), "--codec", "coin", "--prior", "images32", "-f"]) == 2


def test_golden_bytes() -> None:
    """Part of the format: weights made by hand."""
    own = (torch.arange(SHAPE.n_weights) * 7919 % 101 - 50) / 64.0
    body = write_weights(own, SHAPE, 40)
    assert hashlib.sha256(body).hexdigest()[:16] == GOLDEN_SHA256
    assert body[:6].hex() == GOLDEN_ROOTS
