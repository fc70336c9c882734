"""Attacks that see labels only, and the limits that they approach from outside."""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from evofool import evasion, recipes
from evofool.algorithms.evolutionary import COORDINATES, RATE, TOWARDS, WINDOW, Evolutionary
from evofool.algorithms.rays import RayS, tried
from evofool.algorithms.sparse_evo import SparseEvo, differs, without
from evofool.algorithms.starts import cells
from evofool.classifiers.fake import Constant, Linear, Silent
from evofool.contracts import Evaluated, Victims
from evofool.encodings.perturbation import FewPixels, Frame, LpBall, Patch, Unbounded
from evofool.errors import SpecError
from evofool.evasion import Evaded
from evofool.ledger import Ledger
from evofool.rng import Stream
from evofool.threat import Goal, Threat, threat
from fakes import stream

RECIPES = {"rays": "linf", "evolutionary": "l2", "sparse-evo": "l0"}
SHAPE = (1, 6, 6)
FINE = {"evolutionary": {"grid": 1.0}}  # on such small images a coarse grid could not reach one pixel


class Labels:
    """Says no more than which class a classifier chooses, and remembers what it was asked about.

    Attributes:
        asked: the images of each call so far, padding included unless calls are of one row.
        said: the classes.
    """

    def __init__(self, classifier: Any, micro_batch: int = 50):
        self.info = replace(classifier.info, kind="label", micro_batch=micro_batch)
        self._classifier = classifier
        self.asked: list[torch.Tensor] = []
        self.said: list[torch.Tensor] = []

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        scores = self._classifier(images)
        self.asked.append(images.clone())
        self.said.append(scores.argmax(1))
        hot = torch.nn.functional.one_hot(scores.argmax(1), scores.shape[1]).float()
        return hot.masked_fill(scores.isnan().any(1, keepdim=True), torch.nan)


def images(count: int, shape: tuple[int, int, int] = SHAPE) -> torch.Tensor:
    """Mid gray with some texture, on the lattice: 100 to 155 of 255."""
    return (100 + stream(count, seed=3)["images"].integers(56, *shape)).float() / 255


def attack(
    classifier: Any,
    x: torch.Tensor,
    name: str,
    limit: Threat,
    budget: int,
    *,
    at_once: int | None = 100,
) -> Evaded:
    """Attack images, whose class is 0; every question counts, also one that was asked before."""
    goal = Goal()
    setting = recipes.Setting(limit, goal, budget, classifier.info)
    algorithm = recipes.algorithm(name, setting, FINE.get(name))
    labels = torch.zeros(len(x), dtype=torch.int64)
    victims = evasion.victims_of(x, labels, classifier(x), goal.objective, classifier.info)
    return evasion.evade(
        victims,
        accounts=torch.arange(len(x)),
        seeds=[0] * len(x),
        algorithm=algorithm,
        encoding=limit.encoding,
        objective=goal.objective,
        criterion=goal.criterion,
        ledger=Ledger(classifier, searches=len(x), budget=budget, cache=False),
        at_once=at_once,
    )


def one_pixel(threshold: float = 0.9, place: tuple[int, int] = (2, 5)) -> Linear:
    """Fooled once one pixel is above a threshold."""
    weight = torch.zeros(2, *SHAPE)
    weight[1, 0, place[0], place[1]] = 1.0
    return Linear(weight, torch.tensor([threshold, 0.0]))


def plane(norm: str) -> tuple[Linear, torch.Tensor, float]:
    """A linear classifier, an image, and the smallest perturbation that reaches its boundary.

    Its weights have one sign in each row, and differ in size.
    """
    x = images(1)
    rows = [1.0, -1.0, -1.0, 1.0, -1.0, 1.0] if norm == "linf" else [1.0, 1.0, 1.0, -1.0, -1.0, -1.0]
    sign = torch.tensor(rows)[:, None]
    weight = (sign * (0.5 + stream(1, seed=8)["weight"].uniform(6, 6)[0]))[None]
    margin = {"linf": 4.0, "l2": 3.0, "l0": 4.0}[norm]
    bias = -float((weight.double() * x[0].double()).sum()) - margin
    classifier = Linear(torch.stack([torch.zeros_like(weight), weight]), torch.tensor([0.0, bias]))
    if norm == "linf":
        return classifier, x, margin / float(weight.abs().sum())
    if norm == "l2":
        return classifier, x, margin / float(weight.norm())
    gain = torch.where(weight > 0, weight * (1 - x[0]), -weight * x[0]).flatten().sort(descending=True).values
    return classifier, x, int((gain.cumsum(0) < margin).sum()) + 1


