"""Drawing, on small networks whose answers anyone can work out: presets, goals, lambda, regions, budgets, kills."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import ink_nets
from evofool import load_classifier, objectives, regions
from evofool.algorithms.adaptive_penalty import AdaptivePenalty
from evofool.algorithms.ga import GeneticAlgorithm
from evofool.classifiers import fake
from evofool.contracts import Evaluated
from evofool.errors import ClassifierError, SpecError, UserError
from evofool.files import read_png, write_png
from evofool.rundir import NO_LABEL, RunDirectory
from evofool.spec import op
from evofool.studies.draw import drawing, planning, record, run
from evofool.studies.draw.planning import Config
from evofool.studies.draw.results import Drawn, load

EDGES = Config(
    classifier="ink_nets:edges",
    target="cat",
    options={"trust_code": True},
    runs=3,
    population=10,
    generations=30,
)
MODULE = {"trust_code": True, "image_shape": "1x10x10", "class_names": "cat,not_cat"}


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    ink_nets.SEEN.clear()


def config(net: str = "edges", **changes: Any) -> Config:
    return dataclasses.replace(EDGES, classifier=f"ink_nets:{net}", **changes)


def drawn(net: str = "edges", **changes: Any) -> run.Outcome:
    return run.execute(planning.plan(config(net, **changes)), workers=1, command="evofool draw ...")


def in_directory(path: Path, chosen: Config, *, workers: int = 1, on_tick: Callable[[int], None] | None = None) -> str:
    """Draw, write everything, and give the bytes of study.json."""
    plan = planning.plan(chosen)
    with RunDirectory.create(path, run.head(plan, "evofool draw ...")) as directory:
        run.keep(
            run.execute(plan, workers=workers, command="evofool draw ...", directory=directory, on_tick=on_tick),
            directory,
        )
    return (path / "study.json").read_text()


def resumed(path: Path) -> str:
    plan, directory = run.reopen(path, trust_code=True)
    with directory:
        run.keep(run.execute(plan, workers=1, command="evofool draw ...", directory=directory), directory)
    return (path / "study.json").read_text()


def issued(outcome: run.Outcome) -> dict[int, int]:
    """Queries of each run, by seed."""
    return {
        run_.seed: outcome.results.ledger["searches"][f"draw/{run_.classifier}/{run_.seed}"]["issued"]
        for run_ in outcome.results.runs
    }


def without_ledger(text: str) -> dict[str, Any]:
    whole = json.loads(text)
    del whole["ledger"]
    return whole


def probability(net: str, image: torch.Tensor, target: int = 0) -> float:
    classifier = load_classifier(f"ink_nets:{net}", {"trust_code": True})
    return float(objectives.probabilities(classifier(image), classifier.info)[0, target])


def generations_seen(population: int = 10) -> list[torch.Tensor]:
    """The masks that `seen` was shown, by generation: the first call is the blank canvas."""
    assert all(len(call) == population for call in ink_nets.SEEN), "calls are no generations"
    assert not ink_nets.SEEN[0].any(), "the first call is not the blank canvas"
    return [call[:, 0] > 0.5 for call in ink_nets.SEEN[1:]]


# ---- the question's setting


def test_the_question_is_asked_as_it_was() -> None:
    for name, crossing in (
        ("rectangle", "crossover.rectangle"), ("columns", "crossover.columns"), ("list", "crossover.list_exchange")
    ):  # fmt: skip
        made = drawing.settings(preset="question", crossover=name)
        algorithm = made.algorithm
        assert isinstance(algorithm, GeneticAlgorithm)
        assert algorithm.crossover == op(crossing)
        assert (algorithm.p_crossover, made.population, made.canvas, made.ink) == (0.8, 100, (1.0,), (0.0,))
        assert algorithm.mutation == op("mutation.add_ink", rate=0.015) and algorithm.p_mutation == 1.0
        assert algorithm.selection == op("selection.tournament", size=2) and algorithm.elites == 1
        assert made.objective == op("objectives.cross_entropy", weight=0.001) and not made.stop
        assert made.criterion == op("criteria.confident", probability=0.96)
    other = drawing.settings(preset="question", mutation="per-image").algorithm
    assert isinstance(other, GeneticAlgorithm)
    assert other.mutation == op("mutation.add_pixel") and other.p_mutation == 0.015


def test_the_first_population_has_one_random_pixel_each() -> None:
    drawn("seen_flat", preset="question", population=2000, generations=0, runs=1, cache=False)
    masks = ink_nets.SEEN[1][:, 0] > 0.5
    assert len(ink_nets.SEEN) == 2 and len(masks) == 2000
    assert masks.flatten(1).sum(1).eq(1).all()
    assert len(masks.flatten(1).int().argmax(1).unique()) == 100, "some places are never drawn"


def test_the_two_readings_of_the_mutation_rate() -> None:
    """A child that is not crossed has one parent of one pixel: what it has besides is its mutation."""
    more = {}
    for mutation in ("per-gene", "per-image"):
        ink_nets.SEEN.clear()
        drawn(
            "seen_flat", preset="question", mutation=mutation, population=2000, generations=1, runs=1, cache=False,
            p_crossover=0.0,
        )  # fmt: skip
        more[mutation] = (ink_nets.SEEN[2][:, 0] > 0.5).flatten(1).sum(1)[:1999].double() - 1
    # 99 genes of 1,999 children, each at 0.015: 1.485 a child; the mean has a standard deviation of 0.027.
    assert float(more["per-gene"].mean()) == pytest.approx(99 * 0.015, abs=0.12)
    assert float(more["per-gene"].var()) == pytest.approx(99 * 0.015 * 0.985, rel=0.2)  # each by itself
    assert more["per-image"].max() == 1, "more than one pixel is added"
    assert 10 <= int(more["per-image"].sum()) <= 52  # 30 expected of 1,999, and a deviation of 5.4


def test_four_of_five_matings_are_crossed() -> None:
    drawn(
        "seen_flat", preset="question", crossover="union", population=2000, generations=1, runs=1, cache=False,
        p_mutation=0.0,
    )  # fmt: skip
    ink = (ink_nets.SEEN[2][:, 0] > 0.5).flatten(1).sum(1)[:1999]
    # Of two parents one in a hundred has the same pixel.
    assert float((ink == 2).double().mean()) == pytest.approx(0.8 * 0.99, abs=0.04)
    assert ink.min() == 1 and ink.max() == 2


@pytest.mark.parametrize(
    ("mutation", "adds"), [("per-gene", True), ("per-image", True), ("redraw", False), ("clamped", False)]
)
def test_ink_goes_only_by_crossover(mutation: str, adds: bool) -> None:
    drawn("seen", preset="question", mutation=mutation, p_crossover=0.0, p_mutation=1.0, weight="0", generations=12,
          runs=1, cache=False, shrink=False)  # fmt: skip
    masks = [generation.flatten(1) for generation in generations_seen()]
    assert len(masks) == 13
    value = ink_nets.worth().flatten()
    lost, parents = 0, masks[0]
    for children in masks[1:]:
        from_one = (parents[None] & ~children[:9, None]).any(2).logical_not().any(1)
        lost += int((~from_one).sum())
        elite = max(parents.split(1), key=lambda mask: float((mask * value).sum()))
        parents = torch.cat([children[:9], elite])
    assert (lost == 0) is adds, f"{lost} children have lost ink of any parent that they could have had"
    assert masks[-1].sum() > masks[0].sum() or not adds


def test_the_question_runs_every_generation_and_the_economical_way_ends_at_the_goal_with_less() -> None:
    asked, saving = (drawn(preset=preset) for preset in ("question", "economical"))
    spent, saved = issued(asked), issued(saving)
    for one, other in zip(asked.results.runs, saving.results.runs, strict=True):
        assert one.reached is not None and one.reached < 30 and one.ended is None and one.generations[-1] == 30
        assert other.reached is not None and other.ended == other.reached == other.generations[-1] < 30
        assert saved[other.seed] < spent[one.seed]
        assert other.final.ink <= one.final.ink
        assert other.queries <= saved[other.seed] and other.shrunk is not None
        assert saved[other.seed] == other.queries + other.shrunk.queries


def test_the_goal_counts_from_the_first_generation_that_has_it() -> None:
    """Generation by generation, from what the network was shown: reached, queries, ended."""
    found = drawn("seen", runs=1, cache=False, shrink=False, stop=True).results.runs[0]
    masks = generations_seen()
    confident = [
        any(probability("edges", m[None, None].float()) >= 0.96 for m in generation) for generation in masks
    ]  # fmt: skip
    assert found.reached == confident.index(True) == len(masks) - 1 == found.ended
    # The last row of a call of children fills it up: the elite is not asked again.
    assert found.queries == 10 + 9 * found.reached


# ---- goals


def test_confidence_is_that_of_the_file_in_the_run_directory(tmp_path: Path) -> None:
    in_directory(tmp_path / "run", config())
    results = load(tmp_path / "run" / "study.json")
    lines = [json.loads(line) for line in (tmp_path / "run" / "findings.jsonl").read_text().splitlines()]
    assert len(lines) == 3 and [line["seed"] for line in lines] == [0, 1, 2]
    for line, run_ in zip(lines, results.runs, strict=True):
        image = read_png(tmp_path / "run" / line["file"])[None].float() / 255
        assert probability("edges", image) == pytest.approx(line["confidence"], abs=2e-6)
        assert line["confidence"] == run_.final.confidence >= 0.96
        assert (line["label"], line["prediction"]) == (NO_LABEL, 0)
        assert image.flatten().nonzero().flatten().tolist() == run_.final.places
        assert len(image.unique()) == 2, "a gray level that is neither ink nor canvas"
        # What is left is needed: without any one of its pixels the goal is missed.
        assert run_.shrunk is not None and run_.shrunk.minimal == 2
        for place in run_.final.places:
            less = image.clone()
            less.view(-1)[place] = 0
            assert probability("edges", less) < 0.96


def test_at_the_boundary_two_classes_tie(tmp_path: Path) -> None:
    in_directory(tmp_path / "run", config(goal="boundary", generations=60))
    lines = [json.loads(line) for line in (tmp_path / "run" / "findings.jsonl").read_text().splitlines()]
    assert len(lines) == 3
    for line in lines:
        p = probability("edges", read_png(tmp_path / "run" / line["file"])[None].float() / 255)
        assert abs(p - 0.5) <= 0.01
    wide = drawn(goal="boundary", within=0.2).results.runs
    assert all(abs(run_.final.confidence - 0.5) <= 0.2 for run_ in wide)
    assert any(abs(run_.final.confidence - 0.5) > 0.01 for run_ in wide), "`within` is not heeded"


def test_a_front_is_not_dominated_and_its_volume_is_right() -> None:
    runs = drawn(goal="front", generations=60).results.runs
    for run_ in runs:
        assert len(run_.front) >= 5
        for one in run_.front:
            assert one.confidence == pytest.approx(
                probability("edges", picture_of(one.places)), abs=2e-6
            )  # fmt: skip
            for other in run_.front:
                if other is not one:
                    assert other.ink > one.ink or other.confidence < one.confidence
        assert [each.ink for each in run_.front] == sorted(each.ink for each in run_.front)
        best_of = [max((each.confidence for each in run_.front if each.ink <= ink), default=0.0) for ink in range(64)]
        assert run_.hypervolume[-1] == pytest.approx(sum(best_of) / 64, abs=1e-5)
        assert len(run_.hypervolume) == len(run_.generations)
        assert run_.hypervolume[-1] > run_.hypervolume[0] > 0
        assert run_.ended is None, "a front has no end but the last generation"


def picture_of(places: list[int]) -> torch.Tensor:
    image = torch.zeros(1, *ink_nets.SHAPE)
    image.view(-1)[places] = 1.0
    return image


def test_a_front_rounded_to_equals_names_the_smaller() -> None:
    """Confidences of 1 - 1e-8 and 1 - 1e-9 are both told as 1."""
    found = drawn(goal="front", generations=120, runs=2, population=20).results.runs
    for run_ in found:
        confidences = [each.confidence for each in run_.front]
        assert len(set(confidences)) == len(confidences)
    assert any(each.confidence > 0.999998 for run_ in found for each in run_.front), "nothing comes near to 1"


# ---- lambda


def test_lambda_of_nothing_much_and_more() -> None:
    ink = {}
    for weight in ("0", "0.001", "0.5", "1e6"):
        runs = drawn("hopeless", preset="question", weight=weight).results.runs
        assert all(run_.reached is None for run_ in runs), "of what reaches the goal the fittest is told, not of all"
        ink[weight] = sum(run_.best.ink for run_ in runs)
    assert ink["0"] >= ink["0.001"] > ink["0.5"] >= ink["1e6"]
    assert ink["1e6"] == 3, "with a huge lambda one pixel is left for each run"
    huge = drawn(weight="1e6", shrink=False, generations=60, confidence=0.9999999)
    assert all(run_.best.ink == 0 for run_ in huge.results.runs), "where ink can go, none is left"
    assert not huge.findings


def test_lambda_on_schedule() -> None:
    runs = drawn(weight="0@0,0.1@10,0.1@20,0@30", stop=False).results.runs
    for run_ in runs:
        told = dict(zip(run_.generations, run_.weight, strict=True))
        # Parents of the next generation are chosen by the lambda of that one.
        for generation, expected in ((0, 0.01), (4, 0.05), (9, 0.1), (15, 0.1), (24, 0.05), (29, 0.0), (30, 0.0)):
            assert told[generation] == pytest.approx(expected, rel=1e-3), generation


def test_lambda_goes_on_when_the_region_changes() -> None:
    runs = drawn(weight="0@0,0.3@30", stop=False, region=("center:0.5@0-9", "border:2@10-")).results.runs
    for run_ in runs:
        told = dict(zip(run_.generations, run_.weight, strict=True))
        assert [told[g] for g in (0, 8, 9, 10, 20)] == pytest.approx([0.01, 0.09, 0.1, 0.11, 0.21], rel=1e-3)


def test_lambda_that_adapts_goes_on_when_the_region_changes() -> None:
    for run_ in drawn("hopeless", region=("center:0.5@0-9", "border:2@10-"), generations=14).results.runs:
        told = dict(zip(run_.generations, run_.weight, strict=True))
        assert [told[g] for g in range(8, 13)] == pytest.approx([0.01 / 1.1 ** (g + 1) for g in range(8, 13)], rel=1e-3)


def test_lambda_that_adapts_rises_with_success_and_falls_without() -> None:
    for run_ in drawn(stop=False, generations=40).results.runs:
        assert run_.reached is not None and 0 < run_.reached < 20
        before = 0.01
        for generation, weight in zip(run_.generations, run_.weight, strict=True):
            assert weight == pytest.approx(before * (1.1 if generation >= run_.reached else 1 / 1.1), rel=2e-3)
            if generation > run_.reached + 3:
                break  # success may be lost again, as it should
            before = weight
        low = min(ink for ink, sure in zip(run_.ink, run_.confidence, strict=True) if sure >= 0.96)
        assert low <= run_.ink[run_.reached], "ink did not get less under a lambda that adapts"


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        ("-1", "a negative one would reward ink"),
        ("-1e-9", "a negative one would reward ink"),
        ("0@0,-1@5", "a negative one would reward ink"),
        ("nan", "expected 0 or more"),
        ("inf", "expected 0 or more"),
        ("much", "expected a number, 'adapt', or a schedule"),
        ("0.1@", "expected a number, 'adapt', or a schedule"),
        ("0.1@5,0.2@5", "5 follows 5"),
        ("1e@3", "expected a number, 'adapt', or a schedule"),
    ],
)
def test_a_lambda_that_is_none_is_refused(weight: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        drawing.settings(weight=weight)
    assert words in str(caught.value)
    for goal, measure in (("boundary", "cross-entropy"), ("confidence", "margin")):
        with pytest.raises(SpecError):
            drawing.settings(weight=weight, goal=goal, measure=measure)  # type: ignore[arg-type]


def test_what_adapts_needs_a_measure_of_its_own() -> None:
    for weight in ("adapt", "0@0,0.1@5"):
        with pytest.raises(SpecError, match="expected a number"):
            drawing.settings(weight=weight, goal="boundary")
    assert isinstance(drawing.settings(weight="adapt", preset="question").algorithm, AdaptivePenalty)


# ---- classes


def test_one_digit_of_ten() -> None:
    outcome = run.execute(
        planning.plan(Config("digits", "7", runs=2, population=20, generations=60, confidence=0.9)), workers=1
    )
    classifier = load_classifier("digits")
    assert len(outcome.findings) == 2, "no seven was drawn"
    for finding in outcome.findings:
        scores = classifier(outcome.pictures[finding.file][None].float() / 255)
        assert int(scores.argmax()) == finding.prediction == 7
        assert float(scores.softmax(1)[0, 7]) >= 0.9
    assert outcome.results.arms[0].canvas == (0.0,) and outcome.results.arms[0].ink == (1.0,)


def test_class_0_of_a_single_sigmoid_is_drawn_as_with_two_logits() -> None:
    """p is that of class 1: binary cross-entropy to class 0 is -log(1 - p)."""
    two = drawn("small", options=MODULE).results.runs
    one = drawn("sigmoid", options={**MODULE, "kind": "probabilities"}).results.runs
    # Logits are rounded otherwise than probabilities, so that of equals another one may be chosen.
    for run_, other in zip(one, two, strict=True):
        assert run_.confidence[0] == pytest.approx(other.confidence[0], abs=2e-6)
        assert run_.final.ink == other.final.ink
    classifier = load_classifier("ink_nets:sigmoid", {**MODULE, "kind": "probabilities"})
    for run_ in one:
        assert run_.reached is not None and run_.final.prediction == 0
        p = float(classifier(picture_of(run_.final.places))[0, 1])
        assert 1 - p >= 0.96 and p < 0.5
    other = drawn("sigmoid", options={**MODULE, "kind": "probabilities"}, target="not_cat").results
    assert other.target == 1 and all(run_.final.ink == 0 for run_ in other.runs), "blank is not_cat already"


def test_a_target_by_number_is_that_by_name() -> None:
    by_name, by_number = (drawn(target=target).results for target in ("not_cat", "1"))
    assert by_name.runs == by_number.runs and by_name.target == 1


# ---- regions


def test_no_ink_lies_outside_its_region_and_it_opens_when_it_is_said() -> None:
    drawn("seen", region=("center:0.5@0-9",), preset="question", runs=1, generations=20, cache=False, shrink=False)
    masks = generations_seen()
    center = regions.mask("center:0.5", 10, 10)
    assert len(masks) == 21
    outside = [int((generation & ~center).sum()) for generation in masks]
    assert outside[:10] == [0] * 10, "ink outside of the region in its generations"
    assert outside[10] > 0, "the region still holds after its last generation"
    assert all(generation.flatten(1).any(1).all() for generation in masks)
    assert int((masks[9] & center).sum()) > 10, "nothing was drawn inside"


def test_a_region_that_gets_narrower_takes_ink_away_and_asks_again() -> None:
    drawn("seen", region=("not:center:0.5@0-5", "center:0.7@6-9", "border:2@10-"), preset="question", runs=1,
          generations=14, cache=False, shrink=False)  # fmt: skip
    masks = generations_seen()
    spans = {"not:center:0.5": masks[:6], "center:0.7": masks[6:10], "border:2": masks[10:]}
    for region, generations in spans.items():
        assert not any((each & ~regions.mask(region, 10, 10)).any() for each in generations), region
    inside = regions.mask("center:0.7", 10, 10)
    # Generation 6 is the population of generation 5, elite included, less its ink outside: no children.
    children = masks[5][:9] & inside
    for child in children:
        assert (masks[6] == child).flatten(1).all(1).any()
    assert len(masks) == 15


def test_runs_that_ended_stay_as_they_are_when_the_region_gets_narrower() -> None:
    """Two confidences, so that some runs end in the first phase and others never do."""
    phases = {"region": ("everywhere@0-5", "center:0.5@6-"), "generations": 25, "confidence": 0.975, "runs": 6}
    runs = drawn(**phases).results.runs
    early = [run_ for run_ in runs if run_.ended is not None and run_.ended <= 5]
    late = [run_ for run_ in runs if run_.ended is None or run_.ended > 5]
    assert early and late, "all runs ended in one phase"
    alone = drawn(**phases, side_by_side=1).results.runs
    assert alone == runs
    for run_ in early:
        assert run_.final.confidence >= 0.975 and run_.ended == run_.reached
    center = regions.mask("center:0.5", 10, 10).flatten()
    for run_ in late:
        assert center[run_.best.places].all(), "ink outside of the last region"
        assert run_.ended is None or run_.ended == run_.reached


def test_a_budget_may_end_where_a_region_begins() -> None:
    for budget in range(50, 75):
        runs = drawn(region=("everywhere@0-5", "center:0.5@6-"), budget=budget, stop=False, runs=2, cache=False).results
        for run_ in runs.runs:
            # Generation 6 asks about all again, the elite with them.
            assert run_.ended == (min(5, (budget - 10) // 9) if budget < 65 else 6 + (budget - 65) // 9)


# ---- odd canvases


def test_a_blank_canvas_that_is_the_class_already_needs_no_ink() -> None:
    for preset in ("economical", "question"):
        outcome = drawn("already", preset=preset, shrink=True)
        assert outcome.results.blank.prediction == 0 and outcome.results.blank.confidence > 0.96
        for run_ in outcome.results.runs:
            assert run_.reached == 0 and run_.final.places == []
            assert run_.shrunk is not None and run_.shrunk.words.startswith("2-minimal, 0 pixels")
        assert all(not picture.any() for picture in outcome.pictures.values()) and len(outcome.findings) == 3


def test_what_is_never_reached_leaves_the_best_attempt_and_no_finding() -> None:
    for goal in ("confidence", "front"):
        outcome = drawn("hopeless", goal=goal)
        assert not outcome.findings and not outcome.pictures
        for run_ in outcome.results.runs:
            assert run_.reached is None and run_.ended is None and run_.shrunk is None and run_.best.prediction == 1
            assert run_.queries == issued(outcome)[run_.seed]
            assert goal == "front" or run_.best.ink > 5, "the best attempt is not the best"


def test_colours() -> None:
    outcome = drawn("colour", canvas=(0.2, 0.0, 1.0), ink=(1.0,))
    assert outcome.results.arms[0].ink == (1.0, 1.0, 1.0) and outcome.findings
    for picture in outcome.pictures.values():
        levels = {tuple(pixel) for pixel in picture.flatten(1).T.tolist()}
        assert levels == {(51, 0, 255), (255, 255, 255)}
    with pytest.raises(SpecError, match="3 channels"):
        planning.plan(config("colour", canvas=(0.0, 1.0), ink=(1.0, 0.0)))


def test_another_size_is_brought_to_that_of_the_network() -> None:
    outcome = drawn("edges", size=(20, 30), generations=60)
    assert {tuple(picture.shape) for picture in outcome.pictures.values()} == {(1, 20, 30)}
    assert outcome.results.arms[0].size == (20, 30) and "antialias" in outcome.results.classifier["variant"]


# ---- the same, whatever the company


LONG = config(generations=70, confidence=0.985, runs=8, weight="0.8")


@pytest.fixture(scope="module")
def whole() -> run.Outcome:
    return run.execute(planning.plan(LONG), workers=1, command="evofool draw ...")


def test_some_runs_end_before_others(whole: run.Outcome) -> None:
    """The precondition of what follows: who stands beside a run changes, and there are gaps between measurements."""
    ends = [run_.ended for run_ in whole.results.runs]
    assert ends == [run_.reached for run_ in whole.results.runs]
    assert any(end and end < 40 for end in ends) and None in ends, ends
    assert any(end and end not in record.measured_at(70) for end in ends), "no run ends between two measurements"


def test_a_run_that_the_budget_ends_between_two_measurements_is_told_to_its_end() -> None:
    poor = dataclasses.replace(LONG, budget=235)
    together, alone = (
        run.execute(planning.plan(dataclasses.replace(poor, side_by_side=count)), workers=1).results.runs
        for count in (8, 1)
    )
    assert alone == together
    stopped = [run_ for run_ in alone if run_.reached is None and run_.ended not in record.measured_at(70)]
    assert stopped, "the budget ends every run at a measurement"
    last = stopped[0]
    assert last.ended is not None
    assert last.generations == [*(g for g in record.measured_at(70) if g < last.ended), last.ended]
    assert last.confidence[-1] == last.best.confidence and last.strip[-1] == (last.ended, last.best)


def test_workers_and_company_change_no_byte(whole: run.Outcome) -> None:
    for changes, workers in (({"side_by_side": 1}, 1), ({"side_by_side": 10}, 1), ({"side_by_side": 3}, 2)):
        plan = planning.plan(dataclasses.replace(LONG, **changes))
        other = run.execute(plan, workers=workers, command="evofool draw ...").results
        padded = {"padded": whole.results.ledger["padded"]}  # how full the last calls are
        assert dataclasses.replace(other, ledger={**other.ledger, **padded}).to_json() == whole.results.to_json()


def test_a_run_directory_changes_no_byte(whole: run.Outcome, tmp_path: Path) -> None:
    assert in_directory(tmp_path / "run", LONG) == whole.results.to_json()
    read = load(tmp_path / "run" / "study.json")
    assert read.runs == whole.results.runs and read.arms == whole.results.arms and read.blank == whole.results.blank
    assert read.to_json() == whole.results.to_json()


def test_a_run_is_the_same_without_the_others(whole: run.Outcome) -> None:
    alone = run.execute(planning.plan(dataclasses.replace(LONG, runs=1)), workers=1).results.runs
    assert alone == whole.results.runs[:1]


def test_without_a_cache_more_is_asked_and_the_same_is_drawn() -> None:
    one, other = drawn(preset="question"), drawn(preset="question", cache=False)
    strip = [[(run_.best, run_.reached, run_.strip) for run_ in outcome.results.runs] for outcome in (one, other)]
    assert strip[0] == strip[1]
    assert all(issued(other)[seed] > issued(one)[seed] for seed in range(3))
    repeated = [outcome.results.queries(of="repeated") for outcome in (one, other)]
    assert repeated[0] > 0 == repeated[1]


# ---- kills


def until_killed(calls: int, path: Path, chosen: Config) -> None:
    """Draw in a process that is killed, with no chance to clean up, when the network is called so many times."""
    begun = path.exists()
    child = os.fork()
    if not child:
        try:
            ink_nets.LEFT[0] = calls
            if begun:
                resumed(path)
            else:
                in_directory(path, chosen)
        finally:
            os._exit(7)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, "it came to its end before"


DEADLY = config("deadly", generations=16, budget=120, confirm=1, stop=False, confidence=0.9,
                region=("everywhere@0-5", "center:0.7@6-"))  # fmt: skip


def test_killed_anywhere_and_resumed_it_draws_the_same(tmp_path: Path) -> None:
    whole = without_ledger(in_directory(tmp_path / "whole", dataclasses.replace(DEADLY, budget=10_000)))
    assert all(run_["confirmed"] for run_ in whole["runs"]), "nothing is confirmed"
    for calls in (0, 1, 6, 17, 19, 20, 34, 44):
        path = tmp_path / f"killed after {calls}"
        until_killed(calls, path, dataclasses.replace(DEADLY, budget=10_000))
        text = resumed(path)
        assert without_ledger(text) == whole, calls
        assert json.loads(text)["ledger"]["kills"] == 1
        for finding in (tmp_path / "whole" / "images").iterdir():
            assert (path / "images" / finding.name).read_bytes() == finding.read_bytes()


def test_a_mask_that_has_changed_is_not_gone_on_with(tmp_path: Path) -> None:
    def masked(rows: int) -> None:
        levels = torch.zeros(1, 10, 10, dtype=torch.uint8)
        levels[:, :rows] = 255
        write_png(tmp_path / "mask.png", levels)
        regions.mask.cache_clear()

    masked(3)
    chosen = dataclasses.replace(DEADLY, region=(f"mask:{tmp_path / 'mask.png'}@0-8",), budget=None)
    until_killed(6, tmp_path / "run", chosen)
    masked(4)
    with pytest.raises(UserError, match=r"changed since the run began: the images of mask:.*mask\.png"):
        run.reopen(tmp_path / "run", trust_code=True)
    masked(3)
    places = [run_["strip"][1][1]["places"] for run_ in json.loads(resumed(tmp_path / "run"))["runs"]]
    assert len(places) == 3 and all(place < 30 for each in places for place in each)


def test_killed_again_and_again_it_keeps_to_its_budget(tmp_path: Path) -> None:
    path, kills = tmp_path / "run", 0
    for calls in (2, 3, 5, 4):
        until_killed(calls, path, DEADLY)
        kills += 1
    ledger = json.loads(resumed(path))["ledger"]
    assert ledger["kills"] == kills
    counts = [count for name, count in ledger["searches"].items() if name.startswith("draw/")]
    assert len(counts) == 3 and sum(count["lost"] for count in counts) > 0, "no query was lost"
    assert all(count["issued"] <= 120 for count in counts)


# ---- budgets


@pytest.mark.parametrize("confirm", [0, 2])
def test_no_budget_is_exceeded_however_small(confirm: int) -> None:
    spent, shown, ended = set(), set(), set()
    for budget in (*range(confirm + 1, 30), *range(30, 80, 3)):
        outcome = drawn(budget=budget, confirm=confirm, runs=2, confidence=0.97)
        for seed, count in issued(outcome).items():
            assert count <= budget
            spent.add(budget - count)
            run_ = outcome.results.runs[seed]
            ended.add(run_.ended)
            assert len(run_.generations) == len(run_.confidence) == len(run_.ink) == len(run_.steps)
            assert run_.generations[-1] == run_.ended
            if run_.shrunk:
                shown.add(run_.shrunk.minimal)
                assert run_.shrunk.minimal or "the budget ended" in run_.shrunk.words
        assert all(finding.confirmed == confirm for finding in outcome.findings)
        # What it takes to confirm is set aside.
        assert len(outcome.findings) == sum(run_.shrunk is not None for run_ in outcome.results.runs)
    assert {0} < spent and shown == {0, 1, 2} and {0, 1} < ended, "the budgets do not end what they should"


def test_equal_shares_of_a_budget_for_all() -> None:
    outcome = drawn(total_budget=100, stop=False)
    assert set(issued(outcome).values()) == {33}
    assert set(issued(drawn(total_budget=100, budget=20, stop=False)).values()) == {20}


def test_a_drawing_that_does_not_convince_again_is_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that answers otherwise when it is asked a second time about the same image."""

    class Fickle(fake.Linear):
        def __call__(self, images: torch.Tensor) -> torch.Tensor:
            scores = super().__call__(images)
            for row, image in enumerate(images):
                key = image.numpy().tobytes()
                scores[row, 0] -= 50.0 * (key in known)
                known.add(key)
            return scores

    known: set[bytes] = set()
    weights = torch.stack([ink_nets.worth(), torch.zeros(10, 10)])[:, None]
    fickle = Fickle(weights, torch.tensor([-3.0, 0.0]), class_names=ink_nets.NAMES, micro_batch=1)
    monkeypatch.setattr(ink_nets, "edges", lambda: fickle)
    run.classifier_of.__globals__["_loaded"].cache_clear()
    try:
        once = drawn(confirm=0, runs=2)
        known.clear()
        twice = drawn(confirm=1, runs=2)
    finally:
        run.classifier_of.__globals__["_loaded"].cache_clear()
    assert len(once.findings) == 2 and not twice.findings
    assert [run_.confirmed for run_ in twice.results.runs] == [0, 0]
    assert all(run_.reached is not None for run_ in twice.results.runs)


