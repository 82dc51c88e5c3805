"""The viewer: its JavaScript decodes what the package decodes, the page shows it, and the server serves only the site.

The modules run in node, the page in a headless Chromium; without these, the tests are skipped.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

import inrcodec
from inrcodec.cli import main
from inrcodec.codecs import prior_store
from inrcodec.coding.gaussian import TABLES_FILE
from inrcodec.container.inr import Container
from inrcodec.decoding import decompress_container
from inrcodec.errors import DataError, PriorError, UsageError
from inrcodec.viewer.server import export, make_server, page_address, page_folder, site_files
from tests.support.browser import open_browser
from tests.support.golden_files import FOLDER, PRIORS, listed

HERE = Path(__file__).parent
SUPPORTED = ("hierarchical", "combiner", "coin++", "coin")
FILES = {name: golden["info"] for name, golden in listed().items()}
TOLERANCE = 1e-5
"""Float32 sums in another order may differ by this much, for values in a range of 1."""


@pytest.fixture
def _golden_priors(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(prior_store.ENVIRONMENT, str(PRIORS))
    yield


def decode_by_node(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Decode files with the JavaScript modules; skips the test without node 18 or newer."""
    node = shutil.which("node")
    if node is None or int(subprocess.check_output([node, "--version"], text=True)[1:].split(".")[0]) < 18:
        pytest.skip("needs node 18 or newer")
    completed = subprocess.run(
        [node, str(HERE / "decode.mjs"), str(page_folder()), str(TABLES_FILE)],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        check=True,
    )
    results: list[dict[str, Any]] = json.loads(completed.stdout)
    return results


def job(path: Path, prior: Path | None, out: Path, **more: Any) -> dict[str, Any]:
    """Return a job of ``decode.mjs``."""
    return {"file": str(path), "prior": prior and str(prior), "out": str(out), **more}


def planes(container: Container, values: np.ndarray) -> np.ndarray:
    """Return values as the viewer arranges them: (slices, rows, columns, channels)."""
    shape = container.header.shape
    axes = 1 if container.header.kind == "audio" or len(shape) == 1 else 2
    rows = (1,) if axes == 1 else ()
    return values.reshape(-1, *rows, *values.shape[len(shape) - axes :])


def prior_path(container: Container) -> Path | None:
    """Return the prior file of a container, None for a codec without a prior."""
    return None if container.prior_id == bytes(8) else prior_store.path_of(container.prior_id.hex())


@pytest.mark.usefixtures("_golden_priors")
def test_modules_decode_what_the_package_decodes(tmp_path: Path) -> None:
    """All golden files of the supported codecs, all entries, first and last slice: equal within rounding."""
    jobs: list[Any] = []
    expected: list[Any] = []
    for name, info in FILES.items():
        if info["codec"] not in SUPPORTED:
            continue
        opened = inrcodec.open(FOLDER / "files" / name)
        for entry in range(len(opened)):
            container = opened.container(entry)
            values = planes(container, decompress_container(container).values)
            for number in sorted({0, len(values) - 1}):
                out = tmp_path / f"{len(jobs)}.f32"
                jobs.append(job(FOLDER / "files" / name, prior_path(container), out, entry=entry, slice=number))
                expected.append(values[number])
    results = decode_by_node(jobs)
    assert {FILES[Path(each["file"]).name]["codec"] for each in jobs} == set(SUPPORTED)
    for result, each, values in zip(results, jobs, expected, strict=True):
        assert "error" not in result, (each["file"], result)
        assert (result["count"], result["channels"]) == (values.size, values.shape[-1]), each["file"]
        difference = np.abs(np.fromfile(each["out"], "<f4") - values.ravel()).max()
        assert difference <= TOLERANCE * max(1.0, float(np.abs(values).max())), each["file"]


@pytest.mark.usefixtures("_golden_priors")
def test_modules_reject_unsupported_and_corrupt_files(tmp_path: Path) -> None:
    """Other codecs, truncated, altered and foreign files raise FormatError, never another error."""
    others = [name for name, info in FILES.items() if info["codec"] not in SUPPORTED]
    jobs = []
    for name in others:
        container = inrcodec.open(FOLDER / "files" / name).container()
        jobs.append(job(FOLDER / "files" / name, prior_path(container), tmp_path / "x"))
    name = next(n for n, info in FILES.items() if info["codec"] == "hierarchical" and info["format"] == "inr")
    data, prior = (
        (FOLDER / "files" / name).read_bytes(),
        prior_path(inrcodec.open(FOLDER / "files" / name).container()),
    )
    for number, corrupt in enumerate((b"", b"\x89PNG and more", data[:-5], data[:-1] + bytes([data[-1] ^ 1]))):
        (tmp_path / f"{number}.inr").write_bytes(corrupt)
        jobs.append(job(tmp_path / f"{number}.inr", prior, tmp_path / "x"))
    for result in decode_by_node(jobs):
        assert result.get("kind") == "FormatError", result


