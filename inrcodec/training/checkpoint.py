"""Training checkpoints: a folder of safetensors files, none above 16 MB, and one JSON file that is written last.

The previous checkpoint stays complete until the new one is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from inrcodec.errors import FormatError

SHARD_BYTES = 15 << 20
"""Limit of a file's tensors."""
HEAD = "state.json"
"""Name of the JSON file."""


def write_checkpoint(folder: Path, tensors: dict[str, Tensor], head: dict[str, Any], generation: int) -> None:
    """Write tensors, cut along their first axis where they are large, and a head of plain values."""
    folder.mkdir(parents=True, exist_ok=True)
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        rows = max(1, SHARD_BYTES // max(1, tensor[:1].nbytes)) if tensor.ndim else 1
        for start in range(0, max(len(tensor), 1) if tensor.ndim else 1, rows):
            part = (tensor[start : start + rows] if tensor.ndim else tensor).detach().cpu().contiguous()
            if size and size + part.nbytes > SHARD_BYTES:
                shards.append({})
                size = 0
            shards[-1][f"{name}@{start}"] = part
            size += part.nbytes
    files = [f"{generation:09d}-{index}.safetensors" for index in range(len(shards))]
    for file, shard in zip(files, shards, strict=True):
        safetensors.torch.save_file(shard, folder / file)
    temporary = folder / f"{HEAD}.tmp"
    temporary.write_text(json.dumps({**head, "files": files}))
    temporary.replace(folder / HEAD)
    for old in folder.glob("*.safetensors"):
        if old.name not in files:
            old.unlink()


def read_checkpoint(folder: Path, device: torch.device) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the head of a checkpoint.

    Raises:
        FormatError: the checkpoint cannot be read.
    """
    try:
        head = json.loads((folder / HEAD).read_text())
        parts: dict[str, dict[int, Tensor]] = {}
        for file in head["files"]:
            for key, tensor in safetensors.torch.load_file(folder / Path(file).name).items():
                name, start = key.rsplit("@", 1)
                parts.setdefault(name, {})[int(start)] = tensor
        tensors = {
            name: (torch.cat([p[s] for s in sorted(p)]) if p[0].ndim else p[0]).to(device) for name, p in parts.items()
        }
    except (OSError, KeyError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        raise FormatError(f"{folder}: checkpoint cannot be used: {error}") from None
    return tensors, head
