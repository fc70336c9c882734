"""Curves of survival and differences between attacks, against worked examples, published ones and definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evofool.reports import differences, survival

Z = 1.959963984540054

OUTCOMES = st.lists(st.tuples(st.integers(1, 40), st.booleans()), min_size=1, max_size=30)


# Survival -----------------------------------------------------------------------------------------------------------


def test_the_curve_by_hand_with_censoring_in_between() -> None:
    # Five images: fooled at 1, 2, 4; censored at 2 and 5. At 2 four are at risk, at 4 two: 4/5, 3/5, 3/10.
    found = survival.kaplan_meier([5, 2, 1, 4, 2], [False, True, True, True, False])
    assert [(step.queries, step.at_risk, step.fooled) for step in found.steps] == [(1, 5, 1), (2, 4, 1), (4, 2, 1)]
    assert [step.left for step in found.steps] == pytest.approx([0.8, 0.6, 0.3])
    assert (found.images, found.last) == (5, 5)
    # Greenwood at 2: 1/20 + 1/12 = 2/15; S to the powers exp(+- z sqrt(2/15) / -log 0.6), written out.
    reach = np.exp(Z * np.sqrt(2 / 15) / -np.log(0.6))
    assert (found.steps[1].low, found.steps[1].high) == pytest.approx((0.6**reach, 0.6 ** (1 / reach)))
    # What R's survfit(conf.type = "log-log") prints for the first step of five.
    assert (found.steps[0].low, found.steps[0].high) == pytest.approx((0.204, 0.969), abs=5e-4)


def test_between_its_steps_the_curve_is_flat() -> None:
    found = survival.kaplan_meier([2, 4, 9], [True, True, False])
    assert [found.at(queries) for queries in (0, 1, 2, 3, 4, 100)] == pytest.approx([1, 1, 2 / 3, 2 / 3, 1 / 3, 1 / 3])


def test_ties_are_one_step_and_the_censored_among_them_count_as_at_risk() -> None:
    found = survival.kaplan_meier([3, 3, 3, 3], [True, True, False, True])
    assert [(step.at_risk, step.fooled, step.left) for step in found.steps] == [(4, 3, 0.25)]


def test_where_all_are_fooled_the_band_ends_at_zero_and_is_a_number() -> None:
    found = survival.kaplan_meier([1, 2], [True, True])
    assert found.steps[-1].left == found.steps[-1].low == 0
    assert found.steps[-1].high == found.steps[0].high < 1
    alone = survival.kaplan_meier([7], [True])
    assert (alone.steps[0].left, alone.steps[0].low, alone.steps[0].high) == (0, 0, 1)


@pytest.mark.parametrize("queries", [[], [5, 5, 5]])
def test_without_a_success_nothing_falls(queries: list[int]) -> None:
    found = survival.kaplan_meier(queries, [False] * len(queries))
    assert found.steps == ()
    assert found.at(3) == 1
    assert survival.median(found) is None
    assert survival.restricted_mean(found, 5) == 5


def test_the_median_is_the_first_query_that_leaves_half() -> None:
    assert survival.median(survival.kaplan_meier([1, 3, 8, 9], [True] * 4)) == 3
    assert survival.median(survival.kaplan_meier([1, 3, 8], [True] * 3)) == 3
    assert survival.median(survival.kaplan_meier([1, 9, 9], [True, False, False])) is None
    three = survival.kaplan_meier([1, 2, 3], [True] * 3)
    assert [survival.quantile(three, share) for share in (1 / 3, 0.5, 2 / 3, 1.0)] == [1, 2, 2, 3]


@given(OUTCOMES)
def test_without_early_censoring_the_curve_is_the_share_that_is_left(outcomes: list[tuple[int, bool]]) -> None:
    budget = 50
    queries = [number if hit else budget for number, hit in outcomes]
    found = survival.kaplan_meier(queries, [hit for _, hit in outcomes])
    for at in range(budget):
        assert found.at(at) == pytest.approx(np.mean([number > at for number in queries]))
    assert all(0 <= step.low <= step.left <= step.high <= 1 for step in found.steps)
    # The area below the curve is the mean with a failure counted as the budget.
    assert survival.restricted_mean(found, budget) == pytest.approx(np.mean(queries))
    assert survival.restricted_mean(found, 10) == pytest.approx(np.mean(np.minimum(queries, 10)))


@given(OUTCOMES)
@settings(max_examples=40)
def test_the_curve_is_that_of_scipy(outcomes: list[tuple[int, bool]]) -> None:
    found = survival.kaplan_meier([number for number, _ in outcomes], [hit for _, hit in outcomes])
    hits, rest = ([number for number, hit in outcomes if hit is which] for which in (True, False))
    theirs = stats.ecdf(stats.CensoredData(uncensored=hits, right=rest)).sf
    assert [found.at(at) for at in range(45)] == pytest.approx([float(theirs.evaluate(at)) for at in range(45)])


def test_the_band_holds_the_truth_95_times_in_100() -> None:
    generator = np.random.default_rng(3)
    draws = generator.geometric(0.1, size=(800, 60))
    held = 0
    for row in draws:  # censored at 20; the truth after 8 queries is 0.9 ** 8
        found = survival.kaplan_meier(np.minimum(row, 20).tolist(), (row <= 20).tolist())
        step = [step for step in found.steps if step.queries <= 8][-1]
        held += step.low <= 0.9**8 <= step.high
    assert 0.93 < held / len(draws) < 0.97


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="one of each"):
        survival.kaplan_meier([1, 2], [True])
    with pytest.raises(ValueError, match="below 0"):
        survival.kaplan_meier([-1], [True])


# Success of the same images -----------------------------------------------------------------------------------------


def pairs(only_first: int, only_second: int, total: int) -> tuple[list[bool], list[bool]]:
    """Outcomes of two attacks; where they agree, both fooled."""
    both = total - only_first - only_second
    return [True] * only_first + [False] * only_second + [True] * both, (
        [False] * only_first + [True] * only_second + [True] * both
    )


def test_mcnemar_by_hand() -> None:
    # 5 against 1 of 6 that disagree: 2 (1 + 6) / 64.
    assert differences.mcnemar(*pairs(5, 1, 100)) == pytest.approx(14 / 64)
    assert differences.mcnemar(*pairs(1, 5, 6)) == pytest.approx(14 / 64)
    assert differences.mcnemar(*pairs(0, 6, 6)) == pytest.approx(2 / 64)
    assert differences.mcnemar(*pairs(0, 0, 9)) == 1
    assert differences.mcnemar([], []) == 1
    with pytest.raises(ValueError, match="zip"):
        differences.mcnemar([True], [True, False])


def test_attacks_that_never_disagree_differ_by_less_than_z2_over_n_plus_z2() -> None:
    # Tango's score at a difference d is then -n d / sqrt(n d (1 - d)); its square is z^2 at z^2 / (n + z^2).
    found = differences.paired_shares(*pairs(0, 0, 50))
    assert found is not None
    assert found.estimate == 0
    assert (found.low, found.high) == pytest.approx((-(Z**2) / (50 + Z**2), Z**2 / (50 + Z**2)), abs=1e-8)


@pytest.mark.parametrize(
    ("b", "c", "n"), [(12, 2, 50), (3, 9, 20), (1, 0, 30), (14, 0, 30), (0, 29, 30), (200, 1, 999)]
)
def test_the_ends_of_tangos_interval_are_where_the_score_test_rejects(b: int, c: int, n: int) -> None:
    found = differences.paired_shares(*pairs(b, c, n))
    assert found is not None
    assert found.estimate == pytest.approx((b - c) / n)
    for end in (found.low, found.high):
        # The likeliest q = P(only the second) given P(only the first) - q = end, by trying all of them finely.
        q = np.linspace(max(0.0, -end), (1 - end) / 2, 400_001)[1:-1]
        with np.errstate(divide="ignore"):
            likelihood = (
                (b * np.log(q + end) if b else 0) + (c * np.log(q) if c else 0)
                + (n - b - c) * np.log(np.maximum(1e-300, 1 - end - 2 * q))
            )  # fmt: skip
        best = float(q[np.argmax(likelihood)])
        score = (b - c - n * end) / np.sqrt(n * (2 * best + end * (1 - end)))
        assert abs(score) == pytest.approx(Z, abs=2e-3)


def test_tangos_interval_turns_with_its_sides_and_ends_at_one() -> None:
    found, turned = differences.paired_shares(*pairs(7, 3, 40)), differences.paired_shares(*pairs(3, 7, 40))
    assert found is not None
    assert turned is not None
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))
    most = differences.paired_shares(*pairs(30, 0, 30))
    assert most is not None
    assert (most.estimate, most.high) == (1, 1)
    assert 0.7 < most.low < 1
    assert differences.paired_shares([], []) is None


# Success of other images --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [  # Newcombe 1998, table II, method 10
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 10), -0.2775, 0.2775),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)  # fmt: skip
def test_newcombes_own_examples(first: tuple[int, int], second: tuple[int, int], low: float, high: float) -> None:
    found = differences.shares(first, second)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high), abs=6e-5)


def test_without_images_there_is_no_difference() -> None:
    assert differences.shares((0, 0), (3, 4)) is None


# Resamples ----------------------------------------------------------------------------------------------------------


def test_the_interval_of_three_runs_by_hand() -> None:
    # All 27 resamples; t(2) sqrt(3/2) = 5.27 is so far out that both ends are the extremes.
    found = differences.mean_of([1, 2, 6])
    assert found == (3, pytest.approx(1, abs=1e-5), pytest.approx(6, abs=1e-5), 3)


def test_the_interval_of_five_runs_is_taken_from_all_resamples() -> None:
    values = [3.0, 5.0, 6.0, 8.0, 13.0]
    means = [np.mean(pick) for pick in itertools.product(values, repeat=5)]
    tail = stats.norm.cdf(-stats.t.ppf(0.975, 4) * np.sqrt(5 / 4))
    found = differences.mean_of(values)
    assert found is not None
    assert found.estimate == pytest.approx(7)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, [tail, 1 - tail])))


def test_intervals_over_runs_hold_the_truth_about_95_times_in_100() -> None:
    generator = np.random.default_rng(11)
    runs = generator.normal(50, 5, size=(600, 5))
    held = sum(found.holds(50) for row in runs if (found := differences.mean_of(row)) is not None)
    assert 0.91 < held / len(runs) < 0.98  # plain percentiles hold it 83 times


def test_there_is_no_interval_over_few_runs_since_it_would_hold_the_truth_far_less_often() -> None:
    generator = np.random.default_rng(12)
    for count, least, most in ((2, 0.4, 0.6), (3, 0.65, 0.85)):
        runs = generator.normal(50, 5, size=(400, count))
        held = sum(found.holds(50) for row in runs if (found := differences.mean_of(row)) is not None)
        assert least < held / len(runs) < most
    runs = generator.normal(50, 5, size=6)
    for count in (2, 3, 4):
        assert differences.mean_over_runs(runs[:count]) is None
        assert differences.ratio_over_runs(runs, runs[:count]) is None
        assert differences.over_runs([runs[:count], runs], lambda one, two: one - two) is None
    assert differences.mean_over_runs(runs[:5]) == differences.mean_of(runs[:5])


def test_the_ratio_of_runs_is_the_ratio_of_their_means() -> None:
    found = differences.ratio_over_runs([10, 12, 11, 14, 9], [30, 40, 35, 33, 31])
    assert found is not None
    assert found.estimate == pytest.approx(56 / 169)
    assert found.low < 56 / 169 < found.high
    assert found.low > 9 / 40
    assert found.high < 14 / 30
    assert found == differences.ratio_over_runs([10, 12, 11, 14, 9], [30, 40, 35, 33, 31])  # no chance in it


def test_pairs_stay_together() -> None:
    # The second is ten times the first for each image: the ratio is known for certain, though the images differ much.
    first = [1.0, 5.0, 80.0, 300.0, 2.0, 9.0, 17.0, 44.0]
    found = differences.paired_ratio(first, [10 * each + 0.001 * (each > 40) for each in first])
    assert found is not None
    assert found.high - found.low < 1e-6
    apart = differences.ratio_over_runs(first, [10 * each for each in first])
    assert apart is not None
    assert apart.high - apart.low > 0.1


@pytest.mark.parametrize("values", [[], [4.0], [4.0, 4.0, 4.0, 4.0, 4.0]])
def test_where_nothing_is_known_of_the_spread_there_is_no_interval(values: list[float]) -> None:
    assert differences.mean_of(values) is None
    assert differences.ratio_over_runs(values, values) is None


def test_a_ratio_over_nothing_has_no_interval() -> None:
    assert differences.ratio_over_runs([1, 2, 3, 4, 5], [0, 0, 0, 0, 0]) is None


def test_the_order_of_values_makes_no_difference() -> None:
    values = np.random.default_rng(1).exponential(40, size=30).tolist()
    assert differences.mean_of(values) == pytest.approx(differences.mean_of(values[::-1]))


def test_many_images_are_resampled_in_pieces() -> None:
    generator = np.random.default_rng(0)
    values = generator.exponential(40, size=1500)
    found = differences.mean_of(values)
    assert found is not None
    half = 1.96 * values.std(ddof=1) / np.sqrt(1500)
    assert found.low == pytest.approx(values.mean() - half, rel=0.02)
    assert found.high == pytest.approx(values.mean() + half, rel=0.02)
