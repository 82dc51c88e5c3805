"""What trainings of networks have in common."""

from __future__ import annotations

import pytest
import torch

from inrcodec.training.loop import RunState, cosine_lr, faster_arithmetic, share_done


@pytest.mark.parametrize("able", [True, False])
def test_bfloat16_only_where_the_processor_has_it(able: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": able, "avx2": True})
    values = torch.ones(2, 2)
    for wanted in (True, False):
        with faster_arithmetic(torch.device("cpu"), wanted):
            product = values @ values
        assert product.dtype == (torch.bfloat16 if able and wanted else torch.float32)


def test_the_learning_rate_rises_and_falls() -> None:
    assert cosine_lr(1.0, 0.0, 0, floor=0.1, ramp=100) == pytest.approx(0.01)
    assert cosine_lr(1.0, 0.5, 500, floor=0.1, ramp=100) == pytest.approx(0.55)
    assert cosine_lr(1.0, 1.0, 900, floor=0.1, ramp=100) == pytest.approx(0.1)


def test_planned_steps_count_before_minutes() -> None:
    assert share_done(2.0, 0, RunState(seconds=60.0, steps=5)) == 0.5
    assert share_done(2.0, 10, RunState(seconds=999.0, steps=5)) == 0.5
    assert share_done(1.0, 0, RunState(seconds=90.0)) == 1.0
