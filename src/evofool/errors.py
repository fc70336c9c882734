"""Every error that evofool raises on purpose, with the exit code that the command line gives it.

    EvofoolError
    ├── UserError (2)              the command, a file or a setting is wrong; the message says what to do
    │   ├── DataError              a data file or folder cannot be read as images with labels
    │   ├── ClassifierError        a classifier cannot be loaded, or does not fit the data
    │   └── SpecError              an unknown key, operator or value in a configuration
    ├── TargetError (3)            the classifier failed to answer
    │   └── OutOfMemoryError       there was not memory enough for so many images at once
    └── DamagedRunError (4)        a run directory is not what was written

A message is one line: what was found, what was expected, what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EvofoolError(Exception):
    """Root of the tree. `exit_code` is what a shell sees."""

    exit_code = 1


class UserError(EvofoolError):
    """Something the user gave is wrong, and the user can put it right."""

    exit_code = 2


class DataError(UserError):
    """A data file or folder cannot be read as images with labels."""


class SizesError(DataError):
    """Images differ in size, and nobody says to which they are to be brought."""


class ClassifierError(UserError):
    """A classifier cannot be loaded, or does not fit the data."""


class SpecError(UserError, ValueError):
    """An unknown key, operator or value in a configuration."""


class TargetError(EvofoolError):
    """The classifier failed to answer.

    Args:
        message: one line for the user.
        retry_after: seconds that the target asked us to wait, if it did.
        fatal: nothing more is to be asked: it would not be answered either.
        again: whether the same request may be sent again; else its images have no answer.
        busy: it refused the request because it has too much to do, whatever stood in it.
    """

    exit_code = 3

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        fatal: bool = False,
        again: bool = True,
        busy: bool = False,
    ):
        super().__init__(message)
        self.retry_after = retry_after
        self.fatal = fatal
        self.again = again and not fatal
        self.busy = busy


class OutOfMemoryError(TargetError):
    """There was not memory enough for so many images at once."""


class DamagedRunError(EvofoolError):
    """A run directory is not what was written."""

    exit_code = 4


class ClassifierWarning(UserWarning):
    """Something to mind about a classifier; the command line prints it as a line."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message about an unknown name: the nearest known one, and all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return f"{hint} (known: {', '.join(known)})"
