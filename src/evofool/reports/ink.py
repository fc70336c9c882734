"""The report of `evofool study ink`: one page with the verdict and its evidence, and the same as files beside it."""

from __future__ import annotations

from pathlib import Path

from .. import rundir
from ..studies.ink.results import Results
from . import html, ink_page, ink_records, ink_tables


def write(results: Results, directory: Path) -> Path:
    """Write report.html, figures/*.svg and *.png, tables/*.csv and *.json; the same results give the same bytes.

    Each file appears whole or not at all.

    Args:
        results: of the study.
        directory: the run directory, where the report goes; its findings, if they are there, are named by number.

    Returns:
        The path of the page.
    """
    directory = Path(directory)
    known = {(finding.arm, finding.seed): finding.number for finding in rundir.findings(directory)}
    numbers = ink_tables.analyse(results, known)
    return html.publish(ink_page.page(results, numbers), ink_records.records(results, numbers), directory)


def sentences(results: Results) -> list[str]:
    """The sentences that stand on top of the page, the most important first."""
    return ink_tables.top(results, ink_tables.analyse(results))
