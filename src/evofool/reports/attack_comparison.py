"""Several attacks on the same images held against each other, computed once; the page and the terminal only show it.

Runs of one recipe with other seeds are repetitions. Means and shares are over the images that all runs attacked.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import UserError
from ..studies.attack.results import Attacked, Results
from . import differences, survival
from .attack_comparable import check, recipe_of
from .attack_tables import FIRST, cost, cut, mean, seen_until
from .statistics import Interval, holm, wilson
from .survival import Survival

Key = tuple[str, int, int | None, int]  # of an image: bytes, label, target, and which of those that are all the same


class Run(NamedTuple):
    """One run.

    Attributes:
        path: as it was given.
        results: its numbers.
        costs: of the compared images, in the order of their keys; a failure counts as the budget.
        fooled: likewise.
        until: likewise, after how many queries each was fooled, or last seen to hold out.
        ordered: the same costs in the order in which they were attacked.
        order: which image was attacked first, second, ..., by its place in `costs`.
    """

    path: str
    results: Results
    costs: np.ndarray
    fooled: np.ndarray
    until: np.ndarray
    ordered: np.ndarray
    order: tuple[int, ...]

    @property
    def mean(self) -> float:
        """Of the costs."""
        return float(self.costs.mean())

    @property
    def median(self) -> float:
        """Of the costs."""
        return float(np.median(self.costs))


class Estimate(NamedTuple):
    """A number and the interval around it; None where there is none to be had."""

    value: float
    low: float | None
    high: float | None


class Point(NamedTuple):
    """Mean queries of images that were attacked one after another: places from 1, both included."""

    first: int
    last: int
    mean: Estimate


class Entry(NamedTuple):
    """One way to attack: a recipe with its arguments, and its runs.

    Attributes:
        name: of the recipe; with its arguments where another entry has the same.
        shares: it carries something from image to image, so that the unit is the run.
        runs: with different seeds.
        alike: it shares, and runs of it took the images in the same order, none of them shuffled: what depends on the
            order is the same in all, so that they are no repetitions and there is no interval over them.
        success: mean share over runs. Its interval: Wilson's for the images of one run, and as wide as that over runs
            if it shares; none if it shares and there are fewer than 5 runs.
        mean: of queries, a failure counted as the budget. Its interval: over images; over runs if it shares, none with
            fewer than 5 of them.
        median: mean over runs of the median.
        firsts: (k, mean queries over the first k images), for each k of `FIRST` that there are.
        against: mean queries as a multiple of the first entry's; None for that one.
        issued, repeated: rows charged, and rows answered from the cache; mean over runs.
        distinct: images that were asked about; mean over runs; None where a run without a cache did not count them.
        lost: images of a peer that fooled as floats and not as a file, and count as failures; mean over runs; None
            where there can be none, since only what lies on the lattice is asked about.
        curve: over all runs.
        learning: by place in the order.
    """

    name: str
    shares: bool
    runs: tuple[Run, ...]
    alike: bool
    success: Estimate
    mean: Estimate
    median: float
    firsts: tuple[tuple[int, float], ...]
    against: Estimate | None
    issued: float
    repeated: float
    distinct: float | None
    lost: float | None
    curve: Survival
    learning: tuple[Point, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of its runs."""
        return tuple(run.results.seed for run in self.runs)

    @property
    def curves(self) -> tuple[Survival, ...]:
        """Of its runs."""
        return tuple(survival.kaplan_meier(list(run.until), list(run.fooled)) for run in self.runs)


class Pair(NamedTuple):
    """Two entries.

    Attributes:
        first, second: their names.
        unit: "images", or "runs" where one of them shares.
        ratio: mean queries of the first over those of the second.
        success: share of the first minus that of the second.
        queries_p: Wilcoxon's signed-rank test on the queries of the same images (of several runs their means, as many
            of each), after Holm's adjustment over all pairs; None where the unit is the run.
        success_p: McNemar's exact test, of several runs Wilcoxon's on shares; adjusted and None likewise.
    """

    first: str
    second: str
    unit: str
    ratio: Estimate
    success: Estimate
    queries_p: float | None
    success_p: float | None


class Comparison(NamedTuple):
    """All of it.

    Attributes:
        entries: in the order in which they were given.
        pairs: each two of them.
        images: compared ones: those that all runs attacked.
        left_out: images that some run attacked and some did not.
        results: of the first run, for what all have in common.
    """

    entries: list[Entry]
    pairs: list[Pair]
    images: int
    left_out: int
    results: Results


