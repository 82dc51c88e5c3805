"""Test MS-SSIM against an independent implementation, and encoding for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import structural_similarity

from inrcodec.api import InrFile
from inrcodec.cli import main
from inrcodec.encoding import encode_signals
from inrcodec.errors import UsageError
from inrcodec.settings import Settings
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.ms_ssim import ms_ssim, structure_errors
from inrcodec.signals.signal import Signal


def _tensor(levels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(levels.astype(np.float64) / 255.0).permute(2, 0, 1)[None]


def _worse(levels: np.ndarray, spread: float) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal(levels.shape) * spread
    return np.clip(levels + noise, 0, 255)


def test_one_scale_is_the_structural_similarity_of_scikit_image(photograph: np.ndarray) -> None:
    first = photograph[40:60, 60:81]
    second = _worse(first, 12.0)
    _, full = structural_similarity(
        first / 255.0,
        second / 255.0,
        channel_axis=2,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    expected = full[5:-5, 5:-5].mean()
    assert float(ms_ssim(_tensor(first), _tensor(second))) == pytest.approx(expected, abs=1e-7)


def test_ms_ssim_falls_with_noise_and_is_one_for_equal_images(photograph: np.ndarray) -> None:
    image = photograph[:200, :240]
    similarity = [float(ms_ssim(_tensor(image), _tensor(_worse(image, s)))) for s in (0.0, 4.0, 16.0, 48.0)]
    assert similarity[0] == pytest.approx(1.0) and similarity[-1] < 0.95
    assert similarity == sorted(similarity, reverse=True)


def test_coarse_scales_see_what_fine_ones_do_not(photograph: np.ndarray) -> None:
    """Losing contrast over large areas lowers MS-SSIM more than it lowers the similarity at the finest scale."""
    image = photograph[:192, :192].astype(np.float64)
    wide = image.reshape(12, 16, 12, 16, 3).mean(axis=(1, 3)).repeat(16, 0).repeat(16, 1)
    flat = image - wide + wide.mean(axis=(0, 1))
    finest = float(ms_ssim(_tensor(image[:20, :20]), _tensor(flat[:20, :20])))
    assert float(ms_ssim(_tensor(image), _tensor(flat))) < finest


@pytest.mark.parametrize("size", [(192, 256), (177, 201)])
def test_mean_error_of_points_is_one_minus_ms_ssim(photograph: np.ndarray, size: tuple[int, int]) -> None:
    first = _tensor(photograph[: size[0], : size[1]])
    second = _tensor(_worse(photograph[: size[0], : size[1]], 8.0)).requires_grad_(True)
    errors = structure_errors(first, second)
    assert errors.shape == (1, *size)
    assert float(errors.detach().mean()) == pytest.approx(1.0 - float(ms_ssim(first, second.detach())), rel=0.15)
    errors.mean().backward()
    assert second.grad is not None and bool(torch.isfinite(second.grad).all()) and float(second.grad.abs().sum()) > 0


def _signal(photograph: np.ndarray) -> Signal:
    values = np.ascontiguousarray(photograph[128:256, 192:320], np.float32) / np.float32(255)
    return Signal(values, SignalHeader("image", "rgb", "u8", (128, 128), 3))


def test_optimising_ms_ssim_raises_it_at_equal_bits(photograph: np.ndarray) -> None:
    signal = _signal(photograph)
    results = {}
    for measure in ("psnr", "ms-ssim"):
        data = encode_signals([signal], Settings(target_bpp=0.4, optimise=measure, prior="photographs")).data
        decoded = torch.from_numpy(InrFile(data).render().values).permute(2, 0, 1)[None].double().clamp(0, 1)
        results[measure] = len(data), float(ms_ssim(_tensor(signal.values * 255.0), decoded))
    assert results["ms-ssim"][0] <= 1.02 * results["psnr"][0]
    assert 1.0 - results["ms-ssim"][1] < 0.95 * (1.0 - results["psnr"][1])


def test_optimising_ms_ssim_is_rejected_where_it_has_no_effect(photograph: np.ndarray) -> None:
    signal = _signal(photograph)
    with pytest.raises(UsageError, match="refinement steps"):
        encode_signals([signal], Settings(effort="fast", optimise="ms-ssim"))
    with pytest.raises(UsageError, match="codec coin cannot"):
        encode_signals([signal], Settings(codec="coin", optimise="ms-ssim"))
    with pytest.raises(UsageError, match="optimise must be"):
        Settings(optimise="lpips")


def test_the_command_line_reports_ms_ssim(
    photograph: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photograph[:48, :48]).save("x.png")
    assert main(["compress", "x.png", "--optimise", "ms-ssim", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    decoded = InrFile(tmp_path / "x.inr").render()
    expected = float(ms_ssim(_tensor(photograph[:48, :48]), _tensor(decoded.to_native())))
    assert report["ms_ssim"] == pytest.approx(expected, abs=1e-5)
    assert main(["compress", "x.png", "-f", "--effort", "fast", "--optimise", "ms-ssim"]) == 2
