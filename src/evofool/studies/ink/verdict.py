"""Which causes the numbers of an ink study accuse of where the ink lies, and how far; what was not tested.

Causes are asked about in an order. Operators and landscape come first, by intervals of 99%: of a hundred studies of a
net without any preference about two accuse one of these. The others explain a preference, so that they are only accused
where there is one, by intervals of 95% for all comparisons of a cause together (Bonferroni).
Nothing is added up to 100%: padding, position, pipeline and data act through the landscape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from . import causes, measures
from .evidence import (
    ACCUSES,
    CAUSES,
    DATA,
    FEWEST,
    GENERAL,
    LANDSCAPE,
    OPERATORS,
    PIPELINE,
    POINTS,
    POSITION,
    WEIGHTS,
    Case,
    Cause,
    nearer,
    no_index,
    number,
)
from .measures import EdgeIndex
from .results import Results
from .schedules import Schedule, schedule_outcome

QUICK = "QUICK: too few and too short runs to conclude from; everything below only shows that the study works."


@dataclass(frozen=True)
class Verdict:
    """The answer.

    Attributes:
        quick: see QUICK.
        base: edge index of the arm that everything is compared with.
        preference: of its ink, beyond what the operators do.
        headline: sentences, the most important first.
        causes: all of CAUSES, in that order.
        schedule: None where it was not run.
        not_tested: what, and why.
        advice: what a user can change.
    """

    quick: bool
    base: EdgeIndex
    preference: Literal["edge", "middle", "none", "cannot be told"]
    headline: list[str]
    causes: list[Cause]
    schedule: Schedule | None
    not_tested: list[str]
    advice: list[str]

    def cause(self, name: str) -> Cause:
        """The cause of a name."""
        return next(cause for cause in self.causes if cause.name == name)

    @property
    def accused(self) -> list[str]:
        """Names of the causes that are accused."""
        return [cause.name for cause in self.causes if cause.accused]

    def text(self) -> str:
        """All of it as plain text."""
        parts = [*self.headline, ""]
        for cause in self.causes:
            says = {True: "accused", False: "not accused", None: "cannot be told"}[cause.accused]
            parts += [f"{cause.name}: {says}", *(f"  {sentence}" for sentence in cause.sentences)]
        if self.schedule:
            parts += ["the schedule of the question", *(f"  {sentence}" for sentence in self.schedule.sentences)]
        for title, lines in (("not tested", self.not_tested), ("what can be changed", self.advice)):
            parts += [title, *(f"  {line}" for line in lines)] if lines else []
        return "\n".join(parts) + "\n"


def verdict(results: Results) -> Verdict:
    """What the numbers say."""
    known = any(arm.name == results.base for arm in results.arms)
    index = measures.edge_index(results, results.base, level=ACCUSES) if known else no_index()
    landscape = causes.landscape(results, index)
    told = landscape.accused is not None
    case = Case(results, index, index.direction if landscape.accused else 0, told)
    judged = [
        causes.operators(case),
        landscape,
        causes.weights(case),
        causes.general(case),
        causes.position(case),
        causes.pipeline(case),
        causes.data(case),
        causes.itself(case),
    ]
    assert tuple(cause.name for cause in judged) == CAUSES
    schedule = schedule_outcome(results)
    return Verdict(
        quick=results.quick,
        base=index,
        preference="cannot be told" if not told else ("edge", "none", "middle")[case.side + 1],
        headline=_headline(case, judged, schedule),
        causes=judged,
        schedule=schedule,
        not_tested=_not_tested(results, judged, schedule),
        advice=_advice(case, judged),
    )


# Words on top and below -----------------------------------------------------------------------------------------------


def _headline(case: Case, judged: Sequence[Cause], schedule: Schedule | None) -> list[str]:
    index = case.edge
    lines = [QUICK] if case.results.quick else []
    words = number(index.estimate, index.low, index.high, index.n, index.level)
    if not case.told and index.direction and index.n >= FEWEST:
        lines.append(
            f"The ink lies {nearer(index.direction)} than the operators put it: edge index {words}; but whether the "
            f"classifier puts it there cannot be told."
        )
    elif not case.told:
        lines.append(f"Whether the ink prefers the edges cannot be told: edge index {words}.")
    elif not case.side:
        lines.append(f"The classifier gives the ink no preference for the edges or the middle: edge index {words}.")
    else:
        lines.append(f"The ink lies {nearer(case.side)} than the operators put it: edge index {words}, 1 = no bias.")
    groups: dict[bool | None, list[str]] = {True: [], False: [], None: []}
    for cause in judged:
        groups[cause.accused].append(cause.name)
    lines.append(f"Accused: {', '.join(groups[True])}." if groups[True] else "No cause is accused.")
    lines += [f"Tested and not accused: {', '.join(groups[False])}."] if groups[False] else []
    lines += [f"Not tested, or cannot be told: {', '.join(groups[None])}."] if groups[None] else []
    if case.side:
        lines.append(
            "Nothing is added up to 100%: padding, position, pipeline and data act through the landscape, not beside "
            "it."
        )
    return [*lines, schedule.sentences[-1]] if schedule else lines


def _not_tested(results: Results, judged: Sequence[Cause], schedule: Schedule | None) -> list[str]:
    lines = [f"{cause.name}: {cause.sentences[-1]}" for cause in judged if cause.accused is None]
    lines += [f"{part}: {why}" for part, why in results.skipped]
    if not any(each.variant == "" for each in results.maps):
        lines.append("landscape: what single pixels do to the blank canvas was not mapped.")
    if not any(arm.tags.get("kind") == "control" for arm in results.arms):
        lines.append("operators: no operator that is known to be biased was run beside them.")
    if schedule is None:
        lines.append("schedule: no runs were confined to the middle first.")
    return list(dict.fromkeys(lines))


def _advice(case: Case, judged: Sequence[Cause]) -> list[str]:
    accused = {cause.name: cause for cause in judged if cause.accused}
    lines = []
    if OPERATORS in accused:
        lines.append("Take other operators: none that clamps a move at the border, or measure your own like this.")
    if WEIGHTS in accused:
        proof = [
            effect
            for effect in accused[WEIGHTS].effects
            if effect.counts and effect.lost is not None and effect.lost <= POINTS
        ]
        best = max(proof, key=lambda effect: abs(effect.estimate or 0))
        lines.append(f"Run the network with {best.what}: the same weights, as good as before, prefer this less.")
    if GENERAL in accused:
        lines.append("Train with another padding than zeros: networks that were do not prefer this.")
    elif any(cause.name == GENERAL and cause.accused is False for cause in judged) and case.side:
        lines.append("Do not expect another padding in training to help: networks trained so prefer the same.")
    if POSITION in accused:
        lines.append("Draw on another canvas: a larger one, or one of another gray level (--canvas, --ink).")
    if PIPELINE in accused:
        lines.append("Mind how images are resized before they reach the network.")
    if DATA in accused:
        lines.append("Train again on images shifted or cropped at random, and see whether the preference goes.")
    if LANDSCAPE in accused:
        lines.append("To see what the network makes of the rest of the canvas, say where ink may lie (--region).")
    if not lines and not case.told and not (case.edge.direction and case.edge.n >= FEWEST):
        lines.append("Run more: give each arm at least ten runs.")
    return lines