def size(image: torch.Tensor, x: torch.Tensor, norm: str) -> float:
    """How far an image is, in bytes."""
    levels = (image * 255).round().long() - (x * 255).round().long()
    assert torch.equal((x * 255).round() / 255, x)
    assert torch.equal((image * 255).round() / 255, image), "not on the lattice"
    if norm == "linf":
        return int(levels.abs().max()) / 255
    return math.sqrt(int(levels.square().sum())) / 255 if norm == "l2" else int((levels != 0).any(-3).sum())


# What they find -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "limit"), [("rays", 140 / 255), ("evolutionary", 0.8), ("sparse-evo", 1)])
def test_the_one_pixel_that_fools_is_found(name, limit):
    classifier, x = one_pixel(), images(4)
    norm = RECIPES[name]
    allowed = threat(norm, limit, SHAPE)
    found = attack(Labels(classifier), x, name, allowed, 3000)
    assert found.fooled.all()
    assert (found.queries > 1).all()
    for image, original in zip(found.images, x, strict=True):
        assert float(image[0, 2, 5]) > 0.9
        assert size(image, original, norm) <= allowed.size
    assert (found.scores.argmax(1) == 1).all()


@pytest.mark.parametrize(("name", "slack"), [("rays", 1.1), ("evolutionary", 1.3), ("sparse-evo", 1.5)])
def test_near_the_smallest_perturbation_of_a_plane_one_is_found(name, slack):
    norm = RECIPES[name]
    classifier, x, smallest = plane(norm)
    limit = smallest * slack
    allowed = threat(norm, math.ceil(limit) if norm == "l0" else limit + 1 / 255, SHAPE)
    found = attack(Labels(classifier), x, name, allowed, 5000)
    assert found.fooled.all()
    assert smallest <= size(found.images[0], x[0], norm) <= allowed.size


@pytest.mark.parametrize("name", RECIPES)
def test_below_the_smallest_perturbation_of_a_plane_nothing_counts_though_images_outside_fool(name):
    norm = RECIPES[name]
    classifier, x, smallest = plane(norm)
    allowed = threat(norm, smallest - 1 if norm == "l0" else smallest * 0.999, SHAPE)
    watched = Labels(classifier, micro_batch=1)
    failed = attack(watched, x, name, allowed, 400)
    assert sum(int(said.sum()) for said in watched.said) > 5, "nothing outside the limit fooled"
    assert not failed.fooled.any()
    assert torch.equal(failed.images, x)
    assert failed.scores.argmax(1) == 0


@pytest.mark.parametrize("name", RECIPES)
def test_the_best_attempt_lies_within_the_limit_also_where_there_are_scores(name):
    """The lowest margins are met outside."""
    norm = RECIPES[name]
    classifier, x, smallest = plane(norm)
    allowed = threat(norm, smallest - 1 if norm == "l0" else smallest * 0.999, SHAPE)
    failed = attack(classifier, x, name, allowed, 400)
    assert not failed.fooled.any()
    assert size(failed.images[0], x[0], norm) <= allowed.size


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("budget", [1, 2, 7, 150])
def test_a_constant_classifier_is_never_fooled_and_never_asked_more_than_the_budget(name, budget):
    watched = Labels(Constant([1.0, 0.0], SHAPE), micro_batch=1)
    x = images(3)
    failed = attack(watched, x, name, threat(RECIPES[name], 1, SHAPE), budget)
    assert not failed.fooled.any()
    assert torch.equal(failed.images, x)
    assert len(watched.asked) - 1 == int(failed.queries.sum())
    assert (failed.queries == budget).all()


