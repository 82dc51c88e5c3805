"""Test integers of fixed width and varints: round trips, and rejection of truncated and invalid data."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inrcodec.coding.bits import BitReader, BitWriter, read_varint, write_varint
from inrcodec.errors import FormatError

RUNS = st.lists(
    st.integers(0, 32).flatmap(lambda w: st.tuples(st.just(w), st.lists(st.integers(0, (1 << w) - 1), max_size=9))),
    max_size=8,
)


@given(RUNS)
def test_reader_inverts_writer(runs: list[tuple[int, list[int]]]) -> None:
    writer = BitWriter()
    for width, values in runs:
        writer.write(values, width)
    data = writer.to_bytes()
    assert writer.n_bits == sum(w * len(v) for w, v in runs) and len(data) == -(-writer.n_bits // 8)
    reader = BitReader(data)
    for width, values in runs:
        assert reader.read(len(values), width).tolist() == values
    reader.finish()


def test_bits_are_packed_most_significant_first() -> None:
    writer = BitWriter()
    writer.write([1, 2], 3)
    writer.write(3, 2)
    assert writer.to_bytes() == bytes([0b00101011])


def test_reading_past_the_end_and_stopping_early_are_rejected() -> None:
    with pytest.raises(FormatError, match="expected 9 more bits, got 8"):
        BitReader(b"\xff").read(3, 3)
    with pytest.raises(FormatError, match="truncated"):
        BitReader(b"\xff").read(1, 33)
    for data, used in ((b"\x80\x00", 1), (b"\x81", 1)):
        reader = BitReader(data)
        reader.read(used, 1)
        with pytest.raises(FormatError, match="trailing bits"):
            reader.finish()


@given(st.integers(0, (1 << 63) - 1), st.binary(max_size=3))
def test_varint_round_trip(value: int, rest: bytes) -> None:
    data = write_varint(value)
    assert read_varint(b"x" + data + rest, 1) == (value, 1 + len(data))
    with pytest.raises(FormatError):
        read_varint(data[:-1], 0)


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80\x00", b"\xff" * 9 + b"\x01"])
def test_truncated_padded_and_endless_varints_are_rejected(data: bytes) -> None:
    with pytest.raises(FormatError):
        read_varint(data, 0)
