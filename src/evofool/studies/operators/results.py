"""The numbers of an operator study: what the runs leave behind, and all that its report is made from.

Nothing here holds a clock value, a process id or a path; how long things took stands in a file of its own.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ... import studyfile
from ...rundir import refuse_elsewhere

FORMAT = "evofool-operator-study/2"

Group = Literal["scenario", "elitism", "control", "hypothesis", "rates", "generations", "all-images"]


@dataclass(frozen=True)
class Arm:
    """One configuration of the genetic algorithm, run once for every seed and classifier.

    Attributes:
        name: for a scenario SELECTION_CROSSOVER_MUTATION in the paper's letters (FPS TS RS · SPC AC · SM IM).
        group: what it is run for.
        partner: the arm it is compared with, paired by seed; "" where there is none.
        about: one sentence for a reader; for a hypothesis the same sentence in all of its arms.
        family: arms that answer one question together ("keep-worst"; "" for the scenarios).
        generations: how many were made after the initial one.
        settings: the resolved configuration, JSON values only.
    """

    name: str
    group: Group
    partner: str = ""
    about: str = ""
    family: str = ""
    generations: int = 10
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Judged:
    """What an independent judge says of the last generation of one run; shares in [0, 1].

    Attributes:
        fools: the target's answer is not the carried label.
        reads: the judge's answer is the carried label.
        adversarial: both at once: the true adversarial rate.
    """

    fools: float
    reads: float
    adversarial: float


@dataclass(frozen=True)
class Distance:
    """How far the last generation is from its ancestor images; mean over the members.

    Attributes:
        l0: pixels that differ, as a share of all pixels, in [0, 1].
        l2: Euclidean distance of images in [0, 1].
        ssim: structural similarity, 1 = equal.
    """

    l0: float
    l2: float
    ssim: float


@dataclass(frozen=True)
class Run:
    """One arm, one classifier, one seed.

    The curves have generations + 1 values: index 0 is the untouched images.

    Attributes:
        accuracy: share of members whose prediction is the label they carry.
        precision, recall, f1: macro averages over the classes.
        total_fitness: the paper's positive sum over the population.
        failed: members without an answer.
        confusion: last generation, K rows (carried label) by K + 1 columns (prediction; the last one is "no answer").
        ancestors: how many of the first images still have a descendant.
        ended: the generation that the budget still reached, where it ended the run; the curves then stay at its values.
            None = the run came to its end.
    """

    arm: str
    classifier: str
    seed: int
    accuracy: list[float]
    precision: list[float]
    recall: list[float]
    f1: list[float]
    total_fitness: list[float]
    failed: list[int]
    confusion: list[list[int]]
    ancestors: int
    judged: Judged | None = None
    distance: Distance | None = None
    ended: int | None = None


@dataclass(frozen=True)
class Gallery:
    """Originals and what became of them, for one arm (first classifier, first seed).

    Attributes:
        file: PNG in the run directory, one column a member: the ancestor image above, the evolved one below.
        labels, ancestor_labels, predictions: class indices; prediction -1 = no answer.
        confidences: largest probability of the evolved image, in [0, 1].
    """

    arm: str
    file: str
    labels: list[int]
    ancestor_labels: list[int]
    predictions: list[int]
    confidences: list[float]


@dataclass(frozen=True)
class Target:
    """A classifier of the study.

    Attributes:
        accuracy: on the test set, in [0, 1].
        confusion: on the test set, K rows (true class) by K + 1 columns (prediction, "no answer").
        card: its card; of a classifier that has none, what it takes to load it again.
        flags: what to mind about its answers, with what was seen; see `doctor.Flag`.
    """

    name: str
    fingerprint: str
    accuracy: float
    confusion: list[list[int]]
    card: dict[str, Any] = field(default_factory=dict)
    flags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Results:
    """Everything.

    Attributes:
        command: repeats the study.
        config: the resolved configuration, JSON values only.
        versions: of python, evofool and the libraries that compute.
        data: name, fingerprint, count.
        judge: the independent classifier, if there was one.
        ledger: "searches": rows issued, answered, failed, lost, repeated by account (ARM/CLASSIFIER/SEED for a search);
            "padded"; "kills": how often the run was killed; "drift": what had changed when it was resumed. All but this
            is the same for a run that was killed and resumed and for one that was not.
    """

    command: str
    config: dict[str, Any]
    versions: dict[str, str]
    data: dict[str, Any]
    class_names: list[str]
    targets: list[Target]
    judge: Target | None
    arms: list[Arm]
    runs: list[Run]
    galleries: list[Gallery] = field(default_factory=list)
    ledger: dict[str, Any] = field(default_factory=dict)
    format: str = FORMAT

    def of(self, arm: str, classifier: str) -> list[Run]:
        """The runs of one arm on one classifier, by seed."""
        found = [run for run in self.runs if run.arm == arm and run.classifier == classifier]
        return sorted(found, key=lambda run: run.seed)

    def queries(self, *, of: str = "issued") -> int:
        """Rows of all searches: issued, answered, failed, lost or repeated; what was asked around them left aside."""
        names = {f"{run.arm}/{run.classifier}/{run.seed}" for run in self.runs}
        return sum(int(count[of]) for name, count in self.ledger.get("searches", {}).items() if name in names)

    def group(self, *groups: Group) -> list[Arm]:
        """The arms of these groups, in the order they were defined."""
        return [arm for arm in self.arms if arm.group in groups]

    def generations(self) -> list[dict[str, Any]]:
        """The curves as a table."""
        curves = ("accuracy", "precision", "recall", "f1", "total_fitness", "failed")
        return [
            {
                "arm": run.arm,
                "classifier": run.classifier,
                "seed": run.seed,
                "generation": generation,
                **{name: getattr(run, name)[generation] for name in curves},
            }
            for run in self.runs
            for generation in range(len(run.accuracy))
        ]

    def to_json(self) -> str:
        """One line a run, so that a difference can be read."""
        return studyfile.lines(dataclasses.asdict(self))


def run_from(row: dict[str, Any]) -> Run:
    """A run from its JSON.

    Raises:
        KeyError, TypeError: a field is missing or unknown.
    """
    judged, distance = row["judged"], row["distance"]
    return Run(
        **{
            **row,
            "judged": Judged(**judged) if judged else None,
            "distance": Distance(**distance) if distance else None,
        }
    )


def load(path: Path) -> Results:
    """Read what `to_json` wrote.

    Raises:
        DamagedRunError: the file is missing, is not JSON, or is not of this format.
    """

    def made(raw: dict[str, Any]) -> Results:
        raw["targets"] = [Target(**row) for row in raw["targets"]]
        raw["judge"] = Target(**raw["judge"]) if raw["judge"] else None
        raw["arms"] = [Arm(**row) for row in raw["arms"]]
        raw["galleries"] = [Gallery(**row) for row in raw["galleries"]]
        for gallery in raw["galleries"]:
            refuse_elsewhere(gallery.file, f"{path}: a gallery")
        raw["runs"] = [run_from(row) for row in raw["runs"]]
        return Results(**raw)

    return studyfile.load(path, FORMAT, made)
