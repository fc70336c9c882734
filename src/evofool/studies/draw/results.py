"""The numbers that drawing leaves behind, and all that its report is made from.

Nothing here holds a clock value, a process id or a path; how long things took stands in a file of its own. Ink is held
in its reduced form: sorted places, row by row, row * width + column.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ... import studyfile

FORMAT = "evofool-drawing/1"


@dataclass(frozen=True)
class Picture:
    """A drawing, and what the classifier says of it.

    Attributes:
        places: of the ink.
        confidence: probability of the wanted class, in [0, 1].
        prediction: the class that the classifier sees; -1 without an answer.
    """

    places: list[int]
    confidence: float
    prediction: int

    @property
    def ink(self) -> int:
        """How many pixels."""
        return len(self.places)


@dataclass(frozen=True)
class Shrinking:
    """What became of a drawing when ink was taken away while the goal held.

    Attributes:
        picture: what is left.
        minimal: 1 = no single pixel can go, 2 = no pair either, 0 = not shown.
        queries: that it took.
        words: all this in words, and why nothing more was shown.
    """

    picture: Picture
    minimal: int
    queries: int
    words: str


@dataclass(frozen=True)
class Drawn:
    """One run.

    Attributes:
        arm: the way to draw.
        classifier: as it was named.
        seed: of the run.
        best: the best drawing of the last generation: of those that reach the goal the fittest, else the fittest.
        reached: the first generation that reached the goal; None = never.
        queries: charged by the end of that generation, or of all where there was none; without shrinking.
        ended: the last generation, where budget or success ended the run before; else None.
        generations: which ones the curves are of.
        confidence, ink, fitness: of the best drawing, by these generations; fitness is None where nothing was answered.
        steps: mean distance of ink to the border, in pixels, over the members of each of these generations that have
            ink; None where none has.
        strip: [generation, picture] of the best drawing, from the first generation to the last in growing strides.
        shrunk: None where the goal was not reached, or nothing was to be shrunk.
        front: with two objectives, what cannot be bettered in both: pictures by ink.
        hypervolume: mean over 0 to 63 pixels of the best confidence that so many give, by these generations.
        weight: by these generations the lambda under which parents of the next one are chosen, where it varies.
        confirmed: how often the drawing was asked about again and reached the goal again.
        at_goal: the best drawing reaches the goal.
    """

    arm: str
    classifier: str
    seed: int
    best: Picture
    reached: int | None
    queries: int
    ended: int | None
    generations: list[int]
    confidence: list[float]
    ink: list[int]
    fitness: list[float | None]
    steps: list[float | None]
    strip: list[tuple[int, Picture]]
    shrunk: Shrinking | None = None
    front: list[Picture] = field(default_factory=list)
    hypervolume: list[float] = field(default_factory=list)
    weight: list[float] = field(default_factory=list)
    confirmed: int = 0
    at_goal: bool = False

    @property
    def final(self) -> Picture:
        """The drawing that is handed over: what is left of the best one."""
        return self.shrunk.picture if self.shrunk else self.best


@dataclass(frozen=True)
class Arm:
    """One way to draw.

    Attributes:
        name: unique.
        about: one sentence for a reader.
        settings: the resolved configuration, JSON values only.
        size: (height, width) of what is drawn.
        canvas, ink: gray levels.
    """

    name: str
    about: str
    settings: dict[str, Any]
    size: tuple[int, int]
    canvas: tuple[float, ...]
    ink: tuple[float, ...]


@dataclass(frozen=True)
class Results:
    """Everything that drawing leaves behind.

    Attributes:
        command: repeats it.
        config: the resolved configuration, JSON values only.
        versions: of python, evofool and the libraries that compute.
        classifier: name, fingerprint, preparation, accuracy if known; JSON values only.
        class_names: of the classifier.
        target: the class that is wanted.
        blank: what the classifier says of the canvas without ink.
        arms: one.
        runs: by seed.
        ledger: as of an operator study.
    """

    command: str
    config: dict[str, Any]
    versions: dict[str, str]
    classifier: dict[str, Any]
    class_names: list[str]
    target: int
    blank: Picture
    arms: list[Arm]
    runs: list[Drawn]
    ledger: dict[str, Any] = field(default_factory=dict)
    format: str = FORMAT

    def queries(self, *, of: str = "issued") -> int:
        """Rows of all runs: issued, answered, failed, lost or repeated; what was asked around them left aside."""
        names = {account(run.arm, run.classifier, run.seed) for run in self.runs}
        return sum(int(count[of]) for name, count in self.ledger.get("searches", {}).items() if name in names)

    def generations(self) -> list[dict[str, Any]]:
        """The curves as a table."""
        return curves(self.runs)

    def to_json(self) -> str:
        """One line a run, so that a difference can be read."""
        return studyfile.lines(dataclasses.asdict(self))


def curves(runs: Sequence[Drawn]) -> list[dict[str, Any]]:
    """The curves of runs as a table."""
    return [
        {
            "arm": run.arm,
            "classifier": run.classifier,
            "seed": run.seed,
            "generation": generation,
            "confidence": run.confidence[at],
            "ink": run.ink[at],
            "fitness": run.fitness[at],
            "steps_to_border": run.steps[at],
        }
        for run in runs
        for at, generation in enumerate(run.generations)
    ]


def account(arm: str, classifier: str, seed: int) -> str:
    """What a run is in the ledger."""
    return f"{arm}/{classifier}/{seed}"


def drawn_from(row: dict[str, Any]) -> Drawn:
    """A run from its JSON.

    Raises:
        KeyError, TypeError, ValueError: a field is missing or unknown.
    """
    shrunk = row["shrunk"]
    return Drawn(
        **{
            **row,
            "best": Picture(**row["best"]),
            "strip": [(int(generation), Picture(**picture)) for generation, picture in row["strip"]],
            "shrunk": Shrinking(**{**shrunk, "picture": Picture(**shrunk["picture"])}) if shrunk else None,
            "front": [Picture(**picture) for picture in row["front"]],
        }
    )


def arm_from(row: dict[str, Any]) -> Arm:
    """An arm from its JSON."""
    return Arm(**{**row, **{name: tuple(row[name]) for name in ("size", "canvas", "ink")}})


def load(path: Path) -> Results:
    """Read what `to_json` wrote.

    Raises:
        DamagedRunError: the file is missing, is not JSON, or is not of this format.
    """

    def made(raw: dict[str, Any]) -> Results:
        raw["arms"] = [arm_from(row) for row in raw["arms"]]
        raw["runs"] = [drawn_from(row) for row in raw["runs"]]
        raw["blank"] = Picture(**raw["blank"])
        return Results(**raw)

    return studyfile.load(path, FORMAT, made)
