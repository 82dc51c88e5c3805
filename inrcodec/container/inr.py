"""The container ``.inr``: one compressed signal with everything that its decoder must be told.

    magic, version | codec id | prior id | signal header | [sections] | payload | CRC-32

docs/format.md is the specification. The container knows bytes, not what they mean: a payload is its codec's business.
It costs at most 24 bytes beside the payload for a plain image or sound. Law: ``unpack(pack(c)) == c``, and
``pack(unpack(b)) == b`` for every file that is accepted.
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

__all__ = ["EXTRA", "KNOWN_TAGS", "NO_PRIOR", "Container", "Peek", "Section", "file_kind", "pack", "peek", "unpack"]

EXTRA = 1
"""Tag of extra metadata, ancillary: ``SignalMeta.extra_to_bytes()``."""

KNOWN_TAGS: frozenset[int] = frozenset({EXTRA})


@dataclass(frozen=True)
class Container:
    """Content of one ``.inr`` file.

    Args:
        codec_id: constant of the codec, 0 to 255.
        prior_id: first 8 bytes of the SHA-256 of the prior file, ``NO_PRIOR`` for a codec without one.
        header: the signal from outside.
        payload: the codec's bytes.
        sections: by rising tag (sorted on construction), each tag once.
        place: position among the entries of an archive that it comes from; not written.

    Raises:
        UsageError: a section tag is out of range or comes twice.
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
        """Bytes of the section with this tag; empty if there is none."""
        return next((section.data for section in self.sections if section.tag == tag), b"")

    def meta(self, limits: Limits = DEFAULT_LIMITS) -> SignalMeta:
        """What the header does not say of the signal; errors as ``SignalMeta.of_file``."""
        return SignalMeta.of_file(self.section(EXTRA), self.header, limits)


@dataclass(frozen=True)
class Peek:
    """What can be said of an ``.inr`` file without its codec. Sizes are in bytes."""

    version: int
    codec_id: int
    prior_id: bytes
    header: SignalHeader
    section_sizes: dict[int, int]
    payload_bytes: int
    file_bytes: int

    @property
    def overhead_bytes(self) -> int:
        """Everything but the payload."""
        return self.file_bytes - self.payload_bytes


def pack(container: Container) -> bytes:
    """The bytes of an ``.inr`` file.

    Raises:
        UsageError: codec id or prior id out of range.
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
    """Content of an ``.inr`` file. Ancillary sections stay in ``sections`` whether known or not.

    Args:
        data: the whole file.
        limits: what the caller is ready to hold.
        known_tags: tags that the caller understands; a critical section outside of them is refused.

    Raises:
        FormatError: foreign, damaged, of another version, or with an unknown critical section.
        LimitError: a length or dimension exceeds ``limits``.
    """
    container = _parse(data, limits)
    check_known(container.sections, known_tags)
    return container


def peek(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Peek:
    """Describe an ``.inr`` file, also one with critical sections that are not known.

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


def _parse(data: bytes, limits: Limits) -> Container:
    preamble, reader = open_frame("inr", data, limits)
    header = read_header(reader, limits)
    sections: tuple[Section, ...] = ()
    if preamble.has_sections:
        sections = read_sections(reader, limits.max_metadata_bytes, at_least=1)
    return Container(preamble.codec_id, preamble.prior_id, header, reader.rest(), sections)
