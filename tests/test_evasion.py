"""The loop of attacks, with every recipe: who comes and goes, what is charged, what counts, and what is given back."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from evofool import evasion, recipes
from evofool.classifiers.fake import Constant, Linear, Silent
from evofool.contracts import Dataset, Evaluated, Status, Victims
from evofool.encodings.perturbation import distance
from evofool.errors import ClassifierError, SpecError
from evofool.evasion import Evaded, evade, image_ids, rows_of, victims_of
from evofool.ledger import Ledger
from evofool.rundir import NO_LABEL
from evofool.studies.attack import given, shards
from evofool.studies.attack.assault import Assaulted, assault
from evofool.studies.attack.given import Config
from evofool.threat import Goal, threat
from fakes import stream

SHAPE = (1, 6, 6)
CLASSES = 3
IMAGES = 5
BUDGET = 24
LONGER = {"sparse-evo": 150}  # it approaches the limit from far away
SIZES = {"linf": 24 / 255, "l2": 0.8, "l0": 3, "patch": 2, "frame": 1}
PAIRS = [(name, norm) for name, recipe in recipes.recipes().items() for norm in recipe.norms]
ALONE = {"genepool": {"independent": True}}  # recipes that share can be told not to
GRID = {"evolutionary": {"grid": 1.0}}  # on such small images a coarse grid could not reach one pixel
SEEDS = [11, 12, 13, 14, 15]


def net(micro_batch: int = 7) -> Linear:
    """Logits with weights of either sign, all 0 for a gray image."""
    weight = (stream(CLASSES, seed=99)["weight"].uniform(*SHAPE) - 0.5) * 0.4
    return Linear(weight, -0.5 * weight.flatten(1).sum(1), micro_batch=micro_batch)


@functools.cache
def _many() -> tuple[torch.Tensor, torch.Tensor]:
    """Noise on the lattice, black and white included, and its margins."""
    noise = stream(400, seed=3)["images"].integers(256, *SHAPE).float() / 255
    best = net()(noise).topk(2, dim=1).values
    return noise, best[:, 0] - best[:, 1]


MARGINS = (0.02, 0.3, 0.06, 9.0, 0.12)  # from easy to hopeless


def images(margins: tuple[float, ...] = MARGINS) -> torch.Tensor:
    """Images with such margins, of several classes."""
    noise, there = _many()
    chosen: list[int] = []
    for margin in margins:
        near = (there - margin).abs().argsort().tolist()
        chosen.append(next(row for row in near if row not in chosen))
    return noise[chosen]


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small are the images that some searches soon have asked all that they can."""
    monkeypatch.setattr(evasion, "IDLE", 15)


class Books(Ledger):
    """A ledger that remembers who asked what, and what came back.

    Attributes:
        asked: one (account, image, scores, status) for each row, of each call.
    """

    def __init__(self, *args: Any, **given: Any):
        super().__init__(*args, **given)
        self.asked: list[list[tuple[int, torch.Tensor, torch.Tensor, int]]] = []

    def ask(self, images: torch.Tensor, search: torch.Tensor, key: Any = (), **given: Any) -> Any:
        answers = super().ask(images, search, key, **given)
        rows = zip(search.tolist(), images.clone(), answers.scores.clone(), answers.status.tolist(), strict=True)
        self.asked.append(list(rows))
        return answers


@dataclass
class Attack:
    """An attack as it was made, with its books."""

    evaded: Evaded
    books: Books
    victims: Victims
    goal: Goal

    def rounds(self, account: int) -> list[list[tuple[torch.Tensor, torch.Tensor, int]]]:
        """What was asked for one image, round by round, without what came before the search."""
        rounds = [[row[1:] for row in call if row[0] == account] for call in self.books.asked[1:]]
        return [some for some in rounds if some]


def attack(
    name: str | Any,
    norm: str,
    *,
    classifier: Any = None,
    x: torch.Tensor | None = None,
    labels: torch.Tensor | None = None,
    budget: int | None = None,
    at_once: int | None = None,
    goal: Goal | None = None,
    arguments: dict[str, Any] | None = None,
    seeds: list[int] | None = None,
    size: float | None = None,
    cache: bool = True,
    total: int | None = None,
    pool: Any = None,
    on_round: Any = None,
) -> Attack:
    """Ask about images as they are, then attack them, by a recipe or by an algorithm."""
    classifier = classifier or net()
    x = images() if x is None else x
    budget = budget or LONGER.get(name if isinstance(name, str) else "", BUDGET)
    limit = threat(norm, size or SIZES[norm], classifier.info.image_shape)
    goal = goal or Goal()
    algorithm = name
    if isinstance(name, str):
        setting = recipes.Setting(limit, goal, budget, classifier.info)
        given = {**ALONE.get(name, {}), **GRID.get(name, {}), **(arguments or {})}
        algorithm = recipes.algorithm(name, setting, given)
    own = None if total is not None else budget
    books = Books(classifier, searches=len(x), budget=own, total=total, cache=cache)
    answers = books.ask(x, torch.arange(len(x)), ("as they are",))
    labels = answers.scores.nan_to_num(nan=-torch.inf).argmax(1) if labels is None else labels
    victims = victims_of(x, labels, answers.scores, goal.objective, classifier.info)
    evaded = evade(
        victims,
        accounts=torch.arange(len(x)),
        seeds=(seeds or SEEDS)[: len(x)] if len(x) <= len(seeds or SEEDS) else [0] * len(x),
        algorithm=algorithm,
        encoding=limit.encoding,
        objective=goal.objective,
        criterion=goal.criterion,
        ledger=books,
        at_once=at_once,
        budget=None if total is None else budget,
        pool=pool,
        on_round=on_round,
    )
    return Attack(evaded, books, victims, goal)


