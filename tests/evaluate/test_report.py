"""The report of a sweep in a browser: the slider goes through the operating points, nothing overlaps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inrcodec.evaluate import sweep
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.signal import Signal
from tests.support.browser import open_browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from open_browser()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, photograph: np.ndarray) -> Path:
    signals = [
        Signal(
            np.ascontiguousarray(photograph[128 * i : 128 + 128 * i, 160:320], np.float32) / np.float32(255),
            SignalHeader("image", "rgb", "u8", (128, 160), 3),
        )
        for i in range(2)
    ]
    out = tmp_path_factory.mktemp("report")
    return sweep(signals, rates=[0.3, 0.8, 2.0], compare=["jpeg"], effort="fast", out=out, progress=False).report()


def test_the_slider_goes_through_operating_points(browser: Any, page: Path) -> None:
    browser.get(page.as_uri())
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    slider = browser.find_element("id", "place")
    seen = []
    for _ in range(3):
        label = browser.find_element("id", "label").text
        seen.append((label, browser.find_element("id", "decoded").get_attribute("src")))
        slider.send_keys("\ue014")  # right arrow
    assert len({label for label, _ in seen}) == 3 and len({photograph for _, photograph in seen}) == 3
    sizes = [int(label.split(" ")[0].replace(",", "")) for label, _ in seen]
    assert sizes == sorted(sizes)
    width = browser.execute_script("return document.getElementById('decoded').naturalWidth")
    assert width == 160
    browser.execute_script(
        "const s = document.getElementById('series'); s.value = 1; s.dispatchEvent(new Event('change'))"
    )
    assert slider.get_attribute("max") == "7"


def test_nothing_overlaps_at_any_width(browser: Any, page: Path) -> None:
    overlap = """
      const boxes = [...document.querySelectorAll('h1, h2, figure, table, .controls, pre')]
        .filter((e) => e.offsetParent && !e.closest('.scroll'))
        .map((e) => e.getBoundingClientRect());
      return boxes.some((a, i) => boxes.slice(i + 1).some((b) =>
        Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
        Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1));
    """
    for width in (1240, 620):
        browser.set_window_size(width, 1600)
        browser.get(page.as_uri())
        assert not browser.execute_script(overlap)
        assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth + 1")
