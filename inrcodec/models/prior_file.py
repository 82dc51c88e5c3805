"""The file of a prior: safetensors with a description in JSON beside the tensors."""

from __future__ import annotations

import json
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from inrcodec.ground.errors import FormatError

MAX_PRIOR_BYTES = 1 << 26


def write_prior_bytes(head: dict[str, Any], tensors: dict[str, Tensor]) -> bytes:
    """The file; equal content gives equal bytes."""
    return safetensors.torch.save(tensors, {"inrcodec": json.dumps(head, sort_keys=True)})


def read_prior_bytes(data: bytes, source: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Description and tensors; FormatError when it is not a prior's file or over the size limit."""
    if len(data) > MAX_PRIOR_BYTES:
        raise FormatError(f"{source}: a prior of {len(data)} bytes is over the limit of {MAX_PRIOR_BYTES}")
    try:
        tensors = safetensors.torch.load(data)
        header_length = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + header_length])["__metadata__"]["inrcodec"]
        head = json.loads(metadata)
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError, UnicodeDecodeError) as error:
        raise FormatError(f"{source}: not a prior of inrcodec ({type(error).__name__})") from None
    if not isinstance(head, dict):
        raise FormatError(f"{source}: not a prior of inrcodec (no description)")
    return head, tensors
