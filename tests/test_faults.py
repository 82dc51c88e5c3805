"""What goes wrong around the codec: full disks, read-only places, interruptions, kills, odd names, two runs at once.

Whatever it is: one clear line, an exit code, an output that is absent, old or whole, and nothing left behind.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

import inrcodec
from inrcodec import storage as atomic
from inrcodec.cli import main
from inrcodec.codecs import prior_store
from inrcodec.evaluate.batch import batch
from inrcodec.settings import Settings
from tests.support.golden_files import PRIORS

CHECKOUT = Path(__file__).resolve().parent.parent
OPTIONS = ["--prior", "golden-image", "--effort", "fast"]
SETTINGS = Settings(prior="golden-image", effort="fast")
UNDECODABLE = os.fsdecode(b"caf\xe9.png")

pytestmark = pytest.mark.skipif(os.name != "posix", reason="forks, signals and links of POSIX systems")


@pytest.fixture(autouse=True)
def _priors(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(prior_store.ENVIRONMENT, str(PRIORS))
    yield


@pytest.fixture(scope="module")
def kills() -> ModuleType:
    """``tools/kills.py``, which forks commands and kills them."""
    spec = importlib.util.spec_from_file_location("kills", CHECKOUT / "tools" / "kills.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["kills"] = module
    spec.loader.exec_module(module)
    return module


def save_picture(path: Path, size: int = 24, seed: int = 0) -> None:
    """A small image at any path, whatever its ending."""
    y, x = np.mgrid[0:size, 0:size]
    waves = 128 + 60 * np.sin(x / (3.0 + seed) + y / 5.0)[..., None] * np.array([1.0, 0.7, 0.4])
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        Image.fromarray(waves.astype(np.uint8)).save(file, "PNG")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Six images in two folders."""
    for i in range(6):
        save_picture(tmp_path / "in" / ("sub" if i % 2 else ".") / f"p{i}.png", seed=i)
    return tmp_path / "in"


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())


