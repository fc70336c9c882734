"""The genetic algorithm: one generation by hand, rates of 0 and 1, who mates whom, and who survives."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from evofool.algorithms.ga import GeneticAlgorithm, State
from evofool.contracts import Evaluated
from evofool.errors import SpecError
from evofool.genome import Labelled
from evofool.spec import op
from fakes import Planted, pictures, stream

NAN = float("nan")


def told(algorithm: GeneticAlgorithm, genomes, fitness) -> State:
    """The state after the initial population was answered with that fitness [B P]."""
    fitness = torch.as_tensor(fitness, dtype=torch.float64)
    state = algorithm.init(genomes)
    return answer(algorithm, state, algorithm.ask(state, stream(len(fitness))), fitness)


def answer(algorithm: GeneticAlgorithm, state: State, genomes, fitness: torch.Tensor) -> State:
    """Tell the fitness; each member's only score is its fitness, to see whether scores stay with their member."""
    genes = genomes if isinstance(genomes, torch.Tensor) else genomes.genes
    status = torch.zeros(fitness.shape, dtype=torch.int8)
    evaluated = Evaluated(genomes, genes, None, fitness[..., None].float(), torch.zeros_like(status), status)
    return algorithm.tell(state, evaluated, fitness, torch.zeros_like(status, dtype=torch.bool))


def labelled(searches: int, population: int, shape: tuple[int, ...] = (1, 4, 4), labels: int = 3) -> Labelled:
    member = torch.arange(population).expand(searches, -1).clone()
    return Labelled(pictures(searches, population, shape), member % labels, member)


def uniform_fitness(searches: int, population: int) -> torch.Tensor:
    return -stream(searches)["fitness"].uniform(population, dtype=torch.float64)


# One generation by hand


THREE = Labelled(
    torch.tensor([[[0.0, 0.1, 0.2, 0.3], [0.4, 0.5, 0.6, 0.7], [0.8, 0.9, 1.0, 0.05]]]),
    torch.tensor([[7, 8, 9]]),
    torch.tensor([[0, 1, 2]]),
)
# Weights 1, 2, 1 of 4. First parents 0, 1, 2; second parents 1, 2, 0. The first two matings cross, cut after three and
# after one gene; the last two children are mutated: gene 0 with gene 1, and gene 2 with gene 3.
DRAWS = {
    "first parent": [[0.1, 0.5, 0.9]],
    "second parent": [[0.5, 0.9, 0.1]],
    "is crossed": [[0.0, 0.59, 0.61]],
    "crossover/cut": [[2, 0, 1]],
    "is mutated": [[0.5, 0.49, 0.0]],
    "mutation/first place": [[0, 2]],
    "mutation/second place": [[0, 2]],
}


def test_one_generation_by_hand():
    algorithm = GeneticAlgorithm(selection=op("selection.fitness_proportionate"), p_crossover=0.6, p_mutation=0.5)
    state = told(algorithm, THREE, [[-1.0, -2.0, -1.0]])
    children = algorithm.ask(state, Planted(DRAWS))
    expected = [[0.0, 0.1, 0.2, 0.7], [0.9, 0.4, 1.0, 0.05], [0.8, 0.9, 0.05, 1.0]]
    assert torch.equal(children.genes, torch.tensor([expected]))
    assert children.label.tolist() == [[7, 9, 9]]  # of the parent that gave three genes
    assert children.ancestor.tolist() == [[0, 2, 2]]
    first = GeneticAlgorithm(selection=op("selection.fitness_proportionate"), label_rule="first").ask(
        state, Planted(DRAWS)
    )
    assert torch.equal(first.genes, children.genes)
    assert first.label.tolist() == [[7, 8, 9]] and first.ancestor.tolist() == [[0, 1, 2]]


def test_a_cut_in_the_middle_leaves_the_label_with_the_first_parent():
    algorithm = GeneticAlgorithm(selection=op("selection.fitness_proportionate"), p_crossover=1.0, p_mutation=0.0)
    state = told(algorithm, THREE, [[-1.0, -2.0, -1.0]])
    children = algorithm.ask(state, Planted({**DRAWS, "crossover/cut": [[1, 1, 1]]}))
    assert children.label.tolist() == [[7, 8, 9]] and children.ancestor.tolist() == [[0, 1, 2]]
    assert torch.equal(children.genes[0, 0], torch.tensor([0.0, 0.1, 0.6, 0.7]))


