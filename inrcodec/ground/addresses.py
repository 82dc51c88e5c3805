"""Addresses that hold what they lead to, for pages of one file."""

from __future__ import annotations

import base64


def data_uri(data: bytes, media_type: str) -> str:
    """Bytes of a media type ("image/png") as an address."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