def compare(runs: Sequence[tuple[str, Results]]) -> Comparison:
    """Compare runs.

    Args:
        runs: path and numbers of each.

    Raises:
        UserError: they cannot be compared; says which one, and why.
    """
    check(runs)
    images = [_attacked(results) for _, results in runs]
    common = set.intersection(*(set(each) for each in images))
    if not common:
        raise UserError("no image was attacked in all of these runs; there is nothing to compare")
    keys = sorted(common, key=lambda key: (key[0], key[1], -1 if key[2] is None else key[2], key[3]))
    read = [_run(path, results, found, keys) for (path, results), found in zip(runs, images, strict=True)]
    entries: list[Entry] = []
    for name, group in _named(_grouped(read)):
        entries.append(_entry(name, group, entries[0] if entries else None))
    return Comparison(
        entries=entries,
        pairs=_pairs(entries),
        images=len(keys),
        left_out=len(set.union(*(set(each) for each in images))) - len(keys),
        results=runs[0][1],
    )


# Runs and entries -------------------------------------------------------------------------------------------------


def _attacked(results: Results) -> dict[Key, Attacked]:
    """The attacked images of a run, by what they are; equal ones are numbered as they come in the list."""
    found: dict[Key, Attacked] = {}
    times: Counter[tuple[str, int, int | None]] = Counter()
    for image in sorted(results.images, key=lambda image: image.number):
        what = (image.sha256, image.label, image.target)
        if image.attacked:
            found[(*what, times[what])] = image
        times[what] += 1
    return found


def _run(path: str, results: Results, found: dict[Key, Attacked], keys: Sequence[Key]) -> Run:
    images = [found[key] for key in keys]
    costs = np.array([cost(image, results.budget) for image in images], dtype=float)
    order = sorted(range(len(images)), key=lambda at: (images[at].asked, images[at].number))
    fooled = np.array([image.outcome == "fooled" for image in images])
    until = np.array([seen_until(image, results) for image in images])
    return Run(path, results, costs, fooled, until, costs[order], tuple(order))


def _grouped(runs: Sequence[Run]) -> list[tuple[Run, ...]]:
    groups: dict[tuple[str, str, bool], list[Run]] = {}
    for run in runs:
        groups.setdefault(recipe_of(run.results), []).append(run)
    return [tuple(group) for group in groups.values()]


def _named(groups: Sequence[tuple[Run, ...]]) -> list[tuple[str, tuple[Run, ...]]]:
    """Names that tell them apart: the recipe's, and where that is not enough its arguments, or that it shares."""
    recipes = [recipe_of(group[0].results) for group in groups]
    names = []
    for name, arguments, shares in recipes:
        alike = [other for other in recipes if other[0] == name]
        told = [f"{key}={value}" for key, value in json.loads(arguments).items()]
        if len({other[2] for other in alike}) > 1:
            told.append("shared" if shares else "independent")
        names.append(" ".join([name, *told]) if len(alike) > 1 else name)
    return list(zip(names, groups, strict=True))


def _entry(name: str, runs: tuple[Run, ...], first: Entry | None) -> Entry:
    shares = bool(runs[0].results.recipe.get("shares"))
    means = [run.mean for run in runs]
    length, alike = len(runs[0].costs), shares and _alike(runs)
    over = differences.mean_over_runs(means) if shares else differences.mean_of(_by_image(runs))
    distinct = [_distinct(run.results) for run in runs]
    entry = Entry(
        name=name,
        shares=shares,
        runs=runs,
        alike=alike,
        success=_success(runs, shares, alike),
        mean=_estimate(sum(means) / len(means), None if alike else over),
        median=float(np.mean([run.median for run in runs])),
        firsts=tuple((k, float(np.mean([run.ordered[:k].mean() for run in runs]))) for k in FIRST if k <= length),
        against=None,
        issued=float(np.mean([run.results.queries() for run in runs])),
        repeated=float(np.mean([run.results.queries(of="repeated") for run in runs])),
        distinct=None if None in distinct else mean([float(each or 0) for each in distinct]),
        lost=mean([float(run.results.ledger["lost on disk"]) for run in runs if "lost on disk" in run.results.ledger]),
        curve=survival.kaplan_meier(
            np.concatenate([run.until for run in runs]).tolist(), np.concatenate([run.fooled for run in runs]).tolist()
        ),
        learning=tuple(
            Point(start + 1, end, _over_runs([float(run.ordered[start:end].mean()) for run in runs], alike))
            for start, end in cut(length)
        ),
    )
    return entry if first is None else entry._replace(against=_ratio(entry, first))


