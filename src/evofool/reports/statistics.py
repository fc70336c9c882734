"""Statistics for a few runs each: intervals, paired and ranked tests, with a defined answer in every degenerate case.

Where too little was run for an answer, the answer is None (never NaN): a report then says that it cannot be told.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


class Spread(NamedTuple):
    """Mean and extremes of a few values; `n` is how many."""

    mean: float
    low: float
    high: float
    n: int


class Interval(NamedTuple):
    """An estimate with the interval around it, in the unit of the values; `n` is how many values it rests on."""

    estimate: float
    low: float
    high: float
    n: int

    def holds(self, value: float) -> bool:
        """Whether the value lies in the interval, ends included (a billionth is forgiven to rounding)."""
        slack = 1e-9 * max(1.0, abs(value))
        return self.low - slack <= value <= self.high + slack


class Paired(NamedTuple):
    """What n pairs say of the difference first - second.

    Attributes:
        mean: mean difference; None without a pair.
        low, high: t interval of the mean difference; None with fewer than two pairs.
        p: two-sided p value of the Wilcoxon signed-rank test, 1 where all differences are 0; None without a pair.
        n: number of pairs.
    """

    mean: float | None
    low: float | None
    high: float | None
    p: float | None
    n: int


class Friedman(NamedTuple):
    """Friedman's test of k treatments in n blocks.

    Attributes:
        statistic, p: chi-square statistic and p value; 0 and 1 where all treatments are tied in every block; None where
            there are fewer than three treatments or fewer than two blocks.
        ranks: mean rank of each treatment over the blocks, 1 = smallest value; ties share their mean rank.
        blocks: how many there were.
    """

    statistic: float | None
    p: float | None
    ranks: tuple[float, ...]
    blocks: int


class Correlation(NamedTuple):
    """Spearman's rank correlation with its bootstrap interval.

    Attributes:
        rho: in [-1, 1]; 0 where one side is constant.
        low, high: percentile interval; None where nothing can be resampled.
        n: number of points.
    """

    rho: float
    low: float | None
    high: float | None
    n: int


def spread(values: Sequence[float | None]) -> Spread | None:
    """Mean, smallest and largest of the values that are there and finite; None if there is none."""
    kept = [float(value) for value in values if value is not None and math.isfinite(value)]
    if not kept:
        return None
    return Spread(math.fsum(kept) / len(kept), min(kept), max(kept), len(kept))


def prediction_interval(values: Sequence[float], *, rounding: float = 0.0, confidence: float = 0.95) -> Interval | None:
    """Where one further run would fall: mean +- t(n-1) s sqrt(1 + 1/n), widened by half a unit of rounding.

    Args:
        values: one number for each run.
        rounding: half a unit of the last published digit (0.005 for two decimals).

    Returns:
        None with fewer than two runs, since one run says nothing of the spread.
    """
    array = np.asarray(values, dtype=float)
    if array.size < 2:
        return None
    mean, n = float(array.mean()), array.size
    half = _quantile_t(confidence, n) * float(array.std(ddof=1)) * math.sqrt(1 + 1 / n) + rounding
    return Interval(mean, mean - half, mean + half, n)


def paired_difference(first: Sequence[float], second: Sequence[float], *, confidence: float = 0.95) -> Paired:
    """Compare two treatments that share their blocks (here: seeds).

    Differences are rounded to 12 decimals, so that those which are equal on paper stay tied in the rank test.

    Raises:
        ValueError: the two have different lengths.
    """
    if len(first) != len(second):
        raise ValueError(f"a paired comparison of {len(first)} with {len(second)} values; both must have one per block")
    difference = np.round(np.asarray(first, dtype=float) - np.asarray(second, dtype=float), 12)
    n = difference.size
    if n == 0:
        return Paired(None, None, None, None, 0)
    mean = float(difference.mean())
    p = wilcoxon(difference.tolist())
    if n == 1:
        return Paired(mean, None, None, p, 1)
    half = _quantile_t(confidence, n) * float(difference.std(ddof=1)) / math.sqrt(n)
    return Paired(mean, mean - half, mean + half, p, n)


def wilcoxon(differences: Sequence[float]) -> float:
    """Two-sided p value of the signed-rank test on paired differences; 1 where all of them are 0 or there is none.

    Zeros are dropped. Up to 13 differences the p value is exact, ties or not; beyond that SciPy chooses.
    """
    array = np.asarray(differences, dtype=float)
    array = array[array != 0]
    if array.size < 2:
        return 1.0
    if array.size > 13:
        return float(stats.wilcoxon(array).pvalue)
    signed_ranks = np.sign(array) * stats.rankdata(np.abs(array))
    result = stats.permutation_test(
        (signed_ranks,), lambda x, axis: x.sum(axis), permutation_type="samples", n_resamples=np.inf, vectorized=True
    )
    return float(result.pvalue)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment for testing several hypotheses at once; None stays None and does not count.

    Source: S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6, 1979.
    """
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for step, (p, index) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - step) * p))
        adjusted[index] = largest
    return adjusted


