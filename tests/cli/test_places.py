"""Where commands read and write: stdin and stdout, pipes, folders, and outputs that would replace each other."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from PIL import Image, ImageOps

import inrcodec
from inrcodec.cli import common, main
from inrcodec.signals.header import SignalHeader
from inrcodec.storage import write_whole

FAST = ("--effort", "fast", "--prior", "images32")
Run = Callable[..., tuple[int, bytes, str]]


@pytest.fixture
def folder(tmp_path: Path, photograph: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with two thumbnails of one name."""
    tile = Image.fromarray(photograph[40:56, 170:194])
    tile.save(tmp_path / "a.png")
    tile.save(tmp_path / "a.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Run a command; return its exit code, stdout and stderr."""

    def call(*arguments: str) -> tuple[int, bytes, str]:
        code = main(list(arguments))
        captured = capfdbinary.readouterr()
        return code, captured.out, captured.err.decode()

    return call


@pytest.fixture
def coded(folder: Path) -> Path:
    """An .inr file of a thumbnail."""
    data = inrcodec.compress("a.png", effort="fast", prior="images32")
    (folder / "coded.inr").write_bytes(data)
    return Path("coded.inr")


def _stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def _names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("a.png", "a.jpg"), "a.png and a.jpg would both be written to a.inr"),
        (("a.png", "a.jpg", "-f"), "would both"),
        (("a.png", "a.png"), "given twice"),
        (("a.png", "./a.png", "-o", "set.inrs"), "given twice"),
        (("a.png", "d/a.png", "-o", "out/"), "out/a.inr"),
        (("-", "-", "-o", "out/"), "stdin: given twice"),
        (("d", "-o", "out/"), "d/x/b.jpg and d/x/b.png would both"),
        (("a.png", "-o", "x.png"), "decompress"),
        (("a.png", "-o", "x.JPG"), "-o x.inr"),
        (("a.png", "-o", "x.heic"), "not .heic"),
        (("",), "empty"),
        (("a.png", "-o", ""), "empty"),
    ],
)
def test_outputs_that_collide_are_found_before_work_begins(
    folder: Path, run: Run, arguments: tuple[str, ...], words: str
) -> None:
    (folder / "d" / "x").mkdir(parents=True)
    (folder / "d" / "a.png").write_bytes((folder / "a.png").read_bytes())
    for name in ("b.png", "b.jpg"):
        (folder / "d" / "x" / name).write_bytes((folder / f"a.{name[2:]}").read_bytes())
    before = _names(folder)
    code, out, err = run("compress", *arguments, *FAST)
    assert (code, out) == (2, b"") and err.count("\n") == 1 and words in err, err
    assert _names(folder) == before and not (folder / "out").exists()


def test_an_existing_output_is_found_before_the_first_is_written(folder: Path, run: Run) -> None:
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes())
    (folder / "b.inr").write_text("mine")
    assert run("compress", "a.png", "b.png", *FAST)[0] == 1
    assert not (folder / "a.inr").exists()