def test_ancestry_goes_on_through_the_generations():
    algorithm = GeneticAlgorithm(selection=op("selection.random"), p_crossover=0.0, p_mutation=1.0)
    state = told(algorithm, labelled(2, 30), uniform_fitness(2, 30))
    for generation in range(1, 6):
        children = algorithm.ask(state, stream(2).at(generation))
        state = answer(algorithm, state, children, uniform_fitness(2, 30))
    origin = labelled(2, 30)
    assert torch.equal(state.genomes.label, origin.label.gather(1, state.genomes.ancestor))
    ancestors = torch.stack([origin.genes[row, state.genomes.ancestor[row]] for row in range(2)])
    assert torch.equal(state.genomes.genes.flatten(2).sort(2).values, ancestors.flatten(2).sort(2).values)
    assert not torch.equal(state.genomes.genes, ancestors)


# Before the first answers


def test_the_initial_population_is_asked_first_as_it_is():
    algorithm = GeneticAlgorithm(p_crossover=1.0, p_mutation=1.0)
    members = labelled(2, 5)
    state = algorithm.init(members)
    assert algorithm.ask(state, stream(2)) is members
    assert bool(state.fitness.isnan().all()) and state.told.tolist() == [0, 0]
    after = answer(algorithm, state, members, uniform_fitness(2, 5))
    assert after.genomes is members and after.told.tolist() == [1, 1]
    assert torch.equal(after.fitness, uniform_fitness(2, 5))


@pytest.mark.parametrize("elites", [3, 4])
def test_as_many_elites_as_members_are_refused(elites):
    with pytest.raises(
        SpecError, match=f"elites = {elites} with a population of 3: expected fewer elites than members"
    ):
        GeneticAlgorithm(elites=elites).init(THREE)


# Rates


@pytest.mark.parametrize("crossover", ["crossover.single_point", "crossover.arithmetic"])
@pytest.mark.parametrize("population", [1, 2, 17])
def test_with_both_rates_at_zero_children_are_exact_copies_of_their_first_parents(crossover, population):
    algorithm = GeneticAlgorithm(selection="selection.random", crossover=crossover, p_crossover=0.0, p_mutation=0.0)
    members = labelled(3, population)
    state = told(algorithm, members, uniform_fitness(3, population))
    rng = stream(3).at(1)
    children = algorithm.ask(state, rng)
    parents = algorithm.selection(state.fitness, population, rng=rng["first parent"])
    for row in range(3):
        assert torch.equal(children.genes[row], members.genes[row, parents[row]])
    assert torch.equal(children.label, members.label.gather(1, parents))
    assert torch.equal(children.ancestor, parents)


def test_a_population_of_one_goes_on():
    algorithm = GeneticAlgorithm(selection=op("selection.random"), p_crossover=1.0, p_mutation=1.0)
    state = told(algorithm, labelled(2, 1), uniform_fitness(2, 1))
    for generation in range(1, 4):
        children = algorithm.ask(state, stream(2).at(generation))
        assert bool(((children.genes != state.genomes.genes).flatten(2).sum(2) == 2).all())
        state = answer(algorithm, state, children, uniform_fitness(2, 1))
    assert state.genomes.ancestor.tolist() == [[0], [0]]


def test_rates_are_probabilities_for_each_mating_and_each_child():
    n = 4000
    black_or_white = torch.arange(n).view(1, n, 1).expand(1, n, 10) % 2 * 1.0
    both = GeneticAlgorithm(selection=op("selection.random"), p_crossover=0.3, p_mutation=0.0)
    children = both.ask(told(both, black_or_white.contiguous(), torch.zeros(1, n)), stream())
    mixed = int((children.diff(dim=2) != 0).any(2).sum())
    assert stats.binomtest(mixed, n, 0.3 / 2).pvalue > 1e-4  # half of the matings are of one colour
    counted = torch.arange(10.0).expand(1, n, 10).contiguous()
    changing = GeneticAlgorithm(selection=op("selection.random"), p_crossover=1.0, p_mutation=0.3)
    children = changing.ask(told(changing, counted, torch.zeros(1, n)), stream())
    changed = (children != counted).sum(2)
    assert sorted(changed.unique().tolist()) == [0, 2]
    assert stats.binomtest(int((changed > 0).sum()), n, 0.3).pvalue > 1e-4


def test_with_mutation_at_one_every_child_is_mutated():
    algorithm = GeneticAlgorithm(selection=op("selection.every"), mating="self", p_mutation=1.0)
    state = told(algorithm, pictures(2, 9), uniform_fitness(2, 9))
    children = algorithm.ask(state, stream(2))
    assert bool(((children != state.genomes).flatten(2).sum(2) == 2).all())


def test_what_happens_to_one_member_is_independent_of_the_rest():
    """Crossed or not, mutated or not, and both parents: no two of these draws share their numbers."""
    n = 20_000
    rng = stream().at(1)
    algorithm = GeneticAlgorithm(selection=op("selection.random"), mutation=op("mutation.swap"))
    flags = torch.stack(
        [
            rng["is crossed"].uniform(n)[0] < 0.6,
            rng["is mutated"].uniform(n)[0] < 0.5,
            algorithm.selection(torch.zeros(1, n), n, rng=rng["first parent"])[0] < n // 2,
            algorithm.selection(torch.zeros(1, n), n, rng=rng["second parent"])[0] < n // 2,
        ]
    )
    correlation = np.corrcoef(flags.double().numpy())[np.triu_indices(4, 1)]
    assert np.abs(correlation).max() < 4.5 / math.sqrt(n)


