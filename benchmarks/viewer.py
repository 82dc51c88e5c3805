"""Seconds from opening the viewer's page to the first picture, in a headless Chromium (needs selenium, chromedriver).

    python benchmarks/viewer.py photo.png                 # compressed first, at 0.4 bpp
    python benchmarks/viewer.py photo.inr --screenshot page.png

Also: seconds to show another part at three times the size, and the largest difference from what the package decodes.
"""

from __future__ import annotations

import argparse
import base64
import shutil
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from selenium import webdriver

import inrcodec
from inrcodec.viewer.server import make_server, page_address

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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--runs", type=int, default=3, help="times the page is opened")
    parser.add_argument("--screenshot", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = args.file
        if file.suffix not in (".inr", ".inrs"):
            file = Path(folder) / f"{args.file.stem}.inr"
            file.write_bytes(inrcodec.compress(args.file, target_bpp=0.4, effort="fast"))
        measure(file, args.runs, args.screenshot)


def measure(file: Path, runs: int, screenshot: Path | None) -> None:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1240,900",
    ):
        options.add_argument(f"--{argument}")
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
        print("first picture:", ", ".join(f"{s:.2f}" for s in seconds), "s after the page was asked for")
        begun = time.perf_counter()
        browser.execute_script("delete document.documentElement.dataset.state; inrViewer.view.zoom(3)")
        wait(browser)
        print(f"three times as large: {time.perf_counter() - begun:.2f} s")

        values = np.frombuffer(base64.b64decode(browser.execute_async_script(NATIVE)), "<f4")
        print(f"largest difference: {np.abs(values - inrcodec.decompress(file).values.ravel()).max():.2g}")
        if screenshot:
            browser.save_screenshot(str(screenshot))
    finally:
        browser.quit()
        server.shutdown()


def wait(browser: webdriver.Chrome) -> float:
    """Until the page is ready; milliseconds since it was asked for."""
    while browser.execute_script(STATE) != "ready":
        error = browser.execute_script("return document.getElementById('error').textContent")
        if error:
            raise SystemExit(error)
        time.sleep(0.02)
    return float(browser.execute_script("return performance.now()"))


if __name__ == "__main__":
    main()
