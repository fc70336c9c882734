"""Which scenario misleads most, and what elitism and selection add: ranks over the seeds, differences by seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..studies.operators.results import Group, Results
from . import statistics
from .runs import MAIN_GROUPS, UNTOLD, difference, measure, ran
from .statistics import Friedman, Paired

SIGNIFICANCE = 0.05


class Ranked(NamedTuple):
    """A scenario with its mean rank over the seeds (1 = misleads most) and the mean of the measure."""

    arm: str
    rank: float
    mean: float


class Ranking(NamedTuple):
    """The scenarios by one measure on one classifier.

    Attributes:
        measure: "accuracy" (lowest first) or "adversarial" (highest first).
        friedman: over the seeds as blocks.
        critical_difference: Nemenyi's, at 5%; None where it cannot be told.
        rows: best first.
        groups: first and last index of each stretch of rows that cannot be told apart.
    """

    classifier: str
    measure: str
    friedman: Friedman
    critical_difference: float | None
    rows: tuple[Ranked, ...]
    groups: tuple[tuple[int, int], ...]

    @property
    def tied_with_best(self) -> tuple[str, ...]:
        """Scenarios that cannot be told from the first one, without it."""
        best = self.rows[0].rank
        return tuple(
            row.arm
            for row in self.rows[1:]
            if self.critical_difference is None or row.rank - best <= self.critical_difference
        )


def ranking(results: Results, classifier: str, name: str) -> Ranking | None:
    """Rank the scenarios (never the controls) by the seeds that all of them have; None with fewer than two.

    Args:
        name: "accuracy" or "adversarial".
    """
    by_arm = {}
    for arm in ran(results, classifier, "scenario"):
        found = {run.seed: measure(run, name) for run in results.of(arm.name, classifier)}
        by_arm[arm.name] = {seed: value for seed, value in found.items() if value is not None}
    by_arm = {arm: values for arm, values in by_arm.items() if values}
    seeds = sorted(set.intersection(*(set(values) for values in by_arm.values()))) if by_arm else []
    if len(by_arm) < 2 or not seeds:
        return None
    values = np.array([[by_arm[arm][seed] for arm in by_arm] for seed in seeds])
    sign = -1.0 if name == "adversarial" else 1.0
    test = statistics.friedman(sign * values)
    means = values.mean(axis=0)
    order = sorted(range(len(by_arm)), key=lambda k: (test.ranks[k], sign * means[k]))
    arms = list(by_arm)
    rows = tuple(Ranked(arms[k], test.ranks[k], float(means[k])) for k in order)
    gap = statistics.critical_difference(len(rows), len(seeds))
    return Ranking(classifier, name, test, gap, rows, _stretches([row.rank for row in rows], gap))


class Contrast(NamedTuple):
    """An arm minus its partner in one measure, paired by seed.

    Attributes:
        adjusted: p value after Holm's adjustment over the contrasts of the same classifier and measure.
        outcome: higher, lower, not shown, or cannot be told (no p value of so few seeds could reach 5%).
    """

    classifier: str
    measure: str
    arm: str
    group: Group
    partner: str
    about: str
    paired: Paired
    adjusted: float | None
    outcome: str


def contrasts(results: Results, classifier: str, name: str, *groups: Group) -> list[Contrast]:
    """Arms against their partners, by `accuracy`, `adversarial` or `total_fitness`.

    Args:
        results: of the study.
        classifier: the attacked one.
        name: of the measure.
        groups: of the arms; default: scenarios, elitism and controls.
    """
    arms = [arm for arm in ran(results, classifier, *(groups or MAIN_GROUPS)) if arm.partner]
    pairs = [difference(results, arm.name, arm.partner, classifier, name) for arm in arms]
    kept = [(arm, pair) for arm, pair in zip(arms, pairs, strict=True) if pair.n]
    adjusted = statistics.holm([pair.p for _, pair in kept])
    return [
        Contrast(classifier, name, arm.name, arm.group, arm.partner, arm.about, pair, p, _outcome(pair, p, len(kept)))
        for (arm, pair), p in zip(kept, adjusted, strict=True)
    ]


def _stretches(ranks: Sequence[float], gap: float | None) -> tuple[tuple[int, int], ...]:
    """Maximal stretches of two and more sorted ranks that span at most the critical difference."""
    if gap is None:
        return ()
    found: list[tuple[int, int]] = []
    for first in range(len(ranks)):
        last = max(index for index in range(first, len(ranks)) if ranks[index] - ranks[first] <= gap)
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return tuple(found)


def _outcome(pair: Paired, adjusted: float | None, tests: int) -> str:
    smallest = 2.0 ** (1 - pair.n) * tests  # all differences of one sign, after Holm's first step
    if pair.mean is None or adjusted is None or smallest > SIGNIFICANCE:
        return UNTOLD
    if adjusted > SIGNIFICANCE:
        return "not shown"
    return "higher" if pair.mean > 0 else "lower"
