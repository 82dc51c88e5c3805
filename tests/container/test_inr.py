"""Test ``.inr``: files worked out by hand, laws of packing, and rejection of everything else."""

from __future__ import annotations

import tracemalloc
import zlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inrcodec.coding.bits import write_varint
from inrcodec.container.framing import ByteReader, seal
from inrcodec.container.inr import EXTRA, KNOWN_TAGS, NO_PRIOR, Container, Section, file_kind, pack, peek, unpack
from inrcodec.container.signal_header import read_header, write_header
from inrcodec.errors import DataError, FormatError, LimitError, UsageError
from inrcodec.limits import Limits
from inrcodec.signals.header import FIXED_CHANNELS, LAYOUTS, MAX_AXES, SAMPLE_TYPES, SignalHeader

PRIOR = bytes.fromhex("0102030405060708")
GRAY = SignalHeader("image", "gray", "u8", (2, 3), 1)
PHOTO = SignalHeader("image", "rgb", "u8", (512, 768), 3)
SPEECH = SignalHeader("audio", "mono", "pcm_16", (48_000,), 1, 16_000)
ROOMY = Limits(max_axis=2**62, max_points=2**62, max_channels=2**62)


def sealed(text: str) -> bytes:
    """Return a file from bytes in hexadecimal, with its CRC-32 (zlib, little-endian) appended."""
    body = bytes.fromhex(text)
    return body + zlib.crc32(body).to_bytes(4, "little")


@st.composite
def headers(draw: st.DrawFn) -> SignalHeader:
    """Draw any valid header within the default limits."""
    kind = draw(st.sampled_from(list(LAYOUTS)))
    layout = draw(st.sampled_from(LAYOUTS[kind]))
    n_axes = {"image": 2, "audio": 1}.get(kind) or draw(st.integers(1, MAX_AXES))
    return SignalHeader(
        kind,
        layout,
        draw(st.sampled_from(SAMPLE_TYPES[kind])),
        tuple(draw(st.lists(st.integers(1, 100), min_size=n_axes, max_size=n_axes))),
        FIXED_CHANNELS.get(layout) or draw(st.integers(1, 16)),
        draw(st.integers(1, 200_000) | st.sampled_from([8000, 16000, 44100, 48000])) if kind == "audio" else 0,
        tuple(draw(st.lists(st.booleans(), min_size=n_axes, max_size=n_axes))) if kind == "field" else (),
    )


SECTIONS = st.lists(
    st.builds(Section, st.integers(1, 127), st.binary(max_size=200), st.just(False))
    | st.builds(Section, st.sampled_from(sorted(KNOWN_TAGS)), st.binary(max_size=200), st.booleans()),
    max_size=4,
    unique_by=lambda section: section.tag,
).map(tuple)

CONTAINERS = st.builds(
    Container,
    st.integers(0, 255),
    st.binary(min_size=8, max_size=8) | st.just(NO_PRIOR),
    headers(),
    st.binary(max_size=300),
    SECTIONS,
)

# --- layouts worked out by hand ---------------------------------------------------------------------------------------

