"""NSGA-II: fronts, crowding and hypervolume by hand, by brute force and against pymoo; then the whole algorithm."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from evofool import criteria, genome, objectives, spec
from evofool.algorithms import ga
from evofool.algorithms.nsga2 import NSGA2, State
from evofool.classifiers.fake import Linear, Silent
from evofool.contracts import Evaluated
from evofool.encodings.ink import Ink
from evofool.errors import SpecError
from evofool.ledger import Ledger
from evofool.operators import ranking
from evofool.search import Problem, run
from evofool.spec import op
from fakes import many, pictures, stream

NAN, INF = float("nan"), float("inf")


def members(*rows: list[float]) -> torch.Tensor:
    """Fitness [1 P M] of one search."""
    return torch.tensor([rows], dtype=torch.float64)


def landscapes(searches: int, population: int, count: int, *, levels: int, failed: float, seed: int) -> torch.Tensor:
    """Fitness on a coarse grid, so that many tie in one objective or in all; some have failed in one of them."""
    rng = stream(searches, seed=seed)
    fitness = rng["fitness"].integers(levels, population, count).double()
    return fitness.masked_fill(rng["failed"].uniform(population, count) < failed, NAN)


# Fronts

FIVE = members([1, 4], [2, 2], [4, 1], [2, 3], [5, 5])  # the fourth is dominated by the second, the fifth by all


def test_fronts_by_hand():
    assert ranking.fronts(FIVE).tolist() == [[0, 0, 0, 1, 2]]
    assert ranking.front(FIVE).tolist() == [[True, True, True, False, False]]
    assert ranking.dominance(FIVE)[0].nonzero().tolist() == [[0, 4], [1, 3], [1, 4], [2, 4], [3, 4]]


def test_equals_share_a_front_and_one_objective_makes_a_ranking():
    assert ranking.fronts(members([1, 1], [1, 1], [1, 2])).tolist() == [[0, 0, 1]]
    assert ranking.fronts(members([3], [1], [2], [1])).tolist() == [[2, 0, 1, 0]]


def test_who_has_failed_is_behind_all_others_even_behind_the_infinitely_bad():
    fitness = members([NAN, 0], [INF, INF], [1, 1], [0, NAN], [NAN, NAN])
    assert ranking.fronts(fitness).tolist() == [[2, 1, 0, 2, 2]]
    assert ranking.front(fitness).tolist() == [[False, False, True, False, False]]
    assert ranking.fronts(fitness[:, [0, 3]]).tolist() == [[0, 0]]
    assert not bool(ranking.front(fitness[:, [0, 3]]).any())


def fronts_by_definition(rows: list[list[float]]) -> list[int]:
    """Take away those whom nobody left dominates, again and again; the failed at last."""

    def dominates(a: list[float], b: list[float]) -> bool:
        return all(p <= q for p, q in zip(a, b, strict=True)) and any(p < q for p, q in zip(a, b, strict=True))

    able = [i for i, row in enumerate(rows) if not any(map(math.isnan, row))]
    found, number = [-1] * len(rows), 0
    while able:
        current = [i for i in able if not any(dominates(rows[j], rows[i]) for j in able)]
        for i in current:
            found[i] = number
        able = [i for i in able if i not in current]
        number += 1
    return [number if front < 0 else front for front in found]


CASES = [
    (count, population, levels, failed)
    for count in (1, 2, 3)
    for population in (1, 2, 13)
    for levels, failed in ((2, 0.0), (5, 0.15), (50, 0.0))
]


@pytest.mark.parametrize(("count", "population", "levels", "failed"), CASES)
def test_fronts_are_those_of_the_definition(count, population, levels, failed):
    fitness = landscapes(40, population, count, levels=levels, failed=failed, seed=population)
    found = ranking.fronts(fitness)
    assert found.tolist() == [fronts_by_definition(rows) for rows in fitness.tolist()]
    answered = ~fitness.isnan().any(-1)
    assert torch.equal(ranking.front(fitness), (found == 0) & answered)
    if population == 13:
        assert bool((found > 0).any()), "no search had a second front: the cases are too easy"
        assert bool((~answered).any()) == (failed > 0)
    for row in range(3):
        assert torch.equal(ranking.fronts(fitness[row : row + 1]), found[row : row + 1])


@pytest.mark.parametrize(("count", "levels"), [(2, 6), (2, 1000), (3, 6), (3, 1000)])
def test_fronts_are_those_of_pymoo(count, levels):
    from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

    fitness = landscapes(20, 60, count, levels=levels, failed=0.0, seed=3)
    for losses, found in zip(fitness, ranking.fronts(fitness), strict=True):
        theirs = [sorted(front.tolist()) for front in NonDominatedSorting().do(losses.numpy())]
        assert [(found == number).nonzero().flatten().tolist() for number in range(len(theirs))] == theirs


# Crowding


def test_crowding_by_hand():
    row = members([0, 10], [1, 6], [4, 5], [10, 0])
    front = torch.zeros(1, 4, dtype=torch.int64)
    distance = ranking.crowding(row, front)[0].tolist()
    assert distance == pytest.approx([INF, 4 / 10 + 5 / 10, 9 / 10 + 6 / 10, INF])
    shuffled = [2, 0, 3, 1]
    assert ranking.crowding(row[:, shuffled], front)[0].tolist() == [distance[i] for i in shuffled]


def test_each_front_is_measured_by_itself():
    one, other = [[0, 10], [1, 6], [4, 5], [10, 0]], [[100, 400], [200, 300], [900, 200], [1000, 100]]
    front = torch.tensor([[0, 1] * 4])
    mixed = members(*itertools.chain.from_iterable(zip(one, other, strict=True)))
    distance = ranking.crowding(mixed, front)[0].tolist()
    assert distance[::2] == pytest.approx([INF, 0.9, 1.5, INF])
    assert distance[1::2] == pytest.approx([INF, 8 / 9 + 2 / 3, 8 / 9 + 2 / 3, INF])


def test_where_all_are_equal_an_objective_adds_nothing_and_one_or_two_are_infinitely_far():
    front = torch.zeros(1, 4, dtype=torch.int64)
    distance = ranking.crowding(members([0, 7, 3], [1, 7, 2], [2, 7, 1], [4, 7, 0]), front)
    assert distance[0].tolist() == pytest.approx([INF, 2 / 4 + 2 / 3, 3 / 4 + 2 / 3, INF])
    assert ranking.crowding(members([5, 5], [5, 5], [5, 5]), front[:, :3]).tolist() == [[0, 0, 0]]
    assert ranking.crowding(members([5, 5], [5, 5]), front[:, :2]).tolist() == [[INF, INF]]
    assert ranking.crowding(members([5, 5]), front[:, :1]).tolist() == [[INF]]


def test_infinite_losses_make_no_nan():
    distance = ranking.crowding(members([0, INF], [1, 5], [2, 4], [3, 0]), torch.zeros(1, 4, dtype=torch.int64))
    assert distance[0].tolist() == [INF, pytest.approx(2 / 3), pytest.approx(2 / 3), INF]


@pytest.mark.parametrize("count", [2, 3])
def test_crowding_is_that_of_pymoo(count):
    """Which divides it by the number of objectives."""
    from pymoo.operators.survival.rank_and_crowding.metrics import get_crowding_function

    fitness = stream(10, seed=8)["fitness"].uniform(50, count, dtype=torch.float64)
    fronts = ranking.fronts(fitness)
    large = 0
    for losses, front, distance in zip(fitness, fronts, ranking.crowding(fitness, fronts), strict=True):
        for number in range(int(front.max()) + 1):
            theirs = get_crowding_function("cd").do(losses[front == number].numpy()) * count
            assert np.allclose(distance[front == number].numpy(), theirs)
            large += len(theirs) > 4
    assert large > 10


# Places


def test_places_go_by_front_and_then_by_distance():
    fitness = members([0, 10], [1, 6], [4, 5], [10, 0], [20, 20], [NAN, 0])
    assert ranking.places(fitness)[0, :5].tolist() == [0, 2, 1, 0, 3]
    assert ranking.places(fitness)[0, 5].isnan()


def test_a_copy_stands_one_front_behind_the_one_before_it_and_does_not_crowd_it():
    a, b, worse = [0.0, 2.0], [2.0, 0.0], [3.0, 3.0]
    fitness = members(a, a, a, b, worse)
    assert ranking.copies(fitness).tolist() == [[0, 1, 2, 0, 0]]
    place = ranking.places(fitness)[0].tolist()
    assert place[0] == place[3] == 0  # both are ends of the first front
    assert place[1] == place[4] == 1  # the second front: the first copy, and who is dominated
    assert place[2] == 2
    assert ranking.copies(members([NAN, 1], [NAN, 1], [1, 1])).tolist() == [[0, 0, 0]]


def test_all_copies_of_one_still_come_before_who_has_failed():
    fitness = members([1, 1], [NAN, 1], [1, 1], [1, 1], [1, NAN])
    place = ranking.places(fitness)
    assert place[0, [0, 2, 3]].tolist() == [0, 1, 2]
    assert place[0, [1, 4]].isnan().tolist() == [True, True]


def test_who_has_failed_does_not_crowd_copies():
    front = [[0, 10], [1, 6], [4, 5], [10, 0]]
    place = ranking.places(members(*front, *front, [NAN, 0], [5, NAN]))
    assert place[0, :8].tolist() == [0, 2, 1, 0, 3, 5, 4, 3]


@pytest.mark.parametrize("levels", [3, 1000])
def test_places_keep_the_order_of_fronts_whoever_stands_beside(levels):
    fitness = landscapes(30, 17, 2, levels=levels, failed=0.1, seed=2)
    place = ranking.places(fitness)
    assert torch.equal(place.isnan(), fitness.isnan().any(-1))
    first = ranking.copies(fitness) == 0
    dominates = ranking.dominance(fitness) & first[:, :, None] & ~place.isnan()[:, None, :]
    assert bool(dominates.any())
    assert bool((place[:, :, None] < place[:, None, :])[dominates].all())
    for row in range(4):
        alone = ranking.places(fitness[row : row + 1])
        assert torch.equal(alone.nan_to_num(nan=-1), place[row : row + 1].nan_to_num(nan=-1))


# Hypervolume


def test_hypervolume_by_hand():
    front = members([1, 3], [2, 2], [3, 1])
    assert ranking.hypervolume(front, (4.0, 4.0)).tolist() == [3 + 2 + 1]
    more = members([3, 1], [2, 3], [2, 2], [1, 3], [1, 3], [9, 0], [0, 9], [NAN, 0], [0, NAN])
    assert ranking.hypervolume(more, (4.0, 4.0)).tolist() == [6]  # dominated, twice there, beyond, or failed
    assert ranking.hypervolume(members([4, 0], [5, 5], [NAN, NAN]), (4.0, 4.0)).tolist() == [0]
    both = torch.cat([front, front])
    assert ranking.hypervolume(both, torch.tensor([[4.0, 4.0], [5.0, 3.0]])).tolist() == [6, 3 + 2]
    assert ranking.hypervolume(members([-INF, -INF]), (0.0, 0.0)).tolist() == [INF]


@pytest.mark.parametrize("count", [1, 3])
def test_hypervolume_of_another_number_of_objectives_is_refused(count):
    with pytest.raises(ValueError, match=r"expected two objectives, \[B P 2\]"):
        ranking.hypervolume(torch.zeros(1, 4, count), (1.0, 1.0))


@pytest.mark.parametrize("levels", [7, 1000])
def test_hypervolume_is_that_of_pymoo(levels):
    from pymoo.indicators.hv import Hypervolume

    fitness = landscapes(30, 12, 2, levels=levels, failed=0.0, seed=4)
    reference = [levels * 0.8, levels * 0.6]
    theirs = [Hypervolume(ref_point=np.array(reference)).do(losses.numpy()) for losses in fitness]
    assert ranking.hypervolume(fitness, reference).tolist() == pytest.approx(theirs)
    assert min(theirs) < max(theirs)


def test_hypervolume_is_the_share_of_random_points_that_are_dominated():
    fitness = stream(3, seed=6)["fitness"].uniform(8, 2, dtype=torch.float64)
    points = stream(3, seed=6)["points"].uniform(40_000, 1, 2, dtype=torch.float64)
    share = (fitness[:, None] <= points).all(-1).any(-1).double().mean(1)
    assert (ranking.hypervolume(fitness, (1.0, 1.0)) - share).abs().max() < 5 * 0.5 / math.sqrt(40_000)


# The algorithm


def answer(algorithm: NSGA2, state: State, genomes, fitness: torch.Tensor) -> State:
    """Tell the fitness; a member's only score is its first loss, to see whether scores stay with their member."""
    fitness = fitness.double()
    first = fitness if fitness.ndim == 2 else fitness[..., 0]
    status = torch.zeros(first.shape, dtype=torch.int8)
    evaluated = Evaluated(genomes, genomes, None, first[..., None].float(), torch.zeros_like(status), status)
    return algorithm.tell(state, evaluated, fitness, torch.zeros_like(status, dtype=torch.bool))


