"""Other people's attacks in the comparison: one budget, one judge, and what counts is what is on disk within the limit.

The peers here are made up; the real ones are not installed where tests run.
"""

from __future__ import annotations

import importlib.util
import random
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from evofool import checks, rundir, runs
from evofool.classifiers.fake import Constant, Counting, Linear
from evofool.errors import UserError
from evofool.reports import attack_comparison
from evofool.studies.attack import planning
from evofool.studies.attack import run as ours
from evofool.studies.attack.given import Config
from evofool.studies.attack.results import load
from evofool.threat import Goal, threat

ROOT = Path(__file__).resolve().parent.parent


def package() -> ModuleType:
    """The package beside the sources, without the folder that it lies in: others there have names of test helpers."""
    folder = ROOT / "benchmarks" / "attacks"
    spec = importlib.util.spec_from_file_location(
        "attacks", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["attacks"] = module
    spec.loader.exec_module(module)
    return module


package()
from attacks import keeping  # noqa: E402
from attacks.door import apart  # noqa: E402
from attacks.peers import PEERS, Peer  # noqa: E402
from attacks.trial import Aim, Seconds, attempt  # noqa: E402

# Class 1 wins when the first pixel is brighter than 127.5 / 255; the rest of the image counts for nothing.
WEIGHT = torch.zeros(2, 1, 2, 2)
WEIGHT[1, 0, 0, 0] = 255.0
DARK, BRIGHT = torch.zeros(1, 2, 2), torch.ones(1, 2, 2)


def first_pixel() -> Linear:
    return Linear(WEIGHT, torch.tensor([127.5, 0.0]))


def near(x: torch.Tensor, *levels: float) -> torch.Tensor:
    """The image with other gray levels at its first pixel, one image for each."""
    images = x.repeat(len(levels), 1, 1, 1)
    images[:, 0, 0, 0] = torch.tensor(levels) / 255
    return images


def peer(attack, *, together: int = 1, arguments=lambda threat, budget: {}) -> Peer:
    norms, goals = ("linf", "l2", "l0"), ("untargeted", "targeted")
    return Peer("made up", "torch", "nobody 1900", norms, goals, together, arguments, attack)


def aim(*images, norm="linf", size=1.0, budget=10, labels=None, targets=None, floats=False) -> Aim:
    x = torch.stack(images or (DARK,))
    y = (x[:, 0, 0, 0] > 0.5).long() if labels is None else torch.tensor(labels)
    names = [f"image {i}" for i in range(len(x))]
    goal = Goal(targeted=targets is not None)
    return Aim(x, y, None if targets is None else torch.tensor(targets), threat(norm, size, (1, 2, 2)), goal, budget,
               names, floats)  # fmt: skip


def shows(*levels: float, back: float | None = None):
    """A peer that asks about these levels one after another, and gives back another one, or the original."""

    def attack(task, arguments):
        for level in levels:
            task.model(torch.cat([near(x, level) for x in task.images]))
        return task.images if back is None else torch.cat([near(x, back) for x in task.images])

    return peer(attack)


def run(attacker, target, classifier=None, **settings):
    return attempt(attacker, classifier or first_pixel(), target, **settings)


# What counts as success


def test_a_peer_that_gives_back_its_input_has_failed():
    trial = run(peer(lambda task, arguments: task.images), aim(DARK, BRIGHT))
    assert trial.attacked.tolist() == [True, True] and trial.fooled.tolist() == [False, False]
    assert trial.queries.tolist() == [0, 0] and torch.equal(trial.images, torch.stack([DARK, BRIGHT]))
    assert not trial.lost.any() and not trial.outside.any()


def test_a_peer_that_only_claims_has_failed():
    trial = run(shows(10, 20, back=100), aim())
    assert trial.fooled.tolist() == [False] and trial.queries.tolist() == [2]
    assert torch.equal(trial.images[0], near(DARK, 100)[0])  # within the limit: its best attempt
    assert torch.equal(trial.scores[0], first_pixel()(near(DARK, 100))[0])


def test_the_first_that_fooled_is_what_counts():
    trial = run(shows(10, 130, 20, 200, back=0), aim())
    assert trial.fooled.tolist() == [True] and trial.queries.tolist() == [2]
    assert torch.equal(trial.images[0], near(DARK, 130)[0])
    assert torch.equal(trial.scores[0], first_pixel()(near(DARK, 130))[0])


def test_what_is_given_back_counts_though_it_was_not_asked():
    trial = run(shows(10, 20, 30, back=140), aim())
    assert trial.fooled.tolist() == [True] and trial.queries.tolist() == [3]
    assert torch.equal(trial.images[0], near(DARK, 140)[0])


@pytest.mark.parametrize("attacker", [shows(10, 200), shows(10, back=200)], ids=["asked", "given back"])
@pytest.mark.parametrize(
    ("norm", "size", "enough"), [("linf", 128 / 255, 127 / 255), ("l2", 0.9, 0.7), ("l0", 1, None)]
)
def test_what_lies_beyond_the_limit_does_not_count(attacker, norm, size, enough):
    within = run(attacker, aim(norm=norm, size=max(size, 0.9)))
    assert within.fooled.tolist() == [True] and not within.outside.any()
    if enough:
        beyond = run(attacker, aim(norm=norm, size=enough))
        assert beyond.fooled.tolist() == [False] and beyond.outside.tolist() == [True]
        assert not beyond.lost.any() and torch.equal(beyond.images[0] > 0.2, torch.zeros(1, 2, 2).bool())


def test_two_pixels_are_more_than_one():
    def attack(task, arguments):
        image = near(DARK, 200)
        image[0, 0, 1, 1] = 0.5
        return image

    assert run(peer(attack), aim(norm="l0", size=2)).fooled.tolist() == [True]
    beyond = run(peer(attack), aim(norm="l0", size=1))
    assert beyond.fooled.tolist() == [False] and beyond.outside.tolist() == [True]


def test_a_success_within_the_limit_counts_after_one_beyond():
    trial = run(shows(200, 140), aim(size=150 / 255))
    assert trial.fooled.tolist() == [True] and trial.queries.tolist() == [2] and not trial.outside.any()


def test_what_overshoots_the_limit_by_a_hair_counts_as_it_is_on_disk():
    trial = run(shows(150.0001), aim(size=150 / 255, floats=True))
    assert trial.fooled.tolist() == [True] and torch.equal(trial.images[0], near(DARK, 150)[0])


def test_what_fools_only_before_it_is_rounded_is_lost_on_disk():
    trial = run(shows(10, 127.6), aim(floats=True))
    assert int(first_pixel()(near(DARK, 127.6)).argmax()) == 1  # as it was asked, it fools
    assert trial.fooled.tolist() == [False] and trial.lost.tolist() == [True] and trial.queries.tolist() == [2]
    assert not trial.outside.any()


def test_what_is_given_back_may_be_lost_on_disk_too():
    for floats in (False, True):
        trial = run(shows(10, back=127.6), aim(floats=floats))
        assert trial.fooled.tolist() == [False] and trial.lost.tolist() == [True]
        assert torch.equal(trial.images[0], near(DARK, 127)[0])


def test_what_is_lost_at_first_and_won_later_is_not_lost():
    trial = run(shows(127.6, 127.8, 128), aim(floats=True))
    assert trial.fooled.tolist() == [True] and trial.queries.tolist() == [3] and not trial.lost.any()


def test_on_the_lattice_a_peer_hears_of_what_is_on_disk():
    heard = []

    def attack(task, arguments):
        heard.append(task.model(near(DARK, 127.6)).argmax(1).item())
        return task.images

    run(peer(attack), aim())
    run(peer(attack), aim(floats=True))
    assert heard == [0, 1]


def test_rounding_goes_toward_the_original():
    """126.6 above, from white: rounded up, it is 127 and still fools; rounded down it would, too, but further away."""
    trial = run(shows(126.6), aim(BRIGHT, floats=True))
    assert torch.equal(trial.images[0], near(BRIGHT, 127)[0])


def test_an_image_that_is_misclassified_as_it_is_is_not_attacked():
    given = []

    def attack(task, arguments):
        given.append(len(task.images))
        return 1 - task.images

    trial = run(peer(attack, together=10), aim(DARK, BRIGHT, DARK, labels=[0, 0, 0]))
    assert trial.attacked.tolist() == [True, False, True] and trial.fooled.tolist() == [True, False, True]
    assert sum(given) == 2
    assert [trial.counts[f"image {i}"]["issued"] for i in range(3)] == [1, 1, 1]


def test_a_target_has_to_be_reached():
    weight = torch.zeros(3, 1, 2, 2)
    weight[1, 0, 0, 0], weight[2, 0, 0, 1] = 255.0, 255.0
    classifier = Linear(weight, torch.tensor([127.5, 0.0, 0.0]))
    wanted = []

    def attack(task, arguments):
        wanted.append(task.targets.tolist())
        task.model(near(DARK, 200))
        image = near(DARK, 0)
        image[0, 0, 0, 1] = 0.9
        return image

    assert run(peer(attack), aim(labels=[0], targets=[1]), classifier).queries.tolist() == [1]
    trial = run(peer(attack), aim(labels=[0], targets=[2]), classifier)
    assert trial.fooled.tolist() == [True] and trial.images[0, 0, 0, 1] > 0.8 and wanted == [[1], [2]]
    there = run(peer(attack), aim(labels=[2], targets=[1]), classifier)
    assert there.attacked.tolist() == [False]  # seen as another class than its own: that is no place to begin from
    untargeted = run(shows(200), aim(labels=[0], targets=[2]), classifier)
    assert untargeted.fooled.tolist() == [False] and not untargeted.outside.any()


# Budget, and who pays


def endless(task, arguments):
    for step in range(1000):
        images = task.images.clone()
        images[:, 0, 0, 1] = images[:, 0, 0, 1] * 0.5 + (step + 20) / 2040
        task.model(images)
    pytest.fail("nobody ended it")


@pytest.mark.parametrize("budget", [2, 3, 17])
@pytest.mark.parametrize("together", [1, 2])
def test_a_budget_is_strict_and_the_query_for_the_image_as_it_is_is_in_it(budget, together):
    counting = Counting(first_pixel())
    trial = run(peer(endless, together=together), aim(DARK, BRIGHT, size=0.3, budget=budget), counting)
    assert [count["issued"] for count in trial.counts.values()] == [budget, budget]
    assert trial.queries.tolist() == [budget - 1, budget - 1] and trial.asked == 2 * (budget - 1)
    # The images as they are in a call that is padded, then the rows of the peer, and then speed is measured.
    calls = counting.sizes[1 : 1 + 2 * (budget - 1) // together]
    assert sum(calls) == trial.asked and trial.crashes == [] and not trial.fooled.any()


def test_a_batch_is_cut_at_the_budget():
    def attack(task, arguments):
        task.model(near(DARK, 1, 2, 3, 200, 4))
        pytest.fail("it went on")

    cut = run(peer(attack), aim(budget=4))
    assert cut.queries.tolist() == [3] and cut.fooled.tolist() == [False]
    enough = run(peer(attack), aim(budget=5))
    assert enough.queries.tolist() == [4] and enough.fooled.tolist() == [True]


def test_a_peer_that_goes_on_after_its_success_has_not_needed_more():
    trial = run(shows(200, *range(1, 50)), aim(budget=20))
    assert trial.fooled.tolist() == [True] and trial.queries.tolist() == [1]
    assert trial.counts["image 0"]["issued"] == 20 and trial.asked == 19


def test_the_first_question_about_the_image_as_it_is_is_free():
    heard = []

    def attack(task, arguments):
        task.model(near(DARK, 5))
        heard.append(task.model(torch.cat([task.images, task.images, near(DARK, 9)])))
        return task.images

    trial = run(peer(attack), aim())
    assert trial.queries.tolist() == [3] and trial.counts["image 0"]["issued"] == 4  # one of the two was paid for
    assert torch.equal(heard[-1], first_pixel()(near(DARK, 0, 0, 9)))
    assert trial.distinct.tolist() == [3]  # levels 5, 9 and 0


def test_repeats_are_paid_for_and_counted_once():
    trial = run(shows(5, 5, 5, 6), aim())
    assert trial.queries.tolist() == [4] and trial.distinct.tolist() == [2]


def test_rows_are_charged_to_their_image_in_whatever_order_they_come():
    def attack(task, arguments):
        dark, bright = task.images
        task.model(torch.cat([near(bright, 250), near(dark, 1, 2), near(bright, 100), near(dark, 3)]))
        task.model(near(bright, 90))
        return task.images

    assert run(peer(lambda task, arguments: task.images, together=2), aim(DARK, BRIGHT, size=0.4)).asked == 0
    trial = run(peer(attack, together=2), aim(DARK, BRIGHT, size=0.4), first_pixel())
    assert trial.crashes == [] and trial.queries.tolist() == [3, 3] and trial.outside.tolist() == [False, True]


def test_images_that_are_near_to_each_other_are_attacked_apart():
    x = torch.stack([DARK, near(DARK, 100)[0], BRIGHT, near(BRIGHT, 200)[0], near(DARK, 255)[0]])
    limit = threat("linf", 60 / 255, (1, 2, 2))
    groups = apart(x, limit, 10)
    assert sorted(i for group in groups for i in group) == [0, 1, 2, 3, 4] and groups[0] == [0, 2, 4]
    for group in groups:
        for i in group:
            others = [j for j in group if j != i]
            assert all(float((x[i] - x[j]).abs().max()) > 2 * limit.size for j in others)
    assert apart(x, limit, 1) == [[0], [1], [2], [3], [4]]
    assert max(map(len, apart(x, limit, 2))) == 2
    assert apart(x, threat("l0", 1, (1, 2, 2)), 10) == [[0], [1], [2], [3], [4]]
    same = apart(torch.stack([DARK, DARK]), threat("l2", 0.1, (1, 2, 2)), 10)
    assert same == [[0], [1]]  # the same image twice: nobody could say whose a row is


# Peers that break down


def test_a_peer_that_breaks_down_has_failed_and_it_is_told():
    def attack(task, arguments):
        task.model(near(task.images[0], 200 if task.images[0, 0, 0, 1] else 1))
        raise ValueError("probabilities contain NaN")

    other = DARK.clone()
    other[0, 0, 1] = 1.0
    trial = run(peer(attack), aim(DARK, other))
    assert trial.fooled.tolist() == [False, True] and trial.queries.tolist() == [1, 1]  # what fooled before, fooled
    assert trial.crashes == [("ValueError: probabilities contain NaN", 1)] * 2


def test_an_image_of_nan_is_paid_for_and_answered_like_a_network_would():
    heard = []

    def attack(task, arguments):
        heard.append(task.model(near(DARK, 1, 2).index_fill(0, torch.tensor([0]), torch.nan)))
        return task.images

    trial = run(peer(attack), aim())
    assert heard[-1][0].isnan().all() and torch.equal(heard[-1][1], first_pixel()(near(DARK, 2))[0])
    assert trial.queries.tolist() == [2] and trial.fooled.tolist() == [False] and trial.crashes == []


def test_an_image_of_nan_among_several_belongs_to_nobody():
    def attack(task, arguments):
        task.model(torch.full_like(task.images, torch.nan))

    trial = run(peer(attack, together=2), aim(DARK, BRIGHT, size=0.3))
    assert len(trial.crashes) == 1 and trial.crashes[0][1] == 2 and trial.asked == 0


# Randomness


def drawing(task, arguments):
    levels = [random.randrange(100), int(np.random.randint(100)), int(torch.randint(100, (1,)))]
    image = task.images.clone()
    image[0, 0].view(-1)[:3] = torch.tensor(levels) / 255
    return image


def test_the_same_seed_gives_the_same_and_no_generator_moves():
    first, again, other = (run(peer(drawing), aim(DARK, DARK), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.images, again.images) and torch.equal(first.scores, again.scores)
    assert bool((first.images != other.images).flatten(1)[:, :3].any(0).all())
    assert not torch.equal(first.images[0], first.images[1])  # each image has numbers of its own


# Peers as they are


@pytest.mark.parametrize("pixels", range(1, 60))
def test_patches_of_pixle_keep_within_the_limit(pixels):
    (pixle,) = [each for each in PEERS if each.name == "torchattacks pixle"]
    told = pixle.arguments(threat("l0", pixels, (1, 28, 28)), 100)
    across, down = told["x_dimensions"], told["y_dimensions"]
    assert 1 <= across[0] <= across[1] and 1 <= down[0] <= down[1]
    assert 0.5 * pixels < told["restarts"] * across[1] * down[1] <= pixels
    assert 1 <= told["restarts"] * told["max_iterations"] * 2 <= max(100, 2 * told["restarts"])


def test_each_limit_and_goal_has_the_peers_that_know_it():
    def names(norm, size, targeted=False):
        return [each.name for each in PEERS if each.can(threat(norm, size, (1, 28, 28)), targeted=targeted)]

    assert names("linf", 0.3) == names("l2", 2) == ["torchattacks square", "art square"]
    assert names("l0", 10) == ["torchattacks one-pixel", "torchattacks pixle", "art pixel"]
    assert names("linf", 0.3, targeted=True) == ["torchattacks square", "foolbox genattack"]
    assert names("patch", 3) == names("frame", 1) == []


def test_peers_get_the_radius_of_the_lattice():
    limit = threat("linf", 0.3, (1, 28, 28))
    for each in PEERS:
        if each.can(limit, targeted=False):
            assert each.arguments(limit, 1000)["eps"] == 76 / 255


def test_their_libraries_are_pinned_and_torchvision_is_not():
    def pins(name):
        lines = (ROOT / name).read_text().splitlines()
        return {re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower() for line in lines if not line.startswith("#")}

    ours, theirs = pins("constraints.txt"), pins("constraints-bench.txt")
    assert {each.library for each in PEERS} <= theirs and not ours & theirs and "torchvision" not in ours | theirs
    text = (ROOT / "Makefile").read_text()
    assert re.search(r"constraints-bench.txt --no-deps torchattacks$", text, re.MULTILINE)


def test_a_classifier_that_gives_probabilities_is_told_of_in_logits():
    heard = []

    def attack(task, arguments):
        heard.append(task.model(near(DARK, 1)).softmax(1))
        return task.images

    run(peer(attack), aim(), Constant([0.75, 0.25], (1, 2, 2), kind="probabilities"))
    assert torch.allclose(heard[-1], torch.tensor([[0.75, 0.25]]))


def test_seconds_over_no_forward_passes_are_none():
    assert Seconds(2.0, 1.0, 1.5).ratio == 2.0 and Seconds().ratio == 0.0


# What is left behind


def question(first=0, count=6, *, budget=5, floats=False, target=None):
    config = Config("digits", "digits", "linf", 1.0, first=first, images=count, budget=budget, target=target, seed=3)
    return keeping.asked(config, floats=floats)


def half(task, arguments):
    """Inverts every other image, and asks about it."""
    images = task.images if int(task.images.sum() * 255) % 2 else 1 - task.images
    task.model(images)
    return images


def left_behind(path, asked, attacker=None):
    attacker = attacker or peer(half)
    trial = attempt(attacker, asked.classifier, asked.aim, seed=asked.seed)
    return trial, keeping.keep(path, attacker, asked, trial, "python benchmarks/attack_peers.py")


def test_a_run_is_left_behind_that_verifies(tmp_path):
    asked = question()
    trial, results = left_behind(tmp_path / "run", asked)
    assert rundir.closed(tmp_path / "run") and rundir.finished(tmp_path / "run")
    assert rundir.damage(tmp_path / "run") == []
    found = rundir.findings(tmp_path / "run")
    assert len(found) == int(trial.fooled.sum()) > 0
    again, _ = checks.again(tmp_path / "run", found)
    assert all(check.same_class and check.same_scores for check in again)
    assert load(tmp_path / "run" / "study.json") == results
    store = rundir.RunDirectory.open(tmp_path / "run")
    assert store.store.counts() == trial.counts == results.ledger["searches"]
    store.close()


def test_the_numbers_are_those_of_the_trial(tmp_path):
    asked = question()
    trial, results = left_behind(tmp_path / "run", asked)
    assert [image.outcome == "fooled" for image in results.images] == trial.fooled.tolist()
    assert {image.outcome for image in results.images} == {"fooled", "failed", "skipped"}
    assert results.queries() == trial.asked + 6
    for image in results.images:
        if image.outcome == "skipped":
            assert not image.adversarial and image.clean_prediction != image.label and image.asked == -1
            continue
        x, y = (keeping.read_png(tmp_path / "run" / name).float() / 255 for name in (image.original, image.adversarial))
        assert torch.equal(x, asked.aim.x[image.number]) and torch.equal(y, trial.images[image.number])
        assert image.linf == pytest.approx(float((x - y).abs().max())) and image.l0 == int((x != y).any(0).sum())
        assert image.l2 == pytest.approx(float((x.double() - y.double()).norm()))
        scores = asked.classifier(y[None].repeat(asked.classifier.info.micro_batch, 1, 1, 1))[0]
        assert image.prediction == int(scores.argmax()) and image.label == int(asked.labels[image.number])
        assert (image.outcome == "fooled") == (image.prediction != image.label)
    assert (
        results.config["cache"] is False
        and results.limit == "L-inf 255/255"
        and results.recipe["name"] == "made up"
        and results.seed == 3
    )
    assert results.ledger["lost on disk"] == results.ledger["beyond the limit"] == 0


def test_what_was_lost_and_what_broke_down_stands_in_the_numbers(tmp_path):
    def attack(task, arguments):
        task.model(task.images * 0.999)
        raise RuntimeError("broken")

    _, results = left_behind(tmp_path / "run", question(count=2, floats=True), peer(attack))
    assert results.ledger["broke down"] == [{"error": "RuntimeError: broken", "images": 1}] * 2
    assert results.recipe["arguments"] == {"floats": True} and results.ledger["distinct"] == 4


def test_runs_are_compared_with_each_other(tmp_path):
    made = []
    for name, attack in (("half", half), ("nothing", lambda task, arguments: task.images)):
        attacker = Peer(name, "torch", "", ("linf",), ("untargeted",), 1, lambda threat, budget: {}, attack)
        left_behind(tmp_path / name, question(), attacker)
        made.append((name, load(tmp_path / name / "study.json")))
    found = attack_comparison.compare(made)
    assert found.images == 5 and [entry.name for entry in found.entries] == ["half", "nothing"]
    assert found.entries[1].mean.value == 5.0 and found.entries[0].mean.value < 5.0


@pytest.mark.parametrize("target", [None, "random", "least-likely", "3"])
def test_another_peer_gets_the_question_of_a_run(tmp_path, target):
    asked = question(first=10, target=target)
    left_behind(tmp_path / "run", asked)
    again = keeping.like(tmp_path / "run")
    for name in ("name", "names", "data", "threat", "goal", "words", "budget", "seed"):
        assert getattr(again, name) == getattr(asked, name), name
    assert torch.equal(again.images, asked.images) and torch.equal(again.labels, asked.labels)
    assert again.classifier.info == asked.classifier.info
    assert (again.targets is None) == (target is None)
    if asked.targets is not None:
        assert torch.equal(again.targets, asked.targets)
        assert target != "random" or bool((asked.targets != asked.labels).all())


def test_a_picture_that_was_changed_is_not_attacked(tmp_path):
    left_behind(tmp_path / "run", question(count=2))
    runs.write_png(tmp_path / "run" / "originals" / "00001.png", torch.zeros(1, 28, 28).byte())
    with pytest.raises(UserError, match=r"00001\.png: is not the image that was attacked"):
        keeping.like(tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"first": 5000}, "first = 5000: digits"),
        ({"budget": 1}, "expected at least 2"),
        ({"target": "x"}, "target 'x'"),
    ],
)
def test_wrong_questions_are_refused(change, words):
    with pytest.raises(UserError, match=words):
        question(**change)