def fields(evaded: Evaded, row: int) -> tuple[Any, ...]:
    """All that is told of one image, but for its place in the line."""
    bits = evaded.scores[row].view(torch.int32).tolist()
    levels = evaded.images[row].view(torch.int32).flatten().tolist()
    return bool(evaded.fooled[row]), int(evaded.queries[row]), levels, bits, int(evaded.tried[row])


def within(image: torch.Tensor, x: torch.Tensor, norm: str, size: float) -> bool:
    """Whether an image lies within a limit, in whole gray levels and not to be moved by rounding."""
    levels, before = (image * 255).round().int(), (x * 255).round().int()
    assert torch.equal(levels.float() / 255, image), "not on the 1/255 lattice"
    assert int(levels.min()) >= 0 and int(levels.max()) <= 255
    change = levels - before
    rows, columns = (change.abs().sum(0) > 0).nonzero(as_tuple=True)
    if norm == "linf":
        return int(change.abs().max()) <= round(size * 255)
    if norm == "l2":
        return int(change.square().sum()) <= (size * 255) ** 2
    if norm == "l0":
        return len(rows) <= size
    if norm == "patch":
        return not len(rows) or max(int(rows.max() - rows.min()), int(columns.max() - columns.min())) < size
    inner = change[:, int(size) : -int(size), int(size) : -int(size)]
    return not bool(inner.any())


# ---- one image alone


@pytest.mark.parametrize(("name", "norm"), PAIRS)
def test_an_image_alone_is_that_image_in_the_list(name: str, norm: str) -> None:
    """In any order, and however many are attacked side by side."""
    x, reference = images(), attack(name, norm, at_once=IMAGES)
    assert len({int(q) for q in reference.evaded.queries}) > 1, "all come and go together: this would show nothing"
    expected = [fields(reference.evaded, row) for row in range(IMAGES)]
    for at_once in (1, 3, None):
        found = attack(name, norm, at_once=at_once).evaded
        assert [fields(found, row) for row in range(IMAGES)] == expected, f"{at_once} at once"
    order = [3, 0, 4, 2, 1]
    turned = attack(name, norm, at_once=2, x=x[order], seeds=[SEEDS[row] for row in order]).evaded
    assert [fields(turned, order.index(row)) for row in range(IMAGES)] == expected
    alone = attack(name, norm, x=x[2:3], seeds=SEEDS[2:3]).evaded
    assert fields(alone, 0) == expected[2]


@pytest.mark.parametrize(("name", "norm"), PAIRS)
def test_the_same_again_is_the_same_and_another_seed_is_not(name: str, norm: str) -> None:
    first, again = attack(name, norm).evaded, attack(name, norm).evaded
    other = attack(name, norm, seeds=[s + 100 for s in SEEDS]).evaded
    one, two, three = ([fields(e, row) for row in range(IMAGES)] for e in (first, again, other))
    assert one == two
    assert (one != three) == (name != "rays"), "RayS draws nothing; of others the seed makes a difference"


def test_an_image_has_random_numbers_of_its_own_wherever_it_stands() -> None:
    """By its pixels and its class: two that differ in either have others, and equal ones have the same."""
    x = images()[[1, 3, 4, 1]]
    ids = image_ids(x, torch.tensor([0, 0, 0, 0]))
    assert ids[0] == ids[3] and len(set(ids[:3])) == 3
    assert image_ids(x[:1], torch.tensor([1])) != ids[:1]
    found = attack("random", "linf", x=x, seeds=[7, 7, 7, 7], labels=torch.zeros(4, dtype=torch.int64), budget=9)
    asked = [torch.stack([row[0] for some in found.rounds(account) for row in some]) for account in range(4)]
    changes = [(rows - x[account])[0].sign() for account, rows in enumerate(asked) if len(rows)]
    assert not torch.equal(changes[0], changes[1]), "two images were moved alike"


# ---- budgets


