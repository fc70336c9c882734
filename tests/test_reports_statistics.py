"""Intervals and tests for a few runs each, against worked examples, published tables and SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evofool.reports import statistics

FEW = st.lists(st.floats(-1e3, 1e3, allow_nan=False), min_size=2, max_size=12)


def test_prediction_interval_of_one_two_three() -> None:
    # mean 2, s = 1, t(2) = 4.3027, sqrt(1 + 1/3) = 1.1547
    found = statistics.prediction_interval([1, 2, 3])
    assert found is not None
    assert found.estimate == 2
    assert found.n == 3
    assert found.low == pytest.approx(2 - 4.9683, abs=1e-4)
    assert found.high == pytest.approx(2 + 4.9683, abs=1e-4)


def test_rounding_widens_the_prediction_interval_on_both_sides() -> None:
    found = statistics.prediction_interval([0.5, 0.5, 0.5, 0.5], rounding=0.005)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.495, 0.505))
    assert found.holds(0.505)
    assert found.holds(0.495)
    assert not found.holds(0.5051)
    assert not found.holds(0.4949)


def test_one_run_predicts_nothing() -> None:
    assert statistics.prediction_interval([0.5]) is None
    assert statistics.prediction_interval([]) is None


def test_a_further_run_falls_into_the_prediction_interval_95_times_in_100() -> None:
    rng = np.random.default_rng(0)
    runs = rng.normal(size=(4000, 11))
    inside = [statistics.prediction_interval(list(row[:10])).holds(row[10]) for row in runs]  # type: ignore[union-attr]
    assert 0.94 < np.mean(inside) < 0.96


def test_paired_difference_by_hand() -> None:
    # differences 1, 2, 3: mean 2, t(2) s / sqrt 3 = 4.3027 / 1.7321; the smallest p value of three pairs is 2/8
    found = statistics.paired_difference([2, 4, 6], [1, 2, 3])
    assert found.mean == 2
    assert found.low == pytest.approx(2 - 2.4842, abs=1e-4)
    assert found.high == pytest.approx(2 + 2.4842, abs=1e-4)
    assert found.p == pytest.approx(0.25)
    assert found.n == 3


def test_paired_difference_of_equals_is_zero_with_p_1() -> None:
    assert statistics.paired_difference([0.1, 0.7], [0.1, 0.7]) == (0, 0, 0, 1, 2)


def test_paired_difference_of_one_pair_has_no_interval() -> None:
    assert statistics.paired_difference([3], [1]) == (2, None, None, 1, 1)
    assert statistics.paired_difference([], []) == (None, None, None, None, 0)


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="2 with 1"):
        statistics.paired_difference([1, 2], [1])


def test_wilcoxon_is_exact_with_ties() -> None:
    assert statistics.wilcoxon([0.01] * 10) == pytest.approx(2 / 1024)
    # ranks of 1, 1, 2 are 1.5, 1.5, 3: W+ = 4.5; 2 of 8 sign patterns reach 4.5 or more on each side
    assert statistics.wilcoxon([1, -1, 2]) == pytest.approx(2 * 3 / 8)


def test_wilcoxon_drops_zeros() -> None:
    assert statistics.wilcoxon([0, 0, 0, 0, 1, 2, 3, -4]) == pytest.approx(0.875)  # 0.625 if they took ranks
    assert statistics.wilcoxon([0, 0]) == 1
    assert statistics.wilcoxon([]) == 1
    assert statistics.wilcoxon([0, 5]) == 1


@given(st.sets(st.integers(1, 1000), min_size=2, max_size=10), st.integers(0, 1023))
def test_wilcoxon_without_ties_is_scipys(sizes: set[int], signs: int) -> None:
    differences = [size if signs >> k & 1 else -size for k, size in enumerate(sorted(sizes))]
    expected = stats.wilcoxon(differences, method="exact").pvalue
    assert statistics.wilcoxon(differences) == pytest.approx(expected)


def test_wilcoxon_of_many_is_scipys() -> None:
    differences = list(range(1, 30))
    assert statistics.wilcoxon(differences) == stats.wilcoxon(differences).pvalue


def test_holm_by_hand() -> None:
    # sorted 0.01 x 3, 0.03 x 2, 0.04 x 1 but never below the one before
    assert statistics.holm([0.01, 0.04, None, 0.03]) == pytest.approx([0.03, 0.06, None, 0.06])
    assert statistics.holm([0.9, 0.8]) == [1, 1]
    assert statistics.holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_only_raises_and_keeps_the_order(values: list[float]) -> None:
    adjusted = statistics.holm(values)
    assert all(a is not None and p <= a <= 1 for a, p in zip(adjusted, values, strict=True))
    by_p = [adjusted[k] for k in sorted(range(len(values)), key=values.__getitem__)]
    assert by_p == sorted(by_p)  # type: ignore[type-var]


def test_friedman_is_scipys_and_ranks_start_at_the_smallest() -> None:
    blocks = np.random.default_rng(1).normal(size=(10, 12)) + np.arange(12) / 4
    found = statistics.friedman(blocks)
    expected = stats.friedmanchisquare(*blocks.T)
    assert found.statistic == pytest.approx(expected.statistic)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.blocks == 10
    assert statistics.friedman([[0.1, 0.3, 0.2], [0.2, 0.9, 0.5]]).ranks == (1, 3, 2)


def test_friedman_in_degenerate_cases() -> None:
    assert statistics.friedman([[1, 1, 1], [2, 2, 2]])[:3] == (0, 1, (2, 2, 2))
    assert statistics.friedman([[1, 2], [1, 2]])[:3] == (None, None, (1, 2))
    assert statistics.friedman([[3, 1, 2]])[:3] == (None, None, (3, 1, 2))
    assert statistics.friedman([]) == (None, None, (), 0)


@pytest.mark.parametrize(
    ("treatments", "blocks", "alpha", "expected"),
    [
        (12, 10, 0.05, 5.27),
        (5, 30, 0.05, 2.728 * math.sqrt(5 * 6 / (6 * 30))),  # Demsar 2006, table 5a
        (4, 14, 0.10, 1.12),  # the example of Demsar 2006, section 3.2.4
    ],
)
def test_critical_difference_from_the_tables(treatments: int, blocks: int, alpha: float, expected: float) -> None:
    assert statistics.critical_difference(treatments, blocks, alpha=alpha) == pytest.approx(expected, abs=6e-3)


def test_critical_difference_needs_two_of_each() -> None:
    assert statistics.critical_difference(1, 10) is None
    assert statistics.critical_difference(12, 1) is None


def test_rank_correlation_of_order_and_reverse() -> None:
    x = np.arange(12).reshape(4, 3)
    same = statistics.rank_correlation(x, x**3)
    reverse = statistics.rank_correlation(x, -x)
    assert same is not None
    assert reverse is not None
    assert (same.rho, same.low, same.high) == pytest.approx((1, 1, 1))
    assert (reverse.rho, reverse.high) == pytest.approx((-1, -1))


def test_rank_correlation_is_spearmans_and_repeatable() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 6, 5))
    found = statistics.rank_correlation(x, y)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.rho == pytest.approx(stats.spearmanr(x.ravel(), y.ravel()).statistic)
    assert found.low < found.rho < found.high
    assert found == statistics.rank_correlation(x, y)


def test_rank_correlation_interval_counts_treatments_not_runs() -> None:
    # Five treatments without relation, each repeated with hardly any noise: many points, little evidence.
    rng = np.random.default_rng(4)
    level = np.array([[1.0, 2, 3, 4, 5], [2, 4, 1, 5, 3]])
    x, y = (row[:, None] + 0.001 * rng.normal(size=(5, 40)) for row in level)
    found = statistics.rank_correlation(x, y)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert stats.spearmanr(x.ravel(), y.ravel()).pvalue < 0.001  # what single runs would claim
    assert found.low < 0 < found.high


def test_rank_correlation_interval_counts_seeds_not_runs() -> None:
    # Forty treatments that are all alike: only the five seeds differ, and they show no relation.
    x, y = (np.tile(row, (40, 1)) for row in ([1.0, 2, 3, 4, 5], [2.0, 4, 1, 5, 3]))
    found = statistics.rank_correlation(x, y)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0 < found.high


def test_rank_correlation_in_degenerate_cases() -> None:
    assert statistics.rank_correlation([[1, 1], [1, 1]], [[1, 2], [3, 4]])[:1] == (0,)  # type: ignore[index]
    assert statistics.rank_correlation([[1, 2, 3]], [[1, 2, 3]]) == (1, None, None, 3)
    assert statistics.rank_correlation([[1, 2]], [[1, 2]]) is None
    with pytest.raises(ValueError, match="shapes"):
        statistics.rank_correlation([[1, 2, 3]], [[1, 2]])


def test_wilson_by_hand() -> None:
    found = statistics.wilson(95, 100)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.8882, 0.9785), abs=1e-4)
    assert statistics.wilson(0, 0) is None
    sure = statistics.wilson(50, 50)
    assert sure is not None
    assert sure.high == 1
    assert sure.low == pytest.approx(50 / (50 + 3.8415), abs=1e-4)
    with pytest.raises(ValueError, match="k"):
        statistics.wilson(2, 1)


def test_spread_leaves_out_what_is_missing() -> None:
    assert statistics.spread([3, None, 1, math.nan, 2]) == (2, 1, 3, 3)
    assert statistics.spread([None, math.inf]) is None


@given(FEW, FEW)
def test_nothing_is_ever_nan(first: list[float], second: list[float]) -> None:
    n = min(len(first), len(second))
    a, b = first[:n], second[:n]
    numbers = [
        *(statistics.prediction_interval(a) or ()),
        *statistics.paired_difference(a, b),
        *statistics.friedman([a, b]).ranks,
        *(statistics.rank_correlation([a, b], [b, a]) or ()),
    ]
    assert all(value is None or math.isfinite(value) for value in numbers)
