"""Batches: every file once, whatever interrupts them; bad files; shards; two runs on one output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import inrcodec
from inrcodec.cli import main
from inrcodec.encoding import encode_signals
from inrcodec.errors import UsageError, WorkersError
from inrcodec.evaluate import batch as batch_module
from inrcodec.evaluate import batch_jobs
from inrcodec.evaluate.batch import BatchResult, batch, find_files
from inrcodec.evaluate.json_log import JsonLog
from inrcodec.parallel.local import LocalWorkers
from inrcodec.settings import Settings
from inrcodec.signals.files import read_signal

SETTINGS = Settings(beta=0.003, effort="fast")


@pytest.fixture
def tree(tmp_path: Path, photograph: np.ndarray) -> Path:
    """Eight images in two folders, a name with a newline among them, a text, a hidden file and a link out of it."""
    root = tmp_path / "in"
    (root / "sub").mkdir(parents=True)
    for i in range(8):
        name = "new\nline.png" if i == 3 else f"p{i}.png"
        tile = photograph[32 * i : 32 * i + 32, 200:232]
        Image.fromarray(tile).save((root / "sub" if i % 2 else root) / name)
    (root / "notes.txt").write_text("not a signal")
    (root / ".hidden.png").write_bytes(b"")
    (tmp_path / "outside.png").write_bytes((root / "p0.png").read_bytes())
    (root / "link.png").symlink_to(tmp_path / "outside.png")
    return root


def _run(tree: Path, out: Path, **options: Any) -> BatchResult:
    return batch(tree, out, SETTINGS, progress=False, **options)


def _outputs(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*.inr")}


def test_every_signal_gets_a_file_and_a_bad_one_a_line(tree: Path, tmp_path: Path) -> None:
    result = _run(tree, tmp_path / "out", verify=True)
    names = [entry.name for entry in result.entries]
    assert len(names) == 9 and "sub/new\nline.png" in names and "link.png" not in names
    assert [entry.name for entry in result.failed] == ["notes.txt"] and "notes.txt" in result.failed[0].error
    outputs = _outputs(tmp_path / "out")
    assert set(outputs) == {f"{name}.inr" for name in names if name != "notes.txt"}
    assert inrcodec.decompress(outputs["p0.png.inr"]).header.shape == (32, 32)
    summary = result.summary()
    assert (summary["done"], summary["failed"], summary["bytes"]) == (8, 1, sum(map(len, outputs.values())))
    assert summary["psnr"] > 20
    lines = (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()
    assert len(lines) == 9 and all("error" in json.loads(line) for line in lines)


@pytest.mark.parametrize(
    ("step", "workers"),
    [("read_signal", 1), ("read_signal", 2), ("encode_each", 1), ("encode_signals", 1), ("write_whole", 1)],
)
def test_no_file_ends_a_batch(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, workers: int
) -> None:
    """Exceptions that nobody foresaw become lines of the manifest."""
    original = getattr(batch_jobs, step)

    def fail(*arguments: Any, **options: Any) -> Any:
        if step == "encode_each" or "p0.png" in str(arguments[0]) or (step == "encode_signals" and not failures):
            failures.append(step)
            raise RuntimeError("a bug\nof two lines")
        return original(*arguments, **options)

    failures: list[str] = []
    if workers > 1:
        (tree / "bad.avif").write_bytes(b"\0\0\0\x1cftypavif" + bytes(40))
        (tree / "bad.dds").write_bytes(b"DDS |\0\0\0" + b"\xff" * 140)
    else:
        monkeypatch.setattr(batch_jobs, step, fail)
        if step == "encode_signals":
            monkeypatch.setattr(batch_jobs, "encode_each", _fail_together)
    result = _run(tree, tmp_path / "out", workers=workers)
    errors = {entry.name: entry.error for entry in result.failed}
    assert len(result.entries) == 9 + 2 * (workers > 1) and all("\n" not in text for text in errors.values())
    if workers > 1:
        assert set(errors) == {"notes.txt", "bad.avif", "bad.dds"}
    elif step == "encode_each":
        assert set(errors) == {"notes.txt"}
    else:
        assert len(errors) == 2 and any(
            "unexpected RuntimeError: a bug of two lines" in text for text in errors.values()
        )


def _fail_together(*arguments: Any, **options: Any) -> Any:
    raise RuntimeError("together")


def test_a_second_run_does_what_is_new_changed_or_gone(tree: Path, tmp_path: Path) -> None:
    _run(tree, tmp_path / "out")
    before = {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in _outputs(tmp_path / "out")}
    os.utime(tree / "p0.png", ns=(1, 1))
    (tmp_path / "out" / "p2.png.inr").unlink()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tree / "new.png")
    result = _run(tree, tmp_path / "out")
    assert result.skipped == 6
    after = {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in _outputs(tmp_path / "out")}
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"p0.png.inr", "p2.png.inr", "new.png.inr"}
    assert batch(tree, tmp_path / "out", Settings(beta=0.01, effort="fast"), progress=False).skipped == 0
    assert _run(tree, tmp_path / "out", resume=False).skipped == 0


def test_shards_part_the_files(tree: Path, tmp_path: Path) -> None:
    found = [{e.name for e in _run(tree, tmp_path / "out", shard=(i, 3)).entries} for i in range(3)]
    assert len(set.union(*found)) == sum(map(len, found)) == 9
    with pytest.raises(UsageError, match="shard"):
        _run(tree, tmp_path / "out", shard=(3, 3))


def test_workers_make_the_same_files(tree: Path, tmp_path: Path) -> None:
    _run(tree, tmp_path / "one")
    _run(tree, tmp_path / "two", workers=2)
    assert _outputs(tmp_path / "one") == _outputs(tmp_path / "two")


def test_small_files_are_fitted_together_to_the_bytes_that_they_have_alone(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At an effort with trial steps, by beta and by rate; what is no signal among them is only its own fault."""
    monkeypatch.chdir(tree)
    monkeypatch.setattr(batch_module, "PARTS_PER_WORKER", 1)
    (tmp_path / "list.txt").write_text("p0.png\nnotes.txt\np4.png\nsub/p5.png\n")
    for name, options in (("beta", {"beta": 0.003}), ("rate", {"target_bpp": 2.0})):
        settings = Settings(effort="default", **options)  # type: ignore[arg-type]
        result = batch(tmp_path / "list.txt", tmp_path / name, settings, progress=False)
        together = [entry.figures["together"] for entry in result.entries if not entry.error]
        assert together == [3, 3, 3] and [e.name for e in result.failed] == ["notes.txt"]
        alone = encode_signals([read_signal(Path("p4.png"))], settings).data
        assert (tmp_path / name / "p4.png.inr").read_bytes() == alone


