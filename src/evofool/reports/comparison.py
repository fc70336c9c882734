"""Every published figure beside what one run would give here: whether it agrees, on each classifier and on all."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from ..studies.operators import paper
from ..studies.operators.paper import AVERAGES, ROUNDING, Scores
from ..studies.operators.results import Arm, Results
from . import statistics
from .classification import classification_report
from .runs import UNTOLD, classifiers, measured, population, setting
from .statistics import Interval

COMPARABLE_ACCURACY = (0.945, 0.955)  # of a classifier that can stand for the paper's 95%
AGREES, DIFFERS, DEPENDS = "agrees", "differs", "depends on the CNN"


class Cell(NamedTuple):
    """One classifier's answer: the 95% prediction interval of one run; `agrees` is None where there is one run."""

    classifier: str
    mean: float
    interval: Interval | None
    agrees: bool | None


class ComparedRow(NamedTuple):
    """A published value beside what one run would give here.

    Attributes:
        verdict: agrees (on all classifiers), differs (on all), depends on the CNN, or cannot be told (one seed).
    """

    arm: str
    measure: str
    published: float
    cells: tuple[Cell, ...]
    verdict: str


class Comparison(NamedTuple):
    """The study beside the paper.

    Attributes:
        reason: why there is no comparison; "" where there is one.
        accuracy: one row for each scenario; its verdict is the row's.
        fitness: total fitness, for the two arms whose value was printed.
        secondary: macro and weighted precision, recall and F1 of the published reports.
        left_out: classifiers whose accuracy is too far from the paper's 95%.
        classifiers: those compared.
    """

    reason: str
    accuracy: tuple[ComparedRow, ...] = ()
    fitness: tuple[ComparedRow, ...] = ()
    secondary: tuple[ComparedRow, ...] = ()
    left_out: tuple[str, ...] = ()
    classifiers: tuple[str, ...] = ()

    def count(self, verdict: str) -> int:
        """How many scenarios got this verdict on accuracy."""
        return sum(row.verdict == verdict for row in self.accuracy)


def published_name(arm: Arm) -> str:
    """The name under which the paper's figures stand; elitism goes with the scenario it was added to."""
    return f"{arm.partner}_elitism" if arm.group == "elitism" else arm.name


def why_not_comparable(results: Results) -> str:
    """One sentence that says why this study cannot be held against the paper's figures; "" if it can."""
    constants = paper.load().constants
    data = str(results.data.get("name", "")) or "unnamed"
    if not re.match(r"mnist\b", data, flags=re.IGNORECASE):
        return f"The paper evolved MNIST digits and this study evolved other images ({data})."
    arms = [arm for arm in results.group("scenario") if arm.name in paper.load().reports]
    names = {arm.name for arm in arms}
    if not any(run.arm in names for run in results.runs):
        return "None of the twelve scenarios was run with one set of settings, as the paper did."
    size = population(results)
    if size != constants["population"]:
        what = "runs of different sizes" if size is None else f"{size:,} images"
        return f"The paper evolved {constants['population']:,} images at a time and this study {what}."
    generations = {arm.generations for arm in arms}
    if generations != {constants["generations"]}:
        return (
            f"The paper ran {constants['generations']} generations and this study "
            f"{', '.join(map(str, sorted(generations)))}."
        )
    for key, name in (("p_crossover", "p_crossover"), ("p_mutation", "p_mutation"), ("size", "tournament_size")):
        for arm in arms:
            value = setting(arm.settings, key)
            if value is not None and value != constants[name]:
                return f"The paper had {name} = {constants[name]} and this study {value}."
    if not _comparable_targets(results):
        low, high = COMPARABLE_ACCURACY
        return f"The paper's classifier had an accuracy of 95% and none here is between {low:.1%} and {high:.1%}."
    return ""


def comparison(results: Results) -> Comparison:
    """Hold every published figure against the prediction interval of one run, on each comparable classifier."""
    reason = why_not_comparable(results)
    if reason:
        return Comparison(reason)
    source = paper.load()
    names = _comparable_targets(results)
    left_out = tuple(name for name in classifiers(results) if name not in names)
    accuracy, fitness, secondary = [], [], []
    for arm in results.group("scenario", "elitism"):
        key = published_name(arm)
        if key in source.total_fitness:
            fitness.append(
                _compared(
                    arm.name, "total fitness", source.total_fitness[key],
                    {name: measured(results, arm.name, name, "total_fitness") for name in names},
                )
            )  # fmt: skip
        if arm.group == "scenario" and key in source.reports:
            accuracy.append(
                _compared(
                    arm.name, "accuracy", source.accuracy(key),
                    {name: measured(results, arm.name, name, "accuracy") for name in names},
                )
            )  # fmt: skip
            secondary.extend(_compared_averages(results, arm.name, source.reports[key], names))
    first, second, third = (tuple(row for row in part if row.cells) for part in (accuracy, fitness, secondary))
    return Comparison("", first, second, third, left_out, tuple(names))


def _comparable_targets(results: Results) -> list[str]:
    low, high = COMPARABLE_ACCURACY
    accurate = {target.name for target in results.targets if low - 1e-9 <= target.accuracy <= high + 1e-9}
    return [name for name in classifiers(results, results.group("scenario")) if name in accurate]


def _compared(arm: str, name: str, published: float, values: dict[str, list[float]]) -> ComparedRow:
    cells = []
    for classifier, runs in values.items():
        if runs:
            interval = statistics.prediction_interval(runs, rounding=ROUNDING)
            agrees = None if interval is None else interval.holds(published)
            cells.append(Cell(classifier, math.fsum(runs) / len(runs), interval, agrees))
    return ComparedRow(arm, name, published, tuple(cells), _verdict([cell.agrees for cell in cells]))


def _compared_averages(
    results: Results, arm: str, published: dict[str, Scores], names: Sequence[str]
) -> list[ComparedRow]:
    reports = {
        name: [
            {row.name: row for row in classification_report(run.confusion, results.class_names)[-len(AVERAGES) :]}
            for run in results.of(arm, name)
        ]
        for name in names
    }
    return [
        _compared(
            arm, f"{average} {score}", getattr(published[f"{average} avg"], score),
            {name: [getattr(rows[f"{average} avg"], score) for rows in reports[name]] for name in names},
        )
        for average in ("macro", "weighted")
        for score in ("precision", "recall", "f1")
    ]  # fmt: skip


def _verdict(agreements: Sequence[bool | None]) -> str:
    if not agreements or None in agreements:
        return UNTOLD
    if all(agreements):
        return AGREES
    return DEPENDS if any(agreements) else DIFFERS
