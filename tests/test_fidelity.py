"""Test benchmarks/fidelity.py: nothing is lost silently, and a difference would be seen."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

fidelity = importlib.import_module("benchmarks.fidelity")
RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)


def fill(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[271] = 6, "A maker"
    image = Image.fromarray(RGB)
    image.save(folder / "turned.jpg", exif=exif, dpi=(300, 300))
    image.save(folder / "turned.tif", exif=exif.tobytes())
    image.quantize(8).save(folder / "palette.png", transparency=2)
    Image.fromarray(RNG.integers(0, 65536, (5, 7), dtype=np.uint16)).save(folder / "deep.png")
    image.save(folder / "two.gif", save_all=True, append_images=[Image.fromarray(255 - RGB)])
    soundfile.write(folder / "sound.wav", RNG.uniform(-1, 1, (50, 2)), 8000)
    soundfile.write(folder / "loud.wav", RNG.uniform(-2, 2, (50, 2)), 8000, "FLOAT")
    np.save(folder / "field.npy", RNG.normal(size=(4, 5)))
    (folder / "notes.dat").write_text("no signal")


def test_nothing_is_lost_silently(tmp_path: Path) -> None:
    fill(tmp_path)
    totals = fidelity.Totals()
    for path in sorted(tmp_path.iterdir()):
        fidelity.check(path, totals, lossless_points=0)
    assert totals.differences == [] and totals.losses == []
    assert totals.line() == "9 files, 0 differences, 0 losses named, 2 refused"


def test_a_difference_is_seen(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[271] = "A maker"
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif, dpi=(300, 300))
    Image.fromarray(255 - RGB).save(tmp_path / "b.png")
    Image.fromarray(RGB[:, :5]).save(tmp_path / "c.png")
    source, other, narrow = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert fidelity.image_differences(source, source) == []
    words = " ".join(fidelity.image_differences(source, other))
    assert "samples differ" in words and "tags differ" in words and "resolution differs" in words
    assert fidelity.image_differences(source, narrow) == ["shown at (9, 6), came back at (5, 6)"]


def test_exceptions_outside_the_family_count_as_differences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(fidelity, "read_signal", fail)
    (tmp_path / "a.png").write_bytes(b"x")
    totals = fidelity.Totals()
    fidelity.check(tmp_path / "a.png", totals, lossless_points=0)
    assert "RuntimeError outside" in totals.differences[0]
