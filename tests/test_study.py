"""The operator study as a whole, small: what it promises holds whatever the workers, the order and the company."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest
import torch

from evofool import load_classifier
from evofool.errors import ClassifierError, ClassifierWarning, DataError, SpecError
from evofool.reports.findings import findings
from evofool.rundir import RunDirectory
from evofool.store import Store
from evofool.studies.operators import planning, run, scenarios, shards
from evofool.studies.operators.results import Results, load

SMALL = planning.Config(
    data="digits",
    classifiers=("digits",),
    judge="digits-judge",
    seeds=3,
    parts=("scenarios", "controls", "judge"),
    names=("FPS_AC_SM", "TS_SPC_IM", "FPS_AC_SM_elitism"),
    settings={"population": ("60",), "generations": ("3",)},
)


@pytest.fixture(scope="module")
def outcome() -> run.Outcome:
    return run.execute(planning.plan(SMALL), workers=1, command="evofool ...")


@pytest.fixture(scope="module")
def results(outcome: run.Outcome) -> Results:
    return outcome.results


def test_two_workers_write_the_same_bytes_as_one(results: Results) -> None:
    other = run.execute(planning.plan(SMALL), workers=2, command="evofool ...").results
    assert other.to_json() == results.to_json()


def test_seeds_run_apart_or_side_by_side_give_the_same_bytes(results: Results) -> None:
    for together in (1, 3):
        config = dataclasses.replace(SMALL, side_by_side=together)
        other = run.execute(planning.plan(config), workers=1, command="evofool ...").results
        assert other.ledger.pop("padded") != results.ledger["padded"]  # how full the last calls are
        ledger = {name: value for name, value in results.ledger.items() if name != "padded"}
        assert other.to_json() == dataclasses.replace(results, ledger=ledger).to_json()


def test_an_arm_is_the_same_without_the_others(results: Results) -> None:
    config = dataclasses.replace(SMALL, names=("TS_SPC_IM",), seeds=1)
    alone = run.execute(planning.plan(config), workers=1).results.of("TS_SPC_IM", "digits")
    assert alone == results.of("TS_SPC_IM", "digits")[:1]


def test_a_fresh_interpreter_gives_the_same_numbers(results: Results) -> None:
    settings = dataclasses.asdict(dataclasses.replace(SMALL, names=("FPS_AC_SM",), seeds=1))
    program = (
        "from evofool.studies.operators import planning, run\n"
        f"config = planning.Config(**{settings!r})\n"
        "found = run.execute(planning.plan(config), workers=1).results.of('FPS_AC_SM', 'digits')[0]\n"
        "print(found.total_fitness, found.confusion)"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    expected = results.of("FPS_AC_SM", "digits")[0]
    assert printed.strip() == f"{expected.total_fitness} {expected.confusion}"


def test_every_arm_of_a_seed_starts_from_the_same_images(results: Results) -> None:
    for seed in range(3):
        starts = {(r.accuracy[0], r.total_fitness[0]) for r in results.runs if r.seed == seed}
        assert len(starts) == 1
    assert len({r.total_fitness[0] for r in results.runs}) == 3  # and another seed from others


def test_elites_cost_no_query(results: Results) -> None:
    for arm, asked in (("FPS_AC_SM", 60 * 4), ("FPS_AC_SM_elitism", 60 + 3 * 50)):
        for seed in range(3):
            count = results.ledger["searches"][f"{arm}/digits/{seed}"]
            assert count["issued"] + count["repeated"] == asked
            assert count["answered"] == count["issued"] and count["repeated"] > 0


def test_a_subset_brings_its_own_controls(results: Results) -> None:
    assert [a.name for a in results.group("control")] == ["RND_AC_SM", "RND_SPC_IM"]


def test_selection_for_doubt_raises_the_total_fitness(results: Results) -> None:
    """The precondition of everything the study shows: images are fooled, and selection does something."""
    for run_ in results.of("FPS_AC_SM", "digits"):
        assert run_.total_fitness[-1] > 2 * run_.total_fitness[0]
        assert run_.accuracy[-1] < run_.accuracy[0] - 0.1
        assert run_.judged is not None and run_.judged.fools > 0.1


def test_the_last_accuracy_is_that_of_the_confusion_table(results: Results) -> None:
    for run_ in results.runs:
        right = sum(run_.confusion[k][k] for k in range(10))
        assert right / 60 == pytest.approx(run_.accuracy[-1], abs=1e-6)
        assert sum(map(sum, run_.confusion)) == 60
        assert run_.judged is not None and run_.judged.fools == pytest.approx(1 - run_.accuracy[-1], abs=1e-6)
        assert run_.judged.adversarial <= min(run_.judged.fools, run_.judged.reads)


def test_results_survive_their_file(results: Results, tmp_path) -> None:
    path = tmp_path / "study.json"
    path.write_text(results.to_json())
    assert load(path) == results
    assert json.loads(path.read_text())["format"] == "evofool-operator-study/2"


def test_the_gallery_shows_ancestors_above_and_evolved_below(outcome: run.Outcome) -> None:
    gallery = next(g for g in outcome.results.galleries if g.arm == "FPS_AC_SM")
    sheet = outcome.sheets[gallery.file]
    assert sheet.shape == (1, 56, 28 * len(gallery.labels)) and sheet.dtype == torch.uint8
    originals = {
        image.numpy().tobytes()
        for image in shards.population(planning.plan(SMALL).dataset, [0], 60).genes[0].mul(255).round().byte()
    }
    for column in range(len(gallery.labels)):
        assert sheet[:, :28, 28 * column : 28 * (column + 1)].contiguous().numpy().tobytes() in originals
    assert any(
        not torch.equal(sheet[:, :28, 28 * c : 28 * c + 28], sheet[:, 28:, 28 * c : 28 * c + 28])
        for c in range(len(gallery.labels))
    )


def test_a_sweep_runs_every_point_with_its_control() -> None:
    config = dataclasses.replace(
        SMALL,
        names=("FPS_AC_SM",),
        settings={"p_mutation": ("0.1", "0.5"), "population": ("60",), "generations": ("2", "3")},
    )
    plan = planning.plan(config)
    names = {s.arm.name for s in plan.scenarios}
    assert len(names) == 8  # 2 x 2 points, each with its control
    for s in plan.scenarios:
        assert s.arm.group == "rates"
        assert not s.arm.partner or s.arm.partner in names or s.arm.partner.startswith("RND_SELF")
        assert s.described().settings["p_mutation"] == s.algorithm.p_mutation
        assert f"p_mutation={s.algorithm.p_mutation}" in s.arm.name and f"generations={s.arm.generations}" in s.arm.name


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"settings": {"population": ("2000",)}}, DataError, "1000 test images for a population of 2000"),
        ({"settings": {"population": ("15",)}}, SpecError, "tournament of 20 in a population of 15"),
        ({"settings": {"population": ("60",), "elites": ("60",)}}, SpecError, "60 elites in a population of 60"),
        ({"settings": {"p_mutatoin": ("0.1",)}}, SpecError, "did you mean 'p_mutation'"),
        ({"settings": {"p_mutation": ("1.5",)}}, SpecError, "p_mutation = '1.5'"),
        ({"settings": {"generations": ("ten",)}}, SpecError, "generations=ten: expected a whole number"),
        ({"names": ("FPS_AC_MS",)}, SpecError, "did you mean 'FPS_AC_SM'"),
        ({"parts": ("scenario",)}, SpecError, "did you mean 'scenarios'"),
        ({"parts": ("judge",)}, SpecError, "nothing to run"),
        ({"seeds": 0}, SpecError, "seeds = 0"),
        ({"classifiers": ("digits", "digits")}, SpecError, "twice"),
        ({"classifiers": ("digist",)}, ClassifierError, "did you mean 'digits'"),
    ],
)
def test_wrong_settings_are_refused_before_anything_runs(changes, error, words: str) -> None:
    with pytest.raises(error) as caught:
        planning.plan(dataclasses.replace(SMALL, **changes))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_the_forecast_grows_with_the_work() -> None:
    plan = planning.plan(SMALL)
    assert plan.evaluations == 5 * 3 * 4 * 60
    assert planning.forecast(plan, 1) > 0
    twice = dataclasses.replace(plan, shards=[*plan.shards, *plan.shards])
    assert twice.evaluations == 2 * plan.evaluations


def test_twelve_scenarios_eight_controls_and_their_families() -> None:
    everything = planning.plan(dataclasses.replace(SMALL, names=(), settings={}, parts=tuple(scenarios.PARTS)))
    groups: dict[str, int] = {}
    for s in everything.scenarios:
        groups[s.arm.group] = groups.get(s.arm.group, 0) + 1
    assert groups == {
        "scenario": 12, "elitism": 1, "control": 8, "hypothesis": 64, "generations": 2, "rates": 12, "all-images": 1
    }  # fmt: skip
    assert len({s.arm.name for s in everything.scenarios}) == len(everything.scenarios)


def test_a_tournament_size_reaches_every_arm_that_has_a_tournament() -> None:
    settings = {"population": ("15",), "tournament_size": ("7",)}
    config = dataclasses.replace(SMALL, names=(), settings=settings, parts=("scenarios", "hypotheses", "rates"))
    sizes = [scenarios.largest_tournament(s) for s in planning.plan(config).scenarios]
    assert set(sizes) == {0, 7}
    assert sizes.count(7) > 12


def test_confirmations_are_not_asked_again_after_a_kill(tmp_path, monkeypatch) -> None:
    """Else a budget that has room for one confirmation would lose a finding to the kill."""
    config = dataclasses.replace(
        SMALL, names=("FPS_AC_SM",), parts=("scenarios",), judge="", seeds=1, budget=150, confirm=3
    )
    plan = planning.plan(config)
    straight = run.execute(plan, workers=1)
    assert [finding.confirmed for finding in straight.findings] == [3], "nothing was fooled"

    class Killed(BaseException):
        pass

    def die(*_, **__):
        raise Killed

    directory = RunDirectory.create(tmp_path / "run", run.head(plan, ""))
    with monkeypatch.context() as patch:
        patch.setattr(Store, "finish", die)
        with pytest.raises(Killed):
            run.execute(plan, workers=1, directory=directory)
    directory.abandon()
    _, directory = run.reopen(tmp_path / "run")
    with directory:
        resumed = run.execute(plan, workers=1, directory=directory)
    assert resumed.findings == straight.findings
    assert resumed.results.queries() == straight.results.queries() == 150
    assert dataclasses.replace(resumed.results, ledger={}) == dataclasses.replace(straight.results, ledger={})


def test_an_untouched_image_that_is_misread_is_no_finding() -> None:
    """Selection alone gathers the images that the classifier gets wrong by itself; nothing there has evolved."""
    still = {**SMALL.settings, "p_crossover": ("0",), "p_mutation": ("0",)}
    config = dataclasses.replace(SMALL, names=("TS_SPC_IM",), parts=("scenarios",), judge="", settings=still)
    done = run.execute(planning.plan(config), workers=1)
    misread = sum(sum(row) - row[i] for table in done.results.runs for i, row in enumerate(table.confusion))
    assert misread > 0, "no image was misread"
    assert done.findings == []


def test_what_is_to_be_minded_about_a_classifier_stands_in_the_results() -> None:
    def rounded(images: torch.Tensor) -> torch.Tensor:
        return load_classifier("digits").module(images).softmax(1).mul(10).round().div(10)

    still = {"population": ("40",), "generations": ("1",)}
    config = dataclasses.replace(SMALL, names=("FPS_AC_SM",), parts=("scenarios",), judge="", seeds=1, settings=still)
    plan = planning.plan(config)
    assert run.target("digits", plan).flags == {}
    rough = load_classifier(rounded, data=plan.dataset, kind="probabilities")
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.warns(ClassifierWarning, match="rough: rounded-scores: All scores"),
    ):
        patch.setattr(run, "classifier_of", lambda name, sources: rough)
        flags = run.target("rough", plan).flags
    assert list(flags) == ["rounded-scores"]
    results = run.execute(plan, workers=1).results
    told = dataclasses.replace(results, targets=[dataclasses.replace(results.targets[0], flags=flags)])
    assert findings(told)[0].text.startswith("To mind of digits in all that follows: rounded-scores. All scores")
    assert findings(results)[0] == findings(told)[1]
