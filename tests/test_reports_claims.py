"""The paper's claims: each verdict flips when the numbers flip, and nothing is claimed from too little."""

from __future__ import annotations

import dataclasses

import pytest

import builders
from evofool.reports import claims
from evofool.reports.claims import NOT_RUN, NOT_SUPPORTED, SUPPORTED, UNTOLD, Claim
from evofool.studies.operators.results import Results

FPS_LOW = {name: 0.05 for name in builders.SCENARIOS if name.startswith("FPS")} | {"FPS_AC_SM": 0.02}
FPS_HIGH = {name: 0.60 for name in builders.SCENARIOS if name.startswith("FPS")}
ONE = ["cnn-a"]


def claim(key: str, results: Results) -> Claim:
    return next(found for found in claims.claims(results) if found.key == key)


def test_there_are_six() -> None:
    found = claims.claims(builders.results(seeds=2, classifiers=ONE))
    assert [c.key for c in found] == ["fps", "best", "fitness", "elitism", "rates", "all-images"]


@pytest.mark.parametrize(("planted", "verdict"), [(FPS_LOW, SUPPORTED), (FPS_HIGH, NOT_SUPPORTED)])
def test_fitness_proportionate_misleads_most(planted: dict, verdict: str) -> None:
    found = claim("fps", builders.results(accuracy=planted))
    assert found.verdict == verdict
    assert found.evidence.count("On cnn-") == 3


def test_fitness_proportionate_must_beat_both_others() -> None:
    between = {name: 0.10 for name in builders.SCENARIOS if name.startswith("FPS")}
    between |= {name: 0.30 for name in builders.SCENARIOS if name.startswith("TS")}
    between |= {name: 0.05 for name in builders.SCENARIOS if name.startswith("RS")}
    assert claim("fps", builders.results(accuracy=between)).verdict == NOT_SUPPORTED


def test_classifiers_that_disagree_leave_it_open() -> None:
    mixed = {name: {"cnn-a": 0.02, "cnn-b": 0.02, "cnn-c": 0.6} for name in FPS_LOW}
    assert claim("fps", builders.results(accuracy=mixed)).verdict == UNTOLD


def test_one_seed_leaves_it_open() -> None:
    results = builders.results(seeds=1, accuracy=FPS_LOW)
    assert claim("fps", results).verdict == UNTOLD
    assert claim("best", results).verdict == UNTOLD


def test_part_of_the_scenarios_cannot_support_but_can_refute() -> None:
    some = ["FPS_AC_SM", "TS_AC_SM", "RS_AC_SM"]
    low = builders.results(scenarios=some, accuracy=FPS_LOW, seeds=5)
    high = builders.results(scenarios=some, accuracy=FPS_HIGH, seeds=5)
    assert [claim(key, low).verdict for key in ("fps", "best")] == [UNTOLD, UNTOLD]
    assert [claim(key, high).verdict for key in ("fps", "best")] == [NOT_SUPPORTED, NOT_SUPPORTED]
    apart = builders.results(scenarios=["FPS_AC_SM", "TS_SPC_IM"], accuracy=FPS_LOW, seeds=5)
    assert claim("fps", apart).verdict == UNTOLD


def test_the_best_scenario() -> None:
    assert claim("best", builders.results(accuracy=FPS_LOW)).verdict == SUPPORTED
    beaten = claim("best", builders.results(accuracy={**FPS_LOW, "RS_AC_IM": 0.001}))
    assert beaten.verdict == NOT_SUPPORTED
    assert "RS_AC_IM" in beaten.evidence


def test_a_tie_for_the_best_is_no_support() -> None:
    results = builders.results(accuracy={**FPS_LOW, "RS_AC_IM": 0.02}, seeds=5)
    assert claim("best", results).verdict == UNTOLD


def test_one_of_eleven_must_be_lower_beyond_the_chance_of_eleven() -> None:
    # Five differences of mean 0.02 and t = 3.5: beyond 2.8, which is chance for one, not beyond 5.8, for one of eleven.
    others = dict.fromkeys(builders.SCENARIOS, 0.5) | {"FPS_AC_SM": 0.1}
    results = builders.results(accuracy=others, seeds=5, classifiers=ONE, parts=())
    best = [run.accuracy[-1] for run in results.of("FPS_AC_SM", "cnn-a")]
    runs = []
    for run in results.runs:
        if run.arm == "RS_AC_IM":
            end = best[run.seed] - (0.010, 0.020, 0.030, 0.005, 0.035)[run.seed]
            run = dataclasses.replace(run, accuracy=[*run.accuracy[:-1], end])
        runs.append(run)
    assert claim("best", dataclasses.replace(results, runs=runs)).verdict == UNTOLD