@pytest.mark.parametrize("name", RECIPES)
def test_an_image_without_answers_is_not_fooled(name):
    silent = Silent(one_pixel(), lambda images: images.mean((1, 2, 3)) != 0)
    labels = Labels(one_pixel())
    limit, goal, x = threat(RECIPES[name], 1, SHAPE), Goal(), images(2)
    victims = evasion.victims_of(x, torch.zeros(2, dtype=torch.int64), labels(x), goal.objective, labels.info)
    algorithm = recipes.algorithm(name, recipes.Setting(limit, goal, 9, labels.info))
    failed = evasion.evade(
        victims,
        accounts=torch.arange(2),
        seeds=[0, 0],
        algorithm=algorithm,
        encoding=limit.encoding,
        objective=goal.objective,
        criterion=goal.criterion,
        ledger=Ledger(Labels(silent), searches=2, budget=9),
    )
    assert not failed.fooled.any()
    assert torch.equal(failed.images, x)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("before", [0, 1, 14])
def test_a_failed_question_teaches_no_more_than_one_that_did_not_fool(name, before):
    limit, x = threat(RECIPES[name], 1, SHAPE), images(2)
    algorithm = recipes.algorithm(name, recipes.Setting(limit, Goal(), 9, one_pixel().info))
    state = algorithm.init(victims(x))
    for turn in range(before):
        asked = algorithm.asks.repair(algorithm.ask(state, stream(2).at(turn)), x)
        state = algorithm.tell(state, *answered(asked, torch.ones(2, 1, dtype=torch.bool)))
    asked = algorithm.asks.repair(algorithm.ask(state, stream(2).at(before)), x)
    evaluated, _, none = answered(asked, torch.zeros(2, 1, dtype=torch.bool))
    missed = algorithm.tell(state, evaluated, torch.ones(2, 1).double(), none)
    failed = algorithm.tell(state, evaluated, torch.full((2, 1), torch.nan).double(), none)
    for field in dataclasses.fields(state):
        assert torch.equal(getattr(failed, field.name), getattr(missed, field.name)), field.name


# Laws ---------------------------------------------------------------------------------------------------------------


LOOSE = {"rays": 1.2, "evolutionary": 1.8}
LIMITS = {"rays": 120 / 255, "evolutionary": 1.2, "sparse-evo": 2}


@pytest.mark.parametrize("name", RECIPES)
def test_an_image_alone_is_that_image_in_a_batch_also_where_it_joins_later(name):
    flat, _, smallest = plane(RECIPES[name])
    classifier, x = Labels(flat), images(5)
    limit = threat(RECIPES[name], smallest + 1 if name == "sparse-evo" else smallest * LOOSE[name], SHAPE)
    together = attack(classifier, x, name, limit, 120)
    assert together.fooled.any(), "no image was fooled: nothing left the batch"
    assert len(set(together.queries.tolist())) > 2, "all images took as many questions: none was in another round"
    later = attack(classifier, x, name, limit, 120, at_once=3)
    backwards = attack(classifier, x.flip(0), name, limit, 120, at_once=2)
    for field in ("fooled", "queries", "images", "scores"):
        wanted = getattr(together, field)
        assert torch.equal(getattr(later, field), wanted), field
        assert torch.equal(getattr(backwards, field).flip(0), wanted), field
    for row in (0, 3):
        alone = attack(classifier, x[row : row + 1], name, limit, 120)
        assert torch.equal(alone.images[0], together.images[row])
        assert alone.queries[0] == together.queries[row]


@pytest.mark.parametrize("name", RECIPES)
def test_a_smaller_budget_is_the_beginning_of_a_larger_one(name):
    classifier, x = Labels(one_pixel()), images(8)
    limit = threat(RECIPES[name], LIMITS[name], SHAPE)
    long = attack(classifier, x, name, limit, 400)
    cut = int(long.queries[long.fooled].median())
    short = attack(classifier, x, name, limit, cut)
    assert 0 < int(short.fooled.sum()) < len(x)
    assert torch.equal(short.fooled, long.fooled & (long.queries <= cut))
    assert torch.equal(short.images[short.fooled], long.images[short.fooled])


