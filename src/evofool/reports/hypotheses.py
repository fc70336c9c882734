"""How near each explanation of the differences comes to the published figures, beside the textbook operators.

An explanation replaces the scenarios it speaks of (an arm stands in for its partner) and leaves the others as they are.
Nothing is tuned: these are distances, and a small one is no proof that the authors' program did the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ..studies.operators import paper
from ..studies.operators.results import Results, Run
from . import statistics
from .comparison import why_not_comparable
from .runs import SELECTIONS, control_kinds, operators_of, ran

TEXTBOOK = "textbook"
DISTANCES = ("accuracy", "curve", "fitness", "support")


class HypothesisRow(NamedTuple):
    """Distances to the published figures, each a mean over the scenarios that both have; smaller is nearer.

    Attributes:
        family: the explanation; "textbook" for the scenarios as they are.
        about: one sentence.
        replaced: scenarios that it changes.
        scenarios: scenarios that are compared.
        seeds: fewest seeds of an arm.
        agreeing: scenarios whose published accuracy lies in the 95% prediction interval; None with one seed.
        accuracy: |mean accuracy - published accuracy| of the last generation.
        accuracy_fps, accuracy_ts, accuracy_rs: the same over the scenarios of one selection; None if there is none.
        curve: |mean accuracy - accuracy read off the paper's plots| over generations.
        fitness: |mean largest total fitness - maximum read off figure 14|.
        support: total variation distance, in [0, 1], of the sorted class shares.
        largest, smallest: images that carry the commonest and the rarest class, mean over scenarios.
    """

    family: str
    about: str
    replaced: int
    scenarios: int
    seeds: int
    agreeing: int | None
    accuracy: float
    accuracy_fps: float | None
    accuracy_ts: float | None
    accuracy_rs: float | None
    curve: float
    fitness: float
    support: float
    largest: float
    smallest: float


class Hypotheses(NamedTuple):
    """All explanations on one classifier.

    Attributes:
        reason: why there are no distances; "" where there are.
        rows: the textbook first.
        published_largest, published_smallest: class supports of the paper, mean over the scenarios.
        closest: for each distance, the family with the smallest one.
        unexplained: scenarios whose published accuracy lies in no row's prediction interval.
    """

    reason: str
    classifier: str
    rows: tuple[HypothesisRow, ...] = ()
    published_largest: float = 0.0
    published_smallest: float = 0.0
    closest: dict[str, str] = {}  # noqa: RUF012  a NamedTuple's default, never changed
    unexplained: tuple[str, ...] = ()


def families(results: Results, classifier: str) -> dict[str, tuple[str, dict[str, str]]]:
    """For each explanation its sentence and, by scenario, the arm that stands in for it."""
    scenarios = [arm.name for arm in ran(results, classifier, "scenario")]
    known = {arm.name for arm in ran(results, classifier, "control", "hypothesis")}
    found: dict[str, tuple[str, dict[str, str]]] = {}
    for kind, arms in control_kinds(results).items():
        instead = {}
        for arm in arms:
            crossover, mutation = operators_of(arm.name)
            for scenario in scenarios:
                selection, *pair = scenario.split("_")
                fits = mutation == pair[-1] and crossover in ("", pair[0])
                if arm.name in known and selection != "FPS" and fits:
                    instead[scenario] = arm.name
        if instead:
            found[f"control: {kind}"] = (arms[0].about, instead)
    for arm in results.group("hypothesis"):
        if arm.name in known and arm.partner in scenarios:
            found.setdefault(arm.family or arm.name, (arm.about, {}))[1][arm.partner] = arm.name
    return found


def hypotheses(results: Results, classifier: str) -> Hypotheses:
    """Distances of the textbook scenarios, the controls and every hypothesis that was run on this classifier."""
    reason = why_not_comparable(results)
    if not reason and not ran(results, classifier, "hypothesis"):
        reason = "No hypothesis was run on this classifier; --parts hypotheses runs them."
    if reason:
        return Hypotheses(reason, classifier)
    source = paper.load()
    scenarios = [arm.name for arm in ran(results, classifier, "scenario") if arm.name in source.reports]
    candidates = {TEXTBOOK: ("The twelve scenarios with textbook operators.", {}), **families(results, classifier)}
    rows, held = [], set()
    for family, (about, instead) in candidates.items():
        runs = {name: results.of(instead.get(name, name), classifier) for name in scenarios}
        inside = {name: _inside(source, name, runs[name]) for name in scenarios}
        held |= {name for name, found in inside.items() if found}
        agreeing = None if None in inside.values() else sum(map(bool, inside.values()))
        rows.append(_row(source, family, about, len(instead), runs, agreeing))
    closest = {name: min(rows, key=lambda row: getattr(row, name)).family for name in DISTANCES}
    supports = [source.supports(name) for name in scenarios]
    return Hypotheses(
        "", classifier, tuple(rows), _average(max(s) for s in supports), _average(min(s) for s in supports), closest,
        tuple(name for name in scenarios if name not in held),
    )  # fmt: skip


def _row(
    source: paper.Paper, family: str, about: str, replaced: int, runs: dict[str, list[Run]], agreeing: int | None
) -> HypothesisRow:
    accuracy = {
        name: abs(_average(run.accuracy[-1] for run in mine) - source.accuracy(name)) for name, mine in runs.items()
    }
    by_selection = [
        [distance for name, distance in accuracy.items() if name.startswith(f"{selection}_")]
        for selection in SELECTIONS
    ]
    curve = [
        abs(_average(run.accuracy[generation] for run in mine) - value)
        for name, mine in runs.items()
        for generation, value in source.curves[name].items()
        if all(generation < len(run.accuracy) for run in mine)
    ]
    fitness = [
        abs(_average(max(run.total_fitness) for run in mine) - source.largest_fitness[name])
        for name, mine in runs.items()
    ]
    carried = {name: [[sum(row) for row in run.confusion] for run in mine] for name, mine in runs.items()}
    support = [
        _average(_total_variation(counts, source.supports(name)) for counts in mine) for name, mine in carried.items()
    ]
    fps, ts, rs = (_average(part) if part else None for part in by_selection)
    return HypothesisRow(
        family=family,
        about=about,
        replaced=replaced,
        scenarios=len(runs),
        seeds=min(map(len, runs.values())),
        agreeing=agreeing,
        accuracy=_average(accuracy.values()),
        accuracy_fps=fps,
        accuracy_ts=ts,
        accuracy_rs=rs,
        curve=_average(curve),
        fitness=_average(fitness),
        support=_average(support),
        largest=_average(_average(max(counts) for counts in mine) for mine in carried.values()),
        smallest=_average(_average(min(counts) for counts in mine) for mine in carried.values()),
    )


def _inside(source: paper.Paper, scenario: str, runs: Sequence[Run]) -> bool | None:
    interval = statistics.prediction_interval([run.accuracy[-1] for run in runs], rounding=paper.ROUNDING)
    return None if interval is None else interval.holds(source.accuracy(scenario))


def _total_variation(counts: Sequence[int], published: Sequence[int]) -> float:
    """Of the two profiles of class shares, commonest first: which class it is depends on the classifier."""
    length = max(len(counts), len(published))
    shares = [np.sort(np.pad(np.asarray(c, dtype=float), (0, length - len(c))))[::-1] for c in (counts, published)]
    first, second = (share / max(share.sum(), 1.0) for share in shares)
    return float(np.abs(first - second).sum() / 2)


def _average(values: Iterable[float]) -> float:
    kept = list(values)
    return sum(kept) / len(kept)