@pytest.mark.parametrize("budget", [1, 2, 7])
@pytest.mark.parametrize(("name", "norm"), PAIRS)
def test_no_image_costs_more_than_the_budget(name: str, norm: str, budget: int) -> None:
    found = attack(name, norm, budget=budget)
    issued = found.books.counts.issued
    assert int(issued.max()) <= budget
    assert torch.equal(found.evaded.queries, issued - 1), "the one for the image as it is does not belong here"
    if budget == 1:
        assert not bool(found.evaded.fooled.any()) and found.evaded.queries.tolist() == [0] * IMAGES
        assert torch.equal(found.evaded.images, images())
    for account in range(IMAGES):
        sent = [row for some in found.rounds(account) for row in some if row[2] != Status.UNSENT]
        assert len(sent) >= int(found.evaded.queries[account])


@pytest.mark.parametrize(("name", "norm"), PAIRS)
def test_a_budget_is_spent_to_its_end_on_what_is_not_fooled(name: str, norm: str) -> None:
    """A whole generation that does not fit may be left out; nothing else."""
    found = attack(name, norm, classifier=Constant([0.0, 0.0, 1.0], SHAPE), cache=False, budget=BUDGET)
    assert found.evaded.queries.tolist() == [BUDGET - 1] * IMAGES


def test_without_a_budget_nothing_begins() -> None:
    x, goal, classifier = images()[:1], Goal(), net()
    victims = victims_of(x, torch.tensor([0]), classifier(x), goal.objective, classifier.info)
    limit = threat("linf", 0.1, SHAPE)
    for own in (None, 10):
        with pytest.raises(SpecError, match="an attack needs a budget"):
            evade(
                victims, accounts=torch.tensor([0]), seeds=[0], algorithm=Nothing(), encoding=limit.encoding,
                objective=goal.objective, criterion=goal.criterion, ledger=Ledger(classifier, searches=1), budget=own,
            )  # fmt: skip


# ---- a budget for all together


def test_what_the_easy_ones_leave_goes_to_the_hard_ones() -> None:
    """Never more than there is in all; who is not fooled has more than its own share."""
    total, budget = 120, 8
    strict = attack("random", "linf", budget=budget)
    shared = attack("random", "linf", budget=budget, total=total)
    assert not bool(strict.evaded.fooled.all()) and bool(strict.evaded.fooled.any())
    assert int(shared.books.counts.issued.sum()) <= total
    for row in range(IMAGES):
        if bool(strict.evaded.fooled[row]):
            assert fields(strict.evaded, row) == fields(shared.evaded, row)
    failed = ~shared.evaded.fooled
    assert int(shared.evaded.queries.max()) > budget
    assert not bool(failed.any()) or int(shared.books.counts.issued.sum()) == total
    longer = [int(q) for q in shared.evaded.queries[failed]]
    assert not longer or max(longer) - min(longer) <= budget, "turns are not of one length"


def test_a_budget_for_all_is_never_exceeded_even_where_it_is_short() -> None:
    for total in (IMAGES, IMAGES + 1, IMAGES + 7, 31):
        found = attack("ga", "linf", classifier=Constant([0.0, 0.0, 1.0], SHAPE), budget=20, total=total, cache=False)
        assert int(found.books.counts.issued.sum()) == total


# ---- what is given back


@pytest.mark.parametrize(("name", "norm"), PAIRS)
def test_what_is_given_back_lies_within_the_limit_and_is_what_was_asked(name: str, norm: str) -> None:
    found, x = attack(name, norm), images()
    assert bool(found.evaded.fooled.any()), "nobody was fooled: this would show little"
    for row in range(IMAGES):
        image, scores = found.evaded.images[row], found.evaded.scores[row]
        assert within(image, x[row], norm, SIZES[norm])
        assert torch.equal(net()(image[None])[0], scores), "scores of another image"
        seen = int(scores.argmax())
        assert bool(found.evaded.fooled[row]) == (seen != int(found.victims.labels[row]))


@pytest.mark.parametrize(("name", "norm"), PAIRS)
def test_every_question_within_the_limit_unless_the_attack_looks_outside_it(name: str, norm: str) -> None:
    """An L-inf radius of 8/255 is met exactly: no gray level moves by 9."""
    size = {"linf": 8 / 255}.get(norm, SIZES[norm])
    found, x = attack(name, norm, size=size, budget=9), images()
    limit = threat(norm, size, SHAPE)
    setting = recipes.Setting(limit, Goal(), 9, net().info)
    algorithm = recipes.algorithm(name, setting, {**ALONE.get(name, {}), **GRID.get(name, {})})
    everything = [row for account in range(IMAGES) for some in found.rounds(account) for row in some]
    assert len(everything) > IMAGES
    for account in range(IMAGES):
        for image, _, status in [row for some in found.rounds(account) for row in some]:
            if status != Status.UNSENT and getattr(algorithm, "asks", None) is None:
                assert within(image, x[account], norm, size)
        assert within(found.evaded.images[account], x[account], norm, size)


@pytest.mark.parametrize(("name", "norm"), PAIRS)
def test_a_constant_classifier_is_never_fooled(name: str, norm: str) -> None:
    classifier = Constant([0.0, 0.5, 1.0], SHAPE)
    found = attack(name, norm, classifier=classifier)
    assert not bool(found.evaded.fooled.any())
    for row, x in enumerate(images()):
        assert within(found.evaded.images[row], x, norm, SIZES[norm])
        assert found.evaded.scores[row].tolist() == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(("name", "norm"), PAIRS)
