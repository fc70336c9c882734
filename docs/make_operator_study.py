"""Writes docs/operator-study.md and its figures from the numbers of the runs, or checks that they agree.

python docs/make_operator_study.py                     from docs/operator-study/study.json
python docs/make_operator_study.py --from runs/oreo    take over the numbers and galleries of a run first
python docs/make_operator_study.py --check             fail where the page says something else than the numbers
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import sys
import tempfile
from pathlib import Path

from evofool.files import write_bytes
from evofool.reports import analysis, markdown, page
from evofool.studies.operators import results

HERE = Path(__file__).parent
PAGE = HERE / "operator-study.md"
NUMBERS = HERE / "operator-study"

INTRODUCTION = """
<!-- Written by docs/make_operator_study.py from docs/operator-study/study.json.gz. Change those, not this page. -->

Timbe, Carreiras and Munhangane (*Breaking CNNs - MNIST Dataset*, NOVA IMS, 2021) let a genetic algorithm evolve 1,000
MNIST test images against a CNN of 95% accuracy: three selections x two crossovers x two mutations, and once more with
elitism, one run each. Here is the same study with ten seeds, three CNNs, controls without selection, an independent
judge, and every claim tested. It is repeated by

```
evofool study operators --data mnist --classifier mnist95,mnist95b,mnist95c --parts all -o runs/oreo/
python docs/make_operator_study.py --from runs/oreo/
```

**How to read it.** The algorithm maximises doubt: the fitness is (nearly) one minus the classifier's largest
probability, summed over the population to the *total fitness*. A child carries the label of the parent that gave it
most. *Accuracy* is the share of the last generation that the classifier still takes for the label it carries, so a low
one means that many images mislead it; whether they are still digits to anyone else is what the judge tells.
"""


def layout(source: Path) -> page.Page:
    """The page of the study whose numbers lie in a directory."""
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "study.json"
        plain.write_bytes(gzip.decompress((source / "study.json.gz").read_bytes()))
        found = results.load(plain)
    return page.page(found, analysis.analyse(found), source)


def take_over(run: Path) -> None:
    """Copy the numbers and galleries of a run; the numbers are packed, without a date."""
    found = results.load(run / "study.json")
    NUMBERS.mkdir(exist_ok=True)
    write_bytes(NUMBERS / "study.json.gz", gzip.compress((run / "study.json").read_bytes(), 9, mtime=0))
    shutil.rmtree(NUMBERS / "images", ignore_errors=True)
    (NUMBERS / "images").mkdir()
    for gallery in found.galleries:
        shutil.copyfile(run / gallery.file, NUMBERS / gallery.file)


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="run", type=Path, metavar="RUN", help="directory of a finished study")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where the page differs")
    options = parser.parse_args()
    if options.run:
        take_over(options.run)
    made = layout(NUMBERS)
    text = markdown.render(made, introduction=INTRODUCTION, figures="operator-study/figures")
    if options.check:
        if PAGE.read_text() != text:
            print(f"{PAGE}: differs from its numbers; run `make docs` and look at the change", file=sys.stderr)
            return 1
        print(f"{PAGE.name}: agrees with its numbers")
        return 0
    shutil.rmtree(NUMBERS / "figures", ignore_errors=True)
    names = markdown.write_figures(made, NUMBERS / "figures")
    write_bytes(PAGE, text.encode())
    print(f"{PAGE}: {len(text):,} characters, {len(names)} figures")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
