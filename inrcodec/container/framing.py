"""The parts that both containers share: a bounded reader, the preamble, the CRC-32 and section lists.

docs/format.md is the specification. Invariants: a reader allocates memory only for bytes that exist and are within
``Limits``; every value has exactly one encoding, and any other raises ``FormatError``.
"""

from __future__ import annotations

import zlib
from collections.abc import Set
from dataclasses import dataclass
from typing import Literal

from inrcodec.coding.bits import read_varint, write_varint
from inrcodec.errors import FormatError, LimitError, UsageError
from inrcodec.limits import Limits

FileKind = Literal["inr", "inrs"]
MAGICS: dict[FileKind, bytes] = {"inr": b"\x8eINR", "inrs": b"\x8eINS"}
VERSION = 1
PRIOR_ID_BYTES = 8
NO_PRIOR = bytes(PRIOR_ID_BYTES)

_FLAG_SECTIONS = 1 << 4
_FLAG_PRIOR = 1 << 5
_FLAGS_RESERVED = 0xC0
_CRC_BYTES = 4
_CRITICAL = 0x80


@dataclass(frozen=True)
class Section:
    """Holds a tagged run of bytes beside the payload.

    Attributes:
        tag: 0 to 127.
        data: the bytes of the section.
        critical: whether a reader that does not know the tag must reject the file; otherwise it may skip the section.
    """

    tag: int
    data: bytes
    critical: bool = False


@dataclass(frozen=True)
class Preamble:
    """Holds the first fields of a file, after magic and version.

    Attributes:
        codec_id: 0 to 255.
        prior_id: 8 bytes, ``NO_PRIOR`` for a codec without a prior.
        has_sections: whether section lists are present.
    """

    codec_id: int
    prior_id: bytes
    has_sections: bool


class ByteReader:
    """Reads bytes from front to back, up to ``end``, and checks every request against the bytes left."""

    def __init__(self, data: bytes, end: int | None = None) -> None:
        self._data = data
        self._at = 0
        self._end = len(data) if end is None else end

    @property
    def left(self) -> int:
        """Return the number of bytes not yet read."""
        return self._end - self._at

    def take(self, n: int, what: str) -> bytes:
        """Return the next n bytes; ``what`` names them in the error message.

        Raises:
            FormatError: fewer are left.
        """
        if n > self.left:
            raise FormatError(f"corrupt file: expected {n} bytes of {what}, {self.left} are left")
        start = self._at
        self._at += n
        return self._data[start : self._at]

    def byte(self, what: str) -> int:
        """Return the next byte as an integer, 0 to 255.

        Raises:
            FormatError: no byte is left.
        """
        return self.take(1, what)[0]

    def varint(self, what: str) -> int:
        """Return the next varint, 0 to 2^63 - 1.

        Raises:
            FormatError: it is truncated, too long or not in its shortest form.
        """
        try:
            value, at = read_varint(self._data, self._at)
        except FormatError as error:
            raise FormatError(f"corrupt file: {what}: {error}") from error
        if at > self._end:
            raise FormatError(f"corrupt file: {what}: data ends inside a varint")
        self._at = at
        return value

    def rest(self) -> bytes:
        """Return all bytes that are left."""
        return self.take(self.left, "rest")


def write_preamble(kind: FileKind, codec_id: int, prior_id: bytes, has_sections: bool) -> bytes:
    """Return magic, version and flags, codec id and prior id (no bytes for ``NO_PRIOR``).

    Raises:
        UsageError: an id is out of range.
    """
    if not 0 <= codec_id <= 0xFF:
        raise UsageError(f"codec id must be 0 to 255, got {codec_id}")
    if len(prior_id) != PRIOR_ID_BYTES:
        raise UsageError(f"prior id must have {PRIOR_ID_BYTES} bytes, got {len(prior_id)}")
    has_prior = prior_id != NO_PRIOR
    flags = (_FLAG_SECTIONS if has_sections else 0) | (_FLAG_PRIOR if has_prior else 0)
    return MAGICS[kind] + bytes([flags | VERSION, codec_id]) + (prior_id if has_prior else b"")


def seal(body: bytes) -> bytes:
    """Return the body followed by its CRC-32."""
    return body + zlib.crc32(body).to_bytes(_CRC_BYTES, "little")


def file_kind(head: bytes) -> FileKind | None:
    """Return ``inr`` or ``inrs`` by the first four bytes of a file, None for a foreign file."""
    return next((kind for kind, magic in MAGICS.items() if head[: len(magic)] == magic), None)