def _alike(runs: Sequence[Run]) -> bool:
    """Whether any two took the images in the same order and did not draw it."""
    orders = [run.order for run in runs if not run.results.config.get("shuffle")]
    return len(set(orders)) < len(orders)


def _distinct(results: Results) -> int | None:
    """With a cache every charged row is an image of its own, but for those that had to be sent again."""
    if "distinct" in results.ledger:
        return int(results.ledger["distinct"])
    again = results.queries(of="failed") + results.queries(of="lost")
    return results.queries() - again if results.config.get("cache", True) else None


def _by_image(runs: Sequence[Run]) -> np.ndarray:
    """Mean queries of each image over runs."""
    return np.mean([run.costs for run in runs], axis=0)


def _share_by_image(runs: Sequence[Run]) -> np.ndarray:
    return np.mean([run.fooled for run in runs], axis=0, dtype=float)


def _success(runs: Sequence[Run], shares: bool, alike: bool) -> Estimate:
    found = [float(run.fooled.mean()) for run in runs]
    share, length = sum(found) / len(found), len(runs[0].fooled)
    if alike or (shares and len(runs) < differences.RUNS):
        return _estimate(share, None)
    estimate = _estimate(share, wilson(round(share * length), length))
    over = differences.mean_over_runs(found) if shares else None
    if over is None or estimate.low is None or estimate.high is None:
        return estimate
    return Estimate(share, min(estimate.low, over.low), max(estimate.high, over.high))


def _over_runs(values: Sequence[float], alike: bool) -> Estimate:
    return _estimate(sum(values) / len(values), None if alike else differences.mean_over_runs(values))


def _estimate(value: float, interval: Interval | None) -> Estimate:
    return Estimate(value, interval.low if interval else None, interval.high if interval else None)


# Pairs ------------------------------------------------------------------------------------------------------------


def _by_runs(first: Entry, second: Entry) -> bool:
    return first.shares or second.shares


def _ratio(first: Entry, second: Entry) -> Estimate:
    value = first.mean.value / second.mean.value if second.mean.value else float("inf")
    if first.alike or second.alike:
        return _estimate(value, None)
    if _by_runs(first, second):
        means = ([run.mean for run in entry.runs] for entry in (first, second))
        return _estimate(value, differences.ratio_over_runs(*means))
    return _estimate(value, differences.paired_ratio(_by_image(first.runs), _by_image(second.runs)))


def _success_difference(first: Entry, second: Entry) -> Estimate:
    value = first.success.value - second.success.value
    if first.alike or second.alike:
        return _estimate(value, None)
    if _by_runs(first, second):
        shares = [[float(run.fooled.mean()) for run in entry.runs] for entry in (first, second)]
        return _estimate(value, differences.over_runs(shares, lambda one, two: one - two))
    if len(first.runs) == len(second.runs) == 1:
        return _estimate(value, differences.paired_shares(first.runs[0].fooled, second.runs[0].fooled))
    pairs = np.stack([_share_by_image(first.runs), _share_by_image(second.runs)], axis=1)
    return _estimate(value, differences.bootstrap([pairs], lambda means: means[:, 0] - means[:, 1]))


def _pairs(entries: Sequence[Entry]) -> list[Pair]:
    both = list(itertools.combinations(entries, 2))
    queries = holm([_queries_p(first, second) for first, second in both])
    success = holm([_success_p(first, second) for first, second in both])
    return [
        Pair(
            first.name,
            second.name,
            "runs" if _by_runs(first, second) else "images",
            _ratio(first, second),
            _success_difference(first, second),
            queries_p,
            success_p,
        )
        for (first, second), queries_p, success_p in zip(both, queries, success, strict=True)
    ]


def _queries_p(first: Entry, second: Entry) -> float | None:
    if _by_runs(first, second):
        return None
    return differences.queries_p(*([run.costs for run in entry.runs] for entry in (first, second)))


def _success_p(first: Entry, second: Entry) -> float | None:
    if _by_runs(first, second):
        return None
    return differences.success_p(*([run.fooled for run in entry.runs] for entry in (first, second)))