@pytest.mark.parametrize("name", RECIPES)
def test_colours_and_rectangles(name):
    shape = (3, 5, 9)
    weight = torch.zeros(2, *shape)
    weight[1, 1, 4, 8] = 1.0
    classifier = Labels(Linear(weight, torch.tensor([0.8, 0.0])))
    limit = threat(RECIPES[name], 1, shape)
    found = attack(classifier, images(2, shape), name, limit, 3000)
    assert found.fooled.all()
    assert (found.images[:, 1, 4, 8] > 0.8).all()


@pytest.mark.parametrize("name", RECIPES)
def test_what_they_cannot_do_is_said(name):
    info, norm = Labels(one_pixel()).info, RECIPES[name]
    other = {"linf": "l2", "l2": "l0", "l0": "linf"}[norm]
    with pytest.raises(SpecError, match="cannot aim at a class"):
        recipes.algorithm(name, recipes.Setting(threat(norm, 1, SHAPE), Goal(targeted=True), 9, info))
    with pytest.raises(SpecError, match=f"not {other}"):
        recipes.algorithm(name, recipes.Setting(threat(other, 1, SHAPE), Goal(), 9, info))


@pytest.mark.parametrize(
    ("algorithm", "encoding"),
    [(RayS, LpBall("l2", 1.0)), (Evolutionary, LpBall("linf", 1.0)), (SparseEvo, Patch(2)), (RayS, FewPixels(2))],
)
def test_another_limit_is_refused(algorithm, encoding):
    with pytest.raises(SpecError, match="only"):
        algorithm(encoding)


# Limits -------------------------------------------------------------------------------------------------------------


def picture(*levels: list[int]) -> torch.Tensor:
    """One image [1 1 1 H W] of gray levels."""
    return torch.tensor(levels).float()[None, None, None] / 255


def test_a_radius_holds_exactly_in_gray_levels():
    x = picture([10, 250, 100])[0]
    assert LpBall("linf", 76 / 255).holds(picture([86, 174, 100]), x).item()
    assert not LpBall("linf", 76 / 255).holds(picture([87, 250, 100]), x).item()
    assert not LpBall("linf", 76 / 255).holds(picture([10, 173, 100]), x).item()
    assert LpBall("l2", 5 / 255).holds(picture([13, 246, 100]), x).item()  # 3, 4, 5
    assert not LpBall("l2", 5 / 255).holds(picture([13, 246, 101]), x).item()
    assert LpBall("l2", 2.0).holds(picture([255, 0, 255]), x).item()


def test_pixels_patches_and_frames_hold_for_pixels_of_any_channel():
    x = torch.full((1, 3, 5, 6), 100 / 255)
    two = x[:, None].clone()
    two[0, 0, 0, 1, 1], two[0, 0, 2, 2, 3], two[0, 0, 1, 2, 3] = 0.0, 1.0, 1.0
    assert [FewPixels(k).holds(two, x).item() for k in (1, 2, 3)] == [False, True, True]
    assert [Patch(side).holds(two, x).item() for side in (1, 2, 3, 5)] == [False, False, True, True]  # columns 1 to 3
    assert [Frame(thickness).holds(two, x).item() for thickness in (1, 2, 3)] == [False, False, True]
    upright = x[:, None].clone()
    upright[0, 0, 1, 0, 4] = upright[0, 0, 1, 3, 4] = 0.0
    assert [Patch(side).holds(upright, x).item() for side in (1, 3, 4)] == [False, False, True]
    two[0, 0, :, 2, 3] = x[0, :, 2, 3]
    assert [Frame(thickness).holds(two, x).item() for thickness in (1, 2)] == [False, True]
    for limit in (FewPixels(1), Patch(1), Frame(1), LpBall("linf", 1 / 255), LpBall("l2", 0.01)):
        assert limit.holds(x[:, None], x).all(), "the image itself"


