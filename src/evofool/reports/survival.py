"""How long images hold out against queries: Kaplan and Meier's curve, its band, its median and its restricted mean.

An image that was not fooled within the budget is censored there: it is known to have held out so long, and no more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats


class Step(NamedTuple):
    """Where the curve falls.

    Attributes:
        queries: after so many.
        at_risk: images that were still being attacked when this query was asked.
        fooled: of them with this query.
        left: share of images that hold out longer.
        low, high: pointwise band of that share.
    """

    queries: float
    at_risk: int
    fooled: int
    left: float
    low: float
    high: float


class Survival(NamedTuple):
    """The curve: 1 before its first step.

    Attributes:
        steps: by queries; only where images were fooled.
        images: how many there were.
        last: the most queries of any image; nothing is known beyond.
    """

    steps: tuple[Step, ...]
    images: int
    last: float

    def at(self, queries: float) -> float:
        """Share of images that so many queries do not fool."""
        return next((step.left for step in reversed(self.steps) if step.queries <= queries), 1.0)


def kaplan_meier(queries: Sequence[float], fooled: Sequence[bool], *, confidence: float = 0.95) -> Survival:
    """The share of images that hold out, by queries.

    Args:
        queries: of each image: to be fooled, or until its attack ended.
        fooled: whether it was; one that was not is censored, after those that were fooled with as many queries.
        confidence: of the band.

    Returns:
        A curve whose band comes from Greenwood's variance of log(-log S), so that it stays within 0 and 1; where nobody
        is left that variance is not defined, and the band keeps its upper end and falls to 0 below.

    Raises:
        ValueError: unequal lengths, or queries below 0.

    Source: Kaplan and Meier, Nonparametric estimation from incomplete observations, JASA 53, 1958; the band:
    Kalbfleisch and Prentice, The Statistical Analysis of Failure Time Data, 2nd ed., 2002, chapter 1.
    """
    times, events = np.asarray(queries, dtype=float), np.asarray(fooled, dtype=bool)
    if times.shape != events.shape or times.ndim != 1:
        raise ValueError(f"{times.shape} queries and {events.shape} outcomes; expected one of each for every image")
    if (times < 0).any():
        raise ValueError("queries below 0")
    z = float(stats.norm.ppf((1 + confidence) / 2))
    steps: list[Step] = []
    left, variance, high = 1.0, 0.0, 1.0
    for time in np.unique(times[events]):
        at_risk, hit = int((times >= time).sum()), int((events & (times == time)).sum())
        left *= 1 - hit / at_risk
        if hit == at_risk:
            low = left = 0.0
        else:
            variance += hit / (at_risk * (at_risk - hit))
            factor = math.exp(z * math.sqrt(variance) / abs(math.log(left)))
            low, high = left**factor, left ** (1 / factor)
        steps.append(Step(float(time), at_risk, hit, left, low, high))
    return Survival(tuple(steps), times.size, float(times.max()) if times.size else 0.0)


def quantile(survival: Survival, share: float) -> float | None:
    """The fewest queries that fool this share of the images; None where so many did not do.

    Args:
        survival: the curve.
        share: in (0, 1]; 0.5 = the median.
    """
    return next((step.queries for step in survival.steps if step.left <= 1 - share + 1e-12), None)


def median(survival: Survival) -> float | None:
    """The fewest queries that fool half of the images; None where half of them were not fooled."""
    return quantile(survival, 0.5)


def restricted_mean(survival: Survival, until: float) -> float:
    """Mean queries up to a limit: the area below the curve.

    Where all failures are censored at the limit, this is the mean with a failure counted as the limit.

    Args:
        survival: the curve.
        until: the limit, in queries.
    """
    area, since, left = 0.0, 0.0, 1.0
    for step in survival.steps:
        if step.queries >= until:
            break
        area += left * (step.queries - since)
        since, left = step.queries, step.left
    return area + left * (until - since)
