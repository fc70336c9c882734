"""Writes the figures of docs/reliability.md from those of the last torture run, or checks that they agree.

python docs/make_reliability.py                                     from docs/reliability.json
python docs/make_reliability.py --from torture.json [another.json]  take over sections of runs first
python docs/make_reliability.py --check                             fail where the page says something else
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from evofool.files import write_bytes

HERE = Path(__file__).parent
PAGE = HERE / "reliability.md"
NUMBERS = HERE / "reliability.json"
BEGIN, END = "<!-- figures: written by docs/make_reliability.py -->", "<!-- end of figures -->"

TITLES = {
    "kills": "Killed at random moments",
    "counting": "Counted by the classifier itself",
    "cuts": "Files cut off",
    "flips": "Bits flipped, pages zeroed",
    "faults": "Disks, permissions, handles, clocks, targets that fail",
    "locks": "Locks",
    "long": "100,000 generations",
    "same": "The same results, whoever shares the batch or the work",
    "cost": "What it costs",
}


def take_over(files: list[Path]) -> None:
    """Merge sections of torture runs into the numbers of the page; each keeps its date and machine."""
    known: dict[str, Any] = json.loads(NUMBERS.read_text()) if NUMBERS.is_file() else {}
    for file in files:
        content = json.loads(file.read_text())
        if content["short"]:
            sys.exit(f"{file}: holds a short run; expected one of `make torture`")
        for name, section in content["sections"].items():
            for fault in section["figures"].get("faults", {}).values():
                if isinstance(fault, dict):
                    fault.pop("words", None)  # they name folders of the machine it ran on
            known[name] = {"date": content["date"], "machine": content["machine"], **section}
    ordered = {name: known[name] for name in TITLES if name in known}
    write_bytes(NUMBERS, (json.dumps(ordered, indent=1) + "\n").encode())


def figures() -> str:
    """The part of the page between its marks."""
    sections = json.loads(NUMBERS.read_text())
    lines = []
    for name, section in sections.items():
        lines += [
            "",
            f"### {TITLES[name]}",
            "",
            f"`python torture/run.py --only {name}`, {section['date']}, {section['seconds']:,.0f} s:",
            "",
            "| | found | expected | |",
            "| --- | --- | --- | --- |",
        ]
        for bar in section["bars"]:
            mark = "met" if bar["met"] else "**missed**"
            expected = bar["expected"].removesuffix(" of at least 1")  # which the bar itself looks after
            lines.append(f"| {_cell(bar['what'])} | {_cell(bar['found'])} | {_cell(expected)} | {mark} |")
        told = [f"{key} {_told(value)}" for key, value in section["figures"].items() if not isinstance(value, dict)]
        lines += ["", f"Counted on the way: {'; '.join(told)}."] if told else []
        for key, value in section["figures"].items():
            if isinstance(value, dict) and all(isinstance(part, dict) for part in value.values()):
                columns = list(next(iter(value.values())))
                lines += ["", f"| {key} | {' | '.join(columns)} |", f"| --- |{' --- |' * len(columns)}"]
                lines += [f"| {row} | {' | '.join(_told(p[c]) for c in columns)} |" for row, p in value.items()]
            elif isinstance(value, dict):
                parts = "; ".join(f"{name} {_told(number)}" for name, number in value.items())
                lines += ["", f"{key[0].upper()}{key[1:]}: {parts}."]
        lines += ["", *(f"- {note}" for note in section["notes"])] if section["notes"] else []
    return "\n".join([*lines, ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _told(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_told(inner)}" for key, inner in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_told, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def main() -> None:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="files", metavar="FILE", type=Path, nargs="+", help="what torture/run.py wrote")
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    options = parser.parse_args()
    if options.files:
        take_over(options.files)
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    wanted = f"{before}{BEGIN}\n{figures()}\n{END}{after}"
    if options.check:
        if wanted != text:
            sys.exit(f"{PAGE}: says something else than {NUMBERS.name}; run python docs/make_reliability.py")
        return
    write_bytes(PAGE, wanted.encode())


if __name__ == "__main__":
    main()
