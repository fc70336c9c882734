"""`evofool compare`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import DamagedRunError, UserError
from .common import Json, Quiet, new_directory, printable

if TYPE_CHECKING:
    from ..reports.attack_comparison import Comparison
    from ..reports.sheets import Note
    from ..studies.attack.results import Results

_PAGE = "compare.html"


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN RUN...", help="Directories of finished attacks.", show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="DIR", help=f"Directory to write {_PAGE} to.", show_default=False),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Hold finished attacks against each other: the same images, limit, goal, budget and classifier.

    Runs of one recipe with other seeds are repetitions. Means and medians count a failure as the budget; intervals are
    over images, or over runs where an attack carries something from image to image: those must have been made with
    --shuffle. The first recipe is what the others are held against.
    """
    from ..progress import progress
    from ..reports import attack_comparison, attack_comparison_page, attack_comparison_records

    if out is not None:
        new_directory(out)
    with progress("reading", len(runs), quiet=quiet) as meter:
        read = []
        for path in runs:
            read.append((str(path), _results(path)))
            meter.advance(1)
    found = attack_comparison.compare(read)
    page = None
    if out is not None:
        with progress("writing the page", None, quiet=quiet):
            page = attack_comparison_page.write(found, out)
    if as_json:
        summary = {
            "page": str(page) if page else None,
            "images": found.images,
            "budget": found.results.budget,
            "limit": found.results.limit,
            "recipes": [attack_comparison_records.record(found, entry) for entry in found.entries],
            "pairs": [attack_comparison_records.pair_record(pair) for pair in found.pairs],
            "findings": attack_comparison_page.sentences(found),
        }
        typer.echo(json.dumps(summary))
    elif not quiet:
        for line in told(found):
            typer.echo(printable(line))
        if page:
            typer.echo(f"\npage: {page}")


def told(found: Comparison) -> Iterator[str]:
    """The lines on a terminal: what is compared, the table, the sentences."""
    from ..reports.attack_comparison_page import sentences
    from ..reports.attack_findings import aim
    from ..reports.attack_words import classifier_of

    results = found.results
    yield (
        f"{found.images:,} images of {results.data.get('name', '')} against {classifier_of(results.classifier)}, "
        f"{results.limit}, {aim(results)}; a failure counts as the budget of {results.budget:,} queries"
    )
    yield ""
    yield from _table(found)
    yield ""
    for sentence in sentences(found):
        yield f"• {sentence}"


def _table(found: Comparison) -> Iterator[str]:
    """One line for each entry, and one below it for its intervals; all columns but the first end on the right."""
    from ..reports.attack_words import factor, noted, percent, queries

    ks = [k for k, _ in found.entries[0].firsts]
    head = ["recipe", "runs", "success", "mean", "median", *(f"first {k}" for k in ks)]
    rows: list[Sequence[str | Note]] = [[*head, "x first recipe", "issued", "distinct", "repeated"]]
    for entry in found.entries:
        rows.append(
            [
                _short(entry.name),
                str(len(entry.runs)),
                noted(entry.success, percent),
                noted(entry.mean, queries),
                queries(entry.median),
                *(queries(value) for _, value in entry.firsts),
                noted(entry.against, factor) if entry.against else "",
                queries(entry.issued),
                "not known" if entry.distinct is None else queries(entry.distinct),
                queries(entry.repeated),
            ]
        )
    lines = [line for row in rows for line in _lines(row)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(rows[0]))]
    for first, *others in lines:
        ends = (f"{text:>{width}}" for text, width in zip(others, widths[1:], strict=True))
        yield "  ".join([f"{first:<{widths[0]}}", *ends]).rstrip()


def _lines(row: Sequence[str | Note]) -> Iterator[list[str]]:
    """The line of a row, and the one of its intervals, if it has any."""
    yield [cell if isinstance(cell, str) else cell.text for cell in row]
    if any(not isinstance(cell, str) for cell in row):
        yield ["" if isinstance(cell, str) else cell.below for cell in row]


def _short(name: str) -> str:
    return printable(name if len(name) <= 30 else f"{name[:29]}…")


def _results(path: Path) -> Results:
    """The numbers of a finished attack, as they were written.

    Raises:
        UserError: it is not there, not an attack, or has not come to its end.
        DamagedRunError: its numbers have changed since.
    """
    from .. import rundir
    from ..files import sha256
    from ..studies.attack.results import load

    file = path / "study.json"
    if (path / "run.json").is_file():
        kind = rundir.read_run(path)["kind"]
        if kind != "attack":
            raise UserError(f"{path}: is a run of the kind '{kind}'; expected one that `evofool attack` wrote")
    if not file.is_file():
        unfinished = (path / "run.json").is_file()
        raise UserError(
            f"{path}: the attack has not come to its end; `evofool resume {path}` goes on with it"
            if unfinished
            else f"{path}: no study.json there; expected the directory that `evofool attack` wrote"
        )
    written = (rundir.read_manifest(path) or {}).get(file.name, {}).get("sha256")
    if written and sha256(file) != written:
        raise DamagedRunError(f"{file}: has changed since the run was closed; restore the run from a copy")
    return load(file)