# ---- when to measure


def test_curves_and_strips_have_their_generations() -> None:
    assert record.measured_at(0) == [0] and record.shown_at(0) == [0]
    assert record.measured_at(3) == [0, 1, 2, 3]
    assert record.measured_at(60) == [*range(40), 40, 42, 44, 46, 48, 50, 52, 54, 56, 58, 60]
    assert record.shown_at(100) == [0, 1, 2, 5, 10, 20, 50, 100]
    assert len(record.measured_at(3400)) < 200
    for last in (7, 55, 3400):
        assert record.measured_at(last)[-1] == last == record.shown_at(last)[-1]
    strip = drawn(preset="question", runs=1).results.runs[0].strip
    assert [generation for generation, _ in strip] == [0, 1, 2, 5, 10, 20, 30]


def test_mean_steps_by_hand() -> None:
    masks = torch.zeros(1, 3, 5, 5, dtype=torch.bool)
    masks[0, 0, 0, 0] = masks[0, 0, 2, 2] = True  # 0 and 2 steps from the border
    masks[0, 1, 1, 3] = True  # 1 step; the third has no ink
    assert record.mean_steps(masks).tolist() == [1.0]
    assert record.mean_steps(masks[:, 2:]).isnan().all()


def test_the_best_is_the_fittest_of_those_that_reach_the_goal() -> None:
    """By hand: a member that reaches the goal with more loss is before one that does not."""
    plan = planning.plan(config(preset="question"))
    shard = plan.shards[0]
    judge = record.Judge(shard.drawing, shard.target, shard.load().info)
    state = shard.drawing.algorithm.init(torch.zeros(1, 3, 10, 10, dtype=torch.bool))
    scores = torch.tensor([[[2.0, 0.0], [4.0, 0.0], [float("nan")] * 2]])
    state = dataclasses.replace(state, scores=scores, fitness=torch.tensor([[0.1, 0.2, float("nan")]]))
    assert judge.best(state).tolist() == [1]
    assert judge.best(dataclasses.replace(state, scores=scores.clamp(max=2.0))).tolist() == [0]
    assert judge.confidence(scores).tolist()[0][2] == 0.0
    assert not bool(judge.reaches(scores, state.genomes)[0, 2])