def test_stdin_and_stdout(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = inrcodec.compress("a.png", effort="fast", prior="images32")
    for source, output in (("-", ()), ("-", ("-o", "-")), ("a.png", ("-o", "-"))):
        _stdin(monkeypatch, (folder / "a.png").read_bytes())
        code, out, err = run("compress", source, *output, *FAST)
        assert (code, out) == (0, expected) and err.startswith("stdout: ") and err.count("\n") == 1
    _stdin(monkeypatch, expected)
    code, out, err = run("decompress", "-", "--json")
    assert code == 0 and Image.open(io.BytesIO(out)).format == "PNG"
    assert json.loads(err)["input"] == "stdin" and json.loads(err)["output"] == "stdout"
    _stdin(monkeypatch, expected)
    code, out, _ = run("decompress", "-", "-o", "-", "--format", "jpg", "-q")
    assert code == 0 and Image.open(io.BytesIO(out)).format == "JPEG"
    _stdin(monkeypatch, expected)
    code, out, _ = run("info", "-", "--json")
    assert code == 0 and json.loads(out)["input"] == "stdin"
    assert _names(folder) == ["a.jpg", "a.png"]


def test_stdin_to_files(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _stdin(monkeypatch, (folder / "a.png").read_bytes())
    assert run("compress", "-", "-o", "new/", *FAST)[0] == 0
    assert _names(folder / "new") == ["stdin.inr"]
    _stdin(monkeypatch, (folder / "a.png").read_bytes())
    code, out, _ = run("compress", "-", "a.jpg", "-o", "-", *FAST)
    assert code == 2 and out == b""
    (folder / "-").write_bytes((folder / "a.png").read_bytes())
    assert run("compress", "./-", "-o", "named.inr", *FAST)[0] == 0
    assert run("compress", "a.png", "-o", "./-", "-f", *FAST)[0] == 0
    assert (folder / "-").read_bytes() == (folder / "named.inr").read_bytes()


def test_bad_stdin_is_one_line(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in ("compress", "decompress"):
        for data, word in ((b"", "stdin"), (b"hello", "stdin")):
            _stdin(monkeypatch, data)
            code, out, err = run(command, "-", "-o", "out")
            assert (code, out) == (1, b"") and err.count("\n") == 1 and word in err
        terminal = io.TextIOWrapper(io.BytesIO())
        monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
        monkeypatch.setattr(sys, "stdin", terminal)
        code, _, err = run(command, "-", "-o", "out")
        assert code == 2 and "terminal" in err and err.count("\n") == 1
    assert _names(folder) == ["a.jpg", "a.png"]


def test_pipes_and_devices_are_written_into(folder: Path, coded: Path, run: Run) -> None:
    os.mkfifo(folder / "pipe.png")
    for force in ((), ("-f",)):
        received: list[bytes] = []
        reader = threading.Thread(target=lambda got=received: got.append((folder / "pipe.png").read_bytes()))
        reader.start()
        assert run("compress", "a.png", "-o", "pipe.png", "-q", *force, *FAST)[0] == 0
        reader.join(30)
        assert received == [coded.read_bytes()] and (folder / "pipe.png").is_fifo()
    for name in ("/dev/null", "null.png"):
        if name != "/dev/null":
            (folder / name).symlink_to("/dev/null")
        for arguments in (("compress", "a.png", *FAST), ("decompress", str(coded))):
            assert run(*arguments, "-f", "-o", name)[0] == 0
            assert Path(name).is_char_device()


def test_dev_stdout_shares_the_position_of_stdout(folder: Path, coded: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(inrcodec.__file__).parents[1])}
    script = f"echo first; {sys.executable} -m inrcodec decompress -f {coded} -o /dev/stdout --format ppm; echo last"
    with open(folder / "both.bin", "wb") as file:
        subprocess.run(["sh", "-c", script], env=environment, stdout=file, stderr=subprocess.PIPE, check=True)
    data = (folder / "both.bin").read_bytes()
    assert data.startswith(b"first\nP6") and data.endswith(b"last\n") and b"decode" not in data
    assert os.path.lexists("/dev/stdout")


def test_a_gone_reader_is_no_traceback(folder: Path, coded: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(inrcodec.__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, "-m", "inrcodec", "decompress", str(coded), "-o", "-", "--scale", "16", "-q"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    process.wait()
    process.stderr.close()
    assert b"Traceback" not in err and b"Exception" not in err


def test_content_for_a_pipe_is_whole_or_not_written(folder: Path) -> None:
    os.mkfifo(folder / "pipe")

    def fail(file: IO[bytes]) -> None:
        file.write(b"half")
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_whole(folder / "pipe", fail)  # opening the pipe would wait for a reader


def test_a_slash_makes_a_folder(folder: Path, coded: Path, run: Run) -> None:
    assert run("compress", "a.png", "-o", "one/two/", "-q", *FAST)[0] == 0
    assert run("decompress", str(coded), "-o", "three/", "-q")[0] == 0
    assert _names(folder / "one") == ["two/a.inr"] and _names(folder / "three") == ["coded.png"]


def test_format_names_what_the_output_does_not(folder: Path, coded: Path, run: Run) -> None:
    assert run("decompress", str(coded), "--format", "webp", "-q")[0] == 0
    assert run("decompress", str(coded), "--format", ".tif", "-o", "plain", "-q")[0] == 0
    assert Image.open("coded.webp").format == "WEBP" and Image.open("plain").format == "TIFF"
    code, _, err = run("decompress", str(coded), "--format", "png", "-o", "x.jpg")
    assert code == 2 and "--format" in err
    code, _, err = run("decompress", str(coded), "--format", "xyz", "-o", "-")
    assert code == 1 and err.startswith("inrcodec: stdout: unsupported suffix")


def _tree(folder: Path) -> None:
    (folder / "d" / "sub" / "deep").mkdir(parents=True)
    (folder / "d" / ".git").mkdir()
    for name in ("x.png", "sub/x.png", "sub/deep/y.png", ".git/z.png"):
        (folder / "d" / name).write_bytes((folder / "a.png").read_bytes())
    (folder / "d" / "x.txt").write_text("notes")
    (folder / "d" / "sub" / "Thumbs.db").write_bytes(b"")


def test_folders_are_searched_recursively(folder: Path, run: Run) -> None:
    _tree(folder)
    for command, name in ((("d",), "d.inrs"), (("d", "-o", "s.inrs"), "s.inrs")):
        code, _, err = run("compress", *command, *FAST)
        assert code == 0 and err.count("\n") == 1 and "skipped 2 files" in err and "d/x.txt" in err
        assert inrcodec.open(name).names == ["sub/deep/y.png", "sub/x.png", "x.png"]
    assert run("verify", "d.inrs", "d", "-q")[0] == 0
    code, out, _ = run("compress", "d", "-o", "-", "-q", *FAST)
    assert code == 0 and out == (folder / "d.inrs").read_bytes()
    code, _, _ = run("compress", "d", "-o", "out/", "-q", *FAST)
    assert code == 0 and _names(folder / "out") == ["sub/deep/y.inr", "sub/x.inr", "x.inr"]
    assert run("decompress", "d.inrs", "-o", "back", "-q")[0] == 0
    assert _names(folder / "back") == ["sub/deep/y.png", "sub/x.png", "x.png"]


def test_a_corrupt_file_of_a_folder_is_named_and_the_rest_written(folder: Path, run: Run) -> None:
    _tree(folder)
    (folder / "d" / "cut.png").write_bytes((folder / "a.png").read_bytes()[:300])
    for output in ("s.inrs", "out/"):
        code, _, err = run("compress", "d", "-o", output, *FAST)
        assert code == 1 and err.count("\n") == 2 and "d/cut.png" in err and "cannot be" in err
    assert len(inrcodec.open("s.inrs")) == 3 and len(_names(folder / "out")) == 3
    code, _, err = run("compress", "d/cut.png", "a.png", "-o", "t.inrs", *FAST)
    assert code == 1 and not Path("t.inrs").exists()


def test_a_stray_signal_of_another_kind_is_left_out_of_an_archive(folder: Path, run: Run) -> None:
    _tree(folder)
    np.save(folder / "d" / "field.npy", np.arange(12.0).reshape(3, 4))
    code, _, err = run("compress", "d", "-o", "s.inrs", *FAST)
    assert code == 1 and "d/field.npy" in err and "one kind" in err and len(inrcodec.open("s.inrs")) == 3


def test_a_folder_without_signals_is_refused(folder: Path, run: Run) -> None:
    (folder / "d").mkdir()
    (folder / "d" / "notes.txt").write_text("notes")
    code, _, err = run("compress", "d", *FAST)
    assert code == 1 and "d/notes.txt" in err and err.count("\n") == 1 and not Path("d.inrs").exists()


def test_entries_of_one_stem_are_both_decompressed(folder: Path, run: Run) -> None:
    assert run("compress", "a.png", "a.jpg", "-o", "s.inrs", "-q", *FAST)[0] == 0
    assert run("decompress", "s.inrs", "-q")[0] == 0
    assert _names(folder / "s") == ["a.jpg.png", "a.png.png"]


def test_compressed_inputs_are_named(folder: Path, coded: Path, run: Run) -> None:
    for arguments in ((str(coded),), (str(coded), "-o", "y.inr"), (str(coded), "-f")):
        code, _, err = run("compress", *arguments)
        assert code == 1 and "already compressed" in err and "decompress" in err


@pytest.mark.parametrize("orientation", range(1, 9))
def test_sizes_and_regions_are_those_of_the_image_as_shown(orientation: int) -> None:
    """A region of the image as Pillow shows it is the stored region turned in the same way."""
    rows, columns, text = 5, 7, "1,2,3,2"
    stored = Image.fromarray(np.arange(rows * columns, dtype=np.uint8).reshape(rows, columns))
    header = SignalHeader("image", "gray", "u8", (rows, columns), 1)

    def as_shown(image: Image.Image) -> Image.Image:
        image.getexif()[0x0112] = orientation
        return ImageOps.exif_transpose(image)

    region = common.parse_region(text, header, orientation)
    assert region is not None
    top, left, height, width = region
    part = Image.fromarray(np.asarray(stored)[top : top + height, left : left + width])
    expected = as_shown(stored).crop((1, 2, 4, 4))
    np.testing.assert_array_equal(np.asarray(as_shown(part)), np.asarray(expected))
    size = common.parse_size("30x20", None, header, orientation)
    assert size is not None and as_shown(Image.new("L", (size[1], size[0]))).size == (30, 20)
    if orientation > 1:
        with pytest.raises(inrcodec.errors.UsageError, match="out of range"):
            common.parse_region("3,2,3,3", header, 6)


def test_orientation_on_the_command_line(folder: Path, run: Run) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open("a.png").save("turned.jpg", exif=exif, quality=95)
    assert run("compress", "turned.jpg", "-q", *FAST)[0] == 0
    code, out, _ = run("info", "turned.inr")
    assert code == 0 and b"orientation:    6 (shown rotated by 90 degrees clockwise)" in out
    assert run("decompress", "turned.inr", "-q", "-o", "whole.png", "--size", "32x48")[0] == 0
    assert run("decompress", "turned.inr", "-q", "-o", "part.png", "--size", "32x48", "--region", "4,8,10,6")[0] == 0
    whole, part = (np.asarray(ImageOps.exif_transpose(Image.open(name))) for name in ("whole.png", "part.png"))
    assert whole.shape == (48, 32, 3)
    np.testing.assert_array_equal(part, whole[8:14, 4:14])


def test_info_names_variable_units_and_axes(folder: Path, run: Run) -> None:
    from scipy.io import netcdf_file

    with netcdf_file("t.nc", "w") as file:
        for name, n in (("time", 2), ("lat", 8), ("lon", 12)):
            file.createDimension(name, n)
        variable = file.createVariable("t2m", "f4", ("time", "lat", "lon"))
        variable[:] = np.random.default_rng(1).normal(size=(2, 8, 12))
        variable.units = "K"
    assert run("compress", "t.nc", "--select", "time=1", "-q", "--effort", "fast")[0] == 0
    code, out, _ = run("info", "t.inr")
    assert code == 0 and all(line in out for line in (b"variable:       t2m", b"units:          K", b"lat, lon"))
    code, out, _ = run("info", "t.inr", "--json")
    described = json.loads(out)
    assert described["axes"] == ["lat", "lon"] and described["selected"] == {"time": 1.0}
