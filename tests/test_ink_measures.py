"""The measures of the ink study, worked out by hand; intervals hold what they promise; nothing comes of nothing."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from evofool.studies.draw.results import Picture
from evofool.studies.ink import landscape, measures
from evofool.studies.ink.results import Map
from ink_results import BASE, NULL, SIZE, Study, drawn, neutral
from ink_results import landscape as made_map

SMALL = (4, 4)
RING = [0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0]


def study(rings, null=((2.0, 2.0), (2.0, 2.0)), **about) -> measures.Results:
    made = Study().arm(BASE).arm(NULL, "operators", null="", kind="null")
    return made.rings(BASE, rings, **about).null(NULL, null).results()


def test_rings_and_their_shares_by_hand():
    assert measures.ring_of(SMALL).tolist() == RING
    assert measures.ring_area(SMALL).tolist() == [12, 4]
    assert measures.ring_of((3, 5)).tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    ink, area = measures.profile([0, 5, 6, 15], SMALL)
    assert ink.tolist() == [0.5, 0.5]
    assert area.tolist() == [0.75, 0.25]


def test_a_profile_without_ink_is_nothing():
    assert np.isnan(measures.profile([], SMALL)[0]).all()


def test_steps_of_a_run_by_hand():
    assert measures.run_steps(Picture([0, 5, 6, 15], 0.5, 0), SMALL) == 0.5
    assert measures.run_steps(Picture([5], 0.5, 0), SMALL) == 1.0
    assert measures.run_steps(Picture([], 0.5, 0), SMALL) is None


def test_steps_of_a_null_are_the_last_that_there_are():
    run = drawn("a", 0, steps=[1.0, 2.0, None])
    assert (measures.first_steps(run), measures.null_steps(run)) == (1.0, 2.0)
    assert measures.null_steps(drawn("a", 0, steps=[None, None])) is None
    assert measures.first_steps(drawn("a", 0, steps=[None, 3.0])) is None


def test_edge_index_by_hand():
    found = measures.edge_index(study([1.0, 2.0, 3.0]), BASE)
    assert found.values == {0: 0.5, 1: 1.0, 2: 1.5}
    assert (found.null, found.estimate, found.n) == (2.0, 1.0, 3)
    # Two runs of the null: Student's t with one degree of freedom. The standard error of three is 1 / sqrt 3, over 2.
    half = 12.706 / math.sqrt(3) / 2
    assert found.high - 1 == pytest.approx(half, rel=0.05)
    assert 1 - found.low == pytest.approx(half, rel=0.05)
    assert found.direction == 0


def test_fieller_by_hand():
    # Means 4 and 2, squares of their standard errors 0.04 and 0.01; t^2 is that of nine degrees of freedom.
    one, other = (np.array([-1, -1, 1, 1.0]), np.array([-1, 1, -1, 1.0]))
    above, below = 4 + one * 0.2 * math.sqrt(3 / 4), 2 + other * 0.1 * math.sqrt(3 / 4)
    low, high = measures._ratio(4.0, 2.0, above, below, 10, 0.95)
    square = 2.262157**2
    for end in (low, high):
        assert (4 - 2 * end) ** 2 == pytest.approx(square * (0.04 + end**2 * 0.01), rel=1e-5)
    assert low < 2 < high
    assert high - 2 > 2 - low, "what is below is uncertain, so that the interval leans upward"


def test_a_null_that_may_be_nothing_gives_no_interval():
    found = measures.edge_index(study([1.0, 1.0, 1.0], null=((1.0, 0.1), (1.0, 3.0))), BASE)
    assert found.estimate is not None
    assert (found.low, found.high, found.direction) == (None, None, 0)


def test_ink_that_is_all_on_the_border_is_not_lost():
    found = measures.edge_index(study([0.0] * 5, null=neutral()), BASE)
    assert found.estimate == 0.0
    assert found.high < 0.01
    assert found.direction == -1


def test_both_directions():
    assert measures.edge_index(study([0.5, 0.7, 0.6, 0.5, 0.4], null=neutral()), BASE).direction == -1
    assert measures.edge_index(study([3.5, 3.7, 3.6, 3.5, 3.4], null=neutral()), BASE).direction == 1


@pytest.mark.parametrize(
    ("rings", "null", "n"),
    [([None, None], neutral(), 0), ([], neutral(), 0), ([1.0, 2.0], (), 2), ([1.0], ((0.0, 0.0),) * 3, 1)],
)
def test_without_ink_or_null_there_is_no_index(rings, null, n):
    found = measures.edge_index(study(rings, null=null), BASE)
    assert (found.estimate, found.low, found.high, found.n, found.direction) == (None, None, None, n, 0)
    assert set(found.values.values()) <= {None}
    assert len(found.values) == len(rings)


def test_an_arm_that_names_no_null_has_no_index():
    found = measures.edge_index(study([1.0, 2.0]), NULL)
    assert (found.null, found.estimate) == (None, None)


def test_one_run_has_an_index_and_no_interval():
    found = measures.edge_index(study([1.0, None], null=neutral()), BASE)
    assert found.n == 1
    assert found.estimate == pytest.approx(1 / 1.67, rel=0.02)
    assert (found.low, found.high) == (None, None)
    assert found.values[1] is None


def test_a_null_of_one_run_gives_no_interval():
    found = measures.edge_index(study([1.0, 2.0, 1.5], null=((2.0, 2.0),)), BASE)
    assert found.estimate == 0.75
    assert found.low is None


def test_drift_by_hand():
    found = measures.drift(study([], null=((2.0, 1.0), (2.0, 1.0), (2.2, 1.1))), NULL)
    assert found.estimate == pytest.approx(0.5)
    assert found.null == pytest.approx(6.2 / 3)
    assert found.values == pytest.approx({0: 3 / 6.2, 1: 3 / 6.2, 2: 3.3 / 6.2})
    # Where begin and end go together in every run, there is nothing that could vary.
    assert (found.low, found.high) == (pytest.approx(0.5), pytest.approx(0.5))


def test_drift_leaves_out_runs_that_began_without_ink():
    results = study([], null=((2.0, 1.0), (2.0, 1.0)))
    runs = [*results.runs, drawn(NULL, 2, steps=[None, 9.0])]
    found = measures.drift(dataclasses.replace(results, runs=runs), NULL)
    assert (found.estimate, found.n) == (0.5, 2)
    assert found.values[2] is None
    assert measures.drift(study([], null=()), NULL).estimate is None


def two(first, second, nulls=None, same=True, sizes=(SIZE, SIZE)) -> measures.Results:
    nulls = (neutral(), neutral(seed=2)) if nulls is None else nulls
    made = Study().arm(NULL, "operators", null="").arm("other null", "operators", null="")
    made.arm("a", null=NULL, size=sizes[0]).arm("b", null=NULL if same else "other null", size=sizes[1])
    made.null(NULL, nulls[0]).null("other null", nulls[1])
    return made.rings("a", first).rings("b", second).results()


def test_change_by_hand():
    even = ((2.0, 2.0),) * 3
    found = measures.change(two([2.0, 3.0, 4.0], [1.0, 2.0, 3.0], (even, even)), "a", "b")
    assert (found.estimate, found.n, found.paired) == (0.5, 3, True)
    # The same difference in every pair: the runs vary, their difference does not.
    assert (found.low, found.high) == (pytest.approx(0.5), pytest.approx(0.5))
    assert found.direction == 1
    assert measures.change(two([1.0, 2.0], [2.0, 3.0], (even, even)), "a", "b").direction == -1


def test_a_change_pairs_by_seed_and_leaves_the_others_out():
    even = ((2.0, 2.0),) * 3
    found = measures.change(two([2.0, None, 4.0, 4.4], [1.0, 4.4, 3.0], (even, even)), "a", "b")
    assert (found.estimate, found.n) == (0.5, 2)


def test_a_change_without_common_seeds_is_not_paired():
    even = ((2.0, 2.0),) * 3
    results = two([2.0, 3.0, 4.0], [1.0, 2.0, 3.0], (even, even))
    runs = [dataclasses.replace(run, seed=run.seed + 10) if run.arm == "b" else run for run in results.runs]
    found = measures.change(dataclasses.replace(results, runs=runs), "a", "b")
    assert (found.estimate, found.n, found.paired) == (0.5, 3, False)
    assert found.low < 0 < 1 < found.high


def test_nulls_are_resampled_and_a_common_one_once():
    scattered = tuple((2.0, end) for end in (1.0, 2.0, 3.0, 1.5, 2.5))
    same = measures.change(two([2.0] * 6, [2.0] * 6, (scattered, scattered)), "a", "b")
    assert (same.low, same.high) == (0.0, 0.0)
    other = measures.change(two([2.0] * 6, [2.0] * 6, (scattered, scattered), same=False), "a", "b")
    assert other.estimate == 0.0
    assert other.low < -0.2
    assert other.high > 0.2


def test_the_size_of_the_canvas_changes_nothing_by_itself():
    # The outer ring of 12 x 12 and the two outer ones of 24 x 24 are the same border.
    nulls = ((1.67, 1.67),) * 3, ((3.84, 3.84),) * 3
    found = measures.change(two([0.0] * 4, [0.5] * 4, nulls, same=False, sizes=(SIZE, (24, 24))), "a", "b")
    assert found.estimate == pytest.approx(0.5 / 2.17 - 1 / 4.34, abs=1e-9)
    assert abs(found.estimate) < 1e-9


def test_a_change_without_ink_or_null_is_none():
    for results in (two([None, None], [1.0, 2.0]), two([1.0], [1.0], ((), ())), two([], [])):
        found = measures.change(results, "a", "b")
        assert (found.estimate, found.low, found.high, found.direction) == (None, None, None, 0)
    assert measures.change(two([1.0], [2.0]), "a", "b").low is None


def test_the_same_results_give_the_same_numbers():
    rings = [0.5, 0.7, 1.1, 0.2, 0.9]
    one, other = (measures.edge_index(study(rings, null=neutral()), BASE) for _ in range(2))
    assert one == other
    measures.resamples.cache_clear()
    assert measures.edge_index(study(rings, null=neutral()), BASE) == one


def covered(truth: float, runs: int, level: float, trials: int = 300) -> float:
    """How often the interval of an index holds the true one; runs are means of a few pixels, as in a study."""
    generator = np.random.default_rng(runs)
    hits = 0
    for _ in range(trials):
        rings = generator.gamma(4.0, truth * 1.67 / 4, runs)
        null = generator.normal(1.67, 0.4, runs)
        drawn_rings, drawn_null = (
            measures.resampled_means(values, name) for values, name in ((rings, "runs"), (null, "null"))
        )
        low, high = measures._ratio(rings.mean(), null.mean(), drawn_rings, drawn_null, runs, level)
        hits += low is not None and low <= truth <= high
    return hits / trials


@pytest.mark.parametrize(("runs", "level"), [(5, 0.95), (10, 0.95), (30, 0.95), (10, 0.99)])
def test_an_interval_holds_the_truth_about_as_often_as_it_says(runs, level):
    assert level - 0.06 <= covered(0.6, runs, level) <= min(1.0, level + 0.05)


@pytest.mark.parametrize("runs", [5, 10, 30])
def test_the_interval_of_a_mean_holds_the_truth(runs):
    generator = np.random.default_rng(runs)
    hits = 0
    for _ in range(300):
        found = measures.mean_of(generator.normal(2.0, 1.0, runs), "mean")
        hits += found.low <= 2.0 <= found.high
    assert 0.91 <= hits / 300 <= 0.99


def test_occupancy_by_hand():
    results = study([])
    results = dataclasses.replace(results, runs=[drawn(BASE, 0, [0, 1]), drawn(BASE, 1, [1])])
    found = measures.occupancy(results, BASE)
    assert found.shape == SIZE
    assert (found[0, 0], found[0, 1], found.sum()) == (0.5, 1.0, 1.5)
    assert measures.occupancy(study([]), BASE) is None


def test_ring_profile_by_hand():
    results = study([])
    # One run with all ink on the border, one with half of it one step from it, one without ink.
    runs = [drawn(BASE, 0, [0, 1]), drawn(BASE, 1, [0, 13]), drawn(BASE, 2, [])]
    found = measures.ring_profile(dataclasses.replace(results, runs=runs), BASE)
    assert [row.mean for row in found] == [0.75, 0.25, 0, 0, 0, 0]
    assert sum(row.area for row in found) == pytest.approx(1)
    assert found[0].area == pytest.approx(44 / 144)
    assert all(0 <= row.low <= row.mean <= row.high <= 1 for row in found)
    assert found[0].high == 1.0, "a share is no more than 1, whatever the interval"
    assert all(row.mean is None for row in measures.ring_profile(study([]), BASE))


# Maps ---------------------------------------------------------------------------------------------------------------

STEPS = measures.ring_of(SIZE).reshape(SIZE)


def test_the_profile_of_a_map_by_hand():
    worth = np.where(STEPS == 0, 2.0, 0.0)
    worth[0, 0] = 46.0
    found = landscape.map_profile(made_map(worth))
    assert found[0].mean == pytest.approx(3.0)
    assert found[0].low == found[0].high == 2.0, "nine tenths of that ring are worth 2"
    assert [row.mean for row in found[1:]] == [0.0] * 5


def test_a_ring_that_was_not_sampled_has_no_effect():
    found = landscape.map_profile(Map("net", "", SIZE, (1.0,), (0.0,), 0.0, [0, 1, 13], [1.0, None, 3.0]))
    assert [row.mean for row in found] == [1.0, 3.0, None, None, None, None]


@pytest.mark.parametrize(
    ("worth", "flat"),
    [(np.zeros(SIZE), True), (np.full(SIZE, 0.7), True), (np.full(SIZE, 0.7) + 1e-5 * STEPS, True), (STEPS, False)],
)
def test_flat_is_where_every_pixel_is_worth_the_same(worth, flat):
    assert landscape.is_flat(made_map(worth)) is flat


def test_pairs_that_are_worth_more_than_others_are_a_slope():
    assert landscape.is_flat(made_map(0.0, pairs=[(0, 1, 0.0), (5, 9, 2.0)])) is False
    assert landscape.is_flat(made_map(0.5, pairs=[(0, 1, 0.8), (5, 9, 0.8)])) is True


def test_nothing_is_said_of_a_map_without_answers():
    nothing = Map("net", "", SIZE, (1.0,), (0.0,), 0.0, [0, 1], [None, None])
    assert landscape.is_flat(nothing) is None
    assert landscape.effects_on_canvas(nothing) is None
    assert landscape.landscape_index(nothing) is None
    assert landscape.prediction(nothing, [drawn("a", 0, [0])]) is None
    found = landscape.interaction(nothing)
    assert (found.best.estimate, found.random.estimate) == (None, None)


def test_pixels_that_were_not_tried_do_as_the_nearest_one():
    sampled = Map("net", "", (1, 6), (1.0,), (0.0,), 0.0, [0, 5], [1.0, 2.0])
    assert landscape.effects_on_canvas(sampled).tolist() == [[1, 1, 1, 2, 2, 2]]


def test_prediction_by_hand():
    worth = np.arange(144.0).reshape(SIZE)
    runs = [drawn("a", 0, [143]), drawn("a", 1, [143, 142]), drawn("a", 2, [])]
    found = landscape.prediction(made_map(worth), runs)
    assert found.percentile == pytest.approx((143.5 / 144 + 143 / 144) / 2)
    assert (found.n, found.shifts) == (2, 144)
    assert found.p == pytest.approx(1 / 144), "no other shift puts the best pixels there"


def test_prediction_tries_every_shift():
    """The same by shifting the map 144 times."""
    worth = np.random.default_rng(3).normal(size=SIZE)
    runs = [drawn("a", seed, places) for seed, places in enumerate([[3, 40, 77], [8], [100, 101]])]
    found = landscape.prediction(made_map(worth), runs)
    ranks = (np.argsort(np.argsort(worth.ravel())).reshape(SIZE) + 0.5) / 144

    def foretold(percentiles):
        return np.mean([percentiles.ravel()[run.best.places].mean() for run in runs])

    shifts = [foretold(np.roll(ranks, (down, right), (0, 1))) for down in range(12) for right in range(12)]
    assert found.percentile == pytest.approx(foretold(ranks))
    assert found.p == pytest.approx(np.mean(np.array(shifts) >= foretold(ranks) - 1e-9))
    assert 0.02 < found.p < 0.98, "else the test shows nothing"


def test_a_flat_map_foretells_nothing():
    found = landscape.prediction(made_map(1.0), [drawn("a", 0, [0, 1]), drawn("a", 1, [5])])
    assert (found.percentile, found.p) == (pytest.approx(0.5), 1.0)


def test_p_is_even_where_ink_has_nothing_to_do_with_the_map():
    generator = np.random.default_rng(5)
    found = []
    for _ in range(300):
        worth = generator.normal(size=SIZE)
        runs = [drawn("a", seed, generator.choice(144, 4, replace=False).tolist()) for seed in range(3)]
        found.append(landscape.prediction(made_map(worth), runs).p)
    assert 0.01 <= np.mean(np.array(found) <= 0.05) <= 0.09
    assert 0.4 <= np.mean(found) <= 0.6


def test_the_index_of_a_landscape_by_hand():
    mean = STEPS.mean()
    assert landscape.landscape_index(made_map(-STEPS)) == 0.0
    assert landscape.landscape_index(made_map(STEPS)) == pytest.approx((4 * 5 + 3 * 4) / 7 / mean)
    assert landscape.landscape_index(made_map(1.0)) == pytest.approx(1.0), "of equal ones each counts in part"
    assert landscape.landscape_index(Map("net", "", (2, 2), (1.0,), (0.0,), 0.0, [0], [1.0])) is None


def test_interaction_by_hand():
    worth = np.arange(144.0).reshape(SIZE)
    pairs = [(143, 142, 143 + 142 + 2.0), (143, 140, 143 + 140 + 4.0), (0, 1, 1 - 1.0), (2, 3, 5 - 3.0), (0, 3, None)]
    found = landscape.interaction(made_map(worth, pairs=pairs))
    assert (found.best.estimate, found.best.n) == (3.0, 2)
    assert (found.random.estimate, found.random.n) == (-2.0, 2)
    assert found.best.low <= 3.0 <= found.best.high
    one = landscape.interaction(made_map(worth, pairs=pairs[:1]))
    assert (one.best.estimate, one.best.low, one.random.n) == (2.0, None, 0)


def test_agreement_over_rings():
    runs = [drawn(BASE, seed, [0, 1, 2, 13, 14, 26][: 6 - seed]) for seed in range(3)]
    results = dataclasses.replace(study([]), runs=runs)
    near = landscape.ring_agreement(results, BASE, made_map(-STEPS))
    far = landscape.ring_agreement(results, BASE, made_map(STEPS))
    assert near.estimate == pytest.approx(-far.estimate)
    assert near.estimate > 0.8
    assert -1 <= near.low <= near.high <= 1
    assert landscape.ring_agreement(results, BASE, made_map(1.0)).estimate == 0.0
    assert landscape.ring_agreement(study([]), BASE, made_map(STEPS)).estimate is None
    other = Map("net", "", SMALL, (1.0,), (0.0,), 0.0, [0], [1.0])
    assert landscape.ring_agreement(results, BASE, other).estimate is None
