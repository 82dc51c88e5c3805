"""Test ``.inrs``: layouts worked out by hand, the cost of an entry, random access, safe names, rejection."""

from __future__ import annotations

import tracemalloc
import zlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inrcodec.coding.bits import write_varint
from inrcodec.container.framing import seal
from inrcodec.container.inr import EXTRA, NO_PRIOR, Container, Section, pack, unpack
from inrcodec.container.inrs import ArchiveEntry, ArchiveReader, pack_archive
from inrcodec.container.names import NumberedNames, find_numbering, name_fault
from inrcodec.errors import DataError, FormatError, LimitError, UsageError
from inrcodec.limits import Limits
from inrcodec.signals.header import SignalHeader

PRIOR = bytes.fromhex("0102030405060708")
CIFAR = SignalHeader("image", "rgb", "u8", (32, 32), 3)
GRAY = SignalHeader("image", "gray", "u8", (2, 3), 1)
HEAD = "8e494e53 21 01 0102030405060708 "


def sealed(text: str) -> bytes:
    """Return a file from bytes in hexadecimal, with its CRC-32 (zlib, little-endian) appended."""
    body = bytes.fromhex(text)
    return body + zlib.crc32(body).to_bytes(4, "little")


def images(n: int, payload_bytes: int = 38) -> list[ArchiveEntry]:
    return [ArchiveEntry(f"{i:05d}.png", CIFAR, bytes([i % 251]) * payload_bytes) for i in range(n)]


# --- layouts worked out by hand ---------------------------------------------------------------------------------------

