"""A check of model configurations that come from files: JSON may hold a value of any type in any field."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,)}
MAX_NUMBER = 1 << 53
"""Numbers up to here are exact in float64."""


def check_plain(config: Any) -> None:
    """Check the int, float and bool fields of a dataclass instance; other fields are not checked.

    Raises:
        ValueError: a value is not of the annotated type, or a number is not finite or above 2^53 in magnitude.
    """
    for field in fields(config):
        types = _TYPES.get(str(field.type))
        value = getattr(config, field.name)
        if types is None:
            continue
        if type(value) not in types:
            raise ValueError(f"{field.name}, of type {type(value).__name__}")
        if not abs(value) <= MAX_NUMBER:
            raise ValueError(f"{field.name}, out of range")
