"""The one family of errors: whatever a caller, a flag or a file gets wrong.

Each carries the exit code that the command line ends with. Bugs of the package itself are ``AssertionError``.
"""

from __future__ import annotations


class InrcodecError(Exception):
    """Base of all errors that this package raises on purpose; the message is one line."""

    exit_code = 1


class UsageError(InrcodecError, ValueError):
    """Options or arguments contradict each other or are out of range; also a ValueError."""

    exit_code = 2


class DataError(InrcodecError):
    """A signal that cannot be used: not an image, empty, NaN samples, unreadable, unwritable."""


class FormatError(DataError):
    """An .inr, .inrs or prior file that is damaged, foreign or of a later version."""


class LimitError(DataError):
    """Something that exceeds ``Limits``."""


class UnsupportedError(DataError):
    """A valid input with something that this codec cannot carry."""


class PriorError(DataError):
    """A wrong or missing prior; the message names its id."""


class WorkersError(InrcodecError):
    """Other processes or machines that cannot be reached, have gone or die."""
