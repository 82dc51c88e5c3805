"""Where priors are found: the shipped ones by name or id, others by path.

Searched in order: the folder named by the environment variable INRCODEC_PRIORS, the priors that the installed package
carries, the ``priors`` folder of a checkout. A file is named by its stem; its id is a hash of its bytes,
or the one that its description states (``prior_file.identity``).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from inrcodec.codecs.base import Prior
from inrcodec.codecs.prior_file import ID_BYTES, MAX_PRIOR_BYTES, read_head, read_prior_bytes, stated_identity
from inrcodec.codecs.registry import family_of_format, provided
from inrcodec.errors import FormatError, PriorError
from inrcodec.parallel.forks import settle_in_fork

ENVIRONMENT = "INRCODEC_PRIORS"
MAX_HEADER_BYTES = 1 << 20
"""Descriptions of priors are no longer than this; other files are named by their hash alone."""
_PACKAGE = Path(__file__).resolve().parents[1]


def folders() -> list[Path]:
    """Folders that are searched, those that exist."""
    named = os.environ.get(ENVIRONMENT)
    candidates = [*([Path(named)] if named else []), _PACKAGE / "_priors", _PACKAGE.parent / "priors"]
    return [folder for folder in candidates if folder.is_dir()]


def prior_files() -> dict[str, Path]:
    """Name to file of all priors that are found; of two files of one name the first folder's."""
    found: dict[str, Path] = {}
    for folder in folders():
        for path in sorted(folder.glob("*.safetensors")):
            found.setdefault(path.stem, path)
    return found


@lru_cache(maxsize=64)
def _file_id(path: Path, size: int, modified_ns: int) -> bytes:
    with path.open("rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if length <= MAX_HEADER_BYTES:
            with suppress(FormatError):
                stated = stated_identity(read_head(start + file.read(length)))
                if stated is not None:
                    return stated
        file.seek(0)
        return hashlib.file_digest(file, "sha256").digest()[:ID_BYTES]


def file_id(path: Path) -> bytes:
    """Id of a prior file, see ``prior_file.identity``."""
    status = path.stat()
    return _file_id(path, status.st_size, status.st_mtime_ns)


def _all_files() -> Iterator[Path]:
    for folder in folders():
        yield from sorted(folder.glob("*.safetensors"))


@lru_cache(maxsize=4)
def _load(path: Path, identity: bytes) -> Prior:
    if path.stat().st_size > MAX_PRIOR_BYTES:
        raise FormatError(f"{path}: larger than the limit of {MAX_PRIOR_BYTES} bytes for a prior")
    # The known answer of a prior is computed when it is loaded.
    settle_in_fork()
    data = path.read_bytes()
    head, _ = read_prior_bytes(data, str(path))
    family = family_of_format(str(head.get("format")), str(path))
    return provided(family, family.load_prior, "no learned priors")(data, str(path))


def load(path: Path) -> Prior:
    """The prior in a file, kept in memory while it is one of the last four used."""
    try:
        return _load(path, file_id(path))
    except OSError as error:
        raise PriorError(f"{path}: prior cannot be read: {error.strerror}") from None


def find(name_or_path: str | Path) -> Prior:
    """A prior by name, by hexadecimal id or by path; PriorError lists what there is."""
    return load(path_of(name_or_path))


def path_of(name_or_path: str | Path) -> Path:
    """The file of a prior by name, by hexadecimal id or by path; PriorError lists what there is."""
    text = str(name_or_path)
    files = prior_files()
    if text in files:
        return files[text]
    if Path(text).is_file():
        return Path(text)
    for path in _all_files():
        if file_id(path).hex() == text.lower():
            return path
    raise PriorError(f"no prior {text!r}: neither a file nor one of {', '.join(files) or '(none found)'}")


def find_id(identity: bytes) -> Prior:
    """The prior that a file was made with; PriorError names the id when it is not at hand."""
    for path in _all_files():
        if file_id(path) == identity:
            return load(path)
    have = ", ".join(f"{name} {file_id(path).hex()}" for name, path in prior_files().items()) or "none"
    raise PriorError(
        f"the file needs prior {identity.hex()}, which is not here (have: {have}); "
        f"put it into a folder named by {ENVIRONMENT} or pass it with --prior"
    )