def test_the_best_attempt_has_the_lowest_margin_of_all_within_the_limit(name: str, norm: str) -> None:
    """Of what failed; of what fooled, it is the best of its round."""
    found = attack(name, norm, budget={"frame": 4}.get(norm, 12))
    failed = 0
    for row in range(IMAGES):
        rounds = [some for some in found.rounds(row) if any(status == Status.ANSWERED for *_, status in some)]
        if bool(found.evaded.fooled[row]):
            rounds = rounds[-1:]
        label = int(found.victims.labels[row])
        values = [
            _margin(scores, label)
            for some in rounds
            for image, scores, status in some
            if status == Status.ANSWERED and within(image, found.victims.x[row], norm, SIZES[norm])
        ]
        if not bool(found.evaded.fooled[row]):
            failed += 1
            values.append(float(found.victims.fitness[row]))
        assert _margin(found.evaded.scores[row], label) == pytest.approx(min(values), abs=1e-9)
    assert failed, "all were fooled: the best attempt of what fails was not seen"


def _margin(scores: torch.Tensor, label: int) -> float:
    others = torch.cat([scores[:label], scores[label + 1 :]])
    return float(scores[label].double() - others.max().double())


@pytest.mark.parametrize(("name", "norm"), PAIRS)
def test_who_is_fooled_leaves(name: str, norm: str) -> None:
    """The round in which it was fooled is its last one: no query is charged for it after that."""
    found = attack(name, norm, cache=False)
    for row in range(IMAGES):
        rounds, label = found.rounds(row), int(found.victims.labels[row])
        wins = [
            any(
                int(scores.argmax()) != label and within(image, found.victims.x[row], norm, SIZES[norm])
                for image, scores, status in some
                if status == Status.ANSWERED
            )
            for some in rounds
        ]
        assert not any(wins[:-1]) and (not wins or wins[-1] == bool(found.evaded.fooled[row]))
        charged = sum(status != Status.UNSENT for some in rounds for *_, status in some)
        assert charged == int(found.evaded.queries[row])
    assert bool(found.evaded.fooled.any())


def test_images_join_in_the_order_of_the_list_and_the_progress_adds_up() -> None:
    told: list[tuple[int, int]] = []
    found = attack("random", "linf", at_once=2, on_round=lambda over, fooled: told.append((over, fooled)))
    assert sorted(found.evaded.order.tolist()) == list(range(IMAGES))
    assert found.evaded.order.tolist() == list(range(IMAGES))
    assert sum(over for over, _ in told) == IMAGES
    assert sum(fooled for _, fooled in told) == int(found.evaded.fooled.sum())
    assert found.evaded.tried.tolist() == [-1] * IMAGES and found.evaded.pool is None


def test_more_side_by_side_need_fewer_calls() -> None:
    """What is attacked side by side is asked about together."""
    calls = [len(attack("random", "linf", at_once=at_once, budget=10).books.asked) for at_once in (1, IMAGES)]
    assert calls[1] < calls[0]


def test_all_are_in_the_air_as_far_as_memory_goes_but_with_a_budget_for_all_what_fills_two_calls() -> None:
    for total, most in ((None, IMAGES), (10_000, 4)):
        never = Constant([0.0, 0.0, 1.0], SHAPE, micro_batch=2)
        found = attack("random", "linf", classifier=never, budget=5, total=total, cache=False)
        assert len(found.books.asked[1]) == most
    assert IMAGES > 4


# ---- an attack that does nothing


@dataclass(frozen=True)
class Idle:
    """It has been told so often."""

    told: torch.Tensor


@dataclass(frozen=True)
class Nothing:
    """An attack that gives back its images."""

    def init(self, victims: Victims) -> Idle:
        return Idle(torch.zeros_like(victims.labels))

    def ask(self, state: Idle, rng: Any) -> torch.Tensor:
        return torch.zeros(len(state.told), 1, *SHAPE)

    def tell(self, state: Idle, evaluated: Evaluated, fitness: torch.Tensor, success: torch.Tensor) -> Idle:
        return Idle(state.told + 1)


def fools(name: str | Any, norm: str) -> int:
    """How many of some images an attack fools, all of which a small step in the right direction fools."""
    return int(attack(name, norm, x=images(NEAR), budget=200).evaded.fooled.sum())


NEAR = (0.001, 0.004, 0.007, 0.01)


@pytest.mark.parametrize(("name", "norm"), PAIRS)
def test_every_recipe_fools_what_is_easy(name: str, norm: str) -> None:
    assert fools(name, norm) == 4


