"""One whole generation beside the forward pass of its images, and where the rest goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from statistics import median
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import report
from evofool import criteria, genome
from evofool.algorithms import ga
from evofool.classifiers.torch import TorchClassifier
from evofool.encodings.pixels import Pixels
from evofool.ledger import Ledger
from evofool.spec import Op
from evofool.studies.operators.shards import Curves
from setting import Evolution, Setting, arms
from timing import Stopwatch, alternate, ratio

LIMIT = 1.15
PARTS = ("selection", "mating", "mutation", "decoding", "ledger", "network", "objective", "tell", "curves", "the rest")
_FAMILIES = {"crossover": "mating", "objectives": "objective", "survival": "tell"}
_OF_GENOME = {"take": "mating", "cross": "mating", "edit": "mutation"}
_METHODS: tuple[tuple[Any, str, str], ...] = (
    (Pixels, "repair", "decoding"),
    (Pixels, "decode", "decoding"),
    (Ledger, "ask", "ledger"),
    (TorchClassifier, "__call__", "network"),
    (criteria, "misclassified", "objective"),
    (ga.GeneticAlgorithm, "tell", "tell"),
    (Curves, "__call__", "curves"),
)


def measure(setting: Setting, *, population: int, rounds: int) -> list[dict[str, Any]]:
    """One row for each of the twelve scenarios and for elitism."""
    rows = []
    for name, scenario in arms().items():
        evolution = Evolution(setting, scenario, setting.population([0], population))
        cached = Evolution(setting, scenario, setting.population([0], population), cache=True)
        works = {"floor": evolution.floor, "generation": evolution.step, "cached": cached.step}
        times = alternate(works, rounds)
        rows.append(
            {
                "scenario": name,
                "floor": times["floor"].milliseconds(),
                "generation": times["generation"].milliseconds(),
                "ratio": ratio(times["generation"], times["floor"]),
                "cached ratio": ratio(times["cached"], times["floor"]),
                "processor ratio": ratio(times["generation"], times["floor"], "processor"),
                "parts": _parts(evolution, rounds),
            }
        )
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """Print the rows."""
    print(
        "One generation, and the forward pass of the images it asks about, in milliseconds; their ratio is the median"
    )
    print("of pairs (95% interval); the processor ratio leaves out the time in which other programs had the processor.")
    print("With the cache repeats are not sent, as in a study; the verdict is on that.")
    report.table(
        ["scenario", "forward", "generation", "every image sent", "processor ratio", "with the cache", "median"],
        [
            [
                row["scenario"],
                f"{row['floor']:.1f}",
                f"{row['generation']:.1f}",
                str(row["ratio"]),
                str(row["processor ratio"]),
                str(row["cached ratio"]),
                report.verdict(row["cached ratio"].median <= LIMIT),
            ]
            for row in rows
        ],
    )
    print(
        "\nWhere it goes: processor milliseconds of each part, median over generations; without = all but the network."
    )
    report.table(
        ["scenario", *PARTS, "without"],
        [
            [
                row["scenario"],
                *(f"{row['parts'][part]:.2f}" for part in PARTS),
                f"{sum(row['parts'].values()) - row['parts']['network']:.2f}",
            ]
            for row in rows
        ],
    )


def bars(rows: list[dict[str, Any]]) -> list[report.Bar]:
    """Each scenario's ratios, by their median and by the upper end of their interval."""
    limit = f"at most {LIMIT} times the forward pass"
    ways = {"as a study runs it": "cached ratio", "every image sent": "ratio"}
    return [
        report.Bar(f"{row['scenario']}, {way}, {which}", f"{figure:.2f}", limit, figure <= LIMIT)
        for row in rows
        for way, key in ways.items()
        for which, figure in (("median", row[key].median), ("upper end of the interval", row[key].high))
    ]


def _parts(evolution: Evolution, rounds: int) -> dict[str, float]:
    """Milliseconds of each part of a generation."""
    taken: dict[str, list[float]] = {part: [] for part in PARTS}
    for _ in range(rounds):
        watch = Stopwatch()
        with _watched(watch), watch.part("the rest"):
            evolution.step()
        for part, values in taken.items():
            values.append(1e3 * watch.seconds[part])
    return {part: median(values) for part, values in taken.items()}


@contextmanager
def _watched(watch: Stopwatch) -> Iterator[None]:
    """Within it, the parts of a search are timed where it calls them."""
    call = Op.__call__

    def operator(self: Op, *args: Any, **kwargs: Any) -> Any:
        family = self.path.partition(".")[0]
        with watch.part(_FAMILIES.get(family, family)):
            return call(self, *args, **kwargs)

    # Only the algorithm's view of `genome`: what its functions call among themselves is part of them.
    view = {name: watch.timed(part, getattr(genome, name)) for name, part in _OF_GENOME.items()}
    with ExitStack() as stack:
        stack.enter_context(patch.object(Op, "__call__", operator))
        stack.enter_context(patch.object(ga, "genome", SimpleNamespace(**{**vars(genome), **view})))
        for owner, name, part in _METHODS:
            function: Callable[..., Any] = getattr(owner, name)
            stack.enter_context(patch.object(owner, name, watch.timed(part, function)))
        yield
