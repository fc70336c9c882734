"""What drawing came to, computed once from its numbers; figures and sentences only show it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ..regions import EVERYWHERE, steps_to_border
from ..studies.draw.results import Arm, Drawn, Picture, Results
from ..studies.ink.measures import Mean, mean_of
from .statistics import Spread, spread

SQUARES = 64  # a map has no more squares than this a side
BANDS = 32  # nor a profile more bars
POINTS = 300  # nor a curve more points
FEWEST = 3  # runs: fewer have no interval


class Row(NamedTuple):
    """One run.

    Attributes:
        run: its numbers.
        holds: what it handed over is at the goal.
        finding: the number of its finding; None where there is none, or none is known.
        prediction: name of the class that the classifier sees in it; "" without an answer.
        ended: why it ended before the last generation: "goal", "budget", or "" if it did not.
    """

    run: Drawn
    holds: bool
    finding: int | None
    prediction: str
    ended: str


class Curve(NamedTuple):
    """One number of all runs by generation: median and quartiles. A run that has ended keeps its last one.

    Attributes:
        measure: confidence, ink, reached (the share of runs that have been at the goal), steps, weight or hypervolume.
        generations: at which it is given.
        low, median, high: first quartile, median and third quartile over runs; for `reached` all the same.
        runs: how many they are of.
    """

    measure: str
    generations: tuple[int, ...]
    low: tuple[float, ...]
    median: tuple[float, ...]
    high: tuple[float, ...]
    runs: int


class Ring(NamedTuple):
    """Pixels that are as far from the border.

    Attributes:
        first, last: steps to the border, both included; 0 lies on it.
        pixels: how many.
        area: their share of the canvas.
        ink: mean over runs of the share of a run's ink that lies there.
        low, high: its 95% interval over runs; None with fewer than three.
    """

    first: int
    last: int
    pixels: int
    area: float
    ink: float
    low: float | None
    high: float | None


class Places(NamedTuple):
    """Where the ink of the drawings lies.

    Attributes:
        runs: whose drawings they are; those at the goal, or if none is, all.
        holds: they are at the goal.
        inked: how many of them have ink.
        square: side of the squares of the map in pixels.
        map: [rows, columns] of squares; mean over runs of the pixels of ink in each.
        rings: from the border to the middle.
        steps: mean over runs of the mean distance of their ink to the border, with its 95% interval over runs; None
            where no drawing has ink.
        canvas: mean distance of all pixels of the canvas to the border.
    """

    runs: int
    holds: bool
    inked: int
    square: int
    map: np.ndarray
    rings: tuple[Ring, ...]
    steps: Mean | None
    canvas: float


class Numbers(NamedTuple):
    """All of it; `places` is None without a run."""

    arm: Arm
    target: str
    rows: list[Row]
    curves: list[Curve]
    places: Places | None
    front: list[tuple[int, Picture]]

    @property
    def held(self) -> list[Row]:
        """Runs whose drawing is at the goal, the fewest pixels first, then the most confident."""
        return sorted((row for row in self.rows if row.holds), key=_by_ink)

    @property
    def missed(self) -> list[Row]:
        """The others, the most confident first."""
        return sorted(
            (row for row in self.rows if not row.holds), key=lambda row: (-row.run.final.confidence, row.run.seed)
        )

    def spread(self, of: Callable[[Drawn], float | None]) -> Spread | None:
        """Mean, smallest and largest over the runs at the goal."""
        return spread([of(row.run) for row in self.held])

    def median(self, of: Callable[[Drawn], float | None]) -> float | None:
        """Median over the runs at the goal that have it."""
        return median(of(row.run) for row in self.held)


def _by_ink(row: Row) -> tuple[int, float, int]:
    return row.run.final.ink, -row.run.final.confidence, row.run.seed


def analyse(results: Results, findings: dict[int, int] | None = None) -> Numbers:
    """Compute it all.

    Args:
        results: of drawing in one way.
        findings: number of the finding of each seed.
    """
    rows = [
        Row(
            run=run,
            holds=holds(results, run),
            finding=(findings or {}).get(run.seed),
            prediction=class_name(results, run.final.prediction),
            ended=_ended(results, run),
        )
        for run in results.runs
    ]
    shown = [row.run for row in rows if row.holds] or results.runs
    arm = results.arms[0]
    return Numbers(
        arm=arm,
        target=class_name(results, results.target),
        rows=rows,
        curves=curves(results.runs),
        places=places(shown, arm.size, holds=any(row.holds for row in rows)) if shown else None,
        front=front(results.runs),
    )


def class_name(results: Results, number: int) -> str:
    """The name of a class; "" where the classifier gave no answer."""
    return results.class_names[number] if 0 <= number < len(results.class_names) else ""


def goal(results: Results) -> str:
    """confidence, boundary or front."""
    return str(results.config.get("goal", "confidence"))


def holds(results: Results, run: Drawn) -> bool:
    """Whether what a run handed over is at the goal, and was each time that it was asked about again."""
    return run.at_goal and run.confirmed >= int(results.config.get("confirm") or 0)


def blank_holds(results: Results) -> bool:
    """Whether the canvas without ink is at the goal already."""
    blank = results.blank
    if goal(results) == "boundary":
        return len(results.class_names) == 2 and abs(blank.confidence - 0.5) <= float(
            results.config.get("within", 0.01)
        )
    return blank.prediction == results.target and blank.confidence >= float(results.config.get("confidence", 1.0))


def _ended(results: Results, run: Drawn) -> str:
    if run.ended is None:
        return ""
    stops = results.arms[0].settings.get("stop") is True
    return "goal" if stops and run.reached is not None else "budget"


# Curves -----------------------------------------------------------------------------------------------------------


def curves(runs: Sequence[Drawn]) -> list[Curve]:
    """Every number that is given by generation, over the runs that have any."""
    runs = [run for run in runs if run.generations]
    grid = _thinned(sorted({generation for run in runs for generation in run.generations}))
    found = [_curve("confidence", grid, [(run.generations, run.confidence) for run in runs])]
    found.append(_curve("ink", grid, [(run.generations, run.ink) for run in runs]))
    found.append(_reached(grid, runs))
    found.append(_curve("steps", grid, [(run.generations, run.steps) for run in runs]))
    for name in ("weight", "hypervolume"):
        series = [(run.generations, getattr(run, name)) for run in runs]
        found.append(_curve(name, grid, [(at, values) for at, values in series if len(values) == len(at)]))
    return [curve for curve in found if curve.generations]


def _thinned(grid: list[int]) -> list[int]:
    if len(grid) <= POINTS:
        return grid
    return [grid[round(at)] for at in np.linspace(0, len(grid) - 1, POINTS)]


def _curve(measure: str, grid: Sequence[int], series: Sequence[tuple[Sequence[int], Sequence[float | None]]]) -> Curve:
    """Quartiles at each generation of what each run had last; generations without a value are left out."""
    rows = [held(generations, values, grid) for generations, values in series]
    kept, quartiles = [], []
    for at, generation in enumerate(grid):
        values = [row[at] for row in rows if row[at] is not None]
        if values:
            kept.append(generation)
            quartiles.append([float(value) for value in np.quantile(np.array(values, float), [0.25, 0.5, 0.75])])
    low, middle, high = (tuple(each) for each in zip(*quartiles, strict=True)) if quartiles else ((), (), ())
    return Curve(measure, tuple(kept), low, middle, high, len(rows))


def _reached(grid: Sequence[int], runs: Sequence[Drawn]) -> Curve:
    share = tuple(
        sum(run.reached is not None and run.reached <= generation for run in runs) / len(runs) for generation in grid
    )
    return Curve("reached", tuple(grid), share, share, share, len(runs))


def held(generations: Sequence[int], values: Sequence[float | None], grid: Sequence[int]) -> list[float | None]:
    """The last value at or before each generation of the grid; None before the first one."""
    found: list[float | None] = []
    at, last = 0, None
    for generation in grid:
        while at < len(generations) and generations[at] <= generation:
            last = values[at]
            at += 1
        found.append(last)
    return found


# Places -----------------------------------------------------------------------------------------------------------


def places(runs: Sequence[Drawn], size: tuple[int, int], *, holds: bool = True) -> Places:
    """The map, the profile by ring, and the mean distance to the border of what these runs handed over."""
    height, width = size
    steps = steps_to_border(height, width).numpy()
    square = math.ceil(max(size) / SQUARES)
    total = np.zeros((math.ceil(height / square), math.ceil(width / square)))
    band = math.ceil((int(steps.max()) + 1) / BANDS)
    count = int(steps.max()) // band + 1
    shares, distances = [], []
    for run in runs:
        at = np.array(run.final.places, int)
        np.add.at(total, (at // width // square, at % width // square), 1)
        if at.size:
            mine = steps.ravel()[at]
            shares.append(np.bincount(mine // band, minlength=count) / at.size)
            distances.append([float(mine.mean())])
    pixels = np.bincount(steps.ravel() // band, minlength=count)
    found = over_runs(np.array(shares)) if shares else [Mean(0.0, None, None, 0)] * count
    rings = [
        Ring(
            first=ring * band,
            last=min(ring * band + band - 1, int(steps.max())),
            pixels=int(pixels[ring]),
            area=float(pixels[ring] / steps.size),
            ink=share.estimate or 0.0,
            low=None if share.low is None else max(0.0, share.low),
            high=None if share.high is None else min(1.0, share.high),
        )
        for ring, share in enumerate(found)
    ]
    return Places(
        runs=len(runs),
        holds=holds,
        inked=len(shares),
        square=square,
        map=total / max(1, len(runs)),
        rings=tuple(rings),
        steps=over_runs(np.array(distances))[0] if distances else None,
        canvas=float(steps.mean()),
    )


def over_runs(values: np.ndarray, *, confidence: float = 0.95) -> list[Mean]:
    """Mean over runs with its t interval; runs are what varies, never pixels, which depend on each other.

    Args:
        values: [runs k].
        confidence: of the intervals.

    Returns:
        k means; with fewer than three runs they have no interval.
    """
    found = [mean_of(column, "drawings", level=confidence) for column in values.T]
    return found if len(values) >= FEWEST else [dataclasses.replace(each, low=None, high=None) for each in found]


def everywhere(arm: Arm) -> bool:
    """Whether ink might lie on every pixel in all generations, as far as the settings tell."""
    return all(phase.get("region", EVERYWHERE) == EVERYWHERE for phase in arm.settings.get("phases", []))


# Fronts -----------------------------------------------------------------------------------------------------------


def front(runs: Iterable[Drawn]) -> list[tuple[int, Picture]]:
    """Of the fronts of all runs what none of them betters in both: (seed, picture) by ink, confidence rising."""
    everything = sorted(
        ((run.seed, picture) for run in runs for picture in run.front),
        key=lambda found: (found[1].ink, -found[1].confidence, found[0]),
    )
    best: list[tuple[int, Picture]] = []
    for seed, picture in everything:
        if not best or picture.confidence > best[-1][1].confidence:
            best.append((seed, picture))
    return best


def median(values: Iterable[float | None]) -> float | None:
    """Of the values that are there."""
    kept = [value for value in values if value is not None]
    return float(np.median(kept)) if kept else None
