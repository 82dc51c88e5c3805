"""The viewer: its modules decode what the package decodes, the page shows it, the server gives out nothing else.

The modules run in node, the page in a headless Chromium; where there is none these tests skip.
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
VIEWED = ("hierarchical", "combiner", "coin++", "coin")
FILES = {name: told["info"] for name, told in listed().items()}
EXACT = 1e-5
"""What float32 sums in another order may differ by, of a range of 1."""


@pytest.fixture
def _golden_priors(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(prior_store.ENVIRONMENT, str(PRIORS))
    yield


def decode_by_node(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the modules make of files; skips without node 18."""
    node = shutil.which("node")
    if node is None or int(subprocess.check_output([node, "--version"], text=True)[1:].split(".")[0]) < 18:
        pytest.skip("no node here")
    done = subprocess.run(
        [node, str(HERE / "decode.mjs"), str(page_folder()), str(TABLES_FILE)],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def job(path: Path, prior: Path | None, out: Path, **more: Any) -> dict[str, Any]:
    return {"file": str(path), "prior": prior and str(prior), "out": str(out), **more}


def planes(container: Container, values: np.ndarray) -> np.ndarray:
    """Values (slices, rows, columns, channels) as the viewer lays them."""
    shape = container.header.shape
    axes = 1 if container.header.kind == "audio" or len(shape) == 1 else 2
    rows = (1,) if axes == 1 else ()
    return values.reshape(-1, *rows, *values.shape[len(shape) - axes :])


def prior_path(container: Container) -> Path | None:
    return None if container.prior_id == bytes(8) else prior_store.path_of(container.prior_id.hex())


@pytest.mark.usefixtures("_golden_priors")
def test_modules_decode_what_the_package_decodes(tmp_path: Path) -> None:
    """All golden files of these codecs, all entries, first and last slice: the same numbers but for rounding."""
    jobs, wanted = [], []
    for name, info in FILES.items():
        if info["codec"] not in VIEWED:
            continue
        opened = inrcodec.open(FOLDER / "files" / name)
        for entry in range(len(opened)):
            container = opened.container(entry)
            values = planes(container, decompress_container(container).values)
            for number in sorted({0, len(values) - 1}):
                out = tmp_path / f"{len(jobs)}.f32"
                jobs.append(job(FOLDER / "files" / name, prior_path(container), out, entry=entry, slice=number))
                wanted.append(values[number])
    found = decode_by_node(jobs)
    assert {FILES[Path(one["file"]).name]["codec"] for one in jobs} == set(VIEWED)
    for told, one, values in zip(found, jobs, wanted, strict=True):
        assert "error" not in told, (one["file"], told)
        assert (told["count"], told["channels"]) == (values.size, values.shape[-1]), one["file"]
        difference = np.abs(np.fromfile(one["out"], "<f4") - values.ravel()).max()
        assert difference <= EXACT * max(1.0, float(np.abs(values).max())), one["file"]


@pytest.mark.usefixtures("_golden_priors")
def test_modules_refuse_what_they_do_not_show(tmp_path: Path) -> None:
    """Other codecs, damage and foreign files: an error of the format in words, never another one."""
    others = [name for name, info in FILES.items() if info["codec"] not in VIEWED]
    jobs = []
    for name in others:
        container = inrcodec.open(FOLDER / "files" / name).container()
        jobs.append(job(FOLDER / "files" / name, prior_path(container), tmp_path / "x"))
    whole = next(n for n, info in FILES.items() if info["codec"] == "hierarchical" and info["format"] == "inr")
    data, prior = (
        (FOLDER / "files" / whole).read_bytes(),
        prior_path(inrcodec.open(FOLDER / "files" / whole).container()),
    )
    for number, damaged in enumerate((b"", b"\x89PNG and more", data[:-5], data[:-1] + bytes([data[-1] ^ 1]))):
        (tmp_path / f"{number}.inr").write_bytes(damaged)
        jobs.append(job(tmp_path / f"{number}.inr", prior, tmp_path / "x"))
    for told in decode_by_node(jobs):
        assert told.get("kind") == "FormatError", told


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, picture: np.ndarray) -> dict[str, Path]:
    """A picture and a sound under shipped priors."""
    folder = tmp_path_factory.mktemp("viewed")
    Image.fromarray(picture[100:229, 120:311]).save(folder / "picture.png")
    seconds = np.arange(12000) / 16000
    tone = 0.3 * np.sin(2 * np.pi * 330 * seconds * (1 + 0.2 * seconds)) * np.exp(-2 * seconds)
    soundfile.write(folder / "sound.wav", tone, 16000)
    out = {}
    for name, rate in (("picture.png", {"target_bpp": 0.8}), ("sound.wav", {})):
        path = folder / f"{Path(name).stem}.inr"
        path.write_bytes(inrcodec.compress(folder / name, effort="fast", **rate))
        out[path.stem] = path
    return out