@pytest.mark.parametrize("norm", SIZES)
def test_an_attack_that_gives_back_its_images_fools_nothing(norm: str) -> None:
    """Each is charged once at most, or as often as it asks if nothing is cached; and it comes to an end."""
    assert fools(Nothing(), norm) == 0
    found = attack(Nothing(), norm)
    assert found.evaded.queries.tolist() == [0] * IMAGES, "the image itself is known already"
    assert [len(found.rounds(row)) for row in range(IMAGES)] == [evasion.IDLE] * IMAGES
    shared = attack(Nothing(), norm, total=1000)
    assert int(shared.books.counts.issued.sum()) == IMAGES, "of a budget for all, too, an end is come to"
    assert torch.equal(found.evaded.images, images())
    assert attack(Nothing(), norm, cache=False).evaded.queries.tolist() == [BUDGET - 1] * IMAGES


# ---- no answers


@pytest.mark.parametrize(("name", "norm"), PAIRS)
def test_no_answer_is_no_success(name: str, norm: str) -> None:
    """A classifier that is silent about everything but the images as they are is not fooled, and it is charged."""
    x = images()
    known = {bytes((row * 255).round().byte().flatten().tolist()) for row in x}

    def changed(asked: torch.Tensor) -> torch.Tensor:
        return torch.tensor([bytes((r * 255).round().byte().flatten().tolist()) not in known for r in asked])

    found = attack(name, norm, classifier=Silent(net(), changed), budget=12)
    assert not bool(found.evaded.fooled.any())
    assert torch.equal(found.evaded.images, x), "what was never answered is no best attempt"
    assert torch.equal(found.evaded.scores, found.victims.scores) and not bool(found.evaded.scores.isnan().any())
    failed = found.books.counts.failed
    assert torch.equal(failed, found.evaded.queries) and int(failed.min()) > 0


@pytest.mark.parametrize(("name", "norm"), PAIRS)
def test_some_answers_are_enough(name: str, norm: str) -> None:
    """Half of the questions are not answered; what fools is an answered one, and the next image is unharmed."""

    def odd(asked: torch.Tensor) -> torch.Tensor:
        return (asked * 255).round().long().flatten(1).sum(1) % 2 == 1

    x = images(tuple(place / 100 for place in range(30)))
    x = x[~odd(x)][:IMAGES]
    assert len(x) == IMAGES
    found = attack(name, norm, classifier=Silent(net(), odd), x=x)
    assert not bool(found.evaded.scores.isnan().any())
    assert not bool(odd(found.evaded.images).any())
    assert int(found.books.counts.failed.sum()) > 0
    alone = attack(name, norm, classifier=Silent(net(), odd), x=x[1:2], seeds=SEEDS[1:2])
    assert fields(alone.evaded, 0) == fields(found.evaded, 1)


# ---- goals


TARGETED = [(name, norm) for name, norm in PAIRS if recipes.recipes()[name].targeted]


@pytest.mark.parametrize(("name", "norm"), TARGETED)
def test_an_aim_is_reached_or_not(name: str, norm: str) -> None:
    x = images()
    own = net()(x).argmax(1)
    wanted = (own + 1) % CLASSES
    found = attack(name, norm, labels=wanted, goal=Goal(targeted=True), budget=60)
    seen = found.evaded.scores.argmax(1)
    assert torch.equal(found.evaded.fooled, seen == wanted)
    assert bool(found.evaded.fooled.any())


def test_top_k_asks_for_more() -> None:
    """The class has to leave the first two of three, which takes longer than to leave the first place."""
    one, two = (attack("random", "linf", goal=Goal(k=k), budget=60) for k in (1, 2))
    place = (two.evaded.scores > two.evaded.scores.gather(1, two.victims.labels[:, None])).sum(1)
    assert torch.equal(two.evaded.fooled, place >= 2)
    assert bool((one.evaded.queries <= two.evaded.queries).all()) and bool(
        (one.evaded.queries < two.evaded.queries).any()
    )


def test_rows_of_victims() -> None:
    x = images()
    victims = victims_of(x, torch.zeros(IMAGES, dtype=torch.int64), net()(x), Goal().objective, net().info)
    some = rows_of(victims, torch.tensor([3, 1]))
    assert len(some) == 2 and torch.equal(some.x, x[[3, 1]]) and torch.equal(some.fitness, victims.fitness[[3, 1]])
    assert [float(f) for f in victims.fitness] == pytest.approx([_margin(s, 0) for s in net()(x)], abs=1e-9)


# ---- a whole attack: images as they are, then the search


def whole(labels: torch.Tensor, *, classifier: Any = None, budget: int = 30, **more: Any) -> tuple[Assaulted, Ledger]:
    """An attack from the images as they are."""
    classifier = classifier or net()
    config = Config(classifier="net", data="here", norm="linf", size=24 / 255, recipe="random", budget=budget, **more)
    ledger = Ledger(classifier, searches=len(labels), budget=budget)
    return assault(images(), labels, config=config, ledger=ledger), ledger


