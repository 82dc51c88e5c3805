"""Where commands read and write: files, folders, ``-`` for stdin and stdout, pipes and devices.

All outputs of a command are known and checked before it begins to work: no two inputs share one, none is an input, and
none is a file that ``--force`` would have to replace.
"""

from __future__ import annotations

import mimetypes
import os
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import inrcodec
from inrcodec.container.framing import file_kind
from inrcodec.errors import DataError, FormatError, UsageError
from inrcodec.limits import DEFAULT_LIMITS
from inrcodec.signals.files import read_signal, signal_from_bytes, signal_kind
from inrcodec.signals.signal import Signal
from inrcodec.storage import check_writable, is_special, read_whole, write_whole

if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    # Generic from click 8.5 on only.
    _ParamType = click.ParamType

STREAM = Path("-")
"""Names stdin as an input and stdout as an output."""
CODED_SUFFIXES = (".inr", ".inrs")
_WITH_ARTICLE = {"image": "an image", "audio": "audio", "field": "a field"}
MAX_SHOWN = 3
"""Number of skipped files that a message names."""


@dataclass(frozen=True)
class Output:
    """Holds what ``--output`` names.

    Attributes:
        path: the file or folder.
        is_folder: whether it is a folder, or must become one because its name ends in a slash.
    """

    path: Path
    is_folder: bool

    @property
    def is_stream(self) -> bool:
        """Return whether it is stdout."""
        return self.path == STREAM and not self.is_folder


class InputType(_ParamType):
    """Converts the name of an input: ``-`` is stdin, ``./-`` a file of that name, and no name may be empty."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path; a name that would be taken for stdin becomes absolute."""
        if isinstance(value, Path):
            return value
        if not value:
            self.fail("a file name is empty", param, ctx)
        path = Path(value)
        return path.absolute() if path == STREAM and value != "-" else path