def test_modules_decode_any_part_at_any_size(made: dict[str, Path], tmp_path: Path) -> None:
    """Larger, smaller, and windows of these: as ``decompress`` with a size and a region."""
    container = inrcodec.open(made["picture"]).container()
    prior = prior_path(container)
    cases = [((258, 382), (0, 258, 0, 382)), ((64, 95), (3, 40, 10, 95)), ((129, 400), (100, 129, 333, 400))]
    jobs = [
        job(made["picture"], prior, tmp_path / f"{i}.f32", size=size, window=window)
        for i, (size, window) in enumerate(cases)
    ]
    for told, one, (size, (top, bottom, left, right)) in zip(decode_by_node(jobs), jobs, cases, strict=True):
        window = (slice(top, bottom), slice(left, right))
        values = decompress_container(container, size=size, window=window).values
        assert "error" not in told, told
        assert np.abs(np.fromfile(one["out"], "<f4") - values.ravel()).max() <= EXACT


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Starts servers; returns their addresses."""
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


def test_server_gives_the_site_and_nothing_else(made: dict[str, Path], serve: Callable[..., str]) -> None:
    address = serve(made["picture"])
    with urllib.request.urlopen(address) as answer:
        assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
        assert b"viewer.css" in answer.read()
    with urllib.request.urlopen(f"{address}files/picture.inr") as answer:
        assert answer.read() == made["picture"].read_bytes()
    for path in ("files/sound.inr", "../pyproject.toml", "%2e%2e/%2e%2e/etc/passwd", "files/", "priors/"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(address + path)


def test_server_answers_to_its_own_name_alone(serve: Callable[..., str]) -> None:
    """A page of another name that leads to this machine learns nothing."""
    port = int(serve().rsplit(":", 1)[1].strip("/"))
    for host, status in ((f"localhost:{port}", 200), ("evil.example", 403), (f"evil.example:{port}", 403)):
        connection = HTTPConnection("127.0.0.1", port)
        connection.putrequest("GET", "/", skip_host=True)
        connection.putheader("Host", host)
        connection.endheaders()
        assert connection.getresponse().status == status
        connection.close()


def test_a_site_to_take_elsewhere(made: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", str(made["sound"]), "--export", str(tmp_path / "site")]) == 0
    assert "index.html?file=files/sound.inr" in capsys.readouterr().out
    there = {str(p.relative_to(tmp_path / "site")) for p in (tmp_path / "site").rglob("*") if p.is_file()}
    assert there == {name for name, _ in site_files(made["sound"])}
    assert sum(name.startswith("priors/") for name in there) == 1
    with pytest.raises(UsageError, match="not empty"):
        export(tmp_path / "site", made["sound"])


def test_every_module_of_the_page_is_served() -> None:
    """What the page's modules import is there, and they take nothing from the network."""
    names = {name for name, _ in site_files()}
    for path in page_folder().iterdir():
        text = path.read_text("utf-8")
        assert "http://" not in text and "https://" not in text
        for line in text.splitlines():
            if path.suffix == ".js" and line.startswith(("import ", "} from ")):
                assert line.split('"')[1].removeprefix("./") in names


def test_what_cannot_be_viewed_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, made: dict[str, Path]
) -> None:
    (tmp_path / "x.inr").write_bytes(b"not a file of ours")
    for arguments in (["view", str(tmp_path / "x.inr")], ["view", str(tmp_path / "missing.inr")]):
        assert main(arguments) == 1
        assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(DataError, match=r"not an \.inr"):
        make_server(tmp_path / "x.inr")
    monkeypatch.setattr(prior_store, "folders", list)
    with pytest.raises(PriorError, match="none found"):
        make_server(made["picture"])


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from open_browser(1240, 900)


def opened(browser: Any, address: str) -> None:
    """Wait until the page shows its file, or says why not."""
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
    """Values that the page decoded, at the signal's own size."""
    found = browser.execute_async_script(
        "const done = arguments[0];inrViewer.native().then((n) => done([n.rows, n.columns, n.channels, [...n.values]]))"
    )
    rows, columns, channels, values = found
    return np.array(values, np.float32).reshape(rows, columns, channels)


def test_the_page_shows_a_picture(
    made: dict[str, Path], serve: Callable[..., str], browser: Any, tmp_path: Path
) -> None:
    """The decoded values are Python's, what is on the screen is them, and a closer look is another grid."""
    opened(browser, serve(made["picture"]) + page_address(made["picture"]))
    signal = inrcodec.decompress(made["picture"])
    assert np.abs(native_values(browser) - signal.values).max() <= 1 / 255
    # One sample per screen pixel.
    browser.find_element("id", "native").click()
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
    assert browser.execute_script("return inrViewer.shown.picture.size") == [3 * n for n in signal.header.shape]
    shot = tmp_path / "picture.png"
    assert browser.save_screenshot(str(shot))
    assert np.asarray(Image.open(shot).convert("L")).std() > 10


def test_the_page_plays_a_sound(made: dict[str, Path], serve: Callable[..., str], browser: Any, tmp_path: Path) -> None:
    opened(browser, serve(made["sound"]) + page_address(made["sound"]))
    signal = inrcodec.decompress(made["sound"])
    values = native_values(browser)
    assert np.abs(values[0] - signal.values).max() <= 1 / 255
    # What the player was given, decoded by the browser itself.
    played = browser.execute_async_script(
        "const [rate, done] = arguments; inrViewer.shown.sound.arrayBuffer()"
        ".then((b) => new OfflineAudioContext(1, 1, rate).decodeAudioData(b))"
        ".then((a) => done([a.sampleRate, a.numberOfChannels, [...a.getChannelData(0)]]))",
        signal.header.sample_rate,
    )
    assert played[:2] == [signal.header.sample_rate, signal.header.channels]
    assert np.abs(np.array(played[2]) - signal.values[:, 0]).max() <= 1 / 255
    assert browser.save_screenshot(str(tmp_path / "sound.png"))


def test_the_page_says_what_is_wrong(serve: Callable[..., str], browser: Any) -> None:
    address = serve()
    browser.get(address)
    browser.execute_script("inrViewer.openBytes('x.inr', new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]))")
    for _ in range(100):
        text = browser.find_element("id", "error").text
        if text:
            break
        time.sleep(0.05)
    assert text == "x.inr: this is not an .inr or .inrs file"