def test_what_is_misclassified_as_it_is_is_left_alone_and_never_a_win() -> None:
    own = net()(images()).argmax(1)
    labels = own.clone()
    labels[1] = (own[1] + 1) % CLASSES
    found, ledger = whole(labels)
    assert found.attacked.tolist() == [True, False, True, True, True]
    assert not bool(found.fooled[1]) and bool(found.fooled.any())
    assert int(found.queries[1]) == 0 and int(ledger.counts.issued[1]) == 1
    assert torch.equal(found.images[1], images()[1])
    plain, _ = whole(own)
    for row in (0, 2, 3, 4):
        assert torch.equal(found.images[row], plain.images[row]) and found.queries[row] == plain.queries[row]
    told = shards.attacked(found, images(), _config(), net().info)
    assert [image.outcome for image in told].count("skipped") == 1 and told[1].outcome == "skipped"
    assert told[1].asked == -1 and [told[row].asked for row in (0, 2, 3, 4)] == [0, 1, 2, 3]


def _config() -> Config:
    return Config(classifier="net", data="here", norm="linf", size=24 / 255, recipe="random", budget=30)


def test_without_labels_what_the_classifier_sees_is_the_class() -> None:
    own = net()(images()).argmax(1)
    unlabelled, _ = whole(torch.full((IMAGES,), NO_LABEL))
    labelled, _ = whole(own)
    assert torch.equal(unlabelled.labels, own) and bool(unlabelled.attacked.all())
    assert torch.equal(unlabelled.images, labelled.images)


def test_without_an_answer_for_the_image_it_is_not_attacked() -> None:
    x = images()
    silent = Silent(net(), lambda asked: (asked == x[3]).flatten(1).all(1))
    for labels in (net()(x).argmax(1), torch.full((IMAGES,), NO_LABEL)):
        found, ledger = whole(labels, classifier=silent)
        assert found.attacked.tolist() == [True, True, True, False, True]
        assert not bool(found.fooled[3]) and int(ledger.counts.issued[3]) == 1
        told = shards.attacked(found, x, _config(), net().info)
        assert told[3].outcome == "unanswered" and told[3].clean_prediction == -1 and told[3].clean_confidence == 0


def test_whose_class_is_the_target_already_is_left_alone() -> None:
    own = net()(images()).argmax(1)
    assert len(set(own.tolist())) > 1
    target = int(own[0])
    found, _ = whole(own, target=str(target))
    assert torch.equal(found.attacked, own != target)
    assert found.targets.tolist() == [target] * IMAGES


def test_least_likely_and_random_targets() -> None:
    own = net()(images()).argmax(1)
    least, _ = whole(own, target="least-likely")
    assert torch.equal(least.targets, net()(images()).argmin(1))
    drawn = [whole(own, target="random", seed=seed)[0].targets for seed in range(6)]
    assert all(bool((targets != own).all()) for targets in drawn)
    assert len({tuple(targets.tolist()) for targets in drawn}) > 1, "the seed makes no difference"
    every = torch.stack(drawn)
    assert bool((every >= 0).all()) and bool((every < CLASSES).all())


def test_an_image_that_is_no_top_k_success_is_attacked_though_misclassified() -> None:
    own = net()(images()).argmax(1)
    labels = own.clone()
    second = net()(images()).argsort(dim=1, descending=True)[:, 1]
    last = net()(images()).argsort(dim=1, descending=True)[:, 2]
    labels[1], labels[2] = second[1], last[2]
    found, _ = whole(labels, k=2)
    assert found.attacked.tolist() == [True, True, False, True, True], "out of the first two already"


class Tires:
    """Answers about an image so often; then no more."""

    def __init__(self, times: int):
        self.info, self._left = replace(net().info, micro_batch=1), times
        self._asked: dict[bytes, int] = {}

    def __call__(self, asked: torch.Tensor) -> torch.Tensor:
        name = asked.numpy().tobytes()
        self._asked[name] = self._asked.get(name, 0) + 1
        return net()(asked) if self._asked[name] <= self._left else torch.full((1, CLASSES), torch.nan)


@pytest.mark.parametrize("total", [None, 150])
def test_what_fooled_has_to_do_so_each_time(total: int | None) -> None:
    own = net()(images()).argmax(1)
    plain, _ = whole(own)
    for times, good in ((2, False), (3, True)):
        config = replace(_config(), confirm=2, budget_total=total)
        ledger = Ledger(Tires(times), searches=IMAGES, budget=30 if total is None else None, total=total)
        found = assault(images(), own, config=config, ledger=ledger)
        assert torch.equal(found.fooled, plain.fooled & good) and bool(plain.fooled.any())
        issued = ledger.counts.issued
        if good:
            assert torch.equal(found.queries[found.fooled], plain.queries[found.fooled])
            assert torch.equal(issued, 1 + found.queries + 2 * found.fooled)
        else:
            assert torch.equal(issued, 1 + found.queries), "what did not hold was part of the search"
        assert int(issued.sum()) <= (total or 150) and (total is not None or int(issued.max()) <= 30)
        if total is None and not good:
            assert int(issued.min()) >= 28, "the search went on as long as one more success could be confirmed"