def open_frame(kind: FileKind, data: bytes, limits: Limits) -> tuple[Preamble, ByteReader]:
    """Check magic, version, size and CRC-32; return the preamble and a reader positioned after it.

    Raises:
        FormatError: the file is foreign, corrupt, or of another version.
        LimitError: its size exceeds ``limits.max_file_bytes``.
    """
    magic = MAGICS[kind]
    if data[: len(magic)] != magic:
        actual_kind = file_kind(data)
        actual = f"an .{actual_kind} file" if actual_kind else f"first bytes {data[:4].hex(' ') or '(none)'}"
        raise FormatError(f"not an .{kind} file: expected first bytes {magic.hex(' ')}, got {actual}")
    if len(data) > limits.max_file_bytes:
        raise LimitError(f"the file has {len(data)} bytes, which exceeds the limit of {limits.max_file_bytes}")
    min_bytes = len(magic) + 2 + _CRC_BYTES
    if len(data) < min_bytes:
        raise FormatError(f"truncated .{kind} file: expected at least {min_bytes} bytes, got {len(data)}")
    flags = data[len(magic)]
    if flags & 0x0F != VERSION:
        raise FormatError(f"expected version {VERSION} of the .{kind} format, got version {flags & 0x0F}")
    stored = int.from_bytes(data[-_CRC_BYTES:], "little")
    computed = zlib.crc32(memoryview(data)[:-_CRC_BYTES])
    if stored != computed:
        raise FormatError(
            f"corrupt .{kind} file (truncated or altered): expected CRC-32 {stored:08x}, got {computed:08x}"
        )
    if flags & _FLAGS_RESERVED:
        raise FormatError(f"corrupt .{kind} file: expected reserved flags 0, got {flags & _FLAGS_RESERVED:#04x}")
    reader = ByteReader(data, len(data) - _CRC_BYTES)
    reader.take(len(magic) + 1, "magic and version")
    codec_id = reader.byte("codec id")
    prior_id = NO_PRIOR
    if flags & _FLAG_PRIOR:
        prior_id = reader.take(PRIOR_ID_BYTES, "prior id")
        if prior_id == NO_PRIOR:
            raise FormatError(f"corrupt .{kind} file: expected a prior id, got eight zero bytes")
    return Preamble(codec_id, prior_id, bool(flags & _FLAG_SECTIONS)), reader


def ordered_sections(sections: tuple[Section, ...]) -> tuple[Section, ...]:
    """Return the sections sorted by tag.

    Raises:
        UsageError: a tag is out of range or occurs twice.
    """
    tags = [section.tag for section in sections]
    if any(not 0 <= tag < _CRITICAL for tag in tags) or len(set(tags)) != len(tags):
        raise UsageError(f"section tags must be distinct and 0 to {_CRITICAL - 1}, got {tags}")
    return tuple(sorted(sections, key=lambda section: section.tag))


def write_sections(sections: tuple[Section, ...]) -> bytes:
    """Return a section list: the count, then tag, length and bytes of each of the ``sections``, sorted by tag."""
    parts = [write_varint(len(sections))]
    for section in sections:
        tag = section.tag | (_CRITICAL if section.critical else 0)
        parts += [bytes([tag]), write_varint(len(section.data)), section.data]
    return b"".join(parts)


def read_sections(reader: ByteReader, max_bytes: int, at_least: int = 0) -> tuple[Section, ...]:
    """Return the section list at the reader.

    Args:
        reader: positioned at the list.
        max_bytes: the maximum size of all sections together.
        at_least: the minimum number of sections.

    Raises:
        FormatError: the list is truncated, has too few sections, or its tags do not rise.
        LimitError: the sections exceed ``max_bytes``.
    """
    count = reader.varint("number of sections")
    if count < at_least:
        raise FormatError(f"corrupt file: expected at least {at_least} sections, got {count}")
    sections: list[Section] = []
    total = 0
    for _ in range(count):
        byte = reader.byte("section tag")
        tag = byte & ~_CRITICAL
        if sections and tag <= sections[-1].tag:
            raise FormatError(f"corrupt file: expected section tags to rise, got {tag} after {sections[-1].tag}")
        length = reader.varint("section length")
        total += length
        if total > max_bytes:
            raise LimitError(f"metadata takes at least {total} bytes, which exceeds the limit of {max_bytes}")
        sections.append(Section(tag, reader.take(length, f"section {tag}"), bool(byte & _CRITICAL)))
    return tuple(sections)


def check_known(sections: tuple[Section, ...], known_tags: Set[int]) -> None:
    """Reject critical sections that the reader does not know.

    Raises:
        FormatError: there is one; the message names the first such tag.
    """
    for section in sections:
        if section.critical and section.tag not in known_tags:
            known = ", ".join(map(str, sorted(known_tags)))
            raise FormatError(f"unsupported critical section {section.tag} (known: {known}): try a newer inrcodec")