def told(algorithm: NSGA2, genomes: torch.Tensor, fitness: torch.Tensor) -> State:
    state = algorithm.init(genomes)
    return answer(algorithm, state, algorithm.ask(state, stream(len(genomes))), fitness)


def numbered(*numbers: float) -> torch.Tensor:
    """Members of one gene each, which is their number."""
    return torch.tensor([[[number] for number in numbers]])


COPY = NSGA2(crossover="crossover.uniform", mutation="mutation.add_ink", p_crossover=0.0, p_mutation=0.0)


def test_survivors_by_hand():
    parents = members([0, 10], [4, 5], [10, 0], [20, 20])
    children = members([1, 6], [NAN, 0], [4, 5], [0, 10])
    state = told(COPY, numbered(0, 1, 2, 3), parents)
    after = answer(COPY, state, numbered(4, 5, 6, 7), children)
    # First front, children before the parents that they equal: 7 and 2 at the ends, 6 at 0.9 + 0.6, 4 at 0.4 + 0.5.
    assert after.genomes.flatten().tolist() == [7, 2, 6, 4]
    assert after.fitness.tolist() == [[[0, 10], [10, 0], [4, 5], [1, 6]]]
    assert after.scores.flatten().tolist() == [0, 10, 4, 1]
    assert after.told.tolist() == [2]