class OutputType(_ParamType):
    """Converts the value of ``--output``: ``-`` is stdout, and a name that ends in a slash is a folder."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Output:
        """Return the output that a name stands for."""
        if isinstance(value, Output):
            return value
        if not value:
            self.fail("the output's name is empty", param, ctx)
        path = Path(value)
        if value == "-":
            return Output(path, False)
        is_folder = value.endswith(("/", os.sep)) or path.is_dir()
        return Output(path.absolute() if path == STREAM else path, is_folder)


INPUT, OUTPUT = InputType(), OutputType()


@dataclass(frozen=True)
class Source:
    """Holds one input file.

    Attributes:
        path: the file, or ``STREAM``.
        entry: its name in an archive: relative to the folder in which it was found.
        is_from_folder: whether it was found in a folder, not named on the command line.
    """

    path: Path
    entry: str
    is_from_folder: bool = False


def shown(path: Path) -> str:
    """Return what messages and reports call an input."""
    return "stdin" if path == STREAM else str(path)


def read_stream() -> bytes:
    """Return all that stdin holds.

    Raises:
        UsageError: stdin is a terminal. DataError: it cannot be read, or exceeds the limit of a file.
    """
    if sys.stdin is None:
        raise UsageError("stdin is closed: pipe a file into the command, or name one instead of -")
    if sys.stdin.isatty():
        raise UsageError("stdin is a terminal: pipe a file into the command, or name one instead of -")
    try:
        data = sys.stdin.buffer.read(DEFAULT_LIMITS.max_file_bytes + 1)
    except OSError as error:
        raise DataError(f"stdin: cannot be read: {error.strerror or error}") from None
    if len(data) > DEFAULT_LIMITS.max_file_bytes:
        raise DataError(f"stdin: exceeds the limit of {DEFAULT_LIMITS.max_file_bytes} bytes")
    return data


def open_coded(path: Path, prior: str | None = None) -> inrcodec.InrFile:
    """Open an ``.inr`` or ``.inrs`` file, or the one in stdin; errors name the file."""
    data = read_stream() if path == STREAM else read_whole(path)
    if file_kind(data) is None:
        kind = signal_kind(data)
        hint = f"; it is {_WITH_ARTICLE[kind]}: use compress" if kind else ""
        raise FormatError(f"{shown(path)}: {'not an .inr file' if data else 'empty, expected an .inr file'}{hint}")
    try:
        return inrcodec.open(data, prior=prior)
    except FormatError as error:
        raise FormatError(f"{shown(path)}: {error}") from None


def read_source(
    path: Path, variable: str | None, select: Mapping[str, float], frame: int | None = None, convert: bool = False
) -> Signal:
    """Return the signal in a file or in stdin, as ``read_signal`` does; its format follows from its content."""
    if path == STREAM:
        data = read_stream()
        return signal_from_bytes(data, "stdin", variable=variable, select=select, frame=frame, convert=convert)
    return read_signal(path, variable=variable, select=select, frame=frame, convert=convert)


def find_sources(inputs: Sequence[Path]) -> list[Source]:
    """Return the files that inputs name; folders are searched recursively, in sorted order.

    Hidden files and folders, and files in folders that are no images, audio or fields, are left out; one line on stderr
    says how many of the latter.

    Raises:
        DataError: a folder holds no signal.
        UsageError: a file is named twice.
    """
    sources: list[Source] = []
    skipped: list[Path] = []
    for path in inputs:
        if path.is_dir():
            found, strays = _search(path)
            if not found:
                reason = f"holds no image, audio or field: skipped {_listed(strays)}" if strays else "holds no files"
                raise DataError(f"{path}: the folder {reason}")
            sources += found
            skipped += strays
        else:
            sources.append(Source(path, shown(path) if path == STREAM else path.name))
    seen: dict[str, Path] = {}
    for source in sources:
        if seen.setdefault(_identity(source.path), source.path) is not source.path:
            raise UsageError(f"{shown(source.path)}: given twice: name every input once")
    if skipped:
        say_skipped(skipped, "not an image, audio or field")
    return sources


def _search(folder: Path) -> tuple[list[Source], list[Path]]:
    """Return the signals in a folder and its sub-folders, and the other files."""
    sources, strays = [], []
    for where, subfolders, names in os.walk(folder, onerror=_unreadable):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in names:
            path = Path(where, name)
            if name.startswith(".") or not path.is_file():
                continue
            try:
                is_signal = signal_kind(read_whole(path)) is not None
            except DataError:
                # It is reported as unreadable where it is read.
                is_signal = True
            if is_signal:
                sources.append(Source(path, path.relative_to(folder).as_posix(), True))
            else:
                strays.append(path)
    return sorted(sources, key=lambda source: source.path), sorted(strays)


def _unreadable(error: OSError) -> None:
    raise DataError(f"{error.filename}: the folder cannot be read: {error.strerror}") from None


def _listed(paths: Sequence[Path]) -> str:
    names = ", ".join(str(path) for path in paths[:MAX_SHOWN])
    return names if len(paths) <= MAX_SHOWN else f"{names} and {len(paths) - MAX_SHOWN} more"


def say_skipped(paths: Sequence[Path], reason: str) -> None:
    """Say in one line on stderr which files were left out, and why."""
    from inrcodec.cli.common import printable

    count = f"{len(paths)} file{'s' if len(paths) > 1 else ''}"
    click.echo(f"inrcodec: skipped {count}, {reason}: {printable(_listed(paths))}", err=True)


def check_outputs(pairs: Sequence[tuple[Path, Path]], *, force: bool, one_input: bool = False) -> None:
    """Check all outputs before work begins.

    Folders of outputs that do not exist yet are created later, by ``prepare_folder``.

    Args:
        pairs: the input and the output of each.
        force: whether existing files are replaced.
        one_input: whether they are the entries of one archive.

    Raises:
        UsageError: two inputs have one output, or an output is an input.
        DataError: an output exists and ``force`` is not set, or could not be written.
    """
    taken: dict[str, tuple[Path, Path]] = {}
    for source, target in pairs:
        if target == STREAM or is_special(target):
            continue
        other, first = taken.setdefault(_identity(target), (source, target))
        if one_input and first is not target:
            raise UsageError(f"{shown(source)}: two entries would be written to {target}: choose with --entry")
        if other is not source:
            raise UsageError(
                f"{shown(other)} and {shown(source)} would both be written to {target}: rename one, or write an "
                "archive with -o NAME.inrs"
            )
    for source, target in pairs:
        _check_not_input(source, target)
    for other, target in taken.values():
        if other != STREAM and target != STREAM and _identity(other) in taken:
            raise UsageError(f"{other}: is an input and an output: name another output with -o")
    for _, target in pairs:
        if target != STREAM and target.parent.is_dir():
            check_writable(target, force=force)


def _check_not_input(source: Path, target: Path) -> None:
    """Reject an input that is compressed already where its default output would be itself."""
    if source == STREAM or _identity(source) != _identity(target) or is_special(source):
        return
    coded = file_kind(read_whole(source)[:16])
    if coded is not None:
        raise DataError(f"{source}: already compressed, an .{coded} file: use decompress to get the original back")


def _identity(path: Path) -> str:
    """Return a text that two names of one file share; links to a file count as files of their own."""
    if path == STREAM:
        return "-"
    return os.path.normcase(os.path.join(os.path.realpath(path.parent), path.name))


def prepare_folder(path: Path) -> None:
    """Create a folder and those above it, where they are missing."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be created: {error.strerror}") from None


