"""The tables of a study: comparison with the paper, ranking, contrasts, judge and hypotheses, on planted numbers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

import builders
from evofool.reports import comparison, hypotheses, ranking, runs, statistics, tables
from evofool.reports.comparison import AGREES, DEPENDS, DIFFERS
from evofool.reports.runs import UNTOLD
from evofool.studies.operators import paper
from evofool.studies.operators.results import Results

CNNS = ("cnn-a", "cnn-b", "cnn-c")


def verdicts(results: Results) -> dict[str, str]:
    return {row.arm: row.verdict for row in comparison.comparison(results).accuracy}


# --- comparison -----------------------------------------------------------------------------------------------------


def test_planted_agreement_difference_and_dependence_are_found() -> None:
    published = paper.load()
    planted = {
        "FPS_SPC_SM": published.accuracy("FPS_SPC_SM"),
        "TS_SPC_SM": {"cnn-a": 0.70, "cnn-b": 0.70, "cnn-c": 0.20},
        "RS_AC_IM": 0.5,
    }
    found = verdicts(builders.results(accuracy=planted))
    assert len(found) == 12
    assert found["FPS_SPC_SM"] == AGREES
    assert found["TS_SPC_SM"] == DEPENDS
    assert found["RS_AC_IM"] == DIFFERS


def test_agreement_ends_where_the_prediction_interval_and_rounding_end() -> None:
    seeds, size = 10, 0.04
    values = [builders.wobble(0, seed, seeds, size) for seed in range(seeds)]
    interval = statistics.prediction_interval(values, rounding=0.005)
    assert interval is not None
    reach = interval.high - interval.estimate
    assert reach > 0.03
    for off, expected in ((reach - 0.001, AGREES), (reach + 0.001, DIFFERS)):
        for sign in (-1, 1):
            planted = {"FPS_AC_SM": 0.15 + sign * off}
            results = builders.results(accuracy=planted, seeds=seeds, spread=size, classifiers=["cnn-a"], parts=())
            assert verdicts(results)["FPS_AC_SM"] == expected


def test_one_seed_cannot_tell() -> None:
    assert set(verdicts(builders.results(seeds=1)).values()) == {UNTOLD}


def test_elitism_is_compared_in_total_fitness_only() -> None:
    fitness = {"FPS_AC_SM": 653.74, "FPS_AC_SM_elitism": 700.0}
    found = comparison.comparison(builders.results(fitness=fitness))
    assert [(row.arm, row.published, row.verdict) for row in found.fitness] == [
        ("FPS_AC_SM", 653.74, AGREES),
        ("FPS_AC_SM_elitism", 656.31, DIFFERS),
    ]
    assert "FPS_AC_SM_elitism" not in {row.arm for row in found.accuracy}


def test_elitism_goes_with_its_scenario_whatever_it_is_called() -> None:
    results = builders.results(
        fitness={"FPS_AC_SM_elitism": 656.31}, seeds=2, classifiers=["cnn-a"], parts=("elitism",)
    )
    results.arms[-1] = dataclasses.replace(results.arms[-1], name="ten best")
    renamed = [dataclasses.replace(r, arm="ten best") if r.arm == "FPS_AC_SM_elitism" else r for r in results.runs]
    found = comparison.comparison(dataclasses.replace(results, runs=renamed))
    assert [(row.arm, row.published) for row in found.fitness] == [("FPS_AC_SM", 653.74), ("ten best", 656.31)]


def test_macro_and_weighted_averages_are_compared_too() -> None:
    results = builders.results(seeds=2, classifiers=["cnn-a"], scenarios=["TS_SPC_SM"], parts=())
    found = comparison.comparison(results)
    assert [row.measure for row in found.secondary] == [
        f"{average} {score}" for average in ("macro", "weighted") for score in ("precision", "recall", "f1")
    ]
    row = next(row for row in found.secondary if row.measure == "weighted recall")
    expected = [sum(line[k] for k, line in enumerate(run.confusion)) / 1000 for run in results.of("TS_SPC_SM", "cnn-a")]
    assert row.published == 0.70
    assert row.cells[0].mean == pytest.approx(np.mean(expected))


def test_a_classifier_far_from_95_percent_is_left_out() -> None:
    results = builders.results(
        classifiers={"good": 0.951, "weak": 0.93}, accuracy={"FPS_AC_SM": {"good": 0.15, "weak": 0.9}}
    )
    found = comparison.comparison(results)
    assert found.classifiers == ("good",)
    assert found.left_out == ("weak",)
    assert next(row for row in found.accuracy if row.arm == "FPS_AC_SM").verdict == AGREES


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"data": "digits test"}, "other images"),
        ({"data": "fashion-mnist test"}, "other images"),
        ({"population": 500}, "500 images"),
        ({"generations": 20}, "20"),
        ({"classifiers": {"best": 0.99}}, "95%"),
        ({"scenarios": [], "parts": ("controls",)}, "None of the twelve"),
        ({"parts": ("sweep",)}, "None of the twelve"),
    ],
)
def test_a_study_that_is_not_the_papers_is_not_compared(changes: dict, reason: str) -> None:
    results = builders.results(**{"seeds": 2, "classifiers": ["cnn-a"], "parts": (), **changes})
    assert reason in comparison.why_not_comparable(results)
    found = comparison.comparison(results)
    assert found.reason
    assert not found.accuracy


@pytest.mark.parametrize(("key", "value"), [("p_crossover", 0.2), ("p_mutation", 0.1), ("size", 5)])
def test_other_rates_and_tournaments_are_not_compared(key: str, value: float) -> None:
    results = builders.results(seeds=2, classifiers=["cnn-a"], parts=())
    assert comparison.why_not_comparable(results) == ""
    arms = [dataclasses.replace(arm, settings={**arm.settings, key: value}) for arm in results.arms]
    assert str(value) in comparison.why_not_comparable(dataclasses.replace(results, arms=arms))


# --- one row an arm -------------------------------------------------------------------------------------------------


def test_a_summary_has_one_row_for_each_scenario_elitism_and_control() -> None:
    rows = tables.summary(builders.results(seeds=3), "cnn-a")
    assert len(rows) == 12 + 1 + 8
    row = rows[0]
    assert row.arm == "FPS_SPC_SM"
    assert row.accuracy is not None
    assert row.accuracy == pytest.approx((0.12, 0.115, 0.125, 3))
    assert row.total_fitness is not None
    assert row.total_fitness.mean == pytest.approx(1000 * (0.75 - 0.7 * 0.12))


def test_without_judge_there_are_no_rates() -> None:
    results = builders.results(judge=False)
    assert {row.adversarial for row in tables.summary(results, "cnn-a")} == {None}
    assert tables.judge(results, "cnn-a") == []
    assert ranking.ranking(results, "cnn-a", "adversarial") is None
    assert ranking.contrasts(results, "cnn-a", "adversarial") == []


def test_curves_span_the_seeds() -> None:
    curve = next(c for c in tables.curves(builders.results(seeds=3), "cnn-b") if c.measure == "accuracy")
    assert (curve.arm, curve.classifier, len(curve.mean)) == ("FPS_SPC_SM", "cnn-b", 11)
    assert (curve.low[-1], curve.mean[-1], curve.high[-1]) == pytest.approx((0.116, 0.121, 0.126))
    assert curve.mean[0] == pytest.approx(0.95)


def test_boxes_hold_the_quartiles_of_all_generations_and_the_papers_maximum() -> None:
    results = builders.results(seeds=1, classifiers=["cnn-a"])
    values = results.of("TS_AC_IM", "cnn-a")[0].total_fitness
    box = next(row for row in tables.boxes(results, "cnn-a") if row.arm == "TS_AC_IM")
    assert (box.low, box.median, box.high) == pytest.approx((min(values), np.median(values), max(values)))
    assert box.published == 200
    elitism = next(row for row in tables.boxes(results, "cnn-a") if row.group == "elitism")
    assert elitism.published == 648
    elsewhere = builders.results(seeds=1, classifiers=["cnn-a"], data="digits test")
    assert {row.published for row in tables.boxes(elsewhere, "cnn-a")} == {None}


def test_a_mean_report_has_the_published_row_beside_it() -> None:
    rows = {row.name: row for row in tables.mean_report(builders.results(seeds=2), "RS_AC_IM", "cnn-a")}
    assert len(rows) == 14
    assert rows["9"].published == (0.10, 0.15, 0.12, 47)
    assert rows["micro avg"].recall.mean == pytest.approx(0.09, abs=0.002)
    assert rows["micro avg"].support == (1000, 1000, 1000, 2)


def test_targets_carry_their_wilson_interval() -> None:
    rows = tables.targets(builders.results(classifiers={"cnn-a": 0.95}))
    assert [(row.name, row.role) for row in rows] == [("cnn-a", "attacked"), ("mnist99", "judge")]
    assert rows[0].interval is not None
    assert rows[0].interval.low < 0.95 < rows[0].interval.high
    assert rows[0].images == 10_000


# --- ranking --------------------------------------------------------------------------------------------------------


def test_the_ranking_is_friedmans_over_the_twelve_scenarios_only() -> None:
    results = builders.results(seeds=10)
    found = ranking.ranking(results, "cnn-a", "accuracy")
    assert found is not None
    assert len(found.rows) == 12
    assert {row.arm for row in found.rows} == set(builders.SCENARIOS)
    blocks = [[results.of(arm, "cnn-a")[seed].accuracy[-1] for arm in builders.SCENARIOS] for seed in range(10)]
    expected = stats.friedmanchisquare(*np.round(blocks, 12).T)
    assert found.friedman.p == pytest.approx(expected.pvalue)
    assert found.critical_difference == pytest.approx(5.27, abs=0.005)
    assert [row.arm for row in found.rows[:2]] == ["TS_AC_IM", "TS_SPC_IM"]
    assert found.rows[0].rank == 1
    assert found.rows[0].mean == pytest.approx(0.03)


def test_the_judged_rate_ranks_the_highest_first() -> None:
    # TS_AC_IM fools most, but nobody can read its images any more.
    results = builders.results(seeds=4, reads={"TS_AC_IM": 0.1, "RS_AC_SM": 0.95})
    by_accuracy = ranking.ranking(results, "cnn-a", "accuracy")
    by_rate = ranking.ranking(results, "cnn-a", "adversarial")
    assert by_accuracy is not None
    assert by_rate is not None
    assert by_accuracy.rows[0].arm == "TS_AC_IM" == by_rate.rows[-1].arm
    assert by_rate.rows[0].arm == "RS_AC_SM"
    assert by_rate.rows[0].mean == pytest.approx(0.81 * 0.95, abs=1e-3)


def test_only_seeds_that_all_scenarios_have_are_blocks() -> None:
    results = builders.results(seeds=5, classifiers=["cnn-a"])
    fewer = [run for run in results.runs if not (run.arm == "TS_AC_IM" and run.seed in (1, 3))]
    found = ranking.ranking(dataclasses.replace(results, runs=fewer), "cnn-a", "accuracy")
    assert found is not None
    assert found.friedman.blocks == 3


def test_few_scenarios_or_seeds_are_ranked_without_a_test() -> None:
    two = builders.results(scenarios=["FPS_AC_SM", "RS_AC_SM"], classifiers=["cnn-a"], seeds=3)
    found = ranking.ranking(two, "cnn-a", "accuracy")
    assert found is not None
    assert [row.rank for row in found.rows] == [1, 2]
    assert found.friedman.p is None
    assert ranking.ranking(builders.results(scenarios=["FPS_AC_SM"]), "cnn-a", "accuracy") is None
    single = ranking.ranking(builders.results(seeds=1), "cnn-a", "accuracy")
    assert single is not None
    assert (single.friedman.p, single.critical_difference, single.groups) == (None, None, ())


@pytest.mark.parametrize(
    ("ranks", "gap", "expected"),
    [
        ([1, 2, 3, 6], 2, ((0, 2),)),
        ([1, 2.5, 4], 2, ((0, 1), (1, 2))),
        ([1, 4, 7], 2, ()),
        ([1, 2, 3], None, ()),
        ([1, 1.5, 2, 3.2, 3.4], 1.5, ((0, 2), (2, 4))),
    ],
)
def test_bars_join_what_cannot_be_told_apart(ranks: list[float], gap: float, expected: tuple) -> None:
    assert ranking._stretches(ranks, gap) == expected


def test_scenarios_within_the_critical_difference_of_the_best_are_tied_with_it() -> None:
    found = ranking.ranking(builders.results(seeds=10), "cnn-a", "accuracy")
    assert found is not None
    assert found.critical_difference is not None
    tied = {row.arm for row in found.rows[1:] if row.rank <= 1 + found.critical_difference}
    assert 0 < len(tied) < 11
    assert set(found.tied_with_best) == tied


# --- contrasts ------------------------------------------------------------------------------------------------------


def test_contrasts_are_paired_by_seed_and_adjusted_together() -> None:
    results = builders.results(seeds=10, accuracy={"RND_SELF_SM": builders.TEXTBOOK["MUT_SM"]})
    rows = {row.arm: row for row in ranking.contrasts(results, "cnn-a", "accuracy")}
    assert len(rows) == 12 + 1 + 6  # mutation alone has nothing below it
    ts = rows["TS_SPC_SM"]
    assert ts.partner == "RND_SPC_SM"
    assert ts.paired.mean == pytest.approx(0.12 - 0.66)
    assert ts.adjusted == pytest.approx(19 * 2 / 1024)
    assert ts.outcome == "lower"
    assert rows["FPS_AC_SM_elitism"].partner == "FPS_AC_SM"
    assert rows["RND_SELF_SM"].paired[:3] == (0, 0, 0)
    assert rows["RND_SELF_SM"].outcome == "not shown"
    fitness = {row.arm: row for row in ranking.contrasts(results, "cnn-a", "total_fitness")}
    assert fitness["TS_SPC_SM"].outcome == "higher"


def test_few_seeds_cannot_tell_and_say_so() -> None:
    assert {row.outcome for row in ranking.contrasts(builders.results(seeds=4), "cnn-a", "accuracy")} == {UNTOLD}


def test_longer_runs_have_contrasts_of_their_own() -> None:
    results = builders.results(seeds=10, classifiers=["cnn-a"], parts=("generations",))
    rows = ranking.contrasts(results, "cnn-a", "total_fitness", "generations")
    assert [(row.arm, row.partner) for row in rows] == [("FPS_AC_SM_elitism@100", "FPS_AC_SM@100")]


# --- judge ----------------------------------------------------------------------------------------------------------


def test_what_the_judge_reads_unselected_stands_beside_each_scenario() -> None:
    reads = {"RND_SPC_SM": 0.9, "RND_AC_IM": 0.4, "RND_SELF_SM": 0.1, "MUT_SM": 0.97, "MUT_IM": 0.5}
    rows = {row.arm: row for row in tables.judge(builders.results(seeds=3, reads=reads), "cnn-a")}
    for arm, unselected, mutated in (
        ("TS_SPC_SM", 0.9, 0.97),
        ("FPS_AC_IM", 0.4, 0.5),
        ("FPS_AC_SM_elitism", None, 0.97),
    ):
        row = rows[arm]
        assert row.mutated is not None
        assert row.unselected is not None
        assert row.mutated.mean == pytest.approx(mutated)
        if unselected is not None:
            assert row.unselected.mean == pytest.approx(unselected)
    assert rows["TS_SPC_SM"].fools.mean == pytest.approx(0.88)


def test_without_controls_nothing_stands_beside() -> None:
    rows = tables.judge(builders.results(seeds=2, parts=()), "cnn-a")
    assert rows
    assert {(row.unselected, row.mutated) for row in rows} == {(None, None)}


def test_controls_are_told_apart_by_what_they_leave_out() -> None:
    kinds = runs.control_kinds(builders.results(seeds=1, classifiers=["cnn-a"]))
    assert {kind: len(arms) for kind, arms in kinds.items()} == {"MUT": 2, "RND_SELF": 2, "RND": 4}


# --- hypotheses -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def explained() -> Results:
    """Tournament that keeps the worst gives exactly the published tournament rows; nothing gives RS_SPC_SM."""
    published = paper.load()
    planted = {f"{name}/keep-worst": published.accuracy(name) for name in builders.SCENARIOS if name.startswith("TS")}
    planted |= {name: published.accuracy(name) for name in builders.SCENARIOS if name.startswith("FPS")}
    return builders.results(parts=("controls", "hypotheses"), seeds=3, classifiers=["cnn-a"], accuracy=planted)


def test_the_planted_explanation_comes_closest(explained: Results) -> None:
    found = hypotheses.hypotheses(explained, "cnn-a")
    rows = {row.family: row for row in found.rows}
    assert found.rows[0].family == hypotheses.TEXTBOOK
    worst, textbook = rows["keep-worst"], rows[hypotheses.TEXTBOOK]
    assert (worst.replaced, worst.scenarios, worst.seeds) == (4, 12, 3)
    assert worst.accuracy_ts == pytest.approx(0, abs=1e-9)
    assert worst.accuracy_rs == textbook.accuracy_rs
    assert worst.accuracy_fps == pytest.approx(0, abs=1e-9)
    assert textbook.accuracy_ts == pytest.approx(np.mean([0.70 - 0.12, 0.28 - 0.05, 0.65 - 0.21, 0.32 - 0.03]))
    assert worst.accuracy == pytest.approx((4 * 0 + 4 * 0 + 4 * worst.accuracy_rs) / 12)
    assert (worst.agreeing, textbook.agreeing) == (8, 4)
    families = {"RND", "MUT", "RND_SELF"}
    assert families == {name.removeprefix("control: ") for name in rows if name.startswith("control: ")}


def test_controls_stand_in_for_tournament_and_ranking_only(explained: Results) -> None:
    rows = {row.family: row for row in hypotheses.hypotheses(explained, "cnn-a").rows}
    random = rows["control: RND"]
    assert random.replaced == 8
    assert random.accuracy_fps == rows[hypotheses.TEXTBOOK].accuracy_fps
    assert random.accuracy_ts == pytest.approx(np.mean([0.70 - 0.66, 0.28 - 0.27, 0.65 - 0.58, 0.32 - 0.25]))


def test_unexplained_is_what_no_row_reaches(explained: Results) -> None:
    found = hypotheses.hypotheses(explained, "cnn-a")
    assert "RS_SPC_SM" in found.unexplained
    assert not {name for name in found.unexplained if name.startswith(("FPS", "TS"))}


def test_distances_of_one_scenario_by_hand() -> None:
    results = builders.results(
        scenarios=["TS_SPC_SM"], parts=("hypotheses",), seeds=2, classifiers=["cnn-a"],
        accuracy={"TS_SPC_SM": 0.5, "shuffled": 0.6}, fitness={"TS_SPC_SM": 200.0},
    )  # fmt: skip
    found = hypotheses.hypotheses(results, "cnn-a")
    textbook, shuffled = (next(r for r in found.rows if r.family == name) for name in ("textbook", "shuffled"))
    assert textbook.accuracy == pytest.approx(0.2)
    assert shuffled.accuracy == pytest.approx(0.1)
    assert textbook.fitness == pytest.approx(200 - 143)
    curve = np.mean([run.accuracy for run in results.of("TS_SPC_SM", "cnn-a")], axis=0)
    published = paper.load().curves["TS_SPC_SM"]
    assert textbook.curve == pytest.approx(np.mean([abs(curve[g] - value) for g, value in published.items()]))
    carried = [sum(row) for row in results.of("TS_SPC_SM", "cnn-a")[0].confusion]
    supports = paper.load().supports("TS_SPC_SM")
    assert textbook.support == pytest.approx(np.abs(np.sort(carried) - np.sort(supports)).sum() / 2000)
    assert (textbook.largest, textbook.smallest) == (max(carried), min(carried))
    assert (found.published_largest, found.published_smallest) == (128, 60)
    assert (textbook.accuracy_fps, textbook.accuracy_rs) == (None, None)


def test_one_seed_counts_no_agreement() -> None:
    results = builders.results(seeds=1, classifiers=["cnn-a"], parts=("hypotheses",))
    assert {row.agreeing for row in hypotheses.hypotheses(results, "cnn-a").rows} == {None}


@pytest.mark.parametrize("changes", [{"data": "digits test"}, {"parts": ("controls",)}])
def test_without_paper_or_explanations_there_are_no_distances(changes: dict) -> None:
    results = builders.results(**{"seeds": 2, "classifiers": ["cnn-a"], "parts": ("hypotheses",), **changes})
    found = hypotheses.hypotheses(results, "cnn-a")
    assert found.reason
    assert not found.rows
