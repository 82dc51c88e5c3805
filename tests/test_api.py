"""The public functions: one order for sizes and regions, what ``encode`` returns, settings and errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import inrcodec
from inrcodec.cli import main
from inrcodec.cli.common import parse_region, parse_size
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.metrics import signal_psnr
from inrcodec.signals.signal import Signal

IMAGE = SignalHeader("image", "rgb", "u8", (24, 40), 3)
FIELD = SignalHeader("field", "field", "float32", (3, 24, 40), 1)


@pytest.fixture(scope="module")
def image() -> Signal:
    """Return a smooth image of 24 rows and 40 columns."""
    y, x = np.mgrid[:24, :40] / 40
    values = np.stack([x, y, 0.5 + 0.4 * np.sin(6 * x + 4 * y)], axis=-1).astype(np.float32)
    return Signal(values, IMAGE)


@pytest.fixture(scope="module")
def data(image: Signal) -> bytes:
    """Return the image as a file."""
    return inrcodec.compress(image, effort="fast")


def test_sizes_and_regions_are_in_array_order(data: bytes) -> None:
    """Slowest axis first in Python: (height, width) and (top, left, height, width)."""
    with inrcodec.open(data) as file:
        assert file.render(size=(12, 20)).values.shape == (12, 20, 3)
        whole = file.render().values
        np.testing.assert_array_equal(file.render(region=(2, 10, 8, 30)).values, whole[2:10, 10:40])
        with pytest.raises(inrcodec.UsageError, match="does not lie"):
            file.render(region=(10, 2, 30, 8))


def test_regions_of_fields_are_in_array_order() -> None:
    z, y, x = np.mgrid[:3, :24, :40]
    field = Signal((0.1 * z + y / 60 + x / 90)[..., None].astype(np.float32), FIELD)
    with inrcodec.open(inrcodec.compress(field, effort="fast")) as file:
        part = file.render(region=(1, 2, 10, 2, 8, 30))
        np.testing.assert_array_equal(part.values, file.render().values[1:3, 2:10, 10:40])
        assert file.render(size=(3, 12, 20)).values.shape == (3, 12, 20, 1)


def test_the_command_line_takes_images_as_on_a_screen(data: bytes, tmp_path: Path) -> None:
    """Width before height, left before top; fields stay in array order."""
    assert parse_size("20x12", None, IMAGE) == (12, 20) and parse_size(None, "3x12x20", FIELD) == (3, 12, 20)
    assert parse_region("10,2,30,8", IMAGE) == (2, 10, 8, 30)
    assert parse_region("1,2,10,2,8,30", FIELD) == (1, 2, 10, 2, 8, 30)
    (tmp_path / "a.inr").write_bytes(data)
    out = str(tmp_path / "part.png")
    assert main(["decompress", str(tmp_path / "a.inr"), "-o", out, "--region", "10,2,30,8", "-q"]) == 0
    expected = inrcodec.decompress(data, region=(2, 10, 8, 30)).to_native()
    np.testing.assert_array_equal(np.asarray(Image.open(out)), expected)


def test_encode_returns_the_bytes_of_compress_and_what_is_known_of_them(image: Signal, data: bytes) -> None:
    encoded = inrcodec.encode(image, inrcodec.Settings(effort="fast"))
    assert encoded.data == data and encoded.codec == "hierarchical" and encoded.prior == "photographs"
    assert encoded.prior_id.hex() == inrcodec.open(data).info["prior"]
    assert encoded.payload_bytes == inrcodec.open(data).info["payload_bytes"] < len(data)
    # Two priors were compared, by what decoding gives.
    assert encoded.psnr == pytest.approx(signal_psnr(image, inrcodec.decompress(data))) and not encoded.lossless
    measured = inrcodec.encode(image, inrcodec.Settings(effort="fast", target_psnr=25.0))
    assert measured.psnr == pytest.approx(25.0, abs=0.1)
    lossless = inrcodec.encode(image, inrcodec.Settings(lossless=True, effort="fast"))
    assert lossless.lossless and lossless.codec == "bitswap"


def test_encode_tells_progress_and_plan(image: Signal) -> None:
    done: list[int] = []
    planned: list[int] = []
    inrcodec.encode(image, inrcodec.Settings(), progress=done.append, plan=planned.append)
    assert len(planned) == 1 and sum(done) == planned[0] > 0


def test_old_names_of_coders_are_aliases(image: Signal) -> None:
    for old, new in (("dither", "round"), ("astar", "rec")):
        assert inrcodec.Settings(coder=old) == inrcodec.Settings(coder=new)
        files = [inrcodec.compress(image, effort="fast", coder=coder) for coder in (old, new)]
        assert files[0] == files[1]
    with pytest.raises(inrcodec.UsageError, match="round or rec"):
        inrcodec.compress(image, effort="fast", coder="huffman")


def test_settings_take_keywords_and_check_them() -> None:
    positional: Any = inrcodec.Settings
    with pytest.raises(TypeError):
        positional("hierarchical")
    with pytest.raises(ValueError, match="only one of beta, target-bpp"):
        inrcodec.Settings(beta=1e-3, target_bpp=0.5)
    assert issubclass(inrcodec.UsageError, ValueError)


def test_commands_are_calls_of_the_public_functions(
    image: Signal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(image.to_native()).save(tmp_path / "a.png")
    assert main(["compress", str(tmp_path / "a.png"), "--effort", "fast", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    encoded = inrcodec.encode(tmp_path / "a.png", inrcodec.Settings(effort="fast"))
    assert (tmp_path / "a.inr").read_bytes() == encoded.data
    assert report["bytes"] == len(encoded.data) and report["payload_bytes"] == encoded.payload_bytes
