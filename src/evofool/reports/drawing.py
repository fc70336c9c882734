"""The report of `evofool draw`: one page with the drawings and what they took, and the same as files beside it."""

from __future__ import annotations

from pathlib import Path

from .. import rundir
from ..studies.draw.results import Results
from . import drawing_findings, drawing_page, drawing_records, drawing_tables, html


def write(results: Results, directory: Path) -> Path:
    """Write report.html, figures/*.svg and *.png, tables/*.csv and *.json; the same results give the same bytes.

    Each file appears whole or not at all.

    Args:
        results: of drawing.
        directory: the run directory, where the report goes; its findings, if they are there, are named by number.

    Returns:
        The path of the page.
    """
    directory = Path(directory)
    known = {finding.seed: finding.number for finding in rundir.findings(directory)}
    numbers = drawing_tables.analyse(results, known)
    return html.publish(drawing_page.page(results, numbers), drawing_records.records(results, numbers), directory)


def sentences(results: Results) -> list[str]:
    """The findings that stand on top of the page, the most important first."""
    numbers = drawing_tables.analyse(results)
    return [finding.text for finding in drawing_findings.findings(results, numbers)]
