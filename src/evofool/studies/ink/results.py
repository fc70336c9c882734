"""The numbers of an ink study: what is left behind, and all that its verdict and report are made from.

Nothing here holds a clock value, a process id or a path. Ink is held as sorted places, row * width + column. The ring
of a pixel is how many steps it is from the border: 0 on it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ... import studyfile
from ..draw.results import Drawn, account, curves, drawn_from

FORMAT = "evofool-ink-study/1"

Part = Literal["where", "operators", "landscape", "padding", "position", "pipeline", "data", "transfer", "schedule"]


@dataclass(frozen=True)
class Arm:
    """One way to draw on one network.

    Attributes:
        name: unique.
        part: the question that it serves.
        about: one sentence for a reader.
        partner: the arm that it is compared with, paired by seed; "" where there is none.
        null: the arm with the same operators, region and canvas under a constant fitness; "" for a null itself.
        classifier: name of the network.
        variant: what is changed about it, in words; "" = nothing.
        tags: what sets the arm apart, such as {"crossover": "list", "mutation": "per-gene", "lambda": 0.001},
            {"padding": "reflect"}, {"canvas": 0.5}; a report makes its tables by them.
        settings: the resolved configuration, JSON values only.
        size: (height, width) of what is drawn.
        canvas, ink: gray levels.
    """

    name: str
    part: Part
    about: str
    partner: str
    null: str
    classifier: str
    variant: str
    tags: dict[str, Any]
    settings: dict[str, Any]
    size: tuple[int, int]
    canvas: tuple[float, ...]
    ink: tuple[float, ...]


@dataclass(frozen=True)
class Map:
    """What each single pixel of ink does to the blank canvas.

    Attributes:
        classifier, variant: of which network, changed how.
        size: (height, width).
        canvas, ink: gray levels.
        blank: log-odds of the wanted class for the canvas without ink, log p - log(1 - p).
        places: of the pixels that were tried, sorted: all of them, or a sample stratified by ring.
        effects: log-odds with that pixel minus those without; None where there was no answer.
        pairs: [place, place, effect of both] for interaction: pairs of the places that matter most, and random ones.
    """

    classifier: str
    variant: str
    size: tuple[int, int]
    canvas: tuple[float, ...]
    ink: tuple[float, ...]
    blank: float
    places: list[int]
    effects: list[float | None]
    pairs: list[tuple[int, int, float | None]] = field(default_factory=list)


@dataclass(frozen=True)
class Accuracy:
    """How well a network, changed or not, does on test images.

    Attributes:
        classifier, variant: which.
        accuracy, balanced: share of right answers; mean of the shares of wanted class and all others.
        images: that it was asked about; 0 = none were given, and both shares mean nothing.
        changed, skipped: layers whose padding was changed, and those where it could not be, with the reason.
    """

    classifier: str
    variant: str
    accuracy: float
    balanced: float
    images: int
    changed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class DarkRing:
    """How much of a ring looks like ink in the training images of a class.

    Attributes:
        wanted: of the wanted class; else of all others.
        ring: steps to the border.
        share: of its pixels that are nearer to ink than to canvas, mean over images.
        low, high: 95% interval over images.
        images: how many.
    """

    wanted: bool
    ring: int
    share: float
    low: float
    high: float
    images: int


@dataclass(frozen=True)
class Lean:
    """Whether ink-like pixels of the wanted class lie nearer to the border than those of the others.

    Attributes:
        wanted, others: mean steps to the border of ink-like pixels, mean over images.
        difference: wanted minus others; below 0 the wanted class has its dark pixels nearer to the border.
        low, high: 95% interval of the difference, images resampled.
    """

    wanted: float
    others: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Transfer:
    """What becomes of a drawing when it is shown otherwise.

    Attributes:
        arm, seed: of the drawing.
        shown: "to NAME" for another network, "shift 3", "blur", "jitter".
        confidence: of the wanted class, mean over the ways to do it (four directions, jitters).
    """

    arm: str
    seed: int
    shown: str
    confidence: float


@dataclass(frozen=True)
class Linkage:
    """How often two inked pixels of one parent stay together in a child, measured on random parents.

    Attributes:
        crossover: its name.
        distance: between the two, in pixels.
        rows, columns: share that stays together of the pairs so many rows apart, and of those so many columns apart.
    """

    crossover: str
    distance: int
    rows: float
    columns: float


@dataclass(frozen=True)
class Results:
    """Everything that an ink study leaves behind.

    Attributes:
        command: repeats it.
        quick: too few and too short runs to conclude from.
        config: the resolved configuration, JSON values only.
        versions: of python, evofool and the libraries that compute.
        data: name, fingerprint, count of the training images.
        classifiers: name (by which it is loaded), label (by which it is spoken of), fingerprint, architecture, padding
            and accuracy of each network; JSON values only. The first is the one that is explained.
        class_names, target: of it.
        base: name of the arm that the interventions are compared with.
        arms, runs: what was drawn.
        maps, accuracies, dark, lean, transfer, linkage: what was measured besides.
        skipped: part, and why it was left out.
        ledger: as of an operator study.
    """

    command: str
    quick: bool
    config: dict[str, Any]
    versions: dict[str, str]
    data: dict[str, Any]
    classifiers: list[dict[str, Any]]
    class_names: list[str]
    target: int
    base: str
    arms: list[Arm]
    runs: list[Drawn]
    maps: list[Map]
    accuracies: list[Accuracy]
    dark: list[DarkRing]
    lean: Lean | None
    transfer: list[Transfer]
    linkage: list[Linkage]
    skipped: list[tuple[str, str]]
    ledger: dict[str, Any] = field(default_factory=dict)
    format: str = FORMAT

    def arm(self, name: str) -> Arm:
        """The arm of a name."""
        return next(arm for arm in self.arms if arm.name == name)

    def of(self, arm: str) -> list[Drawn]:
        """The runs of an arm, by seed."""
        return sorted((run for run in self.runs if run.arm == arm), key=lambda run: run.seed)

    def part(self, *parts: Part) -> list[Arm]:
        """The arms of some parts, in their order."""
        return [arm for arm in self.arms if arm.part in parts]

    def map_of(self, classifier: str, variant: str = "") -> Map | None:
        """The map of a network on its usual canvas: the first of that name."""
        found = [each for each in self.maps if (each.classifier, each.variant) == (classifier, variant)]
        return found[0] if found else None

    def queries(self, *, of: str = "issued") -> int:
        """Rows of all runs; what was asked around them left aside, and a constant fitness asks nobody."""
        flat = {arm.name for arm in self.arms if "flat" in arm.variant}
        names = {account(run.arm, run.classifier, run.seed) for run in self.runs if run.arm not in flat}
        return sum(int(count[of]) for name, count in self.ledger.get("searches", {}).items() if name in names)

    def generations(self) -> list[dict[str, Any]]:
        """The curves as a table."""
        return curves(self.runs)

    def to_json(self) -> str:
        """One line a run, so that a difference can be read."""
        return studyfile.lines(dataclasses.asdict(self))


def arm_from(row: dict[str, Any]) -> Arm:
    """An arm from its JSON."""
    return Arm(**{**row, **{name: tuple(row[name]) for name in ("size", "canvas", "ink")}})


def map_from(row: dict[str, Any]) -> Map:
    """A map from its JSON."""
    tuples = {name: tuple(row[name]) for name in ("size", "canvas", "ink")}
    return Map(**{**row, **tuples, "pairs": [(int(a), int(b), effect) for a, b, effect in row["pairs"]]})


def load(path: Path) -> Results:
    """Read what `to_json` wrote.

    Raises:
        DamagedRunError: the file is missing, is not JSON, or is not of this format.
    """

    def made(raw: dict[str, Any]) -> Results:
        raw["arms"] = [arm_from(row) for row in raw["arms"]]
        raw["runs"] = [drawn_from(row) for row in raw["runs"]]
        raw["maps"] = [map_from(row) for row in raw["maps"]]
        for name, kind in (("accuracies", Accuracy), ("dark", DarkRing), ("transfer", Transfer), ("linkage", Linkage)):
            raw[name] = [kind(**row) for row in raw[name]]
        raw["lean"] = Lean(**raw["lean"]) if raw["lean"] else None
        raw["skipped"] = [(str(part), str(why)) for part, why in raw["skipped"]]
        return Results(**raw)

    return studyfile.load(path, FORMAT, made)
