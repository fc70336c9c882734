"""docs/attacks.md: its figures are right by hand on tiny runs, a missed one is marked, the runs it needs are listed."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from attack_results import image, made
from evofool import load_classifier
from evofool.cli import app
from evofool.errors import DamagedRunError, UserError
from evofool.recipes import recipes

ROOT = Path(__file__).resolve().parent.parent


def module(folder: str, name: str) -> ModuleType:
    """A file beside the sources, under its own name, as its neighbours import it."""
    spec = importlib.util.spec_from_file_location(name, ROOT / folder / f"{name}.py")
    assert spec and spec.loader
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


numbers = module("docs", "attacks_numbers")
words = module("docs", "attacks_words")
make = module("docs", "make_attacks")
rows = module("benchmarks", "attack_rows")
matrix = module("benchmarks", "attack_matrix")
labels_only = module("benchmarks", "labels_only")

SHARED = {"name": "genepool", "about": "Genepool: ours.", "paper": "ours", "arguments": {}, "shares": True}
ALONE = {"name": "square", "about": "Square: random search.", "paper": "2020", "arguments": {}, "shares": False}
PROMISE = numbers.Promise("here", "a net, budget 100", ("square",), mean=0.5, median=0.1, gain="not lower", success=0.9)


def run(recipe: dict[str, Any], costs: Sequence[int], seed: int = 0, *, order: Sequence[int] = (), **changes: Any):
    """A run, packed and read again: queries of each image in the list, 0 = a failure."""
    places = order or range(len(costs))
    images = [
        image(number, cost or 99, "fooled" if cost else "failed", asked=place)
        for number, (cost, place) in enumerate(zip(costs, places, strict=True))
    ]
    results = made(images, recipe=recipe, seed=seed, **changes)
    return numbers.run_of(json.loads(json.dumps(numbers.packed(results, {"seconds of one core": 1.5}, "ab" * 32))))


def groups(ours: Sequence[Sequence[int]], theirs: Sequence[Sequence[int]]) -> dict[str, Any]:
    runs = [run(SHARED, costs, seed) for seed, costs in enumerate(ours)]
    runs += [run(ALONE, costs, seed) for seed, costs in enumerate(theirs)]
    return {"here": numbers.group("here", runs)}


def verdicts(found: Any) -> list[bool | None]:
    return [check.met for check in found.checks]


def test_a_median_that_nobody_could_have_is_said_to_be_so() -> None:
    """A tenth of 8 queries is less than one. Of 10 it is not."""
    promise = PROMISE._replace(mean=None, median=0.1, success=None, gain=None)
    for rival, told in ((8, True), (10, False)):
        found = numbers.bar(promise, groups([[1] * 3], [[rival] * 3]))
        assert verdicts(found) == [not told]
        assert ("no attack can do with less than 1" in found.checks[0].reached) is told


def test_a_gain_that_nobody_could_have_is_said_to_be_so() -> None:
    """The rival fools nine of ten: no attack is 20 points above that. Where it fools seven, that is not said."""
    promise = PROMISE._replace(mean=None, median=None, success=None, gain="0.2")
    for rival, told in (([5] * 9 + [0], True), ([5] * 7 + [0] * 3, False)):
        found = numbers.bar(promise, groups([[5] * 10], [rival]))
        assert verdicts(found) == [not told]
        assert ("no attack can be more than 10.0 points above" in found.checks[0].reached) is told


# What is packed ---------------------------------------------------------------------------------------------------


def test_images_stand_in_the_order_of_the_attack_and_a_failure_costs_the_budget() -> None:
    found = run(SHARED, [7, 0, 3], order=[2, 0, 1])
    assert found.numbers.tolist() == [1, 2, 0]
    assert found.costs.tolist() == [100, 3, 7]
    assert found.fooled.tolist() == [False, True, True]
    assert found.mean == pytest.approx(110 / 3)
    assert found.median == 7
    assert found.share == pytest.approx(2 / 3)


def test_packed_runs_come_back_as_they_were(tmp_path: Path) -> None:
    raw = numbers.packed(made(recipe=ALONE), {"seconds of one core": 2.0}, "cd" * 32)
    for path in (tmp_path / "one.json.gz", tmp_path / "two.json.gz"):
        numbers.keep([raw, raw], path)
    assert (tmp_path / "one.json.gz").read_bytes() == (tmp_path / "two.json.gz").read_bytes()
    first, second = numbers.read(tmp_path / "one.json.gz")
    assert first.facts == {name: value for name, value in raw.items() if name != "images"} == second.facts
    assert first.facts["skipped"] == 1
    assert first.numbers.tolist() == [0, 1, 2, 4]


def test_commands_name_no_folder_of_the_machine() -> None:
    command = (
        "evofool attack --classifier /home/me/nets/mnist-cnn --data mnist --data-dir /home/me/data --pool "
        "/home/me/runs/a-limit/genepool-0/pool.safetensors --eps 0.3 -o DIR"
    )
    assert numbers.cleaned(command) == (
        "evofool attack --classifier mnist-cnn --data mnist --pool a-limit/genepool-0/pool.safetensors --eps 0.3 -o DIR"
    )
    labels = "evofool attack --classifier /home/me/benchmarks/labels_only.py:network --data mnist"
    assert "--classifier benchmarks/labels_only.py:network" in numbers.cleaned(labels)


def test_only_whole_and_finished_runs_are_packed(tmp_path: Path) -> None:
    path = tmp_path / "run"
    said = "attack --classifier digits --data digits --images 3 --eps 0.3 --budget 5 --recipe random --no-cache -q -o"
    with pytest.raises(SystemExit) as ended:
        app([*shlex.split(said), str(path)])
    assert not ended.value.code
    packed = numbers.pack(path)
    assert len(packed["images"]) + packed["skipped"] == 3
    assert packed["issued"] >= 3
    text = (path / "study.json").read_text()
    (path / "study.json").write_text(text.replace('"budget": 5', '"budget": 6'))
    with pytest.raises(DamagedRunError, match=r"study\.json"):
        numbers.pack(path)
    (path / "study.json").write_text(text)
    (path / "report.html").unlink()
    with pytest.raises(DamagedRunError, match="not finished"):
        numbers.pack(path)
    assert not matrix._finished(path)


# Groups -----------------------------------------------------------------------------------------------------------


def test_runs_that_were_asked_something_else_are_refused() -> None:
    with pytest.raises(UserError, match="square has budget 50, others 100"):
        numbers.group("here", [run(SHARED, [1, 2]), run(ALONE, [1, 2], budget=50)])
    with pytest.raises(UserError, match="twice with the same seed"):
        numbers.group("here", [run(ALONE, [1, 2]), run(ALONE, [1, 3])])


def test_images_that_one_run_did_not_attack_count_for_nobody() -> None:
    some = made([image(0, 5), image(1, 9, "skipped"), image(2, 7)], recipe=ALONE)
    others = run(SHARED, [1, 2, 3])
    found = numbers.group("here", [others, numbers.run_of(numbers.packed(some, {}, ""))])
    assert found.images == 2
    assert found.entry("genepool").mean.value == 2
    assert found.entry("square").mean.value == 6


def test_variants_are_entries_of_their_own() -> None:
    told = [{}, {"lag": 1}, {"independent": True}, {"breed": False}]
    runs = [run({**SHARED, "arguments": arguments}, [number + 1]) for number, arguments in enumerate(told)]
    entries = numbers.group("here", runs).entries
    assert [entry.name for entry in entries] == ["genepool", "genepool lag=1", "genepool alone", "genepool breed=false"]


def test_means_are_over_runs_and_the_first_ones_in_their_order() -> None:
    one = run(SHARED, [30] * 10 + [1] * 10, 0)
    two = run(SHARED, [30] * 10 + [1] * 10, 1, order=[*range(10, 20), *range(10)])  # the cheap ones come first
    entry = numbers.group("here", [one, two]).entry("genepool")
    assert entry.first(10) == pytest.approx((30 + 1) / 2)
    assert entry.first(50) is None
    assert entry.mean.value == pytest.approx(15.5)
    assert [(first, last, point.value) for first, last, point in entry.learning] == [(1, 10, 15.5), (11, 20, 15.5)]


# Figures to reach -------------------------------------------------------------------------------------------------


def test_a_figure_is_reached_by_hand() -> None:
    # Means of 1.5 to 3.5 against 10 and 40: 2.5 / 25. Medians 1 against 10.
    ours = [[1, 1, cost] for cost in (2.5, 4, 5.5, 7, 8.5)]
    theirs = [[10, 10, cost] for cost in (10, 10, 55, 100, 100)]
    found = numbers.bar(PROMISE, groups(ours, theirs))
    assert found.against == "square"
    assert found.images == 3
    assert found.runs == "5 and 5"
    assert [check.wanted for check in found.checks] == [
        "mean at most 0.5 x", "median at most 0.1 x", "success not 2 points lower", "success at least 90%"
    ]  # fmt: skip
    assert verdicts(found) == [True, True, True, True]
    assert found.checks[0].reached.startswith("0.10 x (")
    assert found.checks[0].reached.endswith(": 2.5 for 25.0")
    assert found.checks[1].reached == "0.10 x: 1.0 for 10.0"
    assert found.checks[2].reached == "+0.0 points (+0.0 to +0.0): 100.0% for 100.0%"


def test_a_figure_that_is_not_reached_is_missed() -> None:
    # One of three fails in each run: the share is lower by a third, and the mean is (1 + 1 + 100) / 3.
    found = numbers.bar(PROMISE, groups([[1, 1, 0], [1, 1, 0]], [[10, 10, 10], [12, 12, 12]]))
    assert verdicts(found) == [False, True, False, False]
    assert found.checks[0].reached.startswith("3.09 x")
    assert "\N{MINUS SIGN}33.3 points" in found.checks[2].reached


@pytest.mark.parametrize(("mean", "met"), [(0.2, True), (0.19, False)])
def test_a_figure_holds_up_to_its_limit(mean: float, met: bool) -> None:
    promise = PROMISE._replace(mean=mean, median=None, gain=None, success=None)
    assert verdicts(numbers.bar(promise, groups([[2, 2]], [[10, 10]]))) == [met]


@pytest.mark.parametrize(("gain", "met"), [(0.5, True), (0.51, False)])
def test_a_gain_is_in_shares(gain: float, met: bool) -> None:
    promise = PROMISE._replace(mean=None, median=None, gain=gain, success=None)
    assert verdicts(numbers.bar(promise, groups([[2, 2]], [[10, 0]]))) == [met]


def test_not_lower_wants_an_interval() -> None:
    promise = PROMISE._replace(mean=None, median=None, success=None)
    assert verdicts(numbers.bar(promise, groups([[2, 2]], [[10, 10]]))) == [False]  # of one run nothing is known
    assert verdicts(numbers.bar(promise, groups([[2, 2]] * 4, [[9, 9]] * 4))) == [False]  # nor of four
    assert verdicts(numbers.bar(promise, groups([[2, 2]] * 5, [[9, 9]] * 5))) == [True]
    # Of 200 images from 1 to 13 fail in a run: the interval reaches beyond 2 points, the mean does not.
    lower = [[2] * (200 - failed) + [0] * failed for failed in (1, 1, 1, 2, 13)]
    assert verdicts(numbers.bar(promise, groups(lower, [[2] * 200] * 5))) == [False]


def test_of_several_rivals_the_better_one_counts() -> None:
    other = {**ALONE, "name": "brusle"}
    runs = [run(SHARED, [4, 4]), run(ALONE, [40, 40]), run(other, [10, 10])]
    promise = PROMISE._replace(against=("square", "brusle"), median=None, gain=None, success=None)
    found = numbers.bar(promise, {"here": numbers.group("here", runs)})
    assert found.against == "brusle"
    assert found.checks[0].reached == "0.40 x: 4.0 for 10.0"
    absent = numbers.bar(promise, groups([[4, 4]], [[40, 40]]))
    assert verdicts(absent) == [None]  # the other might be better


TARGETED = {"targeted": True, "goal": "to a random other class"}


def test_runs_that_aim_elsewhere_are_not_held_against_each_other() -> None:
    """Each seed draws targets of its own: of the rival only seed 1 was run, so ours counts with that seed only."""
    ours = [run(SHARED, [cost] * 3, seed, **TARGETED) for seed, cost in enumerate((2, 4, 9))]
    found = numbers.group("here", [*ours, run(ALONE, [40] * 3, 1, **TARGETED)])
    held = numbers.held(*found.entries)
    assert held.mean.value == pytest.approx(4 / 40)
    aimed = [dataclasses.replace(image(0, 5), target=3)]
    other = [dataclasses.replace(image(0, 5), target=4)]
    raw = [numbers.packed(made(one, recipe=recipe), {}, "ab" * 32) for one, recipe in ((aimed, SHARED), (other, ALONE))]
    with pytest.raises(UserError, match="square aims at other classes than others with seed 0"):
        numbers.group("here", [numbers.run_of(each) for each in raw])


def test_one_run_is_tested_against_one_of_several() -> None:
    costs = [[5, 9, 40, 3, 8, 77], [6, 8, 30, 4, 9, 60], [50, 90, 4, 30, 80, 7], [9, 9, 9, 9, 9, 9], [1, 1, 1, 1, 1, 1]]
    several = [run({**ALONE, "name": "other"}, each, seed) for seed, each in enumerate(costs)]
    single = [run(ALONE, [20] * 6)]
    found, alone = (numbers.group("here", [*single, *runs]) for runs in (several, several[:1]))
    for tests in (numbers.tests, numbers.shares_tests):
        assert tests(found, found.entry("square")) == tests(alone, alone.entry("square"))
    assert found.entry("other").mean.value != alone.entry("other").mean.value


def test_an_attack_that_draws_nothing_is_one_run_however_often_it_is_run() -> None:
    same = numbers.group("here", [run(ALONE, [5, 6], seed) for seed in range(3)])
    other = numbers.group("here", [run(ALONE, [5, 6 + seed], seed) for seed in range(3)])
    assert [numbers.runs_of(each.entries[0]) for each in (same, other)] == ["3, all alike", "3"]


def test_tables_hold_all_against_the_rival_that_asks_least() -> None:
    name = "mnist-cnn-linf-0.3-1000"
    better = {**ALONE, "arguments": {"p": 0.3}}
    found = numbers.group(name, [run(SHARED, [1]), run(ALONE, [9]), run(better, [5])])
    assert make._reference(found).name == "square p=0.3"


def test_what_a_peer_broke_down_on_is_told() -> None:
    peer = run({**ALONE, "name": "peer"}, [5, 0])
    peer.facts["broke down"] = 1
    text = "\n".join(make._group(numbers.group("here", [run(ALONE, [4, 4]), peer])))
    assert "broke down before 1 images, which count as failures." in text


def test_what_was_not_run_is_neither_met_nor_missed() -> None:
    assert verdicts(numbers.bar(PROMISE, {})) == [None] * 4
    assert verdicts(numbers.bar(PROMISE, {"here": numbers.group("here", [run(SHARED, [1])])})) == [None] * 4


def test_a_recipe_that_needs_more_than_the_code_of_others_is_marked() -> None:
    theirs = {**ALONE, "name": "torchattacks square"}
    for costs, met in ((range(31, 61), False), (range(1, 31), True)):
        found = numbers.group("here", [run(ALONE, list(costs)), run(theirs, list(range(1, 31)))])
        (likeness,) = numbers.likenesses([found])
        assert likeness.met is met


# The page ---------------------------------------------------------------------------------------------------------


def written(folder: Path, ours: Sequence[int] = (1, 1, 4, 1), theirs: Sequence[int] = (10, 12, 14, 11)) -> None:
    """A page from tiny runs in the folder of the first promise."""
    found = [run(SHARED, ours, seed) for seed in range(2)]
    found += [run(ALONE, theirs, seed) for seed in range(2)]
    raw = [
        {**each.facts, "images": np.stack([each.numbers, each.fooled, each.costs], 1).astype(int).tolist()}
        for each in found
    ]
    numbers.keep(raw, folder / "attacks" / "mnist-cnn-linf-0.3-1000.json.gz")


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["make_attacks.py", *arguments])
    return make.main()


def test_the_page_says_what_was_met_and_what_was_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, ours=(1, 1, 20, 1))  # mean 5.75 of 11.75: 0.49 x; median 1 of 11.5
    assert command(monkeypatch, "--at", str(tmp_path)) == 0
    text = (tmp_path / "attacks.md").read_text()
    (first,) = [line for line in text.splitlines() if line.startswith("| MNIST CNN, L-inf 0.3, budget 1,000 |")]
    assert "0.49 x" in first and first.endswith("| **MISSED** |")
    second = text.splitlines()[text.splitlines().index(first) + 1]
    assert "0.09 x: 1.0 for 11.5" in second and second.endswith("| met |")
    assert "1 is met and 1 missed, 18 not measured" in text
    assert text.count("**MISSED**") == 1
    for name in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text):
        assert (tmp_path / name).is_file()


def test_the_check_sees_a_page_that_says_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path)
    assert command(monkeypatch, "--at", str(tmp_path)) == 0
    assert command(monkeypatch, "--at", str(tmp_path), "--check") == 0
    written(tmp_path, theirs=(10, 12, 14, 12))
    assert command(monkeypatch, "--at", str(tmp_path), "--check") == 1
    assert "differs from its numbers" in capsys.readouterr().err


@pytest.mark.parametrize(("costs", "verdict"), [((3, 3, 3, 3), "met"), ((1, 1, 2, 2), "**MISSED**")])
def test_who_does_not_beat_the_control_is_marked(costs: Sequence[int], verdict: str) -> None:
    control = run({**ALONE, "name": "random"}, costs)
    found = {"here": numbers.group("here", [run(SHARED, (2, 2, 2, 2)), control])}
    _, table = make._control(found)
    assert table.splitlines()[-1].endswith(f"| {verdict} |")


@pytest.mark.parametrize(("costs", "told"), [([9, 9, 8, 9], False), ([1, 2, 3, 1], True)])
def test_a_part_that_takes_off_no_queries_is_named(costs: Sequence[int], told: bool) -> None:
    """Without breeding: clearly more queries in each run, and then about as many."""
    runs = [run(SHARED, [1, 2, 3, 1 + seed], seed) for seed in range(5)]
    without = {**SHARED, "arguments": {"breed": False}}
    runs += [run(without, [*costs[:3], costs[3] + seed], seed) for seed in range(5)]
    page = "\n".join(make._ablation({make.ABLATED[0]: numbers.group(make.ABLATED[0], runs)}))
    assert "no genes bred of genes" in page
    assert ("Not shown to take off queries here: genes that are bred of genes." in page) is told


def test_the_page_without_any_run_promises_nothing(tmp_path: Path) -> None:
    (tmp_path / "attacks").mkdir()
    text = make.text({}, tmp_path / "attacks")
    assert "0 are met and 0 missed, 20 not measured" in text
    assert "MISSED" not in text


def test_fewer_images_stand_after_their_limit(tmp_path: Path) -> None:
    raw = numbers.packed(made(recipe=ALONE), {"seconds of one core": 2.0}, "cd" * 32)
    full, short, few = "cifar-cnn-linf-8-255-5000", "cifar-cnn-linf-8-255-1000", "cifar-cnn-linf-8-255-1000-200-images"
    for name in (few, "mnist99-linf-0.3-1000", short, full, "mnist-cnn-linf-0.3-1000"):
        numbers.keep([raw], tmp_path / f"{name}.json.gz")
    found = make.read(tmp_path)
    assert list(found) == ["mnist-cnn-linf-0.3-1000", full, short, few, "mnist99-linf-0.3-1000"]
    assert [make._title(each).endswith(", 5 images") for each in found.values()] == [False, False, False, True, False]


def test_every_recipe_is_told_when_to_use() -> None:
    assert set(words.WHEN) == set(recipes())


@pytest.mark.parametrize(("said", "told"), words.WRONG_INPUTS)
def test_wrong_input_is_answered_as_the_page_says(said: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        app(["attack", "--classifier", "digits", "--data", "digits", *shlex.split(said), "--dry-run", "-o", "never/"])
    assert ended.value.code == 2
    assert told in " ".join(capsys.readouterr().err.split())


# The runs ---------------------------------------------------------------------------------------------------------


def test_the_list_holds_each_run_once_and_all_that_the_figures_need() -> None:
    jobs = rows.jobs()
    folders = [job.folder for job in jobs]
    assert len(set(folders)) == len(folders)
    for promise in numbers.PROMISES:
        for name in ("genepool", *promise.against):
            for seed in rows.SEEDS:
                assert f"{promise.group}/{name.replace(' ', '-')}-{seed}" in folders
    assert make.OTHER in {job.limit.name for job in jobs}
    assert {f"{make.ABLATED[0]}/genepool-{said}-4" for said in ("lag=1", "breed=false", "independent=true")} <= set(
        folders
    )
    first = next(place for place, job in enumerate(jobs) if job.why != "bars")
    assert all(job.why != "bars" for job in jobs[first:])
    assert {job.why for job in jobs} == set(matrix.PARTS)


def test_each_limit_and_number_of_images_has_its_leaders_and_the_control_beside_it() -> None:
    found: dict[rows.Limit, set[str]] = {}
    for job in rows.jobs():
        found.setdefault(job.limit._replace(mean=0), set()).add(job.attack)
    assert {limit.images for limit in found} == {rows.IMAGES, rows.FEW}
    assert len({limit.name for limit in found}) == len(found)
    for limit, attacks in found.items():
        leaders = {"genepool", "sparse-rs" if limit.norm == "l0" else "rays" if "labels" in limit.net else "square"}
        control = {"random"} if limit.budget <= rows.HARD and limit.net != rows.OTHER.net else set()
        assert attacks >= leaders | control, limit.name


def test_fewer_images_and_queries_are_told_in_the_name() -> None:
    job = rows.Job(rows.OTHER, "genepool", pool=rows.MNIST_LINF)
    cut = matrix._cut(job, argparse.Namespace(images=20, budget=300))
    assert (cut.limit.images, cut.limit.budget) == (20, 300)
    assert cut.folder == "mnist99-linf-0.3-300-20-images/genepool-pool-0"
    assert cut.pool.name == "mnist-cnn-linf-0.3-300-20-images"
    assert matrix._cut(job, argparse.Namespace(images=900, budget=None)) == job


def test_recipes_are_asked_for_what_they_can() -> None:
    known = recipes()
    for job in rows.jobs():
        if job.peer:
            continue
        recipe, net = known[job.attack], rows.NETS[job.limit.net]
        assert job.limit.norm in recipe.norms, job.folder
        assert recipe.targeted if job.limit.target else recipe.untargeted, job.folder
        assert recipe.needs == "labels" or not net.labels, job.folder
        assert set(job.arguments) <= set(recipe.arguments), job.folder


def test_genes_are_used_on_images_that_they_were_not_found_on() -> None:
    used = [job for job in rows.jobs() if job.pool]
    assert used
    for job in used:
        (source,) = [each for each in rows.jobs() if each.folder == rows.Job(job.pool, "genepool").folder]
        assert source.first + source.limit.images <= job.first
        assert source.limit.net != job.limit.net


def test_labels_only_says_no_more_than_the_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVOFOOL_NET", "digits")
    inner, outer = load_classifier("digits"), labels_only.network()
    x = torch.rand(9, *inner.info.image_shape, generator=torch.Generator().manual_seed(0))
    assert outer.info.kind == "label"
    assert outer.info.fingerprint != inner.info.fingerprint
    answers = outer(x)
    assert answers.sum(1).tolist() == [1.0] * 9
    assert answers.argmax(1).tolist() == inner(x).argmax(1).tolist()
    assert set(answers.unique().tolist()) == {0.0, 1.0}


def test_the_readme_tells_the_numbers_of_the_page() -> None:
    """They are written by hand there."""
    groups = {path.name.removesuffix(".json.gz"): path for path in (ROOT / "docs" / "attacks").glob("*.json.gz")}
    name = "mnist-cnn-linf-0.3-1000"
    found = numbers.group(name, numbers.read(groups[name]))
    ours, theirs = found.entry("genepool"), found.entry("square")
    assert ours and theirs and len(ours.runs) == len(theirs.runs) == 5
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    images = len(ours.runs[0].costs)
    assert f"*{images} digits against a CNN that gets {found.facts['accuracy']:.1%} right, within L-inf 0.3." in text
    assert f"a mean of {ours.mean.value:.1f} queries over all {images}" in text
    ten, fifty = numbers.firsts(ours)
    best = numbers.strongest([entry for entry in found.entries if entry.name.startswith("square")])
    told = f"Square {theirs.mean.value:.1f}, or {best.mean.value:.1f} with the size of squares that suits it best."
    assert f"({ten:.1f} over the first 10, {fifty:.1f} over the first 50), {told}" in text
    name = "cifar-cnn-l2-1-1000"
    photographs = numbers.group(name, numbers.read(groups[name]))
    ours, theirs = photographs.entry("genepool"), photographs.entry("square")
    assert ours and theirs
    told = f"{ours.mean.value:.1f} queries and {ours.success.value:.1%} fooled, Square {theirs.mean.value:.1f} and"
    count = len(ours.runs[0].costs)
    assert f"On {count} photographs of CIFAR-10 within L2 1.0: a mean of {told} {theirs.success.value:.1%}." in text
