"""What an attack came to, computed once from its numbers; figures and sentences only show it."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from ..studies.attack.results import Attacked, Results
from . import differences, survival
from .statistics import Interval, wilson
from .survival import Survival

BLOCKS = 25  # a learning curve has about so many points
FEWEST = 10  # images: a point of a learning curve is the mean of no fewer, where there are as many
FIRST = (10, 50)  # images whose mean is told apart
SHARES = (0.25, 0.5, 0.75, 0.9, 0.95, 1.0)  # of images: by which query they are fooled
TOLD = 5  # attacked images of a class: with fewer it is not compared
POINTS = 300  # of a drawn line


class Row(NamedTuple):
    """One image.

    Attributes:
        image: its numbers.
        cost: queries, a failure counted as the budget; None where it was not attacked.
        finding: the number of its finding; None where there is none, or none is known.
    """

    image: Attacked
    cost: float | None
    finding: int | None


class Block(NamedTuple):
    """Images that were attacked one after another.

    Attributes:
        first, last: their places in the order, from 1, both included.
        mean: of their queries, a failure counted as the budget.
    """

    first: int
    last: int
    mean: float


class Learning(NamedTuple):
    """Queries by the place in the order in which images were attacked.

    Attributes:
        blocks: means of images one after another.
        running: (images so far, mean over them), thinned.
        firsts: (k, mean over the first k images), for each k of `FIRST` that there are.
    """

    blocks: tuple[Block, ...]
    running: tuple[tuple[int, float], ...]
    firsts: tuple[tuple[int, float], ...]


class Share(NamedTuple):
    """Of attacked images, those that were fooled.

    Attributes:
        estimate: the share.
        n: attacked images.
        interval: Wilson's; None where images are not independent.
    """

    estimate: float
    n: int
    interval: Interval | None


class Group(NamedTuple):
    """Images with something in common, such as their class.

    Attributes:
        number: of the class.
        attacked, fooled, skipped: images.
        success: the share that was fooled; None where none was attacked.
        mean, median: queries, a failure counted as the budget; None likewise.
    """

    number: int
    attacked: int
    fooled: int
    skipped: int
    success: Share | None
    mean: float | None
    median: float | None


class Shrunk(NamedTuple):
    """What shrinking came to, over the images that it was tried on.

    Attributes:
        images: how many.
        before, after: median size, in the measure of the limit.
        queries: of all of them.
        minimal: how many have which certificate: 1 or 2; 0 = none.
    """

    images: int
    before: float
    after: float
    queries: int
    minimal: dict[int, int]


class Numbers(NamedTuple):
    """All of it.

    Attributes:
        rows: in the order of the list.
        skipped, unanswered: images that were not attacked, and why.
        success: the share that was fooled; None where nothing was attacked, and so are the next three.
        mean, median: queries, a failure counted as the budget.
        interval: of the mean, over images; None where they are not independent, or there are fewer than two.
        curve: who holds out.
        by: (share, queries that fool so many; None = never), for each of `SHARES`.
        learning: None where nothing is carried from image to image.
        classes: by the class that the images carry; without those that have no image.
        differ: p value that all classes take as many queries, over those of at least 5 attacked images; None where
            there are fewer than two of these, or images are not independent.
        targets: by the class that was wanted, where there is more than one.
        seen: (label, prediction) of the images that were fooled, and how many.
        shrunk: None where nothing was.
    """

    rows: list[Row]
    skipped: int
    unanswered: int
    success: Share | None
    mean: float | None
    median: float | None
    interval: Interval | None
    curve: Survival
    by: list[tuple[float, float | None]]
    learning: Learning | None
    classes: list[Group]
    differ: float | None
    targets: list[Group]
    seen: Counter[tuple[int, int]]
    shrunk: Shrunk | None

    @property
    def attacked(self) -> list[Row]:
        """Images that a search was made for, in the order of the list."""
        return [row for row in self.rows if row.cost is not None]

    @property
    def fooled(self) -> list[Row]:
        """Images that were fooled, the fewest queries first."""
        found = [row for row in self.rows if row.image.outcome == "fooled"]
        return sorted(found, key=lambda row: (row.image.queries, row.image.number))

    @property
    def failed(self) -> list[Row]:
        """Images that held out, in the order of the list."""
        return [row for row in self.rows if row.image.outcome == "failed"]


def analyse(results: Results, findings: dict[str, int] | None = None) -> Numbers:
    """Compute it all.

    Args:
        results: of an attack.
        findings: number of the finding of each file.
    """
    known = findings or {}
    rows = [Row(image, cost(image, results.budget), known.get(image.adversarial)) for image in results.images]
    costs = [row.cost for row in rows if row.cost is not None]
    curve = survival_of(results)
    shares = bool(results.recipe.get("shares"))
    wanted = {image.target for image in results.images if image.target is not None}
    classes = _groups(rows, [image.label for image in results.images], independent=not shares)
    return Numbers(
        rows=rows,
        skipped=sum(image.outcome == "skipped" for image in results.images),
        unanswered=sum(image.outcome == "unanswered" for image in results.images),
        success=success_of(results.images, independent=not shares),
        mean=mean(costs),
        median=median(costs),
        interval=None if shares else differences.mean_of(costs),
        curve=curve,
        by=[(share, survival.quantile(curve, share)) for share in SHARES] if costs else [],
        learning=learning(in_order(results)) if shares and costs else None,
        classes=classes,
        differ=None if shares else _differ(rows, classes),
        targets=(
            _groups(rows, [image.target for image in results.images], independent=not shares) if len(wanted) > 1 else []
        ),
        seen=Counter((i.label, i.prediction) for i in results.images if i.outcome == "fooled"),
        shrunk=_shrunk(results),
    )


def cost(image: Attacked, budget: int) -> float | None:
    """Queries of an image, a failure counted as the budget (or as more, if it got more); None if not attacked."""
    if image.outcome == "fooled":
        return float(image.queries)
    return float(max(budget, image.queries)) if image.outcome == "failed" else None


def seen_until(image: Attacked, results: Results) -> float:
    """After how many queries an image was fooled, or last seen to hold out.

    A failure is the end of a search that its own budget ended, or that had nothing new to ask any more; where there is
    a budget for all images together it may have ended earlier.
    """
    whole = image.outcome == "failed" and results.config.get("budget_total") is None
    return float(max(results.budget, image.queries) if whole else image.queries)


def survival_of(results: Results) -> Survival:
    """Who holds out by queries; failures are censored, see `seen_until`."""
    found = results.attacked
    return survival.kaplan_meier(
        [seen_until(image, results) for image in found], [image.outcome == "fooled" for image in found]
    )


def success_of(images: Iterable[Attacked], *, independent: bool = True) -> Share | None:
    """The share of attacked images that were fooled; None where none was attacked.

    Args:
        images: attacked ones and others.
        independent: nothing is carried from image to image, so that there is an interval.
    """
    outcomes = [image.outcome for image in images if image.attacked]
    found = wilson(outcomes.count("fooled"), len(outcomes))
    return Share(found.estimate, found.n, found if independent else None) if found else None


def in_order(results: Results) -> list[float]:
    """What each image cost, in the order in which they were attacked."""
    found = sorted(results.attacked, key=lambda image: (image.asked, image.number))
    return [cost(image, results.budget) or 0.0 for image in found]


def learning(costs: Sequence[float]) -> Learning:
    """Means by place in the order.

    Args:
        costs: in the order in which images were attacked; not empty.
    """
    totals = np.cumsum(costs)
    places = sorted({round(at) for at in np.linspace(1, len(costs), min(POINTS, len(costs)))})
    return Learning(
        blocks=tuple(Block(first + 1, last, float(np.mean(costs[first:last]))) for first, last in cut(len(costs))),
        running=tuple((place, float(totals[place - 1]) / place) for place in places),
        firsts=tuple((k, float(totals[k - 1]) / k) for k in FIRST if k <= len(costs)),
    )


def cut(count: int) -> list[tuple[int, int]]:
    """Places in the order, cut into blocks of equal size: (first, one behind the last); a short rest joins the last."""
    size = FEWEST * max(1, math.ceil(count / (BLOCKS * FEWEST)))
    edges = [*range(0, max(1, count - size + 1), size), count]
    return list(itertools.pairwise(edges))


def class_name(results: Results, number: int | None) -> str:
    """The name of a class; "" where there is none."""
    return results.class_names[number] if number is not None and 0 <= number < len(results.class_names) else ""


def size_of(results: Results, image: Attacked) -> float:
    """How far an image was changed, in the measure of the limit."""
    return image.linf if results.norm == "linf" else image.l2 if results.norm == "l2" else float(image.l0)


def compared(groups: Iterable[Group]) -> list[Group]:
    """Those of enough images to be held against each other."""
    return [group for group in groups if group.attacked >= TOLD]


def mean(values: Sequence[float]) -> float | None:
    """None where there is no value."""
    return math.fsum(values) / len(values) if values else None


def median(values: Sequence[float]) -> float | None:
    """None where there is no value."""
    return float(np.median(values)) if values else None


def _groups(rows: Sequence[Row], keys: Sequence[int | None], *, independent: bool) -> list[Group]:
    found = []
    for number in sorted({key for key in keys if key is not None}):
        mine = [row for row, key in zip(rows, keys, strict=True) if key == number]
        costs = [row.cost for row in mine if row.cost is not None]
        outcomes = [row.image.outcome for row in mine]
        success = success_of((row.image for row in mine), independent=independent)
        found.append(
            Group(number, len(costs), outcomes.count("fooled"), outcomes.count("skipped"), success, mean(costs),
                  median(costs))
        )  # fmt: skip
    return found


def _differ(rows: Sequence[Row], classes: Sequence[Group]) -> float | None:
    numbers = [group.number for group in compared(classes)]
    samples = [[row.cost for row in rows if row.cost is not None and row.image.label == label] for label in numbers]
    if len(samples) < 2:
        return None
    same = len({value for sample in samples for value in sample}) == 1
    return 1.0 if same else float(stats.kruskal(*samples).pvalue)


def _shrunk(results: Results) -> Shrunk | None:
    found = [(image, image.shrunk) for image in results.images if image.shrunk]
    if not found:
        return None
    return Shrunk(
        len(found),
        before=float(np.median([shrunk.before for _, shrunk in found])),
        after=float(np.median([size_of(results, image) for image, _ in found])),
        queries=sum(shrunk.queries for _, shrunk in found),
        minimal=dict(sorted(Counter(shrunk.minimal for _, shrunk in found).items())),
    )
