"""The report of `evofool attack`: one page with the images and what they took, and the same as files beside it."""

from __future__ import annotations

from pathlib import Path

from .. import rundir
from ..studies.attack.results import Results
from . import attack_findings, attack_page, attack_records, attack_tables, html


def write(results: Results, directory: Path) -> Path:
    """Write report.html, figures/*.svg and *.png, tables/*.csv and *.json; the same results give the same bytes.

    Each file appears whole or not at all.

    Args:
        results: of an attack.
        directory: the run directory, where the images are and the report goes; its findings, if they are there, are
            named by number.

    Returns:
        The path of the page.
    """
    directory = Path(directory)
    known = {finding.file: finding.number for finding in rundir.findings(directory)}
    numbers = attack_tables.analyse(results, known)
    layout = attack_page.page(results, numbers, directory)
    return html.publish(layout, attack_records.records(results, numbers), directory)


def sentences(results: Results) -> list[str]:
    """The findings that stand on top of the page, the most important first."""
    numbers = attack_tables.analyse(results)
    return [finding.text for finding in attack_findings.findings(results, numbers)]
