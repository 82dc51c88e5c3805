"""Join several messages into one body, for codecs that send one or more messages per plane."""

from __future__ import annotations

from collections.abc import Sequence

from inrcodec.coding.bits import read_varint, write_varint
from inrcodec.errors import FormatError


def join_messages(messages: Sequence[bytes]) -> bytes:
    """Return a body: all messages in order, each but the last preceded by its length."""
    return b"".join(write_varint(len(m)) + m for m in messages[:-1]) + messages[-1]


def split_messages(body: bytes, count: int) -> list[bytes]:
    """Return the ``count`` messages of a body, the inverse of ``join_messages``.

    Raises:
        FormatError: the body is truncated.
    """
    messages, position = [], 0
    for _ in range(count - 1):
        length, position = read_varint(body, position)
        if position + length > len(body):
            raise FormatError("the message of a plane is truncated")
        messages.append(body[position : position + length])
        position += length
    return [*messages, body[position:]]
