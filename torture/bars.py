"""What a section found: bars that are met or missed, and the figures behind them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Bar:
    """A figure that was promised, and whether it was reached.

    Attributes:
        what: is looked at.
        found: what came out, with its unit.
        expected: what was promised.
        met: whether it holds.
    """

    what: str
    found: str
    expected: str
    met: bool

    def __str__(self) -> str:
        return f"{'met' if self.met else 'MISSED':>6}  {self.what}: {self.found} (expected {self.expected})"


@dataclass
class Outcome:
    """What one section came to.

    Attributes:
        bars: what was promised.
        figures: everything counted on the way.
        notes: what a reader has to know, such as what was left out and why, or the first things that went wrong.
    """

    bars: list[Bar] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def met(self) -> bool:
        """Whether there are bars, and all of them hold."""
        return bool(self.bars) and all(bar.met for bar in self.bars)

    def none(self, what: str, wrong: list[str], of: int) -> None:
        """A bar for something that must not happen; the first cases of it become notes.

        Args:
            what: must not happen.
            wrong: the cases of it.
            of: how often it could have happened; never is no proof.
        """
        self.bars.append(Bar(what, f"{len(wrong):,} of {of:,}", "0 of at least 1", not wrong and of > 0))
        self.notes += wrong[:12]

    def at_least(self, what: str, found: int, least: int) -> None:
        """A bar for something that has to happen so often."""
        self.bars.append(Bar(what, f"{found:,}", f"at least {least:,}", found >= least))

    def at_most(self, what: str, found: float, most: float, unit: str = "") -> None:
        """A bar for a number that stays small."""
        self.bars.append(Bar(what, f"{found:,.4g}{unit}", f"at most {most:,g}{unit}", found <= most))