@pytest.fixture(scope="module")
def compressed(tmp_path_factory: pytest.TempPathFactory, photograph: np.ndarray) -> dict[str, Path]:
    """Compress an image and audio with shipped priors."""
    folder = tmp_path_factory.mktemp("viewed")
    Image.fromarray(photograph[100:229, 120:311]).save(folder / "image.png")
    seconds = np.arange(12000) / 16000
    tone = 0.3 * np.sin(2 * np.pi * 330 * seconds * (1 + 0.2 * seconds)) * np.exp(-2 * seconds)
    soundfile.write(folder / "audio.wav", tone, 16000)
    out = {}
    rates: dict[str, dict[str, Any]] = {"image.png": {"target_bpp": 0.8}, "audio.wav": {}}
    for name, rate in rates.items():
        path = folder / f"{Path(name).stem}.inr"
        path.write_bytes(inrcodec.compress(folder / name, effort="fast", **rate))
        out[path.stem] = path
    return out


def test_modules_decode_any_window_at_any_size(compressed: dict[str, Path], tmp_path: Path) -> None:
    """Windows of finer and coarser grids equal what ``decompress`` returns for a size and a region."""
    container = inrcodec.open(compressed["image"]).container()
    prior = prior_path(container)
    cases = [((258, 382), (0, 258, 0, 382)), ((64, 95), (3, 40, 10, 95)), ((129, 400), (100, 129, 333, 400))]
    jobs = [
        job(compressed["image"], prior, tmp_path / f"{i}.f32", size=size, window=window)
        for i, (size, window) in enumerate(cases)
    ]
    for result, each, (size, (top, bottom, left, right)) in zip(decode_by_node(jobs), jobs, cases, strict=True):
        window = (slice(top, bottom), slice(left, right))
        values = decompress_container(container, size=size, window=window).values
        assert "error" not in result, result
        assert np.abs(np.fromfile(each["out"], "<f4") - values.ravel()).max() <= TOLERANCE


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Return a function that starts a server and returns its address."""
    servers = []

    def start(file: Path | None = None) -> str:
        server = make_server(file)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_server_serves_only_the_site(compressed: dict[str, Path], serve: Callable[..., str]) -> None:
    address = serve(compressed["image"])
    with urllib.request.urlopen(address) as response:
        assert "script-src 'self'" in response.headers["Content-Security-Policy"]
        assert b"viewer.css" in response.read()
    with urllib.request.urlopen(f"{address}files/image.inr") as response:
        assert response.read() == compressed["image"].read_bytes()
    for path in ("files/audio.inr", "../pyproject.toml", "%2e%2e/%2e%2e/etc/passwd", "files/", "priors/"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(address + path)


def test_server_rejects_other_host_names(serve: Callable[..., str]) -> None:
    """Another site whose name resolves to this machine gets nothing (DNS rebinding)."""
    port = int(serve().rsplit(":", 1)[1].strip("/"))
    for host, status in ((f"localhost:{port}", 200), ("evil.example", 403), (f"evil.example:{port}", 403)):
        connection = HTTPConnection("127.0.0.1", port)
        connection.putrequest("GET", "/", skip_host=True)
        connection.putheader("Host", host)
        connection.endheaders()
        assert connection.getresponse().status == status
        connection.close()


def test_export_writes_the_site_of_a_file(
    compressed: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["view", str(compressed["audio"]), "--export", str(tmp_path / "site")]) == 0
    assert "index.html?file=files/audio.inr" in capsys.readouterr().out
    exported = {str(p.relative_to(tmp_path / "site")) for p in (tmp_path / "site").rglob("*") if p.is_file()}
    assert exported == {name for name, _ in site_files(compressed["audio"])}
    assert sum(name.startswith("priors/") for name in exported) == 1
    with pytest.raises(UsageError, match="not empty"):
        export(tmp_path / "site", compressed["audio"])


def test_every_imported_module_is_served() -> None:
    """All imports are part of the site, and nothing refers to another server."""
    names = {name for name, _ in site_files()}
    for path in page_folder().iterdir():
        text = path.read_text("utf-8")
        assert "http://" not in text and "https://" not in text
        for line in text.splitlines():
            if path.suffix == ".js" and line.startswith(("import ", "} from ")):
                assert line.split('"')[1].removeprefix("./") in names


def test_errors_of_view_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, compressed: dict[str, Path]
) -> None:
    (tmp_path / "x.inr").write_bytes(b"not an inr file")
    for arguments in (["view", str(tmp_path / "x.inr")], ["view", str(tmp_path / "missing.inr")]):
        assert main(arguments) == 1
        assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(DataError, match=r"not an \.inr"):
        make_server(tmp_path / "x.inr")
    monkeypatch.setattr(prior_store, "folders", list)
    with pytest.raises(PriorError, match="none found"):
        make_server(compressed["image"])


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from open_browser(1240, 900)


def open_page(browser: Any, address: str) -> None:
    """Open an address and wait until the page shows its file; fails if it shows an error."""
    browser.get(address)
    for _ in range(600):
        error = browser.find_element("id", "error").text
        assert not error, error
        if browser.execute_script("return document.documentElement.dataset.state") == "ready":
            break
        time.sleep(0.05)
    else:
        raise AssertionError("the page is not ready after 30 s")
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def native_values(browser: Any) -> np.ndarray:
    """Return the values that the page decodes at the signal's own size."""
    decoded = browser.execute_async_script(
        "const done = arguments[0];inrViewer.native().then((n) => done([n.rows, n.columns, n.channels, [...n.values]]))"
    )
    rows, columns, channels, values = decoded
    return np.array(values, np.float32).reshape(rows, columns, channels)