ICC = (Section(EXTRA, b"icc"),)
GOLDEN = {
    "two alike, numbered": (
        1,
        PRIOR,
        [ArchiveEntry("im7.png", GRAY, b"\xaa"), ArchiveEntry("im8.png", GRAY, b"\xbb\xcc")],
        #              n  r  record   numbered: "im" 7 width 1 ".png"       lengths payloads
        sealed(HEAD + "02 01 00 02 03 02 02 696d 07 01 04 2e706e67 01 02 aa bbcc"),
    ),
    "each its own header, no prior": (
        9,
        NO_PRIOR,
        [
            ArchiveEntry("a", GRAY, b""),
            ArchiveEntry("b", SignalHeader("audio", "mono", "pcm_16", (5,), 1, 8000), b"\x01"),
        ],
        #                         n  r  image    audio    names      lengths payload
        sealed("8e494e53 01 09 02 02 00 02 03 01 05 01 00 03 610a62 00 01 01"),
    ),
    "two headers over three entries, one with metadata": (
        1,
        PRIOR,
        [ArchiveEntry("x/a", GRAY, b"1"), ArchiveEntry("x/b", GRAY, b"2"), ArchiveEntry("c", GRAY, b"3", ICC)],
        sealed(
            "8e494e53 31 01 0102030405060708 03 02"
            "00 02 03 00"  # record 0: no section
            "00 02 03 01 01 03 696363"  # record 1: one section
            "00 02  01 01"  # entries 0 and 1 have record 0, entry 2 record 1
            "00 09 782f610a782f620a63"  # plain names
            "01 01 01 313233"
        ),
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_layout(name: str) -> None:
    codec_id, prior_id, entries, data = GOLDEN[name]
    assert pack_archive(codec_id, prior_id, entries).hex(" ") == data.hex(" ")
    reader = ArchiveReader(data)
    assert (reader.codec_id, reader.prior_id, list(reader)) == (codec_id, prior_id, entries)


# --- cost -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("payload_bytes", "per_entry"), [(38, 1), (127, 1), (128, 2), (16_383, 2)])
def test_an_entry_costs_at_most_two_bytes(payload_bytes: int, per_entry: int) -> None:
    """Each entry adds its payload and the length of it; the rest is about 40 bytes, once."""
    small, large = (len(pack_archive(1, PRIOR, images(n, payload_bytes))) for n in (100, 300))
    overhead = [size - n * payload_bytes for n, size in ((100, small), (300, large))]
    assert overhead[0] - 100 * per_entry <= 40
    # The number of entries itself takes a second byte from 128 on.
    assert overhead[1] - overhead[0] == 200 * per_entry + 1


def test_audio_of_distinct_lengths_costs_seven_bytes_per_entry() -> None:
    """Utterances of different lengths take 7 bytes each in addition to name and payload."""
    sizes = []
    for n in (200, 400):
        entries = [
            ArchiveEntry(f"{i}.wav", SignalHeader("audio", "mono", "pcm_16", (100_000 + i,), 1, 16_000), b"x" * 200)
            for i in range(n)
        ]
        sizes.append(len(pack_archive(1, PRIOR, entries)) - 200 * n)
    assert sizes[1] - sizes[0] == 200 * (1 + 3 + 1 + 2)


def test_shared_metadata_is_written_once() -> None:
    profile = (Section(EXTRA, bytes(range(256)) * 4),)
    entries = [replace(entry, sections=profile) for entry in images(50)]
    assert len(pack_archive(1, PRIOR, entries)) < len(pack_archive(1, PRIOR, images(50))) + 1024 + 8


# --- reading ----------------------------------------------------------------------------------------------------------


def test_random_access() -> None:
    entries = images(1000, 3)
    entries[500] = ArchiveEntry("00500.png", replace(CIFAR, shape=(64, 64)), b"odd one", ICC)
    reader = ArchiveReader(pack_archive(1, PRIOR, entries))
    assert len(reader) == 1000 and reader.names[999] == "00999.png" and reader.index_of("00500.png") == 500
    for i in (0, 499, 500, 501, 999):
        assert reader.entry(i) == entries[i]
        assert (reader.header(i), reader.sections(i)) == (entries[i].header, entries[i].sections)
        assert reader.payload_bytes(i) == len(entries[i].payload)
    for i in (-1, 1000):
        for method in (reader.entry, reader.header, reader.sections, reader.payload_bytes, reader.container):
            with pytest.raises(UsageError, match="entries 0 to 999"):
                method(i)
    with pytest.raises(UsageError, match="no entry 'x'"):
        reader.index_of("x")


def test_entry_becomes_a_single_file() -> None:
    reader = ArchiveReader(GOLDEN["two headers over three entries, one with metadata"][3])
    expected = Container(1, PRIOR, GRAY, b"3", ICC)
    assert reader.container(2) == expected == unpack(pack(reader.container(2)))


HEADERS = st.sampled_from([CIFAR, GRAY, SignalHeader("audio", "mono", "pcm_16", (9,), 1, 12_345)])
NAMES = st.from_regex(r"[a-zäß0-9 ._-]{1,9}(/[a-z0-9]{1,5})?", fullmatch=True).filter(lambda name: not name_fault(name))
LISTED = st.lists(NAMES, min_size=1, max_size=30, unique=True)
NUMBERED = st.builds(
    lambda prefix, first, width, suffix, n: list(NumberedNames(prefix, first, width, suffix, n)),
    st.sampled_from(["", "im", "a1-"]),
    st.integers(0, 10**15),
    st.integers(1, 18),
    st.sampled_from(["", ".png", "_2.wav"]),
    st.integers(1, 30),
)


@st.composite
def archives(draw: st.DrawFn) -> list[ArchiveEntry]:
    sections = st.sampled_from([(), ICC, (Section(EXTRA, b""), Section(90, b"zz"))])
    return [
        ArchiveEntry(name, draw(HEADERS), draw(st.binary(max_size=20)), draw(sections))
        for name in draw(LISTED | NUMBERED)
    ]


@given(st.integers(0, 255), st.sampled_from([PRIOR, NO_PRIOR]), archives())
def test_reader_inverts_pack(codec_id: int, prior_id: bytes, entries: list[ArchiveEntry]) -> None:
    reader = ArchiveReader(pack_archive(codec_id, prior_id, entries))
    assert (reader.codec_id, reader.prior_id, list(reader)) == (codec_id, prior_id, entries)
    assert list(reader.names) == [entry.name for entry in entries]


# --- names ------------------------------------------------------------------------------------------------------------


def test_numbering_is_detected() -> None:
    def numbering(*names: str) -> tuple[str, int, int, str] | None:
        numbered = find_numbering(names)
        return (numbered.prefix, numbered.first, numbered.width, numbered.suffix) if numbered else None

    assert numbering("kodim01.png", "kodim02.png") == ("kodim", 1, 2, ".png")
    assert numbering("v2_098.png", "v2_099.png", "v2_100.png") == ("v2_", 98, 3, ".png")
    assert numbering("8", "9", "10", "11") == ("", 8, 1, "")
    assert numbering("a1_x5", "a2_x5") == ("a", 1, 1, "_x5")
    assert numbering("08", "9") is None
    assert numbering("a1", "a3") is None
    assert numbering("a", "b") is None


def test_many_names_without_numbers_are_deflated() -> None:
    entries = [ArchiveEntry(f"utterance-{i * i}.flac", CIFAR, b"") for i in range(500)]
    text = sum(len(entry.name) + 1 for entry in entries)
    data = pack_archive(1, PRIOR, entries)
    assert len(data) - 500 < text / 2
    assert list(ArchiveReader(data)) == entries


UNSAFE = [
    "",
    "/etc/passwd",
    "../x",
    "a/../../x",
    "a/..",
    "./a",
    "a//b",
    "a/",
    "..",
    "C:x",
    "c:\\x",
    "a\\b",
    "a\0",
    "a\nb",
    "a\rb",
    "a\x1bb",
    "a\x85b",
    "a\u2028b",
    "\ud800",
    "x" * 256,
    "/".join(["x" * 200] * 6),
]


@pytest.mark.parametrize("name", UNSAFE, ids=[ascii(name)[:20] for name in UNSAFE])
def test_unsafe_name_is_rejected_by_writer_and_reader(name: str) -> None:
    with pytest.raises(DataError, match="name of an archive entry"):
        pack_archive(1, PRIOR, [ArchiveEntry(name, GRAY, b"")])
    raw = name.encode("utf-8", "surrogatepass")
    body = bytes.fromhex(HEAD + "01 01 00 02 03 00") + write_varint(len(raw)) + raw + b"\0"
    with pytest.raises(FormatError):
        ArchiveReader(seal(body))


@pytest.mark.parametrize(
    ("prefix", "suffix"), [("../", ""), ("/", ""), ("", "/.."), ("C:", ""), ("a\n", ""), ("", "\0"), ("x" * 1025, "")]
)
def test_unsafe_numbering_is_rejected(prefix: str, suffix: str) -> None:
    texts = [write_varint(len(text)) + text.encode() for text in (prefix, suffix)]
    head = bytes.fromhex(HEAD + "01 01 00 02 03 02")
    with pytest.raises(FormatError, match="name of an archive entry"):
        ArchiveReader(seal(head + texts[0] + b"\x05\x01" + texts[1] + b"\0"))


def test_number_that_grows_too_long_is_rejected() -> None:
    """The first name has 255 bytes, the second 256: the last name is checked too."""
    head = bytes.fromhex(HEAD + "02 01 00 02 03 02") + write_varint(254) + b"x" * 254
    with pytest.raises(FormatError, match="a part that exceeds the limit of 255 bytes"):
        ArchiveReader(seal(head + b"\x09\x01\0" + b"\0\0"))


@pytest.mark.parametrize("name", ["a", "a b.png", "dir/sub/ü.png", "..a", "a..b", "x" * 255, "12:30.wav", "猫.png"])
def test_safe_name_is_accepted(name: str) -> None:
    assert ArchiveReader(pack_archive(1, PRIOR, [ArchiveEntry(name, GRAY, b"")])).names[0] == name


def test_repeated_names_are_rejected() -> None:
    with pytest.raises(DataError, match="'a' occurs twice"):
        pack_archive(1, PRIOR, [ArchiveEntry(name, GRAY, b"") for name in "baa"])
    with pytest.raises(FormatError, match="'a' occurs twice"):
        ArchiveReader(sealed(HEAD + "02 01 00 02 03 00 03 610a61 00 00"))


# --- rejection --------------------------------------------------------------------------------------------------------

SMALL = [data for *_, data in GOLDEN.values()]


@pytest.mark.parametrize("data", SMALL, ids=list(GOLDEN))
def test_every_truncation_is_rejected(data: bytes) -> None:
    for n in range(len(data)):
        with pytest.raises(FormatError):
            ArchiveReader(data[:n])


@pytest.mark.parametrize("data", SMALL, ids=list(GOLDEN))
def test_every_changed_byte_is_rejected(data: bytes) -> None:
    for at in range(len(data)):
        for value in set(range(256)) - {data[at]}:
            with pytest.raises(FormatError):
                ArchiveReader(data[:at] + bytes([value]) + data[at + 1 :])


@settings(max_examples=500)
@given(archives(), st.data())
def test_forged_archive_ends_in_a_named_error_or_safe_entries(entries: list[ArchiveEntry], data: st.DataObject) -> None:
    """The bytes are changed at random, then given a matching CRC."""
    body = bytearray(pack_archive(1, PRIOR, entries)[:-4])
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(4, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = list(ArchiveReader(seal(bytes(body))))
    except (FormatError, LimitError) as error:
        assert "\n" not in str(error)
    else:
        assert all(name_fault(entry.name) is None for entry in read)


BOMB = zlib.compress(bytes(2**20))
RUNS = HEAD + "03 02 00 02 03 00 02 04"
ABC = "00 05 610a620a63 00 00 00"
FORGED = {
    "no entries": (HEAD + "00 01 00 02 03 00 00", "got 0"),
    "more entries than bytes": (HEAD + "64 01 00 02 03 00 01 61 00", "got 100"),
    "no records": (HEAD + "01 00 00 01 61 00", "1 to 1 records, got 0"),
    "more records than entries": (HEAD + "01 02 00 02 03 00 02 03 00 01 61 00", "1 to 1 records, got 2"),
    "run too long": (RUNS + "00 02 01 02" + ABC, "up to entry 4"),
    "empty run": (RUNS + "00 00 01 03" + ABC, "for 0 entries"),
    "run of a missing record": (RUNS + "00 02 02 01" + ABC, "got record 2"),
    "names of form 3": (HEAD + "01 01 00 02 03 03 01 61 00", "form 0 to 2, got 3"),
    "too few names": (HEAD + "02 01 00 02 03 00 01 61 00 00", "2 names, got 1"),
    "names not UTF-8": (HEAD + "01 01 00 02 03 00 01 ff 00", "UTF-8 in names, got byte 0xff"),
    "names that do not inflate": (HEAD + "01 01 00 02 03 01 02 7800 00", "do not inflate"),
    "names with trailing bytes": (
        HEAD + f"01 01 00 02 03 01 0a {zlib.compress(b'a').hex()} 00 00",
        "one complete zlib stream",
    ),
    "truncated names": (HEAD + f"01 01 00 02 03 01 08 {zlib.compress(b'a').hex()[:-2]} 00", "one complete zlib stream"),
    "numbers of width 0": (HEAD + "01 01 00 02 03 02 00 01 00 00 00", "width 1 to 18, got 0"),
    "numbers of width 19": (HEAD + "01 01 00 02 03 02 00 01 13 00 00", "width 1 to 18, got 19"),
    "payloads too short": (HEAD + "01 01 00 02 03 00 01 61 02 aa", "2 bytes of payloads, got 1"),
    "trailing bytes after the payloads": (HEAD + "01 01 00 02 03 00 01 61 01 aaaa", "1 bytes of payloads, got 2"),
    "section flag without sections": (
        "8e494e53 11 01 01 01 00 02 03 00 00 01 61 00",
        "at least one record with sections",
    ),
    "unsupported critical section": ("8e494e53 11 01 01 01 00 02 03 01 85 00 00 01 61 00", "critical section 5"),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_file_is_rejected(name: str) -> None:
    text, message = FORGED[name]
    with pytest.raises(FormatError, match=message):
        ArchiveReader(sealed(text))


def test_single_signal_is_not_an_archive() -> None:
    with pytest.raises(FormatError, match=r"expected first bytes 8e 49 4e 53, got an \.inr file"):
        ArchiveReader(pack(Container(1, PRIOR, GRAY, b"")))


BLOCK = write_varint(40_000).hex() + "00" * 40_000
LIMITS_CASES = {
    "entries": (HEAD + write_varint(2**40).hex() + "01 00 02 03 00 01 61 00", "1099511627776 entries"),
    "points": (HEAD + f"01 01 00 01 {write_varint(2**50).hex()} 00 01 61 00", "an axis has"),
    "names": (HEAD + f"01 01 00 02 03 00 {write_varint(2**40).hex()} 61 00", "names of the archive take"),
    "names that inflate": (HEAD + f"01 01 00 02 03 01 {write_varint(len(BOMB)).hex()} {BOMB.hex()}", "limit of 65535"),
    "prefix": (HEAD + "01 01 00 02 03 02 808004 00", "prefix of names of the archive take 65536 bytes"),
    "metadata of all records together": (
        f"8e494e53 11 01 02 02 00 02 03 01 01 {BLOCK} 00 02 04 01 01 {BLOCK} 00 03 610a62 00 00",
        "metadata takes",
    ),
}


@pytest.mark.parametrize("name", LIMITS_CASES)
def test_absurd_sizes_are_rejected_before_memory_is_allocated(name: str) -> None:
    text, message = LIMITS_CASES[name]
    data = sealed(text)
    tracemalloc.start()
    try:
        with pytest.raises(LimitError, match=message):
            ArchiveReader(data, Limits(max_metadata_bytes=2**16 - 1))
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()


def test_limit_on_entries_can_be_lowered() -> None:
    data = pack_archive(1, PRIOR, images(20))
    assert len(ArchiveReader(data, Limits(max_entries=20))) == 20
    with pytest.raises(LimitError, match="20 entries, which exceeds the limit of 19"):
        ArchiveReader(data, Limits(max_entries=19))


def test_invalid_arguments_are_rejected() -> None:
    with pytest.raises(UsageError, match="at least one"):
        pack_archive(1, PRIOR, [])
    with pytest.raises(UsageError, match="prior id"):
        pack_archive(1, b"", images(1))
    with pytest.raises(UsageError, match="section tags"):
        ArchiveEntry("a", GRAY, b"", (Section(1, b""), Section(1, b"")))
