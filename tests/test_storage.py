"""Test atomic writes: files are whole or absent, nothing is replaced unasked, nothing is left behind."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import IO, Any

import pytest

from inrcodec import storage
from inrcodec.errors import DataError, LimitError
from inrcodec.limits import DEFAULT_LIMITS
from inrcodec.storage import lock, read_whole, sweep, write_whole


def test_round_trip(tmp_path: Path) -> None:
    def write_two(file: IO[bytes]) -> None:
        file.write(b"two")

    write_whole(tmp_path / "a", b"one")
    assert read_whole(tmp_path / "a") == b"one"
    write_whole(tmp_path / "a", write_two, force=True)
    assert read_whole(tmp_path / "a") == b"two" and [p.name for p in tmp_path.iterdir()] == ["a"]


def test_nothing_is_replaced_without_force(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"mine")
    with pytest.raises(DataError, match="--force"):
        write_whole(tmp_path / "a", b"other")
    assert (tmp_path / "a").read_bytes() == b"mine"


def test_a_file_that_appears_during_writing_is_not_replaced(tmp_path: Path) -> None:
    def slow(file: IO[bytes]) -> None:
        file.write(b"other")
        (tmp_path / "a").write_bytes(b"mine")

    with pytest.raises(DataError, match="already exists"):
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


def test_a_full_disk_is_a_named_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="No space left"):
        write_whole(tmp_path / "a", b"x")
    assert list(tmp_path.iterdir()) == []


def test_file_systems_without_hard_links_are_supported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    write_whole(tmp_path / "a", b"x")
    assert (tmp_path / "a").read_bytes() == b"x" and len(list(tmp_path.iterdir())) == 1


def test_folders_and_missing_paths_are_rejected(tmp_path: Path) -> None:
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


def test_only_temporary_files_of_dead_writers_are_swept(tmp_path: Path) -> None:
    dead, foreign, locked = tmp_path / ".inrcodec-12ab.tmp", tmp_path / "mine.tmp", tmp_path / ".inrcodec-34cd.tmp"
    for path in (dead, foreign, locked):
        path.write_bytes(b"half")
    with open(locked, "r+b") as file:
        assert lock(file.fileno()) is True
        sweep(tmp_path)
        assert sorted(tmp_path.iterdir()) == [locked, foreign]
    sweep(tmp_path)
    sweep(tmp_path / "no such folder")
    assert [p.name for p in tmp_path.iterdir()] == ["mine.tmp"]


def test_a_file_being_written_is_not_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It survives a sweep during the write, and one between the last byte and the move."""
    listings: list[list[str]] = []

    def sweep_and_list() -> None:
        sweep(tmp_path)
        listings.append([p.name[:10] for p in tmp_path.iterdir()])

    def slow(file: IO[bytes]) -> None:
        file.write(b"other")
        sweep_and_list()

    replace = os.replace

    def replace_after_sweep(*paths: Any) -> None:
        sweep_and_list()
        replace(*paths)

    monkeypatch.setattr(os, "replace", replace_after_sweep)
    write_whole(tmp_path / "a", slow, force=True)
    assert listings == [[".inrcodec-"], [".inrcodec-"]] and [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_file_that_is_swept_before_it_is_locked_is_created_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This happens when two processes write to a folder for the first time at the same moment."""
    original, calls = storage.lock, []

    def late(descriptor: int, *, wait: bool = False) -> bool | None:
        calls.append(wait)
        if wait and calls.count(True) == 1:
            sweep(tmp_path)
        return original(descriptor, wait=wait)

    monkeypatch.setattr(storage, "lock", late)
    write_whole(tmp_path / "a", b"x")
    assert calls == [True, False, True] and [p.name for p in tmp_path.iterdir()] == ["a"]


def test_names_of_any_characters_and_length(tmp_path: Path) -> None:
    for name in ("a" * 255, "\N{GRINNING FACE}" * 63, "new\nline", b"\xff\xfe.inr".decode(errors="surrogateescape")):
        write_whole(tmp_path / name, b"x")
        assert read_whole(tmp_path / name) == b"x"
    with pytest.raises(DataError, match="too long"):
        write_whole(tmp_path / ("a" * 256), b"x")
    assert len(list(tmp_path.iterdir())) == 4


def test_a_symbolic_link_at_the_path_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"mine")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("link", "dangling"):
        with pytest.raises(DataError, match="already exists"):
            write_whole(tmp_path / name, b"x")
        write_whole(tmp_path / name, b"x", force=True)
        assert not (tmp_path / name).is_symlink() and read_whole(tmp_path / name) == b"x"
    assert read_whole(tmp_path / "target") == b"mine" and not (tmp_path / "nowhere").exists()


def test_a_failing_move_leaves_no_empty_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(DataError, match="not supported"):
        write_whole(tmp_path / "a", b"x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [b"longer than it was", b"e"])
def test_a_file_that_changes_while_it_is_read_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: bytes
) -> None:
    (tmp_path / "a").write_bytes(b"before")
    fstat = os.fstat
    seen: list[int] = []

    def changing(descriptor: int) -> os.stat_result:
        """Change the file between the two calls, as another process would."""
        if seen:
            (tmp_path / "a").write_bytes(change)
            os.utime(tmp_path / "a", ns=(1, 1))
        seen.append(descriptor)
        return fstat(descriptor)

    monkeypatch.setattr(os, "fstat", changing)
    with pytest.raises(DataError, match="changed while"):
        read_whole(tmp_path / "a")
    assert len(seen) == 2
