"""Names of the entries of an archive: numbered names in a few bytes, others as a list, all safe as output paths.

docs/format.md, "Names", is the specification. A name from a file becomes a path on the reader's machine, so writer and
reader apply the same rules: ``check_names`` rejects every name that could leave the output folder.
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
MAX_NUMBERED_FACTOR = 16
"""All numbered names together may take this many times ``Limits.max_metadata_bytes``: the file holds none of them."""
_MAX_WIDTH = 18
_PLAIN, _DEFLATED, _NUMBERED = 0, 1, 2
_FORBIDDEN_CATEGORIES = {"Cc", "Cs", "Zl", "Zp"}
_DRIVE = re.compile(r"[A-Za-z]:")
_DIGITS = re.compile(r"[0-9]+")


class NumberedNames(Sequence[str]):
    """Is a sequence of names prefix + number + suffix, each built on access.

    Args:
        prefix: the text before the number.
        first: the first number; the following ones rise by one.
        width: the minimum number of digits; shorter numbers are padded with zeros.
        suffix: the text after the number.
        count: the number of names.
    """

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
    """Return why this cannot be the name of an entry, as the end of a sentence; None if it can."""
    if not name or any(unicodedata.category(char) in _FORBIDDEN_CATEGORIES for char in name):
        return "is empty or has control characters"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"exceeds the limit of {MAX_NAME_BYTES} bytes"
    if "\\" in name or _DRIVE.match(name):
        return "has a backslash or a drive letter"
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "is not a relative path without '.' and '..'"
    if any(len(part.encode()) > MAX_PART_BYTES for part in parts):
        return f"has a part that exceeds the limit of {MAX_PART_BYTES} bytes"
    return None


def check_names(names: Sequence[str], error: type[DataError]) -> None:
    """Check that all names are safe and distinct.

    Args:
        names: at least one.
        error: the type of the error to raise.

    Raises:
        DataError: of the type ``error``, for the first name that is unsafe or occurs twice.
    """
    # Numbered names differ in digits only, so the first and the last (the longest) stand for all.
    numbered = isinstance(names, NumberedNames)
    for name in (names[0], names[-1]) if numbered else names:
        fault = name_fault(name)
        if fault:
            raise error(f"the name of an archive entry {fault}: {name[:80]!r}")
    if not numbered and len(set(names)) != len(names):
        seen: set[str] = set()
        twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise error(f"the names of archive entries must be distinct, {twice!r} occurs twice")


def write_names(names: Sequence[str]) -> bytes:
    """Return the shortest encoding of at least one name.

    Raises:
        DataError: a name is unsafe or occurs twice.
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
    """Return the numbering that yields these names, None if there is none.

    If several runs of digits qualify, the last one is the number.
    """
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
    """Return the ``count`` names at the reader.

    Raises:
        FormatError: the names are corrupt, unsafe, not distinct, or not ``count``.
        LimitError: they exceed ``limits.max_metadata_bytes``, or that times ``MAX_NUMBERED_FACTOR`` if numbered.
    """
    form = reader.byte("form of names")
    names: Sequence[str]
    if form == _NUMBERED:
        prefix = _read_text(reader, limits.max_metadata_bytes, "prefix of names")
        first, width = reader.varint("first number"), reader.byte("width of numbers")
        if not 1 <= width <= _MAX_WIDTH:
            raise FormatError(f"corrupt .inrs file: expected numbers of width 1 to {_MAX_WIDTH}, got {width}")
        suffix = _read_text(reader, limits.max_metadata_bytes, "suffix of names")
        names = NumberedNames(prefix, first, width, suffix, count)
        size, max_bytes = count * len(names[-1]), MAX_NUMBERED_FACTOR * limits.max_metadata_bytes
        if size > max_bytes:
            raise LimitError(f"names of the archive take {size} bytes, which exceeds the limit of {max_bytes}")
    elif form in (_PLAIN, _DEFLATED):
        data = _read_block(reader, limits.max_metadata_bytes, "names")
        joined = _inflate(data, limits.max_metadata_bytes) if form == _DEFLATED else data
        # Count before splitting: a list of empty names would take far more memory than its bytes.
        n_names = joined.count(b"\n") + 1
        if n_names != count:
            raise FormatError(f"corrupt .inrs file: expected {count} names, got {n_names}")
        names = _decode(joined, "names").split("\n")
    else:
        raise FormatError(f"corrupt .inrs file: expected names of form 0 to {_NUMBERED}, got {form}")
    check_names(names, FormatError)
    return names


def _block(data: bytes) -> bytes:
    return write_varint(len(data)) + data


def _read_text(reader: ByteReader, max_bytes: int, what: str) -> str:
    return _decode(_read_block(reader, max_bytes, what), what)


def _read_block(reader: ByteReader, max_bytes: int, what: str) -> bytes:
    length = reader.varint(f"length of {what}")
    if length > max_bytes:
        raise LimitError(f"{what} of the archive take {length} bytes, which exceeds the limit of {max_bytes}")
    return reader.take(length, what)


def _decode(data: bytes, what: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise FormatError(f"corrupt .inrs file: expected UTF-8 in {what}, got byte {data[error.start]:#04x}") from error


def _inflate(data: bytes, max_bytes: int) -> bytes:
    """Return the content of a complete zlib stream, inflating no more than ``max_bytes``."""
    stream = zlib.decompressobj()
    try:
        out = stream.decompress(data, max_bytes + 1)
    except zlib.error as error:
        raise FormatError(f"corrupt .inrs file: names do not inflate ({error})") from error
    if len(out) > max_bytes:
        raise LimitError(f"the inflated size of the archive's names exceeds the limit of {max_bytes} bytes")
    if not stream.eof or stream.unused_data:
        raise FormatError("corrupt .inrs file: expected one complete zlib stream of names")
    return out
