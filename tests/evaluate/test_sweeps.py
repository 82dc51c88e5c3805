"""Sweeps: every point once, whatever interrupts them; what they write."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inrcodec.errors import DataError, UsageError
from inrcodec.evaluate import Sweep, sweep
from inrcodec.evaluate import sweep_jobs as jobs_module
from inrcodec.evaluate import sweeps as sweeps_module
from inrcodec.evaluate.points import Point, mean_curve, open_log
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.signal import Signal

RATES = (0.6, 3.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, photograph: np.ndarray) -> Path:
    """Three small images."""
    folder = tmp_path_factory.mktemp("images")
    for i in range(3):
        Image.fromarray(photograph[64 * i : 64 + 64 * i, 192:256]).save(folder / f"p{i}.png")
    return folder


def read_log(path: Path) -> list[Point]:
    with open_log(path) as log:
        return list(log.entries.values())


def _same(points: list[Point]) -> list[tuple[object, ...]]:
    """All of the points but seconds."""
    return sorted((p.key, p.signal, p.series, p.setting, p.file_bytes, p.psnr, p.ms_ssim) for p in points)


def _sweep(folder: Path, out: Path, **options: Any) -> Sweep:
    return sweep(
        sorted(folder.iterdir()), rates=RATES, compare=["jpeg"], effort="fast", out=out, progress=False, **options
    )


@pytest.fixture(scope="module")
def done(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """A sweep that nothing interrupted."""
    return _sweep(folder, tmp_path_factory.mktemp("sweep"))


def test_a_sweep_has_a_point_of_every_signal_and_setting(done: Sweep, folder: Path) -> None:
    assert done.series == ["hierarchical", "jpeg"] and done.baselines == ["jpeg"]
    assert len(done.points) == 3 * (2 + 8)
    for point in done.points:
        data = (done.folder / point.file).read_bytes()
        assert len(data) == point.file_bytes and point.rate == pytest.approx(8 * len(data) / 4096)
        assert point.ms_ssim is not None and 0 < point.ms_ssim <= 1 and point.snr is None
    ours = done.curve("hierarchical")
    assert [round(rate) for rate, _ in ours] == [1, 3] and ours[0][1] < ours[1][1]
    assert done.curve("hierarchical", "ms_ssim")[1][1] > 0.9
    found = done.bd_rate("jpeg", "hierarchical")
    assert found is not None and found.percent < 0


def test_finished_points_are_never_made_again(done: Sweep, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a finished point was made again")

    monkeypatch.setattr(jobs_module, "make_point", refuse)
    assert _same(_sweep(folder, done.folder).points) == _same(done.points)


def test_two_workers_make_the_same_points(done: Sweep, folder: Path, tmp_path: Path) -> None:
    assert _same(_sweep(folder, tmp_path, workers=2).points) == _same(done.points)


def test_a_killed_sweep_goes_on_to_the_same_points(done: Sweep, folder: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "inrcodec",
        "sweep",
        str(folder),
        "--rates",
        ",".join(map(str, RATES)),
        "--compare",
        "jpeg",
        "--effort",
        "fast",
        "-o",
        str(tmp_path),
        "-q",
    ]
    log = tmp_path / "points.jsonl"
    child = subprocess.Popen(command)
    for _ in range(3000):
        if log.exists() and log.read_bytes().count(b"\n") >= 3:
            break
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    with open(log, "ab") as file:
        file.write(b'{"key": "half a li')
    before = log.read_bytes().count(b"\n")
    assert 3 <= before < len(done.points) and not (tmp_path / "report.html").exists()
    subprocess.run(command, check=True)
    assert _same(read_log(log)) == _same(done.points)
    assert (tmp_path / "report.html").exists() and log.read_bytes().count(b"\n") == len(done.points)


def test_tables_hold_every_point(done: Sweep, tmp_path: Path) -> None:
    rows = list(csv.DictReader(done.to_csv(tmp_path / "x.csv").splitlines()))
    assert (tmp_path / "x.csv").read_text() == done.to_csv()
    assert len(rows) == len(done.points) and {"file_bytes", "psnr", "effort", "prior_id", "torch"} <= set(rows[0])
    header = done.to_csv().splitlines()[0].split(",")
    assert len(set(header)) == len(header) and "detail_setting" in header
    content = json.loads(done.to_json())
    assert len(content["points"]) == len(rows)
    assert {(r["reference"], r["series"]) for r in content["bd_rates"]} == {("jpeg", "hierarchical")}


def test_the_report_needs_nothing_else_and_holds_the_example(done: Sweep, tmp_path: Path) -> None:
    page = done.report(tmp_path / "report.html").read_text()
    addresses = set(re.findall(r"""(?:src|href)=["']([^"']+)""", page))
    assert all(a.startswith(("data:", "#")) for a in addresses), addresses
    example = json.loads(re.search(r'id="example">(.*?)</script>', page, re.S)[1])  # type: ignore[index]
    assert [one["name"] for one in example["series"]] == ["hierarchical", "jpeg"]
    assert [len(one["frames"]) for one in example["series"]] == [2, 8]
    assert all(frame["decoded"].startswith("data:image/webp") for one in example["series"] for frame in one["frames"])
    assert "<svg" in done._repr_html_() and "BD-rate" in done._repr_html_()


def test_plots_show_all_curves(done: Sweep) -> None:
    labels = [line.get_label() for line in done.plot(metric="ms_ssim").get_lines()]
    assert labels == ["hierarchical", "jpeg"]
    assert len(done.plot(signal="p0").get_lines()) == 2


def test_audio_clips_and_published_curves(tmp_path: Path) -> None:
    t = np.arange(16000, dtype=np.float32) / 16000
    values = (0.4 * np.exp(-6 * (t % 0.25)) * np.sin(2 * np.pi * (200 + 300 * t) * t))[:, None].astype(np.float32)
    recording = Signal(values, SignalHeader("audio", "mono", "pcm_16", (16000,), 1, 16000))
    (tmp_path / "table.csv").write_text("codec,kbps,psnr\nsome,5,40\nsome,20,50\n")
    result = sweep(
        [recording],
        rates=[12.0, 24.0],
        compare=["opus"],
        published=tmp_path / "table.csv",
        effort="fast",
        out=tmp_path / "out",
        progress=False,
    )
    assert result.unit == "kbps" and all(p.snr is not None and p.ms_ssim is None for p in result.points)
    assert result.curve("some") == [(5.0, 40.0), (20.0, 50.0)]
    assert any(line.get_label() == "some, published" for line in result.plot().get_lines())
    page = result.report().read_text()
    assert page.count("data:audio/wav") == 1 + len(result.points)


def test_points_of_signals_that_lack_some_are_not_averaged() -> None:
    def point(signal: str, setting: str, rate: float) -> Point:
        return Point(signal + setting, signal, "x", setting, "bpp", 1, 1, rate, 30.0 + rate, 0.0, 0.0)

    points = [point("a", "1", 1.0), point("b", "1", 3.0), point("a", "2", 4.0)]
    assert mean_curve(points, "x") == [(2.0, 32.0)]


def test_a_sweep_of_auto_says_what_was_chosen(folder: Path, tmp_path: Path) -> None:
    found = sweep([folder / "p0.png"], codecs=["auto"], rates=[2.0], effort="fast", out=tmp_path, progress=False)
    (point,) = found.points
    assert point.series == "auto" and point.details["made_by"] == "hierarchical" and found.baselines == []


def test_points_of_auto_at_best_depend_on_both_priors(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources: dict[str, Path | Signal] = {"p0": folder / "p0.png"}

    def key(effort: str) -> str:
        (job,) = sweeps_module._jobs(sources, "image", ["auto"], [], [2.0], [], effort, None)
        return job.key

    before = key("best"), key("fast")
    known = sweeps_module._prior_id
    monkeypatch.setattr(
        sweeps_module, "_prior_id", lambda signal, s: "other" if s.codec == "grids" else known(signal, s)
    )
    assert key("best") != before[0] and key("fast") == before[1]


def test_what_a_sweep_refuses(folder: Path, tmp_path: Path) -> None:
    photograph = folder / "p0.png"
    recording = Signal(np.zeros((64, 1), np.float32), SignalHeader("audio", "mono", "pcm_16", (64,), 1, 16000))
    cases: list[tuple[list[Any], dict[str, Any], str]] = [
        ([photograph, recording], {}, "one kind"),
        ([], {}, "one kind"),
        ([photograph], {"codecs": ["bitswap"]}, "lossy codecs"),
        ([photograph], {"codecs": ["huffman"]}, "codec must be"),
        ([photograph], {"compare": ["mp3"]}, "mp3 does not encode signals of kind image"),
        ([photograph], {"compare": ["gif"]}, "baseline must be"),
        ([photograph], {"published": "imagenet"}, "published must be"),
        ([photograph, photograph, photograph], {}, "given twice"),
    ]
    for inputs, options, words in cases:
        with pytest.raises(UsageError, match=words):
            sweep(inputs, out=tmp_path / "none", progress=False, **options)
    assert not (tmp_path / "none").exists()
    with pytest.raises(DataError, match="every point of the sweep failed"):
        sweep([photograph], rates=[0.01], out=tmp_path / "small", progress=False)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "points.jsonl").write_text('{"no": 1}\n')
    with pytest.raises(DataError, match="not an entry"):
        sweep([photograph], out=tmp_path / "bad", progress=False)
