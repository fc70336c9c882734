"""The arms of the study: the paper's twelve, and what differs between an arm and the one it is compared with."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch

from evofool.errors import SpecError
from evofool.operators import selection
from evofool.spec import op
from evofool.studies.operators import scenarios as study
from evofool.studies.operators.scenarios import Scenario
from fakes import stream

BASE = study.base()
PLAIN = study.scenarios(BASE)
ELITISM = study.elitism(BASE)
CONTROLS = study.controls(BASE)
HYPOTHESES = study.hypotheses(BASE)
LONG = study.generations(BASE)
ALL = [*PLAIN, ELITISM, *CONTROLS, *HYPOTHESES, *LONG]
BY_NAME = {scenario.arm.name: scenario for scenario in ALL}


def differences(one: Scenario, other: Scenario) -> set[str]:
    """The settings in which two arms differ, those left aside that have no effect in them."""
    a, b = one.described().settings, other.described().settings
    assert a.keys() == b.keys()
    found = {key for key in a if a[key] != b[key]}
    if "self" in (a["mating"], b["mating"]):
        found.discard("crossover")  # a parent crossed with itself is copied, whatever the crossover
    return found


def test_there_are_the_papers_twelve_by_their_names():
    names = ["_".join(letters) for letters in itertools.product(("FPS", "TS", "RS"), ("SPC", "AC"), ("SM", "IM"))]
    assert sorted(s.arm.name for s in PLAIN) == sorted(names) and len(set(names)) == 12
    assert all(s.arm.group == "scenario" and s.everywhere and s.population == 1000 for s in PLAIN)


def test_the_papers_constants_hold_everywhere():
    for scenario in [*PLAIN, ELITISM, *CONTROLS]:
        settings = scenario.described().settings
        assert (settings["p_crossover"], settings["p_mutation"]) == (0.6, 0.5)
        assert (settings["population"], settings["generations"]) == (1000, 10)
        assert settings["objective"] == {"op": "objectives.timbe_2021"}
        assert settings["label_rule"] == "dominant" and settings["elites"] == (10 if scenario is ELITISM else 0)


@pytest.mark.parametrize("scenario", PLAIN, ids=lambda s: s.arm.name)
def test_letters_stand_for_operators(scenario):
    chosen, crossed, mutated = scenario.arm.name.split("_")
    settings = scenario.described().settings
    assert (
        settings["selection"]
        == {
            "FPS": {"op": "selection.fitness_proportionate"},
            "TS": {"op": "selection.tournament", "size": 20},
            "RS": {"op": "selection.linear_ranking"},
        }[chosen]
    )
    assert settings["crossover"]["op"] == {"SPC": "crossover.single_point", "AC": "crossover.arithmetic"}[crossed]
    assert settings["mutation"]["op"] == {"SM": "mutation.swap", "IM": "mutation.inversion"}[mutated]
    assert settings["mating"] == "free"


def test_there_are_eight_controls():
    assert sorted(s.arm.name for s in CONTROLS) == sorted(
        ["MUT_SM", "MUT_IM", "RND_SELF_SM", "RND_SELF_IM", "RND_SPC_SM", "RND_SPC_IM", "RND_AC_SM", "RND_AC_IM"]
    )
    assert all(s.arm.group == "control" and s.everywhere and s.arm.about for s in CONTROLS)


def test_names_are_unique_and_partners_exist_beside_those_who_name_them():
    assert len(BY_NAME) == len(ALL)
    for scenario in ALL:
        partner = scenario.arm.partner
        assert not partner or partner in BY_NAME, scenario.arm.name
        assert not scenario.everywhere or not partner or BY_NAME[partner].everywhere
    alone = {s.arm.name for s in ALL if not s.arm.partner}
    assert alone == {"MUT_SM", "MUT_IM", "FPS_AC_SM@100"}


EXPECTED = {
    **{s.arm.name: {"selection"} for s in PLAIN},
    "FPS_AC_SM_elitism": {"elites"},
    **{f"RND_SELF_{m}": {"selection"} for m in ("SM", "IM")},
    **{f"RND_{c}_{m}": {"mating"} for c in ("SPC", "AC") for m in ("SM", "IM")},
    "FPS_AC_SM_elitism@100": {"elites"},
}
FAMILIES = {
    "first-label": {"label_rule"},
    "within-label": {"mating"},
    "integer-labels": {"objective"},
    "true-class": {"objective"},
    "keep-worst": {"selection"},
    "upside-down": {"selection"},
    "shuffled": {"selection"},
}


@pytest.mark.parametrize("scenario", [s for s in ALL if s.arm.partner], ids=lambda s: s.arm.name)
def test_an_arm_differs_from_its_partner_in_one_thing(scenario):
    expected = EXPECTED.get(scenario.arm.name) or FAMILIES[scenario.arm.family]
    found = differences(scenario, BY_NAME[scenario.arm.partner])
    if scenario.arm.family == "true-class" and scenario.arm.name.startswith("FPS"):
        found.remove("selection")  # weights must not be negative: the wheel turns on 1 - that probability
        assert dict(scenario.algorithm.selection.keywords) == {"baseline": 1.0}
    assert found == expected


def test_each_family_of_hypotheses_holds_the_scenarios_that_it_would_change():
    held: dict[str, set[str]] = {}
    for scenario in HYPOTHESES:
        assert scenario.arm.group == "hypothesis" and not scenario.everywhere
        assert scenario.arm.name == f"{scenario.arm.partner}/{scenario.arm.family}"
        held.setdefault(scenario.arm.family, set()).add(scenario.arm.partner.partition("_")[0])
    everyone = {"FPS", "TS", "RS"}
    assert held == {
        "first-label": everyone,
        "within-label": everyone,
        "integer-labels": everyone,
        "true-class": everyone,
        "keep-worst": {"TS"},
        "upside-down": {"RS"},
        "shuffled": {"TS", "RS"},
    }
    about = {family: {s.arm.about for s in HYPOTHESES if s.arm.family == family} for family in held}
    assert all(len(sentences) == 1 for sentences in about.values())


def test_each_family_assumes_what_it_says():
    mine = "evofool.studies.operators.scenarios"
    for scenario in HYPOTHESES:
        settings = scenario.described().settings
        assumed = {
            "first-label": ("label_rule", "first"),
            "within-label": ("mating", "label"),
            "integer-labels": ("objective", {"op": "objectives.timbe_2021", "label_distance": "integer"}),
            "true-class": ("objective", {"op": "objectives.true_class_probability"}),
            "keep-worst": ("selection", {"op": f"{mine}:tournament_keeping_worst", "size": 20}),
            "upside-down": ("selection", {"op": f"{mine}:ranking_upside_down"}),
            "shuffled": ("selection", {"op": "selection.shuffled"}),
        }
        setting, value = assumed[scenario.arm.family]
        assert settings[setting] == value, scenario.arm.name


def test_a_reversed_comparison_keeps_the_worst():
    fitness = torch.tensor([[1.0, 2.0, 3.0, 4.0, float("nan")]]).expand(200, -1)
    worst = op("evofool.studies.operators.scenarios:tournament_keeping_worst", size=4)
    counts = torch.bincount(worst(fitness, 100, rng=stream(200)).flatten(), minlength=5).tolist()
    assert counts[0] < counts[1] < counts[2] < counts[3] and counts[4] == 0
    upside_down = op("evofool.studies.operators.scenarios:ranking_upside_down")
    counts = torch.bincount(upside_down(fitness, 100, rng=stream(200)).flatten(), minlength=5).tolist()
    assert counts[0] == 0 and counts[1] < counts[2] < counts[3] and counts[4] == 0


def test_each_operator_of_an_arm_can_be_called():
    fitness = -stream(2)["f"].uniform(50).double()
    for scenario in ALL:
        assert scenario.algorithm.selection(fitness, 50, rng=stream(2)).shape == (2, 50)


def test_longer_runs_have_a_hundred_generations():
    assert [(s.arm.name, s.arm.generations, s.arm.group) for s in LONG] == [
        ("FPS_AC_SM@100", 100, "generations"),
        ("FPS_AC_SM_elitism@100", 100, "generations"),
    ]
    (whole,) = study.all_images(BASE)
    assert (whole.population, whole.seeds, whole.arm.generations, whole.arm.group) == (0, 1, 100, "all-images")


# Settings


def test_settings_reach_what_they_name():
    scenario = BY_NAME["TS_SPC_SM"]
    changed = study.configured(
        scenario,
        {
            "p_crossover": "0.2",
            "p_mutation": "0.1",
            "elites": "3",
            "label_rule": "first",
            "generations": "7",
            "population": "55",
            "tournament_size": "4",
        },
    ).described()
    kept = scenario.described().settings
    assert changed.settings == {
        **kept,
        "p_crossover": 0.2,
        "p_mutation": 0.1,
        "elites": 3,
        "label_rule": "first",
        "generations": 7,
        "population": 55,
        "selection": {"op": "selection.tournament", "size": 4},
    }
    assert changed.generations == 7 and changed.name == scenario.arm.name
    assert scenario == BY_NAME["TS_SPC_SM"] and scenario.described().settings == kept


def test_a_tournament_size_leaves_other_selections_alone():
    for name in ("FPS_AC_SM", "RS_AC_SM"):
        assert study.configured(BY_NAME[name], {"tournament_size": "4"}).algorithm == BY_NAME[name].algorithm
        assert study.largest_tournament(BY_NAME[name]) == 0
    assert study.largest_tournament(BY_NAME["TS_AC_SM"]) == 20
    assert study.largest_tournament(BY_NAME["TS_AC_SM/keep-worst"]) == 20


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("p_cross", "0.2", "unknown setting 'p_cross'; did you mean 'p_crossover'"),
        ("selection", "selection.random", "unknown setting 'selection'"),
        ("p_mutation", "1.5", "p_mutation"),
        ("p_mutation", "half", "p_mutation"),
        ("label_rule", "second", "label_rule"),
        ("generations", "ten", "expected a whole number"),
        ("generations", "-1", "expected at least 0"),
        ("population", "0", "expected at least 1"),
        ("population", "10.5", "expected a whole number"),
        ("tournament_size", "0", "expected at least 1"),
        ("elites", "-1", "elites"),
    ],
)
def test_a_bad_setting_is_refused(name, value, message):
    with pytest.raises(SpecError, match=message) as caught:
        study.configured(BY_NAME["TS_SPC_SM"], {name: value})
    assert "\n" not in str(caught.value)


def test_a_grid_holds_every_combination_in_order():
    assert study.grid({"a": ("1", "2"), "b": ("x", "y")}) == [
        {"a": "1", "b": "x"},
        {"a": "1", "b": "y"},
        {"a": "2", "b": "x"},
        {"a": "2", "b": "y"},
    ]


def test_a_sweep_names_what_varies_and_applies_it():
    settings = {"p_mutation": ("0.1", "0.5"), "generations": ("3",)}
    swept = study.sweep([BY_NAME["FPS_AC_SM"]], settings, partner=lambda arm, point: f"{arm.partner}@{point}")
    assert [s.arm.name for s in swept] == ["FPS_AC_SM@p_mutation=0.1", "FPS_AC_SM@p_mutation=0.5"]
    for scenario, rate in zip(swept, (0.1, 0.5), strict=True):
        assert (scenario.algorithm.p_mutation, scenario.arm.generations) == (rate, 3)
        assert scenario.arm.group == "rates" and scenario.arm.about == f"p_mutation = {rate}, generations = 3"
        assert scenario.arm.partner == f"RND_AC_SM@p_mutation={rate}"
        unchanged = dataclasses.replace(scenario.algorithm, p_mutation=0.5)
        assert unchanged == BY_NAME["FPS_AC_SM"].algorithm and scenario.population == 1000


def test_every_point_of_a_sweep_is_run_once():
    settings = {"p_crossover": ("0", "0.6"), "elites": ("1", "2", "3")}
    swept = study.sweep(PLAIN, settings, partner=lambda arm, point: "")
    assert len({s.arm.name for s in swept}) == len(swept) == 12 * 6
    points = {(s.arm.name.partition("@")[0], s.algorithm.p_crossover, s.algorithm.elites) for s in swept}
    assert len(points) == 72


def test_the_sweep_that_the_paper_asks_for():
    rates = study.rates(BASE)
    assert len(rates) == 3 * 2 * 2 and len({s.arm.name for s in rates}) == 12
    assert {s.arm.name.partition("@")[0] for s in rates} == {"FPS_AC_SM", "TS_SPC_SM", "RS_AC_SM"}
    points = {(s.algorithm.p_crossover, s.algorithm.p_mutation) for s in rates}
    assert points == set(itertools.product((0.2, 0.6), (0.1, 0.5)))
    assert all(s.arm.generations == 100 and s.seeds == 3 and not s.everywhere for s in rates)
    assert all(s.arm.partner in BY_NAME for s in rates)


def test_scenarios_are_chosen_by_name_in_their_own_order():
    chosen = study.select(["TS_SPC_SM", "FPS_AC_SM"], PLAIN)
    assert [s.arm.name for s in chosen] == ["FPS_AC_SM", "TS_SPC_SM"]
    with pytest.raises(SpecError, match="unknown scenario 'FPS_AC_MS'; did you mean 'FPS_AC_SM'"):
        study.select(["FPS_AC_MS"], PLAIN)


def test_the_parts_are_described():
    assert {"scenarios", "controls", "judge", "hypotheses", "generations", "rates", "all-images"} == set(study.PARTS)
    assert all(study.PARTS.values())
    for name, about in study.SETTINGS.items():
        assert about
        study.configured(BY_NAME["TS_SPC_SM"], {name: "first" if name == "label_rule" else "1"})


def test_a_base_that_was_changed_changes_every_arm():
    base = study.configured(BASE, {"p_mutation": "0.3", "population": "60", "generations": "2"})
    for scenario in [*study.scenarios(base), study.elitism(base), *study.controls(base), *study.hypotheses(base)]:
        settings = scenario.described().settings
        assert (settings["p_mutation"], settings["population"], settings["generations"]) == (0.3, 60, 2)


def test_textbook_selection_is_what_the_hypotheses_turn_round():
    fitness = stream()["f"].uniform(30).double()
    upside_down = study.ranking_upside_down(fitness, 20, rng=stream())
    assert torch.equal(upside_down, selection.linear_ranking(-fitness, 20, rng=stream()))


def test_a_scenario_is_summed_up_by_its_operators():
    assert (
        study.summary(BY_NAME["TS_AC_IM"]) == "selection.tournament, size=20, crossover.arithmetic, mutation.inversion"
    )