# ---- planning


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"target": "cta"}, SpecError, "did you mean 'cat'"),
        ({"target": "2"}, SpecError, "no such class"),
        ({"target": ""}, SpecError, "no such class"),
        ({"classifier": "digits", "options": {}, "target": "10"}, SpecError, "a number from 0 to 9"),
        ({"classifier": "ink_nets:nameless", "target": "cat"}, SpecError, "gives its 2 classes no names"),
        ({"region": ("middle:0.5",)}, SpecError, "expected everywhere, center:0.5"),
        ({"region": ("ring:8-9",)}, SpecError, "has no pixel"),
        ({"region": ("not:everywhere@0-3",)}, SpecError, "has no pixel"),
        ({"region": ("box:5,5,6,6",)}, SpecError, "reaches row 11"),
        ({"region": ("mask:nowhere.png",)}, SpecError, "No such file"),
        ({"region": ("border:2@5-9",)}, SpecError, "begins in generation 5; expected 0"),
        ({"weight": "-0.1"}, SpecError, "negative"),
        ({"weight": "little"}, SpecError, "expected a number"),
        ({"canvas": (0.5,), "ink": (0.5,)}, SpecError, "expected two that can be told apart"),
        ({"canvas": (0.5,), "ink": (0.5005,)}, SpecError, "expected two that can be told apart"),
        ({"canvas": (1.5,)}, SpecError, "from 0 (black) to 1 (white)"),
        ({"canvas": (0.0, 1.0)}, SpecError, "1 channels"),
        ({"confidence": 0.0}, SpecError, "confidence = 0"),
        ({"confidence": 1.0}, SpecError, "confidence = 1"),
        ({"confidence": 1.5}, SpecError, "confidence = 1.5"),
        ({"confidence": float("nan")}, SpecError, "confidence = nan"),
        ({"within": 0.5}, SpecError, "within = 0.5"),
        ({"runs": 0}, SpecError, "runs = 0"),
        ({"generations": -1}, SpecError, "generations = -1"),
        ({"population": 1}, SpecError, "population = 1"),
        ({"preset": "econmical"}, SpecError, "did you mean 'economical'"),
        ({"crossover": "rectangel"}, SpecError, "did you mean 'rectangle'"),
        ({"mutation": "per-gen"}, SpecError, "did you mean 'per-gene'"),
        ({"p_crossover": 1.5}, SpecError, "p_crossover"),
        ({"p_mutation": -0.1}, SpecError, "p_mutation"),
        ({"budget": 0}, SpecError, "a budget of 0 queries"),
        ({"budget": -5}, SpecError, "a budget of -5 queries"),
        ({"total_budget": 2}, SpecError, "a budget of 0 queries for each of 3 runs"),
        ({"budget": 2, "confirm": 2}, SpecError, "2 of them set aside to confirm"),
        ({"confirm": -1}, SpecError, "confirm = -1"),
        ({"classifier": "digist", "options": {}}, ClassifierError, "did you mean 'digits'"),
        ({"classifier": "digits", "options": {"kind": "logits"}, "target": "7"}, ClassifierError, "leave it out"),
        ({"size": (1, 1), "crossover": "single-point"}, SpecError, "size = 1 x 1"),
    ],
)
def test_wrong_settings_are_refused_before_anything_runs(changes: dict[str, Any], error: type, words: str) -> None:
    with pytest.raises(error) as caught:
        planning.plan(dataclasses.replace(EDGES, **changes))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_plan_says_how_much_there_is() -> None:
    plan = planning.plan(EDGES)
    assert plan.evaluations == plan.queries - 1 == 3 * 31 * 10  # one is of the blank canvas
    assert planning.plan(config(budget=40)).queries == 3 * 40 + 1
    assert [len(shard.seeds) for shard in planning.plan(config(side_by_side=2)).shards] == [2, 1]