def check_stdout(what: str) -> None:
    """Reject a terminal as the place for binary data."""
    if sys.stdout is not None and sys.stdout.isatty():
        raise UsageError(f"stdout is a terminal, which cannot show {what}: redirect it, or name a file with -o")


def write_output(target: Path, data: bytes, *, force: bool) -> None:
    """Write a file, or to stdout where ``target`` is ``STREAM``."""
    if target == STREAM:
        if sys.stdout is None:
            raise DataError("stdout: cannot be written: it is closed")
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    prepare_folder(target.parent)
    write_whole(target, data, force=force)


def is_stdout(target: Path) -> bool:
    """Return whether a path is ``STREAM``, or names the open file that stdout is, as /dev/stdout does."""
    if target == STREAM:
        return True
    try:
        own, other = os.fstat(1), target.stat()
    except OSError:
        return False
    is_null = stat.S_ISCHR(other.st_mode) and not os.isatty(1)
    return is_special(target) and not is_null and (own.st_dev, own.st_ino) == (other.st_dev, other.st_ino)


def check_suffix(target: Path) -> None:
    """Reject an output of ``compress`` whose suffix says that it is in another format.

    Raises:
        UsageError: the suffix is that of an image, audio or field.
    """
    suffix = target.suffix.lower()
    if suffix in CODED_SUFFIXES or not suffix or is_special(target):
        return
    if suffix in _foreign_suffixes() or (mimetypes.MimeTypes().guess_type(target.name)[0] or "").startswith(
        ("image/", "audio/", "video/", "text/")
    ):
        raise UsageError(
            f"{target}: compress writes .inr and .inrs files, not {suffix}: use -o {target.with_suffix('.inr')}, or "
            "decompress to convert a file back"
        )


def _foreign_suffixes() -> set[str]:
    from PIL import Image

    from inrcodec.signals.files import audio, images

    Image.init()
    return {
        *images.SUFFIXES,
        *audio.SUFFIXES,
        *Image.registered_extensions(),
        *(".npy", ".npz", ".nc", ".nc4", ".cdf", ".h5", ".hdf5", ".zarr", ".grib", ".grb", ".grib2"),
        *(".mp3", ".opus", ".m4a", ".aac", ".heic", ".heif", ".jxl", ".dng", ".safetensors", ".zip", ".pdf"),
    } - set(CODED_SUFFIXES)