# Mating


def test_parents_are_two_draws():
    """With free mating about half of the children of black and white parents are mixed; with mating=self none is."""
    n = 1000
    coloured = (torch.arange(n).view(1, n, 1).expand(1, n, 10) % 2 * 1.0).contiguous()
    for mating, low, high in (("free", 430, 570), ("self", 0, 0)):
        algorithm = GeneticAlgorithm(selection=op("selection.random"), p_crossover=1.0, p_mutation=0.0, mating=mating)
        children = algorithm.ask(told(algorithm, coloured, torch.zeros(1, n)), stream())
        assert low <= int((children.diff(dim=2) != 0).any(2).sum()) <= high


@pytest.mark.parametrize("crossover", ["crossover.single_point", "crossover.arithmetic"])
def test_mated_with_itself_a_parent_is_copied_whatever_the_crossover(crossover):
    algorithm = GeneticAlgorithm(
        selection=op("selection.tournament", size=3),
        crossover=crossover,
        p_crossover=1.0,
        p_mutation=0.0,
        mating="self",
    )
    members = labelled(2, 11)
    state = told(algorithm, members, uniform_fitness(2, 11))
    children = algorithm.ask(state, stream(2))
    for row in range(2):
        assert torch.equal(children.genes[row], members.genes[row, children.ancestor[row]])
    assert torch.equal(children.label, members.label.gather(1, children.ancestor))


def by_label(population: int, labels: int) -> Labelled:
    """All genes of a member are its label over 10."""
    label = (torch.arange(population) * 7 % labels).expand(2, -1).clone()
    genes = (label / 10)[..., None].expand(2, population, 6).contiguous()
    return Labelled(genes, label, torch.arange(population).expand(2, -1).clone())


SELECTIONS = [
    op("selection.fitness_proportionate"),
    op("selection.tournament", size=20),
    op("selection.linear_ranking"),
    op("selection.random"),
    op("selection.shuffled"),
]


@pytest.mark.parametrize("selection", SELECTIONS, ids=repr)
@pytest.mark.parametrize("fitness", ["spread", "equal", "zero", "one label failed"])
def test_within_a_label_nobody_mates_outside(selection, fitness):
    members = by_label(40, 4)
    losses = {
        "spread": uniform_fitness(2, 40),
        "equal": torch.full((2, 40), -0.5),
        "zero": torch.zeros(2, 40),
        "one label failed": uniform_fitness(2, 40).masked_fill(members.label == 2, NAN),
    }[fitness]
    algorithm = GeneticAlgorithm(selection=selection, p_crossover=1.0, p_mutation=0.0, mating="label")
    children = algorithm.ask(told(algorithm, members, losses), stream(2).at(1))
    assert torch.equal(children.genes, (children.label / 10)[..., None].expand_as(children.genes))
    assert len(children.label.unique()) > 1
    free = GeneticAlgorithm(selection=selection, p_crossover=1.0, p_mutation=0.0)
    children = free.ask(told(free, members, losses), stream(2).at(1))
    assert not torch.equal(children.genes, (children.label / 10)[..., None].expand_as(children.genes))


def test_within_a_label_partners_differ_from_the_first_parent_and_are_chosen_by_fitness():
    members = by_label(40, 2)
    members = Labelled(
        torch.rand_like(members.genes, generator=torch.Generator().manual_seed(0)), members.label, members.ancestor
    )
    fitness = torch.zeros(2, 40, dtype=torch.float64)
    fitness[:, 4], fitness[:, 7] = -1.0, -1.0  # one of each label holds all the weight
    assert members.label[0, [4, 7]].tolist() == [0, 1]
    algorithm = GeneticAlgorithm(
        selection=op("selection.fitness_proportionate"), p_crossover=1.0, p_mutation=0.0, mating="label"
    )
    children = algorithm.ask(told(algorithm, members, fitness), stream(2))
    assert set(children.ancestor.flatten().tolist()) == {4, 7}
    mixed = GeneticAlgorithm(selection=op("selection.random"), p_crossover=1.0, p_mutation=0.0, mating="label")
    children = mixed.ask(told(mixed, members, fitness), stream(2))
    copies = [torch.equal(children.genes[0, k], members.genes[0, children.ancestor[0, k]]) for k in range(40)]
    assert sum(copies) < 8  # a parent meets itself once in twenty