def test_the_judge_asks_outside_the_budget():
    """A fooling image with the last query: what it scores on disk is asked on books of its own."""
    counting = Counting(first_pixel())
    trial = run(shows(1, 2, 200), aim(budget=4), counting)
    assert trial.fooled.tolist() == [True] and trial.counts["image 0"]["issued"] == 4 and trial.checks >= 1
    assert counting.rows > 1 + 3 + trial.checks  # and what measured the speed


def test_peers_and_recipes_get_the_same_images_targets_and_verdicts_before_they_begin(tmp_path):
    """A run of ours with a budget that reaches one try, and a peer that gives back what it got."""
    config = Config("digits", "digits", "linf", 0.05, recipe="random", first=20, images=12, budget=2, target="random")
    made = planning.plan(config)
    with rundir.RunDirectory.create(tmp_path / "ours", ours.head(made, "")) as directory:
        ours.keep(ours.execute(made, workers=1, directory=directory), directory)
    nothing = peer(lambda task, arguments: task.images)
    results = [load(tmp_path / "ours" / "study.json")]
    for name, asked in (("like", keeping.like(tmp_path / "ours")), ("asked", keeping.asked(config))):
        left_behind(tmp_path / name, asked, nothing)
        results.append(load(tmp_path / name / "study.json"))
    kept = [
        [(i.name, i.sha256, i.label, i.target, i.attacked, i.clean_prediction, i.original) for i in each.images]
        for each in results
    ]
    for each in results:
        assert sorted(image.asked for image in each.attacked) == list(range(len(each.attacked)))
    assert kept[0] == kept[1] == kept[2] and len({what[3] for what in kept[0]}) > 1
    for name in ("class_names", "norm", "size", "limit", "goal", "targeted", "k", "budget", "seed", "data"):
        assert getattr(results[0], name) == getattr(results[1], name) == getattr(results[2], name), name
    attack_comparison.compare([("ours", results[0]), ("like", results[1])])


def test_images_without_labels_carry_what_the_classifier_sees(tmp_path):
    known = question(count=4)
    for number, image in enumerate(known.images):
        runs.write_png(tmp_path / f"{number}.png", image)
    asked = keeping.asked(Config("digits", str(tmp_path), "linf", 1.0, budget=5))
    assert torch.equal(asked.images, known.images) and asked.data["labelled"] is False
    assert torch.equal(asked.labels, asked.classifier(asked.aim.x.repeat(25, 1, 1, 1))[:4].argmax(1))
    assert bool(attempt(peer(half), asked.classifier, asked.aim).attacked.all())