@pytest.mark.parametrize(
    "limit",
    [LpBall("linf", 76 / 255), LpBall("l2", 0.7), LpBall("l2", 2.0), FewPixels(3), Patch(2), Patch(9), Frame(2)],
    ids=str,
)
def test_what_a_limit_makes_holds_and_what_goes_beyond_does_not(limit):
    x = torch.cat([images(3, (3, 7, 8)), torch.zeros(1, 3, 7, 8), torch.ones(1, 3, 7, 8)])
    made = limit.decode(limit.sample(x, 20, stream(5)), x)
    assert limit.holds(made, x).all()
    if limit != Patch(9):  # more than the whole image
        beyond = torch.where(x > 0.5, 0.0, 1.0)[:, None].expand_as(made)
        assert not limit.holds(beyond, x).any()


def test_without_a_limit_images_stay_images():
    x, free = images(3), Unbounded()
    drawn = free.sample(x, 2, stream(3))
    assert torch.equal(free.repair(drawn, x), drawn)
    far = free.repair(10 * drawn, x)
    assert torch.equal(free.repair(far, x), far)
    decoded = free.decode(far, x)
    assert decoded.min() == 0.0
    assert decoded.max() == 1.0
    assert free.holds(decoded, x).all()


# RayS by hand -------------------------------------------------------------------------------------------------------


def victims(x: torch.Tensor) -> Victims:
    none = torch.zeros(len(x))
    return Victims(x, none.long(), torch.zeros(len(x), 2), none + 1)


def answered(genomes: Any, fools: torch.Tensor) -> tuple[Evaluated, torch.Tensor, torch.Tensor]:
    """What `tell` gets, of answers."""
    fitness = torch.where(fools, -1.0, 1.0).double()
    empty: Any = None
    return Evaluated(genomes, empty, None, empty, empty, empty), fitness, fools


def test_rays_flips_the_whole_then_halves_then_quarters():
    algorithm = RayS(LpBall("linf", 0.2))
    state, seen = algorithm.init(victims(torch.zeros(1, 1, 1, 5))), []
    for _ in range(12):
        asked = algorithm.ask(state, stream())
        assert asked.abs().min() == 1.0, "radius 1, as long as nothing fools"
        seen.append("".join("-" if value < 0 else "+" for value in asked.flatten()))
        state = algorithm.tell(state, *answered(asked, torch.zeros(1, 1, dtype=torch.bool)))
    whole, halves, quarters = seen[:1], seen[1:3], seen[3:6]  # quarters of five are two long: three of them
    assert whole == ["-----"]
    assert halves == ["---++", "+++--"]
    assert quarters == ["--+++", "++--+", "++++-"]
    assert seen[6:11] == ["-++++", "+-+++", "++-++", "+++-+", "++++-"]
    assert seen[11] == seen[6]  # and again


def test_rays_bisects_a_direction_that_fools_and_keeps_it_only_if_it_is_nearer():
    """Fooled where the first pixel falls by 40 gray levels, or the second rises by 25."""
    algorithm = RayS(LpBall("linf", 1 / 255), fineness=1)
    state = algorithm.init(victims(torch.zeros(1, 1, 1, 2)))
    radii = []
    for _ in range(20):
        asked = algorithm.ask(state, stream())
        first, second = (asked.flatten() * 255).round().long().tolist()
        radii.append(((first, second), bool(first <= -40 or second >= 25)))
        state = algorithm.tell(state, *answered(asked, torch.tensor([[radii[-1][1]]])))
    down = [255, 127, 63, 31, 47, 39, 43, 41, 40]
    assert [question for question, _ in radii[:9]] == [(-r, -r) for r in down]
    assert radii[9] == ((39, -39), False), "one level nearer, with the first half flipped"
    assert radii[10] == ((-39, 39), True)
    assert [question[1] for question, _ in radii[11:16]] == [19, 29, 24, 26, 25]
    assert state.radius.tolist() == [25]
    assert state.signs.flatten().tolist() == [-1, 1]
    assert torch.equal(tried(state).abs(), torch.ones(1, 1, 1, 2))


