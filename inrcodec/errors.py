"""All errors that this package raises on purpose: one family, with a single base class.

    InrcodecError
      UsageError            contradictory options or arguments, or values out of range
      DataError             a signal or file that cannot be used
        FormatError           a corrupt, foreign or unsupported file
        LimitError            a size that exceeds the limits
        UnsupportedError      an input that cannot be represented
        PriorError            a wrong or missing prior
      WorkersError          worker processes or machines that died or cannot be reached

``LossWarning`` names what a file could not keep; it is a warning, not an error.

Each class has the exit code of the command line. Bugs of the package itself raise ``AssertionError``.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TypeVar

Value = TypeVar("Value")


class InrcodecError(Exception):
    """Is the base class of all errors that this package raises on purpose; the message is one line."""

    exit_code = 1


class UsageError(InrcodecError, ValueError):
    """Options or arguments contradict each other or are out of range; also a ValueError."""

    exit_code = 2


class DataError(InrcodecError):
    """A signal or file cannot be used: it is not an image, is empty, has NaN samples, cannot be read or written."""


class FormatError(DataError):
    """An .inr, .inrs or prior file is corrupt, foreign, or of an unsupported version."""


class LimitError(DataError):
    """A size or number exceeds ``Limits``, or the range of a code."""


class UnsupportedError(DataError):
    """A valid input has a property that this package or codec cannot represent."""


class PriorError(DataError):
    """A prior is wrong or missing; the message names its id."""


class WorkersError(InrcodecError):
    """Worker processes or machines cannot be reached, or have died."""


class LossWarning(UserWarning):
    """Something was left out of a signal or file that could not hold it; the message names it in one line."""


def warn_of_losses(name: str, what: str, lost: Sequence[str]) -> None:
    """Issue one ``LossWarning`` of one line that names what is lost; none if nothing is.

    Args:
        name: the file or signal.
        what: what happened to it, such as "not kept".
        lost: what is lost, in words; of more than 12 the rest is counted.
    """
    if lost:
        words = [" ".join("".join(c if c.isprintable() else "?" for c in text).split()) for text in dict.fromkeys(lost)]
        shown = ", ".join(words[:12]) + (f" and {len(words) - 12} more" if len(words) > 12 else "")
        warnings.warn(f"{name}: {what}: {shown}", LossWarning, stacklevel=3)


def look_up(table: Mapping[str, Value], name: str, what: str) -> Value:
    """Return the entry of a table of choices.

    Args:
        table: choices by name.
        name: the name that was asked for.
        what: what the choices are, for the message.

    Raises:
        UsageError: there is no entry of this name; the message lists those that there are.
    """
    if name not in table:
        raise UsageError(f"{what} must be one of {', '.join(table)}, got {name!r}")
    return table[name]
