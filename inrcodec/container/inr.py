"""The container ``.inr``: one compressed signal with all that its decoder needs.

    magic, version | codec id | prior id | signal header | [sections] | payload | CRC-32

docs/format.md is the specification. Payload and sections are opaque bytes here: their meaning belongs to the codec and
to ``SignalMeta``. For an image or audio without metadata the container adds at most 24 bytes to the payload.
Invariants: ``unpack(pack(c)) == c`` for every container, ``pack(unpack(b)) == b`` for every file that is accepted.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field

from inrcodec.container.framing import (
    NO_PRIOR,
    VERSION,
    Section,
    check_known,
    file_kind,
    open_frame,
    ordered_sections,
    read_sections,
    seal,
    write_preamble,
    write_sections,
)
from inrcodec.container.signal_header import read_header, write_header
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.metadata import SignalMeta

__all__ = [
    "ALPHA",
    "CHAIN",
    "EXTRA",
    "KNOWN_TAGS",
    "NO_PRIOR",
    "PARAMETERS",
    "Container",
    "Peek",
    "Section",
    "file_kind",
    "image_bits",
    "pack",
    "peek",
    "unpack",
]

EXTRA = 1
"""Tag of the extra metadata, ``SignalMeta.extra_to_bytes()``; ancillary."""
ALPHA = 2
"""Tag of a lossless alpha channel, ``container.alpha``."""
PARAMETERS = 3
"""Tag of codec parameters that several entries of an archive share."""
CHAIN = 4
"""Tag of a chain of entries that are decoded from one message."""

KNOWN_TAGS: frozenset[int] = frozenset({EXTRA, ALPHA, PARAMETERS, CHAIN})
"""The tags that this package understands."""


@dataclass(frozen=True)
class Container:
    """Holds the content of one ``.inr`` file.

    Attributes:
        codec_id: the id of the codec, 0 to 255.
        prior_id: the first 8 bytes of the SHA-256 of the prior file, ``NO_PRIOR`` for a codec without a prior.
        header: kind, layout, sample type and grid of the signal.
        payload: the bytes of the codec.
        sections: sorted by tag on construction, each tag at most once.
        place: the position in the archive that the container comes from; not written.

    Raises:
        UsageError: a section tag is out of range or occurs twice.
    """

    codec_id: int
    prior_id: bytes
    header: SignalHeader
    payload: bytes
    sections: tuple[Section, ...] = ()
    place: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sections", ordered_sections(self.sections))

    def section(self, tag: int) -> bytes:
        """Return the bytes of the section with this tag; no bytes if there is none."""
        return next((section.data for section in self.sections if section.tag == tag), b"")

    def meta(self, limits: Limits = DEFAULT_LIMITS) -> SignalMeta:
        """Return the metadata of the signal.

        Raises:
            FormatError, LimitError: as ``SignalMeta.of_file``.
        """
        return SignalMeta.of_file(self.section(EXTRA), self.header, limits)


@dataclass(frozen=True)
class Peek:
    """Describes an ``.inr`` file as far as possible without its codec; all sizes are in bytes.

    Attributes:
        section_sizes: the size of each section by its tag.
        payload_bytes: the size of the payload.
        file_bytes: the size of the file.
    """

    version: int
    codec_id: int
    prior_id: bytes
    header: SignalHeader
    section_sizes: dict[int, int]
    payload_bytes: int
    file_bytes: int

    @property
    def overhead_bytes(self) -> int:
        """Return the size of everything but the payload."""
        return self.file_bytes - self.payload_bytes


def pack(container: Container) -> bytes:
    """Return the bytes of an ``.inr`` file.

    Raises:
        UsageError: the codec id or the prior id is out of range.
    """
    has_sections = bool(container.sections)
    parts = [
        write_preamble("inr", container.codec_id, container.prior_id, has_sections),
        write_header(container.header),
        write_sections(container.sections) if has_sections else b"",
        container.payload,
    ]
    return seal(b"".join(parts))


def unpack(data: bytes, limits: Limits = DEFAULT_LIMITS, known_tags: Set[int] = KNOWN_TAGS) -> Container:
    """Return the content of an ``.inr`` file, all its ancillary sections included.

    Args:
        data: the whole file.
        limits: checked before memory is allocated.
        known_tags: the tags that the caller understands; a critical section with another tag is rejected.

    Raises:
        FormatError: the file is foreign, corrupt, of another version, or has an unsupported critical section.
        LimitError: a length or dimension exceeds ``limits``.
    """
    container = _parse(data, limits)
    check_known(container.sections, known_tags)
    return container


def peek(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Peek:
    """Describe an ``.inr`` file, even if it has unsupported critical sections.

    Raises:
        FormatError, LimitError: as ``unpack``.
    """
    container = _parse(data, limits)
    return Peek(
        version=VERSION,
        codec_id=container.codec_id,
        prior_id=container.prior_id,
        header=container.header,
        section_sizes={section.tag: len(section.data) for section in container.sections},
        payload_bytes=len(container.payload),
        file_bytes=len(data),
    )


def image_bits(header: SignalHeader) -> int:
    """Return the bits per sample of an image, 8 or 16, with which its alpha channel is stored."""
    return 16 if header.sample_type == "u16" else 8


def _parse(data: bytes, limits: Limits) -> Container:
    preamble, reader = open_frame("inr", data, limits)
    header = read_header(reader, limits)
    sections: tuple[Section, ...] = ()
    if preamble.has_sections:
        sections = read_sections(reader, limits.max_metadata_bytes, at_least=1)
    return Container(preamble.codec_id, preamble.prior_id, header, reader.rest(), sections)