def test_a_radius_between_two_gray_levels_is_the_larger_one_for_a_share_of_the_pixels():
    algorithm = RayS(LpBall("linf", 0.2), fineness=64)
    start = algorithm.init(victims(torch.zeros(1, 1, 40, 40)))
    before = torch.zeros(1600)
    for steps in (1, 16, 32, 63, 64, 80, 255 * 64):
        state = dataclasses.replace(start, radius=torch.tensor([steps + 1]))
        levels = (algorithm.ask(state, stream()).abs() * 255).round().flatten()
        assert abs(float(levels.mean()) - steps / 64) < 0.01
        assert levels.max() - levels.min() <= 1
        parts = levels.view(5, 320).mean(1)
        assert parts.max() - parts.min() < 0.05, "scattered evenly"
        assert (levels >= before).all()
        before = levels


# The evolutionary attack by hand ------------------------------------------------------------------------------------


def walking(count: int, shape: tuple[int, int, int] = (1, 20, 20)) -> tuple[Evolutionary, Any, torch.Tensor]:
    """An attack whose first question fooled."""
    algorithm, x = Evolutionary(LpBall("l2", 0.01)), images(count, shape)
    state = algorithm.init(victims(x))
    asked = algorithm.asks.repair(algorithm.ask(state, stream(count)), x)
    return algorithm, algorithm.tell(state, *answered(asked, torch.ones(count, 1, dtype=torch.bool))), x


def test_the_walk_begins_from_more_and_more_noise():
    algorithm, x = Evolutionary(LpBall("l2", 0.01)), images(1, (1, 20, 20))
    state, strengths = algorithm.init(victims(x)), []
    for turn in range(12):
        asked = algorithm.ask(state, stream().at(turn))
        strengths.append(float(asked.perturbation.abs().max()))
        state = algorithm.tell(state, *answered(asked, torch.zeros(1, 1, dtype=torch.bool)))
    assert strengths[:10] == sorted(strengths[:10])
    assert strengths[0] < 0.1 < 0.4 < strengths[9]
    assert strengths[10] < 0.1, "weak again"
    assert not state.found.any()


def test_a_step_ends_as_near_as_its_move_towards_the_image_alone():
    algorithm, state, _ = walking(5)
    step = algorithm.ask(state, stream(5).at(1))
    before, after = state.best.flatten(1).norm(dim=1), step.perturbation.flatten(1).norm(dim=1)
    assert torch.allclose(after, (1 - TOWARDS) * before, rtol=1e-5)
    coordinates = 8 * 8 // 20
    assert state.path.shape == (5, 1, 8, 8)
    assert ((step.drawn != 0).flatten(1).sum(1) == coordinates).all()


def test_a_step_is_as_long_as_in_the_paper_whatever_the_number_of_coordinates():
    share = 0.01 * math.sqrt(COORDINATES)
    for coordinates in (1 / 20, 1.0):
        algorithm, state, _ = walking(200)
        algorithm = dataclasses.replace(algorithm, grid=1.0, coordinates=coordinates)
        wide = torch.ones_like(state.x)
        state = dataclasses.replace(state, path=0 * wide, variance=wide)
        step = algorithm.ask(state, stream(200).at(1))
        distance = state.best.flatten(1).norm(dim=1)
        straight = (1 - TOWARDS) * state.best.flatten(1)
        across = step.perturbation.flatten(1)
        cosine = (across * straight).sum(1) / across.norm(dim=1) / straight.norm(dim=1)
        length = (1 / cosine.double().square() - 1).sqrt() * straight.norm(dim=1) / distance
        assert abs(float(length.mean()) - share * (1 - TOWARDS)) < 0.15 * share


def test_steps_that_fool_are_taken_and_teach_where_noise_is_worth_it():
    algorithm, state, _ = walking(2)
    step = algorithm.ask(state, stream(2).at(1))
    after = algorithm.tell(state, *answered(step, torch.tensor([[True], [False]])))
    assert torch.equal(after.best[0], step.perturbation[0, 0])
    assert torch.equal(after.best[1], state.best[1])
    path = math.sqrt(0.01 * 1.99) * step.drawn[0, 0]
    assert torch.allclose(after.path[0], path)
    assert torch.allclose(after.variance[0], 0.999 + 0.001 * path**2)
    assert torch.equal(after.path[1], state.path[1])
    assert torch.equal(after.variance[1], state.variance[1])


