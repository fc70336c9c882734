"""The published figures that the operator study is compared with.

Source: Timbe, Carreiras and Munhangane, Breaking CNNs - MNIST Dataset, NOVA IMS, May 2021. The classification reports
and two totals of fitness are printed there; the accuracy curves and the maxima of fitness were read off its plots by
eye, and every table that uses them has to say so.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources
from typing import Any, NamedTuple

AVERAGES = ("micro avg", "macro avg", "weighted avg", "samples avg")
ROUNDING = 0.005  # half a unit of the last digit of every printed figure


class Scores(NamedTuple):
    """One row of a classification report; shares in [0, 1], support in images."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Paper:
    """What was published.

    Attributes:
        source: the citation.
        constants: of the genetic algorithm (population, generations, rates, sizes).
        classifier: the report of the attacked classifier on its test set, by class ("0" to "9") and average.
        reports: by scenario, the report of the last generation.
        total_fitness: last generation, as printed; "FPS_AC_SM" and "FPS_AC_SM_elitism" only.
        first_fitness: total fitness after one generation, read off figure 14, for the FPS scenarios.
        largest_fitness: largest total fitness over the generations, read off figure 14; with "FPS_AC_SM_elitism".
        curves: by scenario, accuracy by generation, read off figures 2 to 13, good to about 0.02.
    """

    source: str
    constants: dict[str, float]
    classifier: dict[str, Scores]
    reports: dict[str, dict[str, Scores]]
    total_fitness: dict[str, float]
    first_fitness: dict[str, float]
    largest_fitness: dict[str, float]
    curves: dict[str, dict[int, float]]

    @property
    def scenarios(self) -> tuple[str, ...]:
        """The twelve, in the paper's order."""
        return tuple(self.reports)

    def accuracy(self, scenario: str) -> float:
        """Share of the last generation whose prediction is the carried label.

        Raises:
            KeyError: no report of that scenario was published.
        """
        return self.reports[scenario]["micro avg"].recall

    def supports(self, scenario: str) -> list[int]:
        """How many members of the last generation carry each class."""
        return [scores.support for name, scores in self.reports[scenario].items() if name not in AVERAGES]


@functools.cache
def load() -> Paper:
    """Read the published figures that ship with this package."""
    text = (resources.files(__package__) / "oreo2021.json").read_text(encoding="utf-8")
    raw: dict[str, Any] = json.loads(text)
    reports = {
        name: {row: Scores(**scores) for row, scores in rows.items()}
        for name, rows in raw["classification_reports"].items()
    }
    classifier = reports.pop("trained_model")
    plots = raw["accuracy_by_generation_read_off_the_plots"]
    fitness = raw["figure14_total_fitness_read_off_the_plot"]
    return Paper(
        source=raw["source"],
        constants=raw["constants"],
        classifier=classifier,
        reports=reports,
        total_fitness=raw["total_fitness_last_generation"],
        first_fitness=fitness["first_generation"],
        largest_fitness=fitness["maximum"],
        curves={name: dict(zip(plots["generations"], plots[name], strict=True)) for name in reports},
    )
