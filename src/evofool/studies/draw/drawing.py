"""One way to draw: the algorithm, what it lowers, when it has succeeded, and where ink may lie when."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ... import regions, spec
from ...algorithms.adaptive_penalty import AdaptivePenalty
from ...algorithms.ga import GeneticAlgorithm
from ...algorithms.nsga2 import NSGA2
from ...encodings.ink import Ink
from ...errors import SpecError, nearest
from ...regions import Phase
from ...spec import Op, op

Algorithm = GeneticAlgorithm | AdaptivePenalty | NSGA2
Goal = Literal["confidence", "boundary", "front"]
Measure = Literal["cross-entropy", "margin"]

CROSSOVERS: dict[str, Op] = {
    "rectangle": op("crossover.rectangle"),
    "columns": op("crossover.columns"),
    "list": op("crossover.list_exchange"),
    "rows": op("crossover.rows"),
    "uniform": op("crossover.uniform"),
    "union": op("crossover.union"),
    "intersection": op("crossover.intersection"),
    "single-point": op("crossover.single_point"),
}
RATE = 0.015  # the question's mutation
MANY = 1_000_000  # members or generations: more is a slip of the keyboard
# (the operator, how often a child is mutated)
MUTATIONS: dict[str, tuple[Op, float]] = {
    "per-gene": (op("mutation.add_ink", rate=RATE), 1.0),
    "per-image": (op("mutation.add_pixel"), RATE),
    "redraw": (op("mutation.redraw"), 1.0),
    "clamped": (op("mutation.move_pixel", border="clamp", reach=8), 1.0),  # known to be biased: a control
}
PRESETS: dict[str, str] = {
    "economical": "adds, moves and removes pixels, lets lambda adapt, stops at the goal, then takes ink away",
    "question": "as asked in public: ink is only ever added, lambda is fixed, and every generation is run",
}
ADAPT = "adapt"


@dataclass(frozen=True)
class Drawing:
    """One way to draw.

    Attributes:
        algorithm: evolves masks of ink.
        objective: what it lowers; the label that members carry is the class that is wanted.
        criterion: when a member is what was wanted.
        population: members of each run.
        generations: after the initial one.
        phases: where ink may lie, one after another until the last generation.
        canvas, ink: gray levels of blank and ink, one for each channel.
        stop: a run ends at its first success.
    """

    algorithm: Algorithm
    objective: Op
    criterion: Op
    population: int = 100
    generations: int = 400
    phases: tuple[Phase, ...] = (Phase(regions.EVERYWHERE),)
    canvas: tuple[float, ...] = (1.0,)
    ink: tuple[float, ...] = (0.0,)
    stop: bool = False

    def encoding(self, phase: Phase, size: tuple[int, int]) -> Ink:
        """What genomes mean in a phase, on a canvas of (height, width)."""
        return Ink(size, self.canvas, self.ink, phase.region)

    def described(self) -> dict[str, Any]:
        """Its resolved configuration, JSON values only."""
        described: dict[str, Any] = {**spec.to_json(self), "algorithm": spec.to_json(self.algorithm)}
        return {**described, "kind of algorithm": type(self.algorithm).__name__}


def settings(
    *,
    preset: str = "economical",
    crossover: str = "",
    mutation: str = "",
    goal: Goal = "confidence",
    measure: Measure = "cross-entropy",
    weight: str = "",
    confidence: float = 0.96,
    within: float = 0.01,
    population: int | None = None,
    generations: int | None = None,
    p_crossover: float | None = None,
    p_mutation: float | None = None,
    region: tuple[str, ...] = (),
    canvas: tuple[float, ...] = (1.0,),
    ink: tuple[float, ...] = (0.0,),
    stop: bool | None = None,
) -> Drawing:
    """A way to draw from a preset and what is said besides.

    Args:
        preset: see PRESETS.
        crossover: see CROSSOVERS; "" = the preset's.
        mutation: see MUTATIONS; "" = the preset's.
        goal: "confidence": the class with so much of it; "boundary": a tie between the class and the best other one;
            "front": as few pixels and as much confidence as go together, by NSGA-II.
        measure: what is lowered on the way to a confidence.
        weight: lambda, what a pixel of ink costs in units of the measure: a number, "adapt", or a schedule such as
            "0@0,0.01@100" (by generation, straight lines between); "" = the preset's.
        confidence: the goal, in (0, 1).
        within: of the boundary, in (0, 0.5).
        population, generations, p_crossover, p_mutation: None = the preset's.
        region: where ink may lie when; see `regions`.
        canvas, ink: gray levels.
        stop: end a run at its first success; None = the preset's.

    Raises:
        SpecError: a value that is unknown or out of range.
    """
    if preset not in PRESETS:
        raise SpecError(f"unknown preset '{preset}'{nearest(preset, PRESETS)}")
    asked = preset == "question"
    crossing = _named("crossover", crossover or ("rectangle" if asked else "uniform"), CROSSOVERS)
    mutating, often = _named("mutation", mutation or ("per-gene" if asked else "redraw"), MUTATIONS)
    if not 0 < confidence < 1:
        raise SpecError(f"confidence = {confidence:g}: expected above 0 and below 1, such as 0.96")
    if not 0 < within < 0.5:
        raise SpecError(f"within = {within:g}: expected above 0 and below 0.5, such as 0.01")
    population = 100 if population is None else population
    generations = 400 if generations is None else generations
    if not 2 <= population <= MANY:
        raise SpecError(f"population = {population}: expected from 2 to {MANY:,}")
    if not 0 <= generations <= MANY:
        raise SpecError(f"generations = {generations}: expected from 0 to {MANY:,}")
    ga = GeneticAlgorithm(
        selection=op("selection.tournament", size=2),  # the question does not say; ours
        crossover=crossing,
        mutation=mutating,
        p_crossover=(0.8 if asked else 0.5) if p_crossover is None else p_crossover,
        p_mutation=often if p_mutation is None else p_mutation,
        elites=1,  # ours, too
    )
    adapts = not asked and goal != "boundary" and measure == "cross-entropy"
    weight = weight or (ADAPT if adapts else "0.001")
    algorithm, objective = _lowered(ga, goal, measure, weight)
    goals = {"boundary": op("criteria.near_boundary", within=within)}
    drawing = Drawing(
        algorithm=algorithm,
        objective=objective,
        criterion=goals.get(goal, op("criteria.confident", probability=confidence)),
        population=population,
        generations=generations,
        phases=regions.phases(region, generations),
        canvas=canvas,
        ink=ink,
        stop=(not asked and goal != "front") if stop is None else stop,
    )
    if 1 in (len(canvas), len(ink)):
        longest = max(len(canvas), len(ink))
        canvas, ink = (levels * longest if len(levels) == 1 else levels for levels in (canvas, ink))
    Ink(None, canvas, ink)  # says what is wrong with them
    return drawing


def _named(what: str, name: str, known: Mapping[str, Any]) -> Any:
    if name not in known:
        raise SpecError(f"unknown {what} '{name}'{nearest(name, known)}")
    return known[name]


def _lowered(ga: GeneticAlgorithm, goal: Goal, measure: Measure, weight: str) -> tuple[Algorithm, Op]:
    """The algorithm and its objective for a goal and a lambda."""
    if goal == "front":
        nsga2 = NSGA2(
            crossover=ga.crossover, mutation=ga.mutation, p_crossover=ga.p_crossover, p_mutation=ga.p_mutation
        )
        return nsga2, op("objectives.ink_and_cross_entropy")
    plain = "boundary" if goal == "boundary" else measure.replace("-", "_")
    if (number := _number(weight)) is not None:
        return ga, op(f"objectives.{plain}", weight=_positive(number, weight))
    if goal == "boundary" or measure != "cross-entropy":
        raise SpecError(f"lambda = {weight}: with this goal and measure expected a number, such as 0.001")
    both = op("objectives.ink_and_cross_entropy")
    if weight == ADAPT:
        return AdaptivePenalty(algorithm=ga), both
    points = []
    for part in weight.split(","):
        found = re.fullmatch(r"([\d.eE+-]+)@(\d+)", part.strip())
        if not found or (number := _number(found[1])) is None:
            raise SpecError(f"lambda = {weight}: expected a number, 'adapt', or a schedule such as 0@0,0.01@100")
        points.append((int(found[2]), _positive(number, weight)))
    return AdaptivePenalty(algorithm=ga, schedule=tuple(points)), both


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _positive(number: float, text: str) -> float:
    if not 0 <= number < float("inf"):
        raise SpecError(f"lambda = {text}: expected 0 or more; a negative one would reward ink")
    return number


def fitted(drawing: Drawing, channels: int) -> Drawing:
    """The same with colours for so many channels; a gray level stands for all of them.

    Raises:
        SpecError: there are neither one nor so many.
    """
    found = {}
    for name in ("canvas", "ink"):
        levels = getattr(drawing, name)
        if len(levels) not in (1, channels):
            raise SpecError(f"{name} has {len(levels)} gray levels for images of {channels} channels: expected as many")
        found[name] = levels * channels if len(levels) == 1 else levels
    return replace(drawing, **found)
