"""Reads populations while runs go on: who is best, whether the goal is reached, and what is told of generations."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ... import genome, objectives, regions
from ...algorithms import adaptive_penalty
from ...algorithms.adaptive_penalty import AdaptivePenalty
from ...algorithms.nsga2 import NSGA2
from ...contracts import ClassifierInfo, Evaluated, Status
from ...errors import DamagedRunError
from ...operators import lists, ranking
from ...search import Progress
from ...shapes import Bool, Float, Int, Tensor
from .drawing import Drawing
from .results import Picture

FEW = 64  # pixels of ink that a front is measured over
STRIDES = (1, 2, 5)


def measured_at(last: int) -> list[int]:
    """The generations that curves are of: every one up to 50, then about fifty in each tenfold."""
    found, generation = [], 0
    while generation < last:
        found.append(generation)
        generation += max(1, generation // 20)
    return [*found, last]


def shown_at(last: int) -> list[int]:
    """The generations of a strip: 0, 1, 2, 5, 10, 20, 50, ... and the last."""
    strides = (stride * 10**power for power in range(7) for stride in STRIDES)
    return [0, *(stride for stride in strides if stride < last), *([last] if last else [])]


class Judge:
    """Reads populations: who is best, and how good that is.

    Args:
        drawing: the way to draw.
        target: the class that is wanted.
        info: of the classifier.
        flat: it is one that sees nothing.
    """

    def __init__(self, drawing: Drawing, target: int, info: ClassifierInfo, *, flat: bool = False):
        self.drawing, self.target, self.info, self.flat = drawing, target, info, flat

    def reaches(self, scores: Float[Tensor, "B n K"], genomes: Any) -> Bool[Tensor, "B n"]:
        """Who reaches the goal."""
        labels = torch.full(scores.shape[:2], self.target)
        answered = ~scores.isnan().any(-1)
        status = torch.where(answered, int(Status.ANSWERED), int(Status.FAILED))
        blank = torch.empty(0)
        evaluated = Evaluated(genomes, blank, None, scores, labels, status)
        found: Bool[Tensor, "B n"] = self.drawing.criterion(evaluated, self.info) & answered
        return found

    def best(self, state: Any) -> Int[Tensor, " B"]:
        """The best member of each run: the fittest of those that reach the goal, else of all.

        Where fitness does not say it all (two objectives, or a lambda of its own) it is the one with the least ink of
        those that reach the goal, else the most confident one.
        """
        if isinstance(self.drawing.algorithm, AdaptivePenalty):
            return adaptive_penalty.best(state)
        reaches = self.reaches(state.scores, state.genomes)
        fitness = state.fitness
        if isinstance(self.drawing.algorithm, NSGA2):
            confidence = self.confidence(state.scores).masked_fill(state.scores.isnan().any(-1), torch.nan)
            fitness = torch.where(reaches, objectives.ink(state.genomes), -confidence)
        fitness = fitness.nan_to_num(nan=torch.inf)
        among = torch.where(reaches | ~reaches.any(1, keepdim=True), fitness, torch.inf)
        return among.argmin(1)

    def confidence(self, scores: Float[Tensor, "B n K"]) -> Float[Tensor, "B n"]:
        """Probability of the wanted class; 0 without an answer."""
        return objectives.probabilities(scores, self.info)[..., self.target].nan_to_num(0.0)

    def slack(self, scores: Float[Tensor, "N K"], rows: Tensor) -> Float[Tensor, " N"]:
        """By how much the goal holds: the confidence, or how near the boundary is."""
        if self.drawing.criterion.path == "criteria.near_boundary":
            labels = torch.full((1, len(scores)), self.target)
            blank = torch.empty(1, len(scores), 0)
            return -objectives.boundary(Evaluated(blank, blank, None, scores[None], labels, labels), self.info)[0]
        return self.confidence(scores[None])[0]

    def picture(self, mask: Bool[Tensor, "H W"], scores: Float[Tensor, " K"]) -> Picture:
        """One drawing with what was said of it."""
        prediction = -1 if bool(scores.isnan().any()) else int(scores.argmax())
        confidence = round(float(self.confidence(scores[None, None])[0, 0]), 6)
        return Picture(mask.flatten().nonzero().squeeze(1).tolist(), confidence, prediction)


@dataclass
class Record:
    """What is told of generations, collected while runs go on side by side.

    Attributes:
        judge: reads them.
        generations: the last one.
        running: how many runs go on.
        rows: by generation that is measured: what `event` gives.
        reached: by run its first generation that reached the goal, and what it had charged by then.
    """

    judge: Judge
    generations: int
    running: int
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    reached: dict[int, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # A null has hundreds of pixels that nobody looks at.
        self._shown = set() if self.judge.flat else set(shown_at(self.generations))
        ends = {phase.last for phase in self.judge.drawing.phases if phase.last is not None}
        self._usual = {*measured_at(self.generations), *self._shown, *ends}

    def event(self, progress: Progress, needed: Int[Tensor, " B"]) -> dict[str, Any]:
        """Take note of a generation; as JSON can hold it."""
        state, generation = progress.state, progress.generation
        news = [row for row in progress.success.nonzero().flatten().tolist() if row not in self.reached]
        event: dict[str, Any] = {"reached": {str(row): [generation, int(needed[row])] for row in news}}
        running = int(progress.running.sum())
        # Of a run that ends, all is told in its last generation.
        if generation in self._usual or running < self.running:
            event |= self._measure(state, generation in self._shown)
        self.running = running
        self._take(generation, event)
        return event

    def note(self) -> str:
        """Where the most confident run stands: "cat 91.4% with 12 pixels"."""
        row = self.rows[max(self.rows)]
        best = max(range(len(row["ink"])), key=lambda run: (row["confidence"][run], -row["ink"][run]))
        name = self.judge.info.class_names[self.judge.target]
        pixels = row["ink"][best]
        return f"{name} {row['confidence'][best]:.1%} with {pixels} pixel{'s' * (pixels != 1)}"

    def recall(self, events: Sequence[dict[str, Any]]) -> None:
        """Take over the generations before a checkpoint.

        Raises:
            DamagedRunError: they are not what `event` gave.
        """
        try:
            for generation, event in enumerate(events):
                self._take(generation, event)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            words = f"an event of the run cannot be read ({error}); restore the run from a copy"
            raise DamagedRunError(words) from None

    def curve(self, until: int) -> list[tuple[int, dict[str, Any]]]:
        """What is told of a run whose last generation this is: the same, whoever ran beside it."""
        found = [(each, self.rows[each]) for each in sorted(self.rows) if each < until and each in self._usual]
        # A run that the budget ended stands in the next generation where it stood in its last one.
        return [*found, (until, self.rows[min(each for each in self.rows if each >= until)])]

    def _take(self, generation: int, event: dict[str, Any]) -> None:
        for row, (first, queries) in event["reached"].items():
            self.reached.setdefault(int(row), (int(first), int(queries)))
        if "ink" in event:
            self.rows[generation] = event

    def _measure(self, state: Any, with_pictures: bool) -> dict[str, Any]:
        best = self.judge.best(state)
        each = torch.arange(len(best))
        masks = genome.genes(state.genomes)
        scores = state.scores[each, best]
        confidence = self.judge.confidence(scores[:, None])[:, 0]
        event: dict[str, Any] = {
            "confidence": [round(value, 6) for value in confidence.tolist()],
            "ink": lists.count(masks[each, best].flatten(1)).tolist(),
            "fitness": _numbers(_fitness(state)[each, best]),
            "steps": _numbers(mean_steps(masks)),
        }
        if hasattr(state, "weight"):
            event["weight"] = [float(f"{value:.4g}") for value in state.weight.tolist()]
        if isinstance(self.judge.drawing.algorithm, NSGA2):
            event["hypervolume"] = [round(value, 6) for value in self._hypervolume(state).tolist()]
        if with_pictures:
            pictures = [self.judge.picture(masks[row, int(best[row])], scores[row]) for row in range(len(best))]
            event["pictures"] = [dataclasses.asdict(picture) for picture in pictures]
        return event

    def _hypervolume(self, state: Any) -> Float[Tensor, " B"]:
        ink = objectives.ink(state.genomes)
        doubt = 1 - self.judge.confidence(state.scores)
        both = torch.stack([ink, doubt.masked_fill(state.scores.isnan().any(-1), torch.nan)], -1)
        return ranking.hypervolume(both, (float(FEW), 1.0)) / FEW


def _fitness(state: Any) -> Float[Tensor, "B P"]:
    """One number for each member: of two objectives the second, the loss."""
    found: Tensor = state.fitness if hasattr(state, "fitness") else state.loss
    return found[..., -1] if found.ndim == 3 else found


def _numbers(values: Tensor) -> list[float | None]:
    return [None if value != value else round(value, 6) for value in values.tolist()]


def mean_steps(masks: Bool[Tensor, "B P H W"]) -> Float[Tensor, " B"]:
    """Mean distance of ink to the border: of each member with ink the mean over its pixels, then over members."""
    steps = regions.steps_to_border(masks.shape[-2], masks.shape[-1]).flatten().double()
    found = lists.entries(masks.flatten(0, 1).flatten(1))
    sums = torch.zeros(len(found.counts), dtype=torch.float64).index_add_(0, found.row, steps[found.place])
    return (sums / found.counts).view(masks.shape[:2]).nanmean(1)
