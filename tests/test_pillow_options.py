"""The options of Pillow's save: what replaces the metadata of an image, and what quality means."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import inrcodec
import inrcodec.pillow
from inrcodec.errors import LossWarning
from inrcodec.signals.signal import Signal

ORIENTATION, CAMERA = 0x0112, 0x010F
FAST: dict[str, Any] = {"effort": "fast"}


def sample_image(mode: str = "RGB") -> Image.Image:
    """Return a small smooth image."""
    y, x = np.mgrid[:24, :32]
    return Image.fromarray(np.stack([8 * x, 10 * y, 4 * x + 5 * y], axis=-1).astype(np.uint8)).convert(mode)


def exif_data(orientation: int, camera: str = "") -> Image.Exif:
    """Return EXIF with an orientation and, if given, the maker of a camera."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    if camera:
        exif[CAMERA] = camera
    return exif


def saved(image: Image.Image, **options: Any) -> Image.Image:
    """Return an image after saving and opening it."""
    buffer = io.BytesIO()
    image.save(buffer, "INR", **{**FAST, **options})
    return Image.open(buffer)


@pytest.mark.parametrize("lossless", [False, True])
def test_exif_given_to_save_is_kept(lossless: bool) -> None:
    exif = exif_data(6, "Camera")
    for given in (exif, exif.tobytes(), exif.tobytes().removeprefix(b"Exif\0\0")):
        back = saved(sample_image(), exif=given, lossless=lossless).getexif()
        assert back[ORIENTATION] == 6 and back[CAMERA] == "Camera"


def test_what_the_image_holds_is_kept_and_can_be_replaced(tmp_path: Path) -> None:
    sample_image().save(tmp_path / "a.jpg", exif=exif_data(3, "Camera"), dpi=(96, 96), icc_profile=b"own")
    with Image.open(tmp_path / "a.jpg") as image:
        kept = saved(image)
        assert kept.getexif()[CAMERA] == "Camera" and kept.getexif()[ORIENTATION] == 3
        assert kept.info["icc_profile"] == b"own" and kept.info["dpi"] == (96, 96)
        replaced = saved(image, exif=exif_data(8), dpi=(300, 150), icc_profile=b"other")
        assert dict(replaced.getexif()) == {ORIENTATION: 8}
        assert replaced.info["icc_profile"] == b"other" and replaced.info["dpi"] == (300, 150)
        dropped = saved(image, exif=b"", dpi=None, icc_profile=None)
        assert not dropped.getexif() and not {"icc_profile", "dpi", "exif"} & set(dropped.info)


def test_tags_that_were_edited_are_saved() -> None:
    image = sample_image()
    image.getexif()[CAMERA] = "Edited"
    assert saved(image).getexif()[CAMERA] == "Edited"
    buffer = io.BytesIO()
    sample_image().save(buffer, "JPEG", exif=exif_data(3, "Camera"))
    with Image.open(buffer) as opened:
        opened.getexif()[ORIENTATION] = 1
        back = saved(opened).getexif()
        assert back[ORIENTATION] == 1 and back[CAMERA] == "Camera"


def test_signals_of_files_and_of_pillow_agree(tmp_path: Path) -> None:
    """The same bytes, whether a file is read by its path or by Pillow."""
    sample_image().save(tmp_path / "a.png", exif=exif_data(6, "Camera"), dpi=(96, 96), icc_profile=b"own")
    with Image.open(tmp_path / "a.png") as image:
        signal = Signal.from_pil(image)
    assert signal.meta == inrcodec.read_signal(tmp_path / "a.png").meta
    back = signal.to_pil()
    assert back.getexif()[CAMERA] == "Camera" and back.info["icc_profile"] == b"own"


def test_quality_sets_the_rate() -> None:
    sizes = []
    for quality in (0, 5, 30, 60, 90, 100):
        buffer = io.BytesIO()
        sample_image().save(buffer, "INR", quality=quality, **FAST)
        sizes.append(len(buffer.getvalue()))
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]


def test_quality_is_about_that_of_jpeg(photograph: np.ndarray) -> None:
    image = Image.fromarray(photograph[:128, 128:256])

    def psnr(file: io.BytesIO) -> float:
        error = np.asarray(Image.open(file), np.float64) - np.asarray(image, np.float64)
        return float(10 * np.log10(255**2 / np.square(error).mean()))

    for quality in (30, 75, 90):
        jpeg, inr = io.BytesIO(), io.BytesIO()
        image.save(jpeg, "JPEG", quality=quality)
        image.save(inr, "INR", quality=quality, **FAST)
        assert psnr(inr) == pytest.approx(psnr(jpeg), abs=1.5)
        assert len(inr.getvalue()) < 0.8 * len(jpeg.getvalue())


def test_lossless_keeps_every_sample() -> None:
    for mode in ("L", "LA", "RGB", "RGBA"):
        back = saved(sample_image(mode), lossless=True, quality=50, exif=exif_data(6), dpi=(72, 72), icc_profile=b"own")
        np.testing.assert_array_equal(np.asarray(back), np.asarray(sample_image(mode)))
        assert back.getexif()[ORIENTATION] == 6 and back.info["dpi"] == (72, 72)
        assert back.info["icc_profile"] == b"own"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quality": 101}, "quality must be a number from 1 to 100, got 101"),
        ({"quality": "keep"}, "quality must be a number"),
        ({"quality": True}, "quality must be a number"),
        ({"quality": 50, "target_bpp": 1.0}, "only one of quality, target_bpp"),
        ({"quality": 50, "beta": 0.1}, "only one of quality, beta"),
        ({"lossless": True, "beta": 0.1}, "lossless"),
    ],
)
def test_options_that_do_not_fit_are_value_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        saved(sample_image(), **options)


def test_empty_images_are_refused_in_words() -> None:
    with pytest.raises(OSError, match="the image is empty"):
        Image.new("RGB", (0, 0)).save(io.BytesIO(), "INR")


def test_deep_colour_becomes_8_bits_with_a_warning() -> None:
    levels = np.random.default_rng(0).integers(0, 65536, (6, 7, 3), dtype=np.uint16)
    with pytest.warns(LossWarning, match="16 bits per channel"):
        image = Signal.from_array(levels).to_pil()
    np.testing.assert_array_equal(np.asarray(image), np.rint(levels / 257))


def test_deep_colour_that_pillow_would_cut_is_refused(tmp_path: Path) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    levels = np.random.default_rng(0).integers(0, 65536, (6, 7, 3), dtype=np.uint16)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(levels))
    with (
        Image.open(tmp_path / "a.png") as image,
        pytest.raises(inrcodec.UnsupportedError, match=r"reduce 16 bits per channel to 8: pass the file instead"),
    ):
        Signal.from_pil(image)