def test_total_fitness_goes_with_errors() -> None:
    assert claim("fitness", builders.results()).verdict == SUPPORTED
    against = {name: 1000 * builders.TEXTBOOK[name] for name in builders.SCENARIOS}
    assert claim("fitness", builders.results(fitness=against, spread=0.0001)).verdict == NOT_SUPPORTED
    unrelated = {name: 500.0 + 20 * (index * 5 % 12) for index, name in enumerate(sorted(builders.SCENARIOS))}
    assert claim("fitness", builders.results(fitness=unrelated, classifiers=ONE)).verdict == UNTOLD


def elitism(at_10: float, at_100: float) -> Claim:
    fitness = {"FPS_AC_SM": 650.0, "FPS_AC_SM_elitism": 650.0 + at_10}
    fitness |= {"FPS_AC_SM@100": 800.0, "FPS_AC_SM_elitism@100": 800.0 + at_100}
    results = builders.results(fitness=fitness, parts=("elitism", "generations"), classifiers=ONE)
    return claim("elitism", results)


def test_elitism_adds_little_and_more_later() -> None:
    found = elitism(10, 60)
    assert found.verdict == SUPPORTED
    assert "+10.0" in found.evidence
    assert "+60.0" in found.evidence
    assert elitism(200, 60).verdict == NOT_SUPPORTED  # a third is not little
    assert elitism(10, -60).verdict == NOT_SUPPORTED  # it loses ground
    assert elitism(10, 0).verdict == UNTOLD


def rates(usual: float, best: float, longer: float) -> Claim:
    planted = {"FPS_AC_SM": best}
    for name in claims.NEEDY:
        planted |= {name: usual, f"{name}@p_crossover=0.6,p_mutation=0.5": longer}
        planted |= {f"{name}@p_crossover={c},p_mutation={m}": usual for c, m in ((0.2, 0.1), (0.2, 0.5), (0.6, 0.1))}
    results = builders.results(accuracy=planted, parts=("rates",), classifiers=ONE, seeds=10)
    return claim("rates", results)


def test_more_generations_or_rates_are_needed_where_they_help_those_who_lag() -> None:
    found = rates(usual=0.6, best=0.1, longer=0.05)
    assert found.verdict == SUPPORTED
    assert "p_crossover=0.6" in found.evidence
    assert "\N{MINUS SIGN}0.550" in found.evidence  # highest rates beside the lowest
    assert rates(usual=0.05, best=0.1, longer=0.01).verdict == NOT_SUPPORTED  # ahead already
    assert rates(usual=0.6, best=0.1, longer=0.6).verdict == UNTOLD


def test_a_sweep_without_the_usual_runs_is_judged_by_its_tenth_generation() -> None:
    some = ["FPS_AC_SM", *claims.NEEDY]
    planted = {"FPS_AC_SM": 0.05, "TS_SPC_SM": 0.3, "RS_AC_SM": 0.3}
    results = builders.results(scenarios=some, parts=("sweep",), generations=100, accuracy=planted, classifiers=ONE)
    assert not results.group("scenario")
    assert claim("rates", results).verdict == SUPPORTED
    ahead = {"FPS_AC_SM": 0.5, "TS_SPC_SM": 0.1, "RS_AC_SM": 0.1}
    other = builders.results(scenarios=some, parts=("sweep",), generations=100, accuracy=ahead, classifiers=ONE)
    assert claim("rates", other).verdict == NOT_SUPPORTED


@pytest.mark.parametrize(("end", "verdict"), [(0.01, SUPPORTED), (0.5, NOT_SUPPORTED), (0.09, UNTOLD)])
def test_all_images_against_one_usual_run(end: float, verdict: str) -> None:
    results = builders.results(accuracy={"FPS_AC_SM@all": end}, parts=("all-images",), classifiers=ONE)
    found = claim("all-images", results)
    assert found.verdict == verdict
    assert "10,000 images and 100 generations of FPS_AC_SM" in found.evidence


def test_what_was_not_run_names_the_part_that_runs_it() -> None:
    results = builders.results()
    for key, part in (("elitism", "generations"), ("rates", "rates"), ("all-images", "all-images")):
        found = claim(key, results)
        assert found.verdict == NOT_RUN
        assert f"--parts scenarios,controls,{part} -o DIR" in found.evidence
    assert "elitism adds" in claim("elitism", results).evidence  # the half that was run is told


def test_nothing_at_all_is_not_run() -> None:
    results = builders.results(scenarios=[], parts=())
    assert {found.verdict for found in claims.claims(results)} == {NOT_RUN}


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("evofool study operators --parts a,b -o X", "evofool study operators --parts a,b,rates -o X"),
        ("evofool study operators -o X", "evofool study operators --parts a,b,rates -o X"),
        ("evofool study operators", "evofool study operators --parts a,b,rates"),
    ],
)
def test_parts_are_added_to_the_command(command: str, expected: str) -> None:
    results = dataclasses.replace(
        builders.results(seeds=1, classifiers=ONE), command=command, config={"parts": ["a", "b"]}
    )
    assert claims.with_part(results, "rates") == expected