GOLDEN = {
    "gray image, the example of docs/format.md": (
        Container(1, PRIOR, GRAY, b"\xaa\xbb"),
        bytes.fromhex("8e494e52 21 01 0102030405060708 00 02 03 aabb be22fccd"),
    ),
    "rgba, 16 bit, no prior, no payload": (
        Container(7, NO_PRIOR, SignalHeader("image", "rgba", "u16", (300, 1), 4), b""),
        sealed("8e494e52 01 07 1c ac02 01"),
    ),
    "audio with a rate code": (
        Container(2, PRIOR, SPEECH, b"\x00"),
        sealed("8e494e52 21 02 0102030405060708 01 80f702 04 00"),
    ),
    "stereo audio with a rate in full": (
        Container(2, PRIOR, SignalHeader("audio", "stereo", "pcm_24", (5,), 2, 4000), b"\x09"),
        sealed("8e494e52 21 02 0102030405060708 15 05 00a01f 09"),
    ),
    "six-channel audio": (
        Container(2, PRIOR, SignalHeader("audio", "multi", "float32", (5,), 6, 48_000), b""),
        sealed("8e494e52 21 02 0102030405060708 59 05 09 06"),
    ),
    "field on a sphere, float64, two channels, with metadata": (
        Container(
            3,
            PRIOR,
            SignalHeader("field", "field", "float64", (2, 4, 8), 2, 0, (False, False, True)),
            b"\xff\xfe",
            (Section(100, b"", False), Section(EXTRA, b"abc")),
        ),
        sealed("8e494e52 31 03 0102030405060708 12 12 02 04 08 02   02 01 03 616263 64 00   fffe"),
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_layout(name: str) -> None:
    container, data = GOLDEN[name]
    assert pack(container).hex(" ") == data.hex(" ")
    assert unpack(data) == container


def test_sections_are_sorted_by_tag() -> None:
    container = Container(1, PRIOR, GRAY, b"", (Section(9, b"nine"), Section(EXTRA, b"one")))
    assert [section.tag for section in container.sections] == [EXTRA, 9]
    assert (container.section(9), container.section(EXTRA), container.section(5)) == (b"nine", b"one", b"")


@pytest.mark.parametrize("header", [PHOTO, replace(PHOTO, shape=(16_383, 16_383)), SPEECH], ids=str)
def test_overhead_is_at_most_24_bytes(header: SignalHeader) -> None:
    data = pack(Container(1, PRIOR, header, b"x" * 1000))
    assert len(data) - 1000 <= 24
    assert peek(data).overhead_bytes == len(data) - 1000 == 23


def test_peek_describes_a_file_that_unpack_rejects() -> None:
    data = pack(Container(5, PRIOR, GRAY, b"12345", (Section(77, b"ab", True),)))
    with pytest.raises(FormatError, match="critical section 77"):
        unpack(data)
    assert unpack(data, known_tags={77}).section(77) == b"ab"
    description = peek(data)
    assert (description.version, description.codec_id) == (1, 5)
    assert (description.prior_id, description.header) == (PRIOR, GRAY)
    assert (description.section_sizes, description.payload_bytes) == ({77: 2}, 5)
    assert description.file_bytes == len(data)


# --- laws -------------------------------------------------------------------------------------------------------------


@given(CONTAINERS)
def test_unpack_inverts_pack(container: Container) -> None:
    assert unpack(pack(container)) == container


@given(headers(), st.binary(max_size=5))
def test_header_marks_its_own_end(header: SignalHeader, after: bytes) -> None:
    reader = ByteReader(write_header(header) + after)
    assert read_header(reader) == header
    assert reader.rest() == after


@settings(max_examples=500)
@given(CONTAINERS, st.data())
def test_every_content_has_one_file(container: Container, data: st.DataObject) -> None:
    """A file that is changed and given a matching CRC is rejected, or it is the only file of its content."""
    body = bytearray(pack(container)[:-4])
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(4, min(len(body) - 1, 30)))] = data.draw(st.integers(0, 255))
    forged = seal(bytes(body))
    try:
        read = unpack(forged)
    except (FormatError, LimitError) as error:
        assert "\n" not in str(error)
    else:
        assert pack(read) == forged


# --- rejection --------------------------------------------------------------------------------------------------------

SMALL = [data for _, data in GOLDEN.values()]


@pytest.mark.parametrize("data", SMALL, ids=list(GOLDEN))
def test_every_truncation_is_rejected(data: bytes) -> None:
    for n in range(len(data)):
        with pytest.raises(FormatError):
            unpack(data[:n])


@pytest.mark.parametrize("data", SMALL, ids=list(GOLDEN))
def test_every_changed_byte_is_rejected(data: bytes) -> None:
    for at in range(len(data)):
        for value in set(range(256)) - {data[at]}:
            with pytest.raises(FormatError):
                unpack(data[:at] + bytes([value]) + data[at + 1 :])


def test_trailing_bytes_are_rejected() -> None:
    for tail in (b"\0", b"\0\0\0\0", SMALL[0]):
        with pytest.raises(FormatError, match="CRC-32"):
            unpack(SMALL[0] + tail)


