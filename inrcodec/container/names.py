"""Names of the entries of an archive: numbered names in a few bytes, others as a list, all safe to write files by.

docs/format.md, "Names", is the specification. What a file says is a name becomes a path on the reader's machine, so the
same rules hold on both sides: ``check_names`` lets nothing pass that leaves the output folder.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from typing import overload

from inrcodec.coding.bits import write_varint
from inrcodec.container.framing import ByteReader
from inrcodec.errors import DataError, FormatError, LimitError
from inrcodec.limits import Limits

MAX_NAME_BYTES = 1024
MAX_PART_BYTES = 255
NUMBERED_MOST = 16
"""Of ``Limits.max_metadata_bytes``: all numbered names together, which take a few bytes of the file."""
_MAX_WIDTH = 18
_PLAIN, _DEFLATED, _NUMBERED = 0, 1, 2
_FORBIDDEN_CATEGORIES = {"Cc", "Cs", "Zl", "Zp"}
_DRIVE = re.compile(r"[A-Za-z]:")
_DIGITS = re.compile(r"[0-9]+")


class NumberedNames(Sequence[str]):
    """Names prefix + number + suffix, numbers rising by one and padded with zeros to ``width``; made when asked for."""

    def __init__(self, prefix: str, first: int, width: int, suffix: str, count: int) -> None:
        self.prefix, self.first, self.width, self.suffix = prefix, first, width, suffix
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> list[str]: ...
    def __getitem__(self, i: int | slice) -> str | list[str]:
        numbers = range(self.first, self.first + self._count)[i]
        return [self._name(n) for n in numbers] if isinstance(numbers, range) else self._name(numbers)

    def __iter__(self) -> Iterator[str]:
        return (self._name(n) for n in range(self.first, self.first + self._count))

    def _name(self, number: int) -> str:
        return f"{self.prefix}{number:0{self.width}d}{self.suffix}"


def name_fault(name: str) -> str | None:
    """Why this cannot be the name of an entry; None if it can."""
    if not name or any(unicodedata.category(char) in _FORBIDDEN_CATEGORIES for char in name):
        return "is empty or has control characters"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"is over {MAX_NAME_BYTES} bytes"
    if "\\" in name or _DRIVE.match(name):
        return "has a backslash or a drive"
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "is not a relative path without '.' and '..'"
    if any(len(part.encode()) > MAX_PART_BYTES for part in parts):
        return f"has a part over {MAX_PART_BYTES} bytes"
    return None


def check_names(names: Sequence[str], error: type[DataError]) -> None:
    """Raise ``error`` for the first name that is unsafe, or comes twice."""
    # The numbers of numbered names only add digits, so the first and the last (the longest) speak for all.
    numbered = isinstance(names, NumberedNames)
    for name in (names[0], names[-1]) if numbered else names:
        fault = name_fault(name)
        if fault:
            raise error(f"name of an archive entry {fault}: {name[:80]!r}")
    if not numbered and len(set(names)) != len(names):
        seen: set[str] = set()
        twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise error(f"names of archive entries must be distinct, {twice!r} comes twice")


def write_names(names: Sequence[str]) -> bytes:
    """The shortest form of these names.

    Raises:
        DataError: a name is unsafe or comes twice.
    """
    check_names(names, DataError)
    joined = "\n".join(names).encode()
    plain = bytes([_PLAIN]) + _block(joined)
    numbered = find_numbering(names)
    if numbered is None:
        other = bytes([_DEFLATED]) + _block(zlib.compress(joined, 9))
    else:
        number = write_varint(numbered.first) + bytes([numbered.width])
        other = bytes([_NUMBERED]) + _block(numbered.prefix.encode()) + number + _block(numbered.suffix.encode())
    return min(plain, other, key=len)


def find_numbering(names: Sequence[str]) -> NumberedNames | None:
    """The numbering that gives these names, if there is one; the last run of digits that counts wins."""
    for digits in reversed(list(_DIGITS.finditer(names[0]))):
        if len(digits[0]) > _MAX_WIDTH:
            continue
        numbered = NumberedNames(
            names[0][: digits.start()], int(digits[0]), len(digits[0]), names[0][digits.end() :], len(names)
        )
        if all(a == b for a, b in zip(numbered, names, strict=True)):
            return numbered
    return None


def read_names(reader: ByteReader, count: int, limits: Limits) -> Sequence[str]:
    """The names at the reader.

    Raises:
        FormatError: damaged, unsafe, doubled, or not ``count`` names.
        LimitError: the names take more than ``limits.max_metadata_bytes``.
    """
    form = reader.byte("form of names")
    names: Sequence[str]
    if form == _NUMBERED:
        prefix = _read_text(reader, limits.max_metadata_bytes, "prefix of names")
        first, width = reader.varint("first number"), reader.byte("width of numbers")
        if not 1 <= width <= _MAX_WIDTH:
            raise FormatError(f"damaged .inrs file: expected numbers of width 1 to {_MAX_WIDTH}, got {width}")
        suffix = _read_text(reader, limits.max_metadata_bytes, "suffix of names")
        names = NumberedNames(prefix, first, width, suffix, count)
        most = NUMBERED_MOST * limits.max_metadata_bytes
        if count * len(names[-1]) > most:
            raise LimitError(f"names of the archive take {count * len(names[-1])} bytes, the limit is {most}")
    elif form in (_PLAIN, _DEFLATED):
        data = _read_block(reader, limits.max_metadata_bytes, "names")
        joined = _inflate(data, limits.max_metadata_bytes) if form == _DEFLATED else data
        # Counted before they are split: a list of empty names would take far more memory than its bytes.
        found = joined.count(b"\n") + 1
        if found != count:
            raise FormatError(f"damaged .inrs file: expected {count} names, got {found}")
        names = _decode(joined, "names").split("\n")
    else:
        raise FormatError(f"damaged .inrs file: expected names of form 0 to {_NUMBERED}, got {form}")
    check_names(names, FormatError)
    return names


def _block(data: bytes) -> bytes:
    return write_varint(len(data)) + data


def _read_text(reader: ByteReader, max_bytes: int, what: str) -> str:
    return _decode(_read_block(reader, max_bytes, what), what)


def _read_block(reader: ByteReader, max_bytes: int, what: str) -> bytes:
    length = reader.varint(f"length of {what}")
    if length > max_bytes:
        raise LimitError(f"{what} of the archive take {length} bytes, the limit is {max_bytes}")
    return reader.take(length, what)


def _decode(data: bytes, what: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise FormatError(f"damaged .inrs file: expected UTF-8 in {what}, got byte {data[error.start]:#04x}") from error


def _inflate(data: bytes, max_bytes: int) -> bytes:
    """A whole zlib stream, never more than ``max_bytes`` of content."""
    stream = zlib.decompressobj()
    try:
        out = stream.decompress(data, max_bytes + 1)
    except zlib.error as error:
        raise FormatError(f"damaged .inrs file: names do not inflate ({error})") from error
    if len(out) > max_bytes:
        raise LimitError(f"names of the archive take more than {max_bytes} bytes, which is the limit")
    if not stream.eof or stream.unused_data:
        raise FormatError("damaged .inrs file: expected one whole zlib stream of names")
    return out