@pytest.mark.parametrize("total", [None, 60])
def test_what_one_success_needs_is_kept_back(total: int | None) -> None:
    """Though a round asks about several perturbations, and some images are given what others leave."""
    config = replace(_config(), recipe="genattack", confirm=3, budget=17, budget_total=total)
    ledger = Ledger(Constant([5.0, 0, 0], SHAPE), searches=IMAGES, budget=None if total else 17, total=total)
    found = assault(images(), torch.zeros(IMAGES, dtype=torch.int64), config=config, ledger=ledger)
    assert bool(found.attacked.all()) and not bool(found.fooled.any())
    issued = ledger.counts.issued
    if total is None:
        assert issued.tolist() == [14] * IMAGES
    else:
        assert int(issued.sum()) == total - 3 * IMAGES


class Fickle:
    """Says the opposite of some images when it is first asked about them, and the truth later."""

    def __init__(self, lies: Callable[[torch.Tensor], bool]):
        self.info, self._lies = replace(net().info, micro_batch=1), lies
        self.asked: list[torch.Tensor] = []

    def __call__(self, asked: torch.Tensor) -> torch.Tensor:
        known = any(torch.equal(asked, one) for one in self.asked)
        self.asked.append(asked.clone())
        return net()(asked) * (-1 if not known and self._lies(asked) else 1)


def test_a_search_goes_on_after_what_did_not_hold() -> None:
    own = net()(images()).argmax(1)
    plain, _ = whole(own, budget=40)
    fickle = Fickle(lambda _: IMAGES < len({one.numpy().tobytes() for one in fickle.asked}) <= 3 * IMAGES)
    found, ledger = whole(own, classifier=fickle, confirm=1, budget=40)
    late = plain.queries > 2  # not fooled while it was still fickle
    assert bool((late & plain.fooled).any()) and bool((~plain.fooled).any())
    assert torch.equal(found.fooled, plain.fooled)
    assert torch.equal(net()(found.images).argmax(1) != own, found.fooled)
    both = late & plain.fooled
    assert torch.equal(found.images[both], plain.images[both])
    assert torch.equal(found.queries[both], plain.queries[both] + 2), "two successes did not hold"
    assert int(ledger.counts.issued.max()) <= 40
    # The best attempt at the others is that with the lowest margin that is true.
    row = int((~found.fooled).nonzero()[0])
    tries = [one for one in fickle.asked if float((one[0] - images()[row]).abs().max()) <= 24.5 / 255]
    true = [_margin(net()(one)[0], int(own[row])) for one in tries]
    assert len(tries) > 10 and _margin(net()(found.images[row][None])[0], int(own[row])) == pytest.approx(min(true))


@pytest.mark.parametrize("norm", ["linf", "l2", "l0"])
def test_what_was_made_smaller_has_to_fool_each_time_too(norm: str) -> None:
    x, own = images(), net()(images()).argmax(1)
    config = Config(classifier="net", data="here", norm=norm, size=SIZES[norm], recipe="random", budget=60, confirm=1)
    large = assault(x, own, config=config, ledger=Ledger(net(), searches=IMAGES, budget=60))
    sizes = distance(large.images, x, "l2")

    def smaller(asked: torch.Tensor) -> bool:
        far = distance(asked.expand_as(x), x, "l2")
        row = int(far.argmin())
        return bool(large.fooled[row]) and bool(0 < float(far[row]) < float(sizes[row]) - 1e-6)

    config = replace(config, shrink=True)
    ledger = Ledger(Fickle(lambda asked: len(asked) == 1 and smaller(asked)), searches=IMAGES, budget=200)
    config = replace(config, budget=200)
    found = assault(x, own, config=config, ledger=ledger)
    assert bool(found.fooled.any()) and torch.equal(net()(found.images).argmax(1) != own, found.fooled)
    told = [one.words for one in found.shrunk if one is not None]
    assert any(words == "nothing smaller was found that fools each time that it is asked about" for words in told)
    assert int(ledger.counts.issued.max()) <= 200


@pytest.mark.parametrize("norm", ["linf", "l2", "l0", "patch", "frame"])
def test_what_is_made_smaller_still_fools_and_costs_no_more_than_the_budget(norm: str) -> None:
    x, own = images(), net()(images()).argmax(1)
    config = Config(classifier="net", data="here", norm=norm, size=SIZES[norm], recipe="random", budget=60, shrink=True)
    plain = replace(config, shrink=False)
    ledger = Ledger(net(), searches=IMAGES, budget=60)
    small = assault(x, own, config=config, ledger=ledger)
    large = assault(x, own, config=plain, ledger=Ledger(net(), searches=IMAGES, budget=60))
    assert bool(small.fooled.any()) and torch.equal(small.fooled, large.fooled)
    assert torch.equal(small.queries, large.queries), "shrinking is told apart from the search"
    smaller = 0
    for row in small.fooled.nonzero().flatten().tolist():
        assert within(small.images[row], x[row], norm, SIZES[norm])
        assert int(net()(small.images[row][None]).argmax()) != int(own[row]), "it fools no more"
        assert torch.equal(net()(small.images[row][None])[0], small.scores[row])
        told = small.shrunk[row]
        before, after = ((e.images[row] * 255).round() - (x[row] * 255).round() for e in (large, small))
        measure = {
            "linf": lambda change: change.abs().max() / 255, "l2": lambda change: change.norm() / 255,
        }.get(norm, lambda change: (change.abs().sum(0) > 0).sum())  # fmt: skip
        assert told is not None and told.before == pytest.approx(float(measure(before)), abs=1e-5)
        assert measure(after) <= measure(before)
        smaller += bool(measure(after) < measure(before))
        assert int(ledger.counts.issued[row]) == 1 + int(small.queries[row]) + told.queries
        if norm not in ("linf", "l2") and told.minimal:
            pixels = (after.abs().sum(0) > 0).nonzero().tolist()
            for place in pixels:  # no single one can go
                without = small.images[row].clone()
                without[:, place[0], place[1]] = x[row][:, place[0], place[1]]
                assert int(net()(without[None]).argmax()) == int(own[row])
    assert smaller, "nothing became smaller"
    assert [s is None for s in small.shrunk] == (~small.fooled).tolist()
    assert int(ledger.counts.issued.max()) <= 60


