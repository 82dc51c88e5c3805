"""Readers raise the package's own errors only, whatever a library does: one guard around all of them."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from inrcodec.errors import DataError, InrcodecError, LimitError
from inrcodec.signals.files import audio, fields, images, read_signal, signal_from_bytes, signal_kind

SCRIPT = Path(__file__).resolve().parents[2] / "fuzz" / "readers.py"
RAISED = [
    ValueError("bad\nvalue"),
    TypeError("bad"),
    struct.error("unpack"),
    SyntaxError("bad"),
    RuntimeError("Failed to decode"),
    NotImplementedError("Unknown pixel format flags 8"),
    OSError("broken"),
    EOFError(),
    IndexError("index"),
    AttributeError("no such"),
    ZeroDivisionError("division"),
    RecursionError("too deep"),
    OverflowError("too large"),
    Image.DecompressionBombError("bomb"),
    soundfile.SoundFileError("broken"),
]


def _bytes(kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "image":
        Image.new("L", (4, 4)).save(buffer, "PNG")
    elif kind == "audio":
        soundfile.write(buffer, np.zeros(9), 8000, "PCM_16", format="WAV")
    else:
        np.save(buffer, np.arange(6.0).reshape(2, 3))
    return buffer.getvalue()


_READERS = {"image": (images, "read_image"), "audio": (audio, "read_audio"), "field": (fields, "read_npy")}


def _break_reader(monkeypatch: pytest.MonkeyPatch, kind: str, error: BaseException) -> None:
    module, name = _READERS[kind]

    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(module, name, fail)


@pytest.mark.parametrize("kind", ["image", "audio", "field"])
def test_what_libraries_raise_becomes_one_line(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for error in RAISED:
        _break_reader(monkeypatch, kind, error)
        with pytest.raises(DataError, match=r"^x\.bin: the \w+ cannot be read: ") as caught:
            signal_from_bytes(_bytes(kind), "x.bin")
        assert "\n" not in str(caught.value) and not str(caught.value).endswith(": ")
        assert caught.value.__cause__ is error
    _break_reader(monkeypatch, kind, MemoryError())
    with pytest.raises(LimitError, match="memory"):
        signal_from_bytes(_bytes(kind), "x.bin")


def test_interruptions_and_own_errors_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (KeyboardInterrupt(), SystemExit(1), LimitError("too large")):
        _break_reader(monkeypatch, "image", error)
        with pytest.raises(type(error)):
            signal_from_bytes(_bytes("image"), "x.png")


def test_bugs_of_this_package_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """An assertion that fails here is a bug; one that fails in a library is a corrupt file."""
    for module, error in (("inrcodec.signals.files.images", AssertionError), ("PIL.AnyPlugin", DataError)):
        scope: dict[str, object] = {"__name__": module}
        exec("def read_image(*arguments, **options):\n    assert False, 'broken'", scope)
        monkeypatch.setattr(images, "read_image", scope["read_image"])
        with pytest.raises(error):
            signal_from_bytes(_bytes("image"), "x.png")


def test_warnings_of_libraries_stay_off_the_terminal(recwarn: pytest.WarningsRecorder, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "TIFF")
    data = buffer.getvalue()
    for end in range(len(data) - 60, len(data)):
        (tmp_path / "cut.tif").write_bytes(data[:end])
        try:
            read_signal(tmp_path / "cut.tif")
        except InrcodecError:
            continue
    assert not recwarn.list


def test_kinds_are_told_without_reading() -> None:
    for kind in ("image", "audio", "field"):
        assert signal_kind(_bytes(kind)) == kind
        assert signal_kind(_bytes(kind)[:-3]) == kind
    for data in (b"", b"hello", b"\x8eINR" + bytes(20), bytes(64)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert signal_kind(data) is None


@pytest.mark.parametrize("each", [15, pytest.param(300, marks=pytest.mark.slow)])
def test_mutants_of_every_format_raise_no_foreign_error(each: int) -> None:
    """Some ninety formats, each in a process of its own; ``fuzz/readers.py --count 200000`` is the long run."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--count", str(each * 95), "--seed", "1"],
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.splitlines()[-1].split()[3]) > 60, done.stdout
