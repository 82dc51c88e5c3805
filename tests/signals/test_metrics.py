"""Test distortion and rate against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from inrcodec.errors import DataError
from inrcodec.signals import metrics
from inrcodec.signals.metrics import audio_psnr, bpp, image_psnr, kbps, mse, psnr, snr


def test_images_are_clamped_and_rounded() -> None:
    a = np.full((10, 10, 1), 100 / 255)
    b = a.copy()
    b[3, 4] = 101 / 255
    assert image_psnr(a, b) == pytest.approx(10 * math.log10(255**2 * 100))
    assert image_psnr(a, a + 0.4 / 255) == math.inf  # rounded away
    assert image_psnr(a * 0 + 1, a * 0 + 1.5) == math.inf  # clamped


def test_peak_follows_the_bit_depth() -> None:
    a = np.zeros((4, 4, 1))
    assert image_psnr(a, a + 1 / 65535, 16) == pytest.approx(20 * math.log10(65535))


def test_audio_is_mapped_to_the_unit_interval() -> None:
    a, b = np.zeros(100), np.full(100, 0.1)
    assert audio_psnr(a, b) == pytest.approx(psnr(a, b) + 20 * math.log10(2)) == pytest.approx(26.0206, abs=1e-4)


def test_snr_compares_energies() -> None:
    a = np.array([1.0, -1.0, 1.0, -1.0])
    assert snr(a, a * 0.9) == pytest.approx(20.0)
    assert snr(a, a) == math.inf and snr(a * 0, a) == -math.inf


def test_rates_come_from_the_file_size() -> None:
    assert bpp(1000, 8000) == 1.0
    assert kbps(3000, 48000, 16000) == pytest.approx(8.0)


def test_different_shapes_are_rejected() -> None:
    with pytest.raises(DataError, match="equal shape"):
        mse(np.zeros(3), np.zeros(4))


def test_large_signals_are_compared_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = np.random.default_rng(0).random((2, 37, 11, 3))
    whole = image_psnr(a, b), mse(a, b)
    monkeypatch.setattr(metrics, "NUMBERS_AT_ONCE", 100)
    assert (image_psnr(a, b), mse(a, b)) == pytest.approx(whole, rel=1e-12)
