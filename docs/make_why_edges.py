"""Writes docs/why-edges.md and its figures from the numbers of the runs, or checks that they agree.

python docs/make_why_edges.py                              from docs/why-edges/*.json.gz
python docs/make_why_edges.py --from runs/cat --as cat     take over the numbers of a run first
python docs/make_why_edges.py --check                      fail where the page says something else than the numbers
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from why_edges_words import AROUND, introduction

from evofool.files import write_bytes
from evofool.reports import ink_page, ink_tables, markdown
from evofool.studies.ink import measures, verdict
from evofool.studies.ink.results import Results, load

HERE = Path(__file__).parent
PAGE = HERE / "why-edges.md"
NUMBERS = HERE / "why-edges"
MAIN = "cat"


def studies() -> dict[str, Results]:
    """The numbers at hand, by name; the one that the page explains first."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for packed in sorted(NUMBERS.glob("*.json.gz"), key=lambda path: (path.name != f"{MAIN}.json.gz", path.name)):
            plain = Path(folder) / packed.name.removesuffix(".gz")
            plain.write_bytes(gzip.decompress(packed.read_bytes()))
            found[packed.name.removesuffix(".json.gz")] = load(plain)
    return found


def take_over(run: Path, name: str) -> None:
    """Copy the numbers of a run, packed, without a date."""
    load(run / "study.json")
    NUMBERS.mkdir(exist_ok=True)
    write_bytes(NUMBERS / f"{name}.json.gz", gzip.compress((run / "study.json").read_bytes(), 9, mtime=0))


def beside(found: dict[str, Results]) -> Iterator[str]:
    """The same study on other networks: one row each, and what repeats it."""
    yield "## The same on other networks\n"
    yield "| network | wanted | runs | edge index of the question's setting | best pixels alone | accused |"
    yield "| --- | --- | ---: | --- | --- | --- |"
    for results in found.values():
        index = measures.edge_index(results, results.base)
        judged = verdict.verdict(results)
        only = ink_tables.path_only(results)
        accused = ", ".join(cause.name for cause in judged.causes if cause.accused) or "nothing"
        interval = (
            "–" if index.estimate is None or only else f"{index.estimate:.2f} ({index.low:.2f} to {index.high:.2f})"
        )
        chosen = results.map_of(results.classifiers[0]["name"])
        best = "–" if chosen is None else f"{landscape_words(chosen)}"
        cells = [
            str(results.classifiers[0]["label"]),
            results.class_names[results.target],
            str(len(results.of(results.base))),
            interval,
            best,
            "path only: nothing to conclude" if only else accused,
        ]
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    digits = [measures.edge_index(results, results.base).estimate for name, results in found.items() if "mnist" in name]
    known = [estimate for estimate in digits if estimate is not None]
    if known and min(known) > 1:
        yield ""
        yield (
            f"The same way to draw puts ink nearer to the *middle* on MNIST, whose digits stand there: edge index "
            f"{min(known):.2f} to {max(known):.2f}. It is the network that decides, and what it was taught."
        )
    yield ""
    yield "Repeated by"
    yield ""
    yield "```text"
    yield from (results.command for results in found.values())
    yield "```"


def landscape_words(found: object) -> str:
    """Where the best twentieth of all single pixels lie, beside all that were tried."""
    from evofool.studies.ink import landscape

    index = landscape.landscape_index(found)  # type: ignore[arg-type]
    return "–" if index is None else f"{index:.2f} of the mean distance"


def text(found: dict[str, Results]) -> str:
    """The page."""
    main = found[MAIN]
    layout = ink_page.page(main, ink_tables.analyse(main))
    made = markdown.render(layout, introduction=introduction(main), figures="why-edges/figures")
    others = {name: results for name, results in found.items() if name != MAIN}
    return f"{made}\n{AROUND}" + ("\n" + "\n".join(beside(found)) + "\n" if others else "")


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="run", type=Path, metavar="RUN", help="directory of a finished study")
    parser.add_argument("--as", dest="name", default=MAIN, metavar="NAME", help=f"what to call it ({MAIN})")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where the page differs")
    options = parser.parse_args()
    if options.run:
        take_over(options.run, options.name)
    found = studies()
    made = text(found)
    if options.check:
        if PAGE.read_text() != made:
            print(f"{PAGE}: differs from its numbers; run `make docs` and look at the change", file=sys.stderr)
            return 1
        print(f"{PAGE.name}: agrees with its numbers")
        return 0
    shutil.rmtree(NUMBERS / "figures", ignore_errors=True)
    layout = ink_page.page(found[MAIN], ink_tables.analyse(found[MAIN]))
    count = len(markdown.write_figures(layout, NUMBERS / "figures"))
    write_bytes(PAGE, made.encode())
    print(f"{PAGE}: written, with {count} figures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
