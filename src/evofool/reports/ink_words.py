"""Numbers of an ink study in short words, for figures and cells."""

from __future__ import annotations

from collections.abc import Sequence

from ..studies.ink.evidence import Effect
from ..studies.ink.measures import Change, EdgeIndex, Mean
from .sheets import Note

UNIT = "log-odds added by one pixel"
TICKS = ("less", "", "0", "", "more")  # on a colour scale of shares


def between(of: EdgeIndex | Change | Mean | Effect, *, signed: bool = False, digits: int = 2) -> str:
    """A number with its interval, short."""
    estimate = of.estimate
    if estimate is None:
        return "not known"
    if of.low is None or of.high is None:
        return f"{_short(estimate, signed, digits)} (no interval)"
    low, high = (_short(end, signed, digits) for end in (of.low, of.high))
    return f"{_short(estimate, signed, digits)} ({low} to {high})"


def _short(value: float, signed: bool, digits: int) -> str:
    text = f"{value:{'+' if signed else ''}.{digits if abs(value) < 100 else 0}f}"
    if not any(character in "123456789" for character in text):
        text = text.lstrip("+-")
    return text.replace("-", "\N{MINUS SIGN}")


def noted(of: EdgeIndex | Change | None, *, signed: bool = False) -> Note | None:
    """A number above its interval; None where it is not known."""
    if of is None or of.estimate is None:
        return None
    number, _, rest = between(of, signed=signed).partition(" ")
    return Note(number, rest.strip("()"))


def index_lines(index: EdgeIndex) -> tuple[str, str]:
    """An edge index and its interval, for two lines above a map."""
    number, _, rest = between(index).partition(" ")
    return (f"edge index {number}", rest.strip("()")) if index.estimate is not None else ("no edge index", "")


def signed_number(value: float) -> str:
    """Two decimals, always with a sign."""
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def level_of(levels: Sequence[float]) -> str:
    """A gray level or a colour in words."""
    if len(set(levels)) == 1:
        name = {0.0: "black", 1.0: "white"}.get(round(levels[0], 2), "gray")
        return f"{name}, gray level {levels[0]:.3g}"
    return f"colour {', '.join(f'{level:.3g}' for level in levels)}"
