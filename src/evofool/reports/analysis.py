"""Everything a report says of a study, computed once: the page, the findings and the documentation read it."""

from __future__ import annotations

from typing import NamedTuple

from ..studies.operators.results import Results
from . import claims, comparison, hypotheses, ranking, runs, tables
from .claims import Claim
from .comparison import Comparison
from .hypotheses import Hypotheses
from .ranking import Contrast, Ranking
from .tables import ArmRow, Box, Curve, JudgeRow, MeanRow, TargetRow

CONTRASTED = ("accuracy", "adversarial", "total_fitness")
RANKED = ("accuracy", "adversarial")
LONGER: tuple[runs.Group, ...] = ("generations", "rates", "all-images")


class Analysis(NamedTuple):
    """The computed tables of a study; a dict is by the name of the attacked classifier, in the order of the study.

    Attributes:
        population: images that each scenario evolves; None where that differs.
        generations: of the scenarios; None where that differs.
        seeds: of the scenarios (in a sweep: of its runs), sorted.
        classifiers: attacked, with runs.
        comparable: why the study cannot be held against the paper; "" if it can.
        reports: classification reports of scenarios and elitism, by classifier and arm.
        rankings: by classifier and measure, where there is one.
        contrasts: scenarios, elitism and controls against their partners, in accuracy, judged rate and total fitness.
        further: one row for each longer run, other setting and explanation.
        further_curves, further_contrasts: of the longer runs and other settings.
    """

    population: int | None
    generations: int | None
    seeds: tuple[int, ...]
    classifiers: tuple[str, ...]
    comparable: str
    targets: list[TargetRow]
    summaries: dict[str, list[ArmRow]]
    further: dict[str, list[ArmRow]]
    curves: dict[str, list[Curve]]
    boxes: dict[str, list[Box]]
    reports: dict[str, dict[str, list[MeanRow]]]
    comparison: Comparison
    rankings: dict[tuple[str, str], Ranking]
    contrasts: dict[str, list[Contrast]]
    further_curves: dict[str, list[Curve]]
    further_contrasts: dict[str, list[Contrast]]
    judges: dict[str, list[JudgeRow]]
    claims: list[Claim]
    hypotheses: dict[str, Hypotheses]


def analyse(results: Results) -> Analysis:
    """Compute all tables of a study."""
    names = runs.classifiers(results)
    scenarios = results.group("scenario") or results.group("rates")
    lengths = {arm.generations for arm in scenarios}
    known = {arm.name for arm in scenarios}
    rankings = {(name, by): ranking.ranking(results, name, by) for name in names for by in RANKED}
    found = {name: hypotheses.hypotheses(results, name) for name in names}
    return Analysis(
        population=runs.population(results),
        generations=lengths.pop() if len(lengths) == 1 else None,
        seeds=tuple(sorted({run.seed for run in results.runs if run.arm in known})),
        classifiers=tuple(names),
        comparable=comparison.why_not_comparable(results),
        targets=tables.targets(results),
        summaries={name: tables.summary(results, name) for name in names},
        further={name: tables.summary(results, name, *LONGER, "hypothesis") for name in names},
        curves={name: tables.curves(results, name) for name in names},
        boxes={name: tables.boxes(results, name) for name in names},
        reports={
            name: {
                arm.name: tables.mean_report(results, arm.name, name)
                for arm in runs.ran(results, name, "scenario", "elitism")
            }
            for name in names
        },
        comparison=comparison.comparison(results),
        rankings={key: value for key, value in rankings.items() if value is not None},
        contrasts={name: [row for by in CONTRASTED for row in ranking.contrasts(results, name, by)] for name in names},
        further_curves={name: tables.curves(results, name, *LONGER) for name in names},
        further_contrasts={
            name: [row for by in CONTRASTED for row in ranking.contrasts(results, name, by, *LONGER)] for name in names
        },
        judges={name: tables.judge(results, name) for name in names},
        claims=claims.claims(results),
        hypotheses={name: value for name, value in found.items() if not value.reason},
    )
