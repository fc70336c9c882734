"""Ink studies made up for tests: what is said of a run is where its ink lies, and where that of its population lay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from evofool.studies.draw.results import Drawn, Picture
from evofool.studies.ink.results import Accuracy, Arm, DarkRing, Lean, Map, Results, Transfer

SIZE = (12, 12)
BASE = "where/rectangle/per-image/lambda=0.001"
NULL = "null/rectangle/per-image"
NET = "net"


def drawn(
    arm: str,
    seed: int,
    places: Sequence[int] = (),
    *,
    steps: Sequence[float | None] = (1.67, 1.67),
    fitness: Sequence[float | None] = (),
    generations: Sequence[int] = (),
    reached: int | None = None,
    confidence: float = 0.5,
) -> Drawn:
    """One run."""
    fitness = list(fitness) or [1.0] * len(steps)
    generations = list(generations) or list(range(len(steps)))
    return Drawn(
        arm=arm,
        classifier=NET,
        seed=seed,
        best=Picture(list(places), confidence, 0),
        reached=reached,
        queries=100,
        ended=None,
        generations=generations,
        confidence=[confidence] * len(generations),
        ink=[len(places)] * len(generations),
        fitness=fitness,
        steps=list(steps),
        strip=[],
    )


class Study:
    """Collects arms and runs, and gives results."""

    def __init__(self) -> None:
        self.arms: list[Arm] = []
        self.runs: list[Drawn] = []
        self.maps: list[Map] = []
        self.accuracies: list[Accuracy] = []
        self.dark: list[DarkRing] = []
        self.transfer: list[Transfer] = []
        self.skipped: list[tuple[str, str]] = []
        self.lean: Lean | None = None
        self.paddings = {NET: "zeros"}

    def arm(
        self,
        name: str,
        part: Any = "where",
        *,
        null: str = NULL,
        partner: str = "",
        classifier: str = NET,
        variant: str = "",
        size: tuple[int, int] = SIZE,
        settings: dict[str, Any] | None = None,
        **tags: Any,
    ) -> Study:
        """One more arm; of the tags `lambda` and such may be given in a table."""
        tags = {**tags.pop("tags", {}), **tags}
        self.arms.append(
            Arm(name, part, name, partner, null, classifier, variant, tags, settings or {}, size, (1.0,), (0.0,))
        )
        return self

    def rings(self, arm: str, rings: Sequence[float | None], **about: Any) -> Study:
        """Runs whose ink lies so many steps from the border in the mean (halves and such: of ten pixels)."""
        size = next(each.size for each in self.arms if each.name == arm)
        for seed, ring in enumerate(rings):
            places = []
            if ring is not None:
                low = int(ring)
                more = round((ring - low) * 10)
                places = _spread(size, low, 10 - more) + (_spread(size, low + 1, more) if more else [])
            self.runs.append(drawn(arm, seed, places, **about))
        return self

    def null(self, arm: str, steps: Sequence[tuple[float, float]]) -> Study:
        """Runs of a null: where its ink lies at first and at the end."""
        self.runs += [drawn(arm, seed, [0], steps=pair) for seed, pair in enumerate(steps)]
        return self

    def results(self, *, quick: bool = False) -> Results:
        """All of it."""
        return Results(
            command="evofool study ink",
            quick=quick,
            config={},
            versions={},
            data={},
            classifiers=[{"name": name, "padding": padding} for name, padding in self.paddings.items()],
            class_names=["cat", "other"],
            target=0,
            base=BASE,
            arms=self.arms,
            runs=self.runs,
            maps=self.maps,
            accuracies=self.accuracies,
            dark=self.dark,
            lean=self.lean,
            transfer=self.transfer,
            linkage=[],
            skipped=self.skipped,
        )


def _spread(size: tuple[int, int], ring: int, count: int) -> list[int]:
    """So many pixels of a ring, all round."""
    row, column = np.indices(size)
    steps = np.minimum(np.minimum(row, size[0] - 1 - row), np.minimum(column, size[1] - 1 - column))
    found = np.flatnonzero(steps == ring)
    assert len(found) >= count
    chosen: list[int] = found[np.arange(count) * len(found) // max(count, 1)].tolist()
    return chosen


def noisy(mean: float, runs: int = 10, *, spread: float = 0.2, seed: int = 0) -> list[float]:
    """One number for each run, in tenths; more than 4.4 has no room on the canvas."""
    drawn = np.random.default_rng(seed).normal(mean, spread, runs)
    return [round(min(max(0.0, float(value)), 4.4), 1) for value in drawn]


def neutral(runs: int = 30, *, end: float = 1.67, seed: int = 1) -> list[tuple[float, float]]:
    """Runs of a null that ends where it is told to."""
    drawn = np.random.default_rng(seed).normal(0, 0.05, (runs, 2))
    return [(1.67 + float(first), end + float(last)) for first, last in drawn]


def landscape(worth: Any, *, classifier: str = NET, variant: str = "", pairs: Any = ()) -> Map:
    """A map of all pixels of SIZE."""
    effects = np.broadcast_to(np.asarray(worth, dtype=float), SIZE).ravel().tolist()
    whole = list(range(SIZE[0] * SIZE[1]))
    return Map(classifier, variant, SIZE, (1.0,), (0.0,), -4.0, whole, effects, list(pairs))