def test_page_shows_an_image(
    compressed: dict[str, Path], serve: Callable[..., str], browser: Any, tmp_path: Path
) -> None:
    """The page decodes Python's values, shows them pixel by pixel, and decodes a finer grid when zoomed."""
    open_page(browser, serve(compressed["image"]) + page_address(compressed["image"]))
    signal = inrcodec.decompress(compressed["image"])
    assert np.abs(native_values(browser) - signal.values).max() <= 1 / 255
    # One sample per screen pixel.
    browser.find_element("id", "one-to-one").click()
    time.sleep(0.5)
    shown = browser.execute_script(
        "const v = inrViewer.view, c = document.getElementById('canvas');"
        "const x = Math.round(-v.left), y = Math.round(-v.top);"
        "return [v.scale, [...c.getContext('2d').getImageData(x, y, v.shape[1], v.shape[0]).data]]"
    )
    assert shown[0] == 1
    pixels = np.array(shown[1], np.uint8).reshape(*signal.header.shape, 4)
    assert (pixels[..., 3] == 255).all()
    assert np.abs(pixels[..., :3].astype(int) - signal.to_native().astype(int)).max() <= 1
    browser.execute_script("inrViewer.view.zoom(3)")
    time.sleep(0.5)
    assert browser.execute_script("return inrViewer.shown.image.size") == [3 * n for n in signal.header.shape]
    shot = tmp_path / "image.png"
    assert browser.save_screenshot(str(shot))
    assert np.asarray(Image.open(shot).convert("L")).std() > 10


def test_page_plays_audio(compressed: dict[str, Path], serve: Callable[..., str], browser: Any, tmp_path: Path) -> None:
    open_page(browser, serve(compressed["audio"]) + page_address(compressed["audio"]))
    signal = inrcodec.decompress(compressed["audio"])
    values = native_values(browser)
    assert np.abs(values[0] - signal.values).max() <= 1 / 255
    # The WAV file of the audio player, as the browser decodes it.
    played = browser.execute_async_script(
        "const [rate, done] = arguments; inrViewer.shown.audio.arrayBuffer()"
        ".then((b) => new OfflineAudioContext(1, 1, rate).decodeAudioData(b))"
        ".then((a) => done([a.sampleRate, a.numberOfChannels, [...a.getChannelData(0)]]))",
        signal.header.sample_rate,
    )
    assert played[:2] == [signal.header.sample_rate, signal.header.channels]
    assert np.abs(np.array(played[2]) - signal.values[:, 0]).max() <= 1 / 255
    assert browser.save_screenshot(str(tmp_path / "audio.png"))


def test_page_reports_errors(serve: Callable[..., str], browser: Any) -> None:
    address = serve()
    browser.get(address)
    browser.execute_script("inrViewer.openBytes('x.inr', new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]))")
    for _ in range(100):
        text = browser.find_element("id", "error").text
        if text:
            break
        time.sleep(0.05)
    assert text == "x.inr: not an .inr or .inrs file"
