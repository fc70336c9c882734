"""What the drawings of an ink study come to: edge index, profiles by ring, and intervals over runs.

Intervals are over runs, never over pixels, which are not independent: runs are drawn again and again with replacement,
one fewer each time than there are, which makes up for the variance that drawing from a sample loses. The interval is
the estimate plus or minus so many of the standard errors found thus, by Student's t for the fewest runs that went into
it; of a ratio, whose lower part is uncertain as well, Fieller's. The same results give the same numbers. Where too
little was run for an answer, the answer is None.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ... import regions
from ...rng import Stream, search_id
from ..draw.results import Drawn, Picture
from .results import Results

RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class EdgeIndex:
    """Mean distance of ink to the border over that of the null: 1 = no bias, below 1 = nearer to the edge.

    Attributes:
        values: of each run, by seed; None without ink.
        null: mean distance of the null, in pixels.
        estimate, low, high: of the mean over runs. None without ink, without a null, or where all of the null's ink is
            on the border; with a single run there is no interval.
        n: runs with ink.
        level: of the interval.
    """

    values: dict[int, float | None]
    null: float | None
    estimate: float | None
    low: float | None
    high: float | None
    n: int
    level: float = CONFIDENCE

    @property
    def direction(self) -> int:
        """-1 = nearer to the edge, 1 = nearer to the middle, 0 = cannot be told."""
        return _side(self.low, self.high, 1.0)


@dataclass(frozen=True)
class Change:
    """Something less something else, such as the edge index of an arm less that of its partner.

    Attributes:
        estimate, low, high: in the unit of the two; None where one of them has none.
        n: runs that are compared: pairs of the same seed, or the fewer of both where no two seeds are the same.
        level: of the interval.
        paired: by seed.
    """

    estimate: float | None
    low: float | None
    high: float | None
    n: int
    level: float = CONFIDENCE
    paired: bool = True

    @property
    def direction(self) -> int:
        """-1 = below 0, 1 = above 0, 0 = cannot be told."""
        return _side(self.low, self.high, 0.0)


@dataclass(frozen=True)
class Mean:
    """A mean over runs with its interval; None as of `EdgeIndex`."""

    estimate: float | None
    low: float | None
    high: float | None
    n: int
    level: float = CONFIDENCE


@dataclass(frozen=True)
class RingRow:
    """One ring of a profile.

    Attributes:
        ring: steps to the border.
        area: its share of all pixels.
        mean, low, high: of what is measured; None where nothing was.
    """

    ring: int
    area: float
    mean: float | None
    low: float | None
    high: float | None


# Rings --------------------------------------------------------------------------------------------------------------


def ring_of(size: tuple[int, int]) -> np.ndarray:
    """Steps to the border of each place: [H * W]."""
    return regions.steps_to_border(*size).flatten().numpy()


def ring_area(size: tuple[int, int]) -> np.ndarray:
    """Pixels of each ring."""
    return np.bincount(ring_of(size))


def profile(places: Sequence[int], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Share of ink by ring, and share of area by ring. Without ink the first is all NaN."""
    area = ring_area(size)
    counts = np.bincount(ring_of(size)[np.asarray(places, dtype=np.int64)], minlength=len(area))
    with np.errstate(invalid="ignore"):
        return counts / np.float64(counts.sum()), area / area.sum()


def occupancy(results: Results, arm: str) -> np.ndarray | None:
    """Share of runs that have ink at each pixel, [H W]; None without a run."""
    masks = masks_of(results.of(arm), results.arm(arm).size)
    return masks.mean(0).reshape(results.arm(arm).size) if len(masks) else None


def ring_profile(results: Results, arm: str, *, level: float = CONFIDENCE) -> list[RingRow]:
    """Share of a run's ink by ring, mean over runs with ink."""
    size = results.arm(arm).size
    rings, area = ring_of(size), ring_area(size)
    masks = masks_of(results.of(arm), size)
    masks = masks[masks.any(1)]
    shares = np.stack([masks[:, rings == ring].sum(1) for ring in range(len(area))], 1) / masks.sum(1, keepdims=True)
    rows = []
    for ring in range(len(area)):
        mean = mean_of(shares[:, ring], f"profile of {arm}", level=level)
        low, high = (None if end is None else min(max(end, 0.0), 1.0) for end in (mean.low, mean.high))
        rows.append(RingRow(ring, float(area[ring] / area.sum()), mean.estimate, low, high))
    return rows


