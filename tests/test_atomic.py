"""Files are whole or absent: nothing is replaced unasked, nothing is left behind."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import IO

import pytest

from inrcodec.ground.errors import DataError, LimitError
from inrcodec.ground.limits import DEFAULT_LIMITS
from inrcodec.maths import atomic
from inrcodec.maths.atomic import read_whole, write_whole


def test_written_and_read(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", b"one")
    assert read_whole(tmp_path / "a") == b"one"
    write_whole(tmp_path / "a", lambda file: file.write(b"two") and None, force=True)
    assert read_whole(tmp_path / "a") == b"two" and [p.name for p in tmp_path.iterdir()] == ["a"]


def test_nothing_is_replaced_without_force(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"mine")
    with pytest.raises(DataError, match="--force"):
        write_whole(tmp_path / "a", b"other")
    assert (tmp_path / "a").read_bytes() == b"mine"


def test_what_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    def slow(file: IO[bytes]) -> None:
        file.write(b"other")
        (tmp_path / "a").write_bytes(b"mine")

    with pytest.raises(DataError, match="exists already"):
        write_whole(tmp_path / "a", slow)
    assert (tmp_path / "a").read_bytes() == b"mine" and len(list(tmp_path.iterdir())) == 1


def test_a_failing_writer_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"mine")

    def fail(file: IO[bytes]) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "a", fail, force=True)
    assert (tmp_path / "a").read_bytes() == b"mine" and len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(DataError, match="No space left"):
        write_whole(tmp_path / "a", b"x")
    assert list(tmp_path.iterdir()) == []


def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: str, target: Path) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(atomic.os, "link", refuse)
    write_whole(tmp_path / "a", b"x")
    assert (tmp_path / "a").read_bytes() == b"x" and len(list(tmp_path.iterdir())) == 1


def test_places_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder"):
        write_whole(tmp_path / "no" / "a", b"x")
    with pytest.raises(DataError, match="is a folder"):
        write_whole(tmp_path, b"x", force=True)
    with pytest.raises(DataError, match="is a folder"):
        read_whole(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        read_whole(tmp_path / "none")


def test_reading_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(100))
    with pytest.raises(LimitError, match="100 bytes"):
        read_whole(tmp_path / "a", dataclasses.replace(DEFAULT_LIMITS, max_file_bytes=99))
    with pytest.raises(LimitError):
        read_whole(Path("/dev/zero"), dataclasses.replace(DEFAULT_LIMITS, max_file_bytes=99))