def test_nobody_takes_of_the_budget_for_all_what_is_another_ones_share() -> None:
    """Rounds of several members end at the share of each image, until all have had theirs."""
    never = Constant([0.0, 0.0, 1.0], SHAPE)
    found = attack("ga", "linf", classifier=never, budget=10, total=10 * IMAGES, cache=False)
    assert found.books.counts.issued.tolist() == [10] * IMAGES
    assert found.books.budget is None, "the ledger is given back as it was"


class SilentAtZero:
    """Answers nothing of the images whose first gray level is 0."""

    def __init__(self) -> None:
        self.info = net().info

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        scores = net()(images).clone()
        scores[images.flatten(1)[:, 0] == 0] = torch.nan
        return scores


@pytest.mark.parametrize("norm", ["linf", "l0"])
def test_an_image_without_label_and_answer_is_no_reason_to_fail_the_others(norm: str) -> None:
    x = images()
    x[1].view(-1)[0] = 0.0
    x[[0, *range(2, IMAGES)], 0, 0, 0] = 0.5
    config = Config(classifier="net", data="here", norm=norm, size=SIZES[norm], recipe="random", budget=60, shrink=True)
    nothing = torch.full((IMAGES,), NO_LABEL)
    found = assault(x, nothing, config=config, ledger=Ledger(SilentAtZero(), searches=IMAGES, budget=60))
    assert not bool(found.attacked[1]) and bool(found.fooled.any()) and not bool(found.fooled[1])
    assert [each is not None for each in found.shrunk] == found.fooled.tolist()


def test_a_classifier_that_answers_nothing_is_said_to() -> None:
    x = images()
    x[:, 0, 0, 0] = 0.0
    config = Config(classifier="net", data="here", norm="linf", size=24 / 255, recipe="random", budget=10)
    with pytest.raises(ClassifierError, match="no usable answer to any of 5 images"):
        assault(
            x,
            torch.zeros(IMAGES, dtype=torch.int64),
            config=config,
            ledger=Ledger(SilentAtZero(), searches=5, budget=10),
        )


@pytest.mark.parametrize(("names", "fits"), [(("a", "b", "c"), True), (("a", "b"), False), (("0", "2"), True)])
def test_folders_are_classes_by_name_and_by_number_only_if_there_are_as_many(
    names: tuple[str, ...], fits: bool
) -> None:
    """Of a network that names none of its classes: two folders of three would be taken for the first two."""
    labels = torch.tensor([0, 1, 1])
    dataset = Dataset(torch.zeros(3, *SHAPE, dtype=torch.uint8), labels, names, "folder", "00")
    unnamed = replace(net().info, class_names=tuple("0123")[: 3 if fits else 4])
    if fits:
        expected = [0, 2, 2] if names == ("0", "2") else [0, 1, 1]
        assert given._as_classes(dataset, unnamed).tolist() == expected
    else:
        with pytest.raises(ClassifierError, match="--with class_names="):
            given._as_classes(dataset, unnamed)


def test_top_k_of_labels_is_refused() -> None:
    config = Config(classifier="net", data="here", norm="linf", size=0.1, k=2)
    with pytest.raises(SpecError, match="one class only"):
        given.goal_of(config, replace(net().info, kind="label"))


class Holding:
    """An algorithm that says how many numbers it holds for an image."""

    def __init__(self, numbers: int):
        self._numbers = numbers

    def numbers(self, image_shape: tuple[int, int, int]) -> int:
        return self._numbers


def test_so_many_are_in_the_air_as_there_is_room_for() -> None:
    info = Linear(torch.zeros(2, 1, 8, 8), micro_batch=10).info
    alone = evasion._at_once(info, object(), alone=True)
    assert alone == evasion.IN_AIR // 64
    assert evasion._at_once(info, Holding(8 * 640), alone=True) == alone // 10
    assert evasion._at_once(info, Holding(10**12), alone=True) == 20, "two calls at least"