# Edge index ---------------------------------------------------------------------------------------------------------


def run_steps(picture: Picture, size: tuple[int, int]) -> float | None:
    """Mean steps to the border of the ink of a drawing; None without ink."""
    return float(ring_of(size)[picture.places].mean()) if picture.places else None


def null_steps(drawn: Drawn) -> float | None:
    """Mean steps to the border in the last generation that has ink, mean over the population."""
    return next((steps for steps in reversed(drawn.steps) if steps is not None), None)


def first_steps(drawn: Drawn) -> float | None:
    """Mean steps to the border in generation 0, mean over the population."""
    return drawn.steps[0] if drawn.steps else None


def edge_index(results: Results, arm: str, *, level: float = CONFIDENCE) -> EdgeIndex:
    """The edge index of an arm; its runs and those of its null are resampled.

    The ink is that of the best drawing before any is taken away: arms that reach their goal more often than others
    would else be measured otherwise.
    """
    steps, null = _steps(results, arm), _null(results, arm)
    inked = np.array([value for value in steps.values() if value is not None])
    mean = float(null.mean()) if len(null) and null.mean() > 0 else None
    values = {seed: None if value is None or mean is None else value / mean for seed, value in steps.items()}
    if mean is None or not len(inked):
        return EdgeIndex(values, mean, None, None, None, len(inked), level)
    drawn = resampled_means(inked, f"runs of {arm}"), resampled_means(null, f"runs of {results.arm(arm).null}")
    low, high = _ratio(float(inked.mean()), mean, *drawn, min(len(inked), len(null)), level)
    return EdgeIndex(values, mean, float(inked.mean()) / mean, low, high, len(inked), level)


def drift(results: Results, arm: str, *, level: float = CONFIDENCE) -> EdgeIndex:
    """What operators do by themselves: mean distance to the border at the end over that in generation 0, paired.

    Here `null` is the mean distance in generation 0, and values are distances over it.
    """
    ends = {run.seed: (null_steps(run), first_steps(run)) for run in results.of(arm)}
    pairs = {seed: (last, first) for seed, (last, first) in ends.items() if last is not None and first is not None}
    both = np.array(list(pairs.values()), dtype=float).reshape(-1, 2)
    first = float(both[:, 1].mean()) if len(both) and both[:, 1].mean() > 0 else None
    values = {seed: pairs[seed][0] / first if first and seed in pairs else None for seed in ends}
    if first is None:
        return EdgeIndex(values, None, None, None, None, len(both), level)
    last = float(both[:, 0].mean())
    drawn = [resampled_means(side, f"runs of {arm}") for side in both.T]
    low, high = _ratio(last, first, drawn[0], drawn[1], len(both), level)
    return EdgeIndex(values, first, last / first, low, high, len(both), level)


def change(results: Results, arm: str, partner: str, *, level: float = CONFIDENCE) -> Change:
    """Edge index of an arm less that of its partner, by seed where both have the seed; nulls are resampled, too.

    Between canvases of different size distances are those of the middle of a pixel, half a step more: the border of
    a large canvas and of a small one are then the same.
    """
    half = 0.0 if results.arm(arm).size == results.arm(partner).size else 0.5
    sides = [_steps(results, name) for name in (arm, partner)]
    nulls = [_null(results, name) + half for name in (arm, partner)]
    inked = [{seed: value + half for seed, value in side.items() if value is not None} for side in sides]
    common = sorted(inked[0].keys() & inked[1].keys())
    runs = [np.array([side[seed] for seed in common] if common else list(side.values())) for side in inked]
    n = min(map(len, runs))
    if not n or not all(len(null) and null.mean() > 0 for null in nulls):
        return Change(None, None, None, n, level, bool(common))
    # The same names draw the same runs: pairs stay together, and so does a null that both have.
    names = [f"pairs of {arm} and {partner}"] * 2 if common else [f"runs of {arm}", f"runs of {partner}"]
    resampled, means = [], []
    for own, null, name, side in zip(runs, nulls, names, (arm, partner), strict=True):
        resampled.append(resampled_means(own, name) / resampled_means(null, f"runs of {results.arm(side).null}"))
        means.append(float(own.mean() / null.mean()))
    estimate = means[0] - means[1]
    low, high = interval(estimate, resampled[0] - resampled[1], min(n, *map(len, nulls)), level)
    return Change(estimate, low, high, n, level, bool(common))


