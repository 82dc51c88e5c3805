"""The file of a prior: safetensors with a description in JSON beside the tensors, and what all priors have in common.

    Prior.to_bytes() -> file -> Prior.from_bytes(data)

``PriorFile`` is the base of all priors. A codec states what its description and tensors hold (``_head``, ``_tensors``),
how they are read back (``_read``) and which values are valid (``_check``). Priors whose networks run in integers derive
from ``ExactPriorFile``: their file holds the *known answer*, a hash of what the networks compute from made-up input. A
machine that computes another one rejects the file when it is loaded, before it could misread what was compressed.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import safetensors
import safetensors.torch
from torch import Tensor

from inrcodec.errors import FormatError, PriorError, UsageError

MAX_PRIOR_BYTES = 1 << 26
"""Limit of a prior's file."""
ID_BYTES = 8


@dataclass(frozen=True)
class PriorFile(ABC):
    """Base of the priors of all codecs; each is one file.

    Attributes:
        name: name of the prior.
        card: what the prior was made from and what it reaches, as plain values; see ``training.card``.
        id: first 8 bytes of the SHA-256 of the file; zeros before the prior was read from one. A file that takes the
            place of an earlier one, whose networks it holds unchanged, states the id of that one instead.
        stands_for: the stated id in hexadecimal, empty if there is none.
    """

    name: str
    card: dict[str, Any] = field(default_factory=dict, kw_only=True)
    id: bytes = field(default=b"\0" * ID_BYTES, kw_only=True)
    stands_for: str = field(default="", kw_only=True)

    format: ClassVar[str]

    @abstractmethod
    def _head(self) -> dict[str, Any]:
        """Return what the description holds besides what all priors state: format, name, card, known answer."""

    @abstractmethod
    def _tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the file, by name."""

    @classmethod
    @abstractmethod
    def _read(cls, head: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
        """Return the fields that the codec adds to those of all priors.

        Raises:
            KeyError, TypeError, ValueError: something is missing or invalid.
        """

    @abstractmethod
    def _check(self, source: str) -> None:
        """Raise FormatError where values do not fit together or are out of range; ``source`` names the file."""

    def _common_head(self) -> dict[str, Any]:
        stated = {"stands_for": self.stands_for} if self.stands_for else {}
        return {"format": self.format, "name": self.name, "card": self.card, **stated}

    @classmethod
    def _read_common(cls, head: dict[str, Any]) -> dict[str, Any]:
        return {"name": str(head["name"]), "card": dict(head["card"]), "stands_for": str(head.get("stands_for", ""))}

    def to_bytes(self) -> bytes:
        """Return the file; equal priors give equal bytes."""
        head = {**self._head(), **self._common_head()}
        return write_prior_bytes(head, {name: value.contiguous() for name, value in self._tensors().items()})

    @classmethod
    def from_bytes(cls, data: bytes, source: str = "prior") -> Self:
        """Read a prior.

        Args:
            data: the file.
            source: name of the file, for errors.

        Raises:
            FormatError: the file is corrupt, incomplete or holds invalid values.
            PriorError: this machine computes the prior's integer networks differently from the one that wrote it.
        """
        head, tensors = read_prior_bytes(data, source, cls.format)
        with naming_bad_fields(source):
            fields = {**cls._read_common(head), **cls._read(head, tensors)}
        prior = cls(id=identity(data, head), **fields)
        prior._check(source)
        return prior

    def as_read_back(self) -> Self:
        """Return the prior as its file gives it, with rounded values and an id."""
        return type(self).from_bytes(self.to_bytes(), self.name)

    def recipe(self, prefix: str = "") -> str:
        """Return the name of the recipe by the card, else the name of the prior without ``prefix``."""
        return str(self.card.get("recipe") or self.name.removeprefix(prefix))

    def with_card(self, card: dict[str, Any]) -> Self:
        """Return the prior with another card, and the id of the file that holds it."""
        return replace(self, card=card, stands_for="").as_read_back()


@dataclass(frozen=True)
class ExactPriorFile(PriorFile):
    """Base of the priors whose networks run in integers.

    Attributes:
        known_answer: hash of what the networks compute from made-up input.
    """

    known_answer: str = field(default="", kw_only=True)

    @abstractmethod
    def _computed_answer(self) -> str:
        """Return what this machine computes for ``known_answer``."""

    def _common_head(self) -> dict[str, Any]:
        return {**super()._common_head(), "known_answer": self.known_answer}

    @classmethod
    def _read_common(cls, head: dict[str, Any]) -> dict[str, Any]:
        return {**super()._read_common(head), "known_answer": str(head["known_answer"])}

    @classmethod
    def from_bytes(cls, data: bytes, source: str = "prior") -> Self:
        """Read a prior; see ``PriorFile.from_bytes``."""
        prior = super().from_bytes(data, source)
        prior._check_answer(source)
        return prior

    def _check_answer(self, source: str) -> None:
        """Raise PriorError unless this machine computes what the one that wrote the file did."""
        if self._computed_answer() != self.known_answer:
            raise PriorError(
                f"{source}: this machine computes the integer networks of the prior differently from the one that "
                "wrote it, so files made with it would be misread: use another machine"
            )

    def with_answer(self) -> Self:
        """Return a new prior as its file gives it, with the known answer of this machine."""
        return replace(self, known_answer=self._computed_answer()).as_read_back()


def write_prior_bytes(head: dict[str, Any], tensors: dict[str, Tensor]) -> bytes:
    """Return a prior's file; equal content gives equal bytes."""
    return safetensors.torch.save(tensors, {"inrcodec": json.dumps(head, sort_keys=True)})


