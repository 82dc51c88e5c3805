"""A headless Chromium for tests of web pages, which are skipped without one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest


def open_browser(width: int = 1240, height: int = 1600) -> Iterator[object]:
    """Yield a selenium driver with a window of the given size, and close it afterwards."""
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument(f"--window-size={width},{height}")
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    try:
        yield browser
    finally:
        browser.quit()
