"""BD-rate against an independent implementation, and other codecs run."""

from __future__ import annotations

import bjontegaard
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inrcodec.errors import DataError, UnsupportedError, UsageError
from inrcodec.evaluate.baselines import BASELINES, baseline_at_size, baseline_named, run_baseline
from inrcodec.evaluate.bd_rate import bd_rate, in_db
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.signal import Signal

REFERENCE = [(0.1, 28.0), (0.2, 30.0), (0.4, 32.0), (0.8, 34.0)]


def _curve(steps: list[tuple[float, float]]) -> list[tuple[float, float]]:
    rates = 0.1 * np.exp(np.cumsum([step for step, _ in steps]))
    return list(zip(rates.tolist(), (27.0 + np.cumsum([rise for _, rise in steps])).tolist(), strict=True))


_STEPS = st.lists(st.tuples(st.floats(0.2, 1.0), st.floats(0.8, 2.0)), min_size=4, max_size=7)


@settings(deadline=None)
@given(_STEPS, _STEPS)
def test_bd_rate_is_that_of_the_bjontegaard_package(
    first: list[tuple[float, float]], second: list[tuple[float, float]]
) -> None:
    a, b = _curve(first), _curve(second)
    found = bd_rate(a, b)
    assert found is not None
    expected = bjontegaard.bd_rate(
        *zip(*a, strict=True), *zip(*b, strict=True), method="pchip", require_matching_points=False, min_overlap=0
    )
    assert found.percent == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_half_the_bits_are_minus_fifty_per_cent_over_what_both_reach() -> None:
    found = bd_rate(REFERENCE, [(rate / 2, psnr) for rate, psnr in REFERENCE[1:]])
    assert found is not None and found.percent == pytest.approx(-50.0)
    assert (found.low_db, found.high_db) == (30.0, 34.0) and found.overlap == pytest.approx(2 / 3)


def test_bd_rate_leaves_out_beaten_points_and_refuses_what_is_no_curve() -> None:
    beaten = bd_rate(REFERENCE, [*REFERENCE, (0.5, 31.0)])
    assert beaten is not None and beaten.percent == pytest.approx(0.0, abs=1e-9)
    assert bd_rate(REFERENCE, [(0.1, 40.0), (0.2, 41.0)]) is None
    with pytest.raises(DataError, match="two points"):
        bd_rate(REFERENCE, [(0.1, 30.0), (0.2, 29.0)])
    with pytest.raises(DataError, match="positive"):
        bd_rate(REFERENCE, [(0.0, 30.0), (0.2, 31.0)])


def test_ms_ssim_is_compared_in_db() -> None:
    assert np.allclose(in_db([(0.1, 0.9), (0.2, 0.99)], "ms_ssim"), [(0.1, 10.0), (0.2, 20.0)])
    assert in_db(REFERENCE, "psnr") == REFERENCE


def _image(photograph: np.ndarray) -> Signal:
    values = np.ascontiguousarray(photograph[:96, :128], np.float32) / np.float32(255)
    return Signal(values, SignalHeader("image", "rgb", "u8", (96, 128), 3))


def _recording() -> Signal:
    t = np.arange(16000, dtype=np.float32) / 16000
    noise = np.random.default_rng(0).standard_normal(16000)
    values = np.exp(-8 * (t % 0.25)) * (0.4 * np.sin(2 * np.pi * (300 + 200 * t) * t) + 0.05 * noise)
    values = (values * np.minimum(1.0, 10 * t))[:, None]
    return Signal(values.astype(np.float32), SignalHeader("audio", "mono", "pcm_16", (16000,), 1, 16000))


@pytest.mark.parametrize("name", [name for name in BASELINES if name != "jxl"])
def test_larger_files_of_other_codecs_are_nearer(name: str, photograph: np.ndarray) -> None:
    baseline = BASELINES[name]
    signal = _image(photograph) if baseline.kind == "image" else _recording()
    found = [
        run_baseline(baseline, signal, baseline.settings[int(p * (len(baseline.settings) - 1))]) for p in (0.1, 0.6)
    ]
    assert found[0].file_bytes < found[1].file_bytes and found[0].psnr + 1.0 < found[1].psnr
    assert found[1].psnr > 28.0


def test_the_best_setting_at_a_size_is_the_last_that_fits(photograph: np.ndarray) -> None:
    signal, jpeg = _image(photograph), baseline_named("jpeg")
    found = baseline_at_size(jpeg, signal, 4000)
    assert found is not None and found.file_bytes <= 4000
    assert run_baseline(jpeg, signal, found.setting + 1).file_bytes > 4000
    assert baseline_at_size(jpeg, signal, 100) is None


def test_baselines_refuse_what_they_do_not_carry(photograph: np.ndarray) -> None:
    with pytest.raises(UsageError, match="baseline must be"):
        baseline_named("gif")
    with pytest.raises(UnsupportedError, match="kind audio"):
        run_baseline(baseline_named("jpeg"), _recording(), 50)
