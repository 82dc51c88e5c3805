"""The container ``.inrs``: an archive of many compressed signals with random access to each.

    magic, version | codec id | prior id | records | record of each entry | names | payload lengths | payloads | CRC-32

docs/format.md is the specification. A *record* is the signal header and the sections of an entry. Entries with equal
records share one; each then takes one or two bytes in addition to its payload.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import accumulate, groupby

from inrcodec.coding.bits import write_varint
from inrcodec.container.framing import (
    ByteReader,
    Section,
    check_known,
    open_frame,
    ordered_sections,
    read_sections,
    seal,
    write_preamble,
    write_sections,
)
from inrcodec.container.inr import KNOWN_TAGS, Container
from inrcodec.container.names import read_names, write_names
from inrcodec.container.signal_header import read_header, write_header
from inrcodec.errors import FormatError, LimitError, UsageError
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.signals.header import SignalHeader


@dataclass(frozen=True)
class ArchiveEntry:
    """Holds one signal of an archive.

    Attributes:
        name: the file that the signal comes from or goes to, a relative path with ``/`` as separator.
        header: kind, layout, sample type and grid of the signal.
        payload: the bytes of the codec.
        sections: sorted by tag on construction, each tag at most once.

    Raises:
        UsageError: a section tag is out of range or occurs twice.
    """

    name: str
    header: SignalHeader
    payload: bytes
    sections: tuple[Section, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "sections", ordered_sections(self.sections))


_Record = tuple[SignalHeader, tuple[Section, ...]]


def pack_archive(codec_id: int, prior_id: bytes, entries: Sequence[ArchiveEntry]) -> bytes:
    """Return the bytes of an ``.inrs`` file.

    Args:
        codec_id: the id of the codec of all entries, 0 to 255.
        prior_id: 8 bytes, the prior of all entries, ``NO_PRIOR`` for a codec without one.
        entries: at least one, with distinct names.

    Raises:
        UsageError: there are no entries, or an id is out of range.
        DataError: a name is unsafe or occurs twice.
    """
    if not entries:
        raise UsageError("an archive must hold at least one signal, got none")
    positions: dict[_Record, int] = {}
    record_numbers = [positions.setdefault((entry.header, entry.sections), len(positions)) for entry in entries]
    has_sections = any(sections for _, sections in positions)
    parts = [
        write_preamble("inrs", codec_id, prior_id, has_sections),
        write_varint(len(entries)),
        write_varint(len(positions)),
    ]
    for header, sections in positions:
        parts.append(write_header(header))
        if has_sections:
            parts.append(write_sections(sections))
    if 1 < len(positions) < len(entries):
        for record, run in groupby(record_numbers):
            parts += [write_varint(record), write_varint(sum(1 for _ in run))]
    parts.append(write_names([entry.name for entry in entries]))
    parts += [write_varint(len(entry.payload)) for entry in entries]
    parts += [entry.payload for entry in entries]
    return seal(b"".join(parts))


class ArchiveReader:
    """Gives random access to an ``.inrs`` file; a payload is copied only when its entry is requested.

    Args:
        data: the whole file.
        limits: checked before memory is allocated.
        known_tags: the section tags that the caller understands.

    Raises:
        FormatError: the file is foreign, corrupt, of another version, or has an unsupported critical section.
        LimitError: a length, a dimension or the number of entries exceeds ``limits``.
    """

    def __init__(self, data: bytes, limits: Limits = DEFAULT_LIMITS, known_tags: Set[int] = KNOWN_TAGS) -> None:
        preamble, reader = open_frame("inrs", data, limits)
        self.codec_id = preamble.codec_id
        self.prior_id = preamble.prior_id
        self.file_bytes = len(data)
        n_entries = reader.varint("number of entries")
        if n_entries > limits.max_entries:
            raise LimitError(f"the archive has {n_entries} entries, which exceeds the limit of {limits.max_entries}")
        # The length of a payload takes at least one byte, so a small file cannot claim many entries.
        if not 1 <= n_entries <= reader.left:
            raise FormatError(f"corrupt .inrs file: expected 1 to {reader.left} entries, got {n_entries}")
        self._records = _read_records(reader, n_entries, preamble.has_sections, limits)
        for _, sections in self._records:
            check_known(sections, known_tags)
        self._run_ends, self._run_records = _read_runs(reader, n_entries, len(self._records))
        self._names = read_names(reader, n_entries, limits)
        lengths = [reader.varint("payload length") for _ in range(n_entries)]
        self._ends = list(accumulate(lengths, initial=0))
        if self._ends[-1] != reader.left:
            raise FormatError(f"corrupt .inrs file: expected {self._ends[-1]} bytes of payloads, got {reader.left}")
        self._payloads = reader.rest()

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[ArchiveEntry]:
        return (self.entry(i) for i in range(len(self)))

    @property
    def names(self) -> Sequence[str]:
        """Return the names of all entries, in order."""
        return self._names

    def index_of(self, name: str) -> int:
        """Return the position of the entry with this name.

        Raises:
            UsageError: there is none.
        """
        try:
            return self._names.index(name)
        except ValueError:
            listing = f"it has {len(self)} entries, the first is {self._names[0]!r}"
            raise UsageError(f"the archive has no entry {name!r}: {listing}") from None

    def header(self, i: int) -> SignalHeader:
        """Return the signal header of entry i, 0 to ``len(self) - 1``.

        Raises:
            UsageError: there is no entry i. All methods that take i raise it.
        """
        return self._record(i)[0]

    def sections(self, i: int) -> tuple[Section, ...]:
        """Return the sections of entry i."""
        return self._record(i)[1]

    def payload_bytes(self, i: int) -> int:
        """Return the size of the payload of entry i in bytes."""
        self._check(i)
        return self._ends[i + 1] - self._ends[i]

    def entry(self, i: int) -> ArchiveEntry:
        """Return entry i with its payload; other payloads are not touched."""
        header, sections = self._record(i)
        return ArchiveEntry(self._names[i], header, self._payloads[self._ends[i] : self._ends[i + 1]], sections)

    def container(self, i: int) -> Container:
        """Return entry i as the content of an ``.inr`` file."""
        entry = self.entry(i)
        return Container(self.codec_id, self.prior_id, entry.header, entry.payload, entry.sections, i)

    def _record(self, i: int) -> _Record:
        self._check(i)
        return self._records[self._run_records[bisect_right(self._run_ends, i)]]

    def _check(self, i: int) -> None:
        if not 0 <= i < len(self):
            raise UsageError(f"entry out of range: the archive has entries 0 to {len(self) - 1}, got {i}")


def _read_records(reader: ByteReader, n_entries: int, has_sections: bool, limits: Limits) -> list[_Record]:
    n_records = reader.varint("number of records")
    if not 1 <= n_records <= n_entries:
        raise FormatError(f"corrupt .inrs file: expected 1 to {n_entries} records, got {n_records}")
    records: list[_Record] = []
    metadata_left = limits.max_metadata_bytes
    for _ in range(n_records):
        header = read_header(reader, limits)
        sections = read_sections(reader, metadata_left) if has_sections else ()
        metadata_left -= sum(len(section.data) for section in sections)
        records.append((header, sections))
    if has_sections and not any(sections for _, sections in records):
        raise FormatError("corrupt .inrs file: expected at least one record with sections, got none")
    return records


def _read_runs(reader: ByteReader, n_entries: int, n_records: int) -> tuple[Sequence[int], Sequence[int]]:
    """Return the ends of the runs of entries that share a record, rising to ``n_entries``, and each run's record."""
    if n_records == 1:
        return [n_entries], [0]
    if n_records == n_entries:
        return range(1, n_entries + 1), range(n_entries)
    ends: list[int] = []
    records: list[int] = []
    end = 0
    while end < n_entries:
        record = reader.varint("record of a run")
        length = reader.varint("length of a run")
        end += length
        if record >= n_records or length < 1 or end > n_entries:
            raise FormatError(
                f"corrupt .inrs file: expected runs of {n_records} records over {n_entries} entries,"
                f" got record {record} for {length} entries up to entry {end}"
            )
        ends.append(end)
        records.append(record)
    return ends, records
