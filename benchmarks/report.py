"""Tables for a terminal, and bars that are met or missed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Bar:
    """A figure that was promised, and whether it was reached.

    Attributes:
        what: is measured.
        found: what came out, with its unit.
        limit: what was promised.
        met: whether it holds.
    """

    what: str
    found: str
    limit: str
    met: bool

    def __str__(self) -> str:
        return f"{verdict(self.met):>6}  {self.what}: {self.found} ({self.limit})"


def verdict(met: bool) -> str:
    """A word that cannot be overlooked."""
    return "met" if met else "MISSED"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their heads; the first column stands left, the others right."""
    widths = [max(len(line[column]) for line in (heads, *rows)) for column in range(len(heads))]
    for line in (heads, ["-" * width for width in widths], *rows):
        others = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        print("  ".join([line[0].ljust(widths[0]), *others]).rstrip())
