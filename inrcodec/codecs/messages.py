"""Several messages in one body, for codecs that send one or more messages per plane."""

from __future__ import annotations

from collections.abc import Sequence

from inrcodec.coding.bits import read_varint, write_varint
from inrcodec.errors import FormatError


def join_messages(messages: Sequence[bytes]) -> bytes:
    """A body: the messages of a signal's planes, all but the last behind their lengths."""
    return b"".join(write_varint(len(m)) + m for m in messages[:-1]) + messages[-1]


def split_messages(body: bytes, count: int) -> list[bytes]:
    """Inverse of ``join_messages``; FormatError when the body is cut short."""
    messages, position = [], 0
    for _ in range(count - 1):
        length, position = read_varint(body, position)
        if position + length > len(body):
            raise FormatError("a plane's message is cut short")
        messages.append(body[position : position + length])
        position += length
    return [*messages, body[position:]]