def test_a_search_mates_within_labels_alone_as_in_a_batch_with_other_labels():
    one, other = by_label(40, 4), by_label(40, 3)
    both = Labelled(*(torch.cat([a[:1], b[1:]]) for a, b in zip(vars(one).values(), vars(other).values(), strict=True)))
    algorithm = GeneticAlgorithm(selection=op("selection.tournament", size=2), mating="label")
    children = algorithm.ask(told(algorithm, both, uniform_fitness(2, 40)), stream(2))
    single = Labelled(one.genes[:1], one.label[:1], one.ancestor[:1])
    alone = algorithm.ask(told(algorithm, single, uniform_fitness(2, 40)[:1]), stream(2).rows([0]))
    assert torch.equal(children.genes[:1], alone.genes) and torch.equal(children.ancestor[:1], alone.ancestor)


# Survival


@pytest.mark.parametrize("elites", [0, 1, 10])
def test_elites_are_the_best_parents_unchanged_and_all_others_are_children(elites):
    population = 100
    algorithm = GeneticAlgorithm(selection=op("selection.random"), p_mutation=1.0, elites=elites)
    state = told(algorithm, labelled(2, population), uniform_fitness(2, population))
    for generation in range(1, 4):
        children = algorithm.ask(state, stream(2).at(generation))
        assert children.genes.shape[1] == population - elites  # elites are not asked again
        fitness = stream(2).at(generation)["loss"].uniform(population - elites, dtype=torch.float64)  # all worse
        after = answer(algorithm, state, children, fitness)
        best = state.fitness.sort(dim=1, stable=True).indices[:, :elites]
        for row in range(2):
            for field in ("genes", "label", "ancestor"):
                kept, parents, made = (getattr(g, field)[row] for g in (after.genomes, state.genomes, children))
                assert torch.equal(kept[:elites], parents[best[row]])
                assert torch.equal(kept[elites:], made)
            assert torch.equal(after.fitness[row], torch.cat([state.fitness[row, best[row]], fitness[row]]))
        assert torch.equal(after.scores[..., 0], after.fitness.float())
        assert after.told.tolist() == [generation + 1] * 2
        state = after


def test_elitism_never_loses_the_best_and_without_it_the_best_is_lost():
    lost = {}
    for elites in (0, 3):
        algorithm = GeneticAlgorithm(selection=op("selection.tournament", size=2), elites=elites)
        state = told(algorithm, pictures(1, 20), uniform_fitness(1, 20))
        best = []
        for generation in range(1, 8):
            children = algorithm.ask(state, stream().at(generation))
            state = answer(algorithm, state, children, -stream().at(generation)["f"].uniform(20 - elites).double())
            best.append(float(state.fitness.min()))
        lost[elites] = any(later > before for before, later in itertools.pairwise(best))
    assert lost == {0: True, 3: False}


def test_a_member_that_failed_is_no_elite_while_there_are_others():
    algorithm = GeneticAlgorithm(selection=op("selection.random"), elites=2)
    state = told(algorithm, labelled(1, 4), [[NAN, -1.0, NAN, -3.0]])
    after = answer(algorithm, state, algorithm.ask(state, stream()), torch.full((1, 2), NAN, dtype=torch.float64))
    assert after.genomes.ancestor[0, :2].tolist() == [3, 1]
    assert after.fitness[0, :2].tolist() == [-3.0, -1.0]


def test_truncation_keeps_the_best_of_parents_and_children():
    algorithm = GeneticAlgorithm(selection=op("selection.random"), survival=op("survival.truncation"))
    state = told(algorithm, labelled(1, 4), [[-1.0, -5.0, -2.0, -6.0]])
    children = algorithm.ask(state, stream())
    after = answer(algorithm, state, children, torch.tensor([[0.0, -5.5, 0.0, -9.0]], dtype=torch.float64))
    assert after.fitness.tolist() == [[-9.0, -6.0, -5.5, -5.0]]
    assert torch.equal(after.genomes.genes[0, 0], children.genes[0, 3])
    assert torch.equal(after.genomes.genes[0, 1], state.genomes.genes[0, 3])
    assert torch.equal(after.scores[0, :, 0], torch.tensor([-9.0, -6.0, -5.5, -5.0]))


def test_no_parent_is_changed_by_the_making_of_children():
    algorithm = GeneticAlgorithm(p_crossover=1.0, p_mutation=1.0, mutation=op("mutation.inversion"), elites=1)
    state = told(algorithm, labelled(2, 9), uniform_fitness(2, 9))
    before = [tensor.clone() for tensor in (*vars(state.genomes).values(), state.fitness)]
    answer(algorithm, state, algorithm.ask(state, stream(2)), uniform_fitness(2, 8))
    for tensor, kept in zip((*vars(state.genomes).values(), state.fitness), before, strict=True):
        assert torch.equal(tensor, kept)