def test_the_objective_is_of_the_wanted_class() -> None:
    """-log p + lambda * ink, by hand from what was answered."""
    runs = drawn(preset="question", weight="0.25", generations=5, shrink=False).results.runs
    for run_ in runs:
        for sure, ink, fitness in zip(run_.confidence, run_.ink, run_.fitness, strict=True):
            assert fitness == pytest.approx(-torch.tensor(sure).double().log().item() + 0.25 * ink, abs=1e-4)
    scores = torch.tensor([[[1.0, -1.0]]])
    masks = torch.ones(1, 1, 2, 2, dtype=torch.bool)
    evaluated = Evaluated(masks, masks, None, scores, torch.tensor([[0]]), torch.tensor([[0]]))
    margin = drawing.settings(measure="margin", weight="0.5").objective
    assert margin(evaluated, ink_nets.edges().info).tolist() == [[-2.0 + 0.5 * 4]]


def finished(runs: list[Drawn]) -> bool:
    return all(run_.reached is not None for run_ in runs)


@pytest.mark.parametrize("crossover", list(drawing.CROSSOVERS))
def test_every_crossover_and_mutation_can_draw(crossover: str) -> None:
    for mutation in drawing.MUTATIONS:
        outcome = drawn(crossover=crossover, mutation=mutation, runs=2, generations=40, population=20, weight="0.001",
                        p_mutation=1.0, stop=True)  # fmt: skip
        # One pixel that is only moved stays one; what both parents have, or what a list exchanges, does not grow.
        assert finished(outcome.results.runs) or mutation == "clamped" or crossover == "intersection", mutation