def mean_of(values: Sequence[float] | np.ndarray, name: str, *, level: float = CONFIDENCE) -> Mean:
    """Mean of one number for each run; `name` keys what is drawn."""
    array = np.asarray(values, dtype=float)
    if not len(array):
        return Mean(None, None, None, 0, level)
    estimate = float(array.mean())
    return Mean(estimate, *interval(estimate, resampled_means(array, name), len(array), level), len(array), level)


# What these share ---------------------------------------------------------------------------------------------------


def _side(low: float | None, high: float | None, value: float) -> int:
    """On which side of a value an interval lies: -1, 1, or 0 where it holds it or there is none."""
    if low is None or high is None:
        return 0
    slack = 1e-9 * max(1.0, abs(value))
    return int(low > value + slack) - int(high < value - slack)


def _steps(results: Results, arm: str) -> dict[int, float | None]:
    size = results.arm(arm).size
    return {run.seed: run_steps(run.best, size) for run in results.of(arm)}


def _null(results: Results, arm: str) -> np.ndarray:
    null = results.arm(arm).null
    steps = (null_steps(run) for run in results.of(null)) if null else ()
    return np.array([value for value in steps if value is not None], dtype=float)


def masks_of(runs: Sequence[Drawn], size: tuple[int, int]) -> np.ndarray:
    """Where there is ink, [runs H * W]."""
    masks = np.zeros((len(runs), size[0] * size[1]), dtype=bool)
    for mask, run in zip(masks, runs, strict=True):
        mask[run.best.places] = True
    return masks


@functools.lru_cache(maxsize=64)
def resamples(n: int, name: str) -> np.ndarray:
    """Which of n are drawn, one fewer than there are: [RESAMPLES, n - 1]."""
    return Stream([0], [search_id(name)])["resample"].integers(n, RESAMPLES, n - 1)[0].numpy()


def resampled_means(values: np.ndarray, name: str) -> np.ndarray:
    """Means of values drawn with replacement, [RESAMPLES]; of a single value that value."""
    if len(values) < 2:
        return np.full(RESAMPLES, float(values.mean()))
    return values[resamples(len(values), name)].mean(1)


def interval(estimate: float, resampled: np.ndarray, n: int, level: float) -> tuple[float | None, float | None]:
    """The estimate plus or minus so many standard errors; (None, None) with fewer than two runs."""
    finite = resampled[np.isfinite(resampled)]
    if n < 2 or len(finite) < 2 or not math.isfinite(estimate):
        return None, None
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) * float(finite.std(ddof=1))
    return estimate - half, estimate + half


def _ratio(
    above: float, below: float, many_above: np.ndarray, many_below: np.ndarray, n: int, level: float
) -> tuple[float | None, float | None]:
    """Interval of a ratio of two means, from what resampling says of their spread.

    It holds all r for which above - r * below may be 0. (None, None) with fewer than two runs, or where the mean below
    may itself be 0.

    Source: E. C. Fieller, Some problems in interval estimation, J. R. Stat. Soc. B 16, 1954.
    """
    if n < 2:
        return None, None
    spread = float(stats.t.ppf((1 + level) / 2, n - 1)) ** 2 * np.cov(many_above, many_below)
    a, b, c = below**2 - spread[1, 1], above * below - spread[0, 1], above**2 - spread[0, 0]
    inside = b * b - a * c
    if a <= 0 or inside < 0:
        return None, None
    return float((b - math.sqrt(inside)) / a), float((b + math.sqrt(inside)) / a)