HEAD = "8e494e52 21 01 0102030405060708 "
FORGED = {
    "image kind 3": (HEAD + "03 02 03", "kind of signal 0 to 2, got 3"),
    "audio layout 3": (HEAD + "0d 05 04", "layout of audio 0 to 2, got 3"),
    "image sample type 15": (HEAD + "f0 02 03", "sample type of image 0 to 2, got 15"),
    "no rows": (HEAD + "00 00 03", "at least one point"),
    "padded varint": (HEAD + "00 8200 03", "takes more bytes than it needs"),
    "endless varint": (HEAD + "00 ffffffffffffffffff 03", "longer than 9 bytes"),
    "varint that runs into the CRC": (HEAD + "00 02 83", "ends inside a varint"),
    "rate code 14": (HEAD + "01 05 0e", "rate code 0 to 13, got 14"),
    "rate in full that has a code": (HEAD + "01 05 00c03e", "rate code of 8000 Hz"),
    "rate 0": (HEAD + "01 05 0000", "sample rate of audio"),
    "rate 2^31": (HEAD + "01 05 008080808008", "sample rate of audio"),
    "no channels": (HEAD + "02 00 05 00", "channels, got 0"),
    "periodic flag of no axis": (HEAD + "02 08 05 01", "periodic flags of 1 axes"),
    "reserved flag": ("8e494e52 61 01 0102030405060708 00 02 03", "reserved flags"),
    "prior of zeros": ("8e494e52 21 01 0000000000000000 00 02 03", "prior id"),
    "truncated prior id": ("8e494e52 21 01 010203", "8 bytes of prior id"),
    "empty section list": ("8e494e52 11 01 00 02 03 00", "at least 1 sections"),
    "tags that fall": ("8e494e52 11 01 00 02 03 02 02 00 01 00", "got 1 after 2"),
    "repeated tag": ("8e494e52 11 01 00 02 03 02 01 00 81 00", "got 1 after 1"),
    "section beyond the end": ("8e494e52 11 01 00 02 03 01 01 05 6162", "5 bytes of section 1, 2 are left"),
    "section list without count": ("8e494e52 11 01 00 02 03", "number of sections"),
    "unsupported critical section": ("8e494e52 11 01 00 02 03 01 85 00", "unsupported critical section 5"),
    "version 2": ("8e494e52 22 01 0102030405060708 00 02 03", "version 1 of the .inr format, got version 2"),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_file_is_rejected(name: str) -> None:
    text, message = FORGED[name]
    with pytest.raises(FormatError, match=message):
        unpack(sealed(text))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"\(none\)"),
        (b"\x89PNG\r\n\x1a\n", "89 50 4e 47"),
        (sealed("8e494e53 01 00"), "got an .inrs file"),
        (b"\x8eINR", "expected at least 10 bytes, got 4"),
    ],
)
def test_foreign_file_is_rejected(data: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        unpack(data)


def test_kind_of_a_file_is_known_by_its_first_bytes() -> None:
    assert [file_kind(head) for head in (b"\x8eINR!", b"\x8eINS", b"\x8eIN", b"RIFF", b"")] == [
        "inr",
        "inrs",
        None,
        None,
        None,
    ]


def hostile(header: str) -> bytes:
    return sealed(HEAD + header)


HUGE = write_varint(2**62).hex()
LIMITS_CASES = {
    "axis": (hostile(f"00 01 {HUGE}"), "an axis has 4611686018427387904 points"),
    "points": (hostile(f"00 {write_varint(2**20).hex()} {write_varint(2**20).hex()}"), "1099511627776 points"),
    "samples": (hostile(f"01 {HUGE} 04"), "an axis has"),
    "channels": (hostile("09 05 04 11"), "17 channels, which exceeds the limit of 16"),
    "metadata": (sealed(f"8e494e52 11 01 00 02 03 01 01 {write_varint(2**40).hex()} 00"), "metadata takes"),
}


@pytest.mark.parametrize("name", LIMITS_CASES)
def test_absurd_sizes_are_rejected_before_memory_is_allocated(name: str) -> None:
    data, message = LIMITS_CASES[name]
    tracemalloc.start()
    try:
        with pytest.raises(LimitError, match=message):
            unpack(data)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_limits_can_be_raised_and_lowered() -> None:
    big = SignalHeader("field", "field", "float32", (2**30, 2**30), 40)
    data = pack(Container(1, PRIOR, big, b""))
    with pytest.raises(LimitError):
        unpack(data)
    assert unpack(data, ROOMY).header == big
    with pytest.raises(LimitError, match="the file has"):
        unpack(data, replace(ROOMY, max_file_bytes=len(data) - 1))
    extra = pack(Container(1, PRIOR, GRAY, b"", (Section(EXTRA, b"1234"), Section(2, b"56"))))
    assert unpack(extra, Limits(max_metadata_bytes=6))
    with pytest.raises(LimitError, match="metadata takes at least 6 bytes"):
        unpack(extra, Limits(max_metadata_bytes=5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("video", "rgb", "u8", (1, 1), 3), "kind of a signal"),
        (("image", "stereo", "u8", (1, 1), 2), "layout of image"),
        (("image", "rgb", "pcm_16", (1, 1), 3), "sample type of image"),
        (("image", "rgb", "u8", (1, 1), 4), "layout rgb has 3 channels, got 4"),
        (("image", "rgb", "u8", (1, 1, 1), 3), "image has 2 axes"),
        (("image", "rgb", "u8", (1, 1), 3, 8000), "no sample rate"),
        (("image", "rgb", "u8", (1, 1), 3, 0, (False, True)), "only fields may have periodic axes"),
        (("audio", "mono", "pcm_16", (9,), 1), "sample rate of audio"),
        (("audio", "mono", "pcm_16", (0,), 1, 8000), "at least one point"),
        (("field", "field", "int8", (), 1), "1 or 2 or 3 or 4 axes"),
        (("field", "field", "int8", (4, 4), 1, 0, (True,)), "one periodic flag"),
        (("field", "field", "int8", (4, 4), 0), "at least 1 channels"),
    ],
)
def test_contradictory_header_is_rejected(arguments: tuple, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(DataError, match=message):
        SignalHeader(*arguments)


def test_invalid_arguments_are_rejected() -> None:
    for codec_id, prior_id in ((256, PRIOR), (-1, PRIOR), (1, b"short")):
        with pytest.raises(UsageError, match="id must"):
            pack(Container(codec_id, prior_id, GRAY, b""))
    for sections in ((Section(128, b""),), (Section(3, b""), Section(3, b"x"))):
        with pytest.raises(UsageError, match="section tags"):
            Container(1, PRIOR, GRAY, b"", sections)