def test_the_last_front_is_cut_by_distance():
    parents = members([0, 10], [9, 1], [10, 0])
    children = members([5, 5], [6, 4], [30, 30])
    state = told(COPY, numbered(0, 1, 2), parents)
    after = answer(COPY, state, numbered(3, 4, 5), children)
    # 3: 0.6 + 0.6; 4: 0.4 + 0.4; 1: 0.4 + 0.4
    assert after.genomes.flatten().tolist() == [0, 2, 3]


def test_copies_make_room_for_others_and_come_before_who_has_failed():
    state = told(COPY, numbered(0, 1, 2, 3), members([1, 1], [1, 1], [1, 1], [1, 1]))
    after = answer(COPY, state, numbered(4, 5, 6, 7), members([1, 1], [2, 2], [3, 3], [NAN, NAN]))
    assert after.genomes.flatten().tolist() == [4, 5, 0, 6]  # 5 shares its front with the first copy, 6 with the next
    assert after.fitness[0, 3].tolist() == [3, 3]
    alone = answer(COPY, state, numbered(4, 5, 6, 7), torch.full((1, 4, 2), NAN))
    assert alone.fitness.tolist() == [[[1, 1]] * 4]


def test_parents_are_the_winners_of_tournaments_of_two():
    searches = 3000
    fitness = members([1, 6], [20, 20], [0, 10], [10, 0]).expand(searches, -1, -1)
    state = COPY.init(numbered(0, 1, 2, 3).expand(searches, -1, -1))
    state = answer(COPY, state, state.genomes, fitness)
    children = COPY.ask(state, many(searches)).long().flatten()
    # Both ends of the front share a place: one of them wins unless both candidates are of the other two.
    counts = [int((children == 1).sum()), int((children == 0).sum()), int((children >= 2).sum())]
    expected = np.array([1 / 16, 3 / 16, 12 / 16]) * 4 * searches
    assert stats.chisquare(counts, expected).pvalue > 1e-4


