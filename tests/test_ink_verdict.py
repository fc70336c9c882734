"""The verdict of the ink study: each rule has a case on either side, and planted causes are found by real runs."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from evofool.studies.ink import measures
from evofool.studies.ink.evidence import (
    CAUSES,
    DATA,
    GENERAL,
    ITSELF,
    LANDSCAPE,
    OPERATORS,
    PIPELINE,
    POSITION,
    WEIGHTS,
    together,
)
from evofool.studies.ink.results import Accuracy, DarkRing, Lean, Transfer
from evofool.studies.ink.schedules import ends, measured_at, schedule_outcome, switch
from evofool.studies.ink.verdict import QUICK, Verdict, verdict
from ink_results import BASE, NET, NULL, SIZE, Study, drawn, landscape, neutral, noisy

STEPS = measures.ring_of(SIZE).reshape(SIZE)
EDGE, MIDDLE, EVEN = 0.5, 3.0, 1.67


def studied(mean: float = EDGE, *, runs: int = 10, mapped: bool = True) -> Study:
    """The arm that is explained, its null and its map."""
    made = Study().arm(BASE).arm(NULL, "operators", null="", tags={"kind": "null", "crossover": "x", "mutation": "y"})
    made.rings(BASE, noisy(mean, runs)).null(NULL, neutral())
    if mapped:
        made.maps.append(landscape(EVEN * (mean - EVEN) * STEPS))
    return made


def judged(made: Study) -> Verdict:
    return verdict(made.results())


def says(made: Study, name: str) -> bool | None:
    return judged(made).cause(name).accused


def words(made: Study, name: str) -> str:
    return " ".join(judged(made).cause(name).sentences)


# Operators ----------------------------------------------------------------------------------------------------------


def with_null(end: float, runs: int = 30) -> Study:
    made = studied()
    return made.arm("null/list", "operators", null="", kind="null", crossover="list").null(
        "null/list", neutral(runs, end=end, seed=9)
    )


@pytest.mark.parametrize(("end", "accused"), [(1.2, True), (2.2, True), (1.67, False), (1.63, False)])
def test_operators_are_accused_by_what_they_do_alone(end, accused):
    assert says(with_null(end), OPERATORS) is accused


def test_a_bias_too_small_to_notice_is_seen_and_not_accused():
    made = with_null(1.635, runs=200)
    found = measures.drift(made.results(), "null/list", level=0.995)
    assert found.direction == -1, "else nothing is shown"
    assert found.estimate > 0.97
    assert says(made, OPERATORS) is False


def test_the_direction_of_biased_operators_is_said():
    assert "nearer to the edges by themselves" in words(with_null(1.2), OPERATORS)
    assert "nearer to the middle by themselves" in words(with_null(2.2), OPERATORS)


def test_operators_that_were_not_run_alone_cannot_be_told():
    made = studied()
    made.arms[1] = dataclasses.replace(made.arms[1], tags={})
    assert says(made, OPERATORS) is None
    made = studied()
    made.runs = [run for run in made.runs if run.arm != NULL or run.seed < 2]
    assert says(made, OPERATORS) is None


@pytest.mark.parametrize(("end", "accused"), [(1.2, False), (1.67, None)])
def test_a_test_that_misses_the_control_clears_nobody(end, accused):
    made = studied().arm("null/clamped", "operators", null="", kind="control")
    made.null("null/clamped", neutral(10, end=end, seed=4))
    assert says(made, OPERATORS) is accused
    assert ("not sharp enough" in words(made, OPERATORS)) is (accused is None)
    assert any("not sharp enough" in line for line in judged(made).not_tested) is (accused is None)


def test_a_biased_control_does_not_accuse_the_operators():
    made = studied().arm("null/clamped", "operators", null="", kind="control")
    made.null("null/clamped", neutral(10, end=1.0, seed=4))
    assert OPERATORS not in judged(made).accused


def test_nulls_of_windows_are_no_bias():
    made = studied().arm("null/window/middle", "operators", null="", kind="window", window="middle")
    made.null("null/window/middle", neutral(10, end=4.0))
    assert says(made, OPERATORS) is False


def test_pixels_that_travel_together_are_told():
    made = studied().arm("additive/list", "operators", kind="additive", crossover="list")
    made.rings("additive/list", noisy(EVEN))
    assert "which pixels travel together does not decide" in words(made, OPERATORS)
    made = studied().arm("additive/list", "operators", kind="additive", crossover="list")
    made.rings("additive/list", noisy(EDGE))
    assert "list crossover still gather ink nearer to the edges" in words(made, OPERATORS)


def test_many_operators_share_their_chance_to_be_accused():
    made, many = studied(), studied()
    for count in range(40):
        many.arm(f"null/{count}", "operators", null="", kind="null").null(f"null/{count}", neutral(seed=count + 50))
    levels = [judged(each).cause(OPERATORS).effects[0].level for each in (made, many)]
    assert levels == [pytest.approx(0.99), pytest.approx(1 - 0.01 / 41)]
    assert says(many, OPERATORS) is False


# Landscape ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mean", "accused", "preference"), [(EDGE, True, "edge"), (MIDDLE, True, "middle"), (EVEN, False, "none")]
)
def test_the_landscape_is_accused_where_evolved_ink_lies_elsewhere(mean, accused, preference):
    made = studied(mean)
    assert says(made, LANDSCAPE) is accused
    assert judged(made).preference == preference
    assert ("nearer to the" in words(made, LANDSCAPE)) is accused


def test_without_a_slope_no_landscape_is_accused():
    made = studied(mapped=False)
    assert says(made, LANDSCAPE) is True
    assert "was not mapped" in words(made, LANDSCAPE)
    assert any("not mapped" in line for line in judged(made).not_tested)
    made = studied(EVEN, mapped=False)
    made.maps.append(landscape(0.3))
    assert says(made, LANDSCAPE) is False
    assert "there is no slope" in words(made, LANDSCAPE)
    assert judged(made).preference == "none"


@pytest.mark.parametrize(("mean", "side"), [(EDGE, "edges"), (MIDDLE, "middle")])
def test_ink_that_prefers_a_side_of_a_flat_map_cannot_be_told(mean, side):
    """Single pixels and pairs may do nothing where many together do: a map of labels alone is flat."""
    made = studied(mean, mapped=False)
    made.maps.append(landscape(0.0))
    found = judged(made)
    assert found.base.direction != 0, "else nothing is shown"
    assert says(made, LANDSCAPE) is None
    assert found.preference == "cannot be told"
    assert "single pixels and pairs cannot show" in words(made, LANDSCAPE)
    assert found.headline[0].startswith(f"The ink lies nearer to the {side} than the operators put it")
    assert not any("no preference" in line for line in found.headline)
    assert not any(line.startswith("Run more") for line in found.advice)


def test_a_flat_map_and_too_few_runs_clear_nobody():
    made = studied(EVEN, runs=2, mapped=False)
    made.maps.append(landscape(0.0))
    assert says(made, LANDSCAPE) is None
    assert judged(made).advice == ["Run more: give each arm at least ten runs."]


def wide(mean: float, runs: int = 3) -> list[float]:
    """Runs that do not agree."""
    return [max(0.0, mean - 1.6), mean, mean + 1.6][:runs]


def test_intervals_that_are_too_wide_clear_nobody():
    """What would miss half of a preference is not tested and not accused; each of the causes has to say so."""
    blunt = studied(EVEN, mapped=False)
    blunt.runs = [run for run in blunt.runs if run.arm != BASE]
    blunt.rings(BASE, wide(EVEN))
    cases = [(blunt, LANDSCAPE, "twice the distance")]
    made = with_null(1.67)
    made.runs = [run for run in made.runs if run.arm != "null/list"]
    made.null("null/list", [(1.67, 0.6), (1.67, 1.67), (1.67, 2.8)])
    cases.append((made, OPERATORS, "twice the distance"))
    made = swapped(EDGE, "reflect", EDGE)
    cases.append((rerun(made, f"padding/{NET}/reflect"), WEIGHTS, "half of the preference"))
    cases.append((rerun(windowed(EDGE, EVEN), "window/corner"), POSITION, "half of the preference"))
    cases.append((rerun(resized("bilinear", EDGE, EDGE), "drawn"), PIPELINE, "half of the preference"))
    made = studied(EDGE)
    made.lean = Lean(1.2, 1.5, -0.3, -0.9, 0.3)
    cases.append((made, DATA, "too few images"))
    cases.append((trained({"zeros": 0.0, "replicate": EVEN, "circular": EVEN}, base=EDGE), GENERAL, "too little"))
    cases[-1][0].paddings = {NET: "reflect"}
    rerun(cases[-1][0], "padding/zeros net/zeros")
    for made, name, why in cases:
        found = judged(made)
        assert found.cause(name).accused is None, name
        assert why in found.cause(name).sentences[-1], name
        assert not any(line.startswith("Tested and not accused") and name in line for line in found.headline)


def rerun(made: Study, arm: str, mean: float = EVEN) -> Study:
    """The same with an arm of three runs that do not agree."""
    made.runs = [run for run in made.runs if run.arm != arm]
    return made.rings(arm, wide(mean))


def test_a_flat_landscape_is_told_even_where_no_run_has_ink():
    made = studied(mapped=False)
    made.runs = [dataclasses.replace(run, best=drawn("", 0).best) if run.arm == BASE else run for run in made.runs]
    assert says(made, LANDSCAPE) is None
    assert judged(made).preference == "cannot be told"
    made.maps.append(landscape(0.3))
    assert says(made, LANDSCAPE) is False


def test_too_few_runs_tell_nothing():
    made = studied(runs=2)
    assert says(made, LANDSCAPE) is None
    assert [says(made, name) for name in CAUSES if name != OPERATORS] == [None] * 7
    assert judged(made).advice == ["Run more: give each arm at least ten runs."]


def test_a_study_without_its_arm_tells_nothing():
    made = studied()
    made.arms, made.runs = made.arms[1:], []
    assert judged(made).accused == []
    assert judged(made).preference == "cannot be told"


def test_the_map_is_said_to_foretell_or_not():
    assert "foretells where ink lies" in words(studied(), LANDSCAPE)
    made = studied(mapped=False)
    made.maps.append(landscape(np.random.default_rng(0).normal(size=SIZE)))
    assert "does not foretell where ink lies" in words(made, LANDSCAPE)
    assert says(made, LANDSCAPE) is True


def test_other_ways_to_draw_are_counted():
    made = studied().arm("where/list", crossover="list").rings("where/list", noisy(EDGE, seed=3))
    made.arm("where/columns", crossover="columns").rings("where/columns", noisy(EVEN, seed=4))
    assert "1 of 2 other ways to draw" in words(made, LANDSCAPE)


# Padding of these weights -------------------------------------------------------------------------------------------


def swapped(base: float, mode: str, mean: float, lost: float | None = 0.0, into: Study | None = None) -> Study:
    """A study with one more swap."""
    made = into or studied(base)
    name, variant = f"padding/{NET}/{mode}", f"padding {mode}"
    made.arm(name, "padding", partner=BASE, variant=variant, tags={"padding": mode, "own": "zeros", "classifier": NET})
    made.rings(name, noisy(mean, seed=len(made.arms)))
    if not made.accuracies:
        made.accuracies.append(Accuracy(NET, "", 0.9, 0.8, 100))
    if lost is not None:
        made.accuracies.append(Accuracy(NET, variant, 0.9, 0.8 - lost, 100))
    return made


@pytest.mark.parametrize(
    ("base", "mean", "lost", "accused"),
    [
        (EDGE, EVEN, 0.0, True),
        (EDGE, MIDDLE, 0.05, True),
        (EDGE, EVEN, 0.06, None),
        (EDGE, EVEN, None, None),
        (EDGE, EDGE, 0.0, False),
        (EDGE, 0.0, 0.0, False),
        (EDGE, EDGE, 0.2, None),
        (MIDDLE, EVEN, 0.0, True),
        (MIDDLE, 3.8, 0.0, False),
        (EVEN, MIDDLE, 0.0, False),
    ],
)
def test_padding_is_accused_by_a_swap_that_moves_ink_and_breaks_nothing(base, mean, lost, accused):
    made = swapped(base, "reflect", mean, lost)
    assert says(made, WEIGHTS) is accused


def skipping(made: Study, mode: str, *layers: str) -> Study:
    """The same where a swap left layers as they were."""
    made.accuracies = [
        dataclasses.replace(row, skipped=list(layers)) if row.variant == f"padding {mode}" else row
        for row in made.accuracies
    ]
    return made


def test_a_swap_that_skips_layers_can_accuse_and_not_clear():
    made = skipping(swapped(EDGE, "reflect", EDGE), "reflect", "conv1: own forward", "conv2: small map")
    assert says(made, WEIGHTS) is None
    assert "2 layers that pad stay as before" in words(made, WEIGHTS)
    assert "(2 at least)" in judged(made).cause(WEIGHTS).sentences[-1]
    assert any("(2 at least)" in line for line in judged(made).not_tested)
    assert says(skipping(swapped(EDGE, "reflect", EVEN), "reflect", "conv1: own forward"), WEIGHTS) is True


def test_a_swap_of_all_layers_clears_beside_one_that_skips_some():
    made = skipping(swapped(EDGE, "circular", EDGE, into=swapped(EDGE, "reflect", EDGE)), "reflect", "conv1: small map")
    assert says(made, WEIGHTS) is False
    assert says(skipping(made, "circular", "conv1: small map"), WEIGHTS) is None


def test_layers_without_test_images_are_no_accuracy():
    """Rows of no image only tell which layers were changed: nobody knows whether the network still works."""
    for mean in (EDGE, EVEN):
        made = swapped(EDGE, "reflect", mean)
        made.accuracies = [dataclasses.replace(row, accuracy=0.0, balanced=0.0, images=0) for row in made.accuracies]
        found = skipping(made, "reflect", "conv1: small map")
        assert says(found, WEIGHTS) is None
        assert "its accuracy is not known; 1 layer that pads stays as before" in words(found, WEIGHTS)
        assert judged(found).cause(WEIGHTS).effects[0].lost is None


def test_what_a_swap_breaks_is_said():
    assert "the network is broken by it" in words(swapped(EDGE, "reflect", EVEN, 0.2), WEIGHTS)
    assert "nobody knows whether the network still works" in words(swapped(EDGE, "reflect", EVEN, None), WEIGHTS)
    assert "accuracy -20.0 points" in words(swapped(EDGE, "reflect", EVEN, 0.2), WEIGHTS)


def test_plain_accuracy_counts_as_much_as_balanced():
    made = swapped(EDGE, "reflect", EVEN, 0.0)
    made.accuracies[-1] = dataclasses.replace(made.accuracies[-1], accuracy=0.8)
    assert says(made, WEIGHTS) is None


def test_one_swap_that_proves_it_is_enough():
    made = swapped(EDGE, "circular", EDGE, 0.0, swapped(EDGE, "reflect", EVEN, 0.2))
    assert says(made, WEIGHTS) is None, "one is broken, and the other one does nothing"
    assert says(swapped(EDGE, "replicate", EVEN, 0.0, made), WEIGHTS) is True


def test_swaps_share_their_chance_to_be_accused():
    """A change that one swap alone would be accused of is not enough among many."""
    made = studied(1.0)
    rings = np.array(noisy(1.0))
    wobble = np.array([0.5, -0.3, 0.4, -0.2, 0.5, -0.3, 0.6, 0.0, 0.4, -0.1])
    name = f"padding/{NET}/reflect"
    tags = {"padding": "reflect", "own": "zeros", "classifier": NET}
    made.arm(name, "padding", partner=BASE, variant="padding reflect", tags=tags)
    made.rings(name, np.round(rings + wobble + 0.15, 1).tolist())
    made.accuracies += [Accuracy(NET, "", 0.9, 0.8, 100), Accuracy(NET, "padding reflect", 0.9, 0.8, 100)]
    assert says(made, WEIGHTS) is True
    for mode in ("replicate", "circular", "other", "another"):
        swapped(1.0, mode, 1.0, 0.0, made)
    assert judged(made).cause(WEIGHTS).effects[0].level == pytest.approx(together(0.95, 5))
    assert says(made, WEIGHTS) is False


def test_what_lies_beyond_the_border_can_accuse_and_not_clear():
    for mean, accused in ((EVEN, True), (EDGE, None)):
        made = studied().arm("outside/1", "pipeline", partner=BASE, variant="gray 1 outside", outside=1.0)
        made.rings("outside/1", noisy(mean, seed=5))
        made.accuracies += [Accuracy(NET, "", 0.9, 0.8, 100), Accuracy(NET, "gray 1 outside", 0.9, 0.8, 100)]
        assert says(made, WEIGHTS) is accused


def test_swaps_of_other_networks_are_no_evidence_of_this_one():
    made = studied()
    made.arm("padding/b/zeros", "padding", partner=BASE, classifier="b", padding="zeros", own="reflect")
    made.rings("padding/b/zeros", noisy(EVEN))
    assert says(made, WEIGHTS) is None


def test_advice_names_the_swap_that_works():
    made = swapped(EDGE, "circular", MIDDLE, 0.2, swapped(EDGE, "reflect", EVEN, 0.0))
    assert any("with padding reflect" in line for line in judged(made).advice)


# Padding in general -------------------------------------------------------------------------------------------------

ALL = {"reflect": EVEN, "replicate": EVEN, "circular": EVEN}


def trained(modes: dict[str, float], *, base: float = EDGE, lost: float = 0.0, runs: int = 10) -> Study:
    """A network trained with zeros, and others of the same architecture."""
    made = studied(base)
    made.accuracies.append(Accuracy(NET, "", 0.9, 0.8, 100))
    for seed, (mode, mean) in enumerate(modes.items()):
        name = f"padding/{mode} net/{mode}"
        tags = {"padding": mode, "own": mode, "classifier": f"{mode} net"}
        made.arm(name, "padding", partner=BASE, classifier=f"{mode} net", tags=tags)
        made.rings(name, noisy(mean, runs, seed=seed + 20, spread=0.2 if runs > 4 else 0.9))
        made.accuracies.append(Accuracy(f"{mode} net", "", 0.9, 0.8 - lost, 100))
    return made


@pytest.mark.parametrize(
    ("modes", "accused"),
    [
        (ALL, True),
        ({**ALL, "circular": MIDDLE}, True),
        ({**ALL, "reflect": 1.1}, None),
        ({"reflect": 1.1, "replicate": 1.1, "circular": 1.1}, None),
        ({"reflect": EVEN, "circular": EVEN}, None),
        ({**ALL, "circular": EDGE}, False),
        ({"reflect": EVEN, "circular": EDGE}, False),
        ({"reflect": EDGE, "circular": 0.2}, False),
        ({"reflect": 0.1}, False),
        ({}, None),
    ],
)
def test_padding_in_general_needs_all_networks_to_agree(modes, accused):
    assert says(trained(modes), GENERAL) is accused


def test_a_preference_that_is_smaller_is_not_gone():
    made = trained({**ALL, "reflect": 1.1})
    own = measures.edge_index(made.results(), "padding/reflect net/reflect", level=together(0.95, 3))
    less = measures.change(made.results(), "padding/reflect net/reflect", BASE, level=together(0.95, 3))
    assert (own.direction, less.direction) == (-1, 1), "else nothing is shown"
    assert "the preference is smaller, not gone" in words(made, GENERAL)
    assert judged(made).cause(GENERAL).sentences[-1].startswith("Smaller, not gone")
    assert not any("padding" in line for line in judged(made).advice)


def test_paddings_that_no_network_was_trained_with_are_named():
    made = trained({"reflect": EVEN})
    last = judged(made).cause(GENERAL).sentences[-1]
    assert "Not tested: networks trained with replicate, circular." in last
    assert f"{GENERAL}: {last}" in judged(made).not_tested
    assert "Not tested" not in words(trained(ALL), GENERAL)


def test_what_training_itself_does_is_said_to_be_unknown():
    for modes in (ALL, {**ALL, "reflect": 1.1}, {"reflect": EDGE}):
        caveat = "One network each: how much training itself varies is not in the interval."
        assert judged(trained(modes)).cause(GENERAL).sentences[-1].endswith(caveat)


def test_networks_that_disagree_are_said_so():
    made = trained({"reflect": EVEN, "circular": EDGE})
    assert "not the cause in general" in words(made, GENERAL)
    assert any("Do not expect another padding in training" in line for line in judged(made).advice)


def test_a_network_that_has_not_learned_as_much_tells_nothing():
    assert says(trained(ALL, lost=0.06), GENERAL) is None
    assert says(trained(ALL, lost=0.04), GENERAL) is True


def test_one_network_that_tells_nothing_is_one_too_many():
    made = trained(ALL)
    assert says(made, GENERAL) is True
    made.accuracies[-1] = dataclasses.replace(made.accuracies[-1], accuracy=0.5)
    assert says(made, GENERAL) is None


def test_a_network_that_may_prefer_either_tells_nothing():
    made = trained({"reflect": 1.0}, runs=4)
    less = measures.change(made.results(), "padding/reflect net/reflect", BASE)
    own = measures.edge_index(made.results(), "padding/reflect net/reflect")
    assert (less.direction, own.direction) == (0, 0), "else nothing is shown"
    assert says(made, GENERAL) is None


def test_a_network_trained_with_zeros_has_to_be_there_and_to_prefer_something():
    assert says(trained({"reflect": EVEN}, base=EVEN), GENERAL) is False
    made = trained({"reflect": EVEN})
    made.paddings = {NET: "replicate"}
    assert says(made, GENERAL) is None


def test_the_network_trained_with_zeros_need_not_be_the_first():
    made = trained({"zeros": EDGE, "replicate": EVEN, "circular": EVEN}, base=EVEN)
    made.paddings = {NET: "reflect"}
    assert says(made, GENERAL) is True


def test_swaps_do_not_speak_for_padding_in_general():
    assert says(swapped(EDGE, "reflect", EVEN), GENERAL) is None


# Position, pipeline, data, the classifier itself --------------------------------------------------------------------


def windowed(base: float, mean: float) -> Study:
    made = studied(base).arm("null/window/corner", "operators", null="", kind="window", window="corner")
    made.null("null/window/corner", neutral(end=1.67))
    made.arm(
        "window/corner", "position", null="null/window/corner", partner=BASE, window="corner", region="box:0,0,8,8"
    )
    return made.rings("window/corner", noisy(mean, seed=6))


@pytest.mark.parametrize(
    ("base", "mean", "accused"), [(EDGE, EDGE, True), (EDGE, EVEN, False), (EDGE, MIDDLE, False), (EVEN, EDGE, False)]
)
def test_position_is_accused_where_windows_go_the_same_way(base, mean, accused):
    assert says(windowed(base, mean), POSITION) is accused


@pytest.mark.parametrize(("base", "mean", "accused"), [(EDGE, EVEN, True), (EDGE, EDGE, False), (EVEN, EDGE, False)])
def test_content_is_accused_where_a_gray_level_takes_the_preference_away(base, mean, accused):
    made = studied(base).arm("canvas/0.5", "position", partner=BASE, canvas=0.5, ink=0.0)
    made.rings("canvas/0.5", noisy(mean, seed=6))
    assert says(made, POSITION) is accused
    assert ("So content counts" in words(made, POSITION)) is bool(accused)


def resized(how: str, base: float, mean: float) -> Study:
    made = studied(base).arm("drawn", "pipeline", partner=BASE, resize=how, size=SIZE)
    return made.rings("drawn", noisy(mean, seed=6))


@pytest.mark.parametrize(
    ("how", "base", "mean", "accused"),
    [
        ("bilinear", EDGE, EVEN, True),
        ("bilinear", EDGE, EDGE, False),
        ("bilinear", EVEN, EDGE, False),
        ("crop", EDGE, EVEN, None),
    ],
)
def test_the_pipeline_is_accused_by_resizing_and_not_by_what_is_cut_away(how, base, mean, accused):
    assert says(resized(how, base, mean), PIPELINE) is accused


@pytest.mark.parametrize(
    ("base", "lean", "accused"),
    [
        (EDGE, (-0.3, -0.4, -0.2), True),
        (EDGE, (0.3, 0.2, 0.4), False),
        (EDGE, (-0.3, -0.7, 0.1), False),
        (EDGE, (-0.03, -0.04, -0.02), False),
        (MIDDLE, (0.3, 0.2, 0.4), True),
        (MIDDLE, (-0.3, -0.4, -0.2), False),
        (EVEN, (-0.3, -0.4, -0.2), False),
        (EDGE, None, None),
    ],
)
def test_data_are_accused_of_what_they_could_teach(base, lean, accused):
    made = studied(base)
    made.dark = [DarkRing(True, 0, 0.5, 0.4, 0.6, 70), DarkRing(False, 0, 0.5, 0.4, 0.6, 30)]
    made.lean = None if lean is None else Lean(1.5 + lean[0], 1.5, *lean)
    found = judged(made).cause(DATA)
    assert found.accused is accused
    assert ("nothing but training again" in " ".join(found.sentences)) is bool(accused)
    assert [effect.n for effect in found.effects] == ([] if lean is None else [100])


def shown(others: dict[str, float], *, base: float = EDGE, reached: int | None = 3) -> Study:
    made = studied(base)
    made.runs = [dataclasses.replace(run, reached=reached) if run.arm == BASE else run for run in made.runs]
    for name, mean in others.items():
        for seed in range(10):
            made.transfer.append(Transfer(BASE, seed, name, mean + 0.01 * (seed % 3)))
    return made


@pytest.mark.parametrize(
    ("others", "accused"),
    [
        ({"to a": 0.1, "to b": 0.2}, True),
        ({"to a": 0.9, "to b": 0.8}, False),
        ({"to a": 0.9, "to b": 0.2}, None),
        ({"shift 1": 0.1}, None),
        ({}, None),
    ],
)
def test_the_classifier_itself_is_accused_where_nobody_else_is_convinced(others, accused):
    assert says(shown(others), ITSELF) is accused


def test_networks_that_are_convinced_by_some_drawings_tell_nothing():
    made = shown({})
    made.transfer = [Transfer(BASE, seed, "to a", 0.9 if seed < 4 else 0.1) for seed in range(10)]
    assert says(made, ITSELF) is None


def test_drawings_that_convince_nobody_are_not_transferred():
    assert says(shown({"to a": 0.1}, reached=None), ITSELF) is None
    assert says(shown({"to a": 0.1}, base=EVEN), ITSELF) is False


# The schedule -------------------------------------------------------------------------------------------------------


def scheduled(first, only=None, free=None) -> Study:
    """Fitness of runs in generation 0, when the limit is lifted, and at the end."""
    made = studied()
    for name, fitness in (("center first", first), ("center only", only), ("everywhere", free)):
        if fitness is None:
            continue
        phases = [{"region": "center:0.5", "last": 100}, {"region": "everywhere", "last": 140}]
        settings = {"phases": phases if name == "center first" else phases[1:]}
        made.arm(f"schedule/{name}", "schedule", null="", settings=settings, schedule=name)
        for seed, curve in enumerate(fitness):
            about = {"steps": [1.0] * 4, "generations": [0, 95, 105, 140]}
            made.runs.append(drawn(f"schedule/{name}", seed, [0], fitness=[3.0, curve[0], curve[1], curve[1]], **about))
    return made


BETTER = [(2.0, 1.0 - 0.01 * seed) for seed in range(5)]


def test_the_schedule_by_hand():
    found = schedule_outcome(scheduled(BETTER, [(2.0, 1.9)] * 5, [(1.0, 0.5)] * 5).results())
    assert (found.confined, found.better, found.runs) == (100, 5, 5)
    assert found.gain.estimate == pytest.approx(1.02)
    assert (found.only_better, found.only_runs, found.only.estimate) == (5, 5, pytest.approx(0.1))
    assert found.beyond.estimate == pytest.approx(0.98 - 1.9)
    assert found.everywhere.estimate == pytest.approx(0.98 - 0.5)
    assert found.always is True
    assert found.sentences[-1].startswith('"Afterwards always better" is reproduced')


@pytest.mark.parametrize(
    ("first", "only", "always"),
    [
        (BETTER, [(2.0, 2.0)] * 5, True),
        ([*BETTER, (2.0, 2.0)], [(2.0, 2.0)] * 6, False),  # one is not better
        (BETTER, BETTER, False),  # those that stay confined are as good
        (BETTER, None, None),  # no control
        (BETTER[:2], [(2.0, 2.0)] * 2, None),  # too few
    ],
)
def test_afterwards_always_better(first, only, always):
    assert schedule_outcome(scheduled(first, only).results()).always is always


def test_the_generation_that_was_measured_is_named():
    """Where the last one before the limit is lifted was not measured, it is not said to have been."""
    made = scheduled(BETTER, [(2.0, 1.9)] * 5)
    assert switch(made.results()) == 100
    assert {end.at for end in ends(made.results())} == {95}
    found = schedule_outcome(made.results()).sentences
    assert sum("since generation 95, the last one measured until then" in text for text in found) == 2
    made.runs = [dataclasses.replace(run, generations=[0, 100, 105, 140]) if len(run.generations) == 4 else run
                 for run in made.runs]  # fmt: skip
    assert {end.at for end in ends(made.results())} == {100}
    assert not any("since generation" in text for text in schedule_outcome(made.results()).sentences)


def test_generations_that_differ_are_both_named():
    made = scheduled(BETTER)
    last = dataclasses.replace(made.runs[-1], generations=[0, 99, 105, 140])
    made.runs[-1] = last
    assert measured_at(ends(made.results())) == "95 to 99"
    assert measured_at([]) == "not measured"


def test_runs_without_answers_are_left_out_of_the_schedule():
    found = schedule_outcome(scheduled([*BETTER, (None, None)], [(2.0, 2.0)] * 6).results())
    assert (found.runs, found.better, found.always) == (5, 5, True)


def test_no_schedule_is_no_outcome():
    assert schedule_outcome(studied().results()) is None
    assert any(line.startswith("schedule:") for line in judged(studied()).not_tested)


# The whole ----------------------------------------------------------------------------------------------------------


def test_all_causes_are_there_in_order_and_as_json():
    made = scheduled(BETTER, BETTER)
    swapped(EDGE, "reflect", EVEN, 0.0, made)
    found = judged(made)
    assert [cause.name for cause in found.causes] == list(CAUSES)
    again = json.loads(json.dumps(dataclasses.asdict(found)))
    assert again["causes"][2]["accused"] is True
    assert found.accused == [LANDSCAPE, WEIGHTS]


def test_the_headline_says_who_is_accused_and_that_nothing_is_added_up():
    found = judged(swapped(EDGE, "reflect", EVEN))
    assert found.headline[0].startswith("The ink lies nearer to the edges than the operators put it: edge index 0.")
    assert "Accused: landscape, padding of these weights." in found.headline
    assert any("Nothing is added up to 100%" in line for line in found.headline)
    text = found.text()
    assert "padding of these weights: accused" in text
    assert "data: cannot be told" in text
    none = judged(studied(EVEN)).headline
    assert none[0].startswith("The classifier gives the ink no preference")
    assert none[1] == "No cause is accused."


def test_a_quick_study_says_so_on_top():
    assert verdict(studied().results(quick=True)).headline[0] == QUICK
    assert not any("QUICK" in line for line in judged(studied()).headline)


def test_what_was_skipped_is_not_tested():
    made = studied()
    made.skipped.append(("padding", "its padding cannot be swapped"))
    found = judged(made)
    assert "padding: its padding cannot be swapped" in found.not_tested
    assert any(line.startswith(f"{DATA}: No training images") for line in found.not_tested)


def test_without_any_preference_nothing_is_accused():
    """Many studies of nothing: what is compared differs by chance only."""
    wrong = 0
    for seed in range(60):
        made = Study().arm(BASE).arm(NULL, "operators", null="", kind="null")
        made.rings(BASE, noisy(EVEN, seed=seed, spread=0.6)).null(NULL, neutral(seed=seed + 1000))
        made.maps.append(landscape(np.random.default_rng(seed).normal(size=SIZE)))
        for mode in ("reflect", "replicate", "circular"):
            swapped(EVEN, mode, EVEN, 0.0, made)
        wrong += bool(judged(made).accused)
    assert wrong <= 3