def until(there: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Wait for something to come true; whether it has."""
    end = time.perf_counter() + seconds
    while not there():
        if time.perf_counter() > end:
            return False
        time.sleep(0.002)
    return True


def is_one_line(text: str, *words: str) -> bool:
    return text.startswith("inrcodec: ") and text.count("\n") == 1 and all(word in text for word in words)


# Disks.


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB; skips where it cannot be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a file system needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Write until there is no room; the file that takes it."""
    with open(disk / "filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1024))
        except OSError as error:
            assert error.errno == 28
    return disk / "filler"


def test_a_full_disk_leaves_the_old_file(small_disk: Path, tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = small_disk / "a.inr"
    assert run(capsys, "compress", tree / "p0.png", "-o", target, "-q", *OPTIONS)[0] == 0
    before = target.read_bytes()
    fill(small_disk)
    code, out, err = run(capsys, "compress", tree / "p2.png", "-o", target, "--force", *OPTIONS)
    assert code == 1 and out == "" and is_one_line(err, "a.inr: cannot be written: No space left")
    code, out, err = run(capsys, "decompress", target, "-o", small_disk / "a.png")
    assert code == 1 and out == "" and is_one_line(err, "a.png: cannot be written: No space left")
    assert target.read_bytes() == before and names(small_disk) == ["a.inr", "filler"]


def test_a_batch_on_a_full_disk_stops_and_goes_on_when_there_is_room(
    small_disk: Path, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = small_disk / "out"
    (out / "sub").mkdir(parents=True)
    filler = fill(small_disk)
    code, _, err = run(capsys, "batch", tree, out, "-q", *OPTIONS)
    assert code == 1 and err and all("No space left" in line for line in err.splitlines())
    assert set(names(out)) <= {"manifest.jsonl"}
    filler.unlink()
    code, said, err = run(capsys, "batch", tree, out, "--json", *OPTIONS)
    assert (code, err) == (0, "") and json.loads(said)["done"] == 6
    for line in (out / "manifest.jsonl").read_text().splitlines():
        json.loads(line)
    for name in names(tree):
        inrcodec.decompress(out / f"{name}.inr")


def no_file_over(size: int) -> Callable[[], None]:
    """For a child's beginning: a full disk, as far as files of more than so many bytes go."""
    import resource

    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_file_over_the_limit_of_the_system(kills: ModuleType, tree: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "a.inr"
    target.parent.mkdir()
    target.write_bytes(b"old")
    lossless = ["--codec", "bitswap", "--prior", "golden-lossless-colour"]
    arguments = ["compress", str(tree / "p0.png"), "-o", str(target), "--force", *lossless]
    child = kills.forked(arguments, tmp_path / "said", no_file_over(400))
    assert child.wait() == 1 and is_one_line((tmp_path / "said").read_text(), "cannot be written: File too large")
    assert names(target.parent) == ["a.inr"] and target.read_bytes() == b"old"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_manifest_that_cannot_grow_ends_the_run_with_a_line(
    kills: ModuleType, tree: Path, tmp_path: Path, workers: str
) -> None:
    """The next run takes the half line for what it is."""
    out = tmp_path / "out"
    arguments = ["batch", str(tree), str(out), "--workers", workers, "-q", *OPTIONS]
    child = kills.forked(arguments, tmp_path / "said", no_file_over(1000))
    assert child.wait() == 1 and is_one_line((tmp_path / "said").read_text(), "manifest.jsonl: cannot be written")
    manifest = (out / "manifest.jsonl").read_bytes()
    assert len(manifest) == 1000 and not manifest.endswith(b"\n")
    assert not [name for name in names(out) if name.endswith(atomic.TEMPORARY_END)]
    result = batch(tree, out, SETTINGS, progress=False)
    assert not result.failed and result.skipped == manifest.count(b"\n") >= 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_report_that_cannot_be_written(tree: Path, tmp_path: Path) -> None:
    """The file is whole; that nobody could be told is one line."""
    target = tmp_path / "a.inr"
    command = [sys.executable, "-m", "inrcodec", "compress", str(tree / "p0.png"), "-o", str(target), *OPTIONS]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, cwd=CHECKOUT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1 and is_one_line(done.stderr, "No space left")
    inrcodec.decompress(target)


def test_a_read_only_disk(small_disk: Path, tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    code, _, err = run(capsys, "compress", tree / "p0.png", "-o", small_disk / "a.inr", *OPTIONS)
    assert code == 1 and is_one_line(err, "a.inr: cannot be written")
    code, _, err = run(capsys, "batch", tree, small_disk / "out", *OPTIONS)
    assert code == 1 and is_one_line(err, "out: cannot be created: Read-only")
    code, _, err = run(capsys, "batch", tree, small_disk, *OPTIONS)
    assert code == 1 and is_one_line(err, "manifest.jsonl: cannot be written: Read-only")


def test_places_that_cannot_be_outputs(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Under a file, of a name too long, a manifest that is a folder: before any work is done."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "out" / "manifest.jsonl").mkdir(parents=True)
    before = names(tmp_path)
    cases: list[tuple[list[str | Path], str]] = [
        (["compress", tree / "p0.png", "-o", tmp_path / "file" / "a.inr"], "no folder"),
        (["compress", tree / "p0.png", "-o", tmp_path / ("a" * 300 + ".inr")], "too long"),
        (["compress", tree, "-o", tmp_path / "file" / "a.inrs"], "no folder"),
        (["batch", tree, tmp_path / "file"], "cannot be created"),
        (["batch", tree, tmp_path / "file" / "out"], "cannot be created"),
        (["batch", tree, tmp_path / "out"], "cannot be written"),
    ]
    for arguments, words in cases:
        code, out, err = run(capsys, *arguments, *OPTIONS)
        assert code == 1 and out == "" and is_one_line(err, words), err
    assert names(tmp_path) == before


# Interruptions and kills.


def test_an_interruption_while_writing_leaves_the_old_file(
    kills: ModuleType, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGINT between the bytes and the move."""
    target = tmp_path / "out" / "a.inr"
    target.parent.mkdir()
    target.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", lambda descriptor: time.sleep(20))
    child = kills.forked(["compress", str(tree / "p0.png"), "-o", str(target), "-f", *OPTIONS], tmp_path / "said")
    child.wait_for_writes(1, 20)
    assert until(lambda: len(names(target.parent)) == 2)
    child.send(signal.SIGINT)
    assert child.wait() == 130
    assert (tmp_path / "said").read_text().split("\n") == ["", "inrcodec: interrupted", ""]
    assert names(target.parent) == ["a.inr"] and target.read_bytes() == b"old"


@pytest.mark.parametrize("module", ["inrcodec.cli", "numpy"])
def test_an_interruption_of_the_start_is_one_line_too(module: str) -> None:
    """SIGINT while modules are being loaded, before any command has begun: sent by the first that asks for one."""
    script = (
        "import builtins, os, signal, sys\n"
        # Whoever starts tests in the background of a shell has them ignore it, and so their children.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from inrcodec.__main__ import entry_point\n"
        "found = builtins.__import__\n"
        "def load(name, *rest):\n"
        f"    if name == {module!r}: os.kill(os.getpid(), signal.SIGINT)\n"
        "    return found(name, *rest)\n"
        "builtins.__import__ = load\n"
        "sys.argv = ['inrcodec', '--version']\n"
        "entry_point()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "inrcodec: interrupted\n")


def test_an_interruption_of_the_work_writes_nothing(kills: ModuleType, tmp_path: Path) -> None:
    """SIGINT in the midst of gradient steps."""
    save_picture(tmp_path / "large.png", 512)
    begun = time.perf_counter()
    arguments = ["compress", str(tmp_path / "large.png"), "--prior", "golden-image", "--effort", "best"]
    child = kills.forked(arguments, tmp_path / "said")
    time.sleep(0.7)
    child.send(signal.SIGINT)
    assert child.wait() == 130 and time.perf_counter() - begun < 10
    assert (tmp_path / "said").read_text().strip() == "inrcodec: interrupted"
    assert names(tmp_path) == ["large.png", "said"]


@pytest.mark.parametrize("group", [True, False], ids=["a terminal's, to all", "to the parent alone"])
def test_an_interrupted_batch_ends_its_workers_and_goes_on_later(
    kills: ModuleType, tree: Path, tmp_path: Path, group: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``Child.wait`` waits for all processes of the group: workers that lived on would show."""
    whole, out = tmp_path / "whole", tmp_path / "out"
    batch(tree, whole, SETTINGS, progress=False)
    options = ["--workers", "2", "-q", *OPTIONS]
    fsync = os.fsync

    def slow_fsync(descriptor: int) -> None:
        time.sleep(0.15)
        fsync(descriptor)

    with monkeypatch.context() as slow:
        slow.setattr(os, "fsync", slow_fsync)
        child = kills.forked(["batch", str(tree), str(out), *options], tmp_path / "said")
    assert until(lambda: (out / "manifest.jsonl").exists() and (out / "manifest.jsonl").stat().st_size > 0)
    child.send(signal.SIGINT, group=group)
    begun = time.perf_counter()
    assert child.wait() == 130 and time.perf_counter() - begun < 10
    assert (tmp_path / "said").read_text().strip() == "inrcodec: interrupted"
    assert set(names(out)) <= set(names(whole))
    done = len((out / "manifest.jsonl").read_bytes().splitlines())
    result = batch(tree, out, SETTINGS, progress=False)
    assert 1 <= done < 6 and result.skipped == done and not result.failed
    for name in names(tree):
        assert (out / f"{name}.inr").read_bytes() == (whole / f"{name}.inr").read_bytes()


def test_an_idle_worker_takes_no_notice_of_ctrl_c(kills: ModuleType, tmp_path: Path) -> None:
    """One file, two workers: the one without work must not print its own traceback."""
    save_picture(tmp_path / "in" / "large.png", 400)
    options = ["--workers", "2", "-q", "--prior", "golden-image", "--effort", "best"]
    child = kills.forked(["batch", str(tmp_path / "in"), str(tmp_path / "out"), *options], tmp_path / "said")
    assert until((tmp_path / "out" / "manifest.jsonl").exists)
    time.sleep(1.0)
    child.send(signal.SIGINT, group=True)
    assert child.wait() == 130
    assert (tmp_path / "said").read_text().strip() == "inrcodec: interrupted"
    assert names(tmp_path / "out") == ["manifest.jsonl"]


def test_a_killed_writer_leaves_what_the_next_run_sweeps(
    kills: ModuleType, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL between the bytes and the move: a hidden file, taken for no output, gone after the next run."""
    target = tmp_path / "out" / "a.inr"
    target.parent.mkdir()
    arguments = ["compress", str(tree / "p0.png"), "-o", str(target), "-q", *OPTIONS]
    with monkeypatch.context() as slow:
        slow.setattr(os, "fsync", lambda descriptor: time.sleep(20))
        child = kills.forked(arguments, tmp_path / "said")
        assert until(lambda: bool(names(target.parent)))
        child.send(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    (left,) = names(target.parent)
    assert left.startswith(atomic.TEMPORARY_START) and left.endswith(atomic.TEMPORARY_END)
    assert batch(target.parent, tmp_path / "none", SETTINGS, progress=False).entries == []
    assert main(arguments) == 0 and names(target.parent) == ["a.inr"]


def test_kills_at_random_moments(kills: ModuleType, tmp_path: Path) -> None:
    """A slice of what ``tools/kills.py`` does hundreds of times; it raises where an output is half, a run does not
    go on, or anything is left."""
    table = kills.run(8, signal.SIGKILL, 7, tmp_path, own_processes=False, options=("--prior", "golden-image"))
    assert sum(row["signals"] for row in table.values()) == 8


# Files that change, links, names.


def test_a_file_that_changes_while_it_is_read_fails_alone_and_is_done_later(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fstat, looks = os.fstat, []

    def changing(descriptor: int) -> os.stat_result:
        """``p2.png`` grows between the first look and the second."""
        if os.path.samestat(fstat(descriptor), os.stat(tree / "p2.png")):
            looks.append(descriptor)
            if len(looks) == 2:
                with open(tree / "p2.png", "ab") as file:
                    file.write(b"x")
        return fstat(descriptor)

    monkeypatch.setattr(os, "fstat", changing)
    result = batch(tree, tmp_path / "out", SETTINGS, progress=False)
    assert [e.name for e in result.failed] == ["p2.png"] and "changed while it was read" in result.failed[0].error
    assert not (tmp_path / "out" / "p2.png.inr").exists()
    monkeypatch.undo()
    monkeypatch.setenv(prior_store.ENVIRONMENT, str(PRIORS))
    again = batch(tree, tmp_path / "out", SETTINGS, progress=False)
    assert not again.failed and again.skipped == 5


def test_links(tree: Path, tmp_path: Path) -> None:
    """A batch follows none to folders and none out of the tree, and ends on loops; those to files inside are files."""
    save_picture(tmp_path / "outside" / "secret.png")
    (tree / "folder").symlink_to(tmp_path / "outside")
    (tree / "file.png").symlink_to(tmp_path / "outside" / "secret.png")
    (tree / "up.png").symlink_to("../outside/secret.png")
    (tree / "loop").symlink_to(tree)
    (tree / "self.png").symlink_to("self.png")
    (tree / "nowhere.png").symlink_to("nothing.png")
    (tree / "inside.png").symlink_to("sub/p1.png")
    result = batch(tree, tmp_path / "out", SETTINGS, progress=False)
    assert not result.failed
    expected = [f"{name}.inr" for name in ("inside.png", "p0.png", "p2.png", "p4.png")]
    expected += [f"sub/{name}.inr" for name in ("p1.png", "p3.png", "p5.png")]
    assert names(tmp_path / "out") == sorted(["manifest.jsonl", *expected])


ODD_NAMES = ("new\nline.png", "tab\tand\x1b[31mcolour.png", "back\\slash.png", "two  spaces .png", UNDECODABLE)


def test_odd_names_in_a_batch_are_a_line_each_and_known_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i, name in enumerate(ODD_NAMES):
        save_picture(tmp_path / "in" / name, seed=i)
    bad = "bad\nname\x1b[2J.png"
    (tmp_path / "in" / bad).write_text("no image")
    out = tmp_path / "out"
    code, said, err = run(capsys, "batch", tmp_path / "in", out, "--json", *OPTIONS)
    assert code == 1 and said.count("\n") == 1 and err.count("\n") == 1 and "\x1b" not in err
    lines = (out / "manifest.jsonl").read_bytes().split(b"\n")
    assert lines.pop() == b"" and {json.loads(line)["name"] for line in lines} == {*ODD_NAMES, bad}
    assert names(out) == sorted(["manifest.jsonl", *(f"{name}.inr" for name in ODD_NAMES)])
    code, said, _ = run(capsys, "batch", tmp_path / "in", out, "--json", *OPTIONS)
    assert json.loads(said)["done_before"] == len(ODD_NAMES)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_of_single_files(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Reports are one line that a terminal can show; JSON names the file as it is."""
    source = tmp_path / name
    save_picture(source)
    code, out, err = run(capsys, "compress", source, *OPTIONS)
    assert (code, err, out.count("\n")) == (0, "", 1) and out[:-1].isprintable()
    packed = source.with_suffix(".inr")
    code, out, err = run(capsys, "decompress", packed, "--force", "--json")
    assert code == 0 and json.loads(out)["input"] == str(packed)
    assert run(capsys, "info", packed, "--json")[0] == 0
    code, out, err = run(capsys, "info", packed)
    assert code == 0 and all(line.isprintable() for line in out.splitlines()) and "input" in out.splitlines()[0]
    assert len(out.splitlines()) == len(inrcodec.open(packed).info) + 1
    code, out, err = run(capsys, "compress", tmp_path / f"no {name}", *OPTIONS)
    assert code == 1 and is_one_line(err) and err[:-1].isprintable()


def test_archives_carry_names_or_refuse_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a reader would refuse is not written."""
    for i, name in enumerate(ODD_NAMES):
        folder = tmp_path / f"set{i}"
        save_picture(folder / "plain.png")
        save_picture(folder / name)
        target = tmp_path / f"{i}.inrs"
        code, out, err = run(capsys, "compress", folder, "-o", target, "-q", *OPTIONS)
        if name == "two  spaces .png":
            assert (code, err) == (0, "") and name in inrcodec.open(target).names
        else:
            assert code == 1 and out == "" and is_one_line(err, "name") and not target.exists(), (name, err)


# Two at once.


@pytest.mark.parametrize("force", [False, True])
def test_two_processes_on_one_output(kills: ModuleType, tree: Path, tmp_path: Path, force: bool) -> None:
    """Without --force one of them has it and the others say so; with it the last one has it. It is whole either way."""
    target = tmp_path / "out" / "a.inr"
    target.parent.mkdir()
    sources = [tree / f"p{i}.png" for i in (0, 2, 4)]
    options = ["-o", str(target), "-q", *OPTIONS, *(["--force"] if force else [])]
    children = [kills.forked(["compress", str(s), *options], tmp_path / f"said{s.stem}") for s in sources]
    codes = [child.wait() for child in children]
    said = [child.said.read_text() for child in children]
    assert sorted(codes) == ([0, 0, 0] if force else [0, 1, 1]), said
    for code, text in zip(codes, said, strict=True):
        assert text == "" if code == 0 else is_one_line(text, "already exists")
    assert names(target.parent) == ["a.inr"]
    wanted = [inrcodec.compress(source, prior="golden-image", effort="fast") for source in sources]
    assert target.read_bytes() in (wanted if force else [wanted[codes.index(0)]])


def test_two_batches_on_one_output(kills: ModuleType, tree: Path, tmp_path: Path) -> None:
    """One of them works, the other is told so and touches nothing; when the first is killed nobody has to wait."""
    out = tmp_path / "out"
    arguments = ["batch", str(tree), str(out), "--workers", "2", *OPTIONS]
    first = kills.forked(arguments, tmp_path / "first")
    first.wait_for_writes(1, 20)
    first.send(signal.SIGSTOP)
    second = kills.forked(arguments, tmp_path / "second")
    assert second.wait() == 2 and is_one_line((tmp_path / "second").read_text(), "another run is writing here")
    first.send(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    third = kills.forked(arguments, tmp_path / "third")
    assert third.wait() == 0
    assert names(out) == sorted(["manifest.jsonl", *(f"{name}.inr" for name in names(tree))])
