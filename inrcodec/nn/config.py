"""Descriptions of models come from files as JSON, where any field may hold anything."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,)}
LARGEST = 1 << 53


def check_plain(config: Any) -> None:
    """ValueError unless the numbers and flags of a dataclass are what its annotations say, numbers up to 2^53."""
    for field in fields(config):
        wanted = _TYPES.get(str(field.type))
        value = getattr(config, field.name)
        if wanted is None:
            continue
        if type(value) not in wanted:
            raise ValueError(f"{field.name}, of type {type(value).__name__}")
        if not abs(value) <= LARGEST:
            raise ValueError(f"{field.name}, out of range")
