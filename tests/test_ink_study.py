"""The ink study, small: what it plans, and what each task measures, by hand."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import ink_nets
from evofool import load_classifier, networks, objectives, regions
from evofool.classifiers.fake import Silent
from evofool.classifiers.support import card as cards
from evofool.contracts import Dataset
from evofool.data import load_data
from evofool.encodings.ink import Ink
from evofool.errors import ClassifierError, DataError, SpecError, TargetError
from evofool.operators.lists import mask_of
from evofool.rundir import RunDirectory
from evofool.studies.draw import record, shards
from evofool.studies.draw.results import Drawn, Picture
from evofool.studies.ink import arms, planning, run, tasks
from evofool.studies.ink.planning import Config
from evofool.studies.ink.results import Results, load
from evofool.studies.ink.tasks import MapTask
from evofool.variants import Variant
from test_cli import Here, here

__all__ = ["here"]  # a fixture

MODULE = {"trust_code": True, "image_shape": "1x10x10", "class_names": "cat,not_cat"}
SMALL = Config(
    classifier="ink_nets:small",
    target="cat",
    others=("ink_nets:alike",),
    options=MODULE,
    runs=3,
    fewer=2,
    generations=3,
    confined=2,
    free=2,
    population=6,
    confidence=0.3,
)
EVERY = ("where", "operators", "landscape", "padding", "position", "pipeline", "data", "transfer", "schedule")


def images(folder: Path, names: tuple[str, ...] = ink_nets.NAMES, count: int = 6) -> Path:
    """Training and test images, [10 10], each of its own."""
    generator = np.random.Generator(np.random.PCG64(0))
    arrays: dict[str, Any] = {"class_names": np.array(names)}
    for split in ("train", "test"):
        arrays[f"x_{split}"] = generator.integers(0, 256, (count * len(names), 10, 10), dtype=np.uint8)
        arrays[f"y_{split}"] = np.repeat(np.arange(len(names)), count)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


def card(folder: Path, padding: str, *, seed: int = 0, **changes: Any) -> Path:
    """A network of the house in a folder with its card, whose weights nobody trained."""
    arguments = {"width": 4, "hidden": 8, "padding": padding}
    build = {"in_channels": 1, "classes": 2, "size": (10, 10), **arguments}
    network = networks.initialise(networks.build("small_cnn", build), torch.Generator().manual_seed(seed))
    weights = cards.serialise(network)
    fields: dict[str, Any] = {
        "format": "evofool-classifier/1", "name": f"net-{padding}", "architecture": "small_cnn",
        "arguments": arguments, "kind": "logits", "class_names": ink_nets.NAMES, "image_shape": (1, 10, 10),
        "range": (0.0, 1.0), "background": 1.0, "accuracy": 0.8, "held_out_accuracy": 0.8, "held_out": 10,
        "data": "made up", "data_fingerprint": "ab" * 32, "seed": seed, "target_accuracy": None, "epochs": 1,
        "steps": 1, "batch_size": 1, "learning_rate": 0.1, "torch": torch.__version__, "command": None,
        "weights_sha256": hashlib.sha256(weights).hexdigest(), "memory_format": "contiguous", "micro_batch": 8,
    }  # fmt: skip
    cards.write(folder, cards.Card(**{**fields, **changes}), weights)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return images(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(data: Path) -> Config:
    """Every part of a study."""
    return dataclasses.replace(SMALL, data=str(data))


@pytest.fixture(scope="module")
def plan(whole: Config) -> planning.Plan:
    return planning.plan(whole)


@pytest.fixture(scope="module")
def outcome(plan: planning.Plan) -> run.Outcome:
    return run.execute(plan, workers=1, command="evofool study ink ...")


@pytest.fixture(scope="module")
def results(outcome: run.Outcome) -> Results:
    return outcome.results


def linear() -> Any:
    return load_classifier("ink_nets:edges", {"trust_code": True})


# ---- what is planned


def test_every_arm_has_its_null_and_its_partner(plan: planning.Plan, results: Results) -> None:
    named = {arm.name: arm for arm in plan.planned}
    assert len(named) == len(plan.planned) > 60 and [arm.name for arm in results.arms] == list(named)
    for arm in plan.planned:
        for other in filter(None, (arm.null, arm.partner)):
            assert other in named, f"{arm.name} has nothing called {other} beside it"
        if arm.null:
            null = named[arm.null]
            assert null.variant.flat and null.part == "operators" and not null.null
            assert null.drawing.phases[0].region == arm.drawing.phases[0].region, arm.name
            assert null.variant.size == arm.variant.size, arm.name
            assert null.runs >= arm.runs or arm.runs == SMALL.runs, "a null with fewer runs than its arm"
            for operator in ("crossover", "mutation", "p_crossover", "p_mutation"):
                assert getattr(null.drawing.algorithm, operator) == getattr(arm.drawing.algorithm, operator)
        if arm.partner:
            assert set(range(min(arm.runs, named[arm.partner].runs))) == {
                r.seed for r in results.of(arm.name)
            } & {r.seed for r in results.of(arm.partner)}  # fmt: skip
    tagged = {(arm.tags["crossover"], arm.tags["mutation"], arm.tags["lambda"]) for arm in arms.where(plan.question)}
    assert len(tagged) == 30 and {weight for _, _, weight in tagged} == {0.0, 1e-4, 1e-3, 1e-2, 1e-1}


@pytest.mark.parametrize("part", EVERY)
def test_a_part_alone_brings_what_it_rests_on(part: str, whole: Config) -> None:
    plan = planning.plan(dataclasses.replace(whole, parts=(part,)))
    named = {arm.name for arm in plan.planned}
    for arm in plan.planned:
        assert {arm.null, arm.partner} - {""} <= named
    assert {arm.part for arm in plan.planned} <= {part, "operators", "where"}
    assert bool(plan.maps) == (part == "landscape")
    assert (plan.training is not None) == (part == "data")
    assert (plan.test is not None) == (part in ("padding", "pipeline"))
    assert bool(plan.transferred) == (part == "transfer")
    assert {left_out for left_out, _ in plan.skipped} <= {part}
    if part not in ("landscape", "data"):
        assert arms.BASE in named


def test_lengths_of_runs(whole: Config) -> None:
    def of(**changes: Any) -> tuple[int, ...]:
        return tuple(planning.lengths(Config("x", "y", **changes)))

    assert of() == (30, 10, 400, 3000, 400)
    assert of(runs=50) == (50, 10, 400, 3000, 400) and of(runs=4) == (4, 4, 400, 3000, 400)
    assert of(quick=True) == tuple(arms.QUICK) and of(quick=True, generations=7)[2] == 7
    assert of(runs=4, fewer=9)[:2] == (4, 9)
    for changes in ({"runs": 0}, {"fewer": 0}, {"generations": 0}, {"confined": 0}, {"free": -1}):
        with pytest.raises(SpecError, match="expected at least 1"):
            of(**changes)
    shares = {arm.name: arm.runs for arm in planning.plan(whole).planned}
    assert shares[arms.BASE] == 3 == shares["null/rectangle/per-image"]
    assert shares["where/rectangle/per-image/lambda=0"] == 2 == shares["window/middle"]


def test_arms_of_one_seed_start_from_the_same_drawings(
    whole: Config, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """In all arms; where ink may lie elsewhere, or the canvas is larger, in all that share this."""
    begun: dict[str, torch.Tensor] = {}

    def noted(problem: Any, **parts: Any) -> Any:
        if parts["progress"].generation == -1:
            for name, genomes in zip(parts["ledger"].searches, problem.genomes, strict=True):
                begun[name] = genomes
        return search(problem, **parts)

    search = shards.run
    monkeypatch.setattr(shards, "run", noted)
    plan = planning.plan(dataclasses.replace(whole, generations=1, confined=1, free=1))
    run.execute(plan, workers=1)
    groups: dict[Any, list[str]] = {}
    for arm in plan.planned:
        key = (arm.drawing.phases[0].region, arm.variant.size or (10, 10))
        for seed in range(arm.runs):
            groups.setdefault((*key, seed), []).append(f"{arm.name}/{arm.classifier}/{seed}")
    assert len(groups) > 10 and max(map(len, groups.values())) > 40
    for names in groups.values():
        assert len(names) > 1 or "schedule" in names[0] or names[0].endswith("/2"), names
        assert all(torch.equal(begun[name], begun[names[0]]) for name in names)
    firsts = [begun[f"{arms.BASE}/small/{seed}"] for seed in range(3)]
    assert not torch.equal(firsts[0], firsts[1]) and not torch.equal(firsts[1], firsts[2])


def test_a_constant_fitness_asks_nobody(data: Path) -> None:
    ink_nets.SEEN.clear()
    base = Config("ink_nets:seen", "cat", options={"trust_code": True}, parts=("operators",), runs=2, fewer=2,
                  generations=3, population=10)  # fmt: skip
    plan = planning.plan(base)
    outcome = run.execute(plan, workers=1)
    flat = {arm.name for arm in plan.planned if arm.variant.flat}
    assert len(flat) == 10 and {arm.name for arm in plan.planned} - flat == {arms.BASE}
    asked = sum(len(call) for call in ink_nets.SEEN)
    own = [count for name, count in outcome.results.ledger["searches"].items() if name.startswith(arms.BASE)]
    assert len(own) == 2
    assert outcome.results.queries() == sum(count["issued"] for count in own)
    assert asked <= sum(count["issued"] for count in own) + 200, "a constant fitness has been asked for"
    for run_ in outcome.results.runs:
        if run_.arm in flat:
            assert set(run_.confidence) == {0.5}
    # What every pixel is worth the same is drawn more of than under the null: it is selected for.
    more = [sum(r.ink[-1] for r in outcome.results.of(name)) for name in ("additive/rectangle",)]
    assert more[0] > sum(run_.ink[-1] for run_ in outcome.results.of("null/rectangle/per-image"))


def test_under_a_constant_fitness_nobody_is_preferred(plan: planning.Plan) -> None:
    for arm in plan.planned:
        if arm.tags.get("kind") in ("null", "control", "window", "size"):
            algorithm = arm.drawing.algorithm
            assert algorithm.selection.path == "selection.shuffled" and algorithm.elites == 0  # type: ignore[union-attr]
            assert not arm.drawing.stop and arm.variant.flat


def test_padding_is_swapped_and_compared_with_what_was_trained(tmp_path: Path, data: Path) -> None:
    specs = [str(card(tmp_path / mode, mode)) for mode in ("zeros", "reflect", "circular")]
    other = str(card(tmp_path / "wide", "zeros", seed=1, name="wide", image_shape=(1, 10, 10)))
    base = Config(specs[0], "cat", others=(*specs[1:], other), data=str(data), parts=("padding",), runs=2, fewer=2,
                  generations=2, population=6)  # fmt: skip
    plan = planning.plan(base)
    assert [network.padding for network in plan.networks] == ["zeros", "reflect", "circular", "zeros"]
    assert [network.name for network in plan.question.others] == specs[1:3], "padding differs, all else is the same"
    padded = {arm.name: arm for arm in plan.planned if arm.part == "padding"}
    # Three swaps of the first; of the two others as they were trained, and three swaps each.
    assert len(padded) == 3 + 4 + 4
    for arm in padded.values():
        if arm.variant.padding:
            assert arm.variant.padding != arm.tags["own"] and arm.tags["padding"] == arm.variant.padding
        own = next(n for n in plan.networks if n.name == arm.classifier)
        expected = (
            arms.BASE if own is plan.networks[0] or not arm.variant.padding else f"padding/{own.label}/{own.padding}"
        )
        assert arm.partner == expected
    found = run.execute(plan, workers=1).results
    assert not plan.skipped
    by_variant = {(each.classifier, each.variant): each for each in found.accuracies}
    assert len(by_variant) == 3 * 4
    for (name, variant), each in by_variant.items():
        assert bool(each.changed) == bool(variant), "layers that were changed are named"
        classifier = Variant(padding=variant.removeprefix("padding ")).apply(load_classifier(name))  # type: ignore[arg-type]
        held_out = load_data(str(data), split="test")
        predicted = classifier(held_out.images.float() / 255).argmax(1)
        assert each.accuracy == pytest.approx(float((predicted == held_out.labels).double().mean()), abs=1e-6)
    assert {row["padding"] for row in found.classifiers} == {"zeros", "reflect", "circular"}


def test_what_is_no_torch_module_keeps_its_padding_and_that_is_said(data: Path) -> None:
    linear_ = Config("ink_nets:edges", "cat", options={"trust_code": True}, runs=1, fewer=1, generations=1,
                     confined=1, free=1, population=6)  # fmt: skip
    plan = planning.plan(linear_)
    reasons = dict(plan.skipped)
    assert "its padding cannot be swapped" in reasons["padding"] and "no PyTorch module" in reasons["padding"]
    assert "beyond its border" in reasons["pipeline"] and "no PyTorch module" in reasons["pipeline"]
    assert "--data" in reasons["data"] and "no other network" in reasons["transfer"]
    assert "padding" not in {arm.part for arm in plan.planned}
    assert not any("outside" in arm.tags for arm in plan.planned)
    assert any(arm.tags.get("resize") == "crop" for arm in plan.planned), "sizes can be tried on any"
    found = run.execute(plan, workers=1).results
    assert found.skipped == plan.skipped and not found.accuracies and not found.dark and found.lean is None
    only = planning.plan(dataclasses.replace(linear_, parts=("where",)))
    assert not only.skipped, "what was not asked for is not left out"


def test_networks_of_one_name_are_told_apart(tmp_path: Path) -> None:
    same = [str(card(tmp_path / str(seed), "zeros", seed=seed)) for seed in (0, 1)]
    plan = planning.plan(Config(same[0], "cat", others=(same[1],), parts=("transfer",)))
    assert [network.label for network in plan.networks] == same
    assert list(plan.transferred.values()) == [(same[1], 0)]


def test_who_can_be_shown_the_drawings(tmp_path: Path) -> None:
    odd = str(card(tmp_path / "odd", "zeros", name="odd", class_names=("cat", "dog", "eel")[:2]))
    plan = planning.plan(
        Config("ink_nets:edges", "cat", others=("ink_nets:colour", "ink_nets:dogs", odd), parts=("transfer",),
               options={"trust_code": True})
    )  # fmt: skip
    assert list(plan.transferred) == [odd]
    words = " ".join(why for part, why in plan.skipped if part == "transfer")
    assert "takes images of (3, 10, 10)" in words and "has no class 'cat'" in words


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"parts": ("were",)}, SpecError, "did you mean 'where'"),
        ({"others": ("ink_nets:alike", "ink_nets:alike")}, SpecError, "stands there twice"),
        ({"others": ("ink_nets:small",)}, SpecError, "stands there twice"),
        ({"target": "cta"}, SpecError, "did you mean 'cat'"),
        ({"target": "2"}, SpecError, "no such class"),
        ({"confidence": 0.0}, SpecError, "confidence = 0"),
        ({"confidence": float("nan")}, SpecError, "confidence = nan"),
        ({"canvas": (0.5,), "ink": (0.5,)}, SpecError, "expected two that can be told apart"),
        ({"canvas": (0.5, 0.5)}, SpecError, "1 channels"),
        ({"population": 1}, SpecError, "population = 1"),
        ({"runs": 0}, SpecError, "runs = 0"),
        ({"generations": 0}, SpecError, "generations = 0"),
        ({"budget": 0}, SpecError, "budget = 0"),
        ({"pixels": 0}, SpecError, "pixels = 0"),
        ({"pixels": -5}, SpecError, "pixels = -5"),
        ({"data": "nowhere"}, DataError, "nowhere"),
        ({"others": ("digist",)}, ClassifierError, "did you mean 'digits'"),
    ],
)
def test_wrong_settings_are_refused_before_anything_runs(
    changes: dict[str, Any], error: type, words: str, whole: Config
) -> None:
    with pytest.raises(error) as caught:
        planning.plan(dataclasses.replace(whole, **changes))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_data_with_other_classes_is_refused_and_with_more_is_taken_apart(tmp_path: Path, whole: Config) -> None:
    other = images(tmp_path / "other", ("ant", "bee"))
    with pytest.raises(DataError, match="has the classes ant, bee, and small cat, not_cat"):
        planning.plan(dataclasses.replace(whole, data=str(other)))
    more = planning.plan(dataclasses.replace(whole, data=str(images(tmp_path / "more", ("bee", "cat", "eel")))))
    assert more.training is not None and more.training.class_names == ink_nets.NAMES
    assert (more.training.labels == 0).sum() == 6 and len(more.training) == 18
    turned = planning.plan(dataclasses.replace(whole, data=str(images(tmp_path / "turned", ("not_cat", "cat")))))
    assert turned.training is not None
    assert turned.training.class_names == ink_nets.NAMES and turned.training.labels.tolist() == [1] * 6 + [0] * 6


# ---- what is measured


@pytest.mark.parametrize("net", ["edges", "small", "sigmoid"])
def test_a_map_is_what_the_network_answers(net: str) -> None:
    options = (
        {"trust_code": True} if net == "edges" else MODULE | ({"kind": "probabilities"} if net == "sigmoid" else {})
    )
    plan = planning.plan(Config(f"ink_nets:{net}", "cat", options=options, parts=("landscape",)))
    assert len(plan.maps) == 1
    done = plan.maps[0].run(lambda count: None)
    assert done is not None
    found = done.map
    classifier = load_classifier(f"ink_nets:{net}", options)

    def odds(*places: int) -> float:
        image = torch.zeros(1, *ink_nets.SHAPE)
        image.view(-1)[list(places)] = 1.0
        p = objectives.probabilities(classifier(image), classifier.info)[0, 0]
        return float((p / (1 - p)).log())

    assert found.places == list(range(100)) and found.blank == pytest.approx(odds(), abs=1e-4)
    for place, effect in zip(found.places, found.effects, strict=True):
        assert effect == pytest.approx(odds(place) - odds(), abs=1e-4)
    assert len(found.pairs) == 190 + 200
    best = sorted(range(100), key=lambda place: (-(found.effects[place] or 0), place))[:20]
    expected = {(a, b) for a in best for b in best if a < b}
    assert {(a, b) for a, b, _ in found.pairs[:190]} == expected
    for a, b, effect in found.pairs:
        assert a != b and effect == pytest.approx(odds(a, b) - odds(), abs=1e-4)
    assert len({pair[:2] for pair in found.pairs[190:]}) > 150, "the random pairs are not random"
    counts = done.accounts[plan.maps[0].name]
    assert counts["issued"] == plan.maps[0].evaluations == 1 + 100 + 390


def test_a_map_of_more_classes_is_the_odds_against_all_others() -> None:
    scores = torch.tensor([[1.0, 2.0, -1.0], [0.0, float("nan"), 0.0]])
    p = scores[0].double().softmax(0)
    info = dataclasses.replace(ink_nets.edges().info, kind="logits")
    found = tasks.log_odds(scores, 1, info)
    assert float(found[0]) == pytest.approx(float((p[1] / (1 - p[1])).log())) and found[1].isnan()
    sure = tasks.log_odds(torch.tensor([[0.0, 100.0]]), 1, info)
    assert float(sure) == pytest.approx(100.0), "1 - p is rounded to 0, the odds are not"
    known = dataclasses.replace(info, kind="probabilities")
    assert float(tasks.log_odds(torch.tensor([[0.2, 0.8]]), 1, known)) == pytest.approx(np.log(4), abs=1e-6)
    tiny = tasks.log_odds(torch.tensor([[0.0, 1.0]]), 0, known)
    assert bool(tiny.isfinite()) and float(tiny) < -700


def test_a_map_without_an_answer_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = Silent(linear(), lambda asked: asked[:, 0, 3, 4] > 0.5)
    monkeypatch.setattr(tasks.runs, "loaded", lambda *names: silent)
    task = MapTask("x", Variant(), 0, (0.0,), (1.0,), (10, 10))
    done = task.run(lambda count: None)
    assert done is not None
    assert [place for place, effect in zip(done.map.places, done.map.effects, strict=True) if effect is None] == [34]
    assert all((effect is None) == (34 in (a, b)) for a, b, effect in done.map.pairs)


def test_a_sample_has_the_share_of_each_ring() -> None:
    for size, pixels in (((150, 200), 1000), ((129, 129), None), ((200, 150), 7), ((10, 10), 50), ((40, 30), 1199)):
        task = MapTask("x", Variant(), 0, (1.0,), (0.0,), size, pixels)
        places, whole = task.places(), size[0] * size[1]
        count = pixels or 4096
        assert len(places) == count and places.unique().equal(places), "a pixel is there twice, or out of order"
        ring = regions.steps_to_border(*size).flatten()
        for step in range(int(ring.max()) + 1):
            share = int((ring == step).sum()) * count / whole
            assert abs(int((ring[places] == step).sum()) - share) <= 1.001, (size, pixels, step)
        assert not places.equal(torch.arange(count) * whole // count), "not drawn at random"
    assert MapTask("x", Variant(), 0, (1.0,), (0.0,), (128, 128)).places().equal(torch.arange(128 * 128))
    assert len(MapTask("x", Variant(), 0, (1.0,), (0.0,), (10, 10), 500).places()) == 100


def test_dark_rings_by_hand() -> None:
    """3 x 3: ring 0 has eight pixels, ring 1 one. Canvas white, ink black: dark is below 127.5."""
    shown = torch.full((4, 1, 3, 3), 255, dtype=torch.uint8)
    shown[0, 0, 0, :2] = 0  # of the wanted class: two of eight at the border
    shown[1, 0, 1, 1] = 100  # the middle
    shown[2, 0, 1, 1] = 127
    shown[3] = 128  # lighter than half: nothing is dark
    dataset = Dataset(shown, torch.tensor([0, 0, 1, 1]), ("a", "b"), "x", "00")
    found, lean = tasks.dark_rings(dataset, 0, (1.0,), (0.0,))
    told = {(row.wanted, row.ring): (row.share, row.images) for row in found}
    assert told == {(True, 0): (0.125, 2), (True, 1): (0.5, 2), (False, 0): (0.0, 2), (False, 1): (0.5, 2)}
    assert lean is None, "of the others only one image has dark pixels"
    # Of two values x and y the standard error is |x - y| / 2.
    first = next(row for row in found if row.wanted and row.ring == 0)
    assert (first.low, first.high) == pytest.approx((0.125 - 1.96 * 0.125, 0.125 + 1.96 * 0.125), abs=1e-6)
    swapped, _ = tasks.dark_rings(dataset, 0, (0.0,), (1.0,))
    assert {(row.wanted, row.ring): row.share for row in swapped}[(True, 0)] == 0.875
    shown[3] = 0
    _, lean = tasks.dark_rings(dataset, 0, (1.0,), (0.0,))
    assert lean is not None
    # Wanted: 0 and 1 steps; others: 1 and 1/9.
    assert (lean.wanted, lean.others) == pytest.approx((0.5, 5 / 9), abs=1e-6)
    error = np.sqrt(0.5 / 2 + (8 / 9) ** 2 / 2 / 2)
    assert (lean.low, lean.high) == pytest.approx((0.5 - 5 / 9 - 1.96 * error, 0.5 - 5 / 9 + 1.96 * error), abs=1e-5)
    assert tasks.dark_rings(dataset, 2, (1.0,), (0.0,)) == ([], None)


def test_accuracy_by_hand() -> None:
    """One pixel of ink too few is no cat: three images of cats, of which two are seen, and one other."""
    ink_of = [ink_nets.worth().flatten().argsort(descending=True)[:count] for count in (5, 4, 0, 5)]
    shown = torch.zeros(4, 1, 10, 10, dtype=torch.uint8)
    for image, places in zip(shown, ink_of, strict=True):
        image.view(-1)[places] = 255
    labels = torch.tensor([0, 0, 0, 1])
    share, balanced = tasks.accuracy(linear(), shown, labels, 0, account="a", store=None)
    assert share == pytest.approx(2 / 4) and balanced == pytest.approx((2 / 3 + 0) / 2, abs=1e-6)
    assert tasks.accuracy(linear(), shown[:3], labels[:3], 0, account="a", store=None) == pytest.approx(
        (2 / 3,) * 2, abs=1e-6
    )
    silent = Silent(linear(), lambda asked: asked.flatten(1).sum(1) > 0)
    assert tasks.accuracy(silent, shown, labels, 0, account="a", store=None)[0] == 0.0, "no answer is no right one"


def test_drawings_shown_otherwise_by_hand() -> None:
    """A pixel in a corner, and one beside it: what is pushed over the border is gone."""
    worth, encoding = ink_nets.worth(), Ink((10, 10), (0.0,), (1.0,))
    picture = Picture([0, 55], 0.9, 0)
    drawn = Drawn("arm", "x", 3, picture, 0, 10, 0, [0], [0.9], [2], [0.1], [0.0], [(0, picture)])
    other = load_classifier("ink_nets:alike", {"trust_code": True})
    found = {each.shown: each for each in tasks.transfer([drawn], linear(), {"b": (other, 0)}, 0, encoding, store=None)}
    assert all((each.arm, each.seed) == ("arm", 3) for each in found.values())
    assert list(found) == ["to b", *(f"shift {n}" for n in (1, 2, 3, 4, 6, 8)), "blur", "jitter"]

    def sigmoid(logit: float) -> float:
        return 1 / (1 + np.exp(-logit))

    assert found["to b"].confidence == pytest.approx(
        sigmoid(-4.0 + float(ink_nets.worth(1)[0, 0] + ink_nets.worth(1)[5, 5])), abs=1e-5
    )
    for shift in (1, 4, 6, 8):
        ways = []
        for down, right in ((shift, 0), (-shift, 0), (0, shift), (0, -shift)):
            there = [(r + down, c + right) for r, c in ((0, 0), (5, 5))]
            ways.append(sigmoid(-3.0 + sum(float(worth[r, c]) for r, c in there if 0 <= r < 10 and 0 <= c < 10)))
        assert found[f"shift {shift}"].confidence == pytest.approx(np.mean(ways), abs=1e-5), shift
    # (1 2 1; 2 4 2; 1 2 1) / 16 about (5, 5); the border repeats itself, so that the corner counts 9/16 of its own.
    kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16
    levels = np.zeros((10, 10))
    levels[4:7, 4:7] = kernel
    levels[0, 0], levels[0, 1], levels[1, 0], levels[1, 1] = 9 / 16, 3 / 16, 3 / 16, 1 / 16
    levels = np.round(levels * 255) / 255
    assert found["blur"].confidence == pytest.approx(sigmoid(-3.0 + float((worth.numpy() * levels).sum())), abs=1e-4)
    ways = tasks._otherwise(
        mask_of(torch.tensor([[[0, 55]]]), 100).view(1, 1, 10, 10), torch.zeros(1, 1, 10, 10), encoding, 3
    )
    assert ways["jitter"].flatten(1).sum(1).tolist() == [2.0] * 5, "jitter keeps the ink"
    assert len(ways["jitter"].unique(dim=0)) > 1


def test_shifts_beyond_the_canvas_are_left_out() -> None:
    encoding = Ink((4, 9), (0.0,), (1.0,))
    mask = torch.zeros(1, 1, 4, 9, dtype=torch.bool)
    mask[0, 0, 1, 1] = True
    ways = tasks._otherwise(mask, encoding.decode(mask)[0], encoding, 0)
    assert [name for name in ways if name.startswith("shift")] == ["shift 1", "shift 2", "shift 3"]


def test_linkage_by_hand() -> None:
    """Columns alternate: two pixels stay together if they are an even number of columns apart."""
    found = {(each.crossover, each.distance): each for each in tasks.linkage((10, 12))}
    assert {crossover for crossover, _ in found} == {"rectangle", "columns", "list"}
    assert [distance for crossover, distance in found if crossover == "columns"] == list(range(6))
    for distance in range(6):
        each = found["columns", distance]
        assert each.columns == (1.0 if distance % 2 == 0 else 0.0), distance
        # Of pairs so many rows apart half are an even number of columns apart.
        assert each.rows == pytest.approx(0.5, abs=0.05) or distance == 0
    near, far = found["rectangle", 1], found["rectangle", 5]
    assert near.rows > far.rows > 0.5 and near.columns > far.columns > 0.5, "a rectangle keeps what is near together"
    assert all(0 <= each.rows <= 1 and 0 <= each.columns <= 1 for each in found.values())


# ---- what comes out


def test_a_study_has_everything(plan: planning.Plan, outcome: run.Outcome, data: Path) -> None:
    results = outcome.results
    assert {(run_.arm, run_.seed) for run_ in results.runs} == {
        (arm.name, seed) for arm in plan.planned for seed in range(arm.runs)
    }
    kinds = {(each.classifier, each.variant, each.canvas) for each in results.maps}
    assert ("small", "", (0.0,)) in kinds and ("small", "padding reflect", (0.0,)) in kinds
    assert ("small", "", (0.75,)) in kinds and not any("drawn" in variant for _, variant, _ in kinds)
    assert len(kinds) == len(results.maps)
    assert [bool(each.pairs) for each in results.maps].count(True) == 1 and results.maps[0].pairs
    assert {row.wanted for row in results.dark} == {True, False} and results.lean is not None
    assert {each.variant for each in results.accuracies} == {
        "", "padding reflect", "padding replicate", "padding circular", "gray 0 outside", "gray 0.5 outside",
        "gray 1 outside",
    }  # fmt: skip
    assert results.transfer and {each.shown for each in results.transfer} >= {"to linear", "shift 8", "blur", "jitter"}
    assert {"transfer", "transfer/linear", "test images of small"} <= set(results.ledger["searches"])
    assert results.data["count"] == 12 and results.linkage and results.config["tested"] == "12 test images"
    assert set(outcome.seconds) == {"where", "operators", "landscape", "padding", "position", "pipeline", "schedule"}


def test_findings_are_of_what_reached_its_goal_and_transfer_of_all_that_has_ink(data: Path) -> None:
    base = Config("ink_nets:small", "cat", options=MODULE, others=("ink_nets:alike",), parts=("where", "transfer"),
                  runs=4, fewer=1, generations=30, population=6)  # fmt: skip
    outcome = run.execute(planning.plan(base), workers=1)
    reached = [run_.seed for run_ in outcome.results.of(arms.BASE) if run_.reached is not None]
    assert 0 < len(reached) < 4, "all reach the goal, or none"
    inked = [run_.seed for run_ in outcome.results.of(arms.BASE) if run_.final.places]
    assert sorted({each.seed for each in outcome.results.transfer}) == inked
    assert sorted({finding.seed for finding in outcome.findings if finding.arm == arms.BASE}) == reached
    assert {each.arm for each in outcome.results.transfer} == {arms.BASE}
    classifier = load_classifier("ink_nets:small", MODULE)
    assert outcome.findings
    for finding in outcome.findings:
        scores = classifier(outcome.pictures[finding.file][None].float() / 255)
        assert float(scores.softmax(1)[0, 0]) == pytest.approx(finding.confidence, abs=1e-5)
        assert finding.confidence >= 0.96


def test_the_schedule_is_confined_and_then_free(whole: Config) -> None:
    plan = planning.plan(dataclasses.replace(whole, parts=("schedule",), confined=30, free=20, population=10))
    found = run.execute(plan, workers=1).results
    center = regions.mask("center:0.5", 10, 10).flatten()
    phases = {arm.name: [(p.region, p.last) for p in arm.drawing.phases] for arm in plan.planned}
    assert phases["schedule/center first"] == [("center:0.5", 30), ("everywhere", 50)]
    for run_ in found.of("schedule/center first"):
        at = dict(run_.strip)
        assert all(center[at[generation].places].all() for generation in (0, 5, 10, 20))
    assert all(center[run_.best.places].all() for run_ in found.of("schedule/center only"))
    assert not all(center[run_.best.places].all() for run_ in found.of("schedule/everywhere"))
    for name in ("center first", "everywhere", "center only"):
        assert {run_.generations[-1] for run_ in found.of(f"schedule/{name}")} == {50}


def test_workers_change_no_byte(results: Results, whole: Config) -> None:
    other = run.execute(planning.plan(dataclasses.replace(whole, side_by_side=1)), workers=2,
                        command="evofool study ink ...").results  # fmt: skip
    padded = {"padded": results.ledger["padded"]}  # how full the last calls are
    assert dataclasses.replace(other, ledger={**other.ledger, **padded}).to_json() == results.to_json()


def kept(path: Path, config: Config) -> str:
    plan = planning.plan(config)
    with RunDirectory.create(path, run.head(plan, "evofool study ink ...")) as directory:
        run.keep(run.execute(plan, workers=1, command="evofool study ink ...", directory=directory), directory)
    return (path / "study.json").read_text()


def test_a_run_directory_changes_no_byte_and_can_be_read(results: Results, whole: Config, tmp_path: Path) -> None:
    assert kept(tmp_path / "run", whole) == results.to_json()
    assert load(tmp_path / "run" / "study.json").to_json() == results.to_json()


def resumed(path: Path) -> str:
    plan, directory = run.reopen(path, trust_code=True)
    with directory:
        run.keep(run.execute(plan, workers=1, command="evofool study ink ...", directory=directory), directory)
    return (path / "study.json").read_text()


def test_killed_anywhere_and_resumed_it_comes_to_the_same(tmp_path: Path, data: Path) -> None:
    config = Config(
        "ink_nets:deadly", "cat", options={"trust_code": True}, others=("ink_nets:alike",), data=str(data), runs=2,
        fewer=1, generations=2, confined=2, free=1, population=6, confidence=0.3,
        parts=("operators", "landscape", "pipeline", "transfer"),
    )  # fmt: skip
    ink_nets.LEFT[0] = 10**9
    whole = json.loads(kept(tmp_path / "whole", config))
    calls_of_all = 10**9 - ink_nets.LEFT[0]
    assert calls_of_all > 50
    del whole["ledger"]
    assert whole["transfer"], "nothing was reached"
    # From the first question over maps and drawings to the test images and what is shown otherwise.
    for calls in (0, 3, calls_of_all // 3, 2 * calls_of_all // 3, calls_of_all - 8, calls_of_all - 1):
        path = tmp_path / f"killed after {calls}"
        child = os.fork()
        if not child:
            try:
                ink_nets.LEFT[0] = calls
                kept(path, config)
            finally:
                os._exit(7)
        status = os.waitpid(child, 0)[1]
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, f"it ended before {calls} calls"
        study = json.loads(resumed(path))
        assert study.pop("ledger")["kills"] == 1
        assert study == whole, calls


def test_a_budget_is_kept_in_every_arm(whole: Config) -> None:
    found = run.execute(planning.plan(dataclasses.replace(whole, budget=17, parts=("where", "operators"))), workers=1)
    flat = {arm.name for arm in found.results.arms if "flat" in arm.variant}
    spent = {
        (run_.arm in flat, found.results.ledger["searches"][f"{run_.arm}/small/{run_.seed}"]["issued"])
        for run_ in found.results.runs
    }
    asked = [count for is_flat, count in spent if not is_flat]
    assert max(asked) == 17, "no run comes to its budget, or one exceeds it"
    assert all(run_.ended is None for run_ in found.results.runs if run_.arm in flat), (
        "what costs nothing has no budget"
    )


# ---- on the command line


@pytest.fixture
def words(whole: Config, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    yield [
        "study", "ink", "--classifier", "ink_nets:small", "--with", "image_shape=1x10x10", "--with",
        "class_names=cat,not_cat", "--trust-code", "--target", "cat", "--runs", "2", "--fewer", "2", "--generations",
        "3", "--confined", "3", "--free", "2", "--population", "8", "--workers", "1",
    ]  # fmt: skip


def test_a_study_on_the_command_line(
    words: list[str], data: Path, tmp_path: Path, here: Callable[..., Here]
) -> None:  # fmt: skip
    out = tmp_path / "run"
    parts = ["--parts", "operators,data,transfer"]
    done = here(*words, *parts, "--data", str(data), "--confidence", "0.2", "--quick", "-o", str(out))
    assert done.returncode == 0, done.stderr
    assert " arms on small, 10 x 10 pixels: at most " in done.stderr and "without transfer: " in done.stderr
    assert done.stdout.startswith("• ") and done.stdout.strip().endswith(f"report: {out / 'report.html'}")
    verified = here("verify", str(out), "--trust-code")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "findings fool again" in verified.stdout
    exported = here("export", str(out), "--to", "csv", "--table", "generations", "-o", str(tmp_path / "g.csv"))
    assert exported.returncode == 0 and len((tmp_path / "g.csv").read_text().splitlines()) == 1 + 11 * 2 * 4
    assert "nothing is left to do" in here("resume", str(out)).stderr
    assert "ink, finished" in here("list", "runs", str(tmp_path)).stdout


def test_json_and_dry_run(words: list[str], tmp_path: Path, here: Callable[..., Here]) -> None:
    dry = here(*words, "--dry-run", "-o", str(tmp_path / "run"))
    assert dry.returncode == 0 and not (tmp_path / "run").exists()
    done = here(*words, "--parts", "schedule", "--json", "-o", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    found = load(tmp_path / "run" / "study.json")
    assert summary["queries"] == found.queries() > 0 and not summary["quick"] and summary["findings"]
    again = here(*found.command.split()[1:-1], str(tmp_path / "again"), "-q", "--workers", "1")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again" / "study.json").read_bytes() == (tmp_path / "run" / "study.json").read_bytes()
    before = (tmp_path / "run" / "report.html").read_bytes()
    assert here("report", str(tmp_path / "run")).returncode == 0
    assert (tmp_path / "run" / "report.html").read_bytes() == before


def test_each_mistake_gets_one_line_exit_code_2_and_leaves_nothing(
    words: list[str], tmp_path: Path, here: Callable[..., Here]
) -> None:
    for name in ("ant", "bee"):
        (tmp_path / "insects" / name).mkdir(parents=True)
        Image.new("L", (10, 10)).save(tmp_path / "insects" / name / "x.png")
    mistakes = {
        "unknown part": (["--parts", "where,opertors"], "did you mean 'operators'"),
        "the same twice": (["--others", "ink_nets:alike,ink_nets:alike"], "stands there twice"),
        "itself": (["--others", "ink_nets:small"], "stands there twice"),
        "other classes": (["--data", str(tmp_path / "insects")], "has the classes ant, bee"),
        "no data": (["--data", str(tmp_path / "nowhere")], "nowhere"),
        "confidence": (["--confidence", "1"], "confidence = 1"),
        "budget": (["--budget", "0"], "budget = 0"),
        "pixels": (["--pixels", "-3"], "pixels = -3"),
        "runs": (["--runs", "0"], "runs = 0"),
        "ink": (["--ink", "0"], "expected two that can be told apart"),
        "target": (["--target", "dog"], "no such class"),
    }
    for name, (more, said) in mistakes.items():
        done = here(*words, *more, "-q", "-o", str(tmp_path / "out"))
        lines = done.stderr.strip().splitlines()
        assert done.returncode == 2, f"{name}: exit code {done.returncode}, {done.stderr}"
        assert len(lines) == 1 and lines[0].startswith("evofool: ") and said in lines[0], f"{name}: {done.stderr}"
        assert not (tmp_path / "out").exists(), f"{name}: something was written"


def test_digits_shipped() -> None:
    base = Config("digits", "7", data="digits", quick=True, runs=1, generations=20, population=20,
                  parts=("landscape", "padding", "data", "transfer"), others=("digits-judge",))  # fmt: skip
    found = run.execute(planning.plan(base), workers=1).results
    plain = next(each for each in found.accuracies if not each.variant)
    swapped = [each for each in found.accuracies if each.variant]
    assert len(swapped) == 3 and plain.accuracy > 0.9 and plain.images == 1000
    assert all(each.changed for each in swapped) and len(found.maps[0].effects) == 28 * 28
    assert found.classifiers[0]["padding"] == "zeros" and found.lean is not None


# What a second look found -------------------------------------------------------------------------------------------


def test_a_twin_with_other_classes_is_not_compared_by_number(tmp_path: Path, data: Path) -> None:
    first = card(tmp_path / "zeros", "zeros")
    twin = card(tmp_path / "reflect", "reflect", seed=1)
    turned = card(tmp_path / "turned", "circular", seed=2, class_names=tuple(reversed(ink_nets.NAMES)))
    config = dataclasses.replace(
        SMALL, classifier=str(first), others=(str(twin), str(turned)), options={}, parts=("padding",), data=str(data)
    )
    plan = planning.plan(config)
    assert [network.padding for network in plan.question.others] == ["reflect"], "the twin itself was not found"
    asked = {arm.classifier for arm in plan.planned if arm.part == "padding"}
    assert str(twin) in asked and str(turned) not in asked


def test_where_the_limit_is_lifted_is_measured_in_every_schedule() -> None:
    """Generation 77 is none that curves usually show."""
    assert 77 not in record.measured_at(120) and 77 not in record.shown_at(120)
    config = dataclasses.replace(SMALL, parts=("schedule",), confined=77, free=43)
    found = run.execute(planning.plan(config), workers=1).results
    names = [arm.name for arm in found.arms if arm.part == "schedule"]
    assert len(names) == 3
    for name in names:
        for each in found.of(name):
            assert 77 in each.generations and each.generations[-1] == 120, name


def test_a_null_keeps_no_pictures_of_its_way(results: Results) -> None:
    nulls = [each for arm in results.arms if arm.variant.endswith("flat") for each in results.of(arm.name)]
    others = [each for each in results.of(arms.BASE)]
    assert nulls and all(len(each.strip) == 1 for each in nulls)
    assert others and all(len(each.strip) > 1 for each in others)


def test_a_blank_canvas_without_an_answer_ends_the_map_in_one_line() -> None:
    classifier = load_classifier("ink_nets:small", MODULE)
    blank = Ink((10, 10)).decode(torch.zeros(1, 1, 10, 10, dtype=torch.bool))[0]
    silent = Silent(classifier, lambda images: (images == blank).flatten(1).all(1))
    assert bool(silent(blank).isnan().all()), "it answers all the same"
    task = MapTask("silent", Variant(), 0, (1.0,), (0.0,), (10, 10))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks.runs, "loaded", lambda *_: silent)
        with pytest.raises(TargetError, match="no answer to the blank canvas"):
            task.run(lambda n, note="": None)


def test_what_another_network_does_not_answer_is_not_told() -> None:
    classifier = load_classifier("ink_nets:small", MODULE)
    mute = Silent(classifier, lambda images: torch.ones(len(images), dtype=torch.bool))
    picture = Picture([3, 44], 0.9, 0)
    drawn = Drawn(arms.BASE, "small", 0, picture, 1, 1, None, [], [], [], [], [], [])
    told = tasks.transfer(
        [drawn], classifier, {"mute": (mute, 0), "same": (classifier, 0)}, 0, Ink((10, 10)), store=None
    )
    assert {each.shown for each in told} > {"to same", "blur"} and "to mute" not in {each.shown for each in told}
    json.dumps([dataclasses.asdict(each) for each in told], allow_nan=False)


def test_accuracy_is_the_same_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = load_classifier("ink_nets:small", MODULE)
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (23, 1, 10, 10), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 2, (23,), generator=generator)
    whole = tasks.accuracy(classifier, pictures, labels, 0, account="a", store=None)
    monkeypatch.setattr(tasks, "SOME", 5)
    assert tasks.accuracy(classifier, pictures, labels, 0, account="a", store=None) == whole
    right = (classifier(pictures.float() / 255).argmax(1) == labels).double()
    assert whole[0] == pytest.approx(float(right.mean()), abs=1e-6) and 0 < whole[0] < 1


def test_which_layers_were_changed_is_told_without_test_images(tmp_path: Path) -> None:
    config = dataclasses.replace(
        SMALL, classifier=str(card(tmp_path / "zeros", "zeros")), others=(), options={}, parts=("padding",)
    )
    found = run.execute(planning.plan(config), workers=1).results.accuracies
    assert {each.variant for each in found} == {"padding reflect", "padding replicate", "padding circular"}
    assert all(each.images == 0 and len(each.changed) == 2 for each in found)