def identity(data: bytes, head: dict[str, Any]) -> bytes:
    """Return the id of a prior's file: the one that its description states, or the first 8 bytes of its SHA-256.

    Raises:
        FormatError: the description states something else than an id.
    """
    stated = stated_identity(head)
    return hashlib.sha256(data).digest()[:ID_BYTES] if stated is None else stated


def stated_identity(head: dict[str, Any]) -> bytes | None:
    """Return the id that the description of a prior's file states, if it does.

    Raises:
        FormatError: it states something else than an id.
    """
    stated = head.get("stands_for", "")
    if not stated:
        return None
    try:
        found = bytes.fromhex(stated)
    except (TypeError, ValueError):
        found = b""
    if len(found) != ID_BYTES:
        raise FormatError(f"the prior's file stands for {stated!r}, which is no id")
    return found


def read_head(data: bytes) -> dict[str, Any]:
    """Return the description in a prior's file, of which ``data`` holds at least the header.

    Raises:
        FormatError: it is not a prior's file.
    """
    try:
        header_length = int.from_bytes(data[:8], "little")
        head = json.loads(json.loads(data[8 : 8 + header_length])["__metadata__"]["inrcodec"])
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise FormatError(f"not a prior of inrcodec ({type(error).__name__})") from None
    if not isinstance(head, dict):
        raise FormatError("not a prior of inrcodec (no description)")
    return head


def read_prior_bytes(data: bytes, source: str, expected: str = "") -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the description and the tensors of a prior's file.

    Args:
        data: the file.
        source: name of the file, for errors.
        expected: format that the file must have; empty for any.

    Raises:
        FormatError: it is not a prior's file, exceeds the size limit or has another format.
    """
    if len(data) > MAX_PRIOR_BYTES:
        raise FormatError(f"{source}: a prior of {len(data)} bytes exceeds the limit of {MAX_PRIOR_BYTES}")
    try:
        tensors = safetensors.torch.load(data)
        head = read_head(data)
    except (safetensors.SafetensorError, ValueError, TypeError) as error:
        raise FormatError(f"{source}: not a prior of inrcodec ({type(error).__name__})") from None
    except FormatError as error:
        raise FormatError(f"{source}: {error}") from None
    if expected and head.get("format") != expected:
        raise FormatError(f"{source}: prior format is {head.get('format')!r}, expected {expected!r}")
    return head, tensors


@contextmanager
def naming_bad_fields(source: str) -> Iterator[None]:
    """Turn errors over missing or invalid fields of a description, or missing tensors, into a FormatError."""
    try:
        yield
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise FormatError(f"{source}: the prior lacks or misstates {error}") from None


AnyPriorFile = TypeVar("AnyPriorFile", bound=PriorFile)


def read_prior_to_fine_tune(path: Path, kind: type[AnyPriorFile], codec: str) -> AnyPriorFile:
    """Read a prior for a training to start from.

    Args:
        path: the prior's file.
        kind: class that the prior must have.
        codec: codec of that class, for errors.

    Raises:
        UsageError: the prior is for another codec. FormatError: the file is no prior.
    """
    data = path.read_bytes()
    head, _ = read_prior_bytes(data, str(path))
    if head.get("format") != kind.format:
        raise UsageError(f"prior {path.stem!r} is not for codec {codec}: start from one that is")
    return kind.from_bytes(data, str(path))
