"""The speed of the operator study, section by section: `python benchmarks/operators.py [--quick] [--json FILE]`.

Everything runs on one thread. A missed bar is told and is no failure: this informs, it does not judge.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evofool.executors.local import ONE_THREAD

os.environ.update(ONE_THREAD)  # before torch is loaded, and for the processes that sections start

import torch

import floor
import generation
import randomness
import rivals
import scaling
import study
from evofool.classifiers import shipped
from evofool.errors import UserError
from report import Bar
from setting import DATA, Setting, hardware, load_average

SECTIONS = {
    "floor": "the forward pass in every layout, micro-batch and allocator",
    "generation": "a whole generation beside the forward pass, for each scenario",
    "rivals": "the same in DEAP, PyGAD, pymoo and a plain NumPy loop",
    "scaling": "population 1,000 to 100,000, and seeds side by side",
    "random": "random numbers beside torch.rand",
    "study": "what a finished study took; needs --timings",
}


def main() -> int:
    """Run the chosen sections and print them as they end."""
    options = _options()
    torch.set_num_threads(1)
    load = load_average()
    machine = hardware()
    print(*(f"{name}: {value}" for name, value in machine.items()), sep="\n")
    if load > 0.5:
        print(f"load: {load:.1f} before the start: other programs are running, and every figure suffers from them")
    results: dict[str, Any] = {}
    missed: list[Bar] = []
    for name, result, bars in _sections(options):
        results[name] = {"result": _plain(result), "bars": [asdict(bar) for bar in bars]}
        missed += [bar for bar in bars if not bar.met]
        print("", *bars, sep="\n", flush=True)
    print("", f"{len(missed)} bars missed" if missed else "no bar missed", *missed, sep="\n")
    if options.json:
        content = {"machine": machine, "load": load, "quick": options.quick, "sections": results}
        options.json.write_text(json.dumps(content, indent=1) + "\n")
    return 0


def _sections(options: argparse.Namespace) -> Iterator[tuple[str, Any, list[Bar]]]:
    """Run and show the chosen sections one after the other."""
    quick, population = options.quick, 1000
    for name in options.only:
        print(f"\n=== {name}: {SECTIONS[name]}\n", flush=True)
        if name == "floor":
            for classifier in options.classifiers:
                floors = floor.measure(Setting.load(classifier), images=population, rounds=5 if quick else 15)
                floor.show(floors)
                yield f"floor {classifier}", floors, floor.bars(floors)
        elif name == "generation":
            rows = generation.measure(
                Setting.load(options.classifiers[0]), population=population, rounds=5 if quick else 21
            )
            generation.show(rows)
            yield name, rows, generation.bars(rows)
        elif name == "rivals":
            tables = rivals.measure(
                Setting.load(options.classifiers[0]), population=population, rounds=3 if quick else 15
            )
            rivals.show(tables)
            yield name, tables, []
        elif name == "scaling":
            largest = 10_000 if quick else scaling.POPULATIONS[-1]
            curves = scaling.measure(options.classifiers[0], largest=largest, rounds=5 if quick else 15)
            scaling.show(curves)
            yield name, curves, scaling.bars(curves)
        elif name == "random":
            numbers = randomness.measure(rounds=10 if quick else 50)
            randomness.show(numbers)
            yield name, numbers, randomness.bars(numbers)
        elif name == "study":
            spent = study.measure(options.timings)
            study.show(spent)
            yield name, spent, study.bars(spent)


def _plain(value: Any) -> Any:
    """As JSON values; keys of several words become one."""
    if isinstance(value, dict):
        return {key if isinstance(key, str) else ", ".join(map(str, key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.epilog = "sections:\n" + "\n".join(f"  {name:11} {about}" for name, about in SECTIONS.items())
    names = [name for name in DATA if name in shipped() and name != "mnist99"]
    parser.add_argument("--only", metavar="A,B", help="sections to run (all)", default="")
    parser.add_argument("--quick", action="store_true", help="few repetitions and small sizes: to see that it works")
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write all figures here")
    parser.add_argument("--timings", metavar="FILE", type=Path, help="timings.json of a finished study")
    parser.add_argument(
        "--classifiers",
        metavar="A,B",
        default=",".join(names),
        help="shipped ones; all but `floor` take the first (%(default)s)",
    )
    options = parser.parse_args()
    options.only = options.only.split(",") if options.only else [s for s in SECTIONS if s != "study" or options.timings]
    options.classifiers = options.classifiers.split(",")
    for name in options.only:
        if name not in SECTIONS:
            parser.error(f"unknown section '{name}'; expected some of {', '.join(SECTIONS)}")
    for name in options.classifiers:
        if name not in DATA or name not in shipped():
            parser.error(f"unknown classifier '{name}'; expected some of {', '.join(names)}")
    if "study" in options.only and not options.timings:
        parser.error("the section 'study' needs --timings FILE")
    return options


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
