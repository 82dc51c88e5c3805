"""The file of a prior: safetensors with a description in JSON beside the tensors; what all its readers check."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from inrcodec.errors import FormatError, PriorError

MAX_PRIOR_BYTES = 1 << 26


def write_prior_bytes(head: dict[str, Any], tensors: dict[str, Tensor]) -> bytes:
    """The file; equal content gives equal bytes."""
    return safetensors.torch.save(tensors, {"inrcodec": json.dumps(head, sort_keys=True)})


def read_prior_bytes(data: bytes, source: str, expected: str = "") -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Description and tensors; FormatError when it is not a prior's file, over the size limit or not of the format
    that is ``expected``."""
    if len(data) > MAX_PRIOR_BYTES:
        raise FormatError(f"{source}: a prior of {len(data)} bytes is over the limit of {MAX_PRIOR_BYTES}")
    try:
        tensors = safetensors.torch.load(data)
        header_length = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + header_length])["__metadata__"]["inrcodec"]
        head = json.loads(metadata)
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise FormatError(f"{source}: not a prior of inrcodec ({type(error).__name__})") from None
    if not isinstance(head, dict):
        raise FormatError(f"{source}: not a prior of inrcodec (no description)")
    if expected and head.get("format") != expected:
        raise FormatError(f"{source}: prior format is {head.get('format')!r}, expected {expected!r}")
    return head, tensors


@contextmanager
def telling_what_is_missing(source: str) -> Iterator[None]:
    """While a description and its tensors are read: what they lack or misstate becomes a FormatError."""
    try:
        yield
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise FormatError(f"{source}: the prior lacks or misstates {error}") from None


def check_known_answer(found: str, stated: str, source: str) -> None:
    """PriorError unless this machine's integer networks compute what those of the prior's maker did."""
    if found != stated:
        raise PriorError(
            f"{source}: this machine computes the integer networks of the prior otherwise than it should; "
            "files made with it would be misread"
        )