def test_a_rate_that_one_of_a_group_cannot_have_is_its_own_error(tree: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(tree / "dot.png")
    result = batch(tree, tmp_path / "out", Settings(target_bpp=2.0, effort="fast"), progress=False)
    assert sorted(entry.name for entry in result.failed) == ["dot.png", "notes.txt"]
    assert "raise it" in next(entry.error for entry in result.failed if entry.name == "dot.png")
    assert len(_outputs(tmp_path / "out")) == 8


def test_a_file_that_kills_its_worker_takes_none_of_its_group_along(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(path: Path) -> Any:
        if path.name == "p4.png":
            os.kill(os.getpid(), signal.SIGKILL)
        return read_signal(path)

    monkeypatch.setattr(batch_jobs, "read_signal", read)
    monkeypatch.setattr(batch_module, "PARTS_PER_WORKER", 1)
    result = _run(tree, tmp_path / "out", workers=2)
    assert sorted(entry.name for entry in result.failed) == ["notes.txt", "p4.png"]
    assert len(_outputs(tmp_path / "out")) == 7


def test_a_killed_batch_goes_on_and_leaves_no_halves(tree: Path, tmp_path: Path) -> None:
    _run(tree, tmp_path / "whole")
    out = tmp_path / "out"
    options = ["--beta", "0.003", "--effort", "fast", "-q", "--keep-going"]
    command = [sys.executable, "-m", "inrcodec", "batch", str(tree), str(out), *options]
    child = subprocess.Popen(command)
    for _ in range(3000):
        if (out / "manifest.jsonl").exists() and (out / "manifest.jsonl").read_bytes().count(b"\n") >= 2:
            break
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    for data in _outputs(out).values():
        inrcodec.open(data)
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    assert _outputs(out) == _outputs(tmp_path / "whole")


def test_two_runs_on_one_output_are_refused(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with (
        JsonLog[dict[str, Any]](out / "manifest.jsonl", dict, dict, lambda entry: str(entry)),
        pytest.raises(UsageError, match="another run"),
    ):
        _run(tree, out)


def test_a_list_of_paths_and_the_exit_code(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree)
    (tmp_path / "list.txt").write_text("p0.png\nsub/p1.png\nmissing.png\n\n")
    options = ["--beta", "0.003", "--effort", "fast", "--json"]
    command = ["batch", str(tmp_path / "list.txt"), str(tmp_path / "out"), *options]
    assert main(command) == 1
    said = capsys.readouterr()
    assert "missing.png" in said.err and json.loads(said.out)["done"] == 2
    assert main([*command, "--keep-going"]) == 0
    (tmp_path / "up.txt").write_text("../p0.png\n")
    assert main(["batch", str(tmp_path / "up.txt"), str(tmp_path / "out")]) == 2


def _die_on_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * 10


def test_outputs_never_meet_sources_or_each_other(tree: Path, tmp_path: Path) -> None:
    """The source folder as output, and two paths of a list with one output, are refused before anything is done."""
    with pytest.raises(UsageError, match="another folder"):
        batch(tree, tree / "sub" / "..", Settings(), progress=False)
    (tmp_path / "list.txt").write_text(f"{tree}/p0.png\n{tree}/p0.png\n")
    assert len(list(find_files(tmp_path / "list.txt", tmp_path / "out"))) == 1
    (tmp_path / "list.txt").write_text(f"{tree}/p0.png\n{str(tree).lstrip('/')}/p0.png\n")
    with pytest.raises(UsageError, match="both be written"):
        batch(tmp_path / "list.txt", tmp_path / "out", Settings(), progress=False)
    assert not (tmp_path / "out").exists()


def test_a_worker_that_dies_loses_its_own_task_alone() -> None:
    with LocalWorkers(2) as workers:
        for _ in range(2):
            found = dict(workers.outcomes(_die_on_three, list(range(8)), lambda task: -1))
            assert found == {n: -1 if n == 3 else 10 * n for n in range(8)}
        with pytest.raises(WorkersError):
            list(workers.outcomes(_die_on_three, [3]))