def test_who_has_failed_is_no_parent_while_there_is_another():
    searches = 50
    fitness = members([NAN, NAN], [3, NAN], [5, 5], [NAN, 1]).expand(searches, -1, -1)
    state = COPY.init(numbered(0, 1, 2, 3).expand(searches, -1, -1))
    assert COPY.ask(answer(COPY, state, state.genomes, fitness), many(searches)).unique().tolist() == [2]
    nobody = answer(COPY, state, state.genomes, torch.full((searches, 4, 2), NAN))
    assert COPY.ask(nobody, many(searches)).unique().tolist() == [0, 1, 2, 3]


MATING = {
    "crossover": op("crossover.union"),
    "mutation": op("mutation.add_pixel"),
    "p_crossover": 0.7,
    "p_mutation": 0.4,
}


def test_children_are_those_of_a_genetic_algorithm_of_the_same_settings():
    population = 40
    label = torch.arange(population).expand(2, -1).clone()
    genes = (pictures(2, population, (3, 4)) < 0.2).float()
    fitness = stream(2)["fitness"].uniform(population, 2, dtype=torch.float64)
    status = torch.zeros(2, population, dtype=torch.int8)

    def children(**settings):
        algorithm = NSGA2(**{**MATING, **settings})
        state = algorithm.init(genome.Labelled(genes, label, label))
        evaluated = Evaluated(state.genomes, genes, None, fitness[..., :1].float(), label, status)
        state = algorithm.tell(state, evaluated, fitness, status.bool())
        plain = ga.GeneticAlgorithm(selection=op("selection.tournament", size=2), **{**MATING, **settings})
        by_hand = ga.State(state.genomes, ranking.places(fitness), state.scores, state.told)
        made, expected = algorithm.ask(state, stream(2).at(1)), plain.ask(by_hand, stream(2).at(1))
        for name, tensor in vars(expected).items():
            assert torch.equal(getattr(made, name), tensor), name
        return made

    base = children()
    for changed in (
        {"crossover": op("crossover.intersection")},
        {"mutation": op("mutation.remove_pixel")},
        {"p_crossover": 0.2},
        {"p_mutation": 0.9},
    ):
        assert not torch.equal(children(**changed).genes, base.genes), changed
    first = children(label_rule="first")
    assert torch.equal(first.genes, base.genes) and not torch.equal(first.label, base.label)


