"""Time the viewer's page from opening it to the first image, in headless Chromium.

    python benchmarks/viewer.py photo.png                 # compressed first, at 0.4 bpp
    python benchmarks/viewer.py photo.inr --screenshot page.png

The script also prints the seconds to zoom in three times, and the max difference from what the package decodes. It
needs Chromium, chromedriver and selenium: pip install 'inrcodec[browser]'.
"""

from __future__ import annotations

import argparse
import base64
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import inrcodec
from inrcodec.viewer.server import make_server, page_address

if TYPE_CHECKING:
    from selenium import webdriver

STATE = "return document.documentElement.dataset.state"
NATIVE = """
const done = arguments[0];
inrViewer.native().then(async ({ values }) => {
  const reader = new FileReader();
  reader.onload = () => done(reader.result.split(",")[1]);
  reader.readAsDataURL(new Blob([values]));
});
"""


def main() -> None:
    """Compress the image if it is not a file of this package, and measure the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="an image, or a file of this package")
    parser.add_argument("--runs", type=int, default=3, help="number of times to open the page")
    parser.add_argument("--screenshot", type=Path, help="PNG file to write a screenshot to")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = options.file
        if file.suffix not in (".inr", ".inrs"):
            file = Path(folder) / f"{options.file.stem}.inr"
            file.write_bytes(inrcodec.compress(options.file, target_bpp=0.4, effort="fast"))
        measure(file, options.runs, options.screenshot)


def measure(file: Path, runs: int, screenshot: Path | None) -> None:
    """Open the page of a file in a browser and print what it takes."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1240,900",
    ):
        options.add_argument(argument)
    server = make_server(file)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    browser = webdriver.Chrome(options=options, service=service)
    browser.set_script_timeout(60)
    try:
        seconds = []
        for _ in range(runs):
            browser.get("about:blank")
            browser.get(f"http://127.0.0.1:{server.server_port}/{page_address(file)}")
            seconds.append(wait(browser) / 1000)
        print("first image:", ", ".join(f"{s:.2f}" for s in seconds), "s after opening the page")
        begun = time.perf_counter()
        browser.execute_script("delete document.documentElement.dataset.state; inrViewer.view.zoom(3)")
        wait(browser)
        print(f"zoom by three: {time.perf_counter() - begun:.2f} s")

        values = np.frombuffer(base64.b64decode(browser.execute_async_script(NATIVE)), "<f4")
        print(f"max difference: {np.abs(values - inrcodec.decompress(file).values.ravel()).max():.2g}")
        if screenshot:
            browser.save_screenshot(str(screenshot))
    finally:
        browser.quit()
        server.shutdown()


def wait(browser: webdriver.Chrome) -> float:
    """Wait until the page is ready and return the milliseconds since it was opened."""
    while browser.execute_script(STATE) != "ready":
        error = browser.execute_script("return document.getElementById('error').textContent")
        if error:
            raise SystemExit(error)
        time.sleep(0.02)
    return float(browser.execute_script("return performance.now()"))


if __name__ == "__main__":
    main()