def friedman(blocks: ArrayLike) -> Friedman:
    """Friedman's rank test.

    Args:
        blocks: [n k], one row for each block (seed), one column for each treatment.
    """
    values = np.round(np.asarray(blocks, dtype=float), 12)
    if values.ndim != 2 or not values.size:
        return Friedman(None, None, (), 0)
    ranks = stats.rankdata(values, axis=1)
    means = tuple(float(rank) for rank in ranks.mean(axis=0))
    n, k = values.shape
    if k < 3 or n < 2:
        return Friedman(None, None, means, n)
    if np.all(ranks == (k + 1) / 2):
        return Friedman(0.0, 1.0, means, n)
    result = stats.friedmanchisquare(*values.T)
    return Friedman(float(result.statistic), float(result.pvalue), means, n)


def critical_difference(treatments: int, blocks: int, *, alpha: float = 0.05) -> float | None:
    """Nemenyi's critical difference of mean ranks: treatments closer than this cannot be told apart.

    Returns:
        None with fewer than two treatments or blocks.

    Source: J. Demsar, Statistical comparisons of classifiers over multiple data sets, JMLR 7, 2006.
    """
    if treatments < 2 or blocks < 2:
        return None
    q = float(stats.studentized_range.ppf(1 - alpha, treatments, np.inf)) / math.sqrt(2)
    return q * math.sqrt(treatments * (treatments + 1) / (6 * blocks))


def rank_correlation(
    x: ArrayLike, y: ArrayLike, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Correlation | None:
    """Spearman's rho over treatments and blocks, with a bootstrap interval that resamples both.

    The runs of one treatment, and those of one seed, resemble each other; drawing single runs would count them as
    independent and give an interval that is too narrow.

    Args:
        x, y: [k n], one row for each treatment, one column for each block.

    Returns:
        None with fewer than three points.

    Raises:
        ValueError: the shapes differ.
    """
    first, second = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(
            f"rank correlation of shapes {first.shape} and {second.shape}; both must be [treatments blocks]"
        )
    if first.size < 3:
        return None
    rho = float(_spearman(first.reshape(1, -1), second.reshape(1, -1))[0])
    k, n = first.shape
    if k < 2:
        return Correlation(rho, None, None, first.size)
    generator = np.random.default_rng(seed)
    rows = generator.integers(k, size=(resamples, k, 1))
    columns = generator.integers(n, size=(resamples, 1, n))
    drawn = _spearman(first[rows, columns].reshape(resamples, -1), second[rows, columns].reshape(resamples, -1))
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Correlation(rho, float(low), float(high), first.size)


def wilson(successes: int, trials: int, *, confidence: float = 0.95) -> Interval | None:
    """Wilson's interval of a share; None without a trial.

    Raises:
        ValueError: more successes than trials, or a negative count.
    """
    if trials == 0 and successes == 0:
        return None
    proportion = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return Interval(successes / trials, float(proportion.low), float(proportion.high), trials)


def _quantile_t(confidence: float, n: int) -> float:
    return float(stats.t.ppf((1 + confidence) / 2, n - 1))


def _spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Rho of each row; 0 where one side is constant."""
    a, b = stats.rankdata(x, axis=1), stats.rankdata(y, axis=1)
    a -= a.mean(axis=1, keepdims=True)
    b -= b.mean(axis=1, keepdims=True)
    scale = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.divide((a * b).sum(axis=1), scale, out=np.zeros(len(a)), where=scale > 0)