def test_a_population_of_one_goes_on():
    algorithm = replace(COPY, mutation="mutation.add_pixel", p_mutation=1.0)
    state = told(algorithm, torch.zeros(1, 1, 4), members([1, 1]))
    child = algorithm.ask(state, stream())
    assert child.sum() == 1
    assert answer(algorithm, state, child, members([0, 1])).fitness.tolist() == [[[0, 1]]]


def test_fitness_without_an_axis_is_one_objective_and_the_best_of_all_survive():
    state = told(COPY, pictures(2, 9), -stream(2)["old"].uniform(9))
    fitness = -stream(2)["new"].uniform(9).double()
    assert state.fitness.shape == (2, 9, 1)
    after = answer(COPY, state, pictures(2, 9), fitness)
    best = torch.cat([fitness, state.fitness[..., 0]], 1).sort(1).values[:, :9]
    assert torch.equal(after.fitness[..., 0], best)


def test_the_initial_population_is_asked_first_as_it_is():
    genomes = pictures(2, 5)
    state = COPY.init(genomes)
    assert COPY.ask(state, stream(2)) is genomes
    assert state.fitness.shape == (2, 5, 0) and state.told.tolist() == [0, 0]
    after = answer(COPY, state, genomes, torch.zeros(2, 5, 2))
    assert after.genomes is genomes and after.told.tolist() == [1, 1]


def test_labels_go_with_their_member():
    label = torch.arange(6).expand(2, -1).clone()
    genomes = genome.Labelled((label / 10)[..., None].expand(-1, -1, 4).contiguous(), label, label)
    state = COPY.init(genomes)
    for generation in range(3):
        asked = COPY.ask(state, stream(2).at(generation))
        fitness = stream(2).at(generation)["fitness"].uniform(6, 2, dtype=torch.float64)
        status = torch.zeros(2, 6, dtype=torch.int8)
        evaluated = Evaluated(asked, asked.genes, None, fitness[..., :1].float(), asked.label, status)
        state = COPY.tell(state, evaluated, fitness, status.bool())
    assert torch.equal(state.genomes.genes, (state.genomes.label / 10)[..., None].expand(-1, -1, 4))
    assert torch.equal(state.scores[..., 0], state.fitness[..., 0].float())
    assert state.genomes.label.tolist() != label.tolist()


# Drawings: the best that k pixels can do is known, for a linear classifier

SIDE = 4
WEIGHT = torch.stack([-2 * stream(seed=21)["weight"].uniform(1, SIDE, SIDE)[0] + 0.8, torch.zeros(1, SIDE, SIDE)])
CLASSIFIER = Linear(WEIGHT, micro_batch=16)  # the first class gains by ink where the weight is negative
DRAWING = NSGA2(mutation=op("mutation.redraw", reach=2))


