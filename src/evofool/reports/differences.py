"""Two ways to attack, held against each other: over the same images, over other ones, and over runs.

The unit is what was drawn independently. For attacks that treat each image by itself it is the image; for those that
carry something from image to image it is the run, and nothing here may be asked of their images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import optimize, stats

from .statistics import Interval, wilcoxon, wilson

Values = Sequence[float] | Sequence[bool] | np.ndarray

EXACT = 6  # values: up to so many all resamples are taken
RESAMPLES = 10_000
RUNS = 5  # that an interval over runs takes


def mcnemar(first: Values, second: Values) -> float:
    """Exact two-sided p value that two attacks fool the same share of the same images; 1 where they never disagree.

    Raises:
        ValueError: unequal lengths.

    Source: McNemar, Note on the sampling error of the difference between correlated proportions or percentages,
    Psychometrika 12, 1947.
    """
    only_first, only_second, _ = _discordant(first, second)
    both = only_first + only_second
    return float(stats.binomtest(only_first, both).pvalue) if both else 1.0


def paired_shares(first: Values, second: Values, *, confidence: float = 0.95) -> Interval | None:
    """Difference of two shares of the same images, first - second, with Tango's score interval; None without an image.

    Raises:
        ValueError: unequal lengths.

    Source: Tango, Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design, Statistics in Medicine 17, 1998. Unlike Wald's it has a width where the two never disagree.
    """
    b, c, n = _discordant(first, second)
    if not n:
        return None
    z = float(stats.norm.ppf((1 + confidence) / 2))
    estimate = (b - c) / n

    def end(sign: int) -> float:
        # The score is monotone in the difference, beyond all bounds where that is impossible.
        limit = float(sign)
        if estimate == limit:
            return limit
        return float(optimize.brentq(lambda at: _tango(b, c, n, at) + sign * z, estimate, limit, xtol=1e-12))

    return Interval(estimate, end(-1), end(1), n)


def _tango(b: int, c: int, n: int, difference: float) -> float:
    """The score statistic of a difference of shares, given how many pairs disagree in which way."""
    linear = -b - c + (2 * n - b + c) * difference
    root = math.sqrt(max(0.0, linear**2 + 8 * n * c * difference * (1 - difference)))
    only_second = max(0.0, (root - linear) / (4 * n))
    variance = n * (2 * only_second + difference * (1 - difference))
    gap = b - c - n * difference
    return gap / math.sqrt(variance) if variance > 1e-15 else math.copysign(math.inf, gap) if gap else 0.0


def shares(first: tuple[int, int], second: tuple[int, int], *, confidence: float = 0.95) -> Interval | None:
    """Difference of two shares of other images, first - second; None where one of them has no image.

    Args:
        first, second: successes and trials.
        confidence: of the interval.

    Source: Newcombe, Interval estimation for the difference between independent proportions: comparison of eleven
    methods, Statistics in Medicine 17, 1998: method 10, from Wilson's intervals.
    """
    one, two = wilson(*first, confidence=confidence), wilson(*second, confidence=confidence)
    if one is None or two is None:
        return None
    gap = one.estimate - two.estimate
    low = gap - math.hypot(one.estimate - one.low, two.high - two.estimate)
    high = gap + math.hypot(one.high - one.estimate, two.estimate - two.low)
    return Interval(gap, low, high, first[1] + second[1])


def bootstrap(
    samples: Sequence[Values],
    statistic: Callable[..., np.ndarray],
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval | None:
    """A number made from the means of independent samples, with its expanded percentile interval.

    A plain percentile interval of five values covers far less than it says, so the quantiles are taken farther out:
    at Phi(-t sqrt(n / (n - 1))) instead of 2.5%, where n is the smallest sample and t is Student's. A single sample of
    up to 6 values is resampled in all ways.

    Args:
        samples: each of values drawn independently of each other and of the other samples, or [n k] of which rows were.
        statistic: of the means of all samples, vectorised over a first axis of resamples.
        confidence: of the interval.
        seed: of the resamples: the same values give the same interval.

    Returns:
        None where a sample has fewer than two values, where no resample differs, or where the number is not finite:
        then nothing is known of the spread.

    Source: Hesterberg, What teachers should know about the bootstrap, The American Statistician 69, 2015.
    """
    arrays = [np.asarray(sample, dtype=float) for sample in samples]
    smallest = min((len(array) for array in arrays), default=0)
    if smallest < 2:
        return None
    if len(arrays) == 1 and smallest <= EXACT:
        picks = [np.stack(np.meshgrid(*[np.arange(smallest)] * smallest), -1).reshape(-1, smallest)]
    else:
        generator = np.random.default_rng(seed)
        picks = [generator.integers(len(array), size=(RESAMPLES, len(array))) for array in arrays]
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = float(statistic(*(array.mean(0, keepdims=True) for array in arrays))[0])
        drawn = statistic(*(_means(array, pick) for array, pick in zip(arrays, picks, strict=True)))
    if not math.isfinite(estimate) or not np.isfinite(drawn).all():
        return None
    if drawn.min() == drawn.max():
        return None
    far = float(stats.t.ppf((1 + confidence) / 2, smallest - 1)) * math.sqrt(smallest / (smallest - 1))
    tail = float(stats.norm.cdf(-far))
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(estimate, min(float(low), estimate), max(float(high), estimate), smallest)


def mean_of(values: Values, *, confidence: float = 0.95) -> Interval | None:
    """Mean of independent values with its interval by `bootstrap`, whatever their order; None with fewer than two."""
    return bootstrap([np.sort(np.asarray(values, dtype=float))], lambda mean: mean, confidence=confidence)


def over_runs(
    samples: Sequence[Values], statistic: Callable[..., np.ndarray], *, confidence: float = 0.95
) -> Interval | None:
    """A number made from the means of runs by `bootstrap`, whatever their order; None with fewer than 5 in a sample.

    With fewer it holds the truth far less often than it says: of normal values about half of the time over two, and
    three quarters over three, where it says 95%.
    """
    if any(len(sample) < RUNS for sample in samples):
        return None
    return bootstrap([np.sort(np.asarray(sample, dtype=float)) for sample in samples], statistic, confidence=confidence)


def mean_over_runs(values: Values, *, confidence: float = 0.95) -> Interval | None:
    """Mean of runs by `over_runs`."""
    return over_runs([values], lambda mean: mean, confidence=confidence)


def ratio_over_runs(first: Values, second: Values, *, confidence: float = 0.95) -> Interval | None:
    """Ratio of two means of runs by `over_runs`."""
    return over_runs([first, second], lambda one, two: one / two, confidence=confidence)


def paired_ratio(first: Values, second: Values, *, confidence: float = 0.95) -> Interval | None:
    """Ratio of two means over the same images: pairs are resampled; None with fewer than two pairs.

    Raises:
        ValueError: unequal lengths.
    """
    pairs = np.array(list(zip(first, second, strict=True)), dtype=float).reshape(-1, 2)
    return bootstrap([pairs], lambda means: means[:, 0] / means[:, 1], confidence=confidence)


def queries_p(first: Sequence[Values], second: Sequence[Values]) -> float:
    """Two-sided p value that two attacks need as many queries of the same images: Wilcoxon's on means over runs.

    Queries are skewed, so that a mean over five runs mostly lies above a single run, though both are of one attack. So
    as many runs of each are taken, the first ones.

    Args:
        first, second: queries of each image in each run, [runs images].
    """
    return _ranked(*_as_many(first, second))


def success_p(first: Sequence[Values], second: Sequence[Values]) -> float:
    """Two-sided p value that two attacks fool as many of the same images.

    It is McNemar's of one run of each, else Wilcoxon's on the share of runs in which each image was fooled; as many
    runs of each are taken, the first ones.

    Args:
        first, second: whether each image was fooled in each run, [runs images].
    """
    one, two = _as_many(first, second)
    return mcnemar(one[0], two[0]) if len(one) == 1 else _ranked(one, two)


def _as_many(first: Sequence[Values], second: Sequence[Values]) -> tuple[np.ndarray, np.ndarray]:
    count = min(len(first), len(second))
    return np.asarray(first[:count], dtype=float), np.asarray(second[:count], dtype=float)


def _ranked(first: np.ndarray, second: np.ndarray) -> float:
    """Wilcoxon's on means over runs; sums are whole numbers, so that equal differences are ties."""
    return wilcoxon((first.sum(0) - second.sum(0)).tolist())


def _means(values: np.ndarray, picks: np.ndarray) -> np.ndarray:
    """The mean of each resample, [resamples] or [resamples k], in pieces that fit in memory."""
    piece = max(1, 2_000_000 // max(1, picks.shape[1]))
    return np.concatenate([values[picks[at : at + piece]].mean(1) for at in range(0, len(picks), piece)])


def _discordant(first: Values, second: Values) -> tuple[int, int, int]:
    """Images that only the first attack fooled, that only the second did, and all of them."""
    pairs = [(bool(one), bool(two)) for one, two in zip(first, second, strict=True)]
    return sum(one and not two for one, two in pairs), sum(two and not one for one, two in pairs), len(pairs)
