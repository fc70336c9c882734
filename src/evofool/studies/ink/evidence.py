"""What a verdict on a cause is made of: numbers behind it, what they are compared with, and words for both."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from . import measures
from .measures import Change, EdgeIndex, Mean
from .results import Accuracy, Arm, Results

ACCUSES = 0.99  # level of the intervals that find a preference
EXPLAINS = 0.95  # level of those that explain one, all of a cause together
NOTICED = 0.03  # operators and data that move ink by a smaller share are not accused
POINTS = 0.05  # of accuracy: a network that loses more by a change is another network
FEWEST = 3  # runs: fewer tell nothing
HALF = 0.5  # of a preference, or of a distance: what a test would miss even this large of, it does not clear
CHANCE = 0.05  # a map foretells ink if fewer of its shifts do as well
AGREES = 0.5  # a network calls a drawing the wanted class from this confidence on

Measured = Literal["drift", "index", "change", "difference", "confidence"]

OPERATORS, LANDSCAPE = "operators", "landscape"
WEIGHTS, GENERAL = "padding of these weights", "padding in general"
POSITION, PIPELINE, DATA, ITSELF = "position or content", "pipeline", "data", "the classifier itself"
CAUSES = (OPERATORS, LANDSCAPE, WEIGHTS, GENERAL, POSITION, PIPELINE, DATA, ITSELF)


@dataclass(frozen=True)
class Effect:
    """One number behind a verdict, with its interval.

    Attributes:
        what: was done, in short words.
        arm: that shows it; "" where it was not drawn.
        measured: "drift" = mean distance to the border at the end over that in generation 0, by operators alone;
            "index" = edge index; "change" = edge index less that of the partner; "difference" = of mean steps to the
            border in the data; "confidence" = of another network.
        estimate, low, high, n, level: as of `measures.EdgeIndex`.
        counts: it speaks for the cause.
        lost: accuracy that the change costs, the larger of plain and balanced, as a share; None where unknown.
    """

    what: str
    arm: str
    measured: Measured
    estimate: float | None
    low: float | None
    high: float | None
    n: int
    level: float
    counts: bool = False
    lost: float | None = None

    @property
    def words(self) -> str:
        """The number with its interval."""
        return number(self.estimate, self.low, self.high, self.n, self.level, signed=self.measured == "change")

    @property
    def changes(self) -> str:
        """The same of a change."""
        if self.estimate is None:
            return "cannot be compared, since too few runs have ink or a null"
        return f"changes by {self.words}"


@dataclass(frozen=True)
class Cause:
    """One possible cause.

    Attributes:
        name: one of CAUSES.
        accused: None = not tested, or cannot be told.
        effects: what its interventions did.
        sentences: for a reader.
    """

    name: str
    accused: bool | None
    effects: list[Effect] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)


class Case(NamedTuple):
    """What all causes are judged by.

    Attributes:
        results: of the study.
        edge: index of the arm that is explained.
        side: of its ink, beyond what the operators do: -1 = edge, 1 = middle, 0 = neither.
        told: whether the side could be told.
    """

    results: Results
    edge: EdgeIndex
    side: int
    told: bool

    @property
    def base(self) -> Arm | None:
        """The arm that is explained; None where it was not drawn."""
        return next((arm for arm in self.results.arms if arm.name == self.results.base), None)


def together(level: float, count: int) -> float:
    """Level of each of so many intervals that hold all at once with the given one (Bonferroni)."""
    return 1 - (1 - level) / max(1, count)


def number(
    estimate: float | None, low: float | None, high: float | None, n: int, level: float, *, signed: bool = False
) -> str:
    """A number with its interval, in words."""
    sign = "+" if signed else ""
    if estimate is None:
        return "not known"
    if low is None or high is None:
        return f"{estimate:{sign}.2f} (one run or no null to compare with, no interval)"
    return f"{estimate:{sign}.2f} ({100 * level:.4g}% interval {low:{sign}.2f} to {high:{sign}.2f}, n = {n:,})"


def effect_of(
    what: str,
    arm: str,
    measured: Measured,
    of: EdgeIndex | Change | Mean,
    counts: bool = False,
    lost: float | None = None,
) -> Effect:
    """What was measured, as an effect."""
    return Effect(what, arm, measured, of.estimate, of.low, of.high, of.n, of.level, counts, lost)


def drift_of(results: Results, arm: Arm, level: float) -> Effect:
    """What the operators of an arm do by themselves; it counts if they bring ink to the edge or to the middle."""
    found = measures.drift(results, arm.name, level=level)
    biased = found.n >= FEWEST and found.direction != 0 and abs((found.estimate or 1) - 1) > NOTICED
    return effect_of(named(arm), arm.name, "drift", found, counts=biased)


def changes_of(
    case: Case,
    arms: Sequence[Arm],
    lost: Callable[[Arm], float | None] = lambda arm: None,
    level: float | None = None,
) -> list[Effect]:
    """Change of the edge index by each of some arms; one that takes the preference away, or a part of it, counts."""
    level = together(EXPLAINS, len(arms)) if level is None else level
    effects = []
    for arm in arms:
        found = measures.change(case.results, arm.name, arm.partner, level=level)
        counts = case.side != 0 and found.n >= FEWEST and found.direction == -case.side
        effects.append(effect_of(named(arm), arm.name, "change", found, counts, lost(arm)))
    return effects


def partnered(case: Case) -> list[Arm]:
    """The arms that change something about the arm that is explained."""
    base = case.base
    return [arm for arm in case.results.arms if base and (arm.partner, arm.classifier) == (base.name, base.classifier)]


def is_swap(arm: Arm) -> bool:
    """Whether an arm has another padding in the weights of a network."""
    return arm.part == "padding" and "padding" in arm.tags and arm.tags["padding"] != arm.tags.get("own")


def trained_networks(case: Case) -> list[tuple[str, Arm]]:
    """Networks as they were trained, with the padding that they were trained with; the one explained is the first."""
    results, base = case.results, case.base
    paddings = {str(each.get("name")): str(each.get("padding") or "") for each in results.classifiers}
    paddings |= {arm.classifier: str(arm.tags["own"] or "") for arm in results.part("padding") if "own" in arm.tags}
    if base is None:
        return []
    found = [(paddings.get(base.classifier, ""), base)]
    for arm in results.part("padding"):
        if arm.classifier != base.classifier and arm.tags.get("padding") == arm.tags.get("own"):
            found.append((paddings[arm.classifier], arm))
    return found


def accuracy_of(results: Results, classifier: str, variant: str) -> Accuracy | None:
    """Of a network as it stands in an arm; None where it was asked about no image."""
    found = layers_of(results, classifier, variant)
    return found if found and found.images else None


def layers_of(results: Results, classifier: str, variant: str) -> Accuracy | None:
    """The same, for the layers that were changed and skipped; those are known without images, too."""
    found = (each for each in results.accuracies if (each.classifier, each.variant) == (classifier, variant))
    return next(found, None)


def skipped_by(results: Results, arm: Arm) -> int:
    """How many layers that pad a swap left as they were."""
    found = layers_of(results, arm.classifier, arm.variant)
    return len(found.skipped) if found else 0


def accuracy_lost(before: Accuracy | None, after: Accuracy | None) -> float | None:
    """Accuracy that a change costs, the larger of plain and balanced; None where it is not known."""
    if before is None or after is None:
        return None
    lost = [before.accuracy - after.accuracy, before.balanced - after.balanced]
    known = [each for each in lost if math.isfinite(each)]
    return round(max(known), 6) if known else None


def is_told(effect: Effect) -> bool:
    """Whether enough was run for an interval."""
    return effect.low is not None and effect.n >= FEWEST


def is_sharp(of: EdgeIndex | Effect) -> bool:
    """Whether the interval of an index, or of a drift, would show half of the distance or twice of it."""
    return of.low is not None and of.high is not None and of.low > HALF and of.high < 1 / HALF


def would_show(case: Case, effect: Effect) -> bool:
    """Whether half of the preference is beyond the interval: taken away by a change, or there in an index."""
    if not is_told(effect) or effect.low is None or effect.high is None or case.edge.estimate is None:
        return False
    half = HALF * (1 - case.edge.estimate)
    if effect.measured == "index":
        return effect.low > 1 - half if case.side < 0 else effect.high < 1 - half
    return effect.high < half if case.side < 0 else effect.low > half


def nothing(case: Case) -> bool | None:
    """What is said of a cause where there is no preference."""
    return False if case.told else None


def nothing_words(case: Case) -> str:
    """The same in words."""
    return "There is no preference to explain." if case.told else "Whether there is a preference cannot be told."


def no_index() -> EdgeIndex:
    """Of an arm that is not there."""
    return EdgeIndex({}, None, None, None, None, 0, ACCUSES)


def named(arm: Arm) -> str:
    """An arm in short words."""
    tags = arm.tags
    if "outside" in tags:
        return f"gray {tags['outside']:g} beyond the border"
    if "canvas" in tags:
        return f"a blank of gray {tags['canvas']:g}"
    if "resize" in tags:
        return f"drawn at {tags.get('size', 'another size')} ({tags['resize']})"
    if "padding" in tags:
        return f"padding {tags['padding']}"
    if tags.get("kind") == "control":
        return "clamped moves"
    if "mutation" in tags:
        return f"{tags.get('crossover', '')} crossover and {tags['mutation']} mutation".strip()
    return f"{tags['crossover']} crossover" if "crossover" in tags else arm.name


def nearer(side: int) -> str:
    """Which way, in words."""
    return f"nearer to the {'edges' if side < 0 else 'middle'}"


def place(side: int) -> str:
    """Which place, in words."""
    return "edge" if side < 0 else "middle"


def where(effect: Effect) -> str:
    """Where an index or a drift leads, in words."""
    return nearer(-1 if (effect.estimate or 0) < 1 else 1)


def range_of(effects: Sequence[Effect]) -> str:
    """Smallest and largest estimate."""
    estimates = [effect.estimate for effect in effects if effect.estimate is not None]
    return f"{min(estimates):.2f} to {max(estimates):.2f}"


def ways(count: int) -> str:
    """So many arms, in words."""
    return "one way to draw" if count == 1 else f"{count} ways to draw"


def capital(words: str) -> str:
    """With a capital at the beginning; all else stays."""
    return words[:1].upper() + words[1:]


def listed(effects: Sequence[Effect]) -> str:
    """What was done, with commas."""
    return ", ".join(effect.what for effect in effects)


def cost(effect: Effect) -> str:
    """What a change costs in accuracy, in words."""
    if effect.lost is None:
        return "; its accuracy is not known"
    return f"; accuracy {round(-100 * effect.lost, 1) + 0.0:+.1f} points"
