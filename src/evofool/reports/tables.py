"""Tables of an operator study: classifiers, classification reports, one row an arm, curves, boxes, judge.

Everything here is a NamedTuple of plain numbers; nothing draws. Spreads are mean [smallest-largest] over the seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ..studies.operators import paper
from ..studies.operators.paper import Scores
from ..studies.operators.results import Group, Results, Run, Target
from . import comparison, statistics
from .classification import classification_report
from .runs import MAIN_GROUPS, measure, measured, mutated_only, ran, unselected
from .statistics import Interval, Spread

CURVES = ("accuracy", "precision", "recall", "f1", "total_fitness")


class TargetRow(NamedTuple):
    """A classifier on its test set; `interval` is Wilson's 95%."""

    name: str
    role: str
    accuracy: float
    interval: Interval | None
    images: int
    architecture: str
    seed: str
    fingerprint: str


class MeanRow(NamedTuple):
    """One row of a classification report over the seeds, with the published row beside it."""

    name: str
    precision: Spread
    recall: Spread
    f1: Spread
    support: Spread
    published: Scores | None


def targets(results: Results) -> list[TargetRow]:
    """The attacked classifiers and the judge."""
    rows = [(target, "attacked") for target in results.targets]
    if results.judge:
        rows.append((results.judge, "judge"))
    return [_target(target, role) for target, role in rows]


def target_report(target: Target, class_names: Sequence[str], published: Mapping[str, Scores]) -> list[MeanRow]:
    """The classification report of a classifier on its test set, with published rows beside it."""
    return [
        MeanRow(
            row.name,
            _single(row.precision),
            _single(row.recall),
            _single(row.f1),
            _single(row.support),
            published.get(row.name),
        )
        for row in classification_report(target.confusion, class_names)
    ]


def mean_report(results: Results, arm: str, classifier: str) -> list[MeanRow]:
    """The classification report of the last generation over the seeds of an arm; empty without a run."""
    reports = [classification_report(run.confusion, results.class_names) for run in results.of(arm, classifier)]
    published = {} if comparison.why_not_comparable(results) else paper.load().reports.get(arm, {})
    rows = []
    for same in zip(*reports, strict=True):
        columns = [statistics.spread(column) for column in list(zip(*same, strict=True))[1:]]
        precision, recall, f1, support = (column or Spread(0.0, 0.0, 0.0, 0) for column in columns)
        rows.append(MeanRow(same[0].name, precision, recall, f1, support, published.get(same[0].name)))
    return rows


class ArmRow(NamedTuple):
    """The last generation of an arm on one classifier; a spread is None where it was not measured."""

    arm: str
    group: Group
    about: str
    generations: int
    seeds: int
    accuracy: Spread | None
    f1: Spread | None
    total_fitness: Spread | None
    adversarial: Spread | None
    l0: Spread | None
    l2: Spread | None
    ssim: Spread | None
    ancestors: Spread | None
    failed: int


class Curve(NamedTuple):
    """One number by generation, over the seeds; index 0 is the untouched images."""

    arm: str
    classifier: str
    measure: str
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


class Box(NamedTuple):
    """Quartiles of total fitness over all generations and seeds; `published` is the paper's read-off maximum."""

    arm: str
    group: Group
    low: float
    first_quartile: float
    median: float
    third_quartile: float
    high: float
    published: float | None


def summary(results: Results, classifier: str, *groups: Group) -> list[ArmRow]:
    """One row for each arm of these groups (default: scenarios, elitism, controls) that was run."""
    rows = []
    for arm in ran(results, classifier, *(groups or MAIN_GROUPS)):
        runs = results.of(arm.name, classifier)

        def over(name: str, runs: list[Run] = runs) -> Spread | None:
            return statistics.spread([measure(run, name) for run in runs])

        rows.append(
            ArmRow(
                arm.name, arm.group, arm.about, arm.generations, len(runs), over("accuracy"), over("f1"),
                over("total_fitness"), over("adversarial"), over("l0"), over("l2"), over("ssim"), over("ancestors"),
                sum(sum(run.failed) for run in runs),
            )
        )  # fmt: skip
    return rows


def curves(results: Results, classifier: str, *groups: Group) -> list[Curve]:
    """Accuracy, macro precision, recall and F1, and total fitness by generation, for each arm of these groups."""
    return [
        curve
        for arm in ran(results, classifier, *(groups or MAIN_GROUPS))
        for name in CURVES
        if (curve := _curve(results.of(arm.name, classifier), name)) is not None
    ]


def boxes(results: Results, classifier: str) -> list[Box]:
    """Total fitness over the generations for scenarios, elitism and controls (the paper's figure 14)."""
    maxima = {} if comparison.why_not_comparable(results) else paper.load().largest_fitness
    rows = []
    for arm in ran(results, classifier, *MAIN_GROUPS):
        runs = results.of(arm.name, classifier)
        values = [value for run in runs for value in run.total_fitness if math.isfinite(value)]
        if values:
            low, first, median, third, high = (float(q) for q in np.quantile(values, [0, 0.25, 0.5, 0.75, 1]))
            published = maxima.get(comparison.published_name(arm))
            rows.append(Box(arm.name, arm.group, low, first, median, third, high, published))
    return rows


class JudgeRow(NamedTuple):
    """What the judge says of an arm's last generation, and what it reads where nothing was selected.

    Attributes:
        unselected: share it reads under the same crossover and mutation with random parents.
        mutated: share it reads under the same mutation alone.
    """

    arm: str
    group: Group
    classifier: str
    fools: Spread
    reads: Spread
    adversarial: Spread
    unselected: Spread | None
    mutated: Spread | None


def judge(results: Results, classifier: str) -> list[JudgeRow]:
    """Rates of the independent judge for scenarios, elitism and controls; empty without a judge."""

    def over(arm: str, name: str) -> Spread | None:
        return statistics.spread(measured(results, arm, classifier, name))

    rows = []
    for arm in ran(results, classifier, *MAIN_GROUPS):
        fools, reads, both = (over(arm.name, name) for name in ("fools", "reads", "adversarial"))
        if fools and reads and both:
            beside, alone = unselected(results, arm.name), mutated_only(results, arm.name)
            rows.append(
                JudgeRow(
                    arm.name, arm.group, classifier, fools, reads, both,
                    over(beside.name, "reads") if beside else None, over(alone.name, "reads") if alone else None,
                )
            )  # fmt: skip
    return rows


def _single(value: float) -> Spread:
    return Spread(float(value), float(value), float(value), 1)


def _target(target: Target, role: str) -> TargetRow:
    images = sum(map(sum, target.confusion))
    right = sum(row[index] for index, row in enumerate(target.confusion))
    architecture, seed = (str(target.card.get(key, "")) for key in ("architecture", "seed"))
    return TargetRow(
        target.name, role, target.accuracy, statistics.wilson(right, images), images, architecture, seed,
        target.fingerprint,
    )  # fmt: skip


def _curve(runs: Sequence[Run], name: str) -> Curve | None:
    series = [getattr(run, name) for run in runs]
    if not series:
        return None
    length = min(map(len, series))
    spreads = [statistics.spread([values[g] for values in series]) for g in range(length)]
    known = [s if s is not None else Spread(0.0, 0.0, 0.0, 0) for s in spreads]
    low, mean, high = (tuple(getattr(s, part) for s in known) for part in ("low", "mean", "high"))
    return Curve(runs[0].arm, runs[0].classifier, name, mean, low, high)