def test_mnist_shipped() -> None:
    outcome = run.execute(planning.plan(Config("mnist95", "3", runs=1, population=20, generations=80)), workers=1)
    assert len(outcome.findings) == 1
    scores = load_classifier("mnist95")(next(iter(outcome.pictures.values()))[None].float() / 255)
    assert int(scores.argmax()) == 3 and float(scores.softmax(1).max()) >= 0.96


# What a second look found -------------------------------------------------------------------------------------------


def test_a_typing_error_in_a_region_that_the_run_never_reaches_is_told() -> None:
    with pytest.raises(SpecError, match="region 'bad'"):
        planning.plan(config(region=("center:0.5@0-10000", "bad")))


def test_a_mask_is_the_same_one_wherever_a_run_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    height, width = planning.plan(EDGES).arm.size
    levels = torch.full((1, height, width), 255, dtype=torch.uint8)
    write_png(tmp_path / "mask.png", levels)
    monkeypatch.chdir(tmp_path)
    for text in ("mask:mask.png", "not:mask:mask.png", "center:0.5"):
        assert regions.absolute(text) == text.replace("mask.png", str(tmp_path / "mask.png"))
    assert planning.plan(config(region=("mask:mask.png",))).config.region == (f"mask:{tmp_path / 'mask.png'}",)


def test_the_confidence_of_a_finding_is_that_of_the_class_that_is_seen() -> None:
    outcome = drawn(goal="boundary", within=0.2)
    assert outcome.findings, "none reached the boundary"
    classifier = load_classifier("ink_nets:edges", {"trust_code": True})
    for finding in outcome.findings:
        scores = classifier(outcome.pictures[finding.file][None].float() / 255)
        seen = objectives.probabilities(scores, classifier.info)[0]
        assert finding.prediction == int(seen.argmax())
        assert finding.confidence == pytest.approx(float(seen.max()), abs=1e-5)
    assert any(finding.prediction != 0 for finding in outcome.findings), "all were read as the wanted class"


def test_too_much_for_memory_is_told_before_anything_is_made() -> None:
    for changes in ({"size": (99_999, 99_999)}, {"population": 10**8}, {"population": 10**6, "size": (4096, 4096)}):
        with pytest.raises(SpecError, match="expected"):
            planning.plan(config(**changes))


def test_the_question_is_not_shrunk_unless_that_is_said() -> None:
    assert not any(run_.shrunk for run_ in drawn(preset="question").results.runs)
    assert any(run_.shrunk for run_ in drawn(preset="question", shrink=True).results.runs)