def test_coordinates_are_chosen_in_proportion_to_their_variance():
    algorithm, state, _ = walking(400)
    variance = torch.full_like(state.variance, 1e-6)
    variance[:, 0, 3, 4], variance[:, 0, 5, 5] = 3.0, 1.0
    algorithm = dataclasses.replace(algorithm, coordinates=1 / 64)
    step = algorithm.ask(dataclasses.replace(state, variance=variance), stream(400).at(1))
    counts = (step.drawn != 0).sum((0, 1, 2)).double() / 400
    assert abs(counts[3, 4] - 0.75) < 0.08
    assert abs(counts[5, 5] - 0.25) < 0.08
    assert abs(step.drawn[:, 0, 0, 3, 4].square().sum() / (3 * 400 * counts[3, 4]) - 1) < 0.25


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_move_towards_the_image_follows_the_success_rate(share):
    algorithm, state, _ = walking(1)
    for turn in range(WINDOW):
        assert state.towards.item() == pytest.approx(TOWARDS)
        step = algorithm.ask(state, stream().at(turn + 1))
        state = algorithm.tell(state, *answered(step, torch.tensor([[share == 1.0]])))
    assert state.towards.item() == pytest.approx(TOWARDS * math.exp(share - RATE))
    assert state.steps.item() == state.taken.item() == 0


# SparseEvo by hand --------------------------------------------------------------------------------------------------


def evolving(fools: Any, rounds: int, count: int = 3) -> list[Any]:
    """The states of an attack; `fools` says of perturbations [B C H W] which do."""
    algorithm, x = SparseEvo(FewPixels(1)), images(count, (1, 12, 12))
    states = [algorithm.init(victims(x))]
    for turn in range(rounds):
        asked = algorithm.asks.repair(algorithm.ask(states[-1], stream(count).at(turn)), x)
        states.append(algorithm.tell(states[-1], *answered(asked, fools(asked[:, 0])[:, None])))
    return states


def always(perturbation: torch.Tensor) -> torch.Tensor:
    return torch.ones(len(perturbation), dtype=torch.bool)


def test_sparse_evo_fills_its_population_with_parts_of_the_start():
    states = evolving(always, 11)
    first, filled = states[1], states[11]
    assert first.found.all()
    assert (first.x + first.start).unique().tolist() == [0.0, 1.0], "black and white"
    assert not torch.equal(first.start[0] + first.x[0], first.start[1] + first.x[1]), "of its own for each image"
    assert filled.filled.tolist() == [10, 10, 10]
    assert (filled.masks.sum(2) == 144 - 1).all(), "0.004 of 144 pixels, at least one, is left out"
    assert len(filled.masks[0].unique(dim=0)) > 5


def test_sparse_evo_children_are_smaller_than_the_best_and_replace_the_worst():
    states = evolving(always, 60)
    for before, after in itertools.pairwise(states[11:]):
        for row in range(3):
            changed = (before.masks[row] != after.masks[row]).any(1).nonzero().flatten().tolist()
            assert changed == [int(before.distance[row].argmax())]
            child, best = after.masks[row, changed[0]], before.masks[row, int(before.distance[row].argmin())]
            assert (child & ~best).sum() == 0
            assert child.sum() < best.sum()
            assert after.distance[row, changed[0]] < before.distance[row].min()
            length = after.start[row].flatten()[child].norm()
            assert torch.isclose(after.distance[row, changed[0]], length, rtol=1e-5)


def test_sparse_evo_keeps_what_it_has_where_children_do_not_fool():
    """Fooled by the first image and by nothing smaller: members are that image."""

    def whole(perturbation: torch.Tensor) -> torch.Tensor:
        return (perturbation != 0).flatten(1).all(1)

    states = evolving(whole, 40)
    assert states[1].found.all()
    assert states[-1].filled.tolist() == [10, 10, 10]
    assert states[-1].masks.all()
    assert torch.equal(states[-1].distance[:, 0], states[-1].start.flatten(1).norm(dim=1))


