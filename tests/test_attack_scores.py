"""Attacks that go by scores: GenAttack, evolution strategies, NES, and the genetic algorithm on perturbations."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

from evofool import genome
from evofool.algorithms import evolution_strategies, genattack, nes, population, separable_cma
from evofool.algorithms.evolution_strategies import OnePlusOne
from evofool.algorithms.ga import GeneticAlgorithm
from evofool.algorithms.genattack import GenAttack
from evofool.algorithms.nes import NES
from evofool.algorithms.population import Population
from evofool.algorithms.random_search import RandomSearch
from evofool.algorithms.separable_cma import SeparableCMA
from evofool.classifiers.fake import Constant, Linear, Silent
from evofool.contracts import Evaluated, Victims
from evofool.encodings.perturbation import FewPixels, LpBall, distance, lattice_eps
from evofool.errors import SpecError
from evofool.evasion import Evaded, evade, victims_of
from evofool.ledger import Ledger
from evofool.recipes import Setting, algorithm
from evofool.spec import op
from evofool.testing import contracts
from evofool.threat import Goal, Threat, threat
from fakes import many, stream

LINF = LpBall("linf", 51 / 255)
L2 = LpBall("l2", 0.8)
OURS = "evofool.algorithms.population:"


def attack(
    algorithm: Any,
    classifier: Any,
    x: torch.Tensor,
    labels: torch.Tensor,
    *,
    encoding: Any = None,
    goal: Goal = Goal(),  # noqa: B008 (a frozen value)
    budget: int = 1000,
    at_once: int | None = None,
    seed: int = 0,
) -> tuple[Evaded, Ledger]:
    """Attack images; the ledger counts what was asked."""
    scores = classifier(x)
    victims = victims_of(x, labels, scores, goal.objective, classifier.info)
    ledger = Ledger(classifier, searches=len(x), budget=budget, cache=False)
    evaded = evade(
        victims,
        accounts=torch.arange(len(x)),
        seeds=[seed] * len(x),
        algorithm=algorithm,
        encoding=encoding or algorithm.encoding,
        objective=goal.objective,
        criterion=goal.criterion,
        ledger=ledger,
        at_once=at_once,
    )
    return evaded, ledger


def two_classes(shape: tuple[int, int, int] = (1, 4, 4), margin: float = 1.0) -> tuple[Linear, torch.Tensor]:
    """A linear classifier of two classes and its weights: at gray 0.5, class 0 is ahead by `margin`."""
    weight = stream(1, seed=3)["weight"].uniform(*shape)[0] - 0.5
    weight = weight + 0.2 * weight.sign()
    bias = torch.tensor([margin - 0.5 * float(weight.double().sum()), 0.0])
    return Linear(torch.stack([weight, torch.zeros(shape)]), bias, micro_batch=8), weight


def gray(count: int, shape: tuple[int, int, int] = (1, 4, 4)) -> torch.Tensor:
    """Images of one gray level each, on the lattice: all different, so that each has a stream of its own."""
    x = torch.full((count, *shape), 128 / 255)
    x[torch.arange(count), 0, 0, torch.arange(count) % shape[2]] += torch.arange(count) / 255
    return x


def pictures(count: int, shape: tuple[int, int, int] = (1, 6, 6)) -> torch.Tensor:
    """Random images on the lattice, black and white among their pixels."""
    return ((stream(count, seed=11)["x"].uniform(*shape) * 1.5 - 0.25).clamp(0, 1) * 255).round() / 255


def crowd(count: int = 7) -> tuple[Linear, torch.Tensor, torch.Tensor]:
    """A classifier of three classes, images, and what it says of them."""
    weight = stream(3, seed=8)["weight"].uniform(1, 6, 6)
    classifier = Linear(3 * (weight - weight.mean((1, 2, 3), keepdim=True)), micro_batch=7)
    x = pictures(count)
    return classifier, x, classifier(x).argmax(1)


def second(classifier: Any, x: torch.Tensor) -> torch.Tensor:
    """What it would say next."""
    return classifier(x).argsort(1)[:, -2]


def victims(x: torch.Tensor, *, classes: int = 3, label: int = 0) -> Victims:
    labels = torch.full((len(x),), label)
    return Victims(x, labels, torch.zeros(len(x), classes), torch.ones(len(x), dtype=torch.float64))


def told(algorithm: Any, state: Any, genomes: torch.Tensor, fitness: Any, scores: Any = None) -> Any:
    """The state after answers, without a classifier."""
    fitness = torch.as_tensor(fitness, dtype=torch.float64)
    x = getattr(state, "x")  # noqa: B009 (states are of many kinds)
    genomes = algorithm.encoding.repair(genomes, x)
    scores = torch.zeros(*fitness.shape, 3) if scores is None else torch.as_tensor(scores)
    labels = torch.zeros(fitness.shape, dtype=torch.int64)
    images = algorithm.encoding.decode(genomes, x)
    evaluated = Evaluated(genomes, images, x, scores, labels, labels)
    return algorithm.tell(state, evaluated, fitness, fitness < 0)


def repainting(encoding: LpBall, **settings: Any) -> Population:
    genetic = GeneticAlgorithm(
        crossover=op("crossover.rectangle"),
        mutation=op(OURS + "repaint", value=0.2, add=encoding.norm == "l2"),
        p_mutation=1.0,
        elites=1,
    )
    return Population(encoding, genetic, **{"members": 6, **settings})


def reseeding(pixels: int) -> Population:
    mutate = op(OURS + "reseed", pixels=pixels)
    genetic = GeneticAlgorithm(crossover=op("crossover.uniform"), mutation=mutate, p_mutation=1.0, elites=1)
    return Population(FewPixels(pixels), genetic, members=6)


ALL = {
    "genattack": GenAttack(LINF),
    "genattack adaptive": GenAttack(LINF, adaptive=True, patience=3),
    "genattack small": GenAttack(LINF, search_size=3, mutation_rate=0.3),
    "one-plus-one": OnePlusOne(LINF, tile=1),
    "one-plus-one tiles": OnePlusOne(LINF, tile=2),
    "one-plus-one inside": OnePlusOne(LINF, tile=1, corners=False),
    "one-plus-one l2": OnePlusOne(L2, tile=1),
    "cma": SeparableCMA(LINF, tile=1),
    "cma inside": SeparableCMA(LINF, tile=2, corners=False),
    "cma l2": SeparableCMA(L2, tile=1),
    "nes": NES(LINF, samples=6),
    "nes l2": NES(L2, samples=6),
    "ga": repainting(LINF),
    "ga l2": repainting(L2),
    "ga l0": reseeding(4),
}
everyone = pytest.mark.parametrize("attacker", ALL.values(), ids=ALL)


# Every attack -------------------------------------------------------------------------------------------------------


@everyone
def test_a_classifier_that_never_changes_its_mind_is_never_fooled(attacker):
    classifier = Constant([3.0, 1.0, 0.0], (1, 6, 6), micro_batch=7)
    x = pictures(3)
    evaded, ledger = attack(attacker, classifier, x, torch.zeros(3, dtype=torch.int64), budget=23)
    assert not evaded.fooled.any()
    assert evaded.queries.tolist() == [23] * 3
    assert ledger.store.issued(ledger.searches) == [23] * 3


@everyone
@pytest.mark.parametrize("budget", [1, 2, 7])
def test_budgets_are_strict(attacker, budget):
    classifier, x, labels = crowd(5)
    far = Linear(torch.zeros(3, 1, 6, 6), torch.tensor([5.0, 0.0, 0.0]), micro_batch=7)
    for target in (classifier, far):
        evaded, ledger = attack(attacker, target, x, labels if target is classifier else labels * 0, budget=budget)
        assert max(ledger.store.issued(ledger.searches)) <= budget
        assert bool((evaded.queries[~evaded.fooled] == budget).all())
        assert bool((evaded.queries <= budget).all())


@everyone
@pytest.mark.parametrize("targeted", [False, True])
def test_what_fools_is_within_the_limit_and_fools(attacker, targeted):
    classifier, x, labels = crowd()
    goal = Goal(targeted=targeted)
    wanted = second(classifier, x) if targeted else labels
    attacker = dataclasses.replace(attacker, targeted=targeted) if isinstance(attacker, GenAttack) else attacker
    evaded, _ = attack(attacker, classifier, x, wanted, goal=goal, budget=150)
    assert evaded.fooled.any(), "nothing was fooled: nothing was tried out"
    said = classifier(evaded.images).argmax(1)
    assert torch.equal((said == wanted) == targeted, evaded.fooled)
    assert bool(attacker.encoding.holds(evaded.images[:, None], x).all())


@everyone
def test_an_image_alone_is_an_image_in_a_batch_even_if_it_joins_later(attacker):
    classifier, x, _ = crowd()
    wanted = second(classifier, x)
    goal = Goal(targeted=True)
    attacker = dataclasses.replace(attacker, targeted=True) if isinstance(attacker, GenAttack) else attacker
    settings: dict[str, Any] = {"goal": goal, "budget": 40}
    together, _ = attack(attacker, classifier, x, wanted, at_once=7, **settings)
    staggered, _ = attack(attacker, classifier, x, wanted, at_once=3, **settings)
    assert len(set(together.queries.tolist())) > 1, "all images left at once: nobody joined later"
    for other in (staggered, None):
        for row in range(len(x)):
            alone, index = (other, row) if other else (None, 0)
            if alone is None:
                alone, _ = attack(attacker, classifier, x[row : row + 1], wanted[row : row + 1], **settings)
            assert alone.queries[index] == together.queries[row]
            assert torch.equal(alone.images[index], together.images[row])


@everyone
def test_another_seed_goes_another_way(attacker):
    classifier = Constant([3.0, 1.0, 0.0], (1, 6, 6), micro_batch=7)
    x = pictures(1)
    asked = [attacker.ask(attacker.init(victims(x)), stream(1, seed=seed)) for seed in (0, 1)]
    assert not torch.equal(*asked)
    evaded, _ = attack(attacker, classifier, x, torch.zeros(1, dtype=torch.int64), budget=30, seed=3)
    again, _ = attack(attacker, classifier, x, torch.zeros(1, dtype=torch.int64), budget=30, seed=3)
    assert torch.equal(evaded.images, again.images)


@everyone
def test_scores_of_any_size_and_missing_answers_are_borne(attacker):
    x = pictures(8)
    huge = Linear(1e4 * (stream(3, seed=8)["weight"].uniform(1, 6, 6) - 0.5), micro_batch=7)
    labels = huge(x).argmax(1)
    assert float(huge(x).abs().max()) > 1e4
    evaded, _ = attack(attacker, huge, x, labels, budget=300)
    assert evaded.fooled.any()
    silent = Silent(huge, lambda images: (images[:, 0, 0, 0] * 255).round() % 2 == 1)
    for classifier in (silent, Silent(huge, lambda images: images[:, 0, 0, 0] >= 0)):
        scores = torch.where(torch.isnan(classifier(x)), huge(x), classifier(x))
        ledger = Ledger(classifier, searches=len(x), budget=40, cache=False)
        goal = Goal()
        evade(
            victims_of(x, labels, scores, goal.objective, huge.info),
            accounts=torch.arange(len(x)),
            seeds=[0] * len(x),
            algorithm=attacker,
            encoding=attacker.encoding,
            objective=goal.objective,
            criterion=goal.criterion,
            ledger=ledger,
        )
        assert int(ledger.counts.failed.sum()) > 0


LINEAR = {
    "genattack": (lambda ball: GenAttack(ball, mutation_rate=0.2), 1.3),
    "genattack adaptive": (lambda ball: GenAttack(ball, adaptive=True, patience=5), 1.3),
    "one-plus-one": (lambda ball: OnePlusOne(ball, tile=1), 1.1),
    "one-plus-one inside": (lambda ball: OnePlusOne(ball, tile=1, corners=False), 1.3),
    "cma": (lambda ball: SeparableCMA(ball, tile=1), 1.1),
    "nes": (lambda ball: NES(ball, samples=32), 1.3),
    "ga": (lambda ball: repainting(ball), 1.1),
}


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("targeted", [False, True])
def test_l_inf_the_smallest_perturbation_of_a_linear_classifier(name, targeted):
    classifier, weight = two_classes()
    least = 1.0 / float(weight.abs().sum())
    make, factor = LINEAR[name]
    x, goal = gray(3), Goal(targeted=targeted)
    labels = torch.full((3,), int(targeted))
    for share, fools in ((factor, True), (0.97, False)):
        ball = LpBall("linf", lattice_eps(least * share))
        attacker = make(ball)
        attacker = dataclasses.replace(attacker, targeted=targeted) if isinstance(attacker, GenAttack) else attacker
        # What each image is ahead by differs a little from 1: the closed form says which balls are large enough.
        ahead = -goal.objective(_as_asked(classifier, x, labels), classifier.info)[:, 0]
        ahead = ahead.abs() / float(weight.abs().double().sum())
        assert bool((ahead < ball.eps).all()) == fools, "the ball is on the other side of the closed form"
        evaded, _ = attack(attacker, classifier, x, labels, goal=goal, budget=2000 if fools else 150)
        assert evaded.fooled.tolist() == [fools] * 3


@pytest.mark.parametrize(
    ("make", "factor"),
    [
        (lambda ball: OnePlusOne(ball, tile=1), 1.2),
        (lambda ball: SeparableCMA(ball, tile=1), 1.2),
        (lambda ball: NES(ball, samples=32), 1.3),
        (lambda ball: repainting(ball), 1.4),
    ],
    ids=["one-plus-one", "cma", "nes", "ga"],
)
def test_l2_the_smallest_perturbation_of_a_linear_classifier(make, factor):
    classifier, weight = two_classes()
    x, labels = gray(3), torch.zeros(3, dtype=torch.int64)
    ahead = Goal().objective(_as_asked(classifier, x, labels), classifier.info)[:, 0]
    least = ahead / float(weight.double().norm())
    for share, fools in ((factor, True), (0.98, False)):
        ball = LpBall("l2", float(least.max() if fools else least.min()) * share)
        evaded, _ = attack(make(ball), classifier, x, labels, budget=2000 if fools else 150)
        assert evaded.fooled.tolist() == [fools] * 3
        assert bool((distance(evaded.images, x, "l2") <= ball.eps + 1e-6).all())


def test_within_l_inf_what_is_sent_is_the_nearest_gray_level_and_keeps_the_limit():
    """Rounded toward the image, a limit of one gray level would leave whatever is not a corner as it was."""
    x = (torch.rand(20, 3, 9, 5, generator=torch.Generator().manual_seed(1)) * 255).round() / 255
    for level in (1, 2, 76, 255):
        ball = LpBall("linf", level / 255)
        genes = ball.sample(x, 4, many(20))
        images = ball.decode(genes, x)
        assert bool(ball.holds(images, x).all())
        assert float((images - x[:, None] - genes).abs().max()) <= 0.5 / 255 + 1e-6
        assert torch.equal(images, (images * 255).round() / 255)
    changed = (LpBall("linf", 1 / 255).decode(LpBall("linf", 1 / 255).sample(x, 4, many(20)), x) != x[:, None]).double()
    inside = ((x > 0) & (x < 1)).double().mean()
    assert float(changed.mean()) == pytest.approx(0.5 * float(inside), abs=0.05)


def test_one_gray_level_is_enough_for_whoever_goes_inside():
    _, weight = two_classes()
    x, labels = gray(1), torch.zeros(1, dtype=torch.int64)
    classifier, _ = two_classes(margin=1.5 / 255 - float(weight.double().sum()) * (128 / 255 - 0.5))
    ahead = -float(Goal().objective(_as_asked(classifier, x, labels), classifier.info))
    assert abs(ahead) == pytest.approx(1.5 / 255, rel=0.01), "a corner of the ball takes off more than four times that"
    assert float(weight.abs().sum()) > 6
    inside = RandomSearch(LpBall("linf", 1 / 255), draw="inside")
    evaded, _ = attack(inside, classifier, x, labels, budget=200)
    assert evaded.fooled.tolist() == [True]


def _as_asked(classifier: Any, x: torch.Tensor, labels: torch.Tensor) -> Evaluated:
    none = torch.zeros(len(x), 1, dtype=torch.int64)
    return Evaluated(x[:, None] * 0, x[:, None], x, classifier(x)[:, None], labels[:, None], none)


@pytest.mark.parametrize("attacker", [GenAttack(LINF), repainting(LINF), OnePlusOne(LINF)], ids=["gen", "ga", "es"])
def test_a_state_leads_with_its_images_and_does_not_change(attacker):
    x = pictures(3)
    state = attacker.init(victims(x))
    for round_ in range(3):
        before = [tensor.clone() for tensor in contracts._tensors(state)]
        asked = attacker.ask(state, stream(3).at(round_))
        new = told(attacker, state, asked, 1 + stream(3)["fitness"].at(round_).uniform(asked.shape[1]))
        assert all(torch.equal(a, b) for a, b in zip(before, contracts._tensors(state), strict=True))
        assert {len(tensor) for tensor in contracts._tensors(new)} == {3}
        state = new


# GenAttack ----------------------------------------------------------------------------------------------------------


def test_log_odds_by_hand():
    label = torch.tensor([0])
    assert genattack.log_odds(torch.tensor([[2.0, 1.0, 1.0]]).log(), label, "logits").item() == pytest.approx(
        0, abs=1e-6
    )
    assert genattack.log_odds(torch.tensor([[0.75, 0.2, 0.05]]), label, "probabilities").item() == pytest.approx(
        math.log(3), abs=1e-6
    )
    far = genattack.log_odds(torch.tensor([[1e4, 0.0, 0.0]]), label, "logits").item()
    assert far == pytest.approx(1e4 - math.log(2), abs=1e-9)
    assert genattack.log_odds(torch.tensor([[-1e4, 1e4, 0.0]]), label, "logits").item() == -2e4
    assert genattack.log_odds(torch.tensor([[0.0, 0.6, 0.0]]), label, "top-k").item() == pytest.approx(
        -708.3964 - math.log(0.6), abs=1e-3
    )
    left_out = genattack.log_odds(torch.tensor([[-torch.inf, 1.0, -torch.inf]]), label, "logits").item()
    assert math.isfinite(left_out)
    assert left_out < -1e20
    assert genattack.log_odds(torch.full((1, 3), torch.nan), label, "logits").isnan().all()


def test_selection_is_softmax_over_temperature_and_never_of_a_member_without_answer():
    rated = torch.tensor([[0.0, 0.1 * math.log(2), torch.nan], [torch.nan] * 3, [1e4, -1e4, 0.0]], dtype=torch.float64)
    chances = genattack.chances(rated, 0.1)
    assert chances[0].tolist() == pytest.approx([1 / 3, 2 / 3, 0.0])
    assert chances[1].tolist() == pytest.approx([1 / 3] * 3)
    assert chances[2].tolist() == [1.0, 0.0, 0.0]


def test_parents_are_drawn_and_crossed_by_their_shares():
    # One parent is all +, the other all -, and three times as likely is the first.
    count, attacker = 4000, GenAttack(LINF, members=2, mutation_rate=1e-6)
    x = torch.full((count, 1, 4, 4), 128 / 255)
    members = torch.stack([torch.full_like(x, 0.1), torch.full_like(x, -0.1)], 1)
    rated = torch.tensor([0.1 * math.log(3), 0.0], dtype=torch.float64).expand(count, -1)
    one = torch.ones(count, dtype=torch.int64)
    state = genattack.State(x, one, members, rated, rated[:, 0], one, one, one)
    children = attacker.ask(state, many(count))
    plus = (children > 0).flatten(1).double().mean(1)
    pure = [(plus == share).double().mean().item() for share in (1.0, 0.0)]
    assert pure == pytest.approx([9 / 16, 1 / 16], abs=0.025)  # 3/4 of the crossed have both signs, all but 0.75^16
    mixed = (plus > 0) & (plus < 1)
    assert mixed.double().mean().item() == pytest.approx(6 / 16, abs=0.025)
    assert plus[mixed].mean().item() == pytest.approx(0.75, abs=0.01)


def test_rates_decay_with_plateaus_down_to_a_floor():
    attacker = GenAttack(LINF, adaptive=True)
    rates, ranges = attacker.rates(torch.tensor([0, 1, 2, 15, 16, 1000]))
    assert rates.tolist() == pytest.approx([0.5, 0.45, 0.405, 0.5 * 0.9**15, 0.1, 0.1])
    assert ranges.tolist() == pytest.approx([0.4, 0.36, 0.324, 0.15, 0.15, 0.15])
    fixed = GenAttack(LINF, mutation_rate=0.3, mutation_range=0.5).rates(torch.tensor([0, 9]))
    assert [value.tolist() for value in fixed] == [pytest.approx([0.3, 0.3]), pytest.approx([0.5, 0.5])]


def test_a_plateau_is_so_many_generations_without_better_fitness():
    attacker = GenAttack(LINF, members=2, adaptive=True, patience=2)
    state = attacker.init(victims(pictures(1)))
    assert state.best.tolist() == pytest.approx([math.log(2)])  # three equal scores, away from one of them
    child = torch.zeros(1, 1, 1, 6, 6)
    seen = []
    for own in (0.0, 0.0, 0.0, -1.0, 0.0, -1.0, -1.0):  # the lower the label's logit, the better
        state = told(attacker, state, child, [[1.0]], [[[own, 0.0, 0.0]]])
        seen.append((int(state.quiet), int(state.plateaus)))
    assert seen == [(1, 0), (0, 1), (1, 1), (0, 1), (1, 1), (0, 2), (1, 2)]


@pytest.mark.parametrize("targeted", [False, True])
def test_the_elite_lives_on_without_being_asked_again(targeted):
    attacker = GenAttack(LINF, members=3, targeted=targeted, mutation_rate=0.5)
    state = attacker.init(victims(pictures(1)))
    first = attacker.ask(state, stream())
    assert first.shape[1] == 2
    sign = 1.0 if targeted else -1.0
    state = told(attacker, state, first, [[1.0, 1.0]], [[[sign * 2, 0.0, 0.0], [sign, 0.0, 0.0]]])
    best = attacker.encoding.repair(first, state.x)[0, 0]
    for _ in range(3):
        asked = attacker.ask(state, stream().at(1))
        assert not (asked[0] == best).flatten(1).all(1).any()
        state = told(attacker, state, asked, [[1.0, 1.0]], [[[0.0, 0.0, 0.0], [torch.nan] * 3]])
        assert torch.equal(state.members[0, 0], best)
        assert state.rated[0].isnan().tolist() == [False, False, True]


def test_mutation_changes_so_many_genes_so_far():
    count = 300
    attacker = GenAttack(LINF, members=2, mutation_rate=0.2, mutation_range=0.5)
    x = torch.full((count, 1, 6, 6), 128 / 255)
    state = dataclasses.replace(attacker.init(victims(x)), told=torch.ones(count, dtype=torch.int64))
    moved = attacker.ask(state, many(count))
    changed = moved[moved != 0]
    assert len(changed) / moved.numel() == pytest.approx(0.2, abs=0.02)
    assert float(changed.abs().max()) <= 0.5 * LINF.eps
    assert changed.mean().item() == pytest.approx(0, abs=0.002)
    assert changed.abs().mean().item() == pytest.approx(0.25 * LINF.eps, rel=0.05)  # uniform


def test_small_members_are_blown_up():
    x = torch.full((2, 3, 4, 4), 128 / 255)
    one = GenAttack(LINF, search_size=1)
    state = one.init(victims(x))
    asked = one.ask(state, stream(2))
    assert torch.allclose(asked, asked[..., :1, :1].expand_as(asked), atol=1e-6)
    assert len(asked.mul(1000).round().unique()) > 20, "members or channels go together"
    small = torch.tensor([[0.0, 1.0], [0.0, 1.0]]).expand(2, 1, 3, 2, 2)
    large = GenAttack(LINF, search_size=2)._upscaled(small, state)
    assert large[0, 0, 0].tolist() == [[0.0, 0.25, 0.75, 1.0]] * 4
    # Crossover exchanges blocks: of one gene a channel, a child is one parent or the other in each channel.
    one = GenAttack(LINF, search_size=1, mutation_rate=1e-6, members=2)
    members = torch.stack([torch.full_like(x, 0.1), torch.full_like(x, -0.1)], 1)
    state = dataclasses.replace(one.init(victims(x)), members=members, told=torch.ones(2, dtype=torch.int64))
    state = genome.rows(state, torch.zeros(200, dtype=torch.int64))
    child = one.ask(state, many(200))
    assert torch.allclose(child, child[..., :1, :1].expand_as(child), atol=1e-6)
    signs = child[:, 0, :, 0, 0] > 0
    assert bool((signs.any(1) & ~signs.all(1)).any()), "no two channels came from different parents"


# Tiles and the (1+1)-ES ---------------------------------------------------------------------------------------------


def test_tiles_by_hand_and_cut_off_at_the_edges():
    shape = torch.Size((1, 1, 3, 5))
    assert evolution_strategies.tiles(shape, 2) == (1, 2, 3)
    image = evolution_strategies.spread(torch.tensor([[1.0, 2, 3, 4, 5, 6]]), shape, 2)
    assert image[0, 0].tolist() == [[1, 1, 2, 2, 3], [1, 1, 2, 2, 3], [4, 4, 5, 5, 6]]
    sent = torch.tensor([[[[0.1, -0.3, 0, 0, 0.2], [0, 0, 0, 0, -0.2], [-0.1, 0, 0, 0, -0.4]]]])
    assert evolution_strategies.strongest(sent, 2).tolist() == [pytest.approx([-0.3, 0, 0.2, -0.1, 0, -0.4])]


@pytest.mark.parametrize("tile", [1, 2, 4])
def test_signs_are_read_as_they_were_meant_even_where_nothing_of_them_is_left(tile):
    x = pictures(4, (3, 6, 6))
    x[0], x[1] = 0.0, 1.0
    attacker = OnePlusOne(LINF, tile=tile)
    genes = torch.where(stream(4)["genes"].bits(math.prod(evolution_strategies.tiles(x.shape, tile))), 1.0, -1.0)
    sent = attacker.encoding.repair(attacker.sent(genes, x), x)
    assert bool((sent == 0).any()), "nothing was cut off"
    assert torch.equal(evolution_strategies.signs(sent[:, 0], x, tile), genes)


def test_what_is_left_of_a_direction_has_the_radius():
    x = pictures(5)
    direction = stream(5)["direction"].uniform(*x.shape[1:]) - 0.5
    scaled = evolution_strategies.to_radius(direction, x, 0.5)
    left = L2.repair(scaled[:, None], x).flatten(1).norm(dim=1)
    plain = (direction / direction.flatten(1).norm(dim=1)[:, None, None, None] * 0.5)[:, None]
    assert bool((L2.repair(plain, x).flatten(1).norm(dim=1) < 0.475).all()), "nothing was cut off"
    assert left.tolist() == pytest.approx([0.5] * 5, abs=0.01)


def test_noise_is_normal_and_cauchy():
    drawn = evolution_strategies.normal(many(400), 101)
    assert drawn.shape == (400, 101)
    assert drawn.mean().item() == pytest.approx(0, abs=0.02)
    assert drawn.square().mean().item() == pytest.approx(1, abs=0.03)
    assert (drawn.abs() < 1).double().mean().item() == pytest.approx(0.6827, abs=0.01)
    for own, other in ((0, 1), (0, 51), (7, 58)):  # 58 is the partner of 7
        assert (drawn[:, own] * drawn[:, other]).mean().item() == pytest.approx(0, abs=0.2)
    heavy = evolution_strategies.cauchy(many(400), 101)
    assert heavy.isfinite().all()
    assert [(heavy.abs() < edge).double().mean().item() for edge in (1, 3)] == pytest.approx(
        [0.5, 2 * math.atan(3) / math.pi], abs=0.015
    )


def test_the_step_of_one_plus_one_doubles_and_shrinks():
    attacker = OnePlusOne(LINF, tile=3)
    state = attacker.init(victims(pictures(1)))
    assert state.genes.tolist() == [[0.0] * 4]
    steps, kept = [], []
    for fitness in (1.0, 0.5, 0.7, float("nan"), 0.5):  # 1 is that of the image itself: not worse
        asked = attacker.ask(state, stream().at(len(steps)))
        state = told(attacker, state, asked, [[fitness]])
        steps.append(state.step.item())
        kept.append(state.fitness.item())
    assert steps == pytest.approx([2, 4, 4 * 0.84, 4 * 0.84**2, 8 * 0.84**2])
    assert kept == [1.0, 0.5, 0.5, 0.5, 0.5]


def test_one_plus_one_never_asks_about_its_parent_again():
    count = 200
    attacker = OnePlusOne(LINF, tile=2)
    x = torch.full((count, 1, 6, 6), 128 / 255)
    genes = torch.where(many(count)["genes"].bits(9), 1.0, -1.0)
    state = dataclasses.replace(attacker.init(victims(x)), genes=genes, step=torch.full((count,), 1e-3))
    flipped = (evolution_strategies.signs(attacker.ask(state, many(count))[:, 0], x, 2) != genes).sum(1)
    assert bool((flipped >= 1).all())
    assert int((flipped == 1).sum()) > 150
    state = dataclasses.replace(state, step=torch.full((count,), 1.0))
    flipped = (evolution_strategies.signs(attacker.ask(state, many(count))[:, 0], x, 2) != genes).double().mean()
    assert flipped.item() == pytest.approx(0.25, abs=0.03)  # a Cauchy number is above 1 so often


# CMA ----------------------------------------------------------------------------------------------------------------


def test_the_noise_behind_a_sign_by_hand_and_by_trial():
    attacker = SeparableCMA(LINF)
    one = torch.tensor([[[1.0, -1.0]]], dtype=torch.float64)
    zero = torch.zeros(1, 2, dtype=torch.float64)
    noise, square, expected = attacker._noise(one, zero, zero + 1, zero)
    half = math.sqrt(2 / math.pi)
    assert noise[0, 0].tolist() == pytest.approx([half, -half])
    assert square[0, 0].tolist() == pytest.approx([1, 1])
    assert expected.tolist() == pytest.approx([4 / math.pi])
    ratio = 0.7
    drawn = evolution_strategies.normal(many(2000), 200).double().flatten()
    up = drawn + ratio > 0
    noise, square, expected = attacker._noise(one, zero + ratio, zero + 1, zero + ratio)
    assert noise[0, 0].tolist() == pytest.approx([drawn[up].mean().item(), drawn[~up].mean().item()], abs=0.01)
    assert square[0, 0].tolist() == pytest.approx(
        [drawn[up].square().mean().item(), drawn[~up].square().mean().item()], abs=0.02
    )
    by_trial = torch.where(up, drawn[up].mean(), drawn[~up].mean()).square().mean()
    assert expected.tolist() == pytest.approx([2 * by_trial.item()], abs=0.01)
    certain = attacker._noise(one, zero + 1e5, zero + 1, zero + 1e5)
    assert all(bool(value.isfinite().all()) for value in certain)
    assert certain[0][0, 0].tolist() == pytest.approx([0, -1e5])


def generations(attacker: SeparableCMA, fitness: Any, count: int, rounds: int) -> separable_cma.Distribution:
    """So many generations of searches side by side on gray images; fitness of the genes as sent."""
    x = torch.full((count, 1, 4, 4), 128 / 255)
    state = attacker.init(victims(x))
    for number in range(rounds * attacker.generation(16)):
        rng = many(count).at(number)
        asked = attacker.ask(state, rng)
        genes = evolution_strategies.strongest(asked[:, 0], 1) / attacker.encoding.eps
        state = told(attacker, state, asked, fitness(genes, rng)[:, None])
    return state


@pytest.mark.parametrize("corners", [True, False])
def test_without_selection_the_step_of_cma_stays(corners):
    # Within a ball so large that nothing is cut off; corners have no other way than their signs.
    ball = LINF if corners else LpBall("linf", 1.0)
    attacker = SeparableCMA(ball, tile=1, corners=corners, step=1.0 if corners else 0.02)
    end = generations(attacker, lambda genes, rng: rng["fitness"].uniform(), 100, 25)
    assert (end.step / attacker.step).log().median().item() == pytest.approx(0, abs=0.25)
    assert end.variance.median().item() == pytest.approx(1, abs=0.25)
    assert (end.mean / (end.step[:, None] * end.variance.sqrt())).abs().median().item() < 2


@pytest.mark.parametrize("corners", [True, False])
def test_cma_learns_which_genes_matter_and_where_they_should_be(corners):
    attacker = SeparableCMA(LpBall("linf", 0.4), tile=1, corners=corners, step=1.0 if corners else 0.1)
    end = generations(attacker, lambda genes, rng: (genes[:, 0] - genes[:, 1]).double(), 20, 12)
    ratio = end.mean / (end.step[:, None].float() * end.variance.sqrt())
    assert bool((ratio[:, 0] < 0).all())
    assert bool((ratio[:, 1] > 0).all())
    assert ratio[:, :2].abs().mean() > 1.5 * ratio[:, 2:].abs().mean()


def test_cma_moves_once_a_generation_by_weights_worked_out_by_hand():
    # Two of four members count: weights log(2.5) - log(1) and log(2.5) - log(2), shared out.
    attacker = SeparableCMA(LpBall("linf", 1.0), tile=4, corners=False, members=4, step=0.1)
    x = torch.full((1, 1, 4, 4), 128 / 255)
    state = attacker.init(victims(x))
    values = [0.05, -0.1, 0.2, -0.02]
    for value, fitness in zip(values, (3.0, 1.0, 2.0, float("nan")), strict=True):
        assert state.mean.item() == 0
        state = told(attacker, state, torch.full((1, 1, 1, 4, 4), value), [[fitness]])
    first, second = math.log(2.5), math.log(2.5) - math.log(2)
    share = first / (first + second)
    assert state.mean.item() == pytest.approx(share * -0.1 + (1 - share) * 0.2, abs=1e-6)
    assert int(state.told) == 4
    several = 1 / (share**2 + (1 - share) ** 2)
    path = math.sqrt((several + 2) / (several + 4) * (2 - (several + 2) / (several + 4)) * several)
    assert state.path.item() == pytest.approx(path * state.mean.item() / 0.1, rel=1e-5)


# NES ----------------------------------------------------------------------------------------------------------------


def test_nes_asks_in_pairs_around_a_point_and_then_about_the_next_point():
    attacker = NES(LpBall("linf", 0.4), samples=4, spread=0.1, step=0.25)
    x = torch.full((1, 1, 4, 4), 128 / 255)
    x[..., 0, :] = 0  # what lowers these is cut off
    state = attacker.init(victims(x))
    slope = torch.zeros_like(x)
    asked = []
    for round_, fitness in enumerate((1.5, 0.5, 2.0, 1.0)):
        asked.append(attacker.ask(state, stream().at(round_)))
        state = told(attacker, state, asked[-1], [[fitness]])
        sent = attacker.encoding.repair(asked[-1], x)[:, 0]
        slope += (fitness - 1.0) * sent  # 1 is that of the image itself
        assert state.point.abs().sum() == 0
    assert torch.equal(asked[1], -asked[0])
    assert torch.equal(asked[3], -asked[2])
    assert not torch.equal(asked[0], asked[2])
    assert float(asked[0].std()) == pytest.approx(0.04, rel=0.5)
    assert torch.allclose(state.slope, slope)
    point = attacker.ask(state, stream().at(4))
    assert torch.allclose(point[:, 0], -0.1 * slope.sign())
    state = told(attacker, state, point, [[0.3]])
    assert torch.equal(state.point, attacker.encoding.repair(point, x)[:, 0])
    assert not torch.equal(state.point, point[:, 0]), "nothing was cut off"
    assert state.fitness.item() == 0.3
    assert state.slope.abs().sum() == 0
    assert torch.allclose(state.momentum, 0.1 * slope)
    fifth = attacker.ask(state, stream().at(5))
    state = told(attacker, state, fifth, [[float("nan")]])
    assert state.slope.abs().sum() == 0, "of a sample without an answer nothing is known"


def test_nes_finds_the_sign_of_the_gradient():
    classifier, weight = two_classes(margin=50.0)
    attacker = NES(LpBall("linf", 0.2), samples=400, spread=0.2, step=1.0)
    evaded, _ = attack(attacker, classifier, gray(2), torch.zeros(2, dtype=torch.int64), budget=401)
    moved = evaded.images - gray(2)
    assert ((moved.sign() == -weight.sign()).double().mean()) > 0.9
    assert float(moved.abs().min()) == pytest.approx(0.2, abs=0.005)


def test_nes_samples_in_pairs():
    with pytest.raises(SpecError, match="even number"):
        NES(LINF, samples=5)


# The genetic algorithm ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [op(OURS + "repaint", value=0.2), op(OURS + "repaint", value=0.3, add=True)])
def test_repaint_keeps_the_laws_of_mutation(path):
    for shape in ((1, 6, 6), (3, 4, 7)):
        contracts._check_mutation("repaint", path, pictures(contracts.SEARCHES * 9, shape).unflatten(0, (-1, 9)))


def test_repaint_paints_one_square_up_or_down():
    x = torch.zeros(40, 25, 2, 7, 5)
    painted = population.repaint(x, rng=many(40), value=0.25)
    assert set(painted.unique().tolist()) == {-0.25, 0.0, 0.25}
    inside = painted[:, :, 0] != 0
    assert torch.equal(inside, painted[:, :, 1] != 0)
    rows, columns = inside.any(3).sum(2), inside.any(2).sum(2)
    assert torch.equal(rows, columns)
    assert torch.equal(inside.sum((2, 3)), rows * columns)
    assert sorted(rows.unique().tolist()) == [1, 2, 3]  # at most 0.3 of 35 pixels
    assert bool(inside.any((0, 1)).all()), "some place is never reached"
    assert not torch.equal(painted[:, :, 0], painted[:, :, 1]), "channels always go together"
    added = population.repaint(torch.full_like(x, 0.1), rng=many(40), value=0.25, add=True)
    assert added.unique().tolist() == pytest.approx([-0.15, 0.1, 0.35])


def test_reseed_changes_other_pixels_and_as_many_as_are_allowed():
    x = torch.zeros(30, 8, 2, 5, 5)
    x[..., :2, :4] = 0.5  # eight of them
    for pixels, after in ((8, 8), (12, 12), (3, None)):
        new = population.reseed(x, rng=many(30), pixels=pixels, share=0.5)
        changed = (new != 0).any(2)
        before = (x != 0).any(2)
        kept = (changed & before).sum((2, 3))
        assert int(kept.min()) >= 4
        assert int(kept.max()) <= 7
        assert len(kept.unique()) > 1
        assert torch.equal(new[(changed & before)[:, :, None].expand_as(new)].unique(), torch.tensor([0.5]))
        if after:
            assert bool((changed.sum((2, 3)) == after).all())
    fresh = population.reseed(torch.zeros_like(x), rng=many(30), pixels=3)
    assert bool(((fresh != 0).any(2).sum((2, 3)) == 3).all())
    contracts._check_mutation("reseed", op(OURS + "reseed", pixels=5), torch.zeros(contracts.SEARCHES, 9, 1, 6, 6))


def test_the_first_population_is_the_image_and_what_is_drawn():
    attacker = repainting(LINF, members=4)
    x = pictures(2)
    state = attacker.init(victims(x))
    asked = attacker.ask(state, stream(2))
    assert asked.shape == (2, 3, 1, 6, 6)
    assert set(asked.abs().unique().tolist()) == {torch.tensor(LINF.eps).item()}
    state = told(attacker, state, asked, [[3.0, 2.0, 4.0]] * 2)
    assert state.population.fitness.tolist() == [[1.0, 3.0, 2.0, 4.0]] * 2
    assert state.population.genomes[:, 0].abs().sum() == 0
    inside = repainting(LINF, members=4, corners=False).ask(attacker.init(victims(x)), stream(2))
    assert len(inside.unique()) > 20
    with pytest.raises(SpecError, match="fewer elites"):
        Population(LINF, GeneticAlgorithm(elites=4), members=4)


# Recipes ------------------------------------------------------------------------------------------------------------


def setting(norm: str = "linf", *, targeted: bool = False, classifier: Any = None) -> Setting:
    info = (classifier or crowd()[0]).info
    size = {"linf": 0.2, "l2": 0.8, "l0": 4}[norm]
    limit: Threat = threat(norm, size, info.image_shape)
    return Setting(limit, Goal(targeted=targeted), 100, info)


def test_genattack_is_told_of_the_scores_and_of_the_goal():
    sure = Constant([0.5, 0.5, 0.0], (1, 6, 6), kind="probabilities")
    made = algorithm("genattack", setting(targeted=True, classifier=sure), {"members": 4, "search_size": 3})
    assert (made.kind, made.targeted, made.members, made.search_size) == ("probabilities", True, 4, 3)
    assert algorithm("genattack", setting()) == GenAttack(LINF)
    with pytest.raises(SpecError, match="genattack works within linf"):
        algorithm("genattack", setting("l2"))


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("strategy", ["one-plus-one", "cma", "nes"])
def test_every_strategy_can_be_asked_for(norm, strategy):
    kinds = {"one-plus-one": OnePlusOne, "cma": SeparableCMA, "nes": NES}
    made = algorithm("es", setting(norm), {"strategy": strategy, "step": 0.5})
    assert isinstance(made, kinds[strategy])
    assert made.step == 0.5
    assert made.encoding.norm == norm
    if strategy != "nes":
        assert algorithm("es", setting(norm), {"strategy": strategy, "tile": 3}).tile == 3


def test_tiles_are_shares_of_the_image():
    large = Constant([1.0, 0.0, 0.0], (1, 56, 84))
    tiles = [
        algorithm("es", dataclasses.replace(setting(norm, classifier=large)), {"strategy": strategy}).tile
        for norm in ("linf", "l2")
        for strategy in ("one-plus-one", "cma")
    ]
    assert tiles == [4, 4, 1, 8]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"strategy": "cmaes"}, "'cmaes'.*'cma'"),
        ({"strategy": "nes", "tile": 2}, "strategy nes has no argument 'tile'"),
        ({"strategy": "cma", "samples": 2}, "strategy cma has no argument 'samples'"),
        ({"strategy": "cma", "members": 2}, "members = 2"),
    ],
)
def test_a_strategy_refuses_what_it_does_not_know(arguments, says):
    with pytest.raises(SpecError, match=says):
        algorithm("es", setting(), arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"crossover": "single_point", "selection": "linear_ranking"},
        {"crossover": "arithmetic", "mutation": "swap"},
        {"mutation": "inversion", "survival": "truncation"},
        {"mutation": "repaint", "crossover": op("crossover.uniform"), "elites": 2},
        {"mutation": "reseed", "selection": op("selection.tournament", size=4)},
    ],
    ids=str,
)
@pytest.mark.parametrize("norm", ["linf", "l2", "l0"])
def test_ga_is_put_together_from_names(norm, arguments):
    classifier, x, labels = crowd(4)
    made = algorithm("ga", setting(norm), arguments)
    evaded, _ = attack(made, classifier, x, labels, budget=60)
    assert bool(made.encoding.holds(evaded.images[:, None], x).all())
    assert made.genetic.elites == arguments.get("elites", 0 if "survival" in arguments else 1)


def test_ga_names_the_operators_that_there_are():
    with pytest.raises(SpecError, match=r"no such crossover 'single_pint'.*single_point"):
        algorithm("ga", setting(), {"crossover": "single_pint"})
    made = algorithm("ga", setting(), {"mutation": "mutation.swap"})
    assert made.genetic.mutation == op("mutation.swap")


def test_configurations_are_checked():
    for make in (
        lambda: GenAttack(L2),
        lambda: GenAttack(LINF, members=1),
        lambda: OnePlusOne(FewPixels(3)),
        lambda: SeparableCMA(LINF, tile=0),
        lambda: NES(FewPixels(3)),
        lambda: NES(LINF, momentum=1.0),
    ):
        with pytest.raises(SpecError):
            make()


@pytest.mark.parametrize("module", [genattack, evolution_strategies, separable_cma, nes, population])
def test_examples_fool_something(module):
    classifier, x, labels = crowd()
    evaded, _ = attack(module.example(), classifier, x, labels, budget=200)
    assert evaded.fooled.any()
