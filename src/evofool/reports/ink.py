"""The report of `evofool study ink`: one page with the verdict and what it rests on, and the same as files beside it."""

from __future__ import annotations

from pathlib import Path

from ..studies.ink.results import Results


def write(results: Results, directory: Path) -> Path:
    """Write report.html, figures/*.svg and *.png, tables/*.csv and *.json; the same results give the same bytes."""
    from . import ink_page

    return ink_page.publish(results, Path(directory))


def sentences(results: Results) -> list[str]:
    """The sentences that stand on top of the page, the most important first."""
    from ..studies.ink.verdict import verdict

    return verdict(results).headline