def members(*masks: torch.Tensor, searches: int = 1) -> tuple[SparseEvo, Any]:
    """A filled population of such masks [S], the first of them nearest; images are 12 x 12."""
    algorithm = SparseEvo(FewPixels(1), population=len(masks))
    state = algorithm.init(victims(images(searches, (1, 12, 12))))
    every = torch.ones(searches, dtype=torch.int64)
    return algorithm, dataclasses.replace(
        state,
        start=-state.x,
        found=every.bool(),
        masks=torch.stack(masks).expand(searches, -1, -1),
        distance=torch.arange(1.0, len(masks) + 1).expand(searches, -1),
        filled=every * len(masks),
    )


def test_a_child_has_of_the_best_what_a_mixture_of_two_others_has():
    """Mostly what the one or the other has, a tenth of what the second has, and less one pixel."""
    left, whole = torch.arange(144) % 12 < 6, torch.ones(144, dtype=torch.bool)
    algorithm, state = members(whole, left, ~left, searches=60)
    child = differs(algorithm.ask(state, stream(60))[:, 0])
    shares = torch.stack([child[:, left].double().mean(1), child[:, ~left].double().mean(1)]).sort(0).values.mean(1)
    assert shares.tolist() == pytest.approx([0.1, 0.9], abs=0.03)
    assert len(child[:, 0].unique()) == 2, "either of them comes first"
    lower = torch.arange(144) < 72
    algorithm, state = members(lower, left, ~left, searches=60)
    assert not differs(algorithm.ask(state, stream(60))[:, 0])[:, ~lower].any()


def test_a_child_of_one_pixel_keeps_it():
    one = torch.arange(144) == 40
    algorithm, state = members(one, one, one)
    assert torch.equal(differs(algorithm.ask(state, stream())[:, 0])[0], one)


def test_so_many_pixels_of_a_mask_are_left_out():
    mask = stream(4)["mask"].uniform(50) < 0.5
    few = without(mask, torch.tensor([0, 1, 3, 7]), stream(4))
    assert not (few & ~mask).any()
    assert (mask.sum(1) - few.sum(1)).tolist() == [0, 1, 3, 7]
    assert not torch.equal(few[1], without(mask, torch.tensor([0, 1, 3, 7]), stream(4).at(1))[1])


def test_a_pixel_differs_if_any_channel_does():
    perturbation = torch.zeros(1, 3, 1, 3)
    perturbation[0, 2, 0, 1] = -0.1
    assert differs(perturbation).tolist() == [[False, True, False]]


def test_sparse_evo_begins_from_coarser_and_coarser_noise():
    algorithm, x = SparseEvo(FewPixels(1)), images(1, (3, 16, 16))
    state, sides = algorithm.init(victims(x)), []
    for turn in range(6):
        asked = algorithm.ask(state, stream().at(turn))
        noise = asked[:, 0] + x
        assert torch.equal(noise[:, 0], noise[:, 2]), "gray"
        sides.append(max(side for side in (1, 2, 4, 8, 16) if torch.equal(noise, blocks(noise, side))))
        state = algorithm.tell(state, *answered(asked, torch.zeros(1, 1, dtype=torch.bool)))
    assert all(found >= side for found, side in zip(sides, (1, 2, 4, 8, 16, 1), strict=True))
    assert sides[0] == sides[5] == 1


def blocks(image: torch.Tensor, side: int) -> torch.Tensor:
    """The image, each square of that side in the colour of its first pixel."""
    return image[..., ::side, ::side].repeat_interleave(side, -1).repeat_interleave(side, -2)


def test_cells_grow_in_turn():
    drawn = Stream([0], [0])["x"].uniform(2, 6, 7)
    assert torch.equal(cells(drawn, torch.tensor([0])), drawn)
    twos = cells(drawn, torch.tensor([1]))
    assert torch.equal(twos[:, :, 0:2, 2:4], twos[:, :, :1, 2:3].expand(-1, -1, 2, 2))
    assert len(twos[0, 0].unique()) == 3 * 4
    assert len(cells(drawn, torch.tensor([2]))[0, 0].unique()) == 2 * 2
    assert len(cells(drawn, torch.tensor([3]))[0, 0].unique()) == 1
    assert torch.equal(cells(drawn, torch.tensor([5])), drawn)
