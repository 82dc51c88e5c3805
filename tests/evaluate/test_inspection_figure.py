"""Figures of files, and the law behind the map of bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inrcodec.api import InrFile
from inrcodec.cli import main
from inrcodec.codecs import prior_store, tiles
from inrcodec.codecs.base import CodedEntry
from inrcodec.codecs.hierarchical.codec import HierarchicalCodec
from inrcodec.codecs.hierarchical.inspection import CELL, inspect
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
from inrcodec.encoding import encode_signals
from inrcodec.errors import DataError
from inrcodec.evaluate.inspection_figure import show
from inrcodec.settings import Settings
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.signal import Signal


def _image(photograph: np.ndarray, height: int, width: int) -> Signal:
    values = np.ascontiguousarray(photograph[:height, 100 : 100 + width], np.float32) / np.float32(255)
    return Signal(values, SignalHeader("image", "rgb", "u8", (height, width), 3))


def _inspected(signal: Signal, prior_name: str):  # type: ignore[no-untyped-def]
    prior = prior_store.find(prior_name)
    assert isinstance(prior, HierarchicalPrior)
    codec = HierarchicalCodec(prior)
    payload = InrFile(encode_signals([signal], Settings(beta=0.003, effort="fast")).data).container().payload
    parameters, body = codec.split_parameters(payload)
    return inspect(codec, CodedEntry(signal.header, parameters, body)), 8 * len(body)


def test_the_map_of_bits_adds_up_to_the_message(photograph: np.ndarray) -> None:
    found, bits = _inspected(_image(photograph, 128, 192), "photographs")
    assert sum(found.by_level.values()) == pytest.approx(bits, rel=0.03)
    assert float(found.bits.sum()) == pytest.approx(sum(found.by_level.values()), rel=1e-3)
    odd, bits = _inspected(_image(photograph, 130, 157), "photographs")
    # What latents beyond the image's edge take is not on the map.
    assert odd.bits.shape == (-(-130 // CELL), -(-157 // CELL)) and 0.5 * bits < odd.bits.sum() < bits
    assert odd.spread is not None and odd.spread.shape == (130, 157)
    assert 0.0 < float(odd.spread.mean()) < 0.05


def test_bits_go_where_the_image_is_rich(photograph: np.ndarray) -> None:
    signal = _image(photograph, 128, 128)
    signal.values[:, :64] = 0.5
    found, _ = _inspected(signal, "photographs")
    assert found.bits[:, :6].mean() < 0.2 * found.bits[:, 9:].mean()


def test_a_tiled_image_has_a_map_without_spread(photograph: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "TILED_FROM", 200 * 200)
    monkeypatch.setattr(tiles, "TILE", 160)
    found, bits = _inspected(_image(photograph, 210, 220), "photographs")
    assert found.spread is None and sum(found.by_level.values()) == pytest.approx(bits, rel=0.03)
    assert found.bits.shape == (27, 28) and float(found.bits.min()) >= 0.0


def test_audio_clips_have_a_map_along_time() -> None:
    t = np.arange(16000, dtype=np.float32) / 16000
    values = (0.3 * np.exp(-5 * (t % 0.3)) * np.sin(2 * np.pi * 400 * t))[:, None].astype(np.float32)
    found, bits = _inspected(Signal(values, SignalHeader("audio", "mono", "pcm_16", (16000,), 1, 16000)), "speech16k")
    assert found.bits.shape == (1, 2000) and sum(found.by_level.values()) == pytest.approx(bits, rel=0.05)


def test_figures_of_images_audio_clips_and_other_codecs(photograph: np.ndarray) -> None:
    signal = _image(photograph, 96, 80)
    data = encode_signals([signal], Settings(target_bpp=0.8, effort="fast")).data
    figure = show(InrFile(data).container(), len(data), signal)
    titles = [axes.get_title() for part in figure.subfigs for axes in part.axes if axes.get_title()]
    assert titles[0].startswith("decoded") and "dB" in titles[0]
    assert {"original", "residual", "posterior spread", "decoded x 4", "bicubic x 4"} <= set(titles)
    assert any(title.startswith("bytes by stride") for title in titles)
    lossless = encode_signals([signal], Settings(codec="bitswap")).data
    titles = [axes.get_title() for axes in show(InrFile(lossless).container(), len(lossless)).subfigs[0].axes]
    assert len(titles) == 1 and titles[0].startswith("decoded")
    with pytest.raises(DataError, match="original has"):
        show(InrFile(data).container(), len(data), _image(photograph, 96, 81))


def test_show_on_the_command_line(photograph: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    signal = _image(photograph, 64, 64)
    (tmp_path / "x.inr").write_bytes(encode_signals([signal], Settings(target_bpp=1.0, effort="fast")).data)
    assert main(["show", str(tmp_path / "x.inr")]) == 0
    assert Image.open(tmp_path / "x_show.png").width > 600
    assert main(["show", str(tmp_path / "x.inr")]) == 2 or "exists" in capsys.readouterr().err
    assert main(["show", str(tmp_path / "x.inr"), "-o", str(tmp_path / "x.html")]) == 0
    page = (tmp_path / "x.html").read_text()
    assert "data:image/png;base64," in page and "hierarchical" in page and "http" not in page
    assert main(["show", str(tmp_path / "x.inr"), "-o", str(tmp_path / "x.gif")]) == 2