def drawn(
    generations: int, *, rows: tuple[int, ...] = (0, 1, 2), classifier=CLASSIFIER, progress=None, population: int = 24
):
    rng = stream(max(rows) + 1).rows(list(rows))
    encoding = Ink(size=(SIDE, SIDE))
    volumes: list[torch.Tensor] = []
    problem = Problem(encoding.sample(None, population, rng), rng, labels=torch.zeros(len(rows), dtype=torch.int64))
    progress = run(
        problem,
        algorithm=DRAWING,
        encoding=encoding,
        objective=objectives.ink_and_cross_entropy,
        criterion=criteria.confident,
        ledger=Ledger(classifier, searches=len(rows)),
        generations=generations,
        on_generation=lambda progress, _: volumes.append(ranking.hypervolume(progress.state.fitness, REFERENCE)),
        progress=progress,
    )
    return progress, torch.stack(volumes) if volumes else None


REFERENCE = (SIDE * SIDE + 1.0, 5.0)


def best_drawings() -> torch.Tensor:
    """(ink, loss) of the best drawing with 0, 1, 2, ... pixels: each time the pixel that gains most."""
    gains = -(WEIGHT[0] - WEIGHT[1]).double().flatten().sort().values
    blank = float((WEIGHT[0] - WEIGHT[1]).double().sum())
    logits = blank + torch.cat([torch.zeros(1).double(), gains[gains > 0].cumsum(0)])
    return torch.stack([torch.arange(len(logits)).double(), torch.nn.functional.softplus(-logits)], -1)[None]


def test_the_front_of_drawings_is_found_and_never_gets_worse():
    """There are fewer sizes than members, so that nobody in front ever has to go."""
    wanted = best_drawings()
    assert wanted.shape[1] > 6 and bool(ranking.front(wanted).all())
    end, volumes = drawn(120)
    assert bool((volumes.diff(dim=0) > -1e-9).all())
    volume = ranking.hypervolume(wanted, REFERENCE)
    assert bool((volumes[0] < 0.9 * volume).all()), "the initial population had the front already"
    assert volumes[-1].tolist() == pytest.approx([volume.item()] * 3, rel=1e-5)
    for fitness in end.state.fitness:
        front = sorted(set(map(tuple, fitness[ranking.front(fitness[None])[0]].tolist())))
        assert np.allclose(front, wanted[0].numpy(), rtol=1e-4)
    assert torch.equal(end.state.fitness[..., 0], objectives.ink(end.state.genomes))


def test_a_search_alone_is_the_search_in_a_batch_and_one_that_goes_on_never_stopped():
    end, _ = drawn(12)
    for row in range(3):
        alone, _ = drawn(12, rows=(row,))
        for field in ("genomes", "fitness", "scores", "told"):
            assert torch.equal(getattr(alone.state, field)[0], getattr(end.state, field)[row])
    half, _ = drawn(5)
    resumed, _ = drawn(12, progress=half)
    assert torch.equal(resumed.state.genomes, end.state.genomes)
    assert torch.equal(resumed.state.fitness, end.state.fitness)
    assert not torch.equal(half.state.genomes, end.state.genomes)


def test_drawings_without_an_answer_do_not_stay():
    silent = Silent(CLASSIFIER, lambda images: images[:, 0, 0].amin(-1) < 0.5)  # ink in the first row
    begun, _ = drawn(0, classifier=silent)
    assert bool(begun.state.fitness.isnan().any())
    end, _ = drawn(15, classifier=silent)
    assert not bool(end.state.fitness.isnan().any())
    assert not bool(end.state.genomes[:, :, 0].any())


def test_its_configuration_is_strict_and_goes_through_json():
    algorithm = NSGA2(crossover=op("crossover.list_exchange"), mutation=op("mutation.add_ink", rate=0.1))
    assert spec.from_json(NSGA2, spec.to_json(algorithm)) == algorithm
    with pytest.raises(SpecError, match=r"p_mutation = 1.5: input should be less than or equal to 1"):
        NSGA2(p_mutation=1.5)
    with pytest.raises(SpecError, match="did you mean 'p_crossover'"):
        spec.replace(algorithm, p_crossove=0.1)
