"""How a report writes numbers."""

from __future__ import annotations


def number(value: float, digits: int | None, *, sign: bool = False) -> str:
    """A number with a real minus sign and thousands apart."""
    text = f"{value:{'+' if sign else ''},.{digits or 0}f}"
    if not any(character in "123456789" for character in text):
        text = text.lstrip("+-")
    return text.replace("-", "\N{MINUS SIGN}")
